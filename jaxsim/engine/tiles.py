"""Scores without whole maps: blocks of pairs of images, or products of features, added up in float64.

Memory is that of T blocks of a map, whatever the number n of images, beside n numbers a network. A comparator qualifies
whose embedding is a map less terms a_i + a_j, at length 1, or ranks, which are counted in `rank_bins` first.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import pairwise
from jaxsim.engine import feature_space, rank_bins, reasons
from jaxsim.engine import memory as budgets
from jaxsim.engine.checks import warn_of_lost_digits
from jaxsim.engine.row_blocks import FEWEST_OF_SAMPLE, SAMPLE, RowBlocks
from jaxsim.inputs import Networks
from jaxsim.io.files import warn
from jaxsim.linalg import TALL, dot, long_gram
from jaxsim.measures import Measure, name_of
from jaxsim.pairwise import LONE
from jaxsim.protocols import ComparatorCapabilities, PairwiseCapabilities, TransformCapabilities, declared
from jaxsim.results import UndefinedScores

FEWEST, MOST = 2, 16384
"""Images in a block."""
COUNTED_FROM = 4000
"""Images from which on XLA's sort takes longer on a CPU than counts in bins, which are right to 1e-6."""
DIGIT = 16
"""Bits of a number that one pass over the blocks finds."""
TILE = 1024
"""Most images in a block whose size nobody gave; blocks of 2048 leave a CPU's caches and take half as long again."""
KEPT_BYTES = 2**29
"""Bytes of transformed features that are kept, for all networks together; others are read and transformed again."""
TOLERANCE = 1e-6
"""Largest error of a score that ranks in bins may cause."""
COUNTED = 2**30
"""Pairs that are counted before the counts leave the device, whose integers have 32 bits."""
ROUNDING = 8
"""Length of a centered map, in eps times that of the map, up to which it is rounding."""


def why_not(measure: Measure) -> str:
    """Words on why a measure cannot be computed in blocks; empty if it can."""
    transform = declared(measure.transform, TransformCapabilities)
    if not transform.by_image and transform.from_moments is None:
        return f"the transform {name_of(measure.transform)} takes all images at once"
    if declared(measure.pairwise, PairwiseCapabilities).tiling is None:
        return f"{name_of(measure.pairwise)} takes all images at once"
    own = declared(measure.compare, ComparatorCapabilities)
    if own.margins is None and own.rank_size is None:
        return f"{name_of(measure.compare)} takes whole maps"
    return ""


def ranks_pairs(measure: Measure) -> bool:
    """Whether blocks are ranked, which takes a pass over them more, for the counts."""
    own = declared(measure.compare, ComparatorCapabilities)
    return own.margins is None and own.rank_size is not None


def require(measures: Sequence[Measure], tile: int) -> None:
    """Refuse measures that cannot be computed in blocks, and sizes that are none.

    Raises:
        TypeError: `tile` is no whole number.
        ValueError: naming the measure and the part that needs all images.
    """
    if isinstance(tile, bool) or not isinstance(tile, int | np.integer):
        raise TypeError(f"tile must be a number of images, not {tile!r}.")
    if not FEWEST <= tile <= MOST:
        raise ValueError(f"tile must be between {FEWEST} and {MOST} images, not {tile}.")
    for m in measures:
        if words := why_not(m):
            raise ValueError(f"{m} cannot be computed in tiles: {words}; leave tile out.")


class Flaw(NamedTuple):
    """Why a network has no scores.

    Attributes:
        broken: images with features that are not finite.
        same: whether all images have the same features.
    """

    broken: int
    same: bool


class Scores(NamedTuple):
    """Scores from blocks.

    Attributes:
        values: `(S, T)`.
        rows: why networks of rows have none, or None where they have.
        columns: the same of columns.
        error: bound on the error by ranks in bins; zero where ranks are exact, or there are none.
    """

    values: np.ndarray
    rows: list[Flaw | None]
    columns: list[Flaw | None]
    error: float


