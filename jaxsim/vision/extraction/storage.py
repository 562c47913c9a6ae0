"""Features being written to disk: rows are appended in a temporary folder, which is renamed when complete."""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxsim.io import files, jobs
from jaxsim.vision.extraction import npy_rows

MARK = "features.json"
IDS = "image_ids.npy"
SECONDS = 5.0
"""Seconds between flushes; the most work a kill can lose."""
ANEW = "pass overwrite=True to start over"
PARTS = ("job.json", "done.json", "unfinished", "replaced")
"""Files and folders of `OUT.part`; hidden files next to it were left by a kill."""


class Unfinished(OSError, ValueError):
    """Feature extraction has stopped, and finished work is kept.

    Attributes:
        reason: why it stopped, in one sentence.

    >>> Unfinished("a.png is damaged.", 2, 4, Path("out.part")).reason
    'a.png is damaged.'
    """

    def __init__(self, reason: str, done: int, count: int, part: Path):
        self.reason = f"{reason.rstrip('. ')}."
        kept = f"{done} of {count} pictures are done and kept in {part}"
        super().__init__(f"{self.reason} {kept}; fix this and run the same command again to continue.")


class Store:
    """Rows of several arrays that are being written.

    Attributes:
        done: number of pictures whose rows are all written.
    """

    def __init__(self, part: Path, ids: Sequence[str], rows: Mapping[str, tuple[int, ...]], done: int):
        self.part, self.ids, self.rows, self.done = part, tuple(ids), dict(rows), done
        self._files: dict[str, BinaryIO] = {}
        try:
            for name, shape in rows.items():
                self._files[name] = npy_rows.opened_at(_file(part, name), done, len(ids), shape)
            files.flush(part / "unfinished")
        except BaseException:
            self.close()
            raise
        self._noted = time.monotonic()

    def append(self, values: Mapping[str, np.ndarray]) -> None:
        """Write the rows of the next pictures; progress is recorded every few seconds.

        Raises:
            ValueError: an array does not have the announced shape.
            OSError: it cannot be written.
        """
        arrays = {name: np.ascontiguousarray(values[name], npy_rows.DTYPE) for name in self.rows}
        for name, shape in self.rows.items():
            if arrays[name].shape[1:] != shape:
                raise ValueError(f"{name} has features of shape {arrays[name].shape[1:]}, not the expected {shape}.")
        for name, array in arrays.items():
            with files.one_sentence(_file(self.part, name)):
                npy_rows.write_all(self._files[name], array.data)
        self.done += len(next(iter(arrays.values())))
        if time.monotonic() - self._noted >= SECONDS:
            self.commit()

    def commit(self) -> None:
        """Flush what is written to disk, then record how much it is."""
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
    """Begin or resume features in the folder `out`, which appears when the block ends and not before.

    Until then they are in `OUT.part`, which `read_features` rejects. If the block raises, or the process is killed,
    they stay there, and the same call resumes. The pictures may have changed, except for those that are done.

    Args:
        out: folder to create.
        job: what the result depends on, as JSON; it must be the same to resume, and is written next to the features.
        ids: ids of the pictures, in the order of the rows.
        rows: shape of one picture's features, by file name.
        overwrite: replace existing features, and leftovers of a job with other settings.

    Raises:
        FileExistsError: `out` already exists, or `OUT.part` exists with something else in it.
        ValueError: the leftovers belong to another job, or are damaged.
        OSError: the folder cannot be written to, the disk is full, or another process is writing the same features.
    """
    out = Path(os.path.realpath(out))
    check(out, overwrite)
    part = part_of(out)
    with jobs.lock(part):
        done = _resumed(part, job, ids, rows, overwrite)
        store = None
        try:
            with files.one_sentence(out):
                _check_space(part, rows, len(ids) - done)
                store = Store(part, ids, rows, done)
            yield store
            if store.done != len(ids):
                raise ValueError(f"features of {store.done} pictures were written instead of {len(ids)}.")
            with files.one_sentence(out):
                store.commit()
        except BaseException:
            with contextlib.suppress(OSError):
                if store is not None:
                    store.commit()
            if (done if store is None else store.done) == 0:
                files.remove(part)
            raise
        finally:
            if store is not None:
                store.close()
        _publish(out, part, job, ids, overwrite)


