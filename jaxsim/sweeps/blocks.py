"""Work of a worker: the scores of a block of network pairs, stored as one file with checksums and provenance.

The score of a pair depends only on the two networks. Each is embedded separately, padded to a width that follows from
its own width. Each pair is one call of the same program, with the network of the smaller checksum first. So neither the
block that a pair is in, nor the engine, nor what was computed before can change a bit of the score.
"""

import contextlib
import dataclasses
import functools
import math
import platform
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsim import inputs
from jaxsim.engine import host_ranks, memory, reasons
from jaxsim.engine.checks import require_symmetric
from jaxsim.engine.padding import Bucket, lone_bucket
from jaxsim.engine.program import embed, is_embedded, read_maps, score
from jaxsim.io import Source, jobs, limits
from jaxsim.measures import Measure, by_name
from jaxsim.meshes import automatic
from jaxsim.results import Provenance, saved

FOLDER = "blocks"
"""Subfolder of the sweep that contains the blocks."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What all blocks of a sweep have in common, as plain values that can be sent to other machines.

    Attributes:
        folder: folder of the sweep, absolute.
        measure: name of the measure, or the measure itself if it has no name.
        settings: SHA-256 of everything that scores depend on besides the features.
        version: version of jaxsim.
        channels: "first" or "last".
        x64: whether to compute in float64.
        unlimited: whether files may take far more memory than their size, as in `jaxsim.io.unlimited()`.
    """

    folder: str
    measure: str | Measure
    settings: str
    version: str
    channels: str = "last"
    x64: bool = False
    unlimited: bool = False

    def path(self, block: str) -> Path:
        """File of a block."""
        return Path(self.folder, FOLDER, f"{block}.npz")


class Block(NamedTuple):
    """Pairs of networks that are computed together.

    Attributes:
        name: derived from the checksums of the pairs and from the settings.
        networks: name and location of each network.
        pairs: two networks each, by number; the one with the smaller checksum comes first.
    """

    name: str
    networks: tuple[tuple[str, Source], ...]
    pairs: tuple[tuple[int, int], ...]


class Outcome(NamedTuple):
    """A worker's report on a block; on failure, `error` is the message and `kind` the class of the error."""

    block: str
    error: str = ""
    kind: str = ""


class Ready(NamedTuple):
    """An embedded network.

    Attributes:
        z: the embedded map, or the map, with a leading axis of one.
        undefined: number of its images that leave it without scores, else -1.
        why: the reason as text.
        lost: text on digits that its cast loses.
    """

    z: Any
    undefined: int
    why: str
    lost: str


ROOM = 2**30
"""Most bytes of embedded maps that a process keeps."""
_ready: OrderedDict[tuple[str, str, str], Ready] = OrderedDict()
"""Embedded networks that this process keeps, least recently used first."""
_turn = threading.RLock()
"""Lock for one block at a time in a process, which then has its device to itself."""
KINDS = {kind.__name__: kind for kind in (ValueError, TypeError, OSError, RuntimeError, MemoryError)}
"""Errors that would happen again; all others count as a lost worker."""


def version() -> str:
    """Version of jaxsim in this process."""
    return saved.version("jaxsim-similarity")


def compute(work: Work, blocks: Sequence[Block]) -> list[Outcome]:
    """Compute blocks and write their files; stop at the first error, which the last outcome reports."""
    found = []
    lifted = limits.unlimited() if work.unlimited else contextlib.nullcontext()
    with _turn, lifted, jax.enable_x64(work.x64):
        for block in blocks:
            try:
                _compute(work, block)
                found.append(Outcome(block.name))
            except tuple(KINDS.values()) as error:
                kind = next(name for name, one in KINDS.items() if isinstance(error, one))
                found.append(Outcome(block.name, _told(error, block), kind))
                break
    return found


def _told(error, block):
    if "RESOURCE_EXHAUSTED" in str(error):
        return f"the device ran out of memory in a block of {len(block.networks)} networks; give a smaller block."
    return str(error) or type(error).__name__


