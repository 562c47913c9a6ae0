"""Stability of the order of the sources, per target, under resampling.

Sources are the rows and targets the columns of `values` `(B, S, T)`; a higher score is a better source, rank
1 the best. `exclude` `(S, T)` marks entries that do not compete, such as the diagonal. An entry that is
excluded, or NaN in any resample, is left out of its column's order in all resamples and comes out as NaN
itself.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxsim.statistics import checks
from jaxsim.statistics.columns import below_and_tied, masked_spearman


def first_share(values: ArrayLike, exclude: ArrayLike | None = None) -> jax.Array:
    """Share of resamples in which each source ranks first for each target, `(S, T)`.

    k sources tied for first count 1/k each, so columns sum to 1. This is a bootstrap frequency, not the
    probability that the source is the best. It is the first rank of `rank_distribution`, without the others.

    Raises:
        ValueError: values is not `(B, S, T)`, or exclude not `(S, T)`.

    Example:
        >>> import jax.numpy as jnp
        >>> first_share(jnp.array([[[1.0], [2.0]], [[3.0], [3.0]]])).tolist()
        [[0.25], [0.75]]
    """
    values, usable = _competing(values, exclude)
    scores = jnp.where(usable[None], values, -jnp.inf)
    first = (scores == jnp.max(scores, axis=1, keepdims=True, initial=-jnp.inf)) & usable[None]
    number = jnp.maximum(jnp.sum(first, axis=1, keepdims=True, dtype=values.dtype), 1)
    return jnp.where(usable, jnp.mean(first.astype(values.dtype) / number, axis=0), jnp.nan)


def rank_distribution(values: ArrayLike, exclude: ArrayLike | None = None) -> jax.Array:
    """Share of resamples in which each source has each rank, `(S, S, T)`.

    Entries are `[source, rank - 1, target]`. Tied sources share the ranks they span equally. `[s, :, t]` sums
    to 1, and so does `[:, r, t]` for as many ranks r as there are competing sources; `[:, 0, :]` is
    `first_share`.

    Raises:
        ValueError: values is not `(B, S, T)`, or exclude not `(S, T)`.

    Example:
        >>> import jax.numpy as jnp
        >>> rank_distribution(jnp.array([[[1.0], [2.0]], [[3.0], [3.0]]]))[:, :, 0].tolist()
        [[0.25, 0.75], [0.75, 0.25]]
    """
    return _mean_shares(*_competing(values, exclude))


def rank_stability(values: ArrayLike, estimate: ArrayLike, exclude: ArrayLike | None = None) -> jax.Array:
    """Mean Spearman correlation of the resamples' columns with the estimate's, `(T,)`.

    1 when every resample orders the sources as the full sample does. NaN for a target with fewer than two
    competing sources, or whose column is constant in the estimate or in any resample.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> values = jnp.array([[[1.0], [2.0], [3.0]], [[1.0], [3.0], [2.0]]])
        >>> rank_stability(values, values[0]).tolist()
        [0.75]
    """
    values, estimate = checks.pair(values, estimate)
    values, usable = _competing(values, exclude)
    return _mean_spearman(values, estimate, usable & ~jnp.isnan(estimate))


def _competing(values: ArrayLike, exclude: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
    values = checks.resampled(values, "(B, S, T)")
    excluded = checks.mask_of(exclude, values.shape[1:], False, "exclude")
    return values, ~excluded & ~jnp.isnan(values).any(axis=0)


@jax.jit
def _mean_shares(values: jax.Array, usable: jax.Array) -> jax.Array:
    """`rank_distribution` of checked arrays, one resample in memory at a time."""
    shares = jax.vmap(_rank_shares, in_axes=1, out_axes=2)
    sources, targets = usable.shape

    def add(total: jax.Array, scores: jax.Array) -> tuple[jax.Array, None]:
        return total + shares(scores, usable), None

    total, _ = jax.lax.scan(add, jnp.zeros((sources, sources, targets), values.dtype), values)
    return jnp.where(usable[:, None, :], total / values.shape[0], jnp.nan)


@jax.jit
def _mean_spearman(values: jax.Array, estimate: jax.Array, usable: jax.Array) -> jax.Array:
    """`rank_stability` of checked arrays, one resample in memory at a time."""
    per_target = jax.vmap(masked_spearman, in_axes=1)
    return jnp.mean(jax.lax.map(lambda scores: per_target(scores, estimate, usable), values), axis=0)


def _rank_shares(scores: jax.Array, usable: jax.Array) -> jax.Array:
    """Shares `[source, rank - 1]` of one column; tied sources share the ranks they span."""
    better, tied = below_and_tied(-scores, usable)
    place = jnp.arange(scores.shape[0], dtype=scores.dtype)[None, :]
    within = (place >= better[:, None]) & (place < (better + tied)[:, None]) & usable[:, None]
    return within.astype(scores.dtype) / jnp.maximum(tied, 1)[:, None]
