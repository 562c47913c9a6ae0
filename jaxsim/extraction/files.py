"""Npy files written row by row, and the file system's faults, locks and flushing."""

import contextlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

DTYPE = np.dtype("<f4")


def row_bytes(shape: Sequence[int]) -> int:
    """Of one row of that shape."""
    return math.prod(shape) * DTYPE.itemsize


def npy(array: np.ndarray) -> bytes:
    """An array as an npy file."""
    text = io.BytesIO()
    np.save(text, array)
    return text.getvalue()


def header(count: int, shape: Sequence[int]) -> bytes:
    """Of an npy file of `count` rows; its length does not depend on `count`."""
    text = io.BytesIO()
    what = {"descr": DTYPE.str, "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(text, what)
    return text.getvalue()


def opened_at(path: Path, done: int, count: int, shape: Sequence[int]) -> BinaryIO:
    """The file, announcing all rows and holding those done, at its end: too short to be read until it is complete."""
    file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 (closed by the store)
    top = header(count, shape)
    write_all(file, memoryview(top))
    file.truncate(len(top) + done * row_bytes(shape))
    file.seek(0, os.SEEK_END)
    return file


def write_all(file: BinaryIO, content: memoryview) -> None:
    """Write everything, however little the system takes at a time."""
    left = content.cast("B") if content.nbytes else memoryview(b"")
    while left:
        left = left[file.write(left) :]


def write(path: Path, content: bytes) -> None:
    """Write a file in a folder that no one reads yet, and flush it to the disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush(folder: Path) -> None:
    """Bring the folder's own entries to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def alone(part: Path) -> Iterator[None]:
    """Keep other processes out while the block runs; the lock ends with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    folder = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"{part} is being written by another process.") from error
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn errors of the system inside the block into one sentence that names `path`."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        kind = type(OSError(error.errno, ""))
        raise kind(f"{path} could not be written: {error.strerror[:1].lower() + error.strerror[1:]}.") from error
