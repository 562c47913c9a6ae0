"""Cosines of centered maps: CKA's comparators, unbiased and biased."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.tree_util import register_static

from jaxsim import centering
from jaxsim.compare.embedded import OfTriangles, compare_embedded, normalize, unit
from jaxsim.compare.triangles import condensed, pair_weights
from jaxsim.compare.weighted import weighted_cosine
from jaxsim.linalg import dot, long_dot, safe_sqrt
from jaxsim.protocols import MARGINS


@register_static
@dataclasses.dataclass(frozen=True)
class UCenteredCosine(OfTriangles):
    """Cosine of the U-centered maps over the off-diagonal entries; equal to their Pearson correlation there.

    This is the unbiased comparator of DDS 2020 (section 4) and of unbiased CKA. It may be negative. Needs n >= 4
    images.
    """

    min_images: ClassVar[int] = 4
    invariance: ClassVar[int] = MARGINS
    why_undefined: ClassVar[str] = "its map is a sum of terms a_i + a_j, which centering removes"

    def margins(self, sums, n):
        """`centering.margins` under equal weights."""
        return (sums - sums.sum() / (2 * n - 2)) / (n - 2)

    def embed(self, m):
        """U-centered upper triangle scaled to length 1."""
        return unit(self.summable(m), condensed(m))

    def summable(self, m):
        """U-centered upper triangle; the inner product of two is n (n - 3) / 2 times the unbiased HSIC."""
        return condensed(centering.unbiased(m))

    def embed_between(self, m, group, count):
        """Entries of different groups, centered without bias for new groups and scaled to length 1."""
        return unit(condensed(centering.between(m, group, count)), condensed(m))

    def prepare(self, m):
        """U-centered map scaled to length 1; the weighted fit removes the margins that the weights bring back."""
        centered = centering.unbiased(m)
        return unit(centered, centering.off_diagonal(m))

    def weighted(self, x, y, w):
        """`(b, S, T)`: sum of w_i w_j K_ij L_ij minus 2 sum of w_i a_i s_i, with a the margins of K and s = L w."""

        def parts(maps):
            rows = dot(maps, w)
            return jax.vmap(condensed)(maps), (jax.vmap(centering.fit_margins, (0, None))(rows, w), rows)

        def removed(a, b):
            return jnp.sum(w * a[0] * b[1], 1)

        both = [None if z is None else parts(z) for z in (x, y)]
        return weighted_cosine(both, pair_weights(w), removed, w, self.min_images)

    def from_features(self, products, k, h):
        """|X'Y|^2 - n / (n - 2) k . h + sum(k) sum(h) / ((n - 1) (n - 2)): Song et al. 2012, zero column sums."""
        n = k.shape[1]
        pairs = float((n - 1) * (n - 2))  # may exceed a device's integers
        margins = jnp.sum(k, 1)[:, None] * jnp.sum(h, 1)[None] / pairs
        return products - n / (n - 2) * long_dot(k, h) + margins


@register_static
@dataclasses.dataclass(frozen=True)
class CenteredCosine:
    """Cosine of the biased-centered maps over all entries, including the diagonal: biased CKA (Kornblith et al. 2019).

    Attributes:
        root: take the square root, which is NaN for scores below zero by more than rounding. This is distance
            correlation if the maps are Euclidean distances (Szekely, Rizzo and Bakirov 2007, definition 3).
    """

    root: bool = False
    min_images: ClassVar[int] = 3
    invariance: ClassVar[int] = MARGINS
    why_undefined: ClassVar[str] = "its map is a sum of terms a_i + a_j, which centering removes"
    reads_diagonal: ClassVar[bool] = True
    __call__ = compare_embedded
    embed_pooled = staticmethod(normalize)
    debiased: ClassVar[UCenteredCosine] = UCenteredCosine()

    def margins(self, sums, n):
        """Row means minus half the overall mean."""
        return sums / n - sums.sum() / (2 * n**2)

    def embed(self, m):
        """H m H scaled to length 1, flattened."""
        return self.prepare(m).ravel()

    def prepare(self, m):
        """H m H scaled to length 1."""
        return unit(centering.biased(m), m)

    def finish(self, score):
        """Score from the inner product of embedded maps."""
        if not self.root:
            return score
        rounding = 8 * jnp.finfo(score.dtype).eps
        return safe_sqrt(jnp.where((score < 0) & (score >= -rounding), 0, score))

    @property
    def why_undefined_pair(self) -> str:
        """Text about square roots of negative numbers."""
        return "the score is the square root of a negative number" if self.root else ""

    def permuted(self, order):
        """Index into the flattened matrix."""
        return (order[:, None] * order.size + order[None, :]).ravel()

    def shares(self, v):
        """Squared length that lies in the row of each image."""
        n = math.isqrt(v.size)
        return jnp.sum(v.reshape(n, n) ** 2, 1)

    def weighted(self, x, y, w):
        """`(b, S, T)`, with images repeated according to their weights."""
        shares = w / jnp.sum(w, 0)

        def parts(maps):
            rows = dot(maps, shares)
            return maps.reshape(maps.shape[0], -1), (rows, jnp.sum(shares * rows, 1))

        def removed(a, b):
            return 2 * jnp.sum(shares * a[0] * b[0], 1) - a[1] * b[1]

        both = [None if z is None else parts(z) for z in (x, y)]
        weights = (shares[:, None] * shares[None]).reshape(-1, w.shape[1])
        return self.finish(weighted_cosine(both, weights, removed, w, self.min_images))

    def from_features(self, products, k, h):
        """|X'Y|^2: biased centering leaves the kernels of centered columns unchanged."""
        return products
