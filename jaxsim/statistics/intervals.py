"""Standard errors and intervals of resampled scores, entry by entry.

`values` has shape `(B, ...)`, B resamples of scores, and `estimate` has the shape `(...)` of the full-sample scores,
usually `(B, S, T)` and `(S, T)`. An entry that is NaN in any resample or in the estimate becomes NaN, because the
resamples that do have a score are not a fair sample. Other entries are not affected. A single resample has no spread
and no quantiles: NaN. Results keep the dtype of `values`.
"""

import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike

from jaxsim.statistics import checks

ROUNDING = 100
"""Rounding units within which two scores are equal: sums in a different order differ by that much."""


@checks.compiled()
def gap(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """Difference of two scores, exactly zero if it is no more than rounding.

    Networks that are equal or linearly related have scores that differ only by rounding, and so do their resamples, so
    a ratio of such differences is not a statistic. Only this function defines how much is rounding: `ROUNDING` units of
    the larger score.

    Example:
        >>> import jax.numpy as jnp
        >>> gap(jnp.float32(0.5), jnp.array([0.5000005, 0.4])).tolist()
        [0.0, 0.09999999403953552]
    """
    first, second = checks.floating(first, "first"), checks.floating(second, "second")
    apart = first - second
    slack = ROUNDING * jnp.finfo(apart.dtype).eps * jnp.maximum(jnp.abs(first), jnp.abs(second))
    return jnp.where(jnp.abs(apart) <= slack, 0, apart)


@checks.compiled()
def spread(values: ArrayLike) -> jax.Array:
    """Standard deviation over the resamples.

    `sqrt(sum_b (v_b - mean v)^2 / (B - 1))`, shape `(...)`, in the units of the scores. For a bootstrap over images, it
    is the standard error (Efron 1979). NaN for a single resample; exactly 0 if all resamples are equal up to rounding
    (`gap`).

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(spread(jnp.array([[1.0], [2.0], [3.0]]))[0]), 6)
        1.0
    """
    values = checks.resampled(values)
    constant = (gap(jnp.max(values, axis=0), jnp.min(values, axis=0)) == 0) & (values.shape[0] > 1)
    return jnp.where(constant, 0, jnp.std(values, axis=0, ddof=1))


@checks.compiled("m", "n")
def subsample_error(values: ArrayLike, m: int, n: int) -> jax.Array:
    """Standard error at n images from subsets of m of them.

    Subsets are drawn without replacement. The error is `spread * sqrt(m / (n - m))`: subsets of one sample vary with
    variance proportional to `1/m - 1/n`, and the estimate with `1/n` (Politis & Romano 1994, with the finite-population
    correction).

    Raises:
        ValueError: `0 < m < n` does not hold.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(subsample_error(jnp.array([[0.0], [2.0]]), m=20, n=100)[0]), 6)
        0.707107
    """
    _check_subset(m, n)
    return spread(values) * math.sqrt(m / (n - m))


@checks.compiled("m", "n")
def subsample_errors(values: ArrayLike, m: int, n: int) -> jax.Array:
    """Draws `(B, ...)` of the error of the full-sample score, from subsets of m of n images.

    Deviations from the mean subset, scaled as in `subsample_error`.

    Raises:
        ValueError: `0 < m < n` does not hold.
    """
    _check_subset(m, n)
    values = checks.resampled(values)
    return gap(values, jnp.mean(values, 0)) * math.sqrt(m / (n - m))


@checks.compiled()
def jackknife_error(values: ArrayLike) -> jax.Array:
    """Standard error from the n scores that leave out one image each.

    `sqrt((n - 1) / n * sum_i (v_i - mean v)^2)` (Tukey 1958), n = `values.shape[0]`. NaN for a single score.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(jackknife_error(jnp.array([[1.0], [2.0], [3.0]]))[0]), 6)
        1.154701
    """
    values = checks.resampled(values)
    n = values.shape[0]
    return spread(values) * ((n - 1) / math.sqrt(n))


@checks.compiled("m", "n")
def half_sample_error(values: ArrayLike, m: int, n: int) -> jax.Array:
    """Standard error at n images from pairs of halves of m images.

    R random halves, each followed by the other half: `sqrt(mean_r (v_2r - v_2r+1)^2) / 2 sqrt(2 m / n)` (McCarthy
    1969). The halves are independent samples with twice the variance of the full sample; 2 m < n if n is odd. It has at
    most about R degrees of freedom.

    Raises:
        ValueError: the number of values is odd.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(half_sample_error(jnp.array([0.5, 0.3, 0.4, 0.6]), 10, 20)), 4)
        0.1
    """
    errors = half_sample_errors(values, m, n)
    return jnp.sqrt(jnp.mean(errors * errors, axis=0))


@checks.compiled("m", "n")
def half_sample_errors(values: ArrayLike, m: int, n: int) -> jax.Array:
    """Draws `(R, ...)` of the error of the full-sample score, from R pairs of halves of m of n images.

    `(v_2r - v_2r+1) / 2 sqrt(2 m / n)`: given the images, they vary around zero as the score varies around the truth,
    with equal probability of either sign.

    Raises:
        ValueError: the number of values is odd.

    Example:
        >>> import jax.numpy as jnp
        >>> [round(float(e), 4) for e in half_sample_errors(jnp.array([0.5, 0.3, 0.4, 0.6]), 10, 20)]
        [0.1, -0.1]
    """
    values = checks.resampled(values)
    if values.shape[0] % 2:
        raise ValueError(f"half-samples come in pairs, and there are {values.shape[0]} values.")
    return gap(values[0::2], values[1::2]) * math.sqrt(m / (2 * n))


@checks.compiled()
def second_order(values: ArrayLike) -> jax.Array:
    """Share of a half-sample variance that is second-order and counted twice in it, `(...)`, from 0 to 1/2.

    `var_r((v_2r + v_2r+1) / 2) / mean_r((v_2r - v_2r+1)^2 / 4)`: first-order terms cancel in the mean of two halves
    (Efron & Stein 1981). A statistic without first-order terms has a share of 1/2, the largest value returned. It
    matters for differences between nearly equal scores, whose first-order terms cancel. NaN for a single pair.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(second_order(jnp.array([0.5, 0.3, 0.5, 0.7, 0.4, 0.6]))), 4)
        0.5
    """
    values = checks.resampled(values)
    first, second = values[0::2], values[1::2]
    odd = jnp.mean(gap(first, second) ** 2, axis=0) / 4
    even = jnp.var((first + second) / 2, axis=0, ddof=1)
    return jnp.where(odd > 0, jnp.minimum(even / jnp.where(odd > 0, odd, 1), 0.5), jnp.where(jnp.isnan(odd), odd, 0))


def student_stretch(degrees: float, level: float = 0.95) -> float:
    """Ratio of the quantiles of Student's t and the normal distribution.

    For an interval of that level, as a host number; NaN for fewer than one degree of freedom.

    Raises:
        ValueError: level is not strictly between 0 and 1.

    Example:
        >>> round(student_stretch(49) * 1.959964, 4)
        2.0096
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + checks.probability(level)) / 2)) / _normal_quantile(level)


@checks.compiled("level")
def percentile_interval(values: ArrayLike, level: float = 0.95) -> jax.Array:
    """Interval between the two outer quantiles of the resamples, shape `(2, ...)`.

    Used for the bootstrap. Quantiles interpolate linearly between order statistics, like `numpy.quantile`.

    Raises:
        ValueError: level is not strictly between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> percentile_interval(jnp.arange(101.0), 0.9).tolist()
        [5.0, 95.0]
    """
    values, tail = checks.resampled(values), (1 - checks.probability(level)) / 2
    return jnp.stack([_quantile(values, tail), _quantile(values, 1 - tail)])


@checks.compiled("level")
def basic_interval(values: ArrayLike, estimate: ArrayLike, level: float = 0.95) -> jax.Array:
    """Percentile interval reflected around the estimate, shape `(2, ...)`.

    `2 estimate - (upper, lower)`. It moves against the bias of the resamples instead of with it (Davison & Hinkley
    1997, eq. 5.6), and may leave the range of the score.

    Raises:
        ValueError: the shapes do not match, or level is not strictly between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> basic_interval(jnp.arange(101.0), jnp.array(60.0), 0.9).tolist()
        [25.0, 115.0]
    """
    values, estimate = checks.pair(values, estimate)
    return (2 * estimate)[None] - percentile_interval(values, level)[::-1]


@checks.compiled("level")
def normal_interval(estimate: ArrayLike, error: ArrayLike, level: float = 0.95) -> jax.Array:
    """Normal interval `estimate -+ z error`, shape `(2, ...)`.

    z is the normal quantile of the level. For subsampling and the jackknife.

    Raises:
        ValueError: the two shapes differ, or level is not strictly between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> [round(float(v), 4) for v in normal_interval(jnp.array(0.5), jnp.array(0.1))]
        [0.304, 0.696]
    """
    estimate, error = _with_error(estimate, error)
    step = _normal_quantile(level) * error
    return jnp.stack([estimate - step, estimate + step])


@checks.compiled("level")
def fisher_interval(estimate: ArrayLike, error: ArrayLike, level: float = 0.95) -> jax.Array:
    """Normal interval on Fisher's scale, shape `(2, ...)`.

    `tanh(atanh s -+ z error / (1 - s^2))`. The error on that scale follows from the delta method. NaN if the score is
    not strictly between -1 and 1, where atanh is undefined.

    Raises:
        ValueError: the two shapes differ, or level is not strictly between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> [round(float(v), 4) for v in fisher_interval(jnp.array(0.5), jnp.array(0.1))]
        [0.2803, 0.6699]
    """
    estimate, error = _with_error(estimate, error)
    inside = jnp.abs(estimate) < 1
    score = jnp.where(inside, estimate, 0)
    step = _normal_quantile(level) * error / (1 - score * score)
    ends = jnp.tanh(jnp.stack([jnp.arctanh(score) - step, jnp.arctanh(score) + step]))
    return jnp.where(inside[None], ends, jnp.nan)


@checks.compiled("level")
def bca_interval(values: ArrayLike, estimate: ArrayLike, jackknife: ArrayLike, level: float = 0.95) -> jax.Array:
    """Bias-corrected and accelerated percentile interval (Efron 1987), shape `(2, ...)`.

    `z0 = ndtri((#{v < s} + #{v = s} / 2) / B)`; with `d_i = mean_j s_(j) - s_(i)` over the scores `s_(i)`
    that leave out image i, `a = sum d^3 / (6 (sum d^2)^1.5)`; each end is the quantile of the resamples at
    `ndtr(z0 + (z0 + z) / (1 - a (z0 + z)))`, z the two normal quantiles of the level.

    NaN where the interval does not exist: every resample lies on one side of the estimate (z0 is infinite),
    all jackknife scores are equal (a is 0/0), or the correction is so large that `1 - a (z0 + z)` is not
    positive.

    Args:
        values: `(B, ...)` bootstrap scores.
        estimate: `(...)`.
        jackknife: `(n, ...)` scores that leave out one image each.
        level: confidence level.

    Raises:
        ValueError: the shapes do not match, or level is not strictly between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> ends = bca_interval(jnp.arange(101.0), jnp.array(50.0), jnp.array([1.0, 2.0, 3.0]), 0.9)
        >>> [round(float(v), 2) for v in ends]
        [5.0, 95.0]
    """
    values, estimate = checks.pair(values, estimate)
    jackknife = checks.resampled(jackknife)
    if jackknife.shape[1:] != estimate.shape:
        raise ValueError(
            f"jackknife has shape {jackknife.shape}; it must be (n, ...) with the shape of estimate, {estimate.shape}."
        )
    z = _normal_quantile(level)
    less = jnp.mean(values < estimate[None], axis=0, dtype=values.dtype)
    equal = jnp.mean(values == estimate[None], axis=0, dtype=values.dtype)
    bias = ndtri(less + equal / 2)
    acceleration = _acceleration(jackknife.astype(values.dtype))
    ends = []
    for shift in (bias - z, bias + z):
        slope = 1 - acceleration * shift
        valid = jnp.isfinite(bias) & (slope > 0) & jnp.isfinite(estimate)
        tail = ndtr(bias + shift / jnp.where(valid, slope, 1))
        ends.append(jnp.where(valid, _quantile(values, jnp.where(valid, tail, 0.5)), jnp.nan))
    ends = jnp.stack(ends)
    return jnp.where(jnp.isnan(ends).any(axis=0)[None], jnp.nan, ends)


def _check_subset(m: int, n: int) -> None:
    if not 0 < m < n:
        raise ValueError(
            f"a subset of m = {m} images out of n = {n} gives no standard error: it needs 0 < m < n; "
            "use smaller subsets, or js.HalfSamples()."
        )


def _acceleration(jackknife: jax.Array) -> jax.Array:
    same = jnp.max(jackknife, axis=0) == jnp.min(jackknife, axis=0)
    d = jnp.mean(jackknife, axis=0)[None] - jackknife
    scale = jnp.max(jnp.abs(d), axis=0)
    d = d / jnp.where(scale > 0, scale, 1)[None]
    square, cube = jnp.sum(d * d, axis=0), jnp.sum(d * d * d, axis=0)
    return jnp.where(same, jnp.nan, cube / (6 * square**1.5))


def _quantile(values: jax.Array, probability: ArrayLike) -> jax.Array:
    """Linear quantiles over the first axis; NaN if a resample is NaN, or if there is only one."""
    last = values.shape[0] - 1
    position = jnp.broadcast_to(jnp.asarray(probability, values.dtype) * last, values.shape[1:])
    below = jnp.clip(jnp.floor(position), 0, last)
    ordered, index = jnp.sort(values, axis=0), below.astype(jnp.int32)[None]
    low = jnp.take_along_axis(ordered, index, axis=0)[0]
    high = jnp.take_along_axis(ordered, jnp.minimum(index + 1, last), axis=0)[0]
    unknown = jnp.isnan(values).any(axis=0) | (last == 0)
    return jnp.where(unknown, jnp.nan, low + (high - low) * (position - below))


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + checks.probability(level)) / 2)


def _with_error(estimate: ArrayLike, error: ArrayLike) -> tuple[jax.Array, jax.Array]:
    estimate, error = checks.floating(estimate, "estimate"), checks.floating(error, "error")
    if estimate.shape != error.shape:
        raise ValueError(f"estimate has shape {estimate.shape} and error {error.shape}: they must be the same.")
    return estimate, error.astype(estimate.dtype)
