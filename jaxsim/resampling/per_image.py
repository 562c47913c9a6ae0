"""Resampling of per-image scores, whose means need no recomputation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim import assumptions, schemes
from jaxsim.assumptions import Facts
from jaxsim.casts import score_type
from jaxsim.engine.memory import require
from jaxsim.protocols import Draws, Scheme, SchemeCapabilities, declared
from jaxsim.resampling.program import of_drawn
from jaxsim.resampling.verbs import as_scheme, key_text, source_of, strata_of, warn_if_few
from jaxsim.results import ImageScores, Provenance, Resamples
from jaxsim.results.per_image import refuse_repeated


def resample_scores(
    scores: ImageScores,
    scheme: Scheme | str = schemes.HalfSamples(),  # noqa: B008
    *,
    n_resamples: int | None = None,
    key: jax.Array | int = 0,
) -> Resamples:
    """Resample the images of per-image scores and average the scores.

    Args:
        scores: per-image scores, as computed by `jaxsim.vision.attribution.image_scores`.
        scheme: as for `js.resample`, but not a permutation, since the images of two networks are not matched here.
        n_resamples: as for `js.resample`.
        key: as for `js.resample`.

    Returns:
        `Resamples` with `values (B, T, T)` and `estimate (T, T)`.

    Raises:
        TypeError: `scores` are not per-image scores, or the scheme or the random key is invalid.
        ValueError: the scheme is a permutation, or does not fit the number of images; there are no images, or not one
            score for each image and pair of networks; two networks have the same name, or two images the same id.

    >>> import numpy as np, jaxsim as js
    >>> from jaxsim.results import ImageScores, Provenance
    >>> values = np.linspace(0.2, 0.8, 40)[:, None, None] * np.ones((2, 2), np.float32)
    >>> scores = ImageScores(values, ("a", "b"), tuple(map(str, range(40))), Provenance("made up", "float32", "cpu"))
    >>> found = js.resample_scores(scores, js.Bootstrap(), n_resamples=50, key=1)
    >>> found.values.shape, round(float(found.estimate[0, 1]), 3)
    ((50, 2, 2), 0.5)
    """
    if not isinstance(scores, ImageScores):
        raise TypeError(f"scores must be ImageScores, not {type(scores).__name__}; for features, use js.resample.")
    shape = (len(scores.ids), len(scores.names), len(scores.names))
    if np.shape(scores.values) != shape:
        raise ValueError(f"scores of these images and networks must have shape {shape}, not {np.shape(scores.values)}.")
    if not scores.ids:
        raise ValueError("there are no scores to resample: there are no images.")
    refuse_repeated(scores.names, scores.ids)
    scheme = as_scheme(scheme)
    if scheme.draws is Draws.ORDERS:
        text = f"the scheme {scheme.kind} rearranges images, which scores of single images cannot follow"
        raise ValueError(f"{text}; give js.HalfSamples() or another scheme.")
    images = len(scores.ids)
    plan = scheme.plan(images, 1, n_resamples)
    each = 3 * len(scores.names) ** 2 + 3 * images * (plan.given is not None)
    require(4 * plan.count * each, f"{plan.count} resamples of {images} images")
    source = source_of(plan, key)
    warn_if_few(plan, scheme)
    given = jnp.asarray(scores.values)
    values, estimate = _means(given.astype(score_type(given.dtype)), scheme.draws, scheme.draw, source)
    measure = scores.provenance.measure
    provenance = Provenance.now(measure, values, scheme=schemes.describe(scheme), key=key_text(source.key))
    facts = Facts(measure, images=images, resamples=plan.count, enough=declared(scheme, SchemeCapabilities).enough)
    facts = facts._replace(strata=strata_of(plan))
    if plan.groups is not None:
        apart = images if plan.groups == images else 0
        facts = facts._replace(images=np.inf, groups=plan.groups, apart=apart)
    flags = assumptions.flags(facts)
    assumptions.warn_of(flags)
    return Resamples(
        values,
        estimate,
        scores.names,
        scores.names,
        provenance,
        scheme.kind,
        images,
        plan.size,
        scores.undefined,
        groups=plan.groups,
        groups_drawn=plan.groups_drawn,
        degrees=plan.degrees,
        flags=flags,
    )


@functools.partial(jax.jit, static_argnames=("draws", "draw"))
def _means(scores, draws, draw, source):
    """Means `(B, T, T)` over the resamples, and over all images."""
    flat = scores.reshape(len(scores), -1)
    there = jnp.isfinite(flat)

    def some(found):
        if draws is Draws.SUBSETS:
            rows = jnp.arange(len(found))[:, None]
            found = jnp.zeros((len(found), len(flat)), flat.dtype).at[rows, found].add(1)
        weights = found.astype(flat.dtype)
        # NaN in an image would otherwise reach resamples that leave it out
        sums = jnp.matmul(weights, jnp.where(there, flat, 0), precision=lax.Precision.HIGHEST)
        holds, unscored = (a.astype(flat.dtype) for a in (weights != 0, ~there))
        lost = jnp.matmul(holds, unscored, precision=lax.Precision.HIGHEST) > 0
        return jnp.where(lost, jnp.nan, sums / jnp.sum(weights, 1, keepdims=True))

    means = of_drawn(some, draw, source)
    return means.reshape(-1, *scores.shape[1:]), jnp.mean(jnp.where(jnp.isfinite(scores), scores, jnp.nan), 0)
