"""Casts of wide types (float64, int64, ...) to the type of scores, without losing the precision that a measure needs.

Identity numbers, times and offsets can lie so far from zero that float32 has few or no digits left for their
differences, and float64 has a wider range than float32. If a measure ignores a shift or a scale, the features are
shifted or scaled before the cast. Data that float32 represents well are cast directly. Floats already in the type of
scores are scaled too if they are near the ends of its range, because devices flush the smallest to zero and sums of the
largest overflow.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.protocols import (
    CONSTANT,
    MARGINS,
    SCALE,
    ComparatorCapabilities,
    PairwiseCapabilities,
    TransformCapabilities,
    declared,
)

NO_SHIFT, NUMBER, ROW = range(3)
"""Feature shifts that leave a score unchanged: none, one number for all features, or one row for all images."""
FAR = 16
"""Distance from zero, in units of the feature's range, above which features are shifted."""
VERY_FAR = 2**12
"""The same distance above which features that cannot be shifted are checked for lost digits."""
FEW = 8
"""Number of images to check first."""
SMALL = 4096
"""Number of array entries to check together."""
TINY, HUGE = 2.0**-100, 2.0**100
"""Sizes of the largest feature below and above which features are scaled."""


class Freedom(NamedTuple):
    """Changes of the features that leave the scores of a measure unchanged.

    Attributes:
        shift: `NO_SHIFT`, `NUMBER` or `ROW`.
        scale: whether the features may be multiplied by a positive number.
        each: whether each feature may be multiplied by its own number.
        weighs: whether a feature counts by its range, so that losing digits of a narrow one does not matter.
    """

    shift: int = NO_SHIFT
    scale: bool = False
    each: bool = False
    weighs: bool = False


def freedom(transform: Any, pairwise: Any, compare: Any) -> Freedom:
    """Changes of features that a transform, distance and comparator declare to ignore together."""
    t, p = declared(transform, TransformCapabilities), declared(pairwise, PairwiseCapabilities)
    invariance = declared(compare, ComparatorCapabilities).invariance
    row = p.ignores_shift or (p.inner_product and invariance >= MARGINS)
    shift = NO_SHIFT
    if t.ignores_shift or (t.keeps_shift and row):
        shift = ROW
    elif t.ignores_number or (t.keeps_shift and p.ignores_number):
        shift = NUMBER
    scale = t.ignores_scale or (t.keeps_scale and p.keeps_scale and invariance >= SCALE)
    return Freedom(shift, scale, t.ignores_scale, t.keeps_scale and p.keeps_scale)


def freedom_of_maps(compare: Any) -> Freedom:
    """Changes of precomputed maps that a comparator declares to ignore."""
    invariance = declared(compare, ComparatorCapabilities).invariance
    return Freedom(NUMBER if invariance >= CONSTANT else NO_SHIFT, invariance >= SCALE, weighs=True)


def score_type(dtype: Any) -> np.dtype:
    """Floating-point type used to compute with real numbers of that type."""
    return jax.dtypes.canonicalize_dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


@functools.cache
def is_real(dtype: Any) -> bool:
    """Whether numbers of that type are real, not complex numbers, objects, dates, strings, records or random keys."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating)
    # NumPy treats time spans as integers
    return any(jnp.issubdtype(dtype, kind) for kind in kinds) and dtype.kind != "m"


def as_floating(x: Any, free: Freedom) -> jax.Array:
    """Convert `x` to float32 or wider, since integers, booleans and half precision cannot represent inner products.

    Raises:
        TypeError: its elements are not real numbers.
    """
    dtype = getattr(x, "dtype", np.dtype(float))
    if not is_real(dtype):
        raise TypeError(f"features have elements of type {dtype}; they must be real numbers.")
    x = carried(x, free)[0] if is_wide(x) else x
    if isinstance(x, np.ndarray):  # JAX does not accept foreign byte orders
        x = x.astype(x.dtype.newbyteorder("="), copy=False)
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def is_wide(x: Any) -> bool:
    """Whether an array on the host contains numbers that its cast may change."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iuf":
        return False
    bits = 8 * x.dtype.itemsize
    target = np.finfo(score_type(x.dtype))
    return bits > target.bits if x.dtype.kind == "f" else bits > target.nmant + 1


