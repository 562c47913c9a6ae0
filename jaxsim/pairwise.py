"""Distances and kernels between images, f of the duality diagram (DDS 2020, Table 1): (n, d) -> (n, n).

`correlation euclidean squared_euclidean cosine cityblock` are distances (0 on the diagonal, larger is less similar);
`linear rbf laplacian` are kernels (larger is more similar).

Each is a *product*, the one expensive contraction, and a cheap *finish*; those that name the same product share it when
the engine computes them together. `where`, of shape `(d,)`, marks the real columns of features padded with zeros. Any
function `(n, d) -> (n, n)` is a distance or kernel too; its optional capabilities are
`protocols.PairwiseCapabilities`.
"""

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_static
from jaxtyping import Array, Bool, Float

from jaxsim.linalg import (
    dot,
    gram,
    masked_mean,
    near_mean,
    on_cpu,
    power_of_two,
    remove_mean,
    require_floating,
    safe_sqrt,
    symmetric,
)
from jaxsim.protocols import CONSTANT, MARGINS, PRODUCTS, SCALE, SQUARES, Tiling, public_names
from jaxsim.ranks import median

COLUMNS_AT_ONCE = 16
"""Features added to the city-block sums in one pass over them; on a CPU, 4 measured 5 times slower, 8 a quarter, and 32
twice as slow in tiles of 1024 images."""
STRIPS, ROWS = 4, 96
"""Most strips of the city-block sums of a network with itself on a CPU, and fewest rows of one, in multiples of 32."""

SHORTEST = 16
"""Least squared length of an image, as a share 1 / SHORTEST of the largest, for angles from lengths and distances."""

LONGER = 4
"""Largest cancellation allowed, relative to the mean remainder."""

LONE = 4
"""Share 1 / LONE of the images: if fewer make up the variance, the mean lies far from the others, and is no center."""

COPIES = 16
"""Largest rounding between two copies of an image, in eps times their squared lengths; 2 were measured."""
UNIT = 8
"""Largest rounding of the squared length of a direction, in eps."""
ACROSS = 8
"""Largest rounding of a cosine of zero, in eps; 5 were measured. Distances of images that share no feature are 1, and
differences between them would be ranked."""


class _Gram(NamedTuple):
    """X X' as `scale` squared times `products (n, n)`, `scale` a power of two."""

    products: jax.Array
    scale: jax.Array


def _gram(x, where):
    """`_Gram` of features `(n, d)`."""
    scale = power_of_two(jnp.max(jnp.abs(x)))
    return _Gram(gram(x / scale), scale)


class _Geometry(NamedTuple):
    """One network's images as points, from one matrix product.

    Attributes:
        scale: power of two by which all below was divided, `()`.
        x: features `(n, d)`.
        where: real columns `(d,)`, or None.
        products: `(n, n)` inner products of the features less offset and center; they differ from X X' by terms
            a_i + a_j, keep its digits, and are exact for labels, counts and other small whole numbers.
        offset: a number near all features, `()`.
        center: `near_mean` over the images, or where few of them are far from all others one of these, less the offset,
            `(d,)`.
        along: inner product of every centered image with `center`, `(n,)`.
        level: sum of every centered image, `(n,)`.
        twin: `_fingerprint` of every image, `(n,)`.
    """

    scale: jax.Array
    x: jax.Array
    where: jax.Array | None
    products: jax.Array
    offset: jax.Array
    center: jax.Array
    along: jax.Array
    level: jax.Array
    twin: jax.Array


def _geometry(x, where):
    """`_Geometry` of features `(n, d)`."""
    near, spread = near_mean(x, 0)
    # a constant feature may be far larger than all differences, and must stay in range too
    scale = jnp.maximum(power_of_two(jnp.max(spread)), power_of_two(jnp.max(jnp.abs(x[0]))) * 2.0**-40)
    x, near = x / scale, near[0] / scale
    offset = lax.stop_gradient(jnp.round(masked_mean(x[0], 0, where)[0]))
    centered = x - near
    size = jnp.sum(centered * centered, 1)
    inner = lax.stop_gradient(x[jnp.argmin(size)])
    lone = LONE * jnp.sum(size) ** 2 < size.size * jnp.sum(size**2)
    centered = jnp.where(lone, x - inner, centered)
    center = jnp.where(lone, inner, near) - offset
    center = center if where is None else jnp.where(where, center, 0)
    along, level = dot(centered, jnp.stack([center, jnp.ones_like(center)], 1)).T
    return _Geometry(scale, x, where, gram(centered), offset, center, along, level, _fingerprint(x))


