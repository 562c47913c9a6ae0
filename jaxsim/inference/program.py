"""Device programs of model comparison: scores of models with subjects and of subjects with their noise ceilings."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import statistics
from jaxsim.engine.ceilings import member, member_ceilings
from jaxsim.engine.program import read_maps, score
from jaxsim.meshes import automatic
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.resampling.program import in_blocks, of_drawn, prepared
from jaxsim.results.matrices import pairs_in_matrix
from jaxsim.statistics import members
from jaxsim.statistics.intervals import ROUNDING
from jaxsim.statistics.mean_scores import MeanDraws


@functools.partial(jax.jit, static_argnames=("count", "draw", "at_once"))
@automatic
def scores_call(measure, parts, order, count, draw, source, at_once):
    """The single device call of `compare_models`.

    Args:
        measure: comparator of maps.
        parts: buckets of the models and the subjects.
        order: position of each in the buckets, models first.
        count: number of models.
        draw: draw function of the scheme.
        source: source of the image weights; None if images are fixed.
        at_once: number of resamples held together.

    Returns:
        Scores `(S + 2, U)` of the models and of the lower and upper ceiling; the same over resampled images
        `(B, S + 2, U)`, or None; the ceilings `(2, U, U)` without each subject, see `member_ceilings`; and the
        undefined images of models and of subjects.
    """
    made = read_maps([measure], parts, lambda _, m: (*member(measure, m), prepared(measure, m)))
    (z, pools, maps), bad = jax.tree.map(lambda a: a[order], (made.z[0], made.undefined[0]))
    models, subjects = jax.tree.map(lambda a: a[:count], maps), jax.tree.map(lambda a: a[count:], maps)
    estimate, several = score(measure, z[:count], z[count:]), len(order) - count > 1
    if several:
        ceilings, without = member_ceilings(measure, z[count:], pools[count:])
    else:
        ceilings = jnp.full((2, 1), jnp.nan, estimate.dtype)
        without = jnp.zeros((2, 1, 1), ceilings.dtype)
    scores = jnp.concatenate([estimate, ceilings])
    if source is None:
        return scores, None, without, bad[:count], bad[count:]

    def some(w):
        found = measure.compare.weighted(models, subjects, w.T)
        bounds = _ceilings(measure, subjects, w.T) if several else jnp.full((len(w), 2, 1), jnp.nan, w.dtype)
        return jnp.concatenate([found, bounds], 1)

    values = of_drawn(lambda w: in_blocks(some, w.astype(scores.dtype), at_once), draw, source)
    return scores, values, without, bad[:count], bad[count:]


def _ceilings(measure, subjects, w):
    """Scores `(b, 2, U)` of each subject with the best map of the others, and of all, under image weights."""
    own: Any = declared(measure.compare, ComparatorCapabilities)
    if own.weighted_ceiling is not None:
        return own.weighted_ceiling(subjects, w)
    return jnp.stack(members.member_ceilings(own.weighted(subjects, None, w)), 1)


@functools.partial(jax.jit, static_argnames=("images_count", "over", "test", "n_resamples", "level", "squared"))
def inference_call(values, scores, without, key, *, images_count, over, test, n_resamples, level, squared):
    """Arrays of a `ModelComparison` from the output of `scores_call`; p-values are NaN for the test "rank"."""
    if squared:
        scores, without, values = scores**2, without**2, None if values is None else values**2
    count = scores.shape[0] - 2
    plain, shift = scores, ceiling_shift(scores[count:], without)
    scores = scores.at[count:].add(shift)
    values = None if values is None else values.at[:, count:].add(shift)
    draws = statistics.mean_draws(
        values,
        scores,
        images_count=images_count,
        over=over,
        key=jax.random.fold_in(key, n_resamples),
        n_resamples=n_resamples,
    )
    models, bounds, below, apart = _families(draws, count)

    def tested(rows, two_sided=True):
        if test == "t":
            return statistics.student_tests(rows, two_sided=two_sided)
        if test == "bootstrap":
            return statistics.bootstrap_tests(rows, two_sided=two_sided)
        nothing = jnp.full(rows.estimate.shape, jnp.nan, scores.dtype)
        return statistics.MeanTests(nothing, nothing, nothing)

    between = tested(apart)
    zero = tested(models, two_sided=False).p
    low, high = statistics.mean_interval(models, level)
    ends = statistics.mean_interval(bounds, level)
    return {
        "estimate": models.estimate,
        "error": models.error(),
        "low": low,
        "high": high,
        "p_zero": jnp.full_like(zero, jnp.nan) if squared else zero,
        "p_ceiling": tested(below).p,
        "degrees": models.degrees,
        "scores": models.scores,
        "difference": pairs_in_matrix(apart.estimate, count, -1, 0.0),
        "difference_error": pairs_in_matrix(apart.error(), count),
        "p_pair": pairs_in_matrix(between.p, count),
        "p_adjusted": pairs_in_matrix(between.adjusted, count),
        "ceiling": bounds.estimate,
        "ceiling_low": ends[0],
        "ceiling_high": ends[1],
        "ceiling_scores": plain[count:],
        "draws": models.widest,
        "ceiling_draws": bounds.widest,
    }


def ceiling_shift(ceilings: jax.Array, without: jax.Array) -> jax.Array:
    """Correction `(2, U)`, with mean zero, that makes subjects' ceilings vary as the ceiling varies over subjects.

    A subject affects the ceiling by its own score and by its share in the maps of the others. The jackknife values,
    from the ceilings `without` each subject, include both, while the scores alone include only the first. The
    correction is zero for fewer than three subjects.
    """
    count = ceilings.shape[1]
    if count < 3:
        return jnp.zeros_like(ceilings)
    left = jnp.sum(without, 2) / (count - 1)
    acts, own = (v - jnp.mean(v, 1, keepdims=True) for v in ((1 - count) * left, ceilings))
    return acts - own


def rank_p_values(arrays: dict[str, Any], images_count: int, squared: bool) -> dict[str, jax.Array]:
    """P-values of Wilcoxon's test, computed on the host from each subject's scores of models and ceilings."""
    scores = jnp.concatenate([arrays["scores"], arrays["ceiling_scores"]])
    draws = MeanDraws(scores, None, scores.mean(1)[None], None, images_count)
    models, _, below, apart = _families(draws, len(scores) - 2)
    between = statistics.rank_tests(apart)
    zero = statistics.rank_tests(models, two_sided=False).p
    found = {
        "p_zero": jnp.full_like(zero, jnp.nan) if squared else zero,
        "p_ceiling": statistics.rank_tests(below).p,
        "p_pair": pairs_in_matrix(between.p, len(scores) - 2),
        "p_adjusted": pairs_in_matrix(between.adjusted, len(scores) - 2),
    }
    return {name: p.astype(scores.dtype) for name, p in found.items()}


def _families(draws: MeanDraws, count: int) -> tuple[MeanDraws, MeanDraws, MeanDraws, MeanDraws]:
    """Models, the two ceilings, models minus the lower ceiling, and all differences of two models."""
    own, first_of_pairs = np.arange(count), np.triu_indices(count, 1)
    lower = np.full(count, count)
    models, bounds = _zeros(draws.rows(own)), draws.rows(np.arange(count, count + 2))
    return models, bounds, draws.rows(own, lower), draws.rows(*first_of_pairs)


def _zeros(draws: MeanDraws) -> MeanDraws:
    """Zero the rows whose scores with all subjects are zero up to rounding, as for a constant map with rho-a."""
    slack = ROUNDING * jnp.finfo(draws.scores.dtype).eps
    lost = jnp.all(jnp.abs(draws.scores) <= slack, 1)
    images, subjects, both = (None if v is None else jnp.where(lost, 0, v) for v in draws[1:4])
    return MeanDraws(jnp.where(lost[:, None], 0, draws.scores), images, subjects, both, draws.images_count)
