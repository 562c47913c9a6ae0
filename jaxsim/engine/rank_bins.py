"""Average ranks of numbers that are never held together: counts in bins of their bits, split until ranks are right.

Bins follow the order of the floats. All numbers of a bin get its mean rank; those of a bin that holds one float are
ties, and where bins are that narrow ranks are those of `ranks.average`. Elsewhere `Ranks.error` bounds the difference.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import ranks

DIGIT = 16
"""Leading bits that tell the first bins apart."""
MOST = 6_000_000
"""Bins that numbers are spread over; up to twice as many are made, and as many again for bins that are split again."""
EACH = 8
"""Bins for each number, where there are few."""
SPREAD, WORKING = 1.5, 110
"""Bins that are made for each asked for, and bytes that the host takes for each of one network."""
FEWEST_BITS = 19
"""Log2 of the smallest table."""
BEYOND = {4: 0x9E37, 8: 0x9E3779B97F4A}
"""Floats by which bins are shifted, so that round numbers, which distances often are, lie within bins."""


class Ranks(NamedTuple):
    """Ranks of counted numbers.

    Attributes:
        bins: those with numbers, `(k,)`.
        centered: their ranks less the mean of all, divided by the number p of numbers, `(k,)`.
        size: sum of the squares of `centered` over all numbers.
        error: by bin, terms whose sum bounds that of the squared errors of `centered`, `(k,)`.
        blame: by bin, the part of `error` that splitting it reduces, `(k,)`.
    """

    bins: np.ndarray
    centered: np.ndarray
    size: float
    error: np.ndarray
    blame: np.ndarray


@dataclasses.dataclass(frozen=True)
class Bins:
    """Bins of all floats of a type, in their order.

    Attributes:
        dtype: float32 or float64.
        low: lowest key of each bin, `(B,)`.
        width: log2 of the number of floats in each, `(B,)`.
        levels: `(first, shift, mask)` for each time that bins were split: where the parts of each begin, and which bits
            of a key tell them apart.
    """

    dtype: np.dtype
    low: np.ndarray
    width: np.ndarray
    levels: tuple[tuple[jax.Array, jax.Array, jax.Array], ...] = ()

    @classmethod
    def by_digit(cls, dtype: np.dtype) -> "Bins":
        """One bin for every leading digit."""
        rest = 8 * dtype.itemsize - DIGIT
        low = np.arange(2**DIGIT, dtype=f"u{dtype.itemsize}") << rest
        return cls(dtype, low, np.full(2**DIGIT, rest, np.uint8))

    def split(self, bits: np.ndarray) -> "Bins":
        """Each bin in two to the power of `bits` parts, or in as many as it has floats."""
        bits = np.minimum(bits, self.width)
        rest, parts = self.width - bits.astype(np.uint8), 1 << bits.astype(np.int64)
        first = np.cumsum(parts) - parts
        width = np.repeat(rest, parts)
        within = np.arange(parts.sum()) - np.repeat(first, parts)
        low = np.repeat(self.low, parts) + (within.astype(self.low.dtype) << width.astype(self.low.dtype))
        size = padded(len(first)) if self.levels else len(first)
        level = (first.astype(np.int32), rest, (parts - 1).astype(np.uint32))
        start, shift, mask = (jnp.asarray(np.pad(a, (0, size - len(a)))) for a in level)
        return Bins(self.dtype, low, width, (*self.levels, (start, shift, mask)))

    def for_shares(self, counts: np.ndarray, pairs: int) -> "Bins":
        """Bins that hold about as many numbers each, from counts `(B,)` of a sample of `pairs` numbers."""
        share = counts / max(1, counts.sum()) * min(MOST, EACH * pairs)
        return self.split(np.ceil(np.log2(np.maximum(share, 1))).astype(int))

    def finer(self, found: Ranks, most: float) -> "Bins | None":
        """Bins with errors that add up to about `most`; None where no bin can be split that has a share in them."""
        blame = np.where(self.width[found.bins] > 0, found.blame, 0)
        if not blame.any():
            return None
        wide = found.bins[blame > min(most / 4 / np.count_nonzero(blame), blame.max() / 2)]
        bits = np.zeros(len(self.low), int)
        bits[wide] = np.clip(int(np.log2(max(1, MOST / len(wide)))), 1, DIGIT)
        return self.split(bits)

    def ranked(self, counts: np.ndarray, largest: float) -> Ranks:
        """Average ranks from the numbers in each bin, `(B,)`, and the largest finite magnitude of all.

        Ties are those of `ranks.tie_bounds`. The error follows from what bins do not tell. Of c numbers within a bin of
        several floats and without ties, squared ranks differ from the mean by (c^3 - c) / 12 in all, and by less with
        ties. A tie that reaches over several bins adds at most its count times a quarter of the square of the
        difference between their ranks, as ranks are means of places, over bins here and over ties there.
        """
        bins = np.flatnonzero(counts)
        c, single = counts[bins].astype(float), self.width[bins] == 0
        low, high = self._edges(bins)
        upto = np.cumsum(c)
        eps = ranks.rounding(self.dtype)
        unit, p = _unit(low, high, upto, largest, eps), upto[-1]
        near, place = ranks.ROUNDING * unit, np.arange(len(c))
        with np.errstate(invalid="ignore"):
            starts = np.concatenate([[True], low[1:] - high[:-1] > near])
            first, run = np.flatnonzero(starts), np.cumsum(starts) - 1
            last = np.append(first[1:], len(c)) - 1
            scale = unit / eps
            spread = scale - (low[0] if np.isfinite(low[0]) else -scale)
            has_ties = ranks.more_than_chance(p - len(first), unit / spread if spread else 0, p)
            total = np.add.reduceat(c, first)
            tie = high[last] - low[first] <= ranks.width_of_ties(np, total == 2, has_ties) * unit
        exact = (tie | np.logical_and.reduceat(single, first))[run]
        middle = np.where(tie[run], (upto[last] - (total - 1) / 2)[run], upto - (c - 1) / 2)
        # bins with numbers that surely follow one another form a chain, in which only equal numbers are ties
        begins = np.concatenate([[True], high[1:] - low[:-1] > near])
        head = np.flatnonzero(begins)
        chained = (low[np.append(head[1:], len(c)) - 1] - high[head] > near)[np.cumsum(begins) - 1]
        open_ended, reach = np.flatnonzero(~exact & ~chained), place.copy()
        reach[open_ended] = np.searchsorted(low, high[open_ended] + near, "right") - 1
        across = (upto[reach] - upto + c) * (middle[reach] - middle) ** 2 / 4
        within = np.where(exact | single, 0, (c**3 - c) / 12)
        # what links a chain to its neighbors, if anything does, depends on the bins on either side
        links = np.add.reduceat(across, head)
        blame = within + links[np.cumsum(begins) - 1]
        blame[head[1:] - 1] += links[1:]
        blame[head[1:]] += links[:-1]
        centered = (middle - (p + 1) / 2) / p
        return Ranks(bins, centered, float(np.sum(c * centered**2)), (within + across) / p**2, blame / p**2)

    def _edges(self, bins):
        """Smallest and largest number of bins, in float64."""
        low = self.low[bins]
        high = low + ((1 << self.width[bins].astype(low.dtype)) - low.dtype.type(1))
        with np.errstate(invalid="ignore"):
            low, high = (_floats(key, self.dtype).astype(float) for key in (low, high))
        return np.where(np.isnan(low), -np.inf, low), np.where(np.isfinite(high), high, low)


def padded(size: int) -> int:
    """The next of few sizes, so that programs are few too."""
    step = 1 << max(FEWEST_BITS, size.bit_length() - 3)
    return -(-size // step) * step


def table_bytes(networks: int, images: int, dtype: np.dtype) -> int:
    """Bytes of the tables of all networks, and of what one of them is made from."""
    bins = min(MOST, EACH * (images * (images - 1) // 2)) * SPREAD + 2**DIGIT
    return int(bins * (networks * dtype.itemsize + WORKING))


def keys(v: jax.Array) -> jax.Array:
    """Unsigned integers in the order of floats."""
    unsigned = {4: jnp.uint32, 8: jnp.uint64}[v.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(ranks.as_integers(v), unsigned)
    return (bits ^ jnp.asarray(1 << (8 * v.dtype.itemsize - 1), unsigned)) + jnp.asarray(
        BEYOND[v.dtype.itemsize], unsigned
    )


def _floats(key, dtype):
    """The floats that have these `keys`, NaN beyond the infinities."""
    unsigned, signed = key.dtype.type, np.dtype(f"i{dtype.itemsize}")
    ordered = ((key - unsigned(BEYOND[dtype.itemsize])) ^ unsigned(1 << (8 * dtype.itemsize - 1))).view(signed)
    return np.where(ordered < 0, ordered ^ np.iinfo(signed).max, ordered).view(dtype)


def place(levels, v: jax.Array) -> jax.Array:
    """Bin of every number, from the levels of the bins."""
    bits = keys(v)
    node = (bits >> (8 * v.dtype.itemsize - DIGIT)).astype(jnp.int32)
    for first, shift, mask in levels:
        start, shift, mask = (a.at[node].get(mode="promise_in_bounds") for a in (first, shift, mask))
        node = start + ((bits >> shift.astype(bits.dtype)) & mask.astype(bits.dtype)).astype(jnp.int32)
    return node


def _unit(low, high, upto, largest, eps):
    """What a tie's width is counted in, as in `ranks.tie_bounds`."""
    p = int(upto[-1])
    size = np.maximum(np.where(np.isfinite(low), np.abs(low), 0), np.where(np.isfinite(high), np.abs(high), 0))
    quartile = size[np.searchsorted(upto, [p // 4, p + -p // 4], "right")].max()
    return ranks.unit_of_ties(np, largest, quartile, eps)
