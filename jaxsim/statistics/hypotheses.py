"""Hypotheses on scores: entries, paired differences, p-values, and multiple testing.

A paired difference takes both entries from the same resample, so what they have in common cancels. Functions of entries
and differences accept any leading axes, so the same call works for the resamples `(B, S, T)` and the estimate `(S, T)`.
"""

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxsim.statistics import checks
from jaxsim.statistics.intervals import ROUNDING, gap, spread

Entry = tuple[int, int]


def select(values: ArrayLike, entries: Sequence[Entry]) -> jax.Array:
    """Select entries of each matrix as a flat family, `(..., S, T) -> (..., H)`.

    The family is in the given order. List each hypothesis once: for a symmetric matrix, use the pairs from `pairs` and
    no diagonal.

    Raises:
        IndexError: an entry lies outside the matrix; JAX alone would clamp it.
        ValueError: there are fewer than two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> select(jnp.array([[1.0, 4.0], [2.0, 8.0]]), ((0, 1), (1, 0))).tolist()
        [4.0, 2.0]
    """
    values = checks.floating(values, "values")
    if values.ndim < 2:
        raise ValueError(f"values must have shape (..., S, T), but has shape {values.shape}.")
    shape = values.shape[-2:]
    places = [(operator.index(i), operator.index(j)) for i, j in entries]
    for i, j in places:
        if not (0 <= i < shape[0] and 0 <= j < shape[1]):
            raise IndexError(f"entry {i, j} lies outside scores of shape {shape}.")
    rows, columns = jnp.array(places, int).reshape(-1, 2).T
    return values[..., rows, columns]


def pairs(count: int) -> tuple[Entry, ...]:
    """All `(i, j)` with `i < j < count`, row by row.

    All lists of pairs in this package use this order.

    Example:
        >>> pairs(3)
        ((0, 1), (0, 2), (1, 2))
    """
    return tuple((i, j) for i in range(count) for j in range(i + 1, count))


def difference(values: ArrayLike, first: Entry, second: Entry) -> jax.Array:
    """Difference of two entries of each matrix, `(..., S, T) -> (...)`.

    `values[..., i, j] - values[..., k, l]` for the entries `(i, j)` and `(k, l)`.

    Raises:
        IndexError: an entry lies outside the matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> float(difference(jnp.array([[1.0, 4.0], [2.0, 8.0]]), (1, 1), (0, 1)))
        4.0
    """
    return pair_differences(select(values, (first, second)))[..., 0]


