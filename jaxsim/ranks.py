"""Order statistics: average ranks, plain and under weights, and an exact median without sorting."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def average(v: Float[Array, " p"]) -> Float[Array, " p"]:
    """Ranks 1 ... p, ties sharing the mean of theirs, as `scipy.stats.rankdata`; all NaN if any value is.

    >>> import jax.numpy as jnp
    >>> from jaxsim import ranks
    >>> ranks.average(jnp.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    keys = _as_integers(v)
    ordered = lax.sort(keys)
    below, upto = (jnp.searchsorted(ordered, keys, side=side, method="scan") for side in ("left", "right"))
    return jnp.where(jnp.any(jnp.isnan(v)), jnp.nan, ((below + upto + 1) / 2).astype(v.dtype))


def _as_integers(v):
    """Integers in the order of the floats: a CPU sorts them some fifteen times faster."""
    integer = jnp.int32 if v.dtype.itemsize == 4 else jnp.int64
    bits = lax.bitcast_convert_type(jnp.where(v == 0, 0, v), integer)  # -0 and 0 are equal
    return jnp.where(bits < 0, bits ^ jnp.iinfo(integer).max, bits)


def _tie_bounds(ordered):
    """First and last position of the run of equal values that each position of a sorted vector is in."""
    p = ordered.size
    position = lax.iota(jnp.int32, p)
    starts = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    ends = jnp.concatenate([starts[1:], jnp.ones(1, bool)])
    first = lax.cummax(jnp.where(starts, position, 0))
    last = lax.cummin(jnp.where(ends, position, p - 1), reverse=True)
    return first, last


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
    integer = jnp.int32 if s.dtype.itemsize == 4 else jnp.int64
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


RUN = 128
"""Length of the runs whose cumulative sums are taken side by side."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Order:
    """Pairs of images in ascending order of a map's values: what weighted ranks need, sorted once.

    The order is cut into q runs of RUN pairs and stored as `(RUN, q)`, the k-th pair of every run beside each other, so
    that one step of a scan advances the cumulative sums of all runs.

    Attributes:
        i: first image of the pairs in that order, `(RUN q,)`, padded at the end.
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
    keys, place = _as_integers(v), lax.iota(jnp.int32, v.size)
    ordered = lax.sort(keys)
    first, last = _tie_bounds(ordered)

    def without_ties():
        below = jnp.searchsorted(ordered, keys, side="left", method="scan")
        return jnp.zeros_like(place).at[below].set(place)

    # sorting pairs of numbers is slow on a CPU, and without ties the place of each value says it all
    pair = lax.cond(jnp.any(first != last), lambda: lax.sort_key_val(keys, place)[1], without_ties)
    runs = -(-v.size // RUN)

    def stored(k):
        return k % RUN * runs + k // RUN

    def laid_out(images):
        return jnp.pad(images[pair], (0, runs * RUN - v.size)).reshape(runs, RUN).T.ravel()

    def of_pair(a):
        return jnp.zeros(v.size, a.dtype).at[pair].set(a, unique_indices=True)

    last_place, before = of_pair(stored(last)), of_pair(stored(jnp.maximum(first - 1, 0)))
    tied, undefined = jnp.any(first != last), jnp.any(jnp.isnan(v))
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

    runs = (at(w, order.i) * at(w, order.j)).reshape(RUN, -1, w.shape[1])
    sums = jnp.sum(runs, 0)

    def advance(total, step):
        total = total + step
        return total, total

    upto = lax.scan(advance, jnp.cumsum(sums, 0) - sums, runs)[1].reshape(-1, w.shape[1])

    def with_ties():
        before = jnp.where(order.lowest[:, None], 0, at(upto, order.before))
        return (at(upto, order.last) + before) / 2

    def without():
        return at(upto, order.last) - pairs / 2

    return lax.cond(order.tied, with_ties, without) + 0.5
