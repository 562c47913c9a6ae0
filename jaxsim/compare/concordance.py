"""Concordant minus discordant pairs of two rankings, exact, in N log N steps: what Kendall's tau counts."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxsim.linalg import cumulative, on_cpu, tree_sum

AT_ONCE = 64
"""Number of pairs of rankings that an accelerator processes together."""
RUN = 64
"""Whole numbers that are added as integers."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ranking:
    """A ranking of N entries, prepared once for all comparisons.

    Attributes:
        values: whole numbers from 0 to N - 1 in the order of the ranks, equal for ties, `(N,)`.
        below: number of values less than k, for k from 0 to N, `(N + 1,)`.
        order: entries by rank, `(N,)`.
        turned: the same with every tie in the opposite order, `(N,)`.
        untied: number of ordered pairs of entries that are not tied, `()`.
        tied: whether any entries are tied, `()`.
        undefined: whether a rank is NaN, `()`.
    """

    values: Array
    below: Array
    order: Array
    turned: Array
    untied: Array
    tied: Array
    undefined: Array


def ranking(ranks: Float[Array, " p"]) -> Ranking:
    """Prepare a ranking from average ranks 1 ... N.

    Raises:
        ValueError: their type cannot represent all their half steps.
    """
    most = int(2 / jnp.finfo(ranks.dtype).eps) // 2
    if ranks.size > most:
        raise ValueError(
            f"Kendall's tau in {ranks.dtype} ranks at most {most} pairs of images, not {ranks.size}: use float64 "
            "(jax_enable_x64, --x64), or compare by Spearman's correlation."
        )
    undefined = jnp.any(jnp.isnan(ranks))
    ranks = jnp.where(undefined, 1, ranks)
    n = ranks.size
    position = lax.iota(jnp.int32, n)
    values = jnp.floor(ranks).astype(jnp.int32) - 1
    below = cumulative(lax.add, jnp.zeros(n + 1, jnp.int32).at[values + 1].add(1), 0)
    others = n - _same(values, below)
    tied = jnp.any(others < n - 1)

    def with_ties():
        doubled, order = lax.sort_key_val((2 * ranks).astype(jnp.int32), position)
        # a tie from f to l has the doubled rank f + l + 2
        turned = jnp.zeros_like(order).at[doubled - 2 - position].set(order)
        return order, jnp.where(undefined, order, turned)

    def without():
        order = jnp.zeros_like(position).at[values].set(position)
        return order, order

    # sorting pairs of numbers is slow on a CPU
    order, turned = lax.cond(tied, with_ties, without)
    return Ranking(values, below, order, turned, tree_sum(others.astype(ranks.dtype)), tied, undefined)


def _same(values, below):
    """Number of entries tied with each entry, including itself."""
    return _at(below, values + 1) - _at(below, values)


def _at(a, place):
    return a.at[place].get(mode="promise_in_bounds")


def untied(one: Ranking, weights: Float[Array, "p b"]) -> Float[Array, " b"]:
    """`Ranking.untied` when entry p counts `weights[p]` times."""
    held = _at(jnp.zeros_like(weights).at[one.values].add(weights), one.values)
    return tree_sum(weights * (jnp.sum(weights, 0) - held))


def concordance(a: Ranking, b: Ranking, weights: Float[Array, "p b"] | None = None) -> Float[Array, "..."]:
    """Concordant minus discordant unordered pairs, `()`, or `(b,)` when entry p counts `weights[p]` times.

    >>> import jax.numpy as jnp
    >>> from jaxsim.compare.concordance import concordance, ranking
    >>> float(concordance(ranking(jnp.array([1.0, 2.0, 3.0])), ranking(jnp.array([1.0, 3.0, 2.0]))))
    1.0
    """
    # a tie in the order is counted in both orders; the ranking with more ties gives values, where ties cost nothing
    swap = a.untied > b.untied
    one, other = (jax.tree.map(lambda u, v: jnp.where(swap, u, v), *pair) for pair in ((b, a), (a, b)))
    found = lax.cond(
        other.tied,
        lambda: (_along(one, other.order, weights) + _along(one, other.turned, weights)) / 2,
        lambda: _along(one, other.order, weights),
    )
    return jnp.where(a.undefined | b.undefined, jnp.nan, found)


def _along(one, order, weights):
    """Pairs of values that ascend along an order, minus those that descend.

    Two values first differ at one bit. Starting with the highest bit, entries are in groups with the same higher bits,
    each in the given order. A zero before a one in its group ascends, and a one before a zero descends. Then every
    group is split.
    """
    n, dtype = order.size, one.untied.dtype
    position = lax.iota(jnp.int32, n)

    def upto(x):
        """Sums before each position, and the total."""
        return jnp.concatenate([jnp.zeros_like(x[:1]), cumulative(lax.add, x, 0)])

    def part(state, shift):
        values, *rest = state
        group = values >> (shift + 1)
        start, end = (_at(one.below, jnp.minimum(k << (shift + 1), n)) for k in (group, group + 1))
        bit = (values >> shift) & 1
        zero = 1 - bit
        sums = upto(zero)
        before, zeros = sums[:-1] - _at(sums, start), _at(sums, end) - _at(sums, start)
        # products, because a CPU cannot predict which of two values a select takes
        place = start + before + bit * (zeros + position - start - 2 * before)
        if weights is None:
            found = _total(bit * (2 * before - zeros), dtype)
        else:
            own = _at(weights, rest[0])
            held = upto(own * zero[:, None])
            first = _at(held, start)
            found = tree_sum(own * bit[:, None] * (2 * (held[:-1] - first) - (_at(held, end) - first)))
        return [jnp.zeros_like(v).at[place].set(v, unique_indices=True) for v in state], found

    shifts = jnp.arange(max(1, (n - 1).bit_length()), dtype=jnp.int32)
    start = [_at(one.values, order)] + [order] * (weights is not None)
    return tree_sum(lax.scan(part, start, shifts[::-1])[1])


def _total(x, dtype):
    """Sum of whole numbers no larger than 2^24, exact within runs."""
    return tree_sum(jnp.sum(jnp.pad(x, (0, -x.size % RUN)).reshape(-1, RUN), 1).astype(dtype))


def select(rankings: Ranking, k) -> Ranking:
    """One of several stacked rankings."""
    return jax.tree.map(lambda v: v[k], rankings)


def over_pairs(function, pairs) -> Array:
    """Apply `function` to every pair of rankings, one at a time on a CPU and many together on other devices."""
    return lax.map(function, pairs, batch_size=None if on_cpu() else AT_ONCE)