def _is_host_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.size > 0


def careful(arrays: Sequence[Any], *, are_maps: bool = False) -> tuple[int, ...]:
    """Positions of the arrays that need care."""
    places = [k for k, x in enumerate(arrays) if _is_host_float(x) or is_wide(x)]
    if places and not are_maps:
        alike: dict[Any, list[int]] = {}
        for k in places:
            x = arrays[k]
            alike.setdefault((x.shape, x.dtype) if x.size <= SMALL else k, []).append(k)
        places = [k for group in alike.values() for k in _doubtful(arrays, group)]
    return tuple(k for k in sorted(places) if needs_care(arrays[k], is_map=are_maps))


def _doubtful(arrays, places):
    """Positions of arrays of one shape and type that a quick check does not clear."""
    x = np.stack([arrays[k] for k in places]) if len(places) > 1 else arrays[places[0]][None]
    flat = x.reshape(len(x), -1)
    high, low = flat.max(1), flat.min(1)
    target = np.finfo(score_type(x.dtype))
    with np.errstate(all="ignore"):
        if x.dtype.kind == "f":
            largest = np.maximum(high, -low)
            near = (largest >= TINY) & (largest <= HUGE)
            if is_wide(x):
                ranges = np.ptp(x[:, :FEW].reshape(len(x), min(FEW, x.shape[1]), -1), 1)
                near &= largest <= FAR * ranges.min(1)
        else:
            near = (high <= 2 ** (target.nmant + 1)) & (low >= -(2 ** (target.nmant + 1)))
    return [k for k, fine in zip(places, near.tolist(), strict=True) if not fine]


def needs_care(x: Any, *, is_map: bool = False) -> bool:
    """Whether the cast of an array depends on the measure.

    It does if the array, or one of its features, lies far from zero or near the ends of its type's range.
    """
    wide = is_wide(x)
    if not (wide or _is_host_float(x)):
        return False
    with np.errstate(all="ignore"):
        if _beyond(x) or not wide:
            return bool(_beyond(x))
        columns = _columns(x, is_map)
        return bool(_far(columns, FAR).size or (x.dtype.kind == "f" and _extreme(_largest(columns)).any()))


def carried(x: np.ndarray, free: Freedom, *, is_map: bool = False) -> tuple[np.ndarray, str]:
    """Cast an array `(n, ...)` to the type of scores, and describe the digits lost if there are many.

    Args:
        x: features, or a map.
        free: changes that may be made to it.
        is_map: whether it is a map, whose diagonal does not show how far it lies from zero.
    """
    dtype = score_type(x.dtype)
    with np.errstate(all="ignore"):
        x = _shifted(x, _columns(x, is_map), free.shift)
        if free.each and x.dtype.kind == "f":
            x = _leveled(x)
        beyond = _beyond(x)
        if beyond and free.scale:
            x, beyond = np.ldexp(x, -np.frexp(beyond)[1]), 0
        narrow = x.astype(dtype, copy=False)
        if beyond and not np.finfo(dtype).tiny <= beyond <= np.finfo(dtype).max:
            return narrow, f"its numbers, up to {beyond:.3g}, are beyond the range of {dtype}; scale them first"
        return narrow, _lost(_columns(x, is_map), free.weighs, dtype) if free.shift != ROW else ""


def _columns(x, is_map):
    """Columns `(n, d)` that can each be shifted; a map is one column, without its diagonal."""
    return x[~np.eye(len(x), dtype=bool)][:, None] if is_map else x.reshape(len(x), -1)


