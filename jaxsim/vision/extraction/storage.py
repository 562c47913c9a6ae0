"""Features on their way to disk: rows appended in a folder of their own, which is renamed when all are there."""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import io
from jaxsim.io import folders
from jaxsim.io.json_files import differing
from jaxsim.vision.extraction import npy_rows

MARK = "features.json"
IDS = "image_ids.npy"
SECONDS = 5.0
"""Between two times that what is there is flushed to the disk and noted down: what a kill can cost."""
PARTS = ("job.json", "done.json", "unfinished", "replaced")
"""What `OUT.part` holds; hidden files beside it are what a kill has left."""


class Unfinished(OSError, ValueError):
    """Taking features has stopped, and what is done is kept.

    Attributes:
        reason: what has stopped it, in one sentence.

    >>> Unfinished("a.png is damaged.", 2, 4, Path("out.part")).reason
    'a.png is damaged.'
    """

    def __init__(self, reason: str, done: int, count: int, part: Path):
        self.reason = f"{reason.rstrip('. ')}."
        kept = f"{done} of {count} pictures are done and kept in {part}"
        super().__init__(f"{self.reason} {kept}: the same command goes on there once this is mended.")


class Store:
    """Rows of several arrays that are being written.

    Attributes:
        done: pictures whose rows are all there.
    """

    def __init__(self, part: Path, ids: Sequence[str], rows: Mapping[str, tuple[int, ...]], done: int):
        self.part, self.ids, self.rows, self.done = part, tuple(ids), dict(rows), done
        self._files = {
            name: npy_rows.opened_at(_file(part, name), done, len(ids), shape) for name, shape in rows.items()
        }
        folders.flush(part / "unfinished")
        self._noted = time.monotonic()

    def append(self, values: Mapping[str, np.ndarray]) -> None:
        """Write the rows of the next pictures; what is there is noted down every few seconds.

        Raises:
            ValueError: an array has not the shape that was announced.
            OSError: it cannot be written.
        """
        arrays = {name: np.ascontiguousarray(values[name], npy_rows.DTYPE) for name in self.rows}
        for name, shape in self.rows.items():
            if arrays[name].shape[1:] != shape:
                raise ValueError(f"{name} has features of shape {arrays[name].shape[1:]}; {shape} was announced.")
        for name, array in arrays.items():
            with folders.one_sentence(_file(self.part, name)):
                npy_rows.write_all(self._files[name], array.data)
        self.done += len(next(iter(arrays.values())))
        if time.monotonic() - self._noted >= SECONDS:
            self.commit()

    def commit(self) -> None:
        """Flush what is there to the disk, then note down how much it is."""
        for file in self._files.values():
            os.fsync(file.fileno())
        _note_done(self.part, self.done)
        self._noted = time.monotonic()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


@contextlib.contextmanager
def opened(
    out: str | Path,
    job: Mapping[str, Any],
    ids: Sequence[str],
    rows: Mapping[str, tuple[int, ...]],
    *,
    overwrite: bool = False,
) -> Iterator[Store]:
    """Begin, or go on with, features in the folder `out`, which is there when the block has ended and not before.

    Meanwhile they are in `OUT.part`, which `read_features` refuses. If the block raises, or the process is killed,
    they stay there, and the same call goes on. The pictures may have changed, but for those that are done.

    Args:
        out: the folder to be made.
        job: what the result depends on, as JSON; it must be the same to go on, and is written beside the features.
        ids: of the pictures, in the order of the rows.
        rows: shape of one picture's features, by the name of their file.
        overwrite: replace features that are there, and what is left of a job with other settings.

    Raises:
        FileExistsError: `out` is there already, or what is left of another job.
        ValueError: what is left of a job is damaged.
        OSError: the folder cannot be written, the disk is full, or another process is writing the same features.
    """
    out = Path(os.path.realpath(out))
    check(out, overwrite)
    part = part_of(out)
    with folders.one_sentence(out):
        part.mkdir(parents=True, exist_ok=True)
    with npy_rows.alone(part):
        done = _resumed(part, json.loads(json.dumps(job)), ids, rows, overwrite)
        store = None
        try:
            with folders.one_sentence(out):
                _check_space(part, rows, len(ids) - done)
                store = Store(part, ids, rows, done)
            yield store
            if store.done != len(ids):
                raise ValueError(f"Features of {store.done} pictures were written where {len(ids)} were announced.")
            with folders.one_sentence(out):
                store.commit()
        except BaseException:
            with contextlib.suppress(OSError):
                if store is not None:
                    store.commit()
            if (done if store is None else store.done) == 0:
                shutil.rmtree(part, ignore_errors=True)
            raise
        finally:
            if store is not None:
                store.close()
        with folders.one_sentence(out):
            _publish(out, part, job, ids)


