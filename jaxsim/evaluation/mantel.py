"""Mantel tests: agreement under relabelings of the tasks, rows and columns together.

Each column is correlated over its sources, without its own task, so a relabeling only moves columns and the entries in
them. Ranks and norms are computed once, and each relabeling is one gather and one dot product. Everything is computed
in float64 on the host. `a` is an affinity `(S, T)` and `g` is the truth; NaN marks a missing pair.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxsim.engine.memory import require
from jaxsim.statistics.checks import as_key

AT_ONCE = 2**18
"""Number of entries of relabeled matrices to hold at a time."""
TIE = 1e-10
"""Largest difference between two agreements that counts as rounding."""
FEWEST = 3
"""Fewest sources for a correlation."""


class Relabelings(NamedTuple):
    """Orders of the tasks; the first is the given order.

    Attributes:
        rows: `(B, S)` the source that moves to each row.
        columns: `(B, T)` the target that moves to each column.
        exact: whether these are all possible relabelings, each once.
    """

    rows: np.ndarray
    columns: np.ndarray
    exact: bool

    def blocks(self, entries: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Split the orders of rows and columns into blocks of at most AT_ONCE entries."""
        step = max(1, AT_ONCE // entries)
        for start in range(0, len(self.rows), step):
            yield self.rows[start : start + step], self.columns[start : start + step]

    @property
    def count(self) -> int:
        """Number of all relabelings if exact, else number of those drawn."""
        return len(self.rows) - (not self.exact)


class Null(NamedTuple):
    """Agreement under relabelings, starting with the observed order.

    Attributes:
        means: `(B,)` mean correlation over the targets where it is defined; NaN if there are none.
        scores: `(B,)` the mean divided by its standard error for unrelated columns; minus infinity if there is no mean.
    """

    means: np.ndarray
    scores: np.ndarray


def relabelings(own: np.ndarray, count: int, key: "jax.Array | int") -> Relabelings:
    """All relabelings if there are no more than `count`, else the given order and `count` random ones.

    Tasks that are both source and target move in rows and columns together. The other sources are permuted among
    themselves, and so are the other targets.

    Args:
        own: `(S, T)` whether source and target are the same task.
        count: number of relabelings to draw.
        key: typed random key, or a seed.

    Raises:
        ValueError: this many do not fit in memory.
    """
    shared, none = np.nonzero(own), np.arange(0)
    rest = [np.flatnonzero(~own.any(axis=1 - axis)) for axis in (0, 1)]
    parts = [shared, (rest[0], none), (none, rest[1])]
    sizes = [max(map(len, part)) for part in parts]
    exact = max(sizes) < 20 and math.prod(map(math.factorial, sizes)) <= count
    if exact:
        every = itertools.product(*(itertools.permutations(range(n)) for n in sizes))
        moved = [np.array(one, int) for one in zip(*every, strict=True)]
    else:
        require(24 * (count + 1) * sum(own.shape), f"{count} relabelings of {own.shape[0]} sources")
        rng = np.random.default_rng(np.asarray(jax.random.key_data(as_key(key))).ravel().tolist())
        given = [np.tile(np.arange(n), (count + 1, 1)) for n in sizes]
        moved = [np.concatenate([one[:1], rng.permuted(one[1:], axis=1)]) for one in given]
    rows, columns = (np.tile(np.arange(n), (len(moved[0]), 1)) for n in own.shape)
    for (r, c), order in zip(parts, moved, strict=True):
        if len(r):
            rows[:, r] = r[order]
        if len(c):
            columns[:, c] = c[order]
    return Relabelings(rows, columns, exact)


class Residuals(NamedTuple):
    """A matrix without main effects of its sources.

    Attributes:
        values: `(S, T)`, NaN for a missing pair.
        removed: `(S, T)` what was subtracted from each column in addition to its mean, up to a factor.
    """

    values: np.ndarray
    removed: np.ndarray


def null(a: np.ndarray, g: np.ndarray, own: np.ndarray, orders: Relabelings, ranked: bool) -> Null:
    """Mean agreement under each relabeling of `a`.

    With missing pairs, the pairs that both have differ between relabelings. Columns are then ranked again, and the
    scores account for the number of pairs.

    Args:
        a: `(S, T)` affinity.
        g: `(S, T)` truth.
        own: `(S, T)` whether source and target are the same task; such pairs are ignored.
        orders: the relabelings.
        ranked: use Spearman's correlation instead of Pearson's.
    """
    blocks = [_added(*block) for block in _products(a, g, own, orders, ranked)]
    return _null(*map(np.concatenate, zip(*blocks, strict=True)))


def partial_null(a: np.ndarray, g: np.ndarray, own: np.ndarray, orders: Relabelings, ranked: bool) -> Null:
    """Mean agreement of the residuals after main effects of sources, under each relabeling of `a`.

    If both matrices have the same effects, the given order differs from the others in two ways. First, the same
    direction is subtracted from the columns of both, so correlations vary more: by `(n - 3 + r^2) / (n - 2)^2` for n
    sources and directions that correlate by r. Second, sources of low variance, such as those whose effects saturate,
    are the same in both. Scores are divided by the square root of both factors: that variance, and the sum of squared
    products of pairs.

    Arguments and result are as for `null`.
    """
    x, y = without_source_effects(a, own), without_source_effects(g, own)
    rows, columns = np.nonzero(own)
    blocks = []
    products = _products(x.values, y.values, own, orders, ranked)
    removed = [np.where(np.isnan(m.values), np.nan, m.removed) for m in (x, y)]
    directions = _products(removed[0], removed[1], own, orders, False)
    for (r, count, defined), (same, _, _) in zip(products, directions, strict=True):
        total, number, _ = _added(r, count, defined)
        shared = r[:, rows][:, :, columns]
        squares = (r**2).sum(axis=(1, 2)) + (shared * shared.swapaxes(1, 2)).sum(axis=(1, 2))
        wide = (count - 3 + same.sum(axis=1) ** 2) / np.maximum(count - 2, 1) ** 2
        wide = (wide * defined).sum(axis=1) / np.maximum(number, 1)
        blocks.append((total, number, np.maximum(squares * wide, TIE**2)))
    return _null(*map(np.concatenate, zip(*blocks, strict=True)))


def _null(total, defined, variance) -> Null:
    some = defined > 0
    means = np.where(some, total / np.maximum(defined, 1), np.nan)
    return Null(means, np.where(some, total / np.sqrt(np.where(some, variance, 1)), -np.inf))


def _added(r, count, defined):
    """Sum of the correlations of each relabeling, their number, and the variance of the sum for unrelated columns."""
    return r.sum(axis=(1, 2)), defined.sum(axis=1), (defined / np.maximum(count - 1, 1)).sum(axis=1)


def _products(a, g, own, orders, ranked):
    """Blocks of relabelings: products `(b, S, T)` that add up to the correlations, sources and whether defined."""
    if not (np.isfinite(a) & np.isfinite(g) | own).all():
        yield from _products_of_gaps(a, g, own, orders, ranked)
        return
    x, y = (standardized(m, ~own, ranked) for m in (a, g))
    x_varies, y_varies = (np.any(m != 0, axis=0) for m in (x, y))
    count = (~own).sum(axis=0)
    for rows, columns in orders.blocks(x.size):
        index = rows[:, :, None] * x.shape[1] + columns[:, None, :]
        yield x.ravel()[index] * y, count, x_varies[columns] & y_varies


def _products_of_gaps(a, g, own, orders, ranked):
    """The same, with columns ranked over the pairs that both have under each relabeling."""
    x, y = _Columns(a, ranked), _Columns(g, ranked)
    for rows, columns in orders.blocks(a.size):
        at = np.arange(len(rows))[:, None, None], rows[:, :, None], columns[:, None, :]
        used = x.finite[at[1:]] & y.finite & ~own
        before = np.zeros_like(used)
        before[at] = used  # the same entries at their place in the given affinity
        first, second = x.centered(before)[at], y.centered(used)
        size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        count = used.sum(axis=1)
        defined = (count >= FEWEST) & (size > TIE)
        yield first * second * (defined / np.where(defined, size, 1))[:, None], count, defined


def standardized(m: np.ndarray, used: np.ndarray, ranked: bool) -> np.ndarray:
    """Columns, or their average ranks, centered and scaled to length 1 over the used entries; zero elsewhere.

    A column with fewer than FEWEST used entries, or a constant one, is all zero.
    """
    from scipy.stats import rankdata

    out = np.zeros(m.shape)
    for t, u in enumerate(used.T):
        column = m[u, t]
        if column.size >= FEWEST and np.ptp(column) > 0:
            column = rankdata(column) if ranked else column / np.abs(column).max()
            column = column - column.mean()
            out[u, t] = column / np.linalg.norm(column)
    return out


class _Columns:
    """Columns of a matrix, to be centered over any subset of entries."""

    def __init__(self, m: np.ndarray, ranked: bool):
        self.finite = np.isfinite(m)
        values = np.where(self.finite, m, 0)
        scale = np.abs(values).max(axis=0)
        self.values = values / np.where(scale > 0, scale, 1)
        columns = values.T
        self.signs = np.sign(columns[:, :, None] - columns[:, None, :]) if ranked else None

    def centered(self, used: np.ndarray) -> np.ndarray:
        """Columns `(B, S, T)` centered over the used entries, or their ranks; zero elsewhere."""
        if self.signs is None:
            total = np.where(used, self.values, 0).sum(axis=1, keepdims=True)
            return np.where(used, self.values - total / np.maximum(used.sum(axis=1, keepdims=True), 1), 0)
        # twice the centered rank of an entry is the number of used entries below it minus the number above
        ranks = np.matmul(self.signs, np.moveaxis(used, 0, 2).swapaxes(0, 1).astype(np.float64))
        return np.where(used, np.moveaxis(ranks.swapaxes(0, 1), 2, 0), 0)


def without_source_effects(m: np.ndarray, own: np.ndarray) -> Residuals:
    """Residuals of a matrix after main effects of its sources.

    Columns are scaled to the same length, and effects of sources and targets are fitted by least squares. What is left
    of the source effects in a column, because its units differ, is removed by regression.

    Args:
        m: `(S, T)` affinity or truth.
        own: `(S, T)` whether source and target are the same task; such pairs are ignored.
    """
    used = np.isfinite(m) & ~own
    w, x = used.astype(np.float64), standardized(m, used, False)
    normal = np.block([[np.diag(w.sum(axis=1)), w], [w.T, np.diag(w.sum(axis=0))]])
    effects = np.linalg.lstsq(normal, np.concatenate([x.sum(axis=1), x.sum(axis=0)]), rcond=None)[0]
    sources, targets = effects[: len(m)], effects[len(m) :]
    left = w * (x - sources[:, None] - targets)
    common = w * (sources[:, None] - (w * sources[:, None]).sum(axis=0) / np.maximum(w.sum(axis=0), 1))
    square = (common**2).sum(axis=0)
    slope = np.where(square > TIE, (common * left).sum(axis=0) / np.where(square > TIE, square, 1), 0)
    left = left - common * slope
    left[np.abs(left) < TIE] = 0  # rounding error of what the effects explain
    return Residuals(np.where(used, left, np.nan), common)


def p_values(scores: np.ndarray) -> np.ndarray:
    """Share of relabelings that score no less than the first, which counts itself, `(B, ...)` to `(...)`."""
    scores = np.asarray(scores)
    return np.mean(scores >= scores[0] - TIE, axis=0)


def smallest_p(scores: np.ndarray) -> float:
    """The p value of the highest score."""
    return float(np.mean(scores >= np.max(scores) - TIE))
