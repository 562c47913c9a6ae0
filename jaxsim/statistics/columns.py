"""Ranks and correlations of two short columns, with a mask of the entries that count."""

import jax
import jax.numpy as jnp


def average_ranks(column: jax.Array, usable: jax.Array) -> jax.Array:
    """Average ranks, 1 for the lowest, of the usable entries of a column `(S,)`.

    `rank_i = #{j: x_j < x_i} + (#{j: x_j = x_i} + 1) / 2` over usable j, by comparing all pairs: O(S^2), and
    for a few hundred entries faster than sorting on every device. NaN where an entry is not usable or is NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> average_ranks(jnp.array([3.0, 1.0, 3.0, 9.0]), jnp.array([True, True, True, False])).tolist()
        [2.5, 1.0, 2.5, nan]
    """
    other, here = column[None, :], column[:, None]
    less = jnp.sum((other < here) & usable[None, :], axis=1, dtype=column.dtype)
    equal = jnp.sum((other == here) & usable[None, :], axis=1, dtype=column.dtype)
    return jnp.where(usable & ~jnp.isnan(column), less + (equal + 1) / 2, jnp.nan)


def masked_pearson(x: jax.Array, y: jax.Array, usable: jax.Array) -> jax.Array:
    """Pearson correlation of two columns `(S,)` over their usable entries, a similarity.

    NaN for fewer than two usable entries, for a constant column, and where a usable entry is NaN. What stands
    at the other entries does not matter.

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


def masked_spearman(x: jax.Array, y: jax.Array, usable: jax.Array) -> jax.Array:
    """Spearman correlation, with average ranks, of two columns `(S,)` over their usable entries.

    NaN as in `masked_pearson`.

    Example:
        >>> import jax.numpy as jnp
        >>> usable = jnp.ones(4, bool)
        >>> x, y = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([1.0, 8.0, 27.0, 0.0])
        >>> round(float(masked_spearman(x, y, usable)), 6)
        -0.2
    """
    return masked_pearson(average_ranks(x, usable), average_ranks(y, usable), usable)


def _centered(x: jax.Array, usable: jax.Array, count: jax.Array) -> jax.Array:
    """Deviations from the mean, scaled to a largest of 1 so that no square overflows or vanishes."""
    mean = jnp.sum(jnp.where(usable, x, 0)) / jnp.maximum(count, 1)
    deviation = jnp.where(usable, x - mean, 0)
    largest = jnp.max(jnp.abs(deviation), initial=0)
    return deviation / jnp.where(largest > 0, largest, 1)


def _varies(x: jax.Array, usable: jax.Array) -> jax.Array:
    high = jnp.max(jnp.where(usable, x, -jnp.inf), initial=-jnp.inf)
    return high > jnp.min(jnp.where(usable, x, jnp.inf), initial=jnp.inf)
