"""Checksums of functions: two of one name are two measures, and so is one whose text has changed."""

import functools
import hashlib
import inspect
import types
from typing import Any

import jax
import numpy as np

from jaxsim.io import jobs


def sha256(part: Any) -> str:
    """SHA-256 of what a part of a measure computes; empty for parts of the library, whose version says it.

    Of a function, that is its compiled code, its defaults and the values that it encloses; of an instance of a class of
    your own, the functions of the class. What these call by name elsewhere is not followed. Compiled code differs
    between versions of Python.

    >>> from jaxsim import compare
    >>> sha256(compare.pearson), sha256(functools.partial(sum, start=1)) == sha256(functools.partial(sum, start=2))
    ('', False)
    """
    told = [*_told(part)]
    return hashlib.sha256(repr(told).encode()).hexdigest() if told else ""


def _told(value):
    """What tells a function from others, as values that can be written down."""
    value = inspect.unwrap(getattr(value, "__func__", value))
    if isinstance(value, functools.partial):
        keywords = sorted((name, _written(one)) for name, one in value.keywords.items())
        yield from (*_told(value.func), *map(_written, value.args), keywords)
    elif inspect.isfunction(value):
        if not _is_ours(value):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            yield from map(_written, (value.__code__, value.__defaults__, value.__kwdefaults__, *cells))
    elif not inspect.isroutine(value) and not _is_ours(type(value)):
        yield sorted((name, _written(one)) for name, one in getattr(value, "__dict__", {}).items())
        for name, own in sorted(vars(type(value)).items()):
            own = getattr(own, "__func__", own)
            if inspect.isfunction(own):
                yield name, *_told(own)


def _is_ours(value):
    return value.__module__.partition(".")[0] in ("jaxsim", "builtins")


def _written(value):
    if isinstance(value, types.CodeType):
        return value.co_code.hex(), value.co_names, value.co_freevars, [*map(_written, value.co_consts)]
    if inspect.isfunction(value) or isinstance(value, functools.partial):
        return [*_told(value)]
    if isinstance(value, np.ndarray | jax.Array):
        return jobs.sha256(np.asarray(value))
    if isinstance(value, tuple | list):
        return [*map(_written, value)]
    return value if isinstance(value, str | int | float | bytes | bool | None) else type(value).__qualname__
