"""Cosines of centered maps under image weights, for all pairs of networks and all resamples together."""

import jax
import jax.numpy as jnp

from jaxsim.linalg import block_dot, compensated_sum, long_dot


def weighted_cosine(networks, weights, removed, w, min_images):
    """Cosines of centered maps under b weightings of the images: `(b, S, T)`.

    Args:
        networks: for rows and for columns, the maps' entries `(S, p)` with the arrays `(S, ...)` that `removed` needs;
            None for the columns if they are the rows.
        weights: weights of the entries, `(p, b)`.
        removed: what centering subtracts from the weighted sums of products `(pairs, b)`, from both maps' arrays.
        w: weights of the images, `(n, b)`.
        min_images: number of images that must have weight.
    """
    (flat_x, own_x), columns = networks
    flat_y, own_y = (None, own_x) if columns is None else columns
    s, t = all_pairs(flat_x, flat_y)

    def of(own, networks):
        return jax.tree.map(lambda a: a[networks], own)

    def length(flat, own):
        second = long_dot(flat * flat, weights.T)
        return _length(second - removed(own, own), second, w, min_images)

    cross = pair_moments(flat_x, flat_y, weights) - removed(of(own_x, s), of(own_y, t))
    length_x = length(flat_x, own_x)
    length_y = length_x if columns is None else length(flat_y, own_y)
    return spread_pairs(cross / (length_x[s] * length_y[t]), flat_x, flat_y)


def _length(size, scale, w, fewest):
    """Square root of squared lengths `(T, b)` under weights `(n, b)`.

    NaN if nothing but rounding is left of `scale`, or if fewer than `fewest` images have weight.
    """
    real = (size > 32 * jnp.finfo(size.dtype).eps * scale) & (jnp.sum(w > 0, 0) >= fewest)
    return jnp.sqrt(jnp.where(real, size, jnp.nan))


def all_pairs(x, y):
    """Index arrays of the pairs of networks to compute: the upper triangle when `y` is None."""
    if y is None:
        return jnp.triu_indices(x.shape[0])
    s, t = jnp.indices((x.shape[0], y.shape[0]))
    return s.ravel(), t.ravel()


def spread_pairs(scores, x, y):
    """Convert `(pairs, b)` back to `(b, S, T)`, mirrored when `y` is None."""
    s, t = all_pairs(x, y)
    full = jnp.zeros((x.shape[0], (x if y is None else y).shape[0], scores.shape[1]), scores.dtype)
    full = full.at[s, t].set(scores)
    full = full.at[t, s].set(scores) if y is None else full
    return jnp.moveaxis(full, -1, 0)


def pair_moments(x, y, weights):
    """Sum over p of weights[p, b] x[s, p] y[t, p] for all pairs: `(S, p), (T, p), (p, b) -> (pairs, b)`.

    The products x y do not depend on the weights, so all resamples are one matrix product, taken in blocks of p.
    """
    block = 1024
    s, t = all_pairs(x, y)
    y = x if y is None else y
    pad = -x.shape[1] % block

    def cut(a, axis):
        a = jnp.pad(a, [(0, pad if k == axis else 0) for k in range(a.ndim)])
        shape = (*a.shape[:axis], -1, block, *a.shape[axis + 1 :])
        return jnp.moveaxis(a.reshape(shape), axis, 0)

    def term(parts):
        xp, yp, wp = parts
        return block_dot(xp[s] * yp[t], wp.T)

    start = jnp.zeros((s.size, weights.shape[1]), x.dtype)
    return compensated_sum(term, (cut(x, 1), cut(y, 1), cut(weights, 0)), start)
