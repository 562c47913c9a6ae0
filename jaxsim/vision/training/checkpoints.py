"""Checkpoints with a SHA-256 per array: written whole, verified on load, the last good one found."""

import contextlib
import json
import logging
import os
import re
import shutil
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

from jaxsim.io import folders
from jaxsim.io.checksums import sha256, sha256_of_json
from jaxsim.io.json_files import differing

KEPT = 3
"""How many of the newest checkpoints stay."""

_NAME = re.compile(r"step_(\d{8,})")
_SYSTEM = re.compile(r"os_error_code='(\d+)'")
"""How the storage library says which error of the system it met."""


class Damaged(Exception):
    """A checkpoint whose bytes are not those that were written."""


def save(folder: Path, step: int, tree: Any, run: dict[str, Any], feed: Any = None) -> Path:
    """Write the arrays of `tree` as `folder/step_00000250`, whole or not at all, and drop the oldest but `KEPT`.

    Args:
        folder: where the run's checkpoints are; made if missing.
        step: number of steps taken.
        tree: any pytree of arrays.
        run: the run's settings, JSON types; `restore` refuses checkpoints of other settings.
        feed: where the batches are, JSON types; None where the step says it.

    Raises:
        OSError: the folder cannot be written, or the disk is full; earlier checkpoints stay.
    """
    arrays = _flat(tree)
    content = {"step": step, "run": run, "sha256": {name: sha256(values) for name, values in arrays.items()}}
    content |= {} if feed is None else {"feed": feed}
    target = folder / f"step_{step:08d}"
    record = json.dumps({"content": content, "sha256": sha256_of_json(content)}, indent=1)
    with folders.whole(target, f"checkpoint {target}") as partial:
        _write_arrays(partial / "arrays", arrays)
        folders.write(partial / "checksums.json", record.encode())
        if target.exists():
            _remove(target)
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
    except (ValueError, RuntimeError) as error:  # what the storage library makes of an error of the system
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
    """The newest checkpoint that is as it was written, as (step, tree, feed); None where there is none at all.

    Damaged ones are named in a warning and passed over; what a killed process left unfinished is removed.

    Args:
        folder: where the run's checkpoints are.
        template_of: function of the step that gives a tree with the shapes and types to expect.
        run: the run's settings.

    Raises:
        ValueError: all checkpoints are damaged, or they were written by a run with other settings.
    """
    for partial in folder.glob(f".*{folders.PART}"):
        shutil.rmtree(partial, ignore_errors=True)
    found, reasons = _found(folder)[::-1], []
    for path in found:
        try:
            checkpoint = _read(path, template_of, run)
        except Damaged as error:
            reasons.append(f"{path} is damaged ({error})")
            continue
        for reason in reasons:
            warnings.warn(f"{reason}; training resumes from step {checkpoint[0]}.", RuntimeWarning, stacklevel=4)
        return checkpoint
    if found:
        raise ValueError(f"No checkpoint in {folder} can be used: {'; '.join(reasons)}. Remove them to start anew.")
    return None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder until the block ends; one that is killed lets go by itself.

    Raises:
        ValueError: another process trains there.
    """
    with contextlib.suppress(OSError):  # where it cannot be made, `save` will say so
        folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None or not folder.is_dir():
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(place)
        raise ValueError(f"Another process trains in {folder}: wait for it, or give another folder.") from None
    except OSError:  # the file system has no locks
        pass
    try:
        yield
    finally:
        os.close(place)


def _read(path: Path, template_of: Any, run: dict[str, Any]) -> tuple[int, Any, Any]:
    from orbax.checkpoint import v1 as ocp

    content = _checksums(path)
    step, sums = content["step"], content["sha256"]
    _check_run(path, content["run"], run)
    template = template_of(step)
    expected = _flat(template)
    try:
        arrays = ocp.load(str((path / "arrays").absolute()), {k: np.empty_like(v) for k, v in expected.items()})
    except Exception as error:  # noqa: BLE001 (storage libraries raise many kinds, all of which mean damage here)
        raise Damaged(f"it cannot be read: {type(error).__name__}") from None
    for name, values in expected.items():
        if arrays[name].shape != values.shape or sha256(arrays[name]) != sums.get(name):
            raise Damaged(f"array {name!r} differs from its checksum")
    tree = jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in expected])
    return step, tree, content.get("feed")


def _checksums(path: Path) -> dict[str, Any]:
    try:
        written = json.loads((path / "checksums.json").read_text(encoding="utf-8"))
        content, digest = written["content"], written["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Damaged(f"checksums.json cannot be read: {type(error).__name__}") from None
    if sha256_of_json(content) != digest or path.name != f"step_{content['step']:08d}":
        raise Damaged("checksums.json is not as it was written")
    return content


def _check_run(path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    ours = json.loads(json.dumps(ours))
    if different := differing(theirs, ours):
        name = min(different)
        here, there = (textwrap.shorten(str(run.get(name)), 100) for run in (ours, theirs))
        raise ValueError(
            f"{path} belongs to another run: its {name} is {there}, here it is {here}. "
            "Give the same settings or another folder."
        )


def _found(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    matches = [(m, path) for path in folder.glob("step_*") if (m := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted((int(m[1]), path) for m, path in matches)]


def _remove(path: Path) -> None:
    """Take the name away first, so that no half-removed checkpoint is ever found."""
    doomed = folders.hidden(path)
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _flat(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(values) for path, values in leaves}