@checks.compiled()
def pair_differences(family: ArrayLike) -> jax.Array:
    """Differences of all pairs of a family, `(..., H) -> (..., H (H - 1) / 2)`.

    First minus second, in the order of `pairs(H)`, and exactly zero if the two are equal up to rounding (`gap`). To
    compare the sources of each target, put them on the last axis: `jnp.swapaxes(values, -1, -2)`.

    Raises:
        ValueError: there is no axis of hypotheses.

    Example:
        >>> import jax.numpy as jnp
        >>> pair_differences(jnp.array([1.0, 3.0, 7.0])).tolist()
        [-2.0, -6.0, -4.0]
    """
    family = checks.floating(family, "family")
    if family.ndim == 0:
        raise ValueError("family needs a last axis of hypotheses, but has shape ().")
    first, second = jnp.triu_indices(family.shape[-1], 1)
    return gap(family[..., first], family[..., second])


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """P-values `(H,)` adjusted by Holm's method (1979), on the host; NaN stay NaN and do not count.

    Example:
        >>> holm([0.01, 0.04, float("nan"), 0.03]).round(4).tolist()
        [0.03, 0.06, nan, 0.06]
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given)  # NaN sort last
    count = int(np.isfinite(given).sum())
    out = np.full(len(given), np.nan)
    steps = given[order[:count]] * np.arange(count, 0, -1)
    out[order[:count]] = np.minimum(np.maximum.accumulate(steps), 1)
    return out


@checks.compiled("two_sided")
def permutation_p(values: ArrayLike, estimate: ArrayLike, *, two_sided: bool = False) -> jax.Array:
    """Permutation p-value of scores.

    How rare are scores as high as the estimate when rows do not correspond? `p = (1 + #{v >= s}) / (B + 1)` (Phipson &
    Smyth 2010), shape `(...)`. Scores within rounding of the estimate count as ties, so that a permutation that changes
    nothing is counted. A two-sided p is twice the smaller of the two one-sided ones, at most 1. This does not assume
    that the null distribution is symmetric about zero, which it is not for biased scores.

    Args:
        values: `(B, ...)` scores with the images of one network permuted.
        estimate: `(...)`.
        two_sided: count scores as low as the estimate, too.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(permutation_p(jnp.array([0.0, 0.1, 0.2]), jnp.array(0.15))), 6)
        0.5
        >>> round(float(permutation_p(jnp.array([-1.0, 0.1, 0.2, 0.3]), jnp.array(-2.0), two_sided=True)), 6)
        0.4
    """
    values, estimate = checks.pair(values, estimate)
    above = _permutation_tail(values, estimate)
    return jnp.minimum(2 * jnp.minimum(above, _permutation_tail(-values, -estimate)), 1) if two_sided else above


class FamilyWise(NamedTuple):
    """Two-sided tests of a family of hypotheses, as arrays of the family's shape.

    Attributes:
        statistic: `(estimate - null) / error`.
        unadjusted: p-value of each hypothesis alone.
        single_step: adjusted by the largest |t| of the whole family.
        step_down: adjusted by the largest |t| of the hypotheses that are no more extreme; never above `single_step`.
    """

    statistic: jax.Array
    unadjusted: jax.Array
    single_step: jax.Array
    step_down: jax.Array


@checks.compiled()
def family_wise(
    values: ArrayLike, estimate: ArrayLike, null: ArrayLike = 0.0, error: ArrayLike | None = None
) -> FamilyWise:
    """Studentized max-|t| adjusted p-values.

    After Westfall & Young 1993 and Romano & Wolf 2005, Algorithm 4.1: `t_h = (s_h - null_h) / error_h`,
    `t*_bh = (v_bh - s_h) / spread_h`, and in a single step `p_h = (1 + #{b: max_k |t*_bk| >= |t_h|}) / (B + 1)`. In the
    step-down version, the maximum runs over hypotheses whose |t| is not larger than that of h, and p-values do not
    decrease with falling |t|. Dependence between scores is preserved.

    Resamples are centered on the estimate, not on their own mean. They relate to the estimate as the estimate relates
    to the truth, so a bias that they share with it is part of the null distribution. Centering on the mean would remove
    that bias from t* but leave it in t, and reject too often. If an error is given, it replaces the spread in t only
    (for example, one scaled for subsampling or corrected for two factors); t* is studentized by the resamples' own
    spread.

    A hypothesis with NaN in its score or any resample, or with an error or spread of zero, gets NaN and is not counted.
    The exception is a score that equals the null value up to rounding (`gap`): t is then 0 and p is 1. Count each
    hypothesis once: use a flat family from `select`, without the diagonal, whose scores are 1 up to rounding.

    Args:
        values: `(B, ...)` bootstrap scores or differences.
        estimate: `(...)`.
        null: value under the hypothesis, a number or `(...)`.
        error: `(...)` standard errors of the estimate; None uses the spread.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax
        >>> values = jax.random.normal(jax.random.key(0), (99, 3)) + jax.numpy.array([0.0, 0.0, 9.0])
        >>> tests = family_wise(values, jax.numpy.array([0.0, 0.0, 9.0]))
        >>> [round(float(p), 2) for p in tests.step_down]
        [1.0, 1.0, 0.01]
    """
    values, estimate = checks.pair(values, estimate)
    statistic, stars = _studentize(values, estimate, null, error)
    return FamilyWise(statistic, *max_t(statistic, stars))


@checks.compiled()
def max_t(statistic: jax.Array, stars: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """P-values of statistics `(...)` by the largest |t*| of draws `(B, ...)` without effects.

    Returns:
        Unadjusted, single-step and step-down p-values; NaN where a statistic is NaN.
    """
    size, stars = jnp.abs(statistic).ravel(), jnp.abs(stars).reshape(stars.shape[0], -1)
    valid = jnp.isfinite(size)
    size, stars = jnp.where(valid, size, -1), jnp.where(valid[None], stars, -jnp.inf)
    order = jnp.argsort(-size, stable=True)
    largest = jax.lax.cummax(stars[:, order], axis=1, reverse=True)
    stepped = jax.lax.cummax(_tail(largest, size[order]))
    stepped = jnp.zeros_like(stepped).at[order].set(stepped)
    overall = jnp.broadcast_to(jnp.max(stars, axis=1, initial=-jnp.inf)[:, None], stars.shape)

    def shaped(p: jax.Array) -> jax.Array:
        return jnp.where(valid, p, jnp.nan).reshape(statistic.shape)

    return shaped(_tail(stars, size)), shaped(_tail(overall, size)), shaped(stepped)


@checks.compiled("level")
def simultaneous_interval(
    values: ArrayLike, estimate: ArrayLike, level: float = 0.95, error: ArrayLike | None = None
) -> jax.Array:
    """Intervals that jointly cover with probability `level`, shape `(2, ...)`.

    `estimate -+ c error`, where c is the k-th largest of the B values `max_h |t*_bh|` of `family_wise` and
    `k = floor((1 - level) (B + 1))`. A null value lies outside exactly when its single-step p-value is at most
    `1 - level`. All NaN when k is 0, since B resamples cannot support the level. NaN entries are treated as in
    `family_wise`.

    Raises:
        ValueError: the shapes do not match, or level is not strictly between 0 and 1.

    Example:
        >>> import jax
        >>> values = jax.random.normal(jax.random.key(0), (999, 4))
        >>> low, high = simultaneous_interval(values, jax.numpy.zeros(4))
        >>> bool((high > 2.2).all()), bool((high < 2.8).all())
        (True, True)
    """
    values, estimate = checks.pair(values, estimate)
    order = math.floor((1 - checks.probability(level)) * (values.shape[0] + 1) * (1 + 1e-12))
    statistic, stars = _studentize(values, estimate, 0.0, error)
    valid = jnp.isfinite(statistic)
    stars = jnp.where(valid[None], jnp.abs(stars), -jnp.inf).reshape(values.shape[0], -1)
    largest = jnp.max(stars, axis=1, initial=-jnp.inf)
    critical = jnp.sort(largest)[values.shape[0] - order] if order else jnp.nan
    error = spread(values) if error is None else checks.floating(error, "error").astype(values.dtype)
    step = jnp.where(valid, critical * error, jnp.nan)
    return jnp.stack([estimate - step, estimate + step])


@checks.compiled("any_dependence")
def false_discovery(p: ArrayLike, *, any_dependence: bool = False) -> jax.Array:
    """Benjamini-Hochberg or Benjamini-Yekutieli adjusted p-values, of any shape.

    `q_(i) = min_{j >= i} min(1, m p_(j) / j)` (Benjamini & Hochberg 1995), valid under independence or
    positive regression dependence. For any dependence, m becomes `m sum_{i <= m} 1/i` (Benjamini & Yekutieli
    2001, Theorem 1.3). NaN, and numbers outside [0, 1], give NaN and are not counted in m.

    Example:
        >>> import jax.numpy as jnp
        >>> p = jnp.array([0.01, 0.04, jnp.nan, 0.03])
        >>> [round(float(q), 4) for q in false_discovery(p)]
        [0.03, 0.04, nan, 0.04]
        >>> [round(float(q), 4) for q in false_discovery(p, any_dependence=True)]
        [0.055, 0.0733, nan, 0.0733]
    """
    p = checks.floating(p, "p")
    flat = p.ravel()
    valid = (flat >= 0) & (flat <= 1)
    count = jnp.sum(valid, dtype=flat.dtype)
    order = jnp.argsort(jnp.where(valid, flat, jnp.inf), stable=True)
    place = jnp.arange(1, flat.size + 1, dtype=flat.dtype)
    harmonic = jnp.sum(jnp.where(place <= count, 1 / place, 0)) if any_dependence else 1
    scaled = jnp.where(place <= count, flat[order] * (count * harmonic) / place, jnp.inf)
    adjusted = jnp.minimum(jax.lax.cummin(scaled, reverse=True), 1)
    return jnp.where(valid, jnp.zeros_like(flat).at[order].set(adjusted), jnp.nan).reshape(p.shape)


def resamples_needed(level: float, hypotheses: int = 1) -> int:
    """Fewest resamples that can reject a single one of H hypotheses, `ceil(H / level) - 1`.

    B resamples give no p-value below `1 / (B + 1)`. For adjustments of individual p-values (`false_discovery`,
    Bonferroni) the smallest must reach `level / H`. For max-|t| (`family_wise`) H counts as 1.

    Args:
        level: significance level such as 0.05.
        hypotheses: number of hypotheses H.

    Raises:
        ValueError: level is not strictly between 0 and 1, or H is below 1.

    Example:
        >>> resamples_needed(0.05, 190)
        3799
    """
    level = checks.probability(level)
    if hypotheses < 1:
        raise ValueError(f"hypotheses must be at least 1, not {hypotheses}.")
    return max(1, math.ceil(hypotheses / level * (1 - 1e-12)) - 1)


def _studentize(values, estimate, null, error) -> tuple[jax.Array, jax.Array]:
    own = spread(values)
    error = own if error is None else checks.floating(error, "error").astype(values.dtype)
    null = jnp.asarray(null, values.dtype)
    if error.shape != estimate.shape or null.shape not in ((), estimate.shape):
        raise ValueError(f"error {error.shape} and null {null.shape} must fit estimate {estimate.shape}.")
    valid = (own > 0) & (error > 0)
    apart = gap(estimate, jnp.broadcast_to(null, estimate.shape))
    statistic = jnp.where(valid, apart / error, jnp.where((own == 0) & (apart == 0), 0, jnp.nan))
    return statistic, (values - estimate[None]) / jnp.where(valid, own, 1)[None]


def _tail(stars: jax.Array, size: jax.Array) -> jax.Array:
    count = jnp.sum(stars >= size[None], axis=0, dtype=size.dtype)
    # XLA multiplies by the inverse of a known number, which turns 1 into .99999994
    return (1 + count) / jax.lax.optimization_barrier(jnp.asarray(stars.shape[0] + 1, size.dtype))


def _permutation_tail(values: jax.Array, estimate: jax.Array) -> jax.Array:
    slack = ROUNDING * jnp.finfo(values.dtype).eps * jnp.abs(estimate)
    missing = jnp.isnan(estimate) | jnp.isnan(values).any(axis=0)
    return jnp.where(missing, jnp.nan, _tail(values, estimate - slack))