def _beyond(x):
    """Largest magnitude if scores cannot be computed at that size, else 0."""
    if x.dtype.kind != "f":
        return 0
    high, low = x.max(), x.min()
    if not np.isfinite(high - low):
        low, high = _ends(x, axis=None)
    largest = max(high, -low)
    return largest if _extreme(largest) else 0


def _extreme(largest):
    """Whether numbers up to `largest` are all too small or too large."""
    return ((largest > 0) & (largest < TINY)) | ((largest > HUGE) & (largest < np.inf))


def _largest(columns):
    return np.fmax.reduce(np.abs(columns))


def _leveled(x):
    """Scale each column that is too small or too large by its own power of two."""
    columns = x.reshape(len(x), -1)
    largest = _largest(columns)
    return np.ldexp(columns, np.where(_extreme(largest), -np.frexp(largest)[1], 0)).reshape(x.shape)


def _far(columns, ranges):
    """Columns of `(n, d)` that are at least this many of their ranges away from zero, and that the cast changes.

    The first FEW rows clear most columns, because the range over all rows is at least as large.
    """
    low, high = _ends(columns[:FEW])
    suspects = np.flatnonzero(~(_magnitude(low, high) <= ranges * _range(low, high)))
    some = columns[:, suspects]
    low, high = _ends(some)
    far = (_magnitude(low, high) > ranges * _range(low, high)) & (high > low)
    return suspects[far & (some.astype(score_type(some.dtype)).astype(some.dtype) != some).any(0)]


def _ends(columns, axis: int | None = 0):
    """Smallest and largest finite value; infinities keep their ranks wherever the other values lie."""
    if columns.dtype.kind == "f":
        columns = np.where(np.isinf(columns), np.nan, columns)
    return np.fmin.reduce(columns, axis=axis), np.fmax.reduce(columns, axis=axis)


def _magnitude(low, high):
    return np.maximum(np.abs(low.astype(float)), np.abs(high.astype(float)))


def _range(low, high):
    """Difference of the ends, which may not fit into the integer type."""
    return (high.astype(np.uint64) - low.astype(np.uint64)).astype(float) if low.dtype.kind in "iu" else high - low


def _less(x, low):
    """Small differences x - low, exact for integers of any size."""
    if x.dtype.kind == "f":
        return x - low
    return (x.astype(np.uint64) - low.astype(np.uint64)).view(np.int64).astype(float)


def _shifted(x, columns, shift):
    """Subtract the smallest value of each column, or of all columns, if it lies far from zero."""
    if shift == NUMBER:
        columns = columns.reshape(-1, 1)
    far = _far(columns, FAR) if shift != NO_SHIFT else ()
    if not len(far):
        return x
    low, _ = _ends(columns)
    if shift == NUMBER:
        return _less(x, low)
    near = np.setdiff1d(np.arange(low.size), far)
    moved = _less(columns, low)
    moved[:, near] = columns[:, near]
    return moved.reshape(x.shape)


def _lost(columns, weighs, dtype):
    """Text about digits that the cast of columns `(n, d)` loses; empty if their variation survives."""
    far = _far(columns, VERY_FAR)
    if not far.size:
        return ""
    some, low = columns[:, far], np.fmin.reduce(columns)
    narrow = some.astype(dtype)
    error = np.sqrt(np.mean((narrow.astype(np.longdouble) - some.astype(np.longdouble)) ** 2, 0))
    spread = np.std(_less(columns, low), 0)
    share = np.linalg.norm(error) / np.linalg.norm(spread) if weighs else np.max(error / spread[far])
    if not share > 1 / VERY_FAR:
        return ""
    worst = np.argmax(error / spread[far])
    before, after = (len(np.unique(a[:, worst])) for a in (some, narrow))
    text = f"{before} different values near {float(some[0, worst]):.3g} become {after} in {dtype}"
    return f"{text}; subtract an offset first"