def part_of(out: str | Path) -> Path:
    """The folder of features that are not complete."""
    return Path(out).with_name(Path(out).name + ".part")


def _file(part: Path, name: str) -> Path:
    return part / "unfinished" / f"{name}.npy"


def check(out: str | Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be made or replaced, before any work.

    Raises:
        FileExistsError: it holds features and `overwrite` is False, or holds anything else.
        OSError: it cannot be written.
    """
    out = Path(os.path.realpath(out))
    folders.check(out.parent if out.is_dir() else out, out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    strange = [path.name for path in out.iterdir() if path.suffix != ".npy" and path.name != MARK]
    if strange or not (out / MARK).is_file():
        raise FileExistsError(f"{out} is there already and holds other things than features taken by jaxsim.")
    if not overwrite:
        part = part_of(out)
        if part.is_dir() and _is_ours(part) and not (part / "unfinished").exists():
            shutil.rmtree(part, ignore_errors=True)  # what a kill in the last moment has left
        raise FileExistsError(f"{out} already exists; pass overwrite=True to replace it.")


def _resumed(part: Path, job: Any, ids: Sequence[str], rows: Mapping[str, tuple[int, ...]], overwrite: bool) -> int:
    """How many pictures are done; the folder is made ready for the rest."""
    try:
        done = _done(part, job, ids, rows)
    except (FileExistsError, ValueError):
        if not overwrite:
            raise
        done = None
    if done is None:
        if not _is_ours(part):
            raise FileExistsError(f"{part}, where features are kept until they are complete, holds other things.")
        for left in part.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        with folders.one_sentence(part):
            _write_json(part / "job.json", {"job": job, "ids": list(ids)})
            _note_done(part, 0)
            (part / "unfinished").mkdir()
        return 0
    with folders.one_sentence(part):
        _write_json(part / "job.json", {"job": job, "ids": list(ids)})
    return done


def _done(part: Path, job: Any, ids: Sequence[str], rows: Mapping[str, tuple[int, ...]]) -> int | None:
    """How many pictures an earlier run of the same job has done; None where there is nothing to go on with."""
    if not (part / "unfinished").is_dir():
        return None
    again = "pass overwrite=True to start anew"
    try:
        left = json.loads((part / "job.json").read_text(encoding="utf-8"))
        done = json.loads((part / "done.json").read_text(encoding="utf-8"))["pictures"]
        theirs, before = left["job"], left["ids"]
        if type(done) is not int or not 0 <= done <= len(before):
            raise ValueError(f"{done} pictures of {len(before)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{part} is damaged, its records cannot be read; {again}.") from error
    if other := differing(theirs, job):
        raise FileExistsError(f"{part} is left of a job that differs in {' and '.join(other)}; {again}.")
    if before[:done] != list(ids[:done]):
        raise FileExistsError(f"{part} is left of a job on other pictures; {again}.")
    for name, shape in rows.items() if done else ():
        file, least = _file(part, name), len(npy_rows.header(len(ids), shape)) + done * npy_rows.row_bytes(shape)
        if not file.is_file() or file.stat().st_size < least:
            raise ValueError(f"{part} is damaged, {file.name} is shorter than its record says; {again}.")
    return done


def _is_ours(part: Path) -> bool:
    return all(path.name in PARTS or path.name.startswith(".") for path in part.iterdir())


def _check_space(part: Path, rows: Mapping[str, tuple[int, ...]], count: int) -> None:
    needed, free = count * sum(map(npy_rows.row_bytes, rows.values())), shutil.disk_usage(part).free
    if needed > free:
        text = f"the features need {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} GB left"
        raise OSError(errno.ENOSPC, text)


def _note_done(part: Path, done: int) -> None:
    _write_json(part / "done.json", {"pictures": done})


def _write_json(path: Path, content: Any) -> None:
    io.write_text(path, json.dumps(content, indent=1) + "\n", overwrite=True)


def _publish(out: Path, part: Path, job: Mapping[str, Any], ids: Sequence[str]) -> None:
    """Put the complete features in place of `out` by renaming their folder."""
    whole = part / "unfinished"
    folders.write(whole / IDS, npy_rows.npy(np.asarray(ids, dtype=np.str_)))
    folders.write(whole / MARK, (json.dumps({"pictures": len(ids)} | dict(job), indent=1) + "\n").encode())
    replaces = out.is_dir() and any(out.iterdir())
    if replaces:
        out.rename(part / "replaced")
    try:
        whole.rename(out)
    except OSError:
        if replaces:
            (part / "replaced").rename(out)
        raise
    folders.flush(out.parent)
    shutil.rmtree(part, ignore_errors=True)
