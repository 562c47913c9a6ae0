"""Sums and counts of more digits than one float has, as pairs of float32: exact for whole numbers below 2^48."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Total(NamedTuple):
    """A sum `high + low`, both float32 of one shape."""

    high: jax.Array
    low: jax.Array


def zero(*shape: int) -> Total:
    """Totals of nothing."""
    return Total(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))


def _two(a, b):
    """Sum of floats and exactly what its rounding lost (Knuth 1969, section 4.2.2)."""
    high = a + b
    back = high - a
    return high, (a - (high - back)) + (b - back)


def added(a: Total, b: Total) -> Total:
    """The sum of two totals.

    >>> import jax.numpy as jnp
    >>> big, one = Total(jnp.float32(2**24), jnp.float32(0)), Total(jnp.float32(1), jnp.float32(0))
    >>> float(value(added(added(big, one), one)))
    16777218.0
    """
    high, low = _two(a.high, b.high)
    return Total(*_two(high, low + a.low + b.low))


def counted_up(counts: Int[Array, "*a"]) -> Total:
    """Whole numbers below 2^31 as totals, exactly."""
    rest = counts % 4096
    return Total((counts - rest).astype(jnp.float32), rest.astype(jnp.float32))


def summed(values: Float[Array, "*a n"]) -> Total:
    """Sums over the last axis, by halves.

    >>> import jax.numpy as jnp
    >>> float(value(summed(jnp.array([1e8, 1.0, 1.0, -1e8]))))
    2.0
    """
    high = values.astype(jnp.float32)
    total = Total(high, (values - high.astype(values.dtype)).astype(jnp.float32))
    while (n := total.high.shape[-1]) > 1:
        cuts = slice(0, n // 2), slice(n // 2, n - n % 2), slice(n - n % 2, n)
        first, second, rest = (Total(total.high[..., cut], total.low[..., cut]) for cut in cuts)
        pairs = zip(added(first, second), rest, strict=True)
        total = Total(*(jnp.concatenate(pair, -1) for pair in pairs))
    return Total(jnp.sum(total.high, -1), jnp.sum(total.low, -1))


def value(total: Total) -> np.ndarray:
    """The total in float64, on the host."""
    return np.asarray(total.high, np.float64) + np.asarray(total.low, np.float64)


def share(total: Total, of: Total) -> np.ndarray:
    """Ratio of totals in float64, on the host; NaN of nothing."""
    count = value(of)
    return np.where(count > 0, value(total) / np.where(count > 0, count, 1), np.nan)


def wide(values: Any) -> jax.Array:
    """Numbers as floats of at least 32 bits."""
    values = jnp.asarray(values)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def check(predicted: Any, actual: Any, mask: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless prediction and target have one shape, and the mask, if any, has `shape`."""
    if predicted.shape != actual.shape or (mask is not None and mask.shape != shape):
        masks = "" if mask is None else f" and a mask of shape {mask.shape}"
        raise ValueError(f"Predictions of shape {predicted.shape} do not fit a target of shape {actual.shape}{masks}.")
