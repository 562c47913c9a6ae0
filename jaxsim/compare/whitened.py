"""Cosine and Pearson correlation of upper triangles that are whitened by the covariance of their noise."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.tree_util import register_dataclass, register_static
from jaxtyping import Array, Float

from jaxsim import centering
from jaxsim.compare.embedded import OfTriangles, compare_embedded, normalize, unit
from jaxsim.compare.triangles import condensed, pair_weights
from jaxsim.compare.weighted import weighted_cosine
from jaxsim.linalg import dot, power_of_two
from jaxsim.protocols import CONSTANT, SCALE


@register_static
@dataclasses.dataclass(frozen=True)
class Whitened(OfTriangles):
    """Cosine of the upper triangles, whitened by the covariance of noisy distances; a similarity.

    The noise of an image affects all of its distances. Squared distances of pure noise, independent between images,
    have the covariance V, up to a factor: 4 for a pair with itself, 1 for pairs that share an image, else 0
    (Diedrichsen et al. 2021, arXiv:2007.02789). V^-1/2, up to a factor, multiplies the mean of a map by 1 / sqrt(n),
    the terms that images add to all of their pairs by sqrt(2 / n), and the rest by 1. `u_centered_cosine` keeps only
    the rest. Maps should be squared distances, such as those of `js.crossnobis`, or correlation distances. Under
    weights, copies of an image count as separate images. `whitened_by` accepts a covariance between images.

    Attributes:
        centered: subtract the mean of the entries first, which gives whitened Pearson correlation.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = (jnp.arange(5.0)[:, None] - jnp.arange(5.0)) ** 2
    >>> round(float(js.compare.whitened_cosine(m, m + 1)), 3), round(float(js.compare.whitened_pearson(m, m + 1)), 3)
    (0.997, 1.0)
    """

    centered: bool = False

    @property
    def invariance(self) -> int:
        """A constant may be added if the mean is subtracted."""
        return CONSTANT if self.centered else SCALE

    @property
    def why_undefined(self) -> str:
        """Text about maps of length zero."""
        return "its map is constant" if self.centered else "its map is zero"

    def embed(self, m):
        """Whitened upper triangle scaled to length 1."""
        n, v = m.shape[0], condensed(m)
        mean = jnp.mean(v)
        m = centering.off_diagonal(m - mean)
        mean, share = (0 * mean if self.centered else mean / math.sqrt(n)), 1 - math.sqrt(2 / n)
        a = share * centering.margins(m, jnp.ones(n, jnp.result_type(m)))
        return unit(condensed(m - a[:, None] - a[None, :]) + mean, v)

    def prepare(self, m):
        """U-centered map and the rest of the map, a_i + a_j, at a common scale."""
        z = self.embed(m)
        scale = jnp.where(jnp.any(jnp.isnan(z)), jnp.nan, power_of_two(jnp.max(jnp.abs(condensed(m)))))
        m = centering.off_diagonal(m / scale)
        ones = jnp.ones(m.shape[0], jnp.result_type(m))
        a = centering.margins(m, ones)
        rest = centering.off_diagonal(m - a[:, None] - a[None, :])
        more = centering.margins(rest, ones)
        return centering.off_diagonal(rest - more[:, None] - more[None, :]), a + more

    def weighted(self, x, y, w):
        """`(b, S, T)`: V^-1 d is (d_ij - s_i - s_j) / 2 with (W + 2 - 2 w_i) s_i = (d w)_i - sum of w s.

        For a_i + a_j it is (c_i + c_j) / 2 with (W + 2 - 2 w_i) c_i = 2 a_i - sum of w c.
        """
        pairs, total, fit = pair_weights(w), jnp.sum(w, 0), jax.vmap(centering.fit_margins, (0, None, None))

        def parts(maps):
            rest, a = maps
            rows, a = dot(rest, w), jnp.broadcast_to(a[..., None], (*a.shape, w.shape[1]))
            if self.centered:
                sums = jnp.sum(w * (rows + 2 * (total - w) * a), 1, keepdims=True)
                a = a - sums / jnp.sum(w * (total - w), 0) / 2
            sums = (total - 2 * w) * a + jnp.sum(w * a, 1, keepdims=True)
            return jax.vmap(condensed)(rest), (fit(rows, w, 2), rows, fit(2 * a, w, 2), sums)

        def removed(p, q):
            s, rows, c, _ = p
            return jnp.sum(w * ((s - c) * q[1] - q[2] * rows - c * q[3]), 1)

        both = [None if z is None else parts(z) for z in (x, y)]
        return weighted_cosine(both, pairs, removed, w, self.min_images)


@register_dataclass
@dataclasses.dataclass(frozen=True)
class WhitenedBy:
    """`Whitened` for noise that covaries between images or varies: V = (C S C')^2 elementwise, C with rows e_i - e_j.

    It cannot be used with resamples, because S belongs to these images. Created by `whitened_by`.

    Attributes:
        whitener: `(n, n)`, with S^-1 = whitener' whitener.
        precision: `(n,)` row sums of S^-1.
        centered: subtract the unweighted mean of the entries first, as in rsatoolbox.
    """

    whitener: Array
    precision: Array
    centered: bool = dataclasses.field(default=False, metadata={"static": True})
    min_images: ClassVar[int] = 3
    __call__ = compare_embedded
    embed_pooled = staticmethod(normalize)
    of_these_images: ClassVar[str] = "its covariance belongs to the images it was made for"
    invariance = Whitened.invariance
    why_undefined = Whitened.why_undefined

    def embed(self, m):
        """W K W' at length 1, K = -(m - a_i - a_j) / 2 with K S^-1 1 = 0 and W the whitener, the triangle twice."""
        if len(self.precision) != m.shape[0]:
            raise ValueError(f"sigma_k has {len(self.precision)} images, and the maps have {m.shape[0]}")
        v = condensed(m)
        m = centering.off_diagonal(m - jnp.mean(v) if self.centered else m)
        whitener = self.whitener.astype(m.dtype)
        z = dot(dot(whitener, centering.biased(m, self.precision.astype(m.dtype))), whitener.T)
        return unit(jnp.concatenate([math.sqrt(2) * condensed(z), jnp.diagonal(z)]), v)


def whitened_by(sigma_k: Float[Array, "n n"] | Float[Array, " n"], *, centered: bool = False) -> WhitenedBy:
    """Whitened cosine, or with `centered` Pearson correlation, for a given noise covariance between images.

    Args:
        sigma_k: covariance of the noise of n images, `(n, n)`, or their variances `(n,)`; up to a factor.
        centered: subtract the mean of the entries first.

    Raises:
        TypeError: it does not contain real numbers.
        ValueError: it is not symmetric, or not positive definite.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> m = (jnp.arange(4.0)[:, None] - jnp.arange(4.0)) ** 2
    >>> other = js.compare.whitened_by(jnp.array([1.0, 2.0, 1.0, 4.0]))
    >>> round(float(other(m, m + 1)), 3)
    0.99
    """
    with jax.enable_x64(True):
        try:
            s = jnp.asarray(sigma_k)
        except (TypeError, ValueError):
            raise TypeError("sigma_k must hold real numbers.") from None
        if jnp.iscomplexobj(s):
            raise TypeError(f"sigma_k must hold real numbers, not elements of type {s.dtype}.")
        s = s.astype(jnp.float64)
        if s.ndim not in (1, 2) or s.shape != s.shape[:1] * s.ndim or not s.size:
            raise ValueError(f"sigma_k of shape {s.shape} is neither a covariance (n, n) nor variances (n,).")
        s = jnp.diag(s) if s.ndim == 1 else s
        if not jnp.allclose(s, s.T, rtol=0, atol=1e-6 * jnp.max(jnp.abs(s))):
            raise ValueError("sigma_k is not symmetric, or not finite.")
        root = jnp.linalg.cholesky(s / jnp.max(jnp.abs(s)))
        whitener = solve_triangular(root, jnp.eye(len(s)), lower=True)
        if not jnp.all(jnp.isfinite(whitener)):
            raise ValueError("sigma_k is not positive definite; shrink it, or add to its diagonal.")
        precision = dot(whitener.T, jnp.sum(whitener, 1))
    return WhitenedBy(whitener, precision, centered)
