"""Dense linear algebra at full float32 precision, and means that survive large offsets."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

BLOCK = 64
"""Longest running sum of products; 64 equal ones drift by about 5e-7, 256 by 3e-6."""
MOST_CELLS = 2**20
"""Most numbers that the sums of the blocks taken at once may fill on a CPU; elsewhere 16 times as many."""
SIDE = 256
"""Most rows of long vectors whose products with as many others are summed together."""
RUN = 128
"""Length of the runs whose cumulative sums a CPU takes side by side."""
TALL = 4096
"""Rows up to which one running sum keeps its digits."""


def require_floating(x: jax.Array) -> None:
    """Refuse numbers that parts of measures do not compute with: differences of whole ones may wrap around.

    Raises:
        TypeError: they are not of floating point.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"parts of a measure need floating point, not {x.dtype}; cast numbers first, as js.Measure does."
        )


def on_cpu() -> bool:
    """Whether programs are for a CPU, where work stays in caches; elsewhere every loop is a launch for each step."""
    return jax.default_backend() == "cpu"


def over(function: Callable, xs: Any) -> Any:
    """`function` of all entries along the leading axis: one after another on a CPU, all together elsewhere."""
    return lax.map(function, xs) if on_cpu() else jax.vmap(function)(xs)


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix product `a @ b` that never falls back to TF32 or bfloat16 passes."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def compensated_add(total: jax.Array, lost: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`total` and `value` added, and what the addition rounds off, given what `lost` the additions before did."""
    value = value - lost
    raised = total + value
    return raised, (raised - total) - value


def compensated_sum(term, parts, start: jax.Array) -> jax.Array:
    """`start` plus `term(part)` over the leading axis of `parts`, with what every addition rounds off carried along."""

    def add(state, part):
        total, lost = state
        return compensated_add(total, lost, term(part)), None

    return lax.scan(add, (start, jnp.zeros_like(start)), parts)[0][0]


def tree_sum(x: jax.Array) -> jax.Array:
    """Sum over the first axis, pairs of pairs, so that equal terms are summed exactly."""
    while x.shape[0] > 1:
        x = jnp.pad(x, ((0, x.shape[0] % 2), *((0, 0),) * (x.ndim - 1)))
        x = x[::2] + x[1::2]
    return x[0]


def cumulative(combine, x: jax.Array, start) -> jax.Array:
    """Cumulative sums over the first axis, or what `combine` makes of two in place of their sum; `start` changes none.

    A CPU takes them along runs of RUN entries side by side, and adds what the runs before come to: two to three times
    as fast as `lax.cumsum` of several columns.
    """
    if not on_cpu():
        return lax.associative_scan(combine, x)
    count, rest = x.shape[0], x.shape[1:]
    start = jnp.asarray(start, x.dtype)
    runs = jnp.pad(x, ((0, -count % RUN), *((0, 0),) * len(rest))).reshape(-1, RUN, *rest)

    def advance(total, step):
        total = combine(total, step)
        return total, total

    upto = lax.scan(advance, jnp.full(runs[:, 0].shape, start), jnp.moveaxis(runs, 1, 0))[1]
    ends = upto[-1]
    if len(ends) > RUN:
        before = jnp.concatenate([jnp.full_like(ends[:1], start), cumulative(combine, ends, start)[:-1]])
    else:
        earlier = jnp.tri(len(ends), k=-1, dtype=bool).reshape(len(ends), len(ends), *(1,) * len(rest))
        before = lax.reduce(jnp.where(earlier, ends, start), start, combine, (1,))
    found = combine(upto, jnp.broadcast_to(before, upto.shape))
    return jnp.moveaxis(found, 0, 1).reshape(-1, *rest)[:count]


def block_dot(a: jax.Array, b: jax.Array, block: int = BLOCK) -> jax.Array:
    """`a @ b.T` for rows of a few thousand entries, (s, k), (t, k) -> (s, t), each running sum `block` long."""
    a, b = (jnp.pad(z, ((0, 0), (0, -z.shape[1] % block))).reshape(z.shape[0], -1, block) for z in (a, b))
    return tree_sum(jnp.einsum("scb,tcb->cst", a, b, precision=lax.Precision.HIGHEST))


