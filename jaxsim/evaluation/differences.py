"""Difference between the agreements of two measures with one truth, over tasks.

Matrix entries that share a task are dependent, in rows as well as in columns, so targets are not independent units. The
standard error is a jackknife that leaves out one task at a time, as source and as target, minus what it counts twice:
the noise of a pair of tasks is left out with either of them (Efron and Stein 1981; Snijders and Borgatti 1999 for
networks; Aronow, Samii and Assenova 2015 for the variance of dyads). A task's contribution is the sum over its pairs.
Each pair is left out of its column in turn, and the column is ranked again.
"""

from typing import NamedTuple

import numpy as np

from jaxsim.evaluation.mantel import FEWEST, TIE
from jaxsim.statistics.checks import probability


class Difference(NamedTuple):
    """Difference of two mean agreements.

    Attributes:
        value: difference of the means over the targets where both are defined.
        error: standard error over tasks.
        p: two-sided, from Student's t; 1 if the two measures order every column alike.
        degrees: degrees of freedom of t.
    """

    value: float
    error: float
    p: float
    degrees: float = np.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's t interval at that level; NaN if there is no error.

        Raises:
            ValueError: the level is not between 0 and 1.
        """
        from scipy.special import stdtrit

        far = float(stdtrit(self.degrees, (1 + probability(level)) / 2)) * self.error if self.degrees > 0 else np.nan
        return self.value - far, self.value + far


def difference(first: np.ndarray, second: np.ndarray, truth: np.ndarray, own: np.ndarray, ranked: bool) -> Difference:
    """Test whether two measures agree equally well with the truth.

    Args:
        first: `(S, T)` affinity.
        second: `(S, T)` affinity to compare it with.
        truth: `(S, T)` measured transfer.
        own: `(S, T)` whether source and target are the same task; such pairs are ignored.
        ranked: use Spearman's correlation instead of Pearson's.
    """
    from scipy.special import stdtr

    used = np.isfinite(first) & np.isfinite(second) & np.isfinite(truth) & ~own
    a, b, g = (_Scores(m, used, ranked) for m in (first, second, truth))
    kept = (used.sum(axis=0) >= FEWEST) & a.varies & b.varies & g.varies
    if not kept.any():
        return Difference(np.nan, np.nan, np.nan)
    (r, here), (s, there) = a.correlation(g), b.correlation(g)
    gap = np.where(kept, r - s, 0)
    value = float(gap.sum() / kept.sum())
    used = used & kept
    mass = used / (np.maximum(used.sum(axis=0), 1) * kept.sum())
    error, degrees = _error(mass, mass * np.where(used, here - there + gap - value, 0), own)
    degrees = min(used.any(axis=1).sum() - 1, kept.sum() - 1, degrees)
    if error < TIE and abs(value) < TIE:
        return Difference(0.0, 0.0, 1.0)
    p = 2 * stdtr(degrees, -abs(value) / error) if degrees > 0 and error > 0 else np.nan
    return Difference(value, error, float(p), float(degrees))


class _Scores:
    """Columns of a matrix, or their ranks, centered over the used entries."""

    def __init__(self, m: np.ndarray, used: np.ndarray, ranked: bool):
        values = np.where(used, m, 0)
        self.used, self.count = used, np.maximum(used.sum(axis=0), 1)
        self.signs = None
        if ranked:
            both = used[:, None] & used[None]
            self.signs = np.where(both, np.sign(values[:, None] - values[None]), 0)
            values = self.signs.sum(axis=1) / 2
        scale = np.abs(values).max(axis=0)
        values = np.where(used, values / np.where(scale > 0, scale, 1), 0)
        self.values = np.where(used, values - values.sum(axis=0) / self.count, 0)
        self.signs = None if self.signs is None else self.signs / np.where(scale > 0, scale, 1)
        self.varies = (self.values**2).sum(axis=0) > TIE

    def products(self, other: "_Scores") -> tuple[np.ndarray, np.ndarray]:
        """Sums `(T,)` of products of two columns, and the same `(S, T)` with each entry left out in turn."""
        x, y = self.values, other.values
        total = (x * y).sum(axis=0)
        if self.signs is None or other.signs is None:
            return total, total - x * y * self.count / np.maximum(self.count - 1, 1)
        s, t = self.signs, other.signs  # the ranks of the others move by half their sign
        moved = np.einsum("mit,mt->it", s, y) / 2 + np.einsum("mit,mt->it", t, x) / 2
        return total, total - moved + (s * t).sum(axis=0) / 4 - x * y

    def correlation(self, other: "_Scores") -> tuple[np.ndarray, np.ndarray]:
        """Correlation `(T,)` and the jackknife influence `(S, T)` of the entries on it."""
        both, own, others = self.products(other), self.products(self), other.products(other)
        whole, without = (
            c / np.sqrt(np.where(v * w > TIE, v * w, np.inf)) for c, v, w in zip(both, own, others, strict=True)
        )
        return whole, np.where(self.used, (self.count - 1) * (whole - without), 0)


def _error(mass: np.ndarray, influence: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Standard error over tasks of a mean with weights `mass` `(S, T)`, and its degrees of freedom.

    With x_k the change of the mean when task k is left out, the jackknife variance is
    `(K - 1) / K sum (x_k - mean x)^2`. Noise of pairs enters it about twice. The variance of the pairs, after fitting
    task effects to them, is subtracted to correct for that, but no more than if there were only pair noise. If a few
    tasks cause most of the variance, there are fewer degrees of freedom than tasks: `2 K / (kurtosis - 1)`.
    """
    mass, influence = _by_pair(mass, own), _by_pair(influence, own)
    tasks = mass.any(axis=1)
    mass, influence, count = mass[np.ix_(tasks, tasks)], influence[np.ix_(tasks, tasks)], int(tasks.sum())
    alone = 1 / (1 - np.minimum(mass.sum(axis=1), 1 - TIE))
    change = influence.sum(axis=1) * alone
    change = change - change.mean()
    variance = (count - 1) / count * (change**2).sum()
    fourth = count * (change**4).sum() / max((change**2).sum() ** 2, np.finfo(float).tiny)
    degrees = max(2 * count / max(fourth - 1, 1), 2)
    square = alone**2
    twice = (count - 1) / count * (square[:, None] + square - (alone[:, None] + alone) ** 2 / count)
    pairs = np.triu(mass > 0)
    effects = np.linalg.lstsq(mass + np.diag(mass.sum(axis=1)), influence.sum(axis=1), rcond=None)[0]
    left = influence - mass * (effects[:, None] + effects)
    spare = pairs.sum() - count
    repeated = (left**2 * (twice - 1))[pairs].sum() * (pairs.sum() / spare if spare > 0 else 0)
    least = (mass**2)[pairs].sum() / (mass**2 * twice)[pairs].sum()
    return float(np.sqrt(max(variance - repeated, least * variance))), degrees


def _by_pair(entries: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Sums `(K, K)` over both directions of each pair of the K tasks; sources come first, then other targets."""
    place = np.where(own.any(axis=0), own.argmax(axis=0), 0)
    others = ~own.any(axis=0)
    place[others] = len(own) + np.arange(others.sum())
    out = np.zeros((len(own) + others.sum(),) * 2)
    out[: len(own), place] = entries
    return out + out.T
