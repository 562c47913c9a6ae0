"""Blurring and differentiation of images `(h, w)` or `(h, w, c)` at scales independent of resolution.

One *step* is 1/64 of the image's width, so that labels of a view rendered at two resolutions agree.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped


def pixels(width: int) -> float:
    """Pixels per step.

    >>> pixels(256)
    4.0
    """
    return width / 64


def blur(image: Float[Array, "h w *c"], steps: float) -> Float[Array, "h w *c"]:
    """Blur an image by a Gaussian of this many steps, truncated at three standard deviations; edges repeat.

    >>> import jax.numpy as jnp
    >>> blur(jnp.ones((8, 8)), 1.0).shape
    (8, 8)
    """
    sigma = steps * pixels(image.shape[1])
    down, across = (jnp.asarray(_smoothing(size, sigma), image.dtype) for size in image.shape[:2])
    return jnp.einsum("yi,xj,ij...->yx...", down, across, image, precision=lax.Precision.HIGHEST)


@functools.lru_cache(maxsize=64)
def _smoothing(size, sigma):
    """The matrix `(size, size)` that smooths a column of an image."""
    reach = math.ceil(3 * sigma)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    matrix = np.zeros((size, size))
    for tap, offset in zip(taps, range(-reach, reach + 1), strict=True):
        rows = np.arange(size)
        matrix[rows, np.clip(rows + offset, 0, size - 1)] += tap
    return matrix


def shift(image: Shaped[Array, "h w *c"], by: int, axis: int) -> Shaped[Array, "h w *c"]:
    """Shift an image so that entry k is the former entry k + `by` along `axis`; edges repeat.

    >>> import jax.numpy as jnp
    >>> shift(jnp.array([[1.0, 2.0, 3.0]]), 1, axis=1).tolist()
    [[2.0, 3.0, 3.0]]
    """
    size = image.shape[axis]
    return jnp.take(image, np.clip(np.arange(size) + by, 0, size - 1), axis=axis, mode="clip")


def gradient(image: Float[Array, "h w *c"]) -> tuple[Float[Array, "h w *c"], Float[Array, "h w *c"]]:
    """Derivatives per step along x (to the right) and y (down), by central differences.

    >>> import jax.numpy as jnp
    >>> x, y = gradient(jnp.tile(jnp.arange(64.0), (64, 1)))
    >>> float(x.min()), float(y.max())
    (1.0, 0.0)
    """
    across, down = (pixels(image.shape[1]) * jnp.asarray(jnp.gradient(image, axis=axis)) for axis in (1, 0))
    return across, down
