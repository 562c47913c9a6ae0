"""Targets and inputs from the picture alone: colors, 2D edges and keypoints, noise and masks."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsim.studies.rooms.targets import filters
from jaxsim.vision.extraction.preprocessing import hidden, luma

if TYPE_CHECKING:
    from jaxsim.studies.rooms.render import View

NOISE = 0.1
"""Standard deviation of the noise in denoising: variance 0.01, as in Taskonomy."""

EDGE_SCALE, KEYPOINT_SCALE = 1.0, 1.5
"""Standard deviations that blur the picture for 2D edges and keypoints, in steps of 1/64 of the width."""

CHROMA_UNIT, EDGE_UNIT, KEYPOINT_UNIT = 0.065, 0.04, 0.014
"""About one standard deviation of the raw targets in rooms, by which targets are divided."""


def unchanged(rgb: Float[Array, "h w 3"], key: PRNGKeyArray | None = None) -> Float[Array, "h w 3"]:
    """Return the picture."""
    return rgb


def noisy(rgb: Float[Array, "h w 3"], key: PRNGKeyArray) -> Float[Array, "h w 3"]:
    """Add Gaussian noise of standard deviation NOISE, clipped to [0, 1]."""
    return jnp.clip(rgb + NOISE * jax.random.normal(key, rgb.shape, rgb.dtype), 0, 1)


def masked(rgb: Float[Array, "h w 3"], key: PRNGKeyArray | None = None) -> Float[Array, "h w 3"]:
    """Paint the `hidden` center of the picture mid-gray."""
    return jnp.where(hidden(*rgb.shape[:2]) > 0, jnp.asarray(0.5, rgb.dtype), rgb)


def picture(view: "View") -> Float[Array, "h w 3"]:
    """Colors scaled to [-1, 1]: target of autoencoding, denoising and inpainting."""
    return 2 * jnp.asarray(view.rgb) - 1


def colorization(view: "View") -> Float[Array, "h w 2"]:
    """Blue and red minus luma, in units of CHROMA_UNIT: the information missing in the gray picture."""
    rgb = jnp.asarray(view.rgb)
    return (rgb[..., ::-2] - luma(rgb)[..., None]) / CHROMA_UNIT


def edge2d(view: "View") -> Float[Array, "h w 1"]:
    """Gradient magnitude of the gray picture blurred by sigma = EDGE_SCALE, times sigma, in units of EDGE_UNIT.

    A straight step of height a peaks at a / sqrt(2 pi) before the division.
    """
    across, down = filters.gradient(filters.blur(luma(jnp.asarray(view.rgb)), EDGE_SCALE))
    return (EDGE_SCALE / EDGE_UNIT) * jnp.hypot(across, down)[..., None]


def keypoint2d(view: "View") -> Float[Array, "h w 1"]:
    """Blobs and corners: root of the positive part of the Hessian's determinant, in units of KEYPOINT_UNIT.

    The Hessian is that of the gray picture blurred by sigma = KEYPOINT_SCALE, times sigma^2. SURF (Bay et al. 2008)
    uses its determinant, computed by box filters. It is zero along straight edges.
    """
    across, down = filters.gradient(filters.blur(luma(jnp.asarray(view.rgb)), KEYPOINT_SCALE))
    xx, xy = filters.gradient(across)
    yy = filters.gradient(down)[1]
    response = KEYPOINT_SCALE**2 * jnp.sqrt(jnp.maximum(xx * yy - xy**2, 0))
    return response[..., None] / KEYPOINT_UNIT
