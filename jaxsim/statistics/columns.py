"""Ranks, correlations and agreement of columns of scores.

Scores and truth `(S, T)` have sources as rows and targets as columns. A mask marks the entries that count. A
`Correlation` is a function of two columns and their mask: `masked_spearman`, `masked_pearson`, or your own.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxsim.statistics import checks

Correlation = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def average_ranks(column: jax.Array, usable: jax.Array) -> jax.Array:
    """Average ranks of the usable entries of a column `(S,)`, from 1.

    `rank_i = #{j: x_j < x_i} + (#{j: x_j = x_i} + 1) / 2` over usable j, by comparing all pairs. This is O(S^2), and
    faster than sorting on every device for up to a few hundred entries. NaN where an entry is not usable or is NaN. On
    the host, use `scipy.stats.rankdata`.

    Example:
        >>> import jax.numpy as jnp
        >>> average_ranks(jnp.array([3.0, 1.0, 3.0, 9.0]), jnp.array([True, True, True, False])).tolist()
        [2.5, 1.0, 2.5, nan]
    """
    less, equal = below_and_tied(column, usable)
    return jnp.where(usable & ~jnp.isnan(column), less + (equal + 1) / 2, jnp.nan)


def below_and_tied(column: jax.Array, usable: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Numbers of usable entries of a column `(S,)` below and equal to each entry."""
    other, here = column[None, :], column[:, None]
    less = jnp.sum((other < here) & usable[None, :], axis=1, dtype=column.dtype)
    return less, jnp.sum((other == here) & usable[None, :], axis=1, dtype=column.dtype)


@checks.compiled()
def masked_pearson(x: jax.Array, y: jax.Array, usable: jax.Array) -> jax.Array:
    """Pearson correlation of two columns `(S,)` over their usable entries.

    NaN for fewer than two usable entries, for a constant column, and if a usable entry is NaN. Entries that are not
    usable may have any value.

    Example:
        >>> import jax.numpy as jnp
        >>> usable = jnp.array([True, True, True, False])
        >>> x, y = jnp.array([1.0, 2.0, 3.0, jnp.nan]), jnp.array([2.0, 4.0, 6.0, 0.0])
        >>> round(float(masked_pearson(x, y, usable)), 6)
        1.0
    """
    count = jnp.sum(usable, dtype=x.dtype)
    a, b = _centered(x, usable, count), _centered(y, usable, count)
    norm = jnp.sqrt(jnp.sum(a * a) * jnp.sum(b * b))
    varies = _varies(x, usable) & _varies(y, usable)
    return jnp.where(varies, jnp.sum(a * b) / jnp.where(varies, norm, 1), jnp.nan)


@checks.compiled()
def masked_spearman(x: jax.Array, y: jax.Array, usable: jax.Array) -> jax.Array:
    """Spearman correlation of two columns `(S,)` over their usable entries.

    Ties get average ranks. NaN as in `masked_pearson`.

    Example:
        >>> import jax.numpy as jnp
        >>> usable = jnp.ones(4, bool)
        >>> x, y = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([1.0, 8.0, 27.0, 0.0])
        >>> round(float(masked_spearman(x, y, usable)), 6)
        -0.2
    """
    return masked_pearson(average_ranks(x, usable), average_ranks(y, usable), usable)


def usable_entries(scores: ArrayLike, truth: ArrayLike, *, diagonal: bool) -> jax.Array:
    """Mask `(S, T)` of entries that are finite in both matrices.

    The diagonal is left out if `diagonal` is False.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> usable_entries(jnp.eye(2), jnp.array([[1.0, jnp.nan], [1.0, 1.0]]), diagonal=False).tolist()
        [[False, False], [True, False]]
    """
    scores, truth = checks.floating(scores, "scores", "(S, T)"), checks.floating(truth, "truth")
    if scores.shape != truth.shape:
        raise ValueError(f"scores have shape {scores.shape} and truth {truth.shape}: they must be the same.")
    usable = jnp.isfinite(scores) & jnp.isfinite(truth)
    return usable if diagonal else usable & ~jnp.eye(*scores.shape, dtype=bool)


@checks.compiled("correlation")
def target_agreement(
    scores: ArrayLike, truth: ArrayLike, correlation: Correlation, mask: ArrayLike | None = None
) -> jax.Array:
    """Correlation of each column of scores with its truth, `(..., S, T) -> (..., T)`.

    Only entries of the mask `(S, T)` count; by default all of them. NaN if an entry that counts is NaN, if fewer than
    two count, or if a column is constant over them.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> scores, truth = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [9.0], [8.0]])
        >>> target_agreement(scores, truth, masked_spearman).tolist()
        [0.5]
    """
    scores, truth, usable = checked(scores, truth, mask)
    columns = jax.vmap(correlation, in_axes=1)
    flat = scores.reshape(-1, *truth.shape)
    return jax.vmap(lambda one: columns(one, truth, usable))(flat).reshape(*scores.shape[:-2], truth.shape[1])


@checks.compiled("correlation")
def column_agreement(
    scores: ArrayLike, truth: ArrayLike, correlation: Correlation, mask: ArrayLike | None = None
) -> jax.Array:
    """Mean of `target_agreement` over the targets, `(..., S, T) -> (...)`.

    A target with no entry in the mask is left out of the mean; a target whose correlation is NaN makes the mean NaN.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> scores, truth = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [9.0], [8.0]])
        >>> float(column_agreement(scores, truth, masked_spearman))
        0.5
    """
    scores, truth, usable = checked(scores, truth, mask)
    return mean_over_kept(target_agreement(scores, truth, correlation, usable), usable.any(axis=0))


def mean_over_kept(per_target: jax.Array, kept: jax.Array) -> jax.Array:
    """Mean over the last axis of the kept targets; NaN if none is kept."""
    total = jnp.sum(jnp.where(kept, per_target, 0), axis=-1)
    return total / jnp.sum(kept, dtype=per_target.dtype)


def checked(scores, truth, mask) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Convert scores, truth and mask to arrays with matching shapes and one dtype.

    Raises:
        ValueError: the shapes do not match.
    """
    scores, truth = checks.floating(scores, "scores"), checks.floating(truth, "truth", "(S, T)")
    if scores.shape[-2:] != truth.shape:
        raise ValueError(f"scores have shape {scores.shape}, and truth {truth.shape}: their last two axes must match.")
    return scores, truth.astype(scores.dtype), checks.mask_of(mask, truth.shape, True, "mask")


def _centered(x: jax.Array, usable: jax.Array, count: jax.Array) -> jax.Array:
    """Deviations from the mean, scaled so that the largest is 1 and no square overflows or vanishes."""
    mean = jnp.sum(jnp.where(usable, x, 0)) / jnp.maximum(count, 1)
    deviation = jnp.where(usable, x - mean, 0)
    largest = jnp.max(jnp.abs(deviation), initial=0)
    return deviation / jnp.where(largest > 0, largest, 1)


def _varies(x: jax.Array, usable: jax.Array) -> jax.Array:
    high = jnp.max(jnp.where(usable, x, -jnp.inf), initial=-jnp.inf)
    return high > jnp.min(jnp.where(usable, x, jnp.inf), initial=jnp.inf)
