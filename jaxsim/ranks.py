"""Order statistics: average ranks, plain and under weights, and an exact median without sorting."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxsim.linalg import RUN, cumulative, on_cpu

ROUNDING, OF_TWO = 4, 1
"""Largest width of a tie of several values and of one of two, in units of `rounding` times the scale of a map."""
IN_FLOAT64 = 16
"""Rounding that ties allow for in float64, in eps: it has digits to spare, and products leave more than four eps."""
CHANCE = 16
"""Close neighbors, beyond one, that show a map to have ties, as a multiple of those that chance brings together."""
OUTLYING = 4
"""A map's scale is at most this many times its quartiles."""


def average(v: Float[Array, " p"], where: Bool[Array, " p"] | None = None) -> Float[Array, " p"]:
    """Ranks 1 ... p, ties sharing the mean of theirs, as `scipy.stats.rankdata`; all NaN if any value is.

    Values that differ by rounding alone are ties too, see `tie_bounds`. With `where`, ranks are taken among the values
    that it marks; the others may hold anything, and their ranks mean nothing.

    >>> import jax.numpy as jnp
    >>> from jaxsim import ranks
    >>> ranks.average(jnp.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    v = v if where is None else jnp.where(where, v, jnp.inf)
    ordered, back = _sorted(as_integers(v))
    first, last = tie_bounds(_as_floats(ordered, v.dtype), None if where is None else jnp.sum(where))
    shared = (first.astype(v.dtype) + last.astype(v.dtype)) / 2 + 1
    return jnp.where(jnp.any(jnp.isnan(v)), jnp.nan, back(shared))


def counted(v: Float[Array, " p"], counts: Float[Array, " p"]) -> Float[Array, " p"]:
    """Average ranks of values when the p-th counts `counts[p]` times, as of the list in which each stands so often.

    For values that are new under every weighting, such as mean ranks; of a map that stays, `weighted` takes many
    weightings together. Ties as in `average`.

    >>> import jax.numpy as jnp
    >>> from jaxsim import ranks
    >>> ranks.counted(jnp.array([3.0, 1.0, 2.0]), jnp.array([1.0, 2.0, 0.0])).tolist()
    [3.0, 1.5, 2.5]
    """
    ordered, back = _sorted(as_integers(v))
    start = back(tie_bounds(_as_floats(ordered, v.dtype))[0])
    held = jnp.zeros_like(counts).at[start].add(counts)
    middle = cumulative(lax.add, held, 0) - held / 2 + 0.5
    return jnp.where(jnp.any(jnp.isnan(v)), jnp.nan, middle.at[start].get(mode="promise_in_bounds"))


def _sorted(keys):
    """Keys in order, and the function that takes what belongs to their places back to where they stood.

    The places are searched for on a CPU, where sorting pairs of numbers is slow.
    """
    if on_cpu():
        ordered = lax.sort(keys)
        place = jnp.searchsorted(ordered, keys, method="scan")
        return ordered, lambda a: a.at[place].get(mode="promise_in_bounds")
    ordered, source = _sorted_pairs(keys)
    return ordered, lambda a: jnp.zeros_like(a).at[source].set(a, unique_indices=True)


def _sorted_pairs(keys):
    """Keys in order, and where each of them stood; equal ones in any order, as keeping theirs costs an accelerator."""
    return lax.sort((keys, lax.iota(jnp.int32, keys.size)), num_keys=1, is_stable=on_cpu())


def as_integers(v):
    """Integers in the order of the floats: a CPU sorts them some fifteen times faster."""
    integer = _integer(v.dtype)
    bits = lax.bitcast_convert_type(jnp.where(v == 0, 0, v), integer)  # -0 and 0 are equal
    return jnp.where(bits < 0, bits ^ jnp.iinfo(integer).max, bits)


def _integer(dtype):
    """Type of integers with as many bits as floats.

    Raises:
        TypeError: floats of fewer bits, which hold few ranks, or other numbers.
    """
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"ranks and medians need float32 or float64, not {dtype}; cast numbers first, as js.Measure does."
        )
    return jnp.int32 if dtype.itemsize == 4 else jnp.int64


def _as_floats(keys, dtype):
    """The floats that `as_integers` was given."""
    return lax.bitcast_convert_type(jnp.where(keys < 0, keys ^ jnp.iinfo(keys.dtype).max, keys), dtype)


def tie_bounds(
    ordered: Float[Array, " p"], count: Int[Array, ""] | None = None
) -> tuple[Int[Array, " p"], Int[Array, " p"]]:
    """First and last position of the tie that each position of a sorted vector is in.

    Distances that are equal in exact arithmetic come out of float32 a few units in the last place apart, and their
    order is noise. A run is a maximal stretch of values, each within ROUNDING eps of the next on the scale of the map.
    It is a tie if it is that narrow as a whole; a wider run is a chain of distinct values that happen to lie close, as
    on any continuous map, and only equal values are ties in it. So are two values that lie close alone, unless they are
    within OF_TWO eps: on a continuous map chance brings two together far more often than three. A map in which far more
    values lie close than chance brings together has ties, and there two share a rank as several do.

    The scale is the largest finite magnitude, but no more than OUTLYING times the larger quartile, so that one image
    far from all others does not make ties of their distances; quartiles that are rounding themselves do not count.
    With `count`, only so many values are real, and infinities fill the places after them.
    """
    p = ordered.size if count is None else count
    eps = rounding(ordered.dtype)
    size = jnp.where(jnp.isfinite(ordered), jnp.abs(ordered), 0)
    unit = unit_of_ties(jnp, jnp.max(size), jnp.maximum(size[p // 4], size[p + -p // 4]), eps)
    edge = jnp.ones(1, bool)
    starts = jnp.concatenate([edge, ordered[1:] - ordered[:-1] > ROUNDING * unit])
    ends = jnp.concatenate([starts[1:], edge])
    first, last = _runs(starts, ends)
    lowest, highest = (ordered.at[k].get(mode="promise_in_bounds") for k in (first, last))
    first_of_two = starts & ~ends & jnp.concatenate([ends[1:], edge])
    two = first_of_two | jnp.concatenate([~edge, first_of_two[:-1]])
    spread = unit / eps - jnp.where(jnp.isfinite(ordered[0]), ordered[0], -unit / eps)
    has_ties = more_than_chance(jnp.sum(~starts & jnp.isfinite(ordered)), unit / spread, jnp.asarray(p, ordered.dtype))
    chain = highest - lowest > width_of_ties(jnp, two, has_ties) * unit
    starts |= chain & jnp.concatenate([edge, ordered[1:] != ordered[:-1]])
    ends = jnp.concatenate([starts[1:], edge])
    first, last = _runs(starts, ends)
    return first, last if count is None else jnp.minimum(last, count - 1)


def rounding(dtype: Any) -> float:
    """Relative rounding that ties allow for: eps, and IN_FLOAT64 times as much in float64."""
    return float(jnp.finfo(dtype).eps) * (IN_FLOAT64 if dtype == jnp.float64 else 1)


def unit_of_ties(library: Any, largest: Any, quartile: Any, eps: Any) -> Any:
    """Unit in which the width of a tie is counted: rounding on the scale of a map, see `tie_bounds`.

    Args:
        library: `numpy` or `jax.numpy`.
        largest: largest finite magnitude of the map.
        quartile: the larger quartile, in magnitude.
        eps: `rounding` of the map's type.
    """
    real = quartile > ROUNDING * eps * largest
    return eps * library.where(real, library.minimum(largest, OUTLYING * quartile), largest)


def more_than_chance(close: Any, share: Any, p: Any) -> Any:
    """Whether so many of p values lie close to the next that the map has ties; `share` of their spread is the unit."""
    return close > 1 + CHANCE * (ROUNDING * share * p**2)


def width_of_ties(library: Any, two: Any, has_ties: Any) -> Any:
    """Largest width of a tie, in its unit, where it is of two values or of more; `library` is NumPy or JAX's."""
    return library.where(two & ~has_ties, OF_TWO, ROUNDING)


