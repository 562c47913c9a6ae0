"""Linear CKA from d x d products instead of n x n maps, where that is less work (Kornblith et al. 2019, section 3).

With centered columns, K = X X' and k_i = |x_i|^2, sum_ij K_ij L_ij = |X'Y|^2 (Frobenius), and the U-centered inner
product is |X'Y|^2 - n / (n - 2) k . l + sum(k) sum(l) / ((n - 1) (n - 2)): Song et al. 2012 with zero column sums.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxsim import compare, pairwise
from jaxsim.engine.shapes import Bucket
from jaxsim.linalg import dot, remove_mean
from jaxsim.measures import Measure
from jaxsim.transforms import MeanPool


def is_cheaper(measure: Measure, x: Sequence[Bucket], y: Sequence[Bucket] | None) -> bool:
    """Whether the measure has this form and it takes fewer operations for these networks."""
    if measure.pairwise != pairwise.linear or measure.compare not in (
        compare.u_centered_cosine,
        compare.centered_cosine,
    ):
        return False
    images = x[0].shape[0]
    widths = [_width(measure, b) for b in [*x, *(y or ())]]
    networks = [len(b.x) for b in [*x, *(y or ())]]
    total = sum(w * t for w, t in zip(widths, networks, strict=True))
    return total**2 < images * (total + sum(networks) ** 2 / 2)


def _width(measure, bucket):
    shape = bucket.shape[1:]
    return shape[-1] if isinstance(measure.transform, MeanPool) else math.prod(shape)


def scores(measure: Measure, x: Sequence[Bucket], y: Sequence[Bucket] | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(S, T)` scores, and what `Embedded.undefined` says of rows and columns, in the order of the buckets."""
    a = [_centered(measure, b) for b in x]
    b = a if y is None else [_centered(measure, part) for part in y]
    unbiased = measure.compare == compare.u_centered_cosine
    products = jnp.block([[_products(u, v, unbiased) for v in b] for u in a])
    length_x = jnp.concatenate([_lengths(u, unbiased) for u in a])
    length_y = length_x if y is None else jnp.concatenate([_lengths(v, unbiased) for v in b])
    found = products / length_x[:, None] / length_y[None]
    undefined_x = _undefined(x, length_x)
    if y is None:
        return (found + found.T) / 2, undefined_x, undefined_x
    return found, undefined_x, _undefined(y, length_y)


def _centered(measure, bucket):
    def one(x_where):
        x, where = x_where
        z = remove_mean(measure.transform(x) if where is None else measure.transform(x, where), 0)
        # the score does not depend on the scale, and squares of squares would leave the range of float32
        largest = jnp.max(jnp.abs(z))
        return z / jnp.where(largest > 0, largest, 1)

    return lax.map(one, (bucket.stack(), bucket.where))


def _products(u, v, unbiased):
    """Centered inner products of the kernels of `(S, n, d)` and `(T, n, e)`: `(S, T)`."""
    side_by_side = [jnp.moveaxis(z, 0, 1).reshape(z.shape[1], -1) for z in (u, v)]
    blocks = dot(side_by_side[0].T, side_by_side[1]).reshape(u.shape[0], u.shape[2], v.shape[0], v.shape[2])
    return _corrected(jnp.sum(blocks**2, (1, 3)), jnp.sum(u**2, 2), jnp.sum(v**2, 2), unbiased)


def _lengths(u, unbiased):
    """Root of the same of every kernel with itself, `(S,)`; NaN if nothing is left to within rounding."""

    def one(z):
        total = jnp.sum(dot(z.T, z) ** 2)
        size = _corrected(total[None, None], jnp.sum(z**2, 1)[None], jnp.sum(z**2, 1)[None], unbiased)[0, 0]
        return jnp.sqrt(jnp.where(size > 16 * jnp.finfo(z.dtype).eps * total, size, jnp.nan))

    return lax.map(one, u)


def _corrected(frobenius, k, h, unbiased):
    if not unbiased:
        return frobenius
    n = k.shape[1]
    margins = jnp.sum(k, 1)[:, None] * jnp.sum(h, 1)[None] / ((n - 1) * (n - 2))
    return frobenius - n / (n - 2) * dot(k, h.T) + margins


def _undefined(parts, length):
    """Images whose features are not finite, of the networks that have no scores; -1 for the others."""
    finite = [jnp.isfinite(b.stack()) for b in parts]
    count = jnp.concatenate([jnp.sum(~jnp.all(f, tuple(range(2, f.ndim))), 1) for f in finite])
    return jnp.where(length > 0, -1, count)
