"""Condensed maps: the entries above the diagonal in an order that needs no gather, with their weights and positions."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def condensed(m: Num[Array, "n n ..."]) -> Num[Array, "p ..."]:
    """The n (n - 1) / 2 entries above the diagonal, in an order that needs no gather and differs from SciPy's.

    Row i and a mirrored row from the other end fill one row of a rectangle: rows i and n - 1 - i have n - 1 entries
    together (even n), and rows i and n - 2 - i have n (odd n).
    """
    n = m.shape[0]
    half, even = n // 2, n % 2 == 0
    rows = n if even else n - 1
    mirrored = m[:rows][::-1, ::-1][:half]
    first, second = (m[:half, 1:], mirrored[:, :-1]) if even else (m[:half], mirrored)
    columns = jnp.arange(first.shape[1])
    keep = columns >= jnp.arange(half)[:, None] + (0 if even else 1)
    keep = keep.reshape(*keep.shape, *(1,) * (m.ndim - 2))
    return jnp.where(keep, first, second).reshape(n * (n - 1) // 2, *m.shape[2:])


def pair_weights(w: Float[Array, "n ..."]) -> Float[Array, "p ..."]:
    """Weights w_i w_j of the pairs of images, in the order of `condensed`."""
    return condensed(w[:, None] * w[None, :])


def condensed_place(i, j, n: int):
    """Position of the pair of images i and j in the order of `condensed`, for n images."""
    i, j = jnp.minimum(i, j), jnp.maximum(i, j)
    if n % 2 == 0:
        first = i < n // 2
        return jnp.where(first, i * (n - 1) + j - 1, (n - 1 - i) * (n - 1) + n - 1 - j)
    first = i < n // 2
    return jnp.where(first, i * n + j, (n - 2 - i) * n + n - 1 - j)


def pairs_of(n: int):
    """First and second image of each pair, in the order of `condensed`."""
    i = jnp.broadcast_to(jnp.arange(n)[:, None], (n, n))
    return condensed(i), condensed(i.T)


def reordered(order):
    """Index that reorders a condensed map to match the images in another order."""
    i, j = pairs_of(order.size)
    return condensed_place(order[i], order[j], order.size)


def shares_of_images(v):
    """Squared length of a condensed map that lies in the pairs of each image, `(p,) -> (n,)`."""
    n = round((1 + (1 + 8 * v.size) ** 0.5) / 2)
    i, j = pairs_of(n)
    return jnp.zeros(n, v.dtype).at[i].add(v * v).at[j].add(v * v)
