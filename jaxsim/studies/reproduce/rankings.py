"""Rankings of networks: their correlation, agreement with measured transfer, and permutation tests."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

from jaxsim import engine, evaluation, measures, statistics
from jaxsim.evaluation.mantel import standardized
from jaxsim.results import Affinity
from jaxsim.statistics.checks import as_key
from jaxsim.studies.reproduce.model_cache import ModelCache
from jaxsim.studies.reproduce.settings import Features, Setting

LEVEL = 0.05
"""Significance level of p values."""
ALIKE = 0.8
"""Smallest mean correlation of rankings that count as alike; the paper's are between .84 and .99."""


@dataclasses.dataclass(frozen=True)
class Likeness:
    """Correlations of two networks' similarities to the bank.

    Attributes:
        pearson: correlation of the similarities.
        spearman: correlation of their ranks.
    """

    pearson: float
    spearman: float


def workshop(setting: Setting, who: str) -> ModelCache:
    """The setting's workshop, for the experiment `who`.

    Raises:
        ValueError: it has none, or trains for tasks that are not targets of measured transfer.
    """
    if setting.workshop is None:
        raise ValueError(f"{who} trains networks, so it needs a setting with a workshop.")
    odd = [name for name in setting.workshop.names if name not in setting.truth.targets]
    if odd:
        raise ValueError(f"the workshop trains for {', '.join(odd)}, but no transfer to that was measured.")
    return setting.workshop


def similarities(bank: Features, codes: Sequence[np.ndarray]) -> np.ndarray:
    """RSA `(S, K)` of S networks of the bank with K codes of the same pictures."""
    named = {str(k): code for k, code in enumerate(codes)}
    return np.asarray(engine.affinity(bank, measures.RSA, against=named).values, dtype=float)


def own(setting: Setting, names: Sequence[str]) -> np.ndarray:
    """RSA `(S, T)` of the bank with the bank's own networks for the named tasks."""
    return similarities(setting.code, [setting.code[name] for name in names])


def transfer(setting: Setting, names: Sequence[str]) -> np.ndarray:
    """Measured transfer affinity `(S, T)` to the named tasks."""
    return np.asarray(setting.truth.affinity, dtype=float)[:, [setting.truth.targets.index(name) for name in names]]


def alike(first: np.ndarray, second: np.ndarray, setting: Setting, *without: str) -> Likeness:
    """Correlations of two columns `(S,)` over the bank, with some networks left out."""
    used = ~np.isin(setting.truth.sources, without)
    pair = first[used], second[used]
    return Likeness(evaluation.pearson(*pair), evaluation.spearman(*pair))


def permutations(setting: Setting) -> int:
    """Number of relabelings in a permutation test."""
    return 199 if setting.quick else 999


def agreement(affinity: Affinity, setting: Setting, *, diagonal: bool) -> evaluation.Agreement:
    """Spearman correlation of each target's column with measured transfer."""
    return evaluation.evaluate(affinity, setting.truth.matrix(), diagonal=diagonal, subset=True)


def agreement_of(values: np.ndarray, names: Sequence[str], setting: Setting) -> float:
    """Mean correlation of scores `(T, T)` with transfer, without the diagonal."""
    return agreement(Affinity.from_array(values, names, measure="dds"), setting, diagonal=False).mean


def grouping(values: np.ndarray, groups: Sequence[str], setting: Setting) -> tuple[float, float]:
    """Probability that two networks of a group are more similar than two of different groups, and its p value.

    Ties count one half; one half is chance. Only the order of the similarities matters, not their level, so layers at
    which all networks are alike are not at a disadvantage. The p value is from relabeling the networks. Both are NaN if
    there are no pairs of either kind.
    """
    rows, columns = np.triu_indices(len(groups), 1)
    ranks, labels = rankdata(np.asarray(values, dtype=float)[rows, columns]), np.unique(groups, return_inverse=True)[1]
    same = labels[rows] == labels[columns]
    count, others = int(same.sum()), int((~same).sum())
    if not count or not others:
        return float("nan"), float("nan")

    def of(labels: np.ndarray) -> float:
        total = float(np.sum(ranks[labels[rows] == labels[columns]]))
        return (total - count * (count + 1) / 2) / (count * others)

    null = np.array([of(labels[order]) for order in relabelings(setting, len(labels))])
    return of(labels), p_value(of(labels), null)


def relabelings(setting: Setting, count: int) -> list[np.ndarray]:
    """Random orders of the networks."""
    rng = np.random.default_rng(setting.seed)
    return [rng.permutation(count) for _ in range(permutations(setting))]


def p_value(observed: float, null: np.ndarray) -> float:
    """(1 + #) / (B + 1), where # draws are at least as high as observed; see `statistics.permutation_p`."""
    return float(statistics.permutation_p(np.asarray(null, dtype=float), float(observed)))


def over_tasks(values: Sequence[float] | np.ndarray, setting: Setting) -> tuple[float, float | None, float | None]:
    """Mean of the defined correlations over tasks, and its 95 % interval over tasks.

    None for a single task, and if all tasks have the same correlation.
    """
    each = np.asarray(values, dtype=float)
    each = each[np.isfinite(each)]
    if len(each) < 2:
        return (float(each[0]) if len(each) else float("nan")), None, None
    key = jax.random.fold_in(as_key(setting.seed), 1)
    found = statistics.agreement_over_targets(jnp.asarray(each, jnp.float32), key=key, n_resamples=999)
    low, high = (None if np.isnan(end) else float(end) for end in np.asarray(found.interval))
    return float(each.mean()), low, high


def relabeled_means(affinities: Sequence[Affinity], setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Mean correlation without the diagonal of k measures, observed and under random relabeling of the networks.

    Rows and columns of a prediction are relabeled together, so that the diagonal stays in place, with the same
    relabelings for all measures. Since ranks within a column move with the names, they are computed once.

    Returns:
        `(k,)` and `(B, k)`.
    """
    truth = setting.truth.matrix()
    targets = [truth.names.index(name) for name in truth.targets]
    own = np.asarray(truth.names)[:, None] == np.asarray(truth.targets)[None, :]
    goal = standardized(np.asarray(truth.values, float), ~own, True)
    ranks = [standardized(np.asarray(a.values, float), ~np.eye(len(a.names), dtype=bool), True) for a in affinities]
    size = len(targets)
    found = np.array([np.sum(r[:, targets] * goal) / size for r in ranks])
    null = [
        [np.sum(r[np.ix_(order, order[targets])] * goal) / size for r in ranks]
        for order in relabelings(setting, len(truth.names))
    ]
    return found, np.array(null)


def matrix_correlation(first: np.ndarray, second: np.ndarray, used: np.ndarray) -> tuple[float, float]:
    """Pearson and Spearman correlation over the used entries of two matrices."""
    a, b = np.asarray(first, dtype=np.float64)[used], np.asarray(second, dtype=np.float64)[used]
    return evaluation.pearson(a, b), evaluation.spearman(a, b)
