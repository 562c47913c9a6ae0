"""Checks of arguments: shapes, dtypes and host numbers, never array values."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

P = ParamSpec("P")
R = TypeVar("R")
ARRAYS = (jax.Array, np.ndarray, np.generic, float, int)
MOST = np.iinfo(np.int32).max
"""Largest allowed number of resamples, images and the like."""
LONGEST = 60
"""Number of characters to show of a value in a message."""


def compiled(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function into one program with `jax.jit`, instead of one per operation; `static` names host arguments.

    Lists, objects that are not arrays, and arrays given for those host arguments go to the plain function and its
    checks.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        program, names = jax.jit(function, static_argnames=static), tuple(inspect.signature(function).parameters)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            known = all(
                not isinstance(v, jax.Array | np.ndarray) if name in static else v is None or isinstance(v, ARRAYS)
                for name, v in given.items()
            )
            return (program if known else function)(*args, **kwargs)

        return call

    return decorate


def floating(array: ArrayLike, name: str, axes: str | None = None) -> jax.Array:
    """Convert to a JAX array of real floating dtype.

    `axes` spells out the required axes, such as `(B, S, T)`; None allows any.

    Raises:
        TypeError: it contains integers, booleans or complex numbers.
        ValueError: it has the wrong number of axes.
    """
    array = jnp.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must hold real floating-point numbers, but has dtype {array.dtype}.")
    if axes is not None and array.ndim != len(re.findall(r"\w+", axes)):
        raise ValueError(f"{name} must have shape {axes}, but has shape {array.shape}.")
    return array


def resampled(values: ArrayLike, axes: str | None = None) -> jax.Array:
    """Convert scores whose first axis has at least one resample.

    Raises:
        ValueError: there is no such axis, or it is empty.
    """
    values = floating(values, "values", axes)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(f"values needs a first axis of at least one resample, but has shape {values.shape}.")
    return values


def pair(values: ArrayLike, estimate: ArrayLike, axes: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Convert resampled scores `(B, ...)` and their estimate `(...)`.

    Raises:
        ValueError: the shapes do not match.
    """
    values, estimate = resampled(values, axes), floating(estimate, "estimate")
    if values.shape[1:] != estimate.shape:
        raise ValueError(f"estimate has shape {estimate.shape}, but one resample of values has {values.shape[1:]}.")
    return values, estimate.astype(values.dtype)


def probability(level: float, name: str = "level") -> float:
    """Return a level strictly between 0 and 1 as a Python number.

    Raises:
        ValueError: it is not such a number.
    """
    array = isinstance(level, jax.Array | np.ndarray) and not isinstance(level, Tracer) and level.ndim == 0
    if not (array or is_number(level)) or not 0 < level < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, but is {shown(level)}.")
    return float(level)


def mask_of(mask: ArrayLike | None, shape: tuple[int, ...], default: bool, name: str) -> jax.Array:
    """Convert a boolean mask of `shape`; None sets every entry to `default`.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: it has the wrong shape.
    """
    if mask is None:
        return jnp.full(shape, default)
    marks: jax.Array = jnp.asarray(mask)
    if marks.dtype != jnp.bool_:
        raise TypeError(f"{name} must be boolean, but has dtype {marks.dtype}.")
    if marks.shape != shape:
        raise ValueError(f"{name} has shape {marks.shape}, but the scores have shape {shape}.")
    return marks


def is_whole(value: Any) -> bool:
    """Whether this is a whole number, in Python or NumPy."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether this is a real number, in Python or NumPy."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """The value as one short line for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({type(value).__name__})"


def flag(value: Any, name: str) -> bool:
    """Return True or False.

    Raises:
        TypeError: it is neither; a string such as "no" would count as True.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {shown(value)}.")
    return bool(value)


def one_of(value: Any, known: Iterable[str], name: str) -> str:
    """Return one of the known strings.

    Raises:
        ValueError: it is not one of them.
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {shown(value)}.")
    return value


def as_count(value: Any, name: str, least: int = 1) -> int:
    """Return a whole number between `least` and what a device can count, as a Python number.

    Raises:
        ValueError: it is not such a number.
    """
    if not is_whole(value) or not least <= value <= MOST:
        raise ValueError(f"{name} must be a whole number from {least} to 2^31 - 1, not {shown(value)}.")
    return int(value)


def callback(function: Any, name: str) -> Any:
    """Return a function to call between steps, or None.

    Raises:
        TypeError: it is not callable.
    """
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a function, or None, not {shown(function)}.")
    return function


def as_key(key: Any) -> Any:
    """A typed random key, from such a key or from a seed.

    Raises:
        TypeError: it is neither.
        ValueError: the seed does not fit in 32 bits, and a key would keep only the last 32.
    """
    dtype: Any = getattr(key, "dtype", None)
    shape = getattr(key, "shape", None)
    number = shape == () and jnp.issubdtype(dtype, jnp.integer)
    if number and isinstance(key, Tracer):
        return jax.random.key(key)
    if number or is_whole(key):
        # a seed known on the host stays known under tracing, and its transfer is intended
        with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
            seed = int(key)
            if not 0 <= seed < 2**32:
                raise ValueError(f"key must be a random key, or a seed from 0 to 2^32 - 1, not {seed}.")
            return jax.random.key(seed)
    if not isinstance(key, jax.Array) or shape or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        what = f"{dtype} of shape {shape}" if isinstance(key, jax.Array) else shown(key)
        raise TypeError(f"key must be one typed random key, jax.random.key(seed), or a whole number, not {what}.")
    return key
