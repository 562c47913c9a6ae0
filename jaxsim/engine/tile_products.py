"""Inner products of the centered maps of all networks, added up block by block."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.engine import rank_bins
from jaxsim.engine.map_blocks import MapBlocks, pairs_of, squared_lengths
from jaxsim.engine.row_blocks import SAMPLE, RowBlocks
from jaxsim.linalg import dot, long_gram
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
        error: of each map, its part in the error of scores, `(T,)`.
    """

    def __init__(self, networks):
        self.centered = np.zeros((networks, networks))
        self.plain = np.zeros(networks)
        self.error = np.zeros(networks)

    @functools.cached_property
    def size(self):
        """Squared lengths of the centered maps, `(T,)`."""
        return np.diagonal(self.centered).copy()


def of_features(measure: Measure, networks: Sequence[RowBlocks]) -> Products:
    """The products of linear kernels from X'Y, one pass over the features."""
    found = Products(len(networks))
    cuts = np.cumsum([0, *(one.width for one in networks)])
    cross = np.zeros((cuts[-1], cuts[-1]))
    lengths = np.zeros((len(networks), networks[0].x.shape[0]))
    for k, blocks in enumerate(zip(*(one.blocks() for one in networks), strict=True)):
        cross += np.asarray(_cross(blocks), np.float64)
        for t, block in enumerate(blocks):
            lengths[t, networks[0].rows(k)] = squared_lengths(block)
    squares = np.add.reduceat(np.add.reduceat(cross**2, cuts[:-1], 0), cuts[:-1], 1)
    # each map at length 1 first, so that products stay in range
    found.plain = np.diagonal(squares).copy()
    size = np.where(found.plain > 0, found.plain, 1) ** 0.25
    with jax.enable_x64(True):
        found.centered = np.asarray(
            _from_features(measure, squares / np.outer(size, size) ** 2, lengths / size[:, None] ** 2)
        )
    found.plain = found.plain / size**4
    return found


@jax.jit
def _cross(blocks):
    x = jnp.concatenate(blocks, 1)
    return dot(x.T, x)


@jax.jit
def _from_features(measure, products, squares):
    own: Any = declared(measure.compare, ComparatorCapabilities).from_features
    return own(products, squares, squares)


def of_maps(measure: Measure, networks: Sequence[RowBlocks]) -> Products:
    """The products of maps, from one pass over their blocks.

    Margins close to those of each map are subtracted at once, so that no digits cancel; the rest b of the true ones is
    known at the end. As centering removes a least-squares fit, the product of two centered maps K and L is that of
    the maps less 2 sum_i b_i s_i, with b of K and the sums s over the rows of L.
    """
    margins_of: Any = declared(measure.compare, ComparatorCapabilities).margins
    maps = [MapBlocks(measure, one, KEPT_BYTES // len(networks)) for one in networks]
    starts = [one.first_margins(margins_of) for one in maps]
    n, found = networks[0].x.shape[0], Products(len(networks))
    sums = np.zeros((len(networks), n))
    for i, j in pairs_of(networks[0]):
        times = 1 + (i != j)
        blocks = [one.less_margins(start, i, j) for one, start in zip(maps, starts, strict=True)]
        found.centered += times * np.asarray(_products_of(tuple(one[0] for one in blocks)), np.float64)
        for t, (_, rows, columns, squares) in enumerate(blocks):
            sums[t, networks[t].rows(i)] += rows
            if i != j:
                sums[t, networks[t].rows(j)] += columns
            found.plain[t] += times * float(squares)
    rest = np.stack([margins_of(own, n) for own in sums])
    change = 2 * np.matmul(rest, sums.T)
    found.centered -= (change + change.T) / 2
    return found


_products_of = jax.jit(long_gram)
"""Inner products of the blocks of all networks."""


class _Ranked(NamedTuple):
    """Where to find the centered ranks of one network's pairs.

    Attributes:
        levels: of its `rank_bins.Bins`.
        table: ranks of the bins, divided by the number of pairs.
        size: squared length by which scores divide.
        error: bound on the length of the errors of the ranks, relative to `size`, as a part of a score.
    """

    levels: tuple
    table: jax.Array
    size: float
    error: float


def of_ranks(measure: Measure, networks: Sequence[RowBlocks]) -> Products:
    """The products of centered ranks, from one pass that counts each network's pairs and one over all blocks."""
    maps = [MapBlocks(measure, one, KEPT_BYTES // len(networks)) for one in networks]
    ranked = [_ranked(measure, one) for one in maps]
    found = Products(len(networks))
    for i, j in pairs_of(networks[0]):
        blocks = [
            _looked_up(own.table, own.levels, one.entries(i, j)[0]) for one, own in zip(maps, ranked, strict=True)
        ]
        found.centered += np.asarray(_products_of(tuple(blocks)), np.float64)
    found.size = np.array([own.size for own in ranked])
    found.error = np.array([own.error for own in ranked])
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
            return _Ranked(bins.levels, jnp.zeros(rank_bins.padded(len(bins.low)), dtype), np.nan, 0)
        found = bins.ranked(*counts)
        size = size_of(found.size, pairs)
        # of unit vectors from vectors r and r' that are e apart, the distance is at most 2 e / (|r| + |r'|)
        error, length = np.sqrt(found.error.sum()), np.sqrt(size)
        part = 2 * error / (2 * length - error) if error < length else (np.inf if error else 0.0)
        finer = bins.finer(found, (TOLERANCE / 2 * length) ** 2) if part > TOLERANCE / 2 else None
        if finer is None:
            table = np.zeros(rank_bins.padded(len(bins.low)), dtype)
            table[found.bins] = found.centered
            return _Ranked(bins.levels, jnp.asarray(table), size, part)
        bins = finer


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


def feature_shares(measure: Measure, blocks: RowBlocks) -> np.ndarray:
    """Squared length of each row of X X', x' (X'X) x, less (x'x)^2 where the comparator does not read the diagonal."""
    gram = sum(np.asarray(_cross((block,)), np.float64) for block in blocks.blocks())
    inner, reads = jnp.asarray(gram, blocks.dtype), declared(measure.compare, ComparatorCapabilities).reads_diagonal
    return np.concatenate([_squared_rows(block, inner, reads) for block in blocks.blocks()]).astype(np.float64)


@jax.jit
def _squared_rows(x, inner, diagonal):
    return jnp.sum(dot(x, inner) * x, 1) - jnp.where(diagonal, 0, squared_lengths(x) ** 2)


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
