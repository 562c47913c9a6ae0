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
"""Number of times to compute blocks that turn out damaged as soon as they are written."""


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
    """Compute similarities of hundreds of networks, block by block, on any number of processes and machines.

    Each block of pairs is a file in `out` with a checksum. A run that was stopped or killed continues where it was,
    with any engine. Networks that are added, and files that have changed, only need their own pairs. The numbers depend
    only on the two networks of a pair and on the kind of device. On the same device and number of threads they are
    bit-identical however the work was split.

    Args:
        features: a folder, a file or a list of them, as accepted and named by `read_features`; or a mapping of name to
            `(n, ..., c)`, which is stored in `out`. All networks have the same images in the same order.
        measure: a measure or its name.
        out: folder of the sweep, which all workers see under the same path.
        executor: "processes" on this machine, one per GPU, or half as many as cores; "serial" in this process; "dask"
            or "submitit" (Slurm, if there is one); or any object with `submit(function, *args) -> future`, such as
            `dask.distributed.Client(...).get_executor(pure=False)`.
        workers: number of processes, or of simultaneous jobs. For your own executor, half the number of blocks in
            flight.
        block: number of networks in a group; a block is the pairs of two groups, at most `block ** 2` of them.
        stack: as for `read_features`; by default an array alone in its file is one network, except in a single file.
        channels: channels of all networks, as for `js.affinity`.
        address: address of the scheduler, with "dask"; by default a cluster on this machine.
        options: options for submitit's `update_parameters`, such as `{"slurm_partition": "gpu", "timeout_min": 60}`.
        overwrite: replace the matrix in `out` if networks were added or have changed; intact blocks are never
            deleted. A finished sweep just returns its matrix.
        progress: called with a `SweepStatus` as blocks finish.

    Returns:
        `Affinity` with `values (T, T)`, which is also saved in `out` as `affinity.npz` and `affinity.csv`. In float64
        if `jax_enable_x64` is set.

    Raises:
        BlockingIOError: another sweep is running in that folder.
        FileExistsError: a matrix of other networks is there and `overwrite` is False.
        KeyboardInterrupt: the run was interrupted; finished blocks stay.
        OSError: a file cannot be read or written, or the disk is full.
        RuntimeError: a block was lost by worker after worker.
        TypeError: the measure is not a measure, or cannot be sent to another process.
        ValueError: features do not fit or have changed during the run, or the folder has a sweep with other settings.

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
    if there and not (out / jobs.RECIPE).exists():  # not the files of a sweep
        raise files.exists(out / there[0])
    work = _work(out, measure, channels)
    try:
        with alone(out):
            jobs.begin(out, _settings(work, measure))
            files.clear(out / FOLDER)  # a worker elsewhere may still be running
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
                raise OSError(f"{out}: blocks are damaged or missing right after they are written; check the disk.")
            found = _collected(plan, measure)
            with file_sets.staged(out, RESULT, overwrite=overwrite) as new:
                found.save(new / RESULT[0])
                io.write_csv_matrix(new / RESULT[1], found.values, found.names, found.targets)
    except KeyboardInterrupt as stop:
        text = f"finished blocks are kept in {out}; the next run continues there"
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
    """What scores depend on besides the features."""
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
            raise ValueError("stack describes files, but these features are arrays; leave it out.")
        return _stored(features, measure, channels, out / "features")
    listed = [features] if isinstance(features, str | Path) else [*features]
    if odd := [one for one in listed if not isinstance(one, str | Path)]:
        kind = type(odd[0]).__name__
        raise TypeError(
            f"features must be files, folders, a mapping from names to arrays, or a stack, not a list of {kind}."
        )
    if stack is None and (len(listed) > 1 or any(Path(one).is_dir() for one in listed)):
        stack = False
    return plans.find_sources(listed, measure, stack, channels)


def _stored(features: Any, measure: Measure, channels: str | None, folder: Path) -> dict[str, Source]:
    """Arrays in memory, stored as files named by their checksums for the workers to read."""
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
    """The matrix in the folder if it matches all networks as they are now, else None.

    Also None for user-defined functions, which may have changed under the same name.
    """
    if not isinstance(work.measure, str) or not plan.known.all():
        return None
    if not all((out / name).is_file() and (out / name).stat().st_size for name in RESULT):
        return None
    found = load(out / RESULT[0])
    same = isinstance(found, Affinity) and found.names == tuple(plan.sources)
    return found if same and np.array_equal(found.values, plan.matrix(), equal_nan=True) else None


def _collected(plan: plans.Plan, measure: Measure) -> Affinity:
    """The matrix, with what its blocks say about where they were computed."""
    values, names = plan.matrix(), tuple(plan.sources)
    images = next(iter(plan.sources.values())).shape[0]
    devices = sorted({record["device"] for record in plan.made})
    versions = [tuple(record["versions"].items()) for record in plan.made]
    notes = [f"a sweep of {files.counted(len(plan.made), 'block')}"]
    if len(set(versions)) > 1:
        notes.append("blocks were made with different versions of packages; those of the last block are given")
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