def _gap(g: _Geometry, count, rows_centered: bool):
    """1 - cos of all pairs of rows, or 1 - Pearson; NaN for a row that is zero, or constant to within rounding.

    With r = |x_i|, 2 r_i r_j (1 - cos_ij) = |x_i - x_j|^2 - (r_i - r_j)^2, and both differences follow from the
    centered features. Where some image is much shorter than others, or images differ in length more than in angle, that
    would cost digits, and the angles are taken from a product of the unit vectors.
    """
    squared, own = _squared_distances(g.products, g.twin), jnp.diagonal(g.products)
    sum_of_center, apart = jnp.sum(g.center), jnp.zeros_like(squared)
    if rows_centered:
        apart = (g.level[:, None] - g.level[None, :]) ** 2 / count
        squared = jnp.maximum(squared - apart, 0)
        growth = own - g.level**2 / count + 2 * (g.along - g.level * (sum_of_center / count))
        common = jnp.sum(remove_mean(g.center, 0, g.where) ** 2)
    else:
        growth = own + 2 * (g.along + g.offset * g.level)
        common = jnp.sum(g.center**2) + g.offset * (2 * sum_of_center + count * g.offset)
    size = growth + common
    largest, tiny = jnp.maximum(jnp.max(own), common), jnp.finfo(size.dtype).tiny / jnp.finfo(size.dtype).eps
    r = safe_sqrt(jnp.maximum(size, 0))
    total = r[:, None] + r[None, :]
    longer = ((growth[:, None] - growth[None, :]) / jnp.where(total > 0, total, 1)) ** 2
    across = jnp.maximum(squared - longer, 0)
    even = (SHORTEST * jnp.min(size) >= largest) & (jnp.max(longer + apart) <= LONGER * jnp.mean(across))

    def from_lengths():
        scale = 2 * r[:, None] * r[None, :]
        return across / jnp.where(scale > 0, scale, 1)

    def from_directions():
        rows = g.x / power_of_two(jnp.max(jnp.abs(g.x), 1, keepdims=True))
        return _unit_gap_of_centered_rows(rows, g.where) if rows_centered else _unit_gap(rows)

    return _across(lax.cond(even & (jnp.min(size) > tiny) & jnp.isfinite(largest), from_lengths, from_directions))


def _across(gap):
    """Gaps 1 - cos, those of images at right angles exactly 1; gradients stay."""
    rounding = jnp.where(jnp.abs(gap - 1) <= ACROSS * jnp.finfo(gap.dtype).eps, 1 - gap, 0)
    return gap + lax.stop_gradient(rounding)


def _unit_gap(x):
    """1 - cos of all pairs of rows, as half the squared distance of the unit vectors; NaN for a zero row.

    Centering the unit vectors first keeps the digits where all images point one way, and costs some elsewhere.
    """
    unit, zero = _unit_rows(x)
    mean = lax.stop_gradient(jnp.mean(unit, 0))
    one_way = 2 * jnp.sum(mean * mean) > 1
    products = gram(jnp.where(one_way, unit - mean, unit))
    gap = _squared_distances(products, _fingerprint(x), jnp.where(one_way, jnp.diagonal(products), 1)) / 2
    return jnp.where(zero[:, None] | zero[None, :], jnp.nan, gap)


def _unit_rows(x):
    """Rows at length 1, and whether a row is zero, and stays so."""
    norm = safe_sqrt(jnp.sum(x * x, 1))
    zero = norm == 0
    norm = jnp.where(zero, 1, norm)
    # the running sum may be several eps off
    correction = jnp.sqrt(jnp.where(zero, 1, _sizes_near_one(x / norm[:, None])))
    return x / (norm * correction)[:, None], zero


def _sizes_near_one(x):
    """Squared lengths `(n,)` of rows that have about length 1: leading digits, whose sum is exact, and the others."""
    squares, step = x * x, 8 * jnp.finfo(x.dtype).eps
    leading = jnp.round(squares / step) * step
    return jnp.sum(leading, 1) + jnp.sum(squares - leading, 1)


def _unit_gap_of_centered_rows(x, where):
    """1 - Pearson of all pairs of rows; NaN for a row that is constant to within rounding."""
    return _unit_gap(_centered_rows(x, where))


