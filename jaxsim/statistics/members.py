"""Members of groups (subjects, seeds): two-factor variance and noise ceilings."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxsim.statistics import checks


class TwoFactor(NamedTuple):
    """Mean scores of groups and their variances, each `(S, G)`.

    A standard error is the square root of a variance.

    Attributes:
        estimate: full-sample scores averaged over the group's members.
        images: variance over resampled images, members fixed.
        members: variance over resampled members, images fixed.
        both: variance over resampled images and members; too large, see `two_factor`.
        corrected: the corrected variance, for generalizing to new images and new members.
    """

    estimate: jax.Array
    images: jax.Array
    members: jax.Array
    both: jax.Array
    corrected: jax.Array


class NoiseCeiling(NamedTuple):
    """Bounds `(...)` on the mean score of the best possible model.

    Attributes:
        lower: each member against the mean of the others.
        upper: each member against the mean of all, including itself.
    """

    lower: jax.Array
    upper: jax.Array


def two_factor(
    values: ArrayLike,
    estimate: ArrayLike,
    groups: Sequence[int],
    *,
    key: jax.Array | int,
    n_resamples: int | None = None,
    images: int | None = None,
) -> TwoFactor:
    """Two-factor bootstrap over images and members, with corrected variance.

    The correction is that of Schuett et al. 2023. A group's score is the mean over its members. Member resamples draw
    the members of each group separately, with replacement. Resampling both factors counts the noise of single scores
    three times: once in each single-factor bootstrap and once in their interaction. `corrected_variance` corrects for
    this. Draw r uses `fold_in(key, r)`.

    If `images` is given, the corrected variance is unbiased for few members, but has about one degree of freedom fewer
    than there are members. Multiply its square root by the Student's t quantile for these: this keeps a level that 1.96
    does not (75 % instead of 95 for 2 members, 81 for 3, 88 for 5). Without `images` it is too small if members differ
    more than images do: half of the true variance for 2 members, 0.7 for 3.

    A member that is NaN makes its own group NaN. A group of one member has no variance over members: its `members`,
    `both` and `corrected` are NaN. Rows are treated as fixed; for the variance of a difference, pass differences of
    rows.

    Args:
        values: `(B, S, U)` scores of S sources with U members, over resampled images.
        estimate: `(S, U)` full-sample scores.
        groups: group of each member, U numbers from 0 to G - 1.
        key: typed random key for the draws of members.
        n_resamples: number of draws of members; draw r is combined with image resample `r mod B`. None uses B.
        images: number of images, for the small-sample form of the correction; None uses the limit of many images and
            members.

    Raises:
        ValueError: the shapes do not match, or a group has no members.
        TypeError: the key is neither a typed key nor a seed.

    Example:
        >>> import jax
        >>> values = jax.random.normal(jax.random.key(0), (500, 1, 8))
        >>> out = two_factor(values, values[0], (0,) * 8, key=jax.random.key(1))
        >>> bool(out.corrected[0, 0] <= out.both[0, 0])
        True
    """
    values, estimate = checks.pair(values, estimate, "(B, S, U)")
    columns = _members(groups, estimate.shape[1])
    draws = values.shape[0] if n_resamples is None else n_resamples
    if draws < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}.")
    key = checks.as_key(key)
    parts = [_one_group(values, estimate, c, draws, jax.random.fold_in(key, g)) for g, c in enumerate(columns)]
    mean, by_images, by_members, by_both = (jnp.stack(part, axis=1) for part in zip(*parts, strict=True))
    sizes = None if images is None else jnp.array([len(c) for c in columns], values.dtype)
    corrected = corrected_variance(by_both, by_members, by_images, members_count=sizes, images_count=images)
    return TwoFactor(mean, by_images, by_members, by_both, corrected)


def corrected_variance(
    both: ArrayLike,
    members: ArrayLike,
    images: ArrayLike,
    *,
    members_count: ArrayLike | None = None,
    images_count: int | None = None,
) -> jax.Array:
    """Combine the variances of bootstraps over both factors and over each factor.

    `2 (members + images) - both`, raised to the larger single-factor variance and then lowered to `both` (Schuett,
    Kipnis, Diedrichsen & Kriegeskorte 2023, eLife 12:e82566). With counts U and n the small-sample form is
    `u members + v images - u v (both - members - images)`, `u = U / (U - 1)`, `v = n / (n - 1)`, and the bounds include
    u and v too. A count of None has factor 1. rsatoolbox does not scale the upper bound `both`, which halves the
    variance of two members that differ more than images do.

    Raises:
        ValueError: images_count is below 2.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(corrected_variance(jnp.array(4.0), jnp.array(1.0), jnp.array(2.0))), 6)
        2.0
    """
    both, members, images = (
        checks.floating(v, n) for v, n in ((both, "both"), (members, "members"), (images, "images"))
    )
    if images_count is not None and images_count < 2:
        raise ValueError(f"images_count must be at least 2, not {images_count}.")
    v = 1.0 if images_count is None else images_count / (images_count - 1)
    u = 1.0 if members_count is None else jnp.broadcast_to(inflation(members_count, both.dtype), both.shape)
    value = u * members + v * images - u * v * (both - members - images)
    return jnp.minimum(jnp.maximum(value, jnp.maximum(u * members, v * images)), u * v * both)


def inflation(count: ArrayLike, dtype) -> jax.Array:
    """Ratio `count / (count - 1)` of the true variance to the bootstrap variance; NaN for one unit."""
    count = jnp.asarray(count, dtype)
    return jnp.where(count > 1, count / jnp.maximum(count - 1, 1), jnp.nan)


def noise_ceiling_from_scores(scores: ArrayLike) -> NoiseCeiling:
    """Noise ceiling of U members from their mutual scores `(..., U, U)`.

    `upper = mean_u (sum_v S_uv) / sqrt(sum_vw S_vw)`,
    `lower = mean_u (sum_{v != u} S_uv) / sqrt(sum_{v, w != u} S_vw)`.

    Exact if the score is the inner product of unit vectors (cosine, Pearson and U-centered cosine), since a member's
    score with the mean of unit vectors needs only these inner products (Nili et al. 2014). For Spearman it is the
    ceiling with mean ranks that are not ranked again. The diagonal must contain the score of a map with itself, 1.

    NaN if a score is NaN or a sum under a root is not positive; the lower bound is NaN for a single member.

    Raises:
        ValueError: the last two axes are not square.

    Example:
        >>> import jax.numpy as jnp
        >>> low, high = noise_ceiling_from_scores(jnp.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> round(float(low), 4), round(float(high), 4)
        (0.5, 0.866)
    """
    return NoiseCeiling(*(jnp.mean(bound, axis=-1) for bound in member_ceilings(scores)))


def member_ceilings(scores: ArrayLike) -> NoiseCeiling:
    """Bounds of each member from the members' mutual scores `(..., U, U)`, each `(..., U)`.

    Their means equal those of `noise_ceiling_from_scores`, under the same conditions.

    Raises:
        ValueError: the last two axes are not square.
    """
    scores = checks.floating(scores, "scores")
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ValueError(f"scores must have shape (..., U, U), but has shape {scores.shape}.")
    rows, columns, own = scores.sum(-1), scores.sum(-2), jnp.diagonal(scores, axis1=-2, axis2=-1)
    total = rows.sum(-1, keepdims=True)
    rest = total - rows - columns + own
    others = jnp.zeros_like(own) if scores.shape[-1] == 1 else rest
    return NoiseCeiling(_ratio(rows - own, others), _ratio(rows, jnp.broadcast_to(total, rows.shape)))


def _ratio(sums: jax.Array, squares: jax.Array) -> jax.Array:
    positive = squares > 0
    return jnp.where(positive, sums / jnp.sqrt(jnp.where(positive, squares, 1)), jnp.nan)


def _members(groups: Sequence[int], count: int) -> list[list[int]]:
    groups = [int(g) for g in groups]
    if len(groups) != count:
        raise ValueError(f"groups names the group of {len(groups)} members, but the scores have {count}.")
    if not groups or sorted(set(groups)) != list(range(max(groups) + 1)):
        raise ValueError(f"groups must use every number from 0 to G - 1, but uses {sorted(set(groups))}.")
    return [[u for u, own in enumerate(groups) if own == g] for g in range(max(groups) + 1)]


def _one_group(values: jax.Array, estimate: jax.Array, columns: list[int], draws: int, key: jax.Array):
    """Estimate and variances over images, members and both for a group, each `(S,)`."""
    count, index = len(columns), jnp.array(columns)
    values, estimate = values[:, :, index], estimate[:, index]
    by_images = jnp.var(values.mean(axis=2), axis=0, ddof=1)
    if count == 1:
        unknown = jnp.full_like(by_images, jnp.nan)
        return estimate.mean(axis=1), by_images, unknown, unknown
    weights = replacement_weights(key, draws, jnp.ones(count, bool), values.dtype)
    chosen = values if draws == values.shape[0] else values[jnp.arange(draws) % values.shape[0]]
    highest = jax.lax.Precision.HIGHEST
    members = jnp.einsum("ru,su->rs", weights, estimate, precision=highest)
    both = jnp.einsum("ru,rsu->rs", weights, chosen, precision=highest)
    return estimate.mean(axis=1), by_images, jnp.var(members, axis=0, ddof=1), jnp.var(both, axis=0, ddof=1)


def replacement_weights(key: jax.Array, draws: int, kept: jax.Array, dtype) -> jax.Array:
    """Weights `(draws, U)` of draws with replacement among the kept units `(U,)`.

    Each row sums to 1; row r uses `fold_in(key, r)`.
    """
    size, count = kept.shape[0], kept.sum()
    order = jnp.argsort(~kept, stable=True)

    def one(r: jax.Array) -> jax.Array:
        chosen = jax.random.randint(jax.random.fold_in(key, r), (size,), 0, jnp.maximum(count, 1))
        drawn = (jnp.arange(size) < count).astype(dtype)
        return jnp.zeros(size, dtype).at[order[chosen]].add(drawn) / count.astype(dtype)

    return jax.vmap(one)(jnp.arange(draws))
