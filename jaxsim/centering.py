"""Centering of pairwise maps, plain and under image weights: (n, n) -> (n, n).

Unbiased (U-)centering (Szekely and Rizzo 2014) removes the least-squares fit of a_i + a_j from the off-diagonal
entries and sets the diagonal to zero; biased centering is H K H with H = I - 11'/n, diagonal kept.
With weights w an image counts w_i times and a pair of images w_i w_j times; the copies of one image form no pair in
unbiased centering and w_i^2 pairs in biased centering.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsim.linalg import dot


def off_diagonal(m: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """`m` with zeros on the diagonal."""
    return jnp.where(jnp.eye(m.shape[0], dtype=bool), 0, m)


def biased(m: Float[Array, "n n"], w: Float[Array, " n"] | None = None) -> Float[Array, "n n"]:
    """H K H, H = I - 1 w' / sum(w).

    Gretton et al. 2005; Kornblith et al. 2019, equation 3.

    >>> import jax.numpy as jnp
    >>> from jaxsim import centering
    >>> centering.biased(jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    w = jnp.ones(m.shape[0], m.dtype) if w is None else w
    w = w / jnp.sum(w)
    for _ in range(2):
        rows = dot(m, w)
        m = m - rows[:, None] - rows[None, :] + dot(w, rows)
    return m


def unbiased(m: Float[Array, "n n"], w: Float[Array, " n"] | None = None) -> Float[Array, "n n"]:
    """Off-diagonal entries less their weighted least-squares fit of a_i + a_j; zeros on the diagonal.

    With W = sum(w) and r = K0 w, K0 the map with zero diagonal: q = sum(w r / (W - 2w)) / (1 + sum(w / (W - 2w))),
    a = (r - q) / (W - 2w). Unit weights give Szekely and Rizzo (2014), equation 2.3, and need n >= 4 images.

    >>> import jax.numpy as jnp
    >>> from jaxsim import centering
    >>> m = jnp.abs(jnp.arange(5.0)[:, None] - jnp.arange(5.0))
    >>> bool(jnp.allclose(centering.unbiased(m).sum(1), 0, atol=1e-5))
    True
    """
    m = off_diagonal(m)
    w = jnp.ones(m.shape[0], m.dtype) if w is None else w
    for _ in range(2):
        a = margins(m, w)
        m = off_diagonal(m - a[:, None] - a[None, :])
    return m


def margins(m0: Float[Array, "n n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
    """The a of the weighted fit a_i + a_j to a map with zero diagonal; images of weight zero included."""
    return fit_margins(dot(m0, w), w)


def fit_margins(r, w):
    """`margins` from r = K0 w; both may carry trailing axes, one weighting each."""
    heaviest = jnp.arange(w.shape[0]).reshape(-1, *(1,) * (w.ndim - 1)) == jnp.argmax(w, 0)
    left = jnp.sum(w, 0) - 2 * w
    # W - 2w is zero for an image that weighs half of all, so that image is solved for first
    others = jnp.where(heaviest, 0, w) / jnp.where(heaviest, 1, left)
    u, s = 1 + jnp.sum(others, 0), jnp.sum(others * r, 0)
    own = [jnp.sum(jnp.where(heaviest, v, 0), 0) for v in (r, w, left)]
    a = (own[0] * u - s) / (own[1] + own[2] * u)
    q = own[0] - own[2] * a
    return jnp.where(heaviest, a, (r - q) / jnp.where(heaviest, 1, left))