def _runs(starts, ends):
    """First and last position of the run that each position is in."""
    position = lax.iota(jnp.int32, starts.size)
    first = cumulative(lax.max, jnp.where(starts, position, 0), 0)
    last = jnp.zeros_like(position).at[jnp.where(ends, first, starts.size)].set(position, mode="drop")
    return first, last.at[first].get(mode="promise_in_bounds")


@jax.custom_jvp
def median(s: Float[Array, "..."]) -> Float[Array, ""]:
    """Median of non-negative values, exact, by bisecting on their bit patterns; NaN if any value is.

    Non-negative floats are ordered as the integers with the same bits, so 31 counting passes (63 in float64)
    find the k-th value. The mean of the two middle values is returned for an even count, as `numpy.median`.

    >>> import jax.numpy as jnp
    >>> from jaxsim import ranks
    >>> float(ranks.median(jnp.array([4.0, 0.0, 1.0, 3.0])))
    2.0
    """
    low, high = _middle(s)
    return jnp.where(jnp.any(jnp.isnan(s)), jnp.nan, (low + high) / 2)


@median.defjvp
def _median_jvp(primals, tangents):
    (s,), (t,) = primals, tangents
    parts = []
    for value in _middle(s):
        here = s == value
        parts.append(jnp.sum(jnp.where(here, t, 0)) / jnp.maximum(jnp.sum(here), 1).astype(s.dtype))
    return median(s), (parts[0] + parts[1]) / 2


