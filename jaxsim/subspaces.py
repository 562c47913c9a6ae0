"""Canonical correlations of the subspaces that networks span over n images: CCA (Hotelling 1936) and SVCCA.

`principal_coordinates` decomposes a network once, X = U S V' for centered features X, into coordinates U S of its
images. The comparators keep leading columns of U: `canonical_correlation` and `squared_canonical_correlation` keep all
of them, `leading_canonical_correlation` keeps those with .99 of the variance (Raghu et al. 2017). The canonical
correlations of two networks are then the singular values of U_x' U_y.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_static
from jaxtyping import Array, Bool, Float

from jaxsim.linalg import BLOCK, dot, long_dot, mirrored, power_of_two, remove_mean, sum_of_squares, tree_sum
from jaxsim.protocols import SCALE, public_names

NARROWER = 0.75
"""Ratio of the widths used to compare pairs of subspaces; each pair uses the smallest width that fits both."""
NARROWEST = 16
"""Number of dimensions up to which narrower products save nothing."""


@register_static
@dataclasses.dataclass(frozen=True)
class PrincipalCoordinates:
    """Coordinates U S of the images along the principal directions of centered features X = U S V'.

    Columns are in order of variance, and their inner products are those of the centered features. Directions whose
    singular value is at most max(n, d) eps of the largest are rounding and set to zero, as in
    `numpy.linalg.matrix_rank`.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> z = js.subspaces.principal_coordinates(jnp.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
    >>> z.shape, jnp.abs(z).round(3).tolist()
    ((3, 2), [[2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    """

    accepts_padding: ClassVar[bool] = True
    coordinates: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n d"], where: Bool[Array, " d"] | None = None) -> Float[Array, "n m"]:
        """`(n, d) -> (n, m)`, with m the smaller of n and d."""
        return self.finish(self.product(x, where), None)

    @staticmethod
    def product(x, where):
        """The coordinates, which all comparators share."""
        return _coordinates(remove_mean(x, 0))

    def finish(self, product, width):
        """The coordinates themselves."""
        return product


@jax.custom_jvp
def _coordinates(x):
    """U S of `(n, d)`; NaN if a feature is not finite."""
    n, d = x.shape
    size, finite = power_of_two(jnp.max(jnp.abs(x))), jnp.isfinite(x).all()
    # decompositions of NaN may never finish
    x = jnp.where(finite, x / size, 0)
    if n < d:
        # has the same inner products, without the squares of a Gram matrix
        x = jnp.linalg.qr(x.T, mode="r").T
    u, s, _ = jnp.linalg.svd(x, full_matrices=False)
    s = jnp.where(s > max(n, d) * jnp.finfo(x.dtype).eps * s[0], s, 0)
    return jnp.where(finite, u * s * size, jnp.nan)


@_coordinates.defjvp
def _slope_of_coordinates(primals, tangents):
    """Slope dX V: to first order, coordinates along fixed directions have the inner products of the features.

    The rotation within the coordinates, which no comparator sees, is left out, since it is infinite at equal variances.
    """
    (x,), (dx,) = primals, tangents
    z = _coordinates(x)
    size = power_of_two(jnp.max(jnp.abs(x)))
    shares = z / size
    v = dot((x / size).T, shares * _inverse(jnp.sum(shares**2, 0)))
    return z, dot(dx, v)


def _inverse(v):
    """1 / v, or 0 for zero."""
    return jnp.where(v == 0, 0, 1 / jnp.where(v == 0, 1, v))


def _column_squares(z):
    """Column sums of squares, in short partial sums: a sum of n equal squares, as of images in classes, drifts."""
    rows = jnp.pad(z, ((0, -z.shape[0] % BLOCK), (0, 0))).reshape(-1, BLOCK, z.shape[1])
    return tree_sum(jnp.sum(rows**2, 1))


def _kept(variance, fraction):
    """The fewest leading directions with that fraction of the variance, marked true in `(m,)`."""
    rest = jnp.cumsum(variance[::-1])[::-1]  # sum of a direction and all smaller ones, which rounding leaves intact
    return (rest > (1 - fraction) * rest[0]) & (variance > 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _leading(z, fraction):
    """Leading principal directions scaled to length 1, zeros for the others; NaN if there are none."""
    variance = _column_squares(z)
    kept = _kept(variance, fraction)
    unit = jnp.where(kept, z / jnp.sqrt(jnp.where(kept, variance, 1)), 0)
    return jnp.where(kept.any(), unit, jnp.nan)


@_leading.defjvp
def _slope_of_leading(fraction, primals, tangents):
    """Turn of the kept directions toward the others; no score sees a turn among the kept directions."""
    (z,), (dz,) = primals, tangents
    variance = jnp.sum(z**2, 0)
    kept, length = _kept(variance, fraction), jnp.sqrt(variance)
    u = z * _inverse(length)
    b = dz * length
    c = dot(u.T, b)
    outside = (b - dot(u, c)) * jnp.where(kept, _inverse(variance), 0)
    gap = variance[None, :] - variance[:, None]
    turned = (~kept & (variance > 0))[:, None] & kept[None, :]
    return _leading(z, fraction), outside + dot(u, (c + c.T) * jnp.where(turned, _inverse(gap), 0))


@jax.custom_jvp
def _sum_of_singular_values(a):
    return jnp.sum(jnp.linalg.svd(a, compute_uv=False))


@_sum_of_singular_values.defjvp
def _slope_of_sum(primals, tangents):
    """The inner product with U V', at full precision; zeros, such as the columns after a subspace, are ignored."""
    (a,), (da,) = primals, tangents
    u, s, v = jnp.linalg.svd(a, full_matrices=False)
    return jnp.sum(s), jnp.sum(dot(jnp.where(s > 8 * jnp.finfo(s.dtype).eps, u, 0), v) * da)


@register_static
@dataclasses.dataclass(frozen=True)
class CanonicalCorrelation:
    """Mean canonical correlation of the leading principal directions of two networks.

    Attributes:
        fraction: share of the variance that the leading directions keep, in (0, 1]; CCA keeps all of it.
        squared: use the mean of the squared correlations.

    Raises:
        ValueError: the fraction is not in (0, 1].

    >>> import jax.numpy as jnp, jaxsim as js
    >>> x = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0], [5.0, 4.0], [2.0, 2.0]])
    >>> a, b = (js.subspaces.principal_coordinates(f) for f in (x, x[:, :1] - x[:, 1:]))
    >>> round(float(js.subspaces.canonical_correlation(a, b)), 5)
    1.0
    """

    fraction: float = 1.0
    squared: bool = False
    coordinates: ClassVar[bool] = True
    reads_diagonal: ClassVar[bool] = True
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = SCALE
    why_undefined: ClassVar[str] = "its features span no subspace"

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is a share of the variance in (0, 1], not {self.fraction!r}.")

    def __call__(self, a: Float[Array, "n m"], b: Float[Array, "n k"]) -> Float[Array, ""]:
        """`(n, m), (n, k) -> ()`."""
        return self.scores(self.embed(a)[None], self.embed(b)[None])[0, 0]

    def embed(self, m):
        """Orthonormal columns `(n, m)` of the subspace, zeros after its dimensions."""
        return _leading(self.prepare(m), self.fraction)

    def prepare(self, m):
        """The coordinates, scaled so that their squares stay in range."""
        return m / power_of_two(jnp.max(jnp.abs(m)))

    def dimensions(self, m):
        """Number of dimensions of the subspace."""
        return jnp.sum(_kept(jnp.sum(self.prepare(m) ** 2, 0), self.fraction))

    def permuted(self, order):
        """Index into the rows."""
        return order

    def scores(self, x, y):
        """`(S, T)` from `embed`ded networks `(S, n, m)` and `(T, n, k)`; `y` None means those of x."""
        s, t = jnp.indices((len(x), len(y))).reshape(2, -1) if y is not None else jnp.triu_indices(len(x))
        right = x if y is None else y
        size_x, size_y = (jnp.round(lax.stop_gradient(jnp.sum(q**2, (1, 2)))) for q in (x, right))
        widths = _widths(max(x.shape[2], right.shape[2]))

        def product_at(width):
            # the zeros after a subspace have singular values of zero
            return lambda a, b: self._sum(long_dot(a[:, :width].T, b[:, :width].T))

        def one(pair):
            i, j = pair
            a, b = size_x[i], size_y[j]
            there = jnp.isfinite(a + b)
            both = (jnp.where(there, q[k], 0) for q, k in ((x, i), (right, j)))
            place = jnp.sum(jnp.array(widths[:-1]) < jnp.where(there, jnp.maximum(a, b), 0))
            total = lax.switch(place, [product_at(w) for w in widths], *both)
            return jnp.where(there, total / jnp.minimum(a, b), jnp.nan)

        found = jnp.zeros((len(x), len(right)), x.dtype).at[s, t].set(lax.map(one, (s, t)))
        return mirrored(found) if y is None else found

    def _sum(self, cosines):
        return sum_of_squares(cosines) if self.squared else _sum_of_singular_values(cosines)

    def weighted(self, x, y, w):
        """`(b, S, T)`: the subspaces found again under every weighting, as if images were repeated."""

        def lane(weights):
            share = weights / jnp.sum(weights)

            def subspace(z):
                z = z - jnp.sum(share[:, None] * z, 0)
                return self.embed(_coordinates(jnp.sqrt(weights)[:, None] * z))

            a, b = (None if z is None else lax.map(subspace, z) for z in (x, y))
            return jnp.where(jnp.sum(weights > 0) < self.min_images, jnp.nan, self.scores(a, b))

        return lax.map(lane, w.T)


def _widths(most: int) -> list[int]:
    """Ascending widths up to `most`."""
    found: list[int] = [most]
    while found[-1] > NARROWEST:
        found.append(int(NARROWER * found[-1]))
    return found[::-1]


principal_coordinates = PrincipalCoordinates()
canonical_correlation = CanonicalCorrelation()
squared_canonical_correlation = CanonicalCorrelation(squared=True)
leading_canonical_correlation = CanonicalCorrelation(fraction=0.99)

__all__ = public_names(globals())


def __dir__():
    return __all__
