"""The plan of a sweep: which pairs of networks there are, which are known, and the blocks of those that are not.

Networks are identified by the SHA-256 of their arrays. A pair is known if any block in the folder contains it, whoever
made that block and for whatever plan. A new or changed network only needs its own pairs, and names and files may change
freely.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import inputs, io
from jaxsim.engine.checks import check
from jaxsim.io import Source, files, jobs
from jaxsim.measures import Measure
from jaxsim.sweeps.blocks import Block, Work


@dataclasses.dataclass
class Plan:
    """Pairs of networks, and what is known about them.

    Attributes:
        sources: the networks by name.
        contents: the checksums of their arrays, one for several networks with equal arrays; those in blocks come first.
        values: scores `(U, U)` of the contents.
        known: which scores are known, `(U, U)`.
        undefined: number of images that leave a content without scores, and why.
        lost: text on lost digits by content.
        made: records of the blocks that were read.
    """

    sources: Mapping[str, Source]
    contents: list[str]
    values: np.ndarray
    known: np.ndarray
    undefined: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    lost: dict[str, str] = dataclasses.field(default_factory=dict)
    made: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, sources: Mapping[str, Source], x64: bool) -> "Plan":
        """A plan for which nothing is known yet."""
        contents = list(dict.fromkeys(source.checksum for source in sources.values()))
        size = (len(contents), len(contents))
        return cls(sources, contents, np.full(size, np.nan, np.float64 if x64 else np.float32), np.zeros(size, bool))

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """Position of each content."""
        return {content: k for k, content in enumerate(self.contents)}

    def take(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Add a block: the pairs in it that belong to this plan."""
        networks = arrays["networks"].tolist()
        places = np.array([self.places.get(content, -1) for content in networks])
        rows, columns = places[arrays["pairs"]].T
        ours = (rows >= 0) & (columns >= 0)
        if not ours.any():
            return
        rows, columns = rows[ours], columns[ours]
        for a, b in ((rows, columns), (columns, rows)):
            self.values[a, b], self.known[a, b] = arrays["scores"][ours], True
        for content, count, why, lost in zip(
            networks, arrays["undefined"].tolist(), record["why"], record["lost"], strict=True
        ):
            if count >= 0:
                self.undefined[content] = (count, why)
            if lost:
                self.lost[content] = lost
        self.made.append(dict(record))

    def blocks(self, work: Work, size: int) -> list[Block]:
        """Blocks of the pairs that are not known, each from two groups of at most `size` networks."""
        order = np.argsort(~self.known.any(1), kind="stable")  # keeps new networks together
        named = {source.checksum: (name, source) for name, source in reversed([*self.sources.items()])}
        groups = [order[k : k + size].tolist() for k in range(0, len(order), size)]
        found = []
        for a, rows in enumerate(groups):
            for columns in groups[a:]:
                if self.known[np.ix_(rows, columns)].all():
                    continue
                pairs = [(i, j) for i, j in _pairs(rows, columns) if not self.known[i, j]]
                found.append(self._block(work, pairs, named))
        return found

    def _block(self, work, pairs, named):
        ordered = [(i, j) if self.contents[i] <= self.contents[j] else (j, i) for i, j in pairs]
        members = list(dict.fromkeys(itertools.chain(*ordered)))
        own = {k: place for place, k in enumerate(members)}
        sums = [[self.contents[i], self.contents[j]] for i, j in ordered]
        name = jobs.sha256_of_json([work.settings, sums])[:32]
        networks = tuple(named[self.contents[k]] for k in members)
        return Block(name, networks, tuple((own[i], own[j]) for i, j in ordered))

    def matrix(self) -> np.ndarray:
        """Scores `(T, T)` of all networks."""
        places = [self.places[source.checksum] for source in self.sources.values()]
        return self.values[places][:, places]


def _pairs(rows: list[int], columns: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs of a row and a column; within one group each pair once."""
    return itertools.combinations_with_replacement(rows, 2) if rows is columns else itertools.product(rows, columns)


def read_blocks(plan: Plan, work: Work, paths: list[Path]) -> None:
    """Read the files into the plan; warn about damaged ones and remove them, to be computed again."""
    for path in paths:
        try:
            record, arrays = jobs.read_block(path)
            if (record["settings"], record["name"]) != (work.settings, path.stem):
                raise jobs.Damaged(f"{path} is damaged: it is a block with another name or other settings.")
        except jobs.Damaged as error:
            files.warn(f"{error} It is computed again.", RuntimeWarning)
            files.remove(path)
        else:
            plan.take(record, arrays)


def find_sources(
    features: str | Path | Sequence[str | Path], measure: Measure, stack: bool | None, channels: str | None
):
    """Networks in files and folders by name, with shapes checked for the measure.

    Raises:
        ValueError: two files differ in their images or number of images, or the measure does not accept a shape.
    """
    sources, ids = io.find_features(features, stack=stack)
    require_several(tuple(sources))
    where = {name: f"network {name!r} of {source.path}" for name, source in sources.items()}
    refuse_other_numbers({where[name]: source.shape[0] for name, source in sources.items() if source.shape})
    first, *rest = sources
    for name in rest:
        refuse_other_ids(where[first], where[name], ids.get(first), ids.get(name))
    if ids and len(ids[first]) != sources[first].shape[0]:
        raise ValueError(f"{sources[first].path} has {sources[first].shape[0]} images but {len(ids[first])} image ids.")
    if ids and (twice := files.repeated(ids[first])):
        raise ValueError(f"{sources[first].path} has the image id {twice[0]!r} more than once.")
    check_shapes({name: source.shape for name, source in sources.items()}, measure, channels)
    return sources


def require_several(names: Sequence[str]) -> None:
    """Reject a single network.

    Raises:
        ValueError: there is only one; the message names it.
    """
    if len(names) < 2:
        raise ValueError(
            f"a sweep compares networks with each other, but there is only {''.join(names)!r}; give more networks."
        )


def refuse_other_numbers(images: Mapping[str, int]) -> None:
    """Reject networks, or files, with different numbers of images.

    Raises:
        ValueError: two differ; the message names both.
    """
    for (a, n), (b, m) in itertools.pairwise(images.items()):
        if m != n:
            raise ValueError(f"{a} and {b} have {n} and {m} images; a sweep needs the same images for all.")


def refuse_other_ids(a: str, b: str, ours: Any, theirs: Any) -> None:
    """Reject two networks, or files, whose images are not the same in the same order.

    Raises:
        ValueError: they differ; the message names both and the first image that differs.
    """
    if ours != theirs:
        text = inputs.how_ids_differ(a, ours, b, theirs)
        raise ValueError(f"{a} and {b} {text}; a sweep needs the same images in the same order.")


def check_shapes(shapes: Mapping[str, tuple[int, ...]], measure: Measure, channels: str | None) -> None:
    """Reject networks that the measure cannot be computed from, before computing any.

    Raises:
        ValueError: as for `affinity`.
    """
    blank = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    check([measure], inputs.networks(blank, channels=channels))
