"""What several experiments need: the truth as a record, agreement with it, and permutation tests of that."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

from jaxsim import evaluation, statistics
from jaxsim.evaluation import spearman
from jaxsim.results import Affinity
from jaxsim.studies.reproduce.settings import Setting

LEVEL = 0.05
"""Below which a p value counts as more than chance."""


def permutations(setting: Setting) -> int:
    """How many relabelings a permutation test draws."""
    return 199 if setting.quick else 999


def agreement(affinity: Affinity, setting: Setting, *, diagonal: bool) -> evaluation.Agreement:
    """Spearman correlation of each target's column with measured transfer."""
    return evaluation.evaluate(affinity, setting.truth.matrix(), diagonal=diagonal, subset=True)


def relabelings(setting: Setting, count: int) -> list[np.ndarray]:
    """Random orders of S networks."""
    rng = np.random.default_rng(setting.seed)
    return [rng.permutation(count) for _ in range(permutations(setting))]


def p_value(observed: float, null: np.ndarray) -> float:
    """(1 + #) / (B + 1), # the draws that are no lower than what was observed; see `statistics.permutation_p`."""
    return float(statistics.permutation_p(np.asarray(null, dtype=float), float(observed)))


def over_tasks(values: Sequence[float] | np.ndarray, setting: Setting) -> tuple[float, float | None, float | None]:
    """Mean over tasks of the correlations that are defined, and its 95 % interval over tasks; None for a single task's.

    The interval ends at -1 and 1.
    """
    each = np.asarray(values, dtype=float)
    each = each[np.isfinite(each)]
    if len(each) < 2:
        return (float(each[0]) if len(each) else float("nan")), None, None
    key = jax.random.fold_in(jax.random.key(setting.seed), 1)
    found = statistics.agreement_over_targets(jnp.asarray(each, jnp.float32), key=key, resamples=999)
    low, high = np.clip(np.asarray(found.interval), -1, 1)
    return float(each.mean()), float(low), float(high)


def relabeled_means(affinities: Sequence[Affinity], setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Mean correlation without self of k measures, and the same under random relabeling of the networks.

    Rows and columns of a prediction are relabeled together, so that self-similarities stay where they are; the same
    relabelings for all measures. Since ranks within a column move with the names, they are taken once.

    Returns:
        `(k,)` and `(B, k)`.
    """
    truth = setting.truth.matrix()
    targets = [truth.names.index(name) for name in truth.targets]
    own = np.asarray(truth.names)[:, None] == np.asarray(truth.targets)[None, :]
    goal = _standard_ranks(truth.values, ~own)
    ranks = [_standard_ranks(np.asarray(a.values), ~np.eye(len(a.names), dtype=bool)) for a in affinities]
    size = len(targets)
    found = np.array([np.sum(r[:, targets] * goal) / size for r in ranks])
    null = [
        [np.sum(r[np.ix_(order, order[targets])] * goal) / size for r in ranks]
        for order in relabelings(setting, len(truth.names))
    ]
    return found, np.array(null)


def _standard_ranks(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Average ranks of the used entries of each column, centered and of length 1; zero elsewhere."""
    entries = np.where(used, np.asarray(values, dtype=np.float64), np.nan)
    ranks = rankdata(entries, axis=0, nan_policy="omit")
    centered = np.nan_to_num(ranks - np.nanmean(ranks, axis=0))
    length = np.sqrt((centered**2).sum(0))
    return centered / np.where(length > 0, length, np.inf)


def matrix_correlation(first: np.ndarray, second: np.ndarray, used: np.ndarray) -> tuple[float, float]:
    """Pearson and Spearman correlation over the used entries of two matrices."""
    a, b = np.asarray(first, dtype=np.float64)[used], np.asarray(second, dtype=np.float64)[used]
    return evaluation.pearson(a, b), spearman(a, b)
