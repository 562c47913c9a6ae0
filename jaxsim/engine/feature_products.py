"""Inner products of centered maps that are products or squared distances of points, from products of features."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.casts import ROW
from jaxsim.engine.map_blocks import squared_lengths, tiling
from jaxsim.engine.row_blocks import RowBlocks
from jaxsim.engine.tile_products import Products
from jaxsim.linalg import dot, upper_gram_of_columns
from jaxsim.measures import Measure
from jaxsim.protocols import CONSTANT, PRODUCTS, SQUARES, ComparatorCapabilities, declared

ROUNDING = 8
"""Length of points less their mean, in eps times that of the mean, up to which it is rounding."""
CENTERED = 4
"""Largest length of the mean of points, in units of eps times theirs, that is rounding."""
SLOPES = {PRODUCTS: 1.0, SQUARES: -2.0}
"""Of inner products of points x + m, x'y + x'm + y'm + m'm, and of their squared distances, x'x + y'y - 2 x'y."""


class _Points(NamedTuple):
    """Points of one network less their mean, block by block.

    Attributes:
        measure: whose map is a multiple of their products or squared distances.
        features: that they are made of.
        mean: of the points in float64, `(d,)`.
    """

    measure: Measure
    features: RowBlocks
    mean: np.ndarray

    def blocks(self) -> Iterator[jax.Array]:
        """All blocks in order."""
        mean = self.mean.astype(self.features.dtype)
        rest = (self.mean - mean).astype(self.features.dtype)
        return (_less_mean(self.measure, x, mean, rest) for x in self.features.blocks())

    def reordered(self, order: np.ndarray) -> "_Points":
        """The same of the images in another order."""
        return self._replace(features=self.features.reordered(order))


@jax.jit
def _less_mean(measure, x, mean, rest):
    """Points less a mean in two parts, of which the second has the digits that the first lacks."""
    return tiling(measure).points(x) - mean - rest


class _Sums(NamedTuple):
    """Maps with entries a_i + a_j + slope k_ij, k_ij the inner products of points of mean 0.

    Attributes:
        a: terms of each map, margins removed, `(T, n)`.
        own: inner products k_ii of each point with itself, `(T, n)`.
        slope: of all maps.
        reads: whether entries of an image with itself count.
    """

    a: np.ndarray
    own: np.ndarray
    slope: float
    reads: bool

    @classmethod
    def of(cls, measure: Measure, terms: np.ndarray, own: np.ndarray) -> "_Sums":
        """Of the terms before margins are removed."""
        comparator: Any = declared(measure.compare, ComparatorCapabilities)
        n, slope, reads = own.shape[1], SLOPES[tiling(measure).multiple_of], comparator.reads_diagonal
        # sums over the rows of the maps; those of k are zero, but for what the diagonal has
        rows = terms.sum(1, keepdims=True) + (n * terms if reads else (n - 2) * terms - slope * own)
        margins = np.stack([comparator.margins(r, n) for r in rows])
        return cls(terms - margins, own, slope, reads)

    def products(self, other: "_Sums", squares: np.ndarray) -> np.ndarray:
        """Inner products `(S, T)` of maps with others, from the sums over all i and j of k_ij l_ij."""
        a, b, n = self.a, other.a, self.a.shape[1]
        found = self.slope**2 * squares + 2 * np.outer(a.sum(1), b.sum(1))
        if self.reads:
            return found + 2 * n * np.matmul(a, b.T)
        k, h = self.own, other.own
        crossed = np.matmul(a, h.T) + np.matmul(k, b.T)
        return found + 2 * (n - 2) * np.matmul(a, b.T) - 2 * self.slope * crossed - self.slope**2 * np.matmul(k, h.T)

    def parts(self, squares: np.ndarray) -> np.ndarray:
        """Magnitudes `(T,)` that the products of maps with themselves are added up from."""
        return self.slope**2 * squares + 2 * self.a.shape[1] * (self.a**2).sum(1)

    def __getitem__(self, chosen: Any) -> "_Sums":
        """Of some networks and images."""
        return self._replace(a=self.a[chosen], own=self.own[chosen])


def _terms(points, x, own):
    """The a of a_i + a_j + slope k_ij of some rows."""
    if tiling(points.measure).multiple_of == SQUARES:
        return own
    m = points.mean
    return np.asarray(_against(x, jnp.asarray(m, x.dtype)), np.float64) + (m**2).sum() / 2


def applies(measure: Measure) -> bool:
    """Whether `products` takes the measure."""
    made, own = tiling(measure), declared(measure.compare, ComparatorCapabilities)
    return made is not None and made.multiple_of is not None and own.margins is not None


