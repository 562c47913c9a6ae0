"""Checkpoints with a SHA-256 per array: written completely, verified on load, with fallback to the last good one."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsim.io import files, jobs
from jaxsim.io.files import warn

RECORD = "checksums.json"
KEPT = 3
"""Number of the newest checkpoints to keep."""

_NAME = re.compile(r"step_(\d{8,})")
_SYSTEM = re.compile(r"os_error_code='(\d+)'")
"""Pattern of system errors in messages of the storage library."""


def save(folder: Path, step: int, tree: Any, run: dict[str, Any], feed: Any = None) -> Path:
    """Write the arrays of `tree` to `folder/step_00000250`, completely or not at all, keeping the newest `KEPT`.

    Args:
        folder: folder of the run's checkpoints; created if missing.
        step: number of steps taken.
        tree: any pytree of arrays.
        run: the run's settings, as JSON types; `restore` rejects checkpoints with other settings.
        feed: position in the batches, as JSON types; None if it follows from the step.

    Raises:
        OSError: the folder cannot be written to, or the disk is full; earlier checkpoints stay.
        OSError: the folder cannot be written, or the disk is full; earlier checkpoints stay.
    """
    arrays = _flat(tree)
    sums = {name: jobs.sha256(values) for name, values in arrays.items()}
    target = folder / f"step_{step:08d}"
    with files.atomic(target, overwrite=True, folder=True) as partial:
        _write_arrays(partial / "arrays", arrays)
        jobs.write_record(partial / RECORD, {"step": step, "run": run, "feed": feed, "arrays": sums})
    for old in _found(folder)[:-KEPT]:
        _remove(old)
    return target


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays.

    Raises:
        OSError: they cannot be written.
    """
    from orbax.checkpoint import v1 as ocp

    try:
        with _silent():
            ocp.save(str(path.absolute()), arrays)
    except (ValueError, RuntimeError) as error:  # how the storage library reports a system error
        code = _SYSTEM.search(str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the storage library's threads from printing the traceback of an error that is raised anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def restore(folder: Path, template_of: Any, run: dict[str, Any]) -> tuple[int, Any, Any] | None:
    """The newest undamaged checkpoint, as (step, tree, feed); None if there are no checkpoints.

    Damaged ones are skipped with a warning that names them. What a killed process left unfinished is removed.

    Args:
        folder: folder of the run's checkpoints.
        template_of: function of the step that returns a tree with the expected shapes and types.
        run: the run's settings.

    Raises:
        ValueError: all checkpoints are damaged, or they were written by a run with other settings.
        ValueError: all checkpoints are damaged, or they were written by a run with other settings.
    """
    files.clear(folder, held=True)
    found, reasons = _found(folder)[::-1], []
    for path in found:
        try:
            checkpoint = _read(path, template_of, run)
        except jobs.Damaged as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            warn(f"{reason} Training resumes from step {checkpoint[0]}.", RuntimeWarning)
        return checkpoint
    if found:
        raise ValueError(f"no checkpoint in {folder} can be used; remove them to start over. {' '.join(reasons)}")
    return None


def _read(path: Path, template_of: Any, run: dict[str, Any]) -> tuple[int, Any, Any]:
    from orbax.checkpoint import v1 as ocp

    record = jobs.read_record(path / RECORD)
    step = record["step"]
    if path.name != f"step_{step:08d}":
        raise jobs.Damaged(f"{path} is damaged: it is the checkpoint of another step, {step}.")
    jobs.agree(record["run"], run, path)
    template = template_of(step)
    expected = _flat(template)
    try:
        arrays = ocp.load(str((path / "arrays").absolute()), {k: np.empty_like(v) for k, v in expected.items()})
    except Exception as error:  # noqa: BLE001 (storage libraries raise many kinds, all of which mean damage here)
        raise jobs.Damaged(f"{path} is damaged: it cannot be read ({type(error).__name__}).") from None
    jobs.verify(path, arrays, record["arrays"])
    if any(arrays[name].shape != values.shape for name, values in expected.items()):
        raise jobs.Damaged(f"{path} is damaged: an array does not have the shape it was written with.")
    return step, jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in expected]), record["feed"]


def _found(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    matches = [(m, path) for path in folder.glob("step_*") if (m := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted((int(m[1]), path) for m, path in matches)]


def _remove(path: Path) -> None:
    """Rename it first, so that no half-removed checkpoint is ever found."""
    doomed = files.hidden(path)
    path.rename(doomed)
    files.remove(doomed)


def _flat(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(values) for path, values in leaves}