def _centered_rows(x, where=None):
    """Rows at mean 0, zero where they are constant to within rounding."""
    centered = remove_mean(x, 1, None if where is None else where[None])
    size = jnp.sum(x * x, 1, keepdims=True)
    left = jnp.sum(centered * centered, 1, keepdims=True)
    constant = left <= (4 * jnp.finfo(x.dtype).eps) ** 2 * size
    return jnp.where(constant, 0, centered)


def _directions(x):
    """Rows at length 1; NaN for a row of zeros."""
    unit, zero = _unit_rows(x / power_of_two(jnp.max(jnp.abs(x), 1, keepdims=True)))
    return jnp.where(zero[:, None], jnp.nan, unit)


def _centered_directions(x):
    """Rows at mean 0 and length 1; NaN for a row that is constant."""
    return _directions(_centered_rows(x / power_of_two(jnp.max(jnp.abs(x), 1, keepdims=True))))


def _cityblock_sums(x, where):
    """Sums of |x_i - x_j| over the features of all pairs."""
    n = len(x)
    rows = -(-max(ROWS, -(-n // STRIPS)) // 32) * 32 if on_cpu() else n
    return symmetric(_absolute_sums(x, x, [(slice(k, k + rows), slice(k, n)) for k in range(0, n, rows)]))


def _cityblock_between(a, b):
    """Sums of |a_i - b_j| over the features."""
    return _absolute_sums(a, b, [(slice(None), slice(None))])[0]


def _absolute_sums(a, b, parts):
    """Sums of |a_i - b_j| over the features for some rows i and j at a time; NaN for infinity.

    COLUMNS_AT_ONCE features are added in one pass over the sums, so that these stay in cache.
    """
    cpu = on_cpu()
    at_once = min(COLUMNS_AT_ONCE if cpu else 4 * COLUMNS_AT_ONCE, max(1, a.shape[1]))

    def columns(x):
        return jnp.pad(x, ((0, 0), (0, -x.shape[1] % at_once))).T.reshape(-1, at_once, len(x))

    @jax.checkpoint
    def add(totals, block):
        # on a CPU the block is read again without the barrier, element by element, for every entry of the sums; on a
        # GPU each of its columns would be a launch with it
        u, v = lax.optimization_barrier(block) if cpu else block

        def added(total, rows, columns):
            for p, q in zip(u[:, rows], v[:, columns], strict=True):
                total = total + jnp.abs(p[:, None] - q[None, :])
            return total

        return [added(total, *part) for total, part in zip(totals, parts, strict=True)], None

    zeros = jnp.zeros((len(a), len(b)), jnp.result_type(a))
    totals = lax.scan(add, [zeros[part] for part in parts], (columns(a), columns(b)))[0]
    return [jnp.where(jnp.isinf(total), jnp.nan, total) for total in totals]


def _dot_between(a, b):
    """Inner products of the rows of `(m, d)` and `(k, d)`."""
    return dot(a, b.T)


def _squares_between(a, b):
    """Squared distances of the rows of `(m, d)` and `(k, d)`; 0 between copies, whose rounding a root would magnify."""
    return _squares_from_lengths(a, b, jnp.sum(a * a, 1), jnp.sum(b * b, 1))


def _chords_between(a, b):
    """As `_squares_between` of directions, shifted or not; squared lengths within rounding of 1 are exactly 1."""

    def lengths(x):
        size = _sizes_near_one(x)
        return jnp.where(jnp.abs(size - 1) <= UNIT * jnp.finfo(x.dtype).eps, 1, size)

    return _squares_from_lengths(a, b, lengths(a), lengths(b))


def _squares_from_lengths(a, b, first, second):
    return _squares(dot(a, b.T), first, second, _fingerprint(a)[:, None] == _fingerprint(b)[None])


def _plain(quantity, width, level, invariance):
    return quantity


def _half(quantity, width, level, invariance):
    return _across(quantity / 2)


def _root(quantity, width, level, invariance):
    return safe_sqrt(quantity)


def _exponential(exponent, typical, invariance):
    """exp, less 1 where a constant does not matter and similar images differ beyond the digits of 1."""
    if invariance < CONSTANT:
        return jnp.exp(exponent)
    return jnp.where(typical > -0.5, jnp.expm1(exponent), jnp.exp(exponent))


def _fingerprint(x):
    """A number for every row `(n, d) -> (n,)`, the same for rows that are the same."""
    integer = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}[x.dtype.itemsize]
    bits = lax.bitcast_convert_type(lax.stop_gradient(jnp.where(x == 0, 0, x)), integer).astype(jnp.int32)
    odd = (2 * lax.iota(jnp.int32, x.shape[1]) + 1) * jnp.int32(-1640531535)
    return jnp.sum(bits * odd, 1, dtype=jnp.int32)


def _squared_distances(g, twin, size=None):
    """Squared distances of rows from their products, fingerprints and, unless on the diagonal, squared lengths."""
    size = jnp.diagonal(g) if size is None else size
    squared = _squares(g, size, size, twin[:, None] == twin[None, :])
    return jnp.where(jnp.eye(g.shape[0], dtype=bool), 0 * jnp.diagonal(g), squared)


def _squares(products, first, second, twins):
    """Squared distances from products and squared lengths.

    Rounding, whose root would be 3e-4 of the size, stays between copies of an image, as blocks of a product round
    apart, and on the diagonal, by fused multiply-adds. It is taken away; NaN stays.
    """
    total = first[:, None] + second[None]
    squared = jnp.maximum(total - 2 * products, 0)
    return jnp.where(twins & (squared <= COPIES * jnp.finfo(total.dtype).eps * total), 0 * total, squared)


def _width(x, where=None):
    return jnp.asarray(x.shape[1] if where is None else jnp.sum(where), jnp.result_type(x))


def _products(product, width):
    return product.products


def _scaled_squares(product, width):
    return _squared_distances(product.products, product.twin)


def _finish_product(self, x: Float[Array, "n d"], where: Bool[Array, " d"] | None = None) -> Float[Array, "n n"]:
    """`(n, d) -> (n, n)`."""
    require_floating(x)
    return self.finish(self.product(x, where), _width(x, where))


def _require_positive(name, value):
    if not 0 < value < math.inf:
        raise ValueError(f"{name} of a kernel must be a positive number, not {value!r}.")


def _stable_exponential(self, invariance):
    """The kernel less 1 where a constant does not matter: similar images differ beyond the digits of 1."""

    def finish(product, width):
        exponent = self.exponent(product, width)
        return _exponential(exponent, jnp.mean(exponent), invariance)

    return self.product, finish


@register_static
@dataclasses.dataclass(frozen=True)
class Linear:
    """Linear kernel x_i . x_j."""

    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    inner_product: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_gram)
    tiling: ClassVar[Tiling] = Tiling(_dot_between, _plain, shifts_from=MARGINS, multiple_of=PRODUCTS)
    __call__ = _finish_product

    def finish(self, product, width):
        """The product itself."""
        return product.products * product.scale * product.scale

    def stable(self, invariance):
        """Product of features that are centered first, where terms a_i + a_j do not matter."""
        product = _geometry if invariance >= MARGINS else self.product
        return product, (_products if invariance >= SCALE else self.finish)


@register_static
@dataclasses.dataclass(frozen=True)
class Euclidean:
    """Euclidean distance |x_i - x_j|, not squared."""

    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_geometry)
    tiling: ClassVar[Tiling] = Tiling(_squares_between, _root)
    __call__ = _finish_product

    def finish(self, product, width):
        """Root of the squared distances."""
        return safe_sqrt(_squared_distances(product.products, product.twin)) * product.scale