def products(measure: Measure, networks: Sequence[RowBlocks]) -> Products:
    """The products of maps that are inner products or squared distances of points, from X'Y.

    One pass over the features finds the products of their columns, after one for their means if those are not zero.
    """
    found = Products(len(networks))
    points, (cross, terms, own, _) = _centered(measure, networks)
    squares = _by_network(cross, networks, networks)
    rounding = [_are_rounding(*one) for one in zip(points, own.mean(1), strict=True)]
    # each map at length 1 first, so that products stay in range
    size = np.where(np.diagonal(squares) > 0, np.diagonal(squares), 1) ** 0.25
    terms, own = terms / size[:, None] ** 2, own / size[:, None] ** 2
    sums = _Sums.of(measure, terms, own)
    squares /= np.outer(size, size) ** 2
    found.parts, found.centered = sums.parts(np.diagonal(squares)), sums.products(sums, squares)
    # of the maps before their margins go, of which rounding takes a share
    found.plain = found.parts + 2 * len(terms[0]) * (terms**2).sum(1) + 2 * terms.sum(1) ** 2
    found.plain[rounding] = np.inf

    def reordered(rows, columns, order):
        x, y = points[rows], [one.reordered(order) for one in points[columns]]
        sides = (zip(*(one.blocks() for one in side), strict=True) for side in (x, y))
        cross = sum(np.asarray(_cross(a, b), np.float64) for a, b in zip(*sides, strict=True))
        squares = _by_network(cross, networks[rows], networks[columns]) / np.outer(size[rows], size[columns]) ** 2
        return sums[rows].products(sums[columns][:, order], squares)

    found.reordered = reordered
    return found


class _Columns(NamedTuple):
    """What one pass over the points of all networks finds.

    Attributes:
        cross: X'X of all networks side by side, `(D, D)`.
        terms: the a of the entries of each map, `(T, n)`.
        own: squared lengths of the points, `(T, n)`.
        means: of the points of each network.
    """

    cross: np.ndarray
    terms: np.ndarray
    own: np.ndarray
    means: list[np.ndarray]


def _columns(points):
    """`_Columns` of these points."""
    networks = [one.features for one in points]
    n, width = networks[0].x.shape[0], sum(one.width for one in networks)
    cross, means = np.zeros((width, width)), [np.zeros(one.width) for one in networks]
    terms, own = np.zeros((2, len(networks), n))
    for k, blocks in enumerate(zip(*(one.blocks() for one in points), strict=True)):
        found = _upper_gram(blocks)
        for t, x in enumerate(blocks):
            rows = networks[t].rows(k)
            own[t, rows] = squared_lengths(x)
            terms[t, rows] = _terms(points[t], x, own[t, rows])
            means[t] += _column_sums(x) / n
        cross += np.asarray(found)
    for k in range(1, width):
        cross[k, :k] = cross[:k, k]
    return _Columns(cross, terms, own, means)


def _centered(measure, networks):
    """Points of mean 0, and their `_Columns`; a pass over the features more where nothing centered them before."""
    points = [_Points(measure, one, np.zeros(one.width)) for one in networks]
    if measure.freedom.shift == ROW:
        found = _columns(points)
        sizes = zip(found.means, found.own.mean(1), networks, strict=True)
        if not any((m**2).sum() > (CENTERED * jnp.finfo(one.dtype).eps) ** 2 * length for m, length, one in sizes):
            return points, found
        means = found.means
    else:
        means = [_mean(one) for one in points]
    points = [one._replace(mean=m) for one, m in zip(points, means, strict=True)]
    return points, _columns(points)


def _are_rounding(points, length):
    """Whether points of that mean squared length, and nothing beside, are what rounding leaves of their mean."""
    kept = declared(points.measure.compare, ComparatorCapabilities).invariance < CONSTANT
    if kept and tiling(points.measure).multiple_of == PRODUCTS:
        return False  # products of the mean count
    return length <= (ROUNDING * jnp.finfo(points.features.dtype).eps) ** 2 * (points.mean**2).sum()


def _mean(points):
    return sum(_column_sums(x) for x in points.blocks()) / points.features.x.shape[0]


def _column_sums(x):
    """Sums over the rows of a block in float64, of what all differ from the first by."""
    first, rest = (np.asarray(one, np.float64) for one in _from_the_first(x))
    return len(x) * first + rest


@jax.jit
def _from_the_first(x):
    return x[0], jnp.sum(x - x[0], 0)


@jax.jit
def _upper_gram(blocks):
    return upper_gram_of_columns(jnp.concatenate(blocks, 1))


@jax.jit
def _cross(a, b):
    return dot(jnp.concatenate(a, 1).T, jnp.concatenate(b, 1))


_against = jax.jit(dot)


def _by_network(cross, rows, columns):
    """Sums of the squares of X'Y over the features of every two networks."""
    first, second = (np.cumsum([0, *(one.width for one in side[:-1])]) for side in (rows, columns))
    return np.add.reduceat(np.add.reduceat(cross**2, first, 0), second, 1)


def shares(measure: Measure, features: RowBlocks) -> np.ndarray:
    """Squared length of each row of the map less its margins, from X'X."""
    (points,), (cross, terms, own, _) = _centered(measure, [features])
    sums = _Sums.of(measure, terms, own)
    (a,), n = sums.a, len(own[0])
    along = np.zeros(features.width)
    for k, x in enumerate(points.blocks()):
        along += np.asarray(_against(jnp.asarray(a[features.rows(k)], x.dtype), x), np.float64)
    found = n * a**2 + (a**2).sum() + 2 * a * a.sum()
    inner, along = (jnp.asarray(one, features.dtype) for one in (cross, along))
    for k, x in enumerate(points.blocks()):
        squares, crossed = (np.asarray(one, np.float64) for one in _squared_rows(x, inner, along))
        found[features.rows(k)] += sums.slope**2 * squares + 2 * sums.slope * crossed
    return found if sums.reads else found - (2 * a + sums.slope * own[0]) ** 2


@jax.jit
def _squared_rows(x, inner, along):
    return jnp.sum(dot(x, inner) * x, 1), dot(x, along)