def _compute(work: Work, block: Block) -> None:
    started, path = time.perf_counter(), work.path(block.name)
    if (mine := version()) != work.version:
        raise ValueError(
            f"the worker on {platform.node()} has jaxsim {mine}, but the sweep was started with {work.version}; "
            "install the same version everywhere."
        )
    if _is_there(path):  # written by a worker that had been given up
        return
    measure = by_name(work.measure) if isinstance(work.measure, str) else work.measure
    scores, members = [], {}
    for i, j in block.pairs:
        a, b = (_embedded(work, measure, *block.networks[k]) for k in (i, j))
        members |= {i: a, j: b}
        scores.append(pair_call(measure, a.z, b.z))
        if not is_embedded(measure):  # the checksums determine which of the two comes first
            both = [[np.nan, scores[-1]], [pair_call(measure, b.z, a.z), np.nan]]
            require_symmetric(measure, [block.networks[k][0] for k in (i, j)], jax.device_get(both))
    provenance = Provenance.now(str(measure), scores[0])
    order = sorted(members)
    arrays = {
        "scores": np.asarray(jax.device_get(scores)),
        "pairs": np.asarray(block.pairs, np.int32),
        "networks": np.array([source.checksum for _, source in block.networks]),
        "undefined": np.array([members[k].undefined for k in order]),
    }
    record = {
        "settings": work.settings,
        "name": block.name,
        "measure": provenance.measure,
        "dtype": provenance.dtype,
        "device": provenance.device,
        "versions": dict(provenance.versions),
        "names": [name for name, _ in block.networks],
        "why": [members[k].why for k in order],
        "lost": [members[k].lost for k in order],
        "images": block.networks[0][1].shape[0],
        "seconds": time.perf_counter() - started,
        "host": platform.node(),
    }
    jobs.write_block(path, arrays, record, overwrite=True)


def forget() -> None:
    """Drop the embedded networks that this process keeps."""
    _ready.clear()


def _is_there(path: Path) -> bool:
    try:
        return path.exists() and bool(jobs.read_block(path))
    except jobs.Damaged:
        return False


def _embedded(work: Work, measure: Measure, name: str, source: Source) -> Ready:
    key = (source.checksum, work.settings, work.folder)  # two functions in one process may share a name
    if key not in _ready:
        _ready[key] = _embed(work, measure, name, source)
        while len(_ready) > 2 and sum(map(_size, _ready.values())) > _room():
            _ready.popitem(last=False)
    _ready.move_to_end(key)
    return _ready[key]


@functools.cache
def _room() -> float:
    """Bytes of embedded maps that a worker may keep."""
    return min(ROOM, (memory.available() or math.inf) / 8)


def _size(ready):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(ready.z))


def _embed(work, measure, name, source):
    x = np.array(source.read())  # in memory, so that the scores come from what was checked
    if jobs.sha256(x) != source.checksum:
        raise ValueError(
            f"{source.path} has changed since the sweep started (network {name!r}); start the sweep again to "
            "recompute the pairs of that network."
        )
    if work.x64:
        x = x.astype(np.float64)
    nets = inputs.networks({name: x}, channels=work.channels)
    images, size = nets.images, nets.dtype.itemsize
    memory.require_maps(2, memory.map_bytes((measure,), images, size), images, size)
    cast = nets.cast(measure.freedom)
    z, undefined = embed_call(measure, lone_bucket(cast, measure))
    undefined = int(undefined[0])
    why = reasons.why(measure, nets, 0) if undefined >= 0 else ""
    lost = reasons.lost(measure.freedom, nets, 0) if nets.careful and not why else ""
    return Ready(z, undefined, why, lost)


def embed_call(measure: Measure, bucket: Bucket) -> tuple[jax.Array, jax.Array]:
    """The embedded map of a network `(1, k)`, and `Embedded.undefined` `(1,)`."""
    by_numpy = host_ranks.applies(measure, bucket.shape[0])
    made = (host_ranks.embedded if by_numpy else _embed_call)((measure,), (bucket,))
    return made.z[0], made.undefined[0]


@jax.jit
@automatic
def _embed_call(measures, parts):
    return read_maps(measures, parts, embed)


@jax.jit
@automatic
def pair_call(measure, a, b):
    """Score `()` of two embedded networks."""
    return score(measure, a, b)[0, 0]
