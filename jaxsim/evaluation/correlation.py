"""Correlations of two short vectors, in float64 on the host: ranks must see ties as they are in the file."""

from collections.abc import Callable

import numpy as np

Correlation = Callable[[np.ndarray, np.ndarray], float]


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two vectors of length n; NaN where one of them is constant.

    Example:
        >>> round(pearson([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]), 3)
        0.5
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.sum(x / np.linalg.norm(x) * (y / np.linalg.norm(y))))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of two vectors of length n: Pearson of their ranks, ties given their average rank.

    Example:
        >>> round(spearman([1.0, 2.0, 30.0], [5.0, 5.0, 6.0]), 3)
        0.866
    """
    return pearson(_average_ranks(x), _average_ranks(y))


def _average_ranks(v) -> np.ndarray:
    _, place, counts = np.unique(v, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
