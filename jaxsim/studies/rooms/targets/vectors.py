"""Targets of whole images and classes: vanishing points, room layout, objects and scene type."""

import itertools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxsim.studies.rooms.furniture import OBJECTS, SURFACES

if TYPE_CHECKING:
    from jaxsim.studies.rooms.render import View

ORDERS = np.array([*itertools.permutations(range(3))])
TRIANGLE = np.triu_indices(3)


def canonical_axes(axes: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """Order and sign axes to be nearest to the camera's right, down and forward.

    Of the 48 ways to order and sign them, this one has the largest trace. It changes continuously with the camera until
    an axis is equally near to two directions, which for a level camera is at a yaw of 45 degrees.

    >>> import jax.numpy as jnp
    >>> canonical_axes(jnp.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])).tolist()
    [[1.0, -0.0, -0.0], [-0.0, 1.0, -0.0], [0.0, 0.0, 1.0]]
    """
    axes = jnp.asarray(axes)
    ordered = axes[ORDERS]
    diagonals = jnp.diagonal(ordered, axis1=1, axis2=2)
    best = jnp.argmax(jnp.sum(jnp.abs(diagonals), -1))
    return ordered[best] * jnp.where(diagonals[best] < 0, -1, 1).astype(axes.dtype)[:, None]


def vanishing_point(view: "View") -> Float[Array, " 9"]:
    """The three `canonical_axes`, concatenated: unit vectors toward the room's vanishing points."""
    return canonical_axes(view.axes).ravel()


def room_layout(view: "View") -> Float[Array, " 9"]:
    """The room's box: its center in meters, and the upper triangle of sum_k log(size_k / 1 m) a_k a_k^T.

    The six numbers of that matrix encode the three sizes and the box's orientation, and do not depend on the order and
    signs of the axes a_k, so the target is continuous everywhere.
    """
    axes, log_size = jnp.asarray(view.axes), jnp.log(jnp.asarray(view.room_size))
    shape = jnp.einsum("k,ki,kj->ij", log_size, axes, axes, precision=lax.Precision.HIGHEST)
    return jnp.concatenate([jnp.asarray(view.room_center), shape[TRIANGLE]])


def class_object(view: "View") -> Float[Array, " objects"]:
    """Share of each class among object pixels; all zero, which adds no loss, if there are none."""
    present = jnp.asarray(view.semantic)[..., None] == jnp.arange(len(OBJECTS)) + len(SURFACES)
    counts = jnp.sum(present, (0, 1)).astype(jnp.float32)
    return counts / jnp.maximum(jnp.sum(counts), 1)


def class_scene(view: "View") -> Int[Array, ""]:
    """The scene type."""
    return jnp.asarray(view.scene)


def segmentsemantic(view: "View") -> Int[Array, "h w"]:
    """Class of the surface or object at every pixel."""
    return jnp.asarray(view.semantic)
