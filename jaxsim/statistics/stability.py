"""Stability of the source ranking for each target under resampling.

Sources are the rows and targets the columns of `values` `(B, S, T)`. A higher score is a better source, and rank 1 is
the best. `exclude` `(S, T)` marks entries that do not compete, such as the diagonal. An entry that is excluded, or NaN
in any resample, is left out of its column's ranking in all resamples, and its result is NaN.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxsim.statistics import checks
from jaxsim.statistics.columns import below_and_tied, masked_spearman


@checks.compiled()
def first_share(values: ArrayLike, exclude: ArrayLike | None = None) -> jax.Array:
    """Share of resamples in which each source ranks first for each target, `(S, T)`.

    k sources tied for first count 1/k each, so columns sum to 1. This is a bootstrap frequency, not the probability
    that the source is the best. It is the first rank of `rank_distribution`, without the others.

    Raises:
        ValueError: values is not `(B, S, T)`, or exclude is not `(S, T)`.
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


@checks.compiled()
def rank_distribution(values: ArrayLike, exclude: ArrayLike | None = None) -> jax.Array:
    """Share of resamples in which each source has each rank, `(S, S, T)`.

    Entries are `[source, rank - 1, target]`. Tied sources share the ranks they span equally. `[s, :, t]` sums to 1, and
    so does `[:, r, t]` for each of the first ranks r, up to the number of competing sources. `[:, 0, :]` is
    `first_share`.

    Raises:
        ValueError: values is not `(B, S, T)`, or exclude is not `(S, T)`.

    Example:
        >>> import jax.numpy as jnp
        >>> rank_distribution(jnp.array([[[1.0], [2.0]], [[3.0], [3.0]]]))[:, :, 0].tolist()
        [[0.25, 0.75], [0.75, 0.25]]
    """
    return _mean_shares(*_competing(values, exclude))


@checks.compiled()
def rank_stability(errors: ArrayLike, estimate: ArrayLike, exclude: ArrayLike | None = None) -> jax.Array:
    """Expected Spearman correlation between the source rankings of two samples of images, `(T,)`.

    Let r be the mean Spearman correlation between `estimate + error` and `estimate - error`, which differ as two halves
    of the images do. Then `2 r / (1 + r)` (Spearman 1910, Brown 1910) is the correlation for two samples of the full
    size; r itself is used if it is negative. 1 when every draw ranks the sources alike, about 0 when they do not
    differ. NaN for a target with fewer than two competing sources, or whose column is constant in the estimate with any
    draw.

    Args:
        errors: `(R, S, T)` draws of the estimate's error, such as `half_sample_errors`.
        estimate: `(S, T)`.
        exclude: `(S, T)` entries that do not compete.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> errors = jnp.array([[[0.0], [0.0], [0.0]], [[0.0], [1.0], [0.0]]])
        >>> round(float(rank_stability(errors, jnp.array([[1.0], [2.5], [3.0]]))[0]), 4)
        0.8571
    """
    errors, estimate = checks.pair(errors, estimate)
    errors, usable = _competing(errors, exclude)
    return _mean_spearman(errors, estimate, usable & ~jnp.isnan(estimate))


def _competing(values: ArrayLike, exclude: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
    values = checks.resampled(values, "(B, S, T)")
    excluded = checks.mask_of(exclude, values.shape[1:], False, "exclude")
    return values, ~excluded & ~jnp.isnan(values).any(axis=0)


@jax.jit
def _mean_shares(values: jax.Array, usable: jax.Array) -> jax.Array:
    """`rank_distribution` for checked arrays, with one resample in memory at a time."""
    shares = jax.vmap(_rank_shares, in_axes=1, out_axes=2)
    sources, targets = usable.shape

    def add(total: jax.Array, scores: jax.Array) -> tuple[jax.Array, None]:
        return total + shares(scores, usable), None

    total, _ = jax.lax.scan(add, jnp.zeros((sources, sources, targets), values.dtype), values)
    return jnp.where(usable[:, None, :], total / values.shape[0], jnp.nan)


def order_agreement(errors: jax.Array, center: jax.Array, usable: jax.Array, share: ArrayLike = 1.0) -> jax.Array:
    """Spearman correlation between the rankings in two halves of m new images, from each draw of an error, `(R, T)`.

    `center` has the error of N images, of which m are the fraction `share`. So that the two halves do not share the
    error of the center, each draw e gives `center + sqrt(1 - share) e' + e` and `... - e`, where e' is the neighboring
    draw. Their errors then have the variance of m / 2 images and no covariance. A share of 1 gives `rank_stability`.

    Args:
        errors: `(R, S, T)` draws of the error of a score on m images.
        center: `(S, T)` expected scores.
        usable: `(S, T)` entries that compete.
        share: m / N.
    """
    count = errors.shape[0]
    beside = np.arange(count) ^ 1
    beside = np.where(beside < count, beside, np.maximum(np.arange(count) - 1, 0))
    # computed before the loop: inside it, a product and a sum may be rounded once or twice, and x == x may be false
    middle = center[None] + jnp.sqrt(1 - jnp.asarray(share, errors.dtype)) * errors[beside]

    def one(parts):
        middle, e = parts
        return jax.vmap(masked_spearman, in_axes=1)(middle + e, middle - e, usable)

    return jax.lax.map(one, (middle, errors))


@jax.jit
def _mean_spearman(errors: jax.Array, estimate: jax.Array, usable: jax.Array) -> jax.Array:
    """`rank_stability` for checked arrays, with one draw in memory at a time."""
    r = jnp.mean(order_agreement(errors, estimate, usable), axis=0)
    return jnp.where(r > 0, 2 * r / (1 + r), r)


def _rank_shares(scores: jax.Array, usable: jax.Array) -> jax.Array:
    """Shares `[source, rank - 1]` of one column; tied sources share the ranks they span."""
    better, tied = below_and_tied(-scores, usable)
    place = jnp.arange(scores.shape[0], dtype=scores.dtype)[None, :]
    within = (place >= better[:, None]) & (place < (better + tied)[:, None]) & usable[:, None]
    return within.astype(scores.dtype) / jnp.maximum(tied, 1)[:, None]