@register_static
@dataclasses.dataclass(frozen=True)
class SquaredEuclidean:
    """Squared Euclidean distance |x_i - x_j|^2."""

    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_geometry)
    tiling: ClassVar[Tiling] = Tiling(_squares_between, _plain, multiple_of=SQUARES)
    __call__ = _finish_product

    def finish(self, product, width):
        """The squared distances."""
        return _squared_distances(product.products, product.twin) * product.scale * product.scale

    def stable(self, invariance):
        """Distances of features of common size, where scale does not matter."""
        return self.product, (_scaled_squares if invariance >= SCALE else self.finish)


@register_static
@dataclasses.dataclass(frozen=True)
class Rbf:
    """RBF kernel exp(-s_ij / (2 fraction^2 median(s))), s the squared Euclidean distances.

    The median runs over all n^2 entries, zeros of the diagonal included (Kornblith et al. 2019; DDS 2020 with
    fraction 0.5). Identical images everywhere make the median zero and the map NaN.

    Raises:
        ValueError: the fraction is not a positive number.
    """

    fraction: float = 0.5
    accepts_padding: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_geometry)
    __call__ = _finish_product
    stable = _stable_exponential

    def __post_init__(self):
        _require_positive("fraction", self.fraction)

    @property
    def tiling(self) -> Tiling:
        """Blocks of the kernel."""

        def entries(squared, width, level, invariance):
            scale = 2 * self.fraction**2 * jnp.where(level > 0, level, jnp.nan)
            return _exponential(-squared / scale, -level / scale, invariance)

        return Tiling(_squares_between, entries, median=True)

    def exponent(self, product, width):
        """-s / (2 fraction^2 median(s))."""
        s = _squared_distances(product.products, product.twin)
        middle = median(s)
        return -s / (2 * self.fraction**2 * jnp.where(middle > 0, middle, jnp.nan))

    def finish(self, product, width):
        """exp(exponent)."""
        return jnp.exp(self.exponent(product, width))

    def why_undefined(self, x):
        """Words on a median distance of zero."""
        same = sum(count**2 for count in collections.Counter(row.tobytes() for row in x + 0).values())
        share = (same - len(x)) / (len(x) ** 2 - len(x))
        text = f"the median distance of its images is zero, as {share:.0%} of their pairs are identical"
        return text if 2 * same > len(x) ** 2 else ""


