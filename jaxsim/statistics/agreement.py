"""Agreement of scores with measured transfer: the mean correlation of columns.

Scores `(S, T)` and truth `(S, T)` have sources as rows and targets as columns. `correlation` is a function of
two columns and a mask: `masked_spearman`, `masked_pearson`, or one of your own.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxsim.statistics import checks

Correlation = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def usable_entries(scores: ArrayLike, truth: ArrayLike, *, diagonal: bool) -> jax.Array:
    """Mask `(S, T)` of entries that are finite in both matrices, with or without the diagonal.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> usable_entries(jnp.eye(2), jnp.array([[1.0, jnp.nan], [1.0, 1.0]]), diagonal=False).tolist()
        [[False, False], [True, False]]
    """
    scores, truth = checks.floating(scores, "scores"), checks.floating(truth, "truth")
    checks.rank_of(scores, 2, "scores", "(S, T)")
    if scores.shape != truth.shape:
        raise ValueError(f"scores have shape {scores.shape} and truth {truth.shape}: they must be the same.")
    usable = jnp.isfinite(scores) & jnp.isfinite(truth)
    return usable if diagonal else usable & ~jnp.eye(*scores.shape, dtype=bool)


def target_agreement(
    scores: ArrayLike, truth: ArrayLike, correlation: Correlation, mask: ArrayLike | None = None
) -> jax.Array:
    """Correlation of each column of the scores with the same column of the truth, `(..., S, T) -> (..., T)`.

    Only entries of the mask `(S, T)` count, all by default. NaN where an entry that counts is NaN, fewer than
    two count, or a column is constant over them.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxsim.statistics.columns import masked_spearman
        >>> scores, truth = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [9.0], [8.0]])
        >>> target_agreement(scores, truth, masked_spearman).tolist()
        [0.5]
    """
    scores, truth, usable = checked(scores, truth, mask)
    columns = jax.vmap(correlation, in_axes=1)
    flat = scores.reshape(-1, *truth.shape)
    return jax.vmap(lambda one: columns(one, truth, usable))(flat).reshape(*scores.shape[:-2], truth.shape[1])


def column_agreement(
    scores: ArrayLike, truth: ArrayLike, correlation: Correlation, mask: ArrayLike | None = None
) -> jax.Array:
    """Mean of `target_agreement` over the targets, `(..., S, T) -> (...)`.

    A target with no entry in the mask is left out of the mean; one whose correlation is NaN makes the mean
    NaN.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxsim.statistics.columns import masked_spearman
        >>> scores, truth = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [9.0], [8.0]])
        >>> float(column_agreement(scores, truth, masked_spearman))
        0.5
    """
    scores, truth, usable = checked(scores, truth, mask)
    return mean_over_kept(target_agreement(scores, truth, correlation, usable), usable.any(axis=0))


def mean_over_kept(per_target: jax.Array, kept: jax.Array) -> jax.Array:
    """Mean over the last axis of the kept targets; NaN where none is kept."""
    total = jnp.sum(jnp.where(kept, per_target, 0), axis=-1)
    return total / jnp.sum(kept, dtype=per_target.dtype)


def checked(scores, truth, mask) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scores, truth and mask as arrays of fitting shapes and one dtype.

    Raises:
        ValueError: the shapes do not fit.
    """
    scores, truth = checks.floating(scores, "scores"), checks.floating(truth, "truth")
    checks.rank_of(truth, 2, "truth", "(S, T)")
    if scores.shape[-2:] != truth.shape:
        raise ValueError(f"scores have shape {scores.shape}, and truth {truth.shape}: they must end alike.")
    return scores, truth.astype(scores.dtype), checks.mask_of(mask, truth.shape, True, "mask")
