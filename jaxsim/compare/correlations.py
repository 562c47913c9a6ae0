"""Pearson correlation and cosine of the upper triangles."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax.tree_util import register_static

from jaxsim.compare.embedded import OfTriangles, centered_unit, kept, unit
from jaxsim.compare.triangles import condensed, pair_weights
from jaxsim.compare.weighted import weighted_cosine
from jaxsim.linalg import long_dot
from jaxsim.protocols import CONSTANT, SCALE


@register_static
@dataclasses.dataclass(frozen=True)
class Pearson(OfTriangles):
    """Pearson correlation of the upper triangles; a similarity.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = jnp.abs(jnp.arange(4.0)[:, None] - jnp.arange(4.0))
    >>> round(float(js.compare.pearson(m, 2 * m + 1)), 5)
    1.0
    """

    invariance: ClassVar[int] = CONSTANT
    why_undefined: ClassVar[str] = "its map is constant"

    def margins(self, sums, n):
        """Half the mean over all pairs."""
        return 0 * sums + sums.sum() / (2 * n * (n - 1))

    def embed(self, m):
        """Upper triangle with mean 0 and length 1."""
        return centered_unit(condensed(m))

    def embed_pairs(self, v, where):
        """The entries that count, with mean 0 and length 1."""
        return centered_unit(v, where)

    def weighted(self, x, y, w):
        """`(b, S, T)` with pair weights w_i w_j."""
        weights = pair_weights(w)
        weights = weights / jnp.sum(weights, 0)
        parts = [None if z is None else (z, long_dot(z, weights.T)) for z in (x, y)]
        return weighted_cosine(parts, weights, lambda a, b: a * b, w, self.min_images)


@register_static
@dataclasses.dataclass(frozen=True)
class Cosine(OfTriangles):
    """Cosine of the upper triangles without centering; a similarity."""

    invariance: ClassVar[int] = SCALE
    why_undefined: ClassVar[str] = "its map is zero"

    def margins(self, sums, n):
        """Zero, because nothing is subtracted."""
        return 0 * sums

    def embed(self, m):
        """Upper triangle scaled to length 1."""
        v = condensed(m)
        return unit(v, v)

    def embed_pairs(self, v, where):
        """The entries that count, scaled to length 1."""
        v = kept(v, where)
        return unit(v, v)

    def weighted(self, x, y, w):
        """`(b, S, T)` with pair weights w_i w_j."""
        parts = [None if z is None else (z, ()) for z in (x, y)]
        return weighted_cosine(parts, pair_weights(w), lambda a, b: 0, w, self.min_images)
