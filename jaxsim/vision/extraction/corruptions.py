"""Pictures with something taken away: their colors, or their center."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601."""


def gray(rgb: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """Luminance by the weights of ITU-R BT.601.

    >>> import jax.numpy as jnp
    >>> round(float(gray(jnp.ones((1, 1, 3)))[0, 0]), 6)
    1.0
    """
    return jnp.sum(rgb * jnp.asarray(LUMINANCE, rgb.dtype), axis=-1)


def hidden(height: int, width: int) -> Float[Array, "h w 1"]:
    """One within the central rectangle of half the height and width, zero around it.

    >>> int(hidden(8, 8).sum())
    16
    """
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (rows >= height // 4) & (rows < height - height // 4)
    inside &= (columns >= width // 4) & (columns < width - width // 4)
    return inside[..., None].astype(jnp.float32)


def decolored(rgb: Float[Array, "h w 3"], key: PRNGKeyArray | None = None) -> Float[Array, "h w 3"]:
    """The gray picture, three times over so that every network takes the same input."""
    del key
    return jnp.broadcast_to(gray(rgb)[..., None], rgb.shape)
