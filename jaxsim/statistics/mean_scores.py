"""Mean scores over subjects: errors, intervals and tests of means and of their differences.

K rows (models, noise ceilings) each have a score with each of U subjects. The quantity of interest is the mean over
subjects. `over` says whether subjects, images or both are drawn from a population. A difference of two rows is paired
by
subject and by image.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, ndtri
from jax.typing import ArrayLike

from jaxsim.statistics import checks
from jaxsim.statistics.hypotheses import family_wise, holm, max_t
from jaxsim.statistics.intervals import gap
from jaxsim.statistics.members import corrected_variance, replacement_weights

OVER = ("both", "images", "subjects")
"""What is drawn from a population: subjects and images, or one of them with the other fixed."""
LEAST_P = 1e-30
"""P-values below this are treated as equal to it when converted to normal deviates."""


class MeanDraws(NamedTuple):
    """Scores of K rows with U subjects, and bootstrap draws of their means over subjects.

    Attributes:
        scores: `(K, U)` full-sample scores.
        images: `(B, K)` means over resampled images with subjects fixed; None if images are fixed.
        subjects: `(B, K)` means over resampled subjects with images fixed; None if subjects are fixed.
        both: `(B, K)` means with both resampled; None if one is fixed.
        images_count: number n of images.
    """

    scores: jax.Array
    images: jax.Array | None
    subjects: jax.Array | None
    both: jax.Array | None
    images_count: int

    @property
    def over(self) -> str:
        """What is resampled, one of `OVER`."""
        if self.both is not None:
            return "both"
        return "subjects" if self.images is None else "images"

    @property
    def widest(self) -> jax.Array:
        """`(B, K)` draws over everything that is resampled."""
        return next(v for v in (self.both, self.subjects, self.images) if v is not None)

    @property
    def estimate(self) -> jax.Array:
        """`(K,)` mean scores."""
        return jnp.mean(self.scores, 1)

    @property
    def degrees(self) -> jax.Array:
        """`(K,)` degrees of freedom of the errors.

        Number of subjects minus one, or number of images minus one if subjects are fixed. Over both, `(U - 1) / r^2`
        but no more than n - 1, where r lies halfway between 1 and the share of the variance that is due to subjects.
        This gives U - 1 if subjects cause all of it, and 4 (U - 1) if they cause none. Satterthwaite's formula, with r
        the share itself, treats a share as known that few subjects estimate badly, and rejects too often.
        """
        count, images = self.scores.shape[1], self.images_count
        fixed = {"images": images - 1, "subjects": count - 1}.get(self.over)
        if fixed is not None:
            return jnp.full(self.scores.shape[0], fixed, self.scores.dtype)
        assert self.subjects is not None
        by_subjects = jnp.var(self.subjects, axis=0, ddof=1) * (count / (count - 1))
        variance = self.error() ** 2
        share = jnp.clip(by_subjects / jnp.where(variance > 0, variance, jnp.inf), 0, 1)
        return jnp.minimum((count - 1) / ((1 + share) / 2) ** 2, images - 1)

    def rows(self, first: ArrayLike, second: ArrayLike | None = None) -> "MeanDraws":
        """The rows `first`, or their differences from the rows `second`, exactly zero if equal up to rounding."""
        first = np.asarray(first, int)
        other = None if second is None else np.asarray(second, int)

        def of(v, axis):
            if v is None:
                return None
            a = jnp.take(v, first, axis)
            return a if other is None else gap(a, jnp.take(v, other, axis))

        images, subjects, both = (of(v, 1) for v in (self.images, self.subjects, self.both))
        return MeanDraws(of(self.scores, 0), images, subjects, both, self.images_count)  # type: ignore[arg-type]

    def error(self) -> jax.Array:
        """`(K,)` standard errors of the means.

        Over images, the bootstrap error with n / (n - 1); over subjects, `sd / sqrt(U)`; over both,
        `corrected_variance`.
        """
        images, subjects = self.images, self.subjects
        if images is None:
            return jnp.std(self.scores, axis=1, ddof=1) / np.sqrt(self.scores.shape[1])
        by_images = jnp.var(images, axis=0, ddof=1)
        if subjects is None or self.both is None:
            return jnp.sqrt(by_images * (self.images_count / (self.images_count - 1)))
        by_subjects, by_both = (jnp.var(v, axis=0, ddof=1) for v in (subjects, self.both))
        counts = {"members_count": self.scores.shape[1], "images_count": self.images_count}
        return jnp.sqrt(corrected_variance(by_both, by_subjects, by_images, **counts))


class MeanTests(NamedTuple):
    """Tests of means against zero, arrays `(H,)`.

    Attributes:
        statistic: estimate divided by its error.
        p: p-value of each test by itself.
        adjusted: p-value adjusted for all H tests together; never below `p`.
    """

    statistic: jax.Array
    p: jax.Array
    adjusted: jax.Array


def mean_draws(
    values: ArrayLike | None,
    scores: ArrayLike,
    *,
    images_count: int,
    over: str = "both",
    key: jax.Array | int = 0,
    n_resamples: int = 1000,
) -> MeanDraws:
    """Bootstrap draws of mean scores over subjects.

    Subjects are drawn with replacement, the same for all rows. Draw r uses `fold_in(key, r)` and is combined with image
    resample r.

    Args:
        values: `(B, K, U)` scores over resampled images; None if images are fixed.
        scores: `(K, U)` full-sample scores.
        images_count: number n of images.
        over: "both", "images" (subjects fixed) or "subjects" (images fixed).
        key: typed random key, or a seed, for the draws of subjects.
        n_resamples: number of draws of subjects if images are fixed; otherwise it is B.

    Raises:
        ValueError: the shapes do not match, `over` is not one of these, or there are fewer than two subjects to draw
            from.

    Example:
        >>> import jax
        >>> values = jax.random.normal(jax.random.key(0), (500, 2, 8))
        >>> draws = mean_draws(values, values[0], images_count=40)
        >>> draws.both.shape, draws.estimate.shape
        ((500, 2), (2,))
    """
    checks.one_of(over, OVER, "over")
    scores = checks.floating(scores, "scores", "(K, U)")
    images = resampled = None
    if over != "subjects":
        if values is None:
            raise ValueError(f'values over resampled images are needed for over="{over}".')
        resampled, scores = checks.pair(values, scores, "(B, K, U)")
        images = jnp.mean(resampled, 2)
        if over == "images":
            return MeanDraws(scores, images, None, None, images_count)
    if scores.shape[1] < 2:
        raise ValueError(f'over="{over}" draws subjects and needs at least two, not {scores.shape[1]}.')
    draws = n_resamples if resampled is None else len(resampled)
    weights = replacement_weights(checks.as_key(key), draws, jnp.ones(scores.shape[1], bool), scores.dtype)
    subjects = _mean(weights, scores[None])
    both = None if resampled is None else _mean(weights, resampled)
    return MeanDraws(scores, images, subjects, both, images_count)


def mean_interval(draws: MeanDraws, level: float = 0.95) -> jax.Array:
    """Student's interval of the means, `(2, K)`."""
    step = draws.error() * student_quantile(draws.degrees, level)
    return jnp.stack([draws.estimate - step, draws.estimate + step])


