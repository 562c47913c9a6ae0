"""Centering of pairwise maps, plain and under image weights: (n, n) -> (n, n).

Unbiased (U-)centering (Szekely and Rizzo 2014) removes the least-squares fit of a_i + a_j from the off-diagonal
entries and sets the diagonal to zero; biased centering is H K H with H = I - 11'/n, diagonal kept.
With weights w an image counts w_i times and a pair of images w_i w_j times. Two copies of the same image form no pair
in unbiased centering and w_i^2 pairs in biased centering.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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
    w = jnp.ones(m.shape[0], jnp.result_type(m)) if w is None else w
    w = w / jnp.sum(w)
    for _ in range(2):
        rows = dot(m, w)
        m = m - rows[:, None] - rows[None, :] + dot(w, rows)
    return m


def unbiased(m: Float[Array, "n n"], w: Float[Array, " n"] | None = None) -> Float[Array, "n n"]:
    """Off-diagonal entries minus their weighted least-squares fit of a_i + a_j; zeros on the diagonal.

    With W = sum(w) and r = K0 w, K0 the map with zero diagonal: q = sum(w r / (W - 2w)) / (1 + sum(w / (W - 2w))),
    a = (r - q) / (W - 2w). Unit weights give Szekely and Rizzo (2014), equation 2.3, and need n >= 4 images.

    >>> import jax.numpy as jnp
    >>> from jaxsim import centering
    >>> m = jnp.abs(jnp.arange(5.0)[:, None] - jnp.arange(5.0))
    >>> bool(jnp.allclose(centering.unbiased(m).sum(1), 0, atol=1e-5))
    True
    """
    m = off_diagonal(m)
    w = jnp.ones(m.shape[0], jnp.result_type(m)) if w is None else w
    for _ in range(2):
        a = margins(m, w)
        m = off_diagonal(m - a[:, None] - a[None, :])
    return m


def between(m: Float[Array, "n n"], group: Int[Array, " n"], count: int) -> Float[Array, "n n"]:
    """Entries of different groups minus their least-squares fit of a_i + a_j; zeros within groups.

    Subtracting the fits leaves (K - 2) / (K - 1) of the variance of an image's mean with the images of another group,
    and (K - 3) / (K - 1) of that of the mean over a pair of the K groups. Both are scaled up. For groups of equal size,
    inner products of two such maps then estimate those of infinitely many groups without bias. Groups of one image give
    `unbiased` times a constant. Needs images from four of the `count` groups that `group` numbers.

    >>> import jax.numpy as jnp
    >>> from jaxsim import centering
    >>> m, group = jnp.abs(jnp.arange(8.0)[:, None] ** 2 - jnp.arange(8.0)), jnp.arange(8) // 2
    >>> bool(jnp.allclose(centering.between(m + m.T, group, 4).sum(1), 0, atol=1e-3))
    True
    """
    member = jax.nn.one_hot(group, count, dtype=m.dtype)
    size, apart = jnp.sum(member, 0), group[:, None] != group[None, :]
    m = jnp.where(apart, m, 0)
    for _ in range(2):
        a = _margins_between(m, group, member, size)
        m = jnp.where(apart, m - a[:, None] - a[None, :], 0)
    image = dot(m, member) / jnp.maximum(size, 1)
    pair = (dot(member.T, image) / jnp.maximum(size, 1)[:, None])[group][:, group]
    image, groups = image[:, group], jnp.sum(size > 0)
    of_pair, of_image = (jnp.sqrt((groups - 1) / (groups - lost)) for lost in (3, 2))
    return jnp.where(apart, m + (of_pair - 1) * pair + (of_image - 1) * (image + image.T - 2 * pair), 0)


def _margins_between(m, group, member, size):
    """The a of the fit a_i + a_j to entries of different groups: (n - n_g) a_i + sum of a over other groups = r_i."""
    n, rows = jnp.sum(size), jnp.sum(m, 1)
    left, sums = n - 2 * size, dot(rows, member)
    # one equation per group; a group with half of all images gives only the total
    half = left == 0
    left = jnp.where(half, 1, left)
    total = jnp.sum(jnp.where(half, 0, sums / left)) / (1 + jnp.sum(jnp.where(half, 0, size / left)))
    total = jnp.where(jnp.any(half), jnp.sum(jnp.where(half, sums, 0)) / (n / 2), total)
    own = jnp.where(half, 0, (sums - size * total) / left)
    own = jnp.where(half, total - jnp.sum(own), own)
    return (rows - total + own[group]) / (n - size)[group]


def margins(m0: Float[Array, "n n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
    """The a of the weighted fit a_i + a_j to a map with zero diagonal, including images of weight zero."""
    return fit_margins(dot(m0, w), w)


def fit_margins(r, w, more: int = 0):
    """`margins` from r = K0 w; both may have trailing axes, one entry per weighting.

    These solve (W + more - 2 w_i) a_i = r_i - sum of w a, with `more` = 0.
    """
    heaviest = jnp.arange(w.shape[0]).reshape(-1, *(1,) * (w.ndim - 1)) == jnp.argmax(w, 0)
    left = jnp.sum(w, 0) + more - 2 * w
    # W - 2w is zero for an image with half of the weight, so that image is solved for first
    others = jnp.where(heaviest, 0, w) / jnp.where(heaviest, 1, left)
    u, s = 1 + jnp.sum(others, 0), jnp.sum(others * r, 0)
    own = [jnp.sum(jnp.where(heaviest, v, 0), 0) for v in (r, w, left)]
    a = (own[0] * u - s) / (own[1] + own[2] * u)
    q = own[0] - own[2] * a
    return jnp.where(heaviest, a, (r - q) / jnp.where(heaviest, 1, left))
