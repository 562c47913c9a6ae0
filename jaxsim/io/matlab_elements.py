"""Structure of MATLAB 5 files, checked before SciPy reads them, because SciPy crashes on invalid number types.

After a header of 128 bytes come elements: a type, a number of bytes, and the bytes, padded to a multiple of eight. An
array is an element made of elements: flags, sizes, name, and then numbers, text, or the arrays of a cell or a struct.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io import limits

ARRAY, COMPRESSED = 14, 15
NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes per number by type."""
TEXT = (1, 2, 3, 4, 16, 17, 18)
CELL, STRUCT, CHARACTERS, NUMERIC = 1, 2, 4, range(6, 16)
"""Classes of arrays."""
COMPLEX = 0x800
MOST_AXES = 32
Element = tuple[int, memoryview]


def load(path: Path, names: list[str] | None = None) -> dict[str, Any]:
    """Variables of a MATLAB 4 or 5 file, all of them or those with these names, as SciPy reads them.

    Raises:
        ValueError: the file is damaged, inflates to far more than its size, or contains something other than full
            arrays.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    check(path)
    try:
        return loadmat(path, variable_names=names)
    except MatReadError as error:
        raise ValueError(str(error)) from error


def check(path: Path) -> None:
    """Reject a MATLAB 5 file whose elements do not fit inside each other; other files are left to their readers.

    Raises:
        ValueError: the file is damaged, inflates to far more than its size, or contains something other than full
            arrays.
    """
    if path.stat().st_size < 128:
        return
    data = memoryview(np.memmap(path, np.uint8, "r"))  # type: ignore[arg-type]
    if 0 in data[:4]:  # MATLAB 4
        return
    order = {b"IM": "<", b"MI": ">"}.get(bytes(data[126:128]))
    if order is None:
        raise ValueError("its header does not give the byte order")
    total = 0
    for kind, content in _elements(data[128:], order):
        if kind == COMPRESSED:
            most = limits.most(len(data))
            stream = zlib.decompressobj()
            inflated = memoryview(stream.decompress(content, 0 if most == math.inf else int(most) + 1 - total))
            total += len(inflated)
            limits.check(total, len(data), "its content")
            ((kind, content),) = _elements(inflated, order, most=1)
        if kind == ARRAY:
            _check_array(content, order)


def _elements(data: memoryview, order: str, most: int | None = None) -> Iterator[Element]:
    """The first `most` elements of these bytes, or all."""
    at = count = 0
    while at < len(data) and count != most:
        kind, length = struct.unpack_from(f"{order}II", data, at)
        begin, end = at + 8, at + 8 + length
        if kind >> 16:  # up to four bytes are stored in place of their number
            kind, length = kind & 0xFFFF, kind >> 16
            begin, end = at + 4, at + 4 + length
            if length > 4:
                raise ValueError("a short element has more than four bytes")
        if end > len(data):
            raise ValueError("an element ends after the end of the file")
        yield kind, data[begin:end]
        at = at + 8 if begin == at + 4 else end + (-end % 8 if kind != COMPRESSED else 0)
        count += 1


def _check_array(content: memoryview, order: str) -> None:
    if not len(content):  # an empty cell
        return
    parts = _elements(content, order)
    flags, _ = struct.unpack(f"{order}II", _next(parts, (6,), 8))
    sizes, name = _next(parts, (5,)), _next(parts, (1,))
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if not 2 <= len(shape) <= MOST_AXES or min(shape) < 0:
        raise ValueError(f"an array has the sizes {shape[:MOST_AXES]}")
    kind, count = flags & 0xFF, math.prod(shape)
    if kind in NUMERIC:
        for _ in range(2 if flags & COMPLEX else 1):
            _next(parts, tuple(NUMBERS))
    elif kind == CHARACTERS:
        _next(parts, TEXT)
    elif kind in (CELL, STRUCT):
        fields = 1
        if kind == STRUCT:
            (width,) = struct.unpack(f"{order}i", _next(parts, (5,), 4))
            names = _next(parts, (1,))
            if width < 1 or len(names) % width:
                raise ValueError("a struct has field names of invalid lengths")
            fields = len(names) // width
        if count * fields > len(content):
            raise ValueError(f"an array of {count} elements is longer than its space in the file")
        for _ in range(count * fields):
            _check_array(_next(parts, (ARRAY,)), order)
    else:
        shown = bytes(name).decode(errors="replace")
        raise ValueError(f"variable {shown!r} is sparse or an object; store it as a full array")


def _next(parts: Iterator[Element], kinds: tuple[int, ...], size: int | None = None) -> memoryview:
    """Content of the next element, which must have one of these types."""
    kind, content = next(parts, (0, memoryview(b"")))
    if kind not in kinds or (size is not None and len(content) != size):
        raise ValueError(f"an element of type {kind} and {len(content)} bytes is in the wrong place")
    if kind in NUMBERS and len(content) % NUMBERS[kind]:
        raise ValueError(f"{len(content)} bytes are not a whole number of values of type {kind}")
    return content
