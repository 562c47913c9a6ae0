"""The public verb."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsim import inputs, io
from jaxsim.engine import reasons
from jaxsim.engine.checks import as_measures, as_one
from jaxsim.io import Source, file_sets, files, jobs, limits
from jaxsim.measures import Measure, by_name
from jaxsim.results import Affinity, Provenance, UndefinedScores, load
from jaxsim.statistics.checks import as_count, callback, flag, one_of
from jaxsim.sweeps import blocks, engines, plans
from jaxsim.sweeps.blocks import FOLDER, Work
from jaxsim.sweeps.progress import RESULT, Progress, SweepStatus, alone

ROUNDS = 3
"""Times that blocks are computed which are damaged as soon as they are there."""


def sweep(
    features: Any,
    measure: str | Measure,
    *,
    out: str | Path,
    executor: Any = "processes",
    workers: int | None = None,
    block: int = 16,
    stack: bool | None = None,
    channels: str | None = None,
    address: str | None = None,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[SweepStatus], None] | None = None,
) -> Affinity:
    """Similarity of hundreds of networks, block by block, by as many processes and machines as there are.

    Every block of pairs is a file in `out` with a checksum. A run that was stopped or killed goes on where it was, with
    any engine; networks that are added need their own pairs alone, and so does a file that has changed. The numbers
    depend on the two networks of a pair and on the kind of device, and on nothing else: they are equal to the last bit
    however the work was cut, on the same device and number of threads.

    Args:
        features: a folder, a file or a list of them, as `read_features` takes them and names the networks; or a mapping
            of name to `(n, ..., c)`, which is stored in `out`. All have the same images in the same order.
        measure: a measure or its name.
        out: folder of the sweep, which all workers see by the same path.
        executor: "processes" on this machine, one a GPU, or half as many as cores; "serial" in this process; "dask"
            or "submitit" (Slurm, where there is one); or any object with `submit(function, *args) -> future`, such as
            `dask.distributed.Client(...).get_executor(pure=False)`.
        workers: processes, or jobs at once. For an executor of your own, half the blocks in flight.
        block: networks in a group; a block is the pairs of two groups, at most `block ** 2` of them.
        stack: as for `read_features`; by default an array alone in its file is one network, but in a single file.
        channels: of all networks, as for `js.affinity`.
        address: of the scheduler, with "dask"; by default a cluster on this machine.
        options: of submitit's `update_parameters`, such as `{"slurm_partition": "gpu", "timeout_min": 60}`.
        overwrite: replace the matrix that is in `out`, as networks were added or have changed; blocks are never thrown
            away. A sweep that is finished gives its matrix again.
        progress: called with a `SweepStatus` as blocks get done.

    Returns:
        `Affinity` with `values (T, T)`, which is in `out` as `affinity.npz` and `affinity.csv` too. In float64 where
        `jax_enable_x64` is set.

    Raises:
        BlockingIOError: another sweep runs in that folder.
        FileExistsError: a matrix of other networks is there and `overwrite` is False.
        KeyboardInterrupt: the blocks that were done stay.
        OSError: a file cannot be read or written, or the disk is full.
        RuntimeError: a block was lost by worker after worker.
        TypeError: no measure, or one that cannot be sent to another process.
        ValueError: features do not fit, have changed meanwhile, or the folder holds a sweep of other settings.

    Example:
        >>> import tempfile, numpy as np, jaxsim as js
        >>> rng = np.random.default_rng(0)
        >>> features = {name: rng.normal(size=(30, 8)).astype("f") for name in "abc"}
        >>> A = js.sweep(features, "cka", out=tempfile.mkdtemp(), executor="serial")
        >>> np.abs(A.values - js.affinity(features, "cka").values).max() < 1e-6
        np.True_
    """
    measure = as_one(as_measures(measure), "sweep")
    as_count(block, "block")
    flag(overwrite, "overwrite")
    callback(progress, "progress")
    if workers is not None:
        as_count(workers, "workers")
    if stack is not None:
        flag(stack, "stack")
    if channels is not None:
        one_of(channels, inputs.PLACES, "channels")
    out = Path(os.path.abspath(out))
    files.check(out, out)
    there = [] if overwrite else [name for name in RESULT if os.path.lexists(out / name)]
    if there and not (out / jobs.RECIPE).exists():  # of something else than a sweep
        raise files.exists(out / there[0])
    work = _work(out, measure, channels)
    try:
        with alone(out):
            jobs.begin(out, _settings(work, measure))
            files.clear(out / FOLDER)  # a worker elsewhere may still be at it
            sources = _sources(features, measure, stack, channels, out)
            plan = plans.Plan.of(sources, work.x64)
            plans.read_blocks(plan, work, sorted((out / FOLDER).glob("[!.]*.npz")))
            if there:
                if (done := _finished(plan, work, out)) is None:
                    raise files.exists(out / there[0])
                _warn(plan, measure)
                return done
            for _ in range(ROUNDS):
                missing = plan.blocks(work, block)
                if not missing:
                    break
                tell = Progress(
                    out, [one.name for one in missing], len(plan.made), engines.described(executor, workers), progress
                )
                chosen = {"workers": workers, "address": address, "options": options}
                with engines.started(executor, work, len(missing), **chosen) as lanes:
                    engines.run(lanes, blocks.compute, work, missing, tell)
                plans.read_blocks(plan, work, [path for one in missing if (path := work.path(one.name)).exists()])
            if not plan.known.all():
                raise OSError(f"{out}: blocks are damaged or gone as soon as they are written; see to the disk.")
            found = _collected(plan, measure)
            with file_sets.staged(out, RESULT, overwrite=overwrite) as new:
                found.save(new / RESULT[0])
                io.write_csv_matrix(new / RESULT[1], found.values, found.names, found.targets)
    except KeyboardInterrupt as stop:
        text = f"blocks that are done are kept in {out}, and the next run goes on there"
        raise KeyboardInterrupt(str(stop) or text) from None
    _warn(plan, measure)
    return found


def _work(out: Path, measure: Measure, channels: str | None) -> Work:
    plain = Work(
        folder=str(out),
        measure=_by_name_if_it_has_one(measure),
        settings="",
        version=blocks.version(),
        channels=channels or "last",
        x64=bool(jax.config.read("jax_enable_x64")),
        unlimited=math.isinf(limits.most(1)),
    )
    return Work(**{**vars(plain), "settings": jobs.sha256_of_json(_settings(plain, measure))})


def _by_name_if_it_has_one(measure: Measure) -> str | Measure:
    try:
        return str(measure) if by_name(str(measure)) == measure else measure
    except (ValueError, TypeError):
        return measure


def _settings(work: Work, measure: Measure) -> dict[str, Any]:
    """What scores depend on beside the features."""
    arrays = [jobs.sha256(np.asarray(leaf)) for leaf in jax.tree.leaves(measure)]
    return {
        "work": "sweep",
        "measure": str(measure),
        "arrays": arrays,
        "channels": work.channels,
        "x64": work.x64,
        "jaxsim": work.version,
    }


def _sources(
    features: Any, measure: Measure, stack: bool | None, channels: str | None, out: Path
) -> Mapping[str, Source]:
    if isinstance(features, Mapping) or hasattr(features, "ndim"):
        if stack is not None:
            raise ValueError("stack says what files hold, and these features are arrays; leave it out.")
        return _stored(features, measure, channels, out / "features")
    listed = [features] if isinstance(features, str | Path) else [*features]
    if odd := [one for one in listed if not isinstance(one, str | Path)]:
        kind = type(odd[0]).__name__
        raise TypeError(
            f"features must be files, folders, a mapping of name to array or a stack, not a list of {kind}."
        )
    if stack is None and (len(listed) > 1 or any(Path(one).is_dir() for one in listed)):
        stack = False
    return plans.find_sources(listed, measure, stack, channels)


def _stored(features: Any, measure: Measure, channels: str | None, folder: Path) -> dict[str, Source]:
    """Arrays in memory as files named after their checksums, which workers read."""
    if isinstance(features, Mapping):
        shapes = {f"network {str(name)!r}": np.shape(x) for name, x in features.items()}
        plans.refuse_other_numbers({name: shape[0] for name, shape in shapes.items() if shape})
    nets = inputs.networks(features)
    labels = nets.ids or ((),) * len(nets.names)
    for name, ids in zip(nets.names, labels, strict=True):
        plans.refuse_other_ids(f"network {nets.names[0]!r}", f"network {name!r}", labels[0], ids)
    plans.require_several(nets.names)
    plans.check_shapes(dict(zip(nets.names, nets.shapes, strict=True)), measure, channels)
    found = {}
    for name, array in zip(nets.names, nets.arrays, strict=True):
        values = np.asarray(array)
        checksum = jobs.sha256(values)
        path = folder / f"{checksum}.npz"
        if not path.exists():
            io.write_npz(path, {"x": values})
        found[name] = Source(str(path), "x", False, values.shape, checksum)
    return found


def _finished(plan: plans.Plan, work: Work, out: Path) -> Affinity | None:
    """The matrix in the folder, if it is that of all networks as they are; else None.

    None too for functions of one's own, which may have changed under their name.
    """
    if not isinstance(work.measure, str) or not plan.known.all():
        return None
    if not all((out / name).is_file() and (out / name).stat().st_size for name in RESULT):
        return None
    found = load(out / RESULT[0])
    same = isinstance(found, Affinity) and found.names == tuple(plan.sources)
    return found if same and np.array_equal(found.values, plan.matrix(), equal_nan=True) else None


def _collected(plan: plans.Plan, measure: Measure) -> Affinity:
    """The matrix, with what its blocks say of where they were made."""
    values, names = plan.matrix(), tuple(plan.sources)
    images = next(iter(plan.sources.values())).shape[0]
    devices = sorted({record["device"] for record in plan.made})
    versions = [tuple(record["versions"].items()) for record in plan.made]
    notes = [f"a sweep of {files.counted(len(plan.made), 'block')}"]
    if len(set(versions)) > 1:
        notes.append("blocks were made with different versions of packages; these are of the last one")
    provenance = Provenance(
        measure=str(measure),
        dtype=str(values.dtype),
        device=", ".join(devices),
        versions=versions[-1],
        notes=tuple(notes),
    )
    undefined = tuple(
        (name, plan.undefined[one.checksum][0]) for name, one in plan.sources.items() if one.checksum in plan.undefined
    )
    return Affinity(values, np.full(values.shape, images), names, names, provenance, undefined)


def _warn(plan: plans.Plan, measure: Measure) -> None:
    for name, source in plan.sources.items():
        if source.checksum in plan.undefined:
            why = plan.undefined[source.checksum][1]
            files.warn(f"network {name!r} has no {measure} scores (NaN): {why}.", UndefinedScores)
        elif words := plan.lost.get(source.checksum):
            files.warn(
                f"network {name!r} loses digits on which its {measure} scores may depend: {words}.", RuntimeWarning
            )
    scored = np.array([source.checksum not in plan.undefined for source in plan.sources.values()])
    pairs = np.argwhere(np.triu(np.isnan(plan.matrix()) & scored & scored[:, None]))
    if len(pairs):
        names = tuple(plan.sources)
        files.warn(reasons.of_pairs(measure, names, names, pairs), UndefinedScores)