def part_of(out: str | Path) -> Path:
    """The folder of incomplete features."""
    return Path(out).with_name(Path(out).name + ".part")


def _file(part: Path, name: str) -> Path:
    return files.inside(part / "unfinished", f"{name}.npy")


def check(out: str | Path, overwrite: bool) -> None:
    """Reject a folder that cannot be created or replaced, before any work.

    Raises:
        FileExistsError: it has features and `overwrite` is False, or it has anything else.
        OSError: it cannot be written to.
    """
    out = Path(os.path.realpath(out))
    files.check(out.parent if out.is_dir() else out, out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    strange = [path.name for path in out.iterdir() if path.suffix != ".npy" and path.name != MARK]
    if strange or not (out / MARK).is_file():
        raise FileExistsError(f"{out} already exists and contains other things than features extracted by jaxsim.")
    if not overwrite:
        part = part_of(out)
        if part.is_dir() and _is_ours(part) and not (part / "unfinished").exists():
            files.remove(part)  # left by a kill at the last moment
        raise FileExistsError(f"{out} already exists; pass overwrite=True to replace it.")


def _resumed(
    part: Path, job: Mapping[str, Any], ids: Sequence[str], rows: Mapping[str, tuple[int, ...]], overwrite: bool
) -> int:
    """Number of pictures that are done; prepare the folder for the rest."""
    try:
        done = _done(part, job, ids, rows)
    except ValueError:
        if not overwrite:
            raise
        done = None
    if done is None and not _is_ours(part):
        raise FileExistsError(f"{part}, where unfinished features are kept, contains other things.")
    with files.one_sentence(part):
        for left in part.iterdir() if done is None else ():
            files.remove(left)
        jobs.write_record(part / "job.json", {"job": job, "ids": list(ids)})
        if done is None:
            _note_done(part, 0)
            (part / "unfinished").mkdir()
    return done or 0


def _done(part: Path, job: Mapping[str, Any], ids: Sequence[str], rows: Mapping[str, tuple[int, ...]]) -> int | None:
    """Number of pictures that an earlier run of the same job finished, or None."""
    if not (part / "unfinished").is_dir():
        return None
    try:
        left, done = jobs.read_record(part / "job.json"), jobs.read_record(part / "done.json")["pictures"]
    except jobs.Damaged as error:
        raise jobs.Damaged(f"{part} is damaged: its records cannot be read; {ANEW}.") from error
    jobs.agree(left["job"], job, part, remedy=ANEW)
    if left["ids"][:done] != list(ids[:done]):
        raise ValueError(f"{part} was made with other pictures; {ANEW}.")
    for name, shape in rows.items() if done else ():
        file, least = _file(part, name), len(npy_rows.header(len(ids), shape)) + done * npy_rows.row_bytes(shape)
        if not file.is_file() or file.stat().st_size < least:
            raise jobs.Damaged(f"{part} is damaged: {file.name} is shorter than its record says; {ANEW}.")
    return done


def _is_ours(part: Path) -> bool:
    return all(path.name in PARTS or path.name.startswith(".") for path in part.iterdir())


def _check_space(part: Path, rows: Mapping[str, tuple[int, ...]], count: int) -> None:
    needed, free = count * sum(map(npy_rows.row_bytes, rows.values())), shutil.disk_usage(part).free
    if needed > free:
        text = f"the features need {needed / 1e9:.3g} GB, but the disk has only {free / 1e9:.3g} GB left"
        raise OSError(errno.ENOSPC, text)


def _note_done(part: Path, done: int) -> None:
    jobs.write_record(part / "done.json", {"pictures": done})


def _publish(out: Path, part: Path, job: Mapping[str, Any], ids: Sequence[str], overwrite: bool) -> None:
    """Replace `out` with the complete features by renaming their folder."""
    whole, published = part / "unfinished", False
    try:
        with files.one_sentence(out), files.held_back():
            np.save(whole / IDS, np.asarray(ids, dtype=np.str_))
            text = json.dumps({"pictures": len(ids)} | dict(job), indent=1) + "\n"
            (whole / MARK).write_text(text, encoding="utf-8")
            for name in (IDS, MARK):
                files.flush(whole / name)
            files.publish(whole, out, overwrite=overwrite, aside=part / "replaced")
            published = True
            files.remove(part)
    except KeyboardInterrupt:
        if published:
            raise files.interrupted_after(out) from None
        raise
