"""Npy files written row by row."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

DTYPE = np.dtype("<f4")


def row_bytes(shape: Sequence[int]) -> int:
    """Bytes of one row of that shape."""
    return math.prod(shape) * DTYPE.itemsize


def header(count: int, shape: Sequence[int]) -> bytes:
    """Header of an npy file of `count` rows; its length does not depend on `count`."""
    text = io.BytesIO()
    what = {"descr": DTYPE.str, "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(text, what)
    return text.getvalue()


def opened_at(path: Path, done: int, count: int, shape: Sequence[int]) -> BinaryIO:
    """Open the file at the end of its finished rows; its header announces all rows, so readers reject it until done."""
    file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 (closed by the store)
    top = header(count, shape)
    try:
        write_all(file, memoryview(top))
        file.truncate(len(top) + done * row_bytes(shape))
        file.seek(0, os.SEEK_END)
    except BaseException:
        file.close()
        raise
    return file


def write_all(file: BinaryIO, content: memoryview) -> None:
    """Write everything, even if the system takes little at a time."""
    left = content.cast("B") if content.nbytes else memoryview(b"")
    while left:
        left = left[file.write(left) :]
