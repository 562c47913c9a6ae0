"""Scores of a predicted matrix against measured transfer, target by target.

A target's own network is never a candidate source. If several sources share the highest prediction, the score is the
mean over choosing each of them.
"""

from typing import NamedTuple

import numpy as np

from jaxsim.evaluation import spearman

TOP = (1, 3, 5)
"""Values of k in top k."""
FEWEST = 3
"""Fewest sources for a correlation, as in `jaxsim.evaluation`."""


class Scores(NamedTuple):
    """Scores of one matrix; NaN where undefined.

    Attributes:
        with_self: `(T,)` Spearman correlation of the columns, including a target's own network.
        without_self: `(T,)` the same without the own network.
        weighted_tau: `(T,)` weighted Kendall correlation without it; differences between good sources weigh more.
        top: `(T, len(TOP))` probability that the source predicted best is one of the k best.
        regret: `(T,)` performance of the best source minus that of the one predicted best.
    """

    with_self: np.ndarray
    without_self: np.ndarray
    weighted_tau: np.ndarray
    top: np.ndarray
    regret: np.ndarray


def scored(predicted: np.ndarray, truth: np.ndarray, skill: np.ndarray, own: np.ndarray) -> Scores:
    """Score a prediction `(S, T)`, or several `(D, S, T)` on average.

    Args:
        predicted: higher is better.
        truth: measured transfer `(S, T)`, higher is better; NaN where it was not measured.
        skill: performance `(S, T)` that regret is measured in.
        own: `(S, T)` whether source and target are the same task.
    """
    if predicted.ndim == 3:
        found = [scored(one, truth, skill, own) for one in predicted]
        return Scores(*(np.mean(several, 0) for several in zip(*found, strict=True)))
    columns = [_column(*(m[:, t] for m in (predicted, truth, skill, own))) for t in range(truth.shape[1])]
    return Scores(*map(np.array, zip(*columns, strict=True)))


def _column(predicted, truth, skill, own) -> tuple:
    """The scores of one target."""
    finite = np.isfinite(predicted) & np.isfinite(truth)
    a, g = predicted[finite & ~own], truth[finite & ~own]
    whole = spearman(predicted[finite], truth[finite]) if finite.sum() >= FEWEST else np.nan
    if len(a) < FEWEST or np.ptp(g) == 0:
        return whole, np.nan, np.nan, np.full(len(TOP), np.nan), np.nan
    chosen = a == a.max()
    ranks = np.sum(g > g[chosen][:, None], axis=1)  # better sources, for each that may be selected
    gains = skill[finite & ~own]
    top = np.array([np.mean(ranks < k) for k in TOP])
    return whole, spearman(a, g), weighted_tau(a, g), top, np.max(gains) - np.mean(gains[chosen])


def weighted_tau(x: np.ndarray, y: np.ndarray) -> float:
    """Weighted Kendall correlation of two vectors (Vigna 2015); NaN if one is constant.

    The mean of two correlations, with ranks by x and by y: a pair has weight `1 / (1 + r) + 1 / (1 + s)`, where r and
    s are the ranks of its two entries, 0 for the highest.

    >>> round(weighted_tau(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 3.0])), 3)
    0.545
    """
    from scipy.stats import weightedtau

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    found, _ = weightedtau(x, y)
    return float(np.asarray(found))