def long_dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a @ b.T` for long rows, (s, k), (t, k) -> (s, t), with running sums no longer than BLOCK.

    One running sum over k equal products, such as those of maps of zeros and ones, drifts by up to k eps. More rows
    than 2 SIDE are taken in tiles, whose sums stay in a core's cache; of rows with themselves, those on and above the
    diagonal alone.
    """
    if max(a.shape[0], b.shape[0]) > 2 * SIDE:
        return _long_dot_in_tiles(a, b)

    def part(first, size):
        return tuple(lax.dynamic_slice_in_dim(z, first, size, axis=1) for z in (a, b))

    found = _long_sum(part, a.shape[1], jnp.zeros((a.shape[0], b.shape[0]), a.dtype))
    return mirrored(found) if b is a else found


def _long_dot_in_tiles(a, b):
    tiles = [-(-z.shape[0] // SIDE) for z in (a, b)]
    sides = [-(-z.shape[0] // count) for z, count in zip((a, b), tiles, strict=True)]

    def at(found, rows):
        def part(first, size):
            each = zip((a, b), rows, sides, strict=True)
            return tuple(lax.dynamic_slice(z, (row, first), (side, size)) for z, row, side in each)

        tile = _long_sum(part, a.shape[1], jnp.zeros(sides, a.dtype))
        return lax.dynamic_update_slice(found, tile, tuple(rows)), None

    starts = [
        [(z.shape[0] - side) * k // max(1, count - 1) for k in range(count)]
        for z, side, count in zip((a, b), sides, tiles, strict=True)
    ]
    rows = [(i, j) for i, j in itertools.product(*starts) if i <= j or b is not a]
    found = lax.scan(at, jnp.zeros((a.shape[0], b.shape[0]), a.dtype), jnp.array(rows))[0]
    return mirrored(found) if b is a else found


def long_gram(rows: Sequence[jax.Array]) -> jax.Array:
    """`long_dot` of a few long vectors with each other, which are never copied into one array."""

    def part(first, size):
        return (jnp.stack([lax.dynamic_slice_in_dim(z, first, size) for z in rows]),) * 2

    return _long_sum(part, rows[0].size, jnp.zeros((len(rows), len(rows)), jnp.result_type(*rows)))


def _long_sum(part, k, zeros):
    """Sum of the products of `part(first, size)` over all k columns."""
    block = BLOCK if zeros.size <= MOST_CELLS else 4 * BLOCK
    least, cells = (max(32, k // (128 * block)), MOST_CELLS) if on_cpu() else (k, 16 * MOST_CELLS)
    at_once = max(1, min(least, cells // zeros.size))
    width = min(k, at_once * block)

    def term(first, size=width):
        x, y = part(first, size)
        return block_dot(x, y, block)

    rest = k % width
    start = term(k - rest, rest) if rest else zeros
    return compensated_sum(term, width * jnp.arange(k // width), start)


def tall_dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a.T @ b` of columns (n, s), (n, t), for many rows n in blocks of them."""
    return dot(a.T, b) if a.shape[0] <= TALL else long_dot(a.T, b.T)


def gram(x: jax.Array) -> jax.Array:
    """Inner products of the rows of `x`, exactly symmetric: (n, d) -> (n, n)."""
    return symmetric(_strips(x.shape[0], lambda a, b: dot(x[a:b], x[a:].T)))


def symmetric(strips: Sequence[jax.Array]) -> jax.Array:
    """Symmetric matrix (n, n) from strips of its rows, each from the diagonal on."""
    return _above(_stacked(strips))


def upper_gram_of_columns(x: jax.Array) -> jax.Array:
    """Inner products of the columns of `x` on and above the diagonal; those below mean nothing: (n, d) -> (d, d)."""
    return _stacked(_strips(x.shape[1], lambda a, b: dot(x[:, a:b].T, x[:, a:])))


def _strips(n, products):
    """Strips of a matrix `(n, n)`: `products(a, b)` of the rows from a to b with the columns from a on.

    In four strips this takes 0.7 of the time of the full product on a CPU.
    """
    strips = min(4, max(1, n // 150))
    cuts = [n * k // strips for k in range(strips + 1)]
    return [products(a, b) for a, b in itertools.pairwise(cuts)]


def _stacked(strips):
    n = strips[0].shape[1]
    return jnp.concatenate([jnp.pad(part, ((0, 0), (n - part.shape[1], 0))) for part in strips])


def mirrored(m: jax.Array) -> jax.Array:
    """The square matrices `(..., n, n)`, symmetric to the last bit: what is below the diagonal is as above it.

    Rows are scattered into a new array, so that `m` is computed once. XLA takes a barrier away before it fuses,
    computes an entry and its mirror apart, and may round them apart.
    """
    rows = jnp.arange(m.shape[-1])
    kept = jnp.zeros_like(m).at[..., rows, :].set(m, unique_indices=True, indices_are_sorted=True)
    return _above(kept)


def _above(m):
    # a select between `m` and its transpose by comparing indices takes XLA's CPU compiler minutes from n = 1000 on
    return jnp.triu(m) + jnp.triu(m, 1).mT


def _by_axis(reduce, x, axis):
    """Mean, largest or smallest over `axis`, axes kept; one axis at a time, as a CPU does not vectorize several."""
    for one in sorted(axis) if isinstance(axis, tuple) else (axis,):
        x = reduce(x, one, keepdims=True)
    return x


def masked_mean(x: jax.Array, axis, where: jax.Array | None) -> jax.Array:
    """Mean over `axis`, axes kept, of the entries where `where` (broadcast against x) is true."""
    if where is None:
        return _by_axis(jnp.mean, x, axis)
    count = jnp.sum(jnp.broadcast_to(where, jnp.broadcast_shapes(x.shape, where.shape)), axis, keepdims=True)
    total = jnp.sum(jnp.where(where, x, 0), axis, keepdims=True)
    return total / jnp.maximum(count, 1).astype(x.dtype)


def power_of_two(v: jax.Array) -> jax.Array:
    """Largest power of two up to each magnitude, 1 for zero: what is divided by it keeps its digits, and its range.

    Parts that square divide by this of their largest value first, so that neither the squares of large features leave
    the range of float32 nor those of small ones vanish. It is a constant to gradients.
    """
    require_floating(v)
    v = jnp.abs(lax.stop_gradient(v))
    integer = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}[v.dtype.itemsize]
    exponent = lax.bitcast_convert_type(jnp.array(jnp.inf, v.dtype), integer)
    power = lax.bitcast_convert_type(lax.bitcast_convert_type(v, integer) & exponent, v.dtype)
    return jnp.where((power > 0) & jnp.isfinite(power), power, 1)


def remove_mean(x: jax.Array, axis, where: jax.Array | None = None) -> jax.Array:
    """`x` less its mean over `axis`; entries outside `where` become zero."""
    return center_and_range(x, axis, where)[0]


def center_and_range(x: jax.Array, axis, where: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """`remove_mean`, and the difference of the largest and the smallest entry, axes kept.

    `near_mean` is subtracted first, by a subtraction that every compiled loop rounds alike, and then the small rest. So
    what is constant over the axis becomes exactly zero, and a division by its deviation does not magnify rounding.
    """
    near, spread = near_mean(x, axis, where)
    x = x - near
    centered = x - masked_mean(x, axis, where)
    return centered if where is None else jnp.where(where, centered, 0), spread


def near_mean(x: jax.Array, axis, where: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """A number within a sixteenth of the range of the mean over `axis`, and the range, axes kept.

    It is a multiple of a power of two, so that whole numbers, labels and counts less it are multiples of one too, and
    their products are exact. It is the number itself where all are the same, and a constant to gradients.
    """
    require_floating(x)
    high = _by_axis(jnp.max, x if where is None else jnp.where(where, x, -jnp.inf), axis)
    low = _by_axis(jnp.min, x if where is None else jnp.where(where, x, jnp.inf), axis)
    step = jnp.maximum(power_of_two(high - low) / 8, jnp.finfo(x.dtype).tiny)
    near = jnp.round(masked_mean(x, axis, where) / step) * step
    return lax.stop_gradient(jnp.where(high != low, near, high)), high - low


def safe_sqrt(s: jax.Array) -> jax.Array:
    """Square root whose gradient at zero is zero instead of infinite."""
    zero = s == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, s)))


def sum_of_squares(v: jax.Array) -> jax.Array:
    """Sum of the squares of all entries, in a tree of short sums.

    One running sum of p equal squares, such as those of a map of zeros and ones, drifts by up to p eps.
    """
    v = v.ravel() ** 2
    while v.size > 1:
        v = jnp.sum(jnp.pad(v, (0, -v.size % 32)).reshape(-1, 32), 1)
    return v[0]