@register_static
@dataclasses.dataclass(frozen=True)
class Laplacian:
    """Laplacian kernel exp(-gamma |x_i - x_j|_1), gamma = 1/d unless given (DDS 2020, Table 1).

    Raises:
        ValueError: gamma is not a positive number.
    """

    gamma: float | None = None
    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_cityblock_sums)
    __call__ = _finish_product
    stable = _stable_exponential

    def __post_init__(self):
        if self.gamma is not None:
            _require_positive("gamma", self.gamma)

    @property
    def tiling(self) -> Tiling:
        """Blocks of the kernel."""

        def entries(sums, width, level, invariance):
            return _exponential(self.exponent(sums, width), self.exponent(level, width), invariance)

        return Tiling(_cityblock_between, entries)

    def exponent(self, product, width):
        """-gamma |x_i - x_j|_1."""
        return -product / width if self.gamma is None else -self.gamma * product

    def finish(self, product, width):
        """exp(exponent)."""
        return jnp.exp(self.exponent(product, width))


@register_static
@dataclasses.dataclass(frozen=True)
class Cityblock:
    """City-block distance |x_i - x_j|_1."""

    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_cityblock_sums)
    tiling: ClassVar[Tiling] = Tiling(_cityblock_between, _plain)
    __call__ = _finish_product

    def finish(self, product, width):
        """The sums themselves."""
        return product


@register_static
@dataclasses.dataclass(frozen=True)
class Cosine:
    """Cosine distance 1 - x_i . x_j / (|x_i| |x_j|); NaN for an image whose features are all zero."""

    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_geometry)
    tiling: ClassVar[Tiling] = Tiling(_chords_between, _half, _directions, multiple_of=SQUARES)
    __call__ = _finish_product

    def finish(self, product, width):
        """Gap of the rows."""
        return _gap(product, width, rows_centered=False)

    def why_undefined(self, x):
        """Words on images whose features are all zero."""
        zero = int((x == 0).all(1).sum())
        return f"its features are all zero in {zero} of {len(x)} images" if zero else ""


@register_static
@dataclasses.dataclass(frozen=True)
class Correlation:
    """Correlation distance 1 - r of the features of two images; NaN for an image whose features are constant."""

    accepts_padding: ClassVar[bool] = True
    by_pair: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True
    ignores_number: ClassVar[bool] = True
    product: ClassVar[Callable] = staticmethod(_geometry)
    tiling: ClassVar[Tiling] = Tiling(_chords_between, _half, _centered_directions, multiple_of=SQUARES)
    __call__ = _finish_product

    def finish(self, product, width):
        """Gap of the centered rows."""
        return _gap(product, width, rows_centered=True)

    def why_undefined(self, x):
        """Words on images whose features are constant."""
        wide, eps = x.astype(float), float(jnp.finfo(x.dtype).eps)
        left = ((wide - wide.mean(1, keepdims=True)) ** 2).sum(1)
        constant = int((left <= (4 * eps) ** 2 * (wide**2).sum(1)).sum())
        return f"its features are constant in {constant} of {len(x)} images" if constant else ""


linear = Linear()
rbf = Rbf()
laplacian = Laplacian()
correlation = Correlation()
euclidean = Euclidean()
squared_euclidean = SquaredEuclidean()
cosine = Cosine()
cityblock = Cityblock()

__all__ = public_names(globals())


def __dir__():
    return __all__
