"""Limits on the memory that a small file may request, far above what real files need, and a way to lift them."""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

RATIO, FLOOR = 200, 2**26
"""Bytes of memory allowed per byte of a file, and bytes allowed for every file."""
EMPTY = 2**20
"""Longest axis of an empty array."""
_lifted = ContextVar("lifted", default=False)


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """Allow files in the block to take more than 200 times their size in memory; only use it for trusted files.

    >>> with unlimited():
    ...     check(2**40, 100, "a sparse table")
    >>> check(2**40, 100, "a sparse table")
    Traceback (most recent call last):
    ValueError: a sparse table takes 1.1e+06 MB of memory, over 200 times its 0.0001 MB in the file; if ...
    """
    token = _lifted.set(True)
    try:
        yield
    finally:
        _lifted.reset(token)


def most(stored: int) -> float:
    """Bytes of memory that a file of `stored` bytes may take."""
    return math.inf if _lifted.get() else max(FLOOR, RATIO * stored)


def check(size: int, stored: int, what: str) -> None:
    """Reject data that takes far more memory than its file has bytes.

    Raises:
        ValueError: it does; the message starts with `what`.
    """
    if size > most(stored):
        raise ValueError(
            f"{what} takes {size / 1e6:.2g} MB of memory, over {RATIO} times its {stored / 1e6:.2g} MB in the file; "
            "if you trust it, give --unlimited, or read it within jaxsim.io.unlimited()"
        )


def check_empty(shape: tuple[int, ...], itemsize: int) -> None:
    """Reject an array of zero bytes with a huge axis.

    Raises:
        ValueError: it is such an array.
    """
    if math.prod(shape) * itemsize == 0 and max(shape, default=0) > EMPTY and not _lifted.get():
        raise ValueError(f"an array of shape {shape} is empty, but its longest axis is over {EMPTY}")
