"""Linear CKA from d x d products instead of n x n maps, where that is less work (Kornblith et al. 2019, section 3).

With centred columns, K = X X' and k_i = |x_i|^2, sum_ij K_ij L_ij = |X'Y|^2 (Frobenius), and the U-centred inner
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
    if measure.pairwise != pairwise.linear or measure.compare not in (compare.u_centred_cosine, compare.centred_cosine):
        return False
    images = x[0].x[0].shape[0]
    widths = [_width(measure, b) for b in [*x, *(y or ())]]
    networks = [len(b.x) for b in [*x, *(y or ())]]
    total = sum(w * t for w, t in zip(widths, networks, strict=True))
    return total**2 < images * (total + sum(networks) ** 2 / 2)


def _width(measure, bucket):
    shape = bucket.x[0].shape[1:]
    return shape[-1] if isinstance(measure.transform, MeanPool) else math.prod(shape)


def scores(measure: Measure, x: Sequence[Bucket], y: Sequence[Bucket] | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(S, T)` scores, and what `Embedded.undefined` says of rows and columns, in the order of the buckets."""
    a = [_centred(measure, b) for b in x]
    b = a if y is None else [_centred(measure, part) for part in y]
    unbiased = measure.compare == compare.u_centred_cosine
    products = jnp.block([[_products(u, v, unbiased) for v in b] for u in a])
    size_x = jnp.concatenate([_squares(u, unbiased) for u in a])
    size_y = size_x if y is None else jnp.concatenate([_squares(v, unbiased) for v in b])
    size = jnp.where((size_x[:, None] > 0) & (size_y[None] > 0), size_x[:, None] * size_y[None], jnp.nan)
    undefined_x = _undefined(x, size_x)
    return products / jnp.sqrt(size), undefined_x, undefined_x if y is None else _undefined(y, size_y)


def _centred(measure, bucket):
    def one(x_where):
        x, where = x_where
        return remove_mean(measure.transform(x) if where is None else measure.transform(x, where), 0)

    return lax.map(one, (bucket.stack(), bucket.where))


def _products(u, v, unbiased):
    """Centred inner products of the kernels of `(S, n, d)` and `(T, n, e)`: `(S, T)`."""
    side_by_side = [jnp.moveaxis(z, 0, 1).reshape(z.shape[1], -1) for z in (u, v)]
    blocks = dot(side_by_side[0].T, side_by_side[1]).reshape(u.shape[0], u.shape[2], v.shape[0], v.shape[2])
    return _corrected(jnp.sum(blocks**2, (1, 3)), jnp.sum(u**2, 2), jnp.sum(v**2, 2), unbiased)


def _squares(u, unbiased):
    """The same of every kernel with itself, `(S,)`."""
    return lax.map(lambda z: _products(z[None], z[None], unbiased)[0, 0], u)


def _corrected(frobenius, k, h, unbiased):
    if not unbiased:
        return frobenius
    n = k.shape[1]
    margins = jnp.sum(k, 1)[:, None] * jnp.sum(h, 1)[None] / ((n - 1) * (n - 2))
    return frobenius - n / (n - 2) * dot(k, h.T) + margins


def _undefined(parts, size):
    """Images whose features are not finite, of the networks that have no scores; -1 for the others."""
    finite = [jnp.isfinite(b.stack()) for b in parts]
    count = jnp.concatenate([jnp.sum(~jnp.all(f, tuple(range(2, f.ndim))), 1) for f in finite])
    return jnp.where(size > 0, -1, count)
