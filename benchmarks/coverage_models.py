"""Errors and tests of `js.compare_models`, for new subjects and new images together.

An image has coordinates in a common block, in five more blocks, and in one block per subject. Every model sees the
common block and one of the five. A subject's map is the sum of squared distances within blocks, with the subject's own
weights. The five models are alike by symmetry, so no difference between them is real. A sixth model sees a block that
no subject sees, and its mean score is zero. The truth for a given number of images and subjects is the mean over other
data sets.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.coverage_studies import Study
from jaxsim import statistics
from jaxsim.engine.padding import joined_buckets
from jaxsim.inference.program import ceiling_shift, scores_call
from jaxsim.inputs import square_maps
from jaxsim.measures import PARTS, of_maps
from jaxsim.resampling.verbs import source_of
from jaxsim.schemes import Bootstrap
from jaxsim.statistics.mean_scores import student_p

ALIKE, COMMON, SPECIAL, OWN = 5, 6, 3, 6
"""Models that are alike; coordinates of the blocks."""
RESAMPLES, BATCH, TRUTHS = 500, 50, 2000
LEVEL = 0.05


def _distances(x):
    return np.sum((x[:, None] - x[None]) ** 2, -1, dtype=np.float32)


def world(rng: np.random.Generator, images: int, subjects: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps of the models `(6, n, n)` and of the subjects `(U, n, n)`."""
    common = _distances(rng.normal(size=(images, COMMON)))
    special = [_distances(rng.normal(size=(images, SPECIAL))) for _ in range(ALIKE)]
    other = _distances(rng.normal(size=(images, COMMON)))
    found = []
    for _ in range(subjects):
        shared, own = np.exp(0.4 * rng.normal(size=2))
        weights = np.exp(0.6 * rng.normal(size=ALIKE))
        map_ = shared * common + own * _distances(rng.normal(size=(images, OWN)))
        found.append(map_ + np.tensordot(weights, special, 1))
    return np.stack([*(common + one for one in special), other]).astype(np.float32), np.stack(found).astype(np.float32)


def scores(comparator: str, images: int, subjects: int, seed: int, resampled: bool):
    """Scores `(S + 2, U)` of a data set, over resampled images or None, and ceilings without each subject."""
    models, brains = world(np.random.default_rng([images, subjects, seed]), images, subjects)
    measure, scheme = of_maps(PARTS["compare"][comparator]), Bootstrap()
    source = source_of(scheme.plan(images, 3, RESAMPLES), jax.random.key(seed)) if resampled else None
    x, y = (square_maps({f"{k}": m for k, m in enumerate(maps)}) for maps in (models, brains))
    return scores_call(measure, *joined_buckets(x, y, [measure]), len(models), scheme.draw, source, 32)[:3]


@functools.cache
def truth(comparator: str, images: int, subjects: int) -> np.ndarray:
    """Mean scores `(S + 2,)` of data sets that no setting counts."""
    some = [scores(comparator, images, subjects, 10**6 + k, False)[0].mean(1) for k in range(TRUTHS)]
    found = np.mean(some, 0)
    found[:ALIKE] = found[:ALIKE].mean()
    found[ALIKE] = 0
    return found


@functools.partial(jax.jit, static_argnames=("images",))
def tests(values, scores, without, truth, key, images):
    """Whether truths are missed and true hypotheses rejected, by procedure, but for ranks."""
    count = ALIKE + 1
    shift = ceiling_shift(scores[count:], without)
    values, scores = values.at[:, count:].add(shift), scores.at[count:].add(shift)
    draws = statistics.mean_draws(values, scores, images_count=images, key=key)
    models, (i, j) = draws.rows(np.arange(ALIKE)), np.triu_indices(ALIKE, 1)
    apart = draws.rows(i, j)
    zero, first, ceilings = draws.rows([ALIKE]), draws.rows([0]), draws.rows([count, count + 1])
    below = draws.rows([0], [count])
    low, high = statistics.mean_interval(models)
    ends = statistics.mean_interval(ceilings)
    missed = (ends[0] > truth[count:]) | (ends[1] < truth[count:])
    shifted = (below.estimate - truth[0] + truth[count]) / below.error()
    student, boot = statistics.student_tests(apart), statistics.bootstrap_tests(apart)
    off = jnp.abs(first.estimate - truth[0]) / first.error()
    fewest = min(images, scores.shape[1]) - 1
    return {
        "interval of a model misses": (low[0] > truth[0]) | (high[0] < truth[0]),
        "the same with 1.96 for Student's t": (off > 1.96)[0],
        "the same with subjects less one degrees of freedom": (student_p(off, fewest) <= LEVEL)[0],
        "interval of the lower ceiling misses": missed[0],
        "interval of the upper ceiling misses": missed[1],
        "against zero, t": statistics.student_tests(zero, two_sided=False).p[0] <= LEVEL,
        "against the lower ceiling, t": (student_p(shifted, below.degrees) <= LEVEL)[0],
        "one pair, t": student.p[0] <= LEVEL,
        "one pair, bootstrap": boot.p[0] <= LEVEL,
        "any of ten pairs, t unadjusted": (student.p <= LEVEL).any(),
        "any of ten pairs, t with max-T": (student.adjusted <= LEVEL).any(),
        "any of ten pairs, bootstrap with max-T": (boot.adjusted <= LEVEL).any(),
    }


def batch(comparator: str, images: int, subjects: int, done: int) -> dict[str, np.ndarray]:
    """Outcomes of `BATCH` data sets."""
    known, outcomes = truth(comparator, images, subjects), []
    for seed in range(done, done + BATCH):
        full, values, without = scores(comparator, images, subjects, seed, True)
        found = dict(tests(values, full, without, known, jax.random.key(10**6 + seed), images))
        draws = statistics.MeanDraws(full[:ALIKE], None, full.mean(1)[None, :ALIKE], None, images)
        ranks = statistics.rank_tests(draws.rows(*np.triu_indices(ALIKE, 1)))
        found["one pair, ranks"] = ranks.p[0] <= LEVEL
        found["any of ten pairs, ranks with Holm"] = (ranks.adjusted <= LEVEL).any()
        outcomes.append({name: bool(v) for name, v in found.items()})
    return {name: np.array([one[name] for one in outcomes]) for name in outcomes[0]}


SETTINGS = [("pearson", n, u) for n in (30, 92) for u in (4, 8, 20)] + [("rho-a", n, 4) for n in (30, 92)]
STUDY = Study(
    "Models compared with subjects, for new subjects and images: how often an interval misses the truth, and how often "
    "a test rejects a true hypothesis.",
    100 * LEVEL,
    (3, 7),
    {f"{c}, {u} subjects, {n} images": functools.partial(batch, c, n, u) for c, n, u in SETTINGS},
)
