"""The twenty tasks, by Taskonomy's names: input, target and loss."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.io.files import nearest
from jaxsim.studies.rooms import losses
from jaxsim.studies.rooms.furniture import CLASSES, OBJECTS, SCENES
from jaxsim.studies.rooms.targets import geometry, image, segments, vectors
from jaxsim.vision.extraction.preprocessing import decolored

if TYPE_CHECKING:
    from jaxsim.studies.rooms.render import View

Group = Literal["2d", "3d", "geometric", "semantic"]
Kind = Literal["image", "vector", "classes", "distribution", "segmentation", "embedding"]

EMBEDDING = 8
"""Channels of the two pixel embeddings."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: Taskonomy's name.
        group: '2d', '3d', 'geometric' or 'semantic', the groups in the RSA paper's figures.
        kind: type of the output. 'image' `(h, w, channels)` and 'vector' `(channels,)` are regressed; 'classes'
            `(channels,)` are logits of one class, 'distribution' of shares, 'segmentation' `(h, w, channels)` of a
            class per pixel; 'embedding' `(h, w, channels)` is compared between pixels.
        channels: number of channels of the output.
        target: function from one View (unbatched) to the target, which has the shape of the output, except for the
            class number `()` of 'classes', and class or segment numbers `(h, w)` of 'segmentation' and 'embedding'.
        loss: function of (output, target, optional class weights); see `losses`.
        corrupt: function from a picture `(h, w, 3)` in [0, 1] and a random key to the network's input.
        on_host: whether `target` runs in NumPy on a concrete View, and can be neither jitted nor vmapped.
    """

    name: str
    group: Group
    kind: Kind
    channels: int
    target: Callable[["View"], Any]
    loss: Any
    corrupt: Callable[..., jax.Array] = image.unchanged
    on_host: bool = False


_absolute, _squared, _pairs = losses.absolute, losses.squared, losses.Pairs()

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("autoencoder", "2d", "image", 3, image.picture, _absolute),
        Task("denoise", "2d", "image", 3, image.picture, _absolute, image.noisy),
        Task("inpainting", "2d", "image", 3, image.picture, losses.hidden_absolute, image.masked),
        Task("colorization", "2d", "image", 2, image.colorization, _squared, decolored),
        Task("edge2d", "2d", "image", 1, image.edge2d, _squared),
        Task("keypoint2d", "2d", "image", 1, image.keypoint2d, _squared),
        Task("segment2d", "2d", "embedding", EMBEDDING, segments.segment2d, _pairs, on_host=True),
        Task("edge3d", "3d", "image", 1, geometry.edge3d, _squared),
        Task("keypoint3d", "3d", "image", 1, geometry.keypoint3d, _squared),
        Task("segment25d", "3d", "embedding", EMBEDDING, segments.segment25d, _pairs, on_host=True),
        Task("rgb2depth", "3d", "image", 1, geometry.rgb2depth, _absolute),
        Task("rgb2mist", "3d", "image", 1, geometry.rgb2mist, _absolute),
        Task("rgb2sfnorm", "3d", "image", 3, geometry.rgb2sfnorm, _absolute),
        Task("reshade", "3d", "image", 1, geometry.reshade, _absolute),
        Task("curvature", "3d", "image", 2, geometry.curvature, _squared),
        Task("room_layout", "geometric", "vector", 9, vectors.room_layout, _squared),
        Task("vanishing_point", "geometric", "vector", 9, vectors.vanishing_point, _squared),
        Task(
            "segmentsemantic",
            "semantic",
            "segmentation",
            len(CLASSES),
            vectors.segmentsemantic,
            losses.balanced_cross_entropy,
        ),
        Task("class_object", "semantic", "distribution", len(OBJECTS), vectors.class_object, losses.divergence),
        Task("class_scene", "semantic", "classes", len(SCENES), vectors.class_scene, losses.cross_entropy),
    )
}
"""The twenty tasks of the RSA paper, in its groups."""


def named(name: str) -> Task:
    """Look up a task.

    Raises:
        ValueError: the name is unknown; the message suggests similar names.

    >>> named("edge3d").group
    '3d'
    """
    if name in TASKS:
        return TASKS[name]
    raise ValueError(f"there is no task {name!r}; {nearest(name, TASKS)}")


def targets(task: Task, views: "View") -> jax.Array:
    """Compute targets `(n, ...)` of n views, given as one View whose arrays have a leading axis.

    One compiled call, or a loop on the host for the two tasks that are `on_host`.

    Raises:
        ValueError: the arrays differ in number or size of images.
        ImportError: the task needs scikit-image, which is not installed.
    """
    check(views)
    if not task.on_host:
        return _mapped(task.target, views)
    host = jax.tree.map(np.asarray, views)
    each = [task.target(jax.tree.map(lambda a, k=k: a[k], host)) for k in range(host.rgb.shape[0])]
    return jnp.asarray(np.stack(each))


@jax.jit(static_argnums=0)
def _mapped(target, views):
    return jax.vmap(target)(views)


def check(views: "View") -> None:
    """Raise ValueError unless all arrays of a batched View have shapes consistent with `rgb` `(n, h, w, 3)`."""
    if np.ndim(views.rgb) != 4 or np.shape(views.rgb)[-1] != 3:
        raise ValueError(f"View.rgb has shape {np.shape(views.rgb)} where (images, height, width, 3) is expected.")
    n, h, w, _ = np.shape(views.rgb)
    plane, cube = (n, h, w), (n, h, w, 3)
    expected = {"depth": plane, "distance": plane, "semantic": plane, "instance": plane, "points": cube}
    expected |= {"normals": cube, "axes": (n, 3, 3), "room_center": (n, 3), "room_size": (n, 3)}
    expected |= {"scene": (n,), "focal": (n,)}
    for name, shape in expected.items():
        if np.shape(getattr(views, name)) != shape:
            found = np.shape(getattr(views, name))
            raise ValueError(f"View.{name} has shape {found}, but View.rgb requires {shape}.")
