"""Inner products of the centered maps of all networks, added up block by block."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.engine import rank_bins
from jaxsim.engine.map_blocks import MapBlocks, pairs_of
from jaxsim.engine.row_blocks import SAMPLE, RowBlocks
from jaxsim.linalg import long_dot, long_gram
from jaxsim.measures import Measure
from jaxsim.protocols import ComparatorCapabilities, declared

KEPT_BYTES = 2**29
"""Bytes of transformed features that are kept, for all networks together; others are read and transformed again."""
TOLERANCE = 1e-6
"""Largest error of a score that ranks in bins may cause."""
COUNTED = 2**30
"""Pairs that are counted before the counts leave the device, whose integers have 32 bits."""


class Products:
    """Inner products of T centered maps `(T, T)`, in float64, and what of them is real.

    Attributes:
        plain: of each plain map with itself, `(T,)`, or zero where the centered ones have no rounding.
        parts: what that of each centered map with itself is added up from, `(T,)`; zero where no digits cancel.
        error: of each map, its part in the error of scores, `(T,)`.
        reordered: `(rows, columns, order) -> (S, T)`, products of the networks in one slice with those in another, the
            images of the latter in that order; nothing is counted or fitted anew.
    """

    reordered: Callable[[slice, slice, np.ndarray], np.ndarray]

    def __init__(self, networks):
        self.centered = np.zeros((networks, networks))
        self.plain, self.parts = np.zeros((2, networks))
        self.error = np.zeros(networks)

    @functools.cached_property
    def size(self):
        """Squared lengths of the centered maps, `(T,)`."""
        return np.diagonal(self.centered).copy()


def of_maps(measure: Measure, networks: Sequence[RowBlocks]) -> Products:
    """The products of maps, from one pass over their blocks.

    Margins close to those of each map are subtracted at once, so that no digits cancel; the rest b of the true ones is
    known at the end. As centering removes a least-squares fit, the product of two centered maps K and L is that of
    the maps less 2 sum_i b_i s_i, with b of K and the sums s over the rows of L.
    """
    margins_of: Any = declared(measure.compare, ComparatorCapabilities).margins
    maps = [MapBlocks(measure, one, KEPT_BYTES // len(networks)) for one in networks]
    ready = [_Centered(one, *one.first_margins(margins_of)) for one in maps]
    n, found = networks[0].x.shape[0], Products(len(networks))
    sums = np.zeros((len(networks), n))
    for i, j in pairs_of(networks[0]):
        times = 1 + (i != j)
        blocks = [one.block(i, j) for one in ready]
        found.centered += times * np.asarray(_products_of(tuple(one[0] for one in blocks)), np.float64)
        for t, (_, rows, columns, squares) in enumerate(blocks):
            sums[t, networks[t].rows(i)] += rows
            if i != j:
                sums[t, networks[t].rows(j)] += columns
            found.plain[t] += times * float(squares)
    rest = np.stack([margins_of(own, n) for own in sums])
    change = 2 * np.matmul(rest, sums.T)
    found.centered -= (change + change.T) / 2

    def reordered(rows, columns, order):
        products = _crossed(ready[rows], [one.reordered(order) for one in ready[columns]], off_diagonal=2)
        products -= np.matmul(rest[rows], sums[columns][:, order].T)
        return products - np.matmul(sums[rows], rest[columns][:, order].T)

    found.reordered = reordered
    return found


_products_of = jax.jit(long_gram)
"""Inner products of the blocks of all networks."""


def _crossed(rows, columns, off_diagonal):
    """Inner products `(S, T)` of the blocks of some networks with those of others, some counted so many times."""
    found = np.zeros((len(rows), len(columns)))
    for i, j in pairs_of(rows[0].maps.features):
        sides = (tuple(one.entries(i, j) for one in side) for side in (rows, columns))
        found += (off_diagonal if i != j else 1) * np.asarray(_long_cross(*sides), np.float64)
    return found


@jax.jit
def _long_cross(a, b):
    return long_dot(jnp.stack(a), jnp.stack(b))


class _Centered(NamedTuple):
    """One network's map, less margins.

    Attributes:
        maps: blocks of the map.
        unit: that the map is divided by.
        margins: then subtracted, `(n,)`.
    """

    maps: MapBlocks
    unit: float
    margins: np.ndarray

    def block(self, i: int, j: int) -> Any:
        """A block, its sums over rows and columns, and the sum of its squares with the margins."""
        return self.maps.less_margins((self.unit, self.margins), i, j)

    def entries(self, i: int, j: int) -> jax.Array:
        """A block."""
        return self.block(i, j)[0]

    def reordered(self, order: np.ndarray) -> "_Centered":
        """The same of the images in another order."""
        return self._replace(maps=self.maps.reordered(order), margins=self.margins[order])


class _Ranked(NamedTuple):
    """Where to find the centered ranks of one network's pairs.

    Attributes:
        maps: blocks of the map.
        levels: of its `rank_bins.Bins`.
        table: ranks of the bins, divided by the number of pairs.
        size: squared length by which scores divide.
        error: bound on the length of the errors of the ranks, relative to `size`, as a part of a score.
    """

    maps: MapBlocks
    levels: tuple
    table: jax.Array
    size: float
    error: float

    def entries(self, i: int, j: int) -> jax.Array:
        """Ranks of a block."""
        return _looked_up(self.table, self.levels, self.maps.entries(i, j)[0])

    def reordered(self, order: np.ndarray) -> "_Ranked":
        """The same of the images in another order."""
        return self._replace(maps=self.maps.reordered(order))


def of_ranks(measure: Measure, networks: Sequence[RowBlocks]) -> Products:
    """The products of centered ranks, from one pass that counts each network's pairs and one over all blocks."""
    ready = [_ranked(measure, MapBlocks(measure, one, KEPT_BYTES // len(networks))) for one in networks]
    found = Products(len(networks))
    for i, j in pairs_of(networks[0]):
        blocks = tuple(one.entries(i, j) for one in ready)
        found.centered += np.asarray(_products_of(blocks), np.float64)
    found.size = np.array([one.size for one in ready])
    found.error = np.array([one.error for one in ready])

    def reordered(rows, columns, order):
        return _crossed(ready[rows], [one.reordered(order) for one in ready[columns]], off_diagonal=1)

    found.reordered = reordered
    return found


def _ranked(measure, maps):
    """Ranks of all pairs of one network, in bins that are split until they are as right as TOLERANCE asks."""
    n, count, dtype = maps.features.x.shape[0], maps.features.count, maps.features.dtype
    pairs, bins = n * (n - 1) // 2, rank_bins.Bins.by_digit(dtype)
    sample = _counted_pairs(maps, bins, [(SAMPLE, k) for k in range(count)])
    if sample is not None:
        bins = bins.for_shares(sample[0], pairs)
    size_of: Any = declared(measure.compare, ComparatorCapabilities).rank_size
    while True:
        counts = None if sample is None else _counted_pairs(maps, bins, pairs_of(maps.features))
        if counts is None:
            return _Ranked(maps, bins.levels, jnp.zeros(rank_bins.padded(len(bins.low)), dtype), np.nan, 0)
        found = bins.ranked(*counts)
        size = size_of(found.size, pairs)
        # of unit vectors from vectors r and r' that are e apart, the distance is at most 2 e / (|r| + |r'|)
        error, length = np.sqrt(found.error.sum()), np.sqrt(size)
        part = 2 * error / (2 * length - error) if error < length else (np.inf if error else 0.0)
        finer = bins.finer(found, (TOLERANCE / 2 * length) ** 2) if part > TOLERANCE / 2 else None
        if finer is None:
            return _Ranked(maps, bins.levels, jnp.asarray(_table(bins, found, dtype)), size, part)
        bins = finer


def _table(bins, found, dtype):
    """Centered ranks of all bins.

    An empty one has the rank of the nearest that is not: a pair that is made anew, its images in another order, may
    have another last digit.
    """
    table = np.zeros(rank_bins.padded(len(bins.low)), dtype)
    middles = (found.bins[1:] + found.bins[:-1] + 1) // 2
    counts = np.diff(np.concatenate([[0], middles, [len(bins.low)]]))
    table[: len(bins.low)] = np.repeat(found.centered.astype(dtype), counts)
    return table


def _counted_pairs(maps, bins, blocks):
    """Numbers of pairs in each bin and their largest finite magnitude, or None if any pair is undefined."""
    size, flaws, largest = len(bins.low), [], jnp.zeros((), maps.features.dtype)
    total, part, held = np.zeros(size, np.int64), None, 0
    for i, j in blocks:
        entries, undefined = maps.entries(i, j)
        if part is None:
            part = jnp.zeros(rank_bins.padded(size), jnp.int32)
        part, largest = _count_in_bins(part, largest, bins.levels, entries)
        flaws.append(undefined)
        held += entries.size
        if held >= COUNTED:
            total, part, held = total + np.asarray(part)[:size], None, 0
    total = total if part is None else total + np.asarray(part)[:size]
    return None if any(jax.device_get(flaws)) else (total, float(largest))


@functools.partial(jax.jit, donate_argnums=0)
def _count_in_bins(counts, largest, levels, v):
    """The counts with those of a block's entries added, and the largest finite magnitude so far."""
    place = jnp.where(jnp.isnan(v), counts.size, rank_bins.place(levels, v))
    return counts.at[place].add(1, mode="drop"), jnp.maximum(
        largest, jnp.max(jnp.where(jnp.isfinite(v), jnp.abs(v), 0))
    )


@jax.jit
def _looked_up(table, levels, v):
    """Centered ranks of a block's entries, zero where these are NaN."""
    return jnp.where(jnp.isnan(v), 0, table.at[rank_bins.place(levels, v)].get(mode="promise_in_bounds"))


def map_shares(measure: Measure, blocks: RowBlocks) -> np.ndarray:
    """Squared length of each row of the map less margins that were fitted to a sample."""
    maps = MapBlocks(measure, blocks, KEPT_BYTES)
    start = maps.first_margins(declared(measure.compare, ComparatorCapabilities).margins)
    found = np.zeros(blocks.x.shape[0])
    for i, j in pairs_of(blocks):
        m = maps.less_margins(start, i, j)[0].reshape(len(maps.block(i)), -1) ** 2
        found[blocks.rows(i)] += m.sum(1)
        if i != j:
            found[blocks.rows(j)] += m.sum(0)
    return found