def student_quantile(degrees: ArrayLike, level: float = 0.95) -> jax.Array:
    """Student's t quantile for a two-sided interval of that level, for degrees of freedom of at least 1.

    Interpolated in a table by 1 / degrees, within 1e-5 of the exact value from 2 degrees on.

    Raises:
        ValueError: level is not strictly between 0 and 1.

    Example:
        >>> round(float(student_quantile(jax.numpy.array(3.0))), 4)
        3.1824
    """
    from scipy.special import ndtri as normal
    from scipy.special import stdtrit

    degrees, tail = checks.floating(degrees, "degrees"), (1 + checks.probability(level)) / 2
    inverse = np.linspace(0, 1, 2001)
    quantiles = np.concatenate([[normal(tail)], stdtrit(1 / inverse[1:], tail)])
    return jnp.interp(1 / degrees, jnp.asarray(inverse, degrees.dtype), jnp.asarray(quantiles, degrees.dtype))


def student_tests(draws: MeanDraws, *, two_sided: bool = True) -> MeanTests:
    """Student's t of each mean, and p-values adjusted by the largest |t| of all.

    The error is `MeanDraws.error`. For the adjustment, each |t| is converted to the normal deviate with the same
    p-value. The bootstrap deviations in units of their spread are draws of it without any effect, and keep the
    dependence between rows. P-values step down through the family as in `family_wise`, and are never below `p`.

    Args:
        draws: means, or differences of means.
        two_sided: False tests for means above zero, with adjusted p-values from the two-sided family.

    Example:
        >>> import jax
        >>> values = 0.1 * jax.random.normal(jax.random.key(0), (999, 3, 8)) + jax.numpy.array([[0.0], [0.0], [1.0]])
        >>> tests = student_tests(mean_draws(values, values[0], images_count=40))
        >>> [bool(p < 0.05) for p in tests.adjusted]
        [False, False, True]
    """
    t = _ratio(draws.estimate, draws.error())
    both = student_p(t, draws.degrees)
    p = both if two_sided else jnp.where(t > 0, both / 2, 1 - both / 2)
    v = draws.widest
    spread = jnp.std(v, axis=0, ddof=1)
    stars = (v - jnp.mean(v, 0)) / jnp.where(spread > 0, spread, 1)
    deviate = -ndtri(jnp.maximum(both, LEAST_P) / 2)
    _, _, adjusted = max_t(deviate, stars)
    return MeanTests(t, p, jnp.maximum(adjusted, p))