def scores(measure: Measure, x: Networks, y: Networks | None, tile: int) -> Scores:
    """Scores of all networks."""
    arrays = [*x.arrays, *(() if y is None else y.arrays)]
    networks = [RowBlocks(a, measure, tile) for a in arrays]
    if in_feature_space(measure, x, y):
        networks = [RowBlocks(a, measure, min(tile, TALL)) for a in arrays]
        products = _feature_products(measure, networks)
        if np.any(np.diagonal(products.centered) < feature_space.CANCELED * products.plain):
            products = _map_products(measure, [RowBlocks(a, measure, tile) for a in arrays])
    elif ranks_pairs(measure):
        products = _rank_products(measure, networks)
    else:
        products = _map_products(measure, networks)
    length, total = np.sqrt(products.size), np.sqrt(products.plain)
    dtype = np.result_type(*(one.dtype for one in networks))
    eps = np.array([jnp.finfo(one.dtype).eps for one in networks], float)
    with np.errstate(invalid="ignore"):
        length = np.where(length > ROUNDING * eps * total, length, np.nan)
        found = products.centered / length[:, None] / length[None, :]
    finish = declared(measure.compare, ComparatorCapabilities).finish
    rows = len(x.arrays)
    found = found if y is None else found[:rows, rows:]
    flaws = [
        Flaw(one.moments.broken, one.moments.reach == 0) if none else None
        for one, none in zip(networks, np.isnan(length).tolist(), strict=True)
    ]
    values = np.asarray(finish(jnp.asarray(found, dtype)))
    # of two networks, the sum of their errors is the largest
    error = float(np.sort(products.error)[-2:].sum())
    return Scores(values, flaws[:rows], flaws[:rows] if y is None else flaws[rows:], error)


def undefined(measure: Measure, found: Scores, x: Networks, y: Networks | None, tile: int) -> dict[str, int]:
    """Networks without scores, each warned of with its reason, and the number of images to blame."""
    named: dict[str, int] = {}
    for nets, flaws in ((x, found.rows),) if y is None else ((x, found.rows), (y, found.columns)):
        for name, flaw in zip(nets.names, flaws, strict=True):
            if flaw is not None and name not in named:
                named[name] = flaw.broken
                why = reasons.of_tiles(measure, flaw.broken, flaw.same, x.images)
                warn(f"network {name!r} has no {measure} scores (NaN): {why}.", UndefinedScores)
        warn_of_lost_digits(f"its {measure} scores", measure.freedom, sample(nets, tile), named)
    return named


def notes(measure: Measure, tile: int, error: float) -> tuple[str, ...]:
    """Notes of the record on how scores were computed."""
    first = f"in tiles of {tile} images"
    if not ranks_pairs(measure):
        return (first,)
    return first, f"error by ranks in bins at most {error:.1g}" if error else "exact ranks"


def effective(measure: Measure, x: Networks, tile: int) -> np.ndarray:
    """Effective number of images of each network's map `(T,)`: (sum e)^2 / sum e^2 of their shares e of its length.

    The map's margins are fitted to a sample of the images, which moves the number by about a hundredth. It is n for a
    comparator that declares no shares.
    """
    if declared(measure.compare, ComparatorCapabilities).shares is None:
        return np.full(len(x.names), float(x.images))
    by_features = in_feature_space(measure, x, None)
    shares = [(_feature_shares if by_features else _map_shares)(measure, RowBlocks(a, measure, tile)) for a in x.arrays]
    with np.errstate(invalid="ignore"):
        return np.array([e.sum() ** 2 / (e * e).sum() for e in shares])


def _feature_shares(measure, blocks):
    """Squared length of each row of X X' but for the diagonal, x' (X'X) x - (x'x)^2."""
    gram = sum(np.asarray(_cross((block,)), np.float64) for block in blocks.blocks())
    inner = jnp.asarray(gram, blocks.dtype)
    return np.concatenate([_squared_rows(block, inner) for block in blocks.blocks()]).astype(np.float64)


@jax.jit
def _squared_rows(x, inner):
    return jnp.sum(dot(x, inner) * x, 1) - jnp.sum(x * x, 1) ** 2


def _map_shares(measure, blocks):
    """Squared length of each row of the map less margins that were fitted to a sample."""
    points = _Points(measure, blocks, KEPT_BYTES)
    start = points.first_margins(declared(measure.compare, ComparatorCapabilities).margins)
    found = np.zeros(blocks.x.shape[0])
    for i, j in _pairs(blocks):
        m = _block(measure, points, start, i, j)[0].reshape(len(points.block(i)), -1) ** 2
        found[blocks.rows(i)] += m.sum(1)
        if i != j:
            found[blocks.rows(j)] += m.sum(0)
    return found


def in_feature_space(measure: Measure, x: Networks, y: Networks | None) -> bool:
    """Whether scores come from products of features."""
    width = declared(measure.transform, TransformCapabilities).width
    shapes = [*x.shapes, *(() if y is None else y.shapes)]
    total = sum(width(shape[1:]) for shape in shapes)
    return feature_space.applies(measure) and feature_space.takes_fewer_operations(total, len(shapes), x.images)