def _middle(s):
    """The two middle values, which are one for an odd count."""
    integer = _integer(s.dtype)
    bits = lax.bitcast_convert_type(jnp.abs(s), integer)
    k = (s.size + 1) // 2

    def halve(bounds, _):
        low, high = bounds
        middle = low + (high - low) // 2
        enough = jnp.sum((bits <= middle).astype(jnp.int32)) >= k
        return (jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)), None

    zero = jnp.zeros((), integer)
    (kth, _), _ = lax.scan(halve, (zero, jnp.full((), jnp.iinfo(integer).max)), None, length=8 * s.dtype.itemsize - 1)
    above = jnp.min(jnp.where(bits > kth, bits, jnp.iinfo(integer).max))
    both = jnp.sum((bits <= kth).astype(jnp.int32)) >= s.size // 2 + 1
    low, high = kth, jnp.where(both, kth, above)
    return tuple(lax.bitcast_convert_type(b, s.dtype) for b in (low, high))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Order:
    """Pairs of images in ascending order of a map's values: what weighted ranks need, sorted once.

    On a CPU the order is cut into q runs of RUN pairs and stored as `(RUN, q)`, the k-th pair of every run beside each
    other, so that one step of a scan advances the cumulative sums of all runs; elsewhere it is stored as it is.

    Attributes:
        i: first image of the pairs in that order, `(RUN q,)` or `(p,)`, padded at the end.
        j: second image.
        last: for every pair of the condensed map, where the run of values equal to its own ends, `(p,)`.
        before: where the pair before that run stands; unused if there is none.
        lowest: whether there is none, `(p,)`.
        tied: whether any two values are equal, `()`.
        undefined: whether any value is NaN, `()`.
    """

    i: Array
    j: Array
    last: Array
    before: Array
    lowest: Array
    tied: Array
    undefined: Array


def sort_pairs(v: Float[Array, " p"], i: Int[Array, " p"], j: Int[Array, " p"]) -> Order:
    """The order of a condensed map `v` whose p-th entry belongs to images `i[p]` and `j[p]`."""
    keys, place = as_integers(v), lax.iota(jnp.int32, v.size)

    def with_ties():
        return _sorted_pairs(keys)[1]

    def without_ties():
        below = jnp.searchsorted(ordered, keys, side="left", method="scan")
        return jnp.zeros_like(place).at[below].set(place)

    ordered = lax.sort(keys)
    first, last = tie_bounds(_as_floats(ordered, v.dtype))
    tied = jnp.any(first != last)
    # sorting pairs of numbers is slow on a CPU, and without ties the place of each value says it all
    pair = lax.cond(tied, with_ties, without_ties) if on_cpu() else with_ties()
    run = RUN if on_cpu() else 1
    runs = -(-v.size // run)

    def stored(k):
        return k % run * runs + k // run

    def laid_out(images):
        return jnp.pad(images[pair], (0, runs * run - v.size)).reshape(runs, run).T.ravel()

    def of_pair(a):
        return jnp.zeros(v.size, a.dtype).at[pair].set(a, unique_indices=True)

    last_place, before = of_pair(stored(last)), of_pair(stored(jnp.maximum(first - 1, 0)))
    undefined = jnp.any(jnp.isnan(v))
    return Order(laid_out(i), laid_out(j), last_place, before, of_pair(first == 0), tied, undefined)


def weighted(order: Order, w: Float[Array, "n b"], pairs: Float[Array, "p b"]) -> Float[Array, "p b"]:
    """Average ranks of the pairs when pair (i, j) counts w_i w_j times, in the order of the condensed map.

    Integer weights give the ranks of the expanded list of pairs: a run of ties with weights summing to t after pairs
    of total weight c has rank c + (t + 1) / 2. All b weightings go through memory side by side.

    Args:
        order: from `sort_pairs`.
        w: weights of the images.
        pairs: weights w_i w_j of the pairs in the order of the condensed map.
    """

    def at(a, place):
        return a.at[place].get(mode="promise_in_bounds")

    counts = at(w, order.i) * at(w, order.j)
    upto = _sums_along_runs(counts.reshape(RUN, -1, w.shape[1])) if on_cpu() else cumulative(lax.add, counts, 0)

    def with_ties():
        before = jnp.where(order.lowest[:, None], 0, at(upto, order.before))
        return (at(upto, order.last) + before) / 2

    def without():
        return at(upto, order.last) - pairs / 2

    # many maps at once would take both
    return (lax.cond(order.tied, with_ties, without) if on_cpu() else with_ties()) + 0.5


def _sums_along_runs(runs):
    """Cumulative sums `(p, b)` of what the runs `(RUN, q, b)` of an order hold, laid out like them."""
    sums = jnp.sum(runs, 0)

    def advance(total, step):
        total = total + step
        return total, total

    return lax.scan(advance, cumulative(lax.add, sums, 0) - sums, runs)[1].reshape(-1, runs.shape[2])