def student_p(t: ArrayLike, degrees: ArrayLike) -> jax.Array:
    """Two-sided p-value of Student's t.

    Example:
        >>> round(float(student_p(jax.numpy.array(3.1824), 3)), 4)
        0.05
    """
    t = checks.floating(t, "t")
    degrees = jnp.asarray(degrees, t.dtype)
    return betainc(degrees / 2, 0.5, degrees / (degrees + t * t))


def bootstrap_tests(draws: MeanDraws, *, two_sided: bool = True) -> MeanTests:
    """Share of draws on the other side of zero, `(1 + #) / (B + 1)`, twice the smaller for a two-sided test.

    Over both factors, the draws vary too much if images cause the variance (`corrected_variance` corrects errors for
    that). If few subjects cause it, they vary too little, and the tests reject too often. Adjusted by `family_wise`.
    """
    v = draws.widest
    lost = jnp.isnan(v).any(0)
    # a mean that is zero up to rounding counts on both sides
    below, above = ((1 + jnp.sum(s * v >= 0, 0, dtype=v.dtype)) / (len(v) + 1) for s in (-1, 1))
    p = jnp.minimum(2 * jnp.minimum(below, above), 1) if two_sided else below
    p = jnp.where(lost, jnp.nan, p)
    adjusted = family_wise(v, draws.estimate).step_down
    return MeanTests(_ratio(draws.estimate, draws.error()), p, jnp.maximum(adjusted, p))


def rank_tests(draws: MeanDraws, *, two_sided: bool = True) -> MeanTests:
    """Wilcoxon's signed-rank test over subjects for each row, adjusted by Holm's method.

    U subjects give no two-sided p-value below 2 / 2^U: at least six are needed to reach .05, or five one-sided. If
    scores are zero for all subjects, p is 1. Runs on the host, not inside `jax.jit`.

    Raises:
        ValueError: subjects are fixed.
    """
    from scipy.stats import wilcoxon

    if draws.over == "images":
        raise ValueError('test="rank" ranks subjects, which over="images" treats as fixed; use "t" or "bootstrap".')
    found = []
    for row in np.asarray(draws.scores, np.float64):
        if np.isnan(row).any():
            found.append((np.nan, np.nan))
        elif not row.any():
            found.append((0.0, 1.0))
        else:
            test: Any = wilcoxon(row, alternative="two-sided" if two_sided else "greater")
            found.append((float(test.statistic), float(test.pvalue)))
    statistic, p = np.array(found).reshape(-1, 2).T
    return MeanTests(jnp.asarray(statistic), jnp.asarray(p), jnp.asarray(holm(p)))


def _mean(weights: jax.Array, values: jax.Array) -> jax.Array:
    """Means `(B, K)` under weights of the subjects `(B, U)` that sum to 1."""
    values = jnp.broadcast_to(values, (len(weights), *values.shape[1:]))
    return jnp.einsum("ru,rku->rk", weights, values, precision=jax.lax.Precision.HIGHEST)


def _ratio(estimate: jax.Array, error: jax.Array) -> jax.Array:
    """`estimate / error`; zero if both are zero, NaN if only the error is zero."""
    return jnp.where(error > 0, estimate / jnp.where(error > 0, error, 1), jnp.where(estimate == 0, error, jnp.nan))