def sample(nets: Networks, tile: int) -> Networks:
    """The networks on about a block of images from all over."""
    rows = range(0, nets.images, -(-nets.images // tile))
    return dataclasses.replace(nets, arrays=tuple(a[rows.start : rows.stop : rows.step] for a in nets.arrays), ids=None)


class _Products:
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


def _feature_products(measure, networks):
    """The products of linear kernels from X'Y, one pass over the features."""
    found = _Products(len(networks))
    cuts = np.cumsum([0, *(one.width for one in networks)])
    cross = np.zeros((cuts[-1], cuts[-1]))
    lengths = np.zeros((len(networks), networks[0].x.shape[0]))
    for k, blocks in enumerate(zip(*(one.blocks() for one in networks), strict=True)):
        cross += np.asarray(_cross(blocks), np.float64)
        for t, block in enumerate(blocks):
            lengths[t, networks[0].rows(k)] = _squared_lengths(block)
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
def _squared_lengths(x, center=0):
    return jnp.sum((x - center) ** 2, 1)


@jax.jit
def _from_features(measure, products, squares):
    own: Any = declared(measure.compare, ComparatorCapabilities).from_features
    return own(products, squares, squares)


def _map_products(measure, networks):
    """The products of maps, from one pass over their blocks.

    Margins close to those of each map are subtracted at once, so that no digits cancel; the rest b of the true ones is
    known at the end. As centering removes a least-squares fit, the product of two centered maps K and L is that of
    the maps less 2 sum_i b_i s_i, with b of K and the sums s over the rows of L.
    """
    margins_of: Any = declared(measure.compare, ComparatorCapabilities).margins
    points = [_Points(measure, one, KEPT_BYTES // len(networks)) for one in networks]
    starts = [one.first_margins(margins_of) for one in points]
    n, found = networks[0].x.shape[0], _Products(len(networks))
    sums = np.zeros((len(networks), n))
    for i, j in _pairs(networks[0]):
        times = 1 + (i != j)
        blocks = [_block(measure, one, start, i, j) for one, start in zip(points, starts, strict=True)]
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


def _rank_products(measure, networks):
    """The products of centered ranks, from one pass that counts each network's pairs and one over all blocks."""
    points = [_Points(measure, one, KEPT_BYTES // len(networks)) for one in networks]
    ranked = [_ranked(measure, one) for one in points]
    found = _Products(len(networks))
    for i, j in _pairs(networks[0]):
        blocks = [
            _looked_up(own.table, own.levels, one.entries(i, j)[0]) for one, own in zip(points, ranked, strict=True)
        ]
        found.centered += np.asarray(_products_of(tuple(blocks)), np.float64)
    found.size = np.array([own.size for own in ranked])
    found.error = np.array([own.error for own in ranked])
    return found


def _pairs(features):
    """Blocks on and above the diagonal."""
    return itertools.combinations_with_replacement(range(features.count), 2)


def _ranked(measure, points):
    """Ranks of all pairs of one network, in bins that are split until they are as right as TOLERANCE asks."""
    n, count, dtype = points.features.x.shape[0], points.features.count, points.features.dtype
    pairs, bins = n * (n - 1) // 2, rank_bins.Bins.by_digit(dtype)
    sample = _counted_pairs(points, bins, [(SAMPLE, k) for k in range(count)])
    if sample is not None:
        bins = bins.for_shares(sample[0], pairs)
    size_of: Any = declared(measure.compare, ComparatorCapabilities).rank_size
    while True:
        counts = None if sample is None else _counted_pairs(points, bins, _pairs(points.features))
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


def _counted_pairs(points, bins, blocks):
    """Numbers of pairs in each bin and their largest finite magnitude, or None if any pair is undefined."""
    size, flaws, largest = len(bins.low), [], jnp.zeros((), points.features.dtype)
    total, part, held = np.zeros(size, np.int64), None, 0
    for i, j in blocks:
        entries, undefined = points.entries(i, j)
        if part is None:
            part = jnp.zeros(rank_bins.padded(size), jnp.int32)
        part, largest = _count_in_bins(part, largest, bins.levels, entries)
        flaws.append(undefined)
        held += entries.size
        if held >= COUNTED:
            total, part, held = total + np.asarray(part)[:size], None, 0
    total = total if part is None else total + np.asarray(part)[:size]
    return None if any(jax.device_get(flaws)) else (total, float(largest))


def _block(measure, points, start, i, j):
    unit, margins = start
    rows, columns = (margins[points.rows(k)] for k in (i, j))
    return _without_margins(measure, points.block(i), points.block(j), points.level, unit, rows, columns, i == j)


class _Points:
    """Points of one network from which blocks of its map are made."""

    def __init__(self, measure: Measure, features: RowBlocks, kept_bytes: int = 0):
        self.measure, self.features, self.rows = measure, features, features.rows
        self.tiling = _tiling(measure)
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
            points = self._raw(k)
            self._recent[k] = points if self._center is None else points - self._center
            if len(self._recent) > self._most:
                del self._recent[next(iter(self._recent))]
        else:
            self._recent[k] = self._recent.pop(k)
        return self._recent[k]

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

    def entries(self, i: int, j: int) -> tuple[jax.Array, jax.Array]:
        """Entries of the pairs of two blocks, flattened, and NaN after them; whether any of the pairs is NaN."""
        most = max(self.features.size, FEWEST_OF_SAMPLE) * self.features.size
        return _pair_entries(self.measure, self.block(i), self.block(j), self.level, i == j, most)

    def tiles(self, pairs):
        """Pairs of blocks with their numbers."""
        for i, j in pairs:
            yield i, j, self.block(i), self.block(j)

    def _middle(self):
        """Mean of the points; where few of them are far from all others, the one nearest to it."""
        count, n = self.features.count, self.features.x.shape[0]
        mean = sum(np.asarray(_column_sums(self._raw(k)), np.float64) for k in range(count)) / n
        mean = jnp.asarray(mean, self.features.dtype)
        sizes = [np.asarray(_squared_lengths(self._raw(k), mean), np.float64) for k in range(count)]
        size = np.concatenate(sizes)
        if not LONE * size.sum() ** 2 < n * (size**2).sum():
            return mean
        k, row = divmod(int(np.argmin(size)), self.features.size)
        return self._raw(k)[row]

    def _raw(self, k):
        return _points(self.measure, self.features[k])

    def _typical(self):
        return _mean_quantity(self.measure, self.block(SAMPLE))

    def _median(self):
        """Median of all n^2 quantities, zeros of the diagonal included: the mean of the two middle ones.

        Numbers from zero on are ordered as the integers with the same bits, which are found 16 at a time.
        """
        pairs = [*_pairs(self.features)]
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


def _tiling(measure) -> Any:
    return declared(measure.pairwise, PairwiseCapabilities).tiling


@jax.jit
def _points(measure, x):
    return _tiling(measure).points(x)


@jax.jit
def _column_sums(x):
    return jnp.sum(x, 0)


@jax.jit
def _mean_quantity(measure, a):
    return jnp.mean(_tiling(measure).between(a, a))


@functools.partial(jax.jit, static_argnums=4)
def _count(measure, a, b, known, shift):
    """Counts of the DIGIT bits at `shift` of those quantities whose higher bits are `known`."""
    quantity = _tiling(measure).between(a, b).ravel()
    integer = jnp.int32 if quantity.dtype.itemsize == 4 else jnp.int64
    bits = jax.lax.bitcast_convert_type(quantity, integer)
    first = shift + DIGIT == 8 * quantity.dtype.itemsize
    chosen = True if first else bits >> (shift + DIGIT) == known
    digit = (bits >> shift) & (2**DIGIT - 1)
    place = jnp.where(chosen & ~jnp.isnan(quantity), digit, 2**DIGIT)
    return jnp.zeros(2**DIGIT, jnp.int32).at[place].add(1, mode="drop")


def _entries(measure, a, b, level):
    own = _tiling(measure)
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


def automatic(
    measures: Sequence[Measure], x: Networks, y: Networks | None, memory: float | None, *, to_save_time: bool
) -> int | None:
    """Images in a tile where the maps of two networks do not fit in the budget, or tiles save time; else None."""
    arrays = [*x.arrays, *(() if y is None else y.arrays)]
    maps = [m for m in measures if not feature_space.applies(m)]
    itemsize, counted = x.dtype.itemsize, [m for m in maps if ranks_pairs(m)]
    budget = budgets.budget_of(memory)
    whole = 2 * budgets.map_bytes(tuple(maps), x.images, itemsize) + budgets.working_bytes(x.images, itemsize)
    if not maps or any(why_not(m) for m in measures):
        return None
    if whole <= budget and not (to_save_time and len(counted) == len(maps) and _counting_is_faster(maps, x)):
        return None
    return largest(measures, len(arrays), x.images, x.dtype, budget)


def largest(measures: Sequence[Measure], networks: int, images: int, dtype: np.dtype, budget: float) -> int | None:
    """Most images in a tile within a budget in bytes, or None where none fits."""
    left = budget - (rank_bins.table_bytes(networks, images, dtype) if any(map(ranks_pairs, measures)) else 0)
    if left <= 0:
        return None
    # a block of every network, and a few on the way
    tile = int((left / 2 / dtype.itemsize / (networks + 6)) ** 0.5)
    return min(tile, TILE, images) if tile >= FEWEST else None


def _counting_is_faster(measures: Sequence[Measure], x: Networks) -> bool:
    """Whether counting pairs in bins takes less time than sorting them, and loses nothing.

    It does on a CPU, from many images on. Other distances than these have fewer digits in blocks where one image is far
    from all others.
    """
    bounded = all(m.pairwise in (pairwise.correlation, pairwise.cosine) for m in measures)
    return bounded and x.images >= COUNTED_FROM and x.dtype == np.float32 and jax.default_backend() == "cpu"
