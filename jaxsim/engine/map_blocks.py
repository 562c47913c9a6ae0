"""Blocks of one network's map, made from blocks of its images."""

import copy
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.engine.row_blocks import FEWEST_OF_SAMPLE, SAMPLE, RowBlocks
from jaxsim.measures import Measure
from jaxsim.pairwise import LONE
from jaxsim.protocols import ComparatorCapabilities, PairwiseCapabilities, declared

DIGIT = 16
"""Bits of a number that one pass over the blocks finds."""


def pairs_of(features: RowBlocks) -> Iterator[tuple[int, int]]:
    """Blocks on and above the diagonal."""
    return itertools.combinations_with_replacement(range(features.count), 2)


class MapBlocks:
    """Blocks of the map of one network."""

    def __init__(self, measure: Measure, features: RowBlocks, kept_bytes: int = 0):
        self.measure, self.features, self.rows = measure, features, features.rows
        self.tiling = tiling(measure)
        self._recent: dict[int, jax.Array] = {}
        self._counted: dict[tuple[int, int], np.ndarray] = {}
        self._most = max(3, kept_bytes // (features.size * features.width * features.dtype.itemsize))
        invariance = declared(measure.compare, ComparatorCapabilities).invariance
        self._center = None
        if self.tiling.shifts_from is not None and invariance >= self.tiling.shifts_from:
            self._center = self._middle()
        self.level = self._median() if self.tiling.median else self._typical()

    def block(self, k: int) -> jax.Array:
        """Points of block `k`, `(m, d)`; those used last are kept."""
        if k not in self._recent:
            self._recent[k] = self._shifted(self._raw(k))
            if len(self._recent) > self._most:
                del self._recent[next(iter(self._recent))]
        else:
            self._recent[k] = self._recent.pop(k)
        return self._recent[k]

    def reordered(self, order: np.ndarray) -> "MapBlocks":
        """The same map with its images in another order."""
        made = copy.copy(self)
        made.features, made._recent = self.features.reordered(order), {}
        return made

    def first_margins(self, margins_of) -> tuple[float, np.ndarray]:
        """Largest entry of the map with a sample of the images, and margins fitted to that part, divided by it.

        The margins of the sample are found first, so that an image far from all others enters those of the others
        no more than it does in the whole map.
        """
        n, count, sample = self.features.x.shape[0], self.features.count, self.block(SAMPLE)
        own, _ = self._sampled(SAMPLE, np.zeros(len(sample)))
        reads = declared(self.measure.compare, ComparatorCapabilities).reads_diagonal
        own = margins_of(own * (len(sample) - (not reads)), len(sample))
        means, largest = zip(*(self._sampled(k, own) for k in range(count)), strict=True)
        a, unit = np.concatenate(means), max(largest)
        unit = unit if 0 < unit < np.inf else 1.0
        # what of these terms the comparator subtracts: all of them, their mean, or nothing
        sums = n * a + a.sum() if reads else (n - 2) * a + a.sum()
        return unit, margins_of(sums / unit, n)

    def _sampled(self, k, margins):
        """Mean of every row of the map of block `k` with the sample, less margins, and its largest magnitude."""
        rows, columns = (np.arange(self.features.x.shape[0])[self.rows(one)] for one in (k, SAMPLE))
        level, part = self.level, jnp.asarray(margins, self.features.dtype)
        found = _mean_entries(self.measure, self.block(k), self.block(SAMPLE), level, part, rows, columns)
        mean, largest = jax.device_get(found)
        return mean.astype(np.float64), float(largest)

    def less_margins(self, start: tuple[float, np.ndarray], i: int, j: int) -> Any:
        """The map of two blocks over its unit, less its margins, flattened; its sums over rows, over columns; squares.

        Both are of `first_margins`; the squares are of the map with its margins, added up.
        """
        unit, margins = start
        rows, columns = (margins[self.rows(k)] for k in (i, j))
        return _without_margins(self.measure, self.block(i), self.block(j), self.level, unit, rows, columns, i == j)

    def entries(self, i: int, j: int) -> tuple[jax.Array, jax.Array]:
        """Entries of the pairs of two blocks, flattened, and NaN after them; whether any of the pairs is NaN."""
        most = max(self.features.size, FEWEST_OF_SAMPLE) * self.features.size
        return _pair_entries(self.measure, self.block(i), self.block(j), self.level, i == j, most)

    def tiles(self, pairs):
        """Pairs of blocks with their numbers."""
        for i, j in pairs:
            yield i, j, self.block(i), self.block(j)

    def _middle(self):
        """Mean of the points; where few of them are far from all others, the one nearest to it; None for a short one.

        Digits do not depend on a mean that is shorter than the points' distances from it, and products of labels and
        counts are exact without it.
        """
        count, n = self.features.count, self.features.x.shape[0]
        mean = sum(np.asarray(_column_sums(self._raw(k)), np.float64) for k in range(count)) / n
        sizes = [np.asarray(squared_lengths(self._raw(k), mean), np.float64) for k in range(count)]
        size = np.concatenate(sizes)
        if not LONE * size.sum() ** 2 < n * (size**2).sum():
            return None if n * (mean**2).sum() < size.sum() else mean
        k, row = divmod(int(np.argmin(size)), self.features.size)
        return np.asarray(self._raw(k)[row], np.float64)

    def _raw(self, k):
        """Points in float64 where they can be made from features in float64, so that a shift costs no digits."""
        if self.features.can_be_wide and jax.default_backend() != "tpu":  # whose float64 lacks operations
            with jax.enable_x64(True):
                return np.asarray(_points(self.measure, self.features.wide(k)))
        return _points(self.measure, self.features[k])

    def _shifted(self, points):
        points = points if self._center is None else points - self._center
        return jnp.asarray(points, self.features.dtype)

    def _typical(self):
        return _mean_quantity(self.measure, self.block(SAMPLE))

    def _median(self):
        """Median of all n^2 quantities, zeros of the diagonal included: the mean of the two middle ones.

        Numbers from zero on are ordered as the integers with the same bits, which are found 16 at a time.
        """
        pairs = [*pairs_of(self.features)]
        n, bits = self.features.x.shape[0], 8 * self.features.dtype.itemsize
        middle = []
        for place in sorted({(n * n - 1) // 2, n * n // 2}):
            known = 0
            for shift in range(bits - DIGIT, -1, -DIGIT):
                counts = self._counts(pairs, known, shift)
                upto = np.cumsum(counts)
                digit = int(np.searchsorted(upto, place, "right"))
                if digit == len(upto):  # some are NaN
                    return jnp.asarray(jnp.nan, self.features.dtype)
                place -= int(upto[digit] - counts[digit])
                known = (known << DIGIT) | digit
            middle.append(np.asarray(known, f"u{bits // 8}").view(f"f{bits // 8}"))
        return jnp.asarray(np.mean(middle), self.features.dtype)

    def _counts(self, pairs, known, shift):
        """Counts of the digits at `shift` among quantities whose bits above these are known."""
        if (known, shift) not in self._counted:
            total = np.zeros(2**DIGIT, np.int64)
            for i, j, a, b in self.tiles(pairs):
                total += (1 + (i != j)) * np.asarray(_count(self.measure, a, b, known, shift), np.int64)
            self._counted[known, shift] = total
        return self._counted[known, shift]


def tiling(measure: Measure) -> Any:
    """How blocks of the measure's map are made, or None where it takes the whole."""
    return declared(measure.pairwise, PairwiseCapabilities).tiling


@jax.jit
def _points(measure, x):
    return tiling(measure).points(x)


@jax.jit
def squared_lengths(x: jax.Array, center: Any = 0) -> jax.Array:
    """Squared length of every row of `(m, d)`, seen from the center."""
    return jnp.sum((x - center) ** 2, 1)


@jax.jit
def _column_sums(x):
    return jnp.sum(x, 0)


@jax.jit
def _mean_quantity(measure, a):
    return jnp.mean(tiling(measure).between(a, a))


@functools.partial(jax.jit, static_argnums=4)
def _count(measure, a, b, known, shift):
    """Counts of the DIGIT bits at `shift` of those quantities whose higher bits are `known`."""
    quantity = tiling(measure).between(a, b).ravel()
    integer = jnp.int32 if quantity.dtype.itemsize == 4 else jnp.int64
    bits = jax.lax.bitcast_convert_type(quantity, integer)
    first = shift + DIGIT == 8 * quantity.dtype.itemsize
    chosen = True if first else bits >> (shift + DIGIT) == known
    digit = (bits >> shift) & (2**DIGIT - 1)
    place = jnp.where(chosen & ~jnp.isnan(quantity), digit, 2**DIGIT)
    return jnp.zeros(2**DIGIT, jnp.int32).at[place].add(1, mode="drop")


def _entries(measure, a, b, level):
    own = tiling(measure)
    invariance = declared(measure.compare, ComparatorCapabilities).invariance
    return own.entries(own.between(a, b), jnp.asarray(a.shape[1], a.dtype), level, invariance)


def _counted(measure, m, diagonal):
    """Entries with zeros on the diagonal where the comparator does not read it."""
    if declared(measure.compare, ComparatorCapabilities).reads_diagonal or not diagonal:
        return m
    return jnp.where(jnp.eye(m.shape[0], dtype=bool), 0, m)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _pair_entries(measure, a, b, level, diagonal, size):
    """Entries of a block's pairs, those on and above the diagonal, and NaN up to `size` entries; whether any is NaN."""
    v = _entries(measure, a, b, level)
    pairs = jnp.triu(jnp.ones(v.shape, bool), 1) if diagonal else jnp.ones(v.shape, bool)
    undefined = jnp.any(jnp.isnan(v) & pairs)
    v = jnp.where(pairs, v, jnp.nan).ravel()
    return jnp.pad(v, (0, size - v.size), constant_values=jnp.nan), undefined


@jax.jit
def _mean_entries(measure, a, b, level, margins, rows, columns):
    """Mean over every row of a block of the entries that count, less margins of the columns; the largest magnitude."""
    m = _entries(measure, a, b, level)
    reads = declared(measure.compare, ComparatorCapabilities).reads_diagonal
    counts = (rows[:, None] != columns[None]) | reads
    mean = jnp.sum(jnp.where(counts, m - margins, 0), 1) / jnp.maximum(jnp.sum(counts, 1), 1)
    return mean, jnp.max(jnp.where(counts, jnp.abs(m), 0))


@functools.partial(jax.jit, static_argnums=7)
def _without_margins(measure, a, b, level, unit, rows, columns, diagonal):
    """A block less its margins, flattened, the sums over its rows and columns, and of the squares of the block."""
    plain = _counted(measure, _entries(measure, a, b, level) / unit, diagonal)
    margins = rows.astype(a.dtype)[:, None] + columns.astype(a.dtype)[None]
    m = plain - _counted(measure, margins, diagonal)
    return m.ravel(), jnp.sum(m, 1), jnp.sum(m, 0), jnp.sum(plain**2)
