"""What a branch is trained to give, its loss, and the metric by which it is judged."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxsim.studies.rooms.losses import divergence
from jaxsim.vision.training import losses, metrics

SIGMA = 1.0
"""Standard deviation of the smoothing, in pixels."""
LOW, HIGH = 0.1, 0.2
"""Thresholds of the hysteresis, on the gradient of a picture from 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        loss: from (prediction, target, mask, weight of pixels on an edge) to a number.
        postprocess: from a prediction to what the metric compares with the target.
        metric: from the task to one of `training.metrics`.
        measured: which of the metric's results counts.
        label: of it, with its unit.
        higher: whether more of it is better.
        likes: tasks of Taskonomy whose encoders say what this one needs, the first that there is.
        scale: of the loss (Maninis et al. 2019, released configurations).
        channels: of the prediction; None where the dataset says, one a class.
        whole: a class is of the whole picture and not of each pixel, and its target a share of every class.
        compute: from a picture `(h, w, 3)` uint8 to the target `(h, w)`; None where a dataset stores it.
        vectors: values are directions: x to the right, y down, z along the optical axis, toward the viewer or away.
            They turn with the picture. So are the normals of PASCAL_MT, NYUD_MT and Rooms. Those of Taskonomy are taken
            to be so, which nobody has checked on its own files.
    """

    loss: Callable[[Any, Any, Any, float], jax.Array]
    postprocess: Callable[[Any], Any]
    metric: Callable[["Task"], Any]
    measured: str
    label: str
    higher: bool
    likes: tuple[str, ...]
    scale: float = 1.0
    channels: int | None = None
    whole: bool = False
    compute: Callable[[Any], Any] | None = None
    vectors: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """One task on one dataset; called with (prediction, batch) it is its own loss.

    Attributes:
        name: one of `KINDS`.
        channels: of the prediction.
        weight: of pixels on an edge.
        unlabeled: class numbers that mark unknown pixels.
    """

    name: str
    channels: int
    weight: float = 0.95
    unlabeled: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the task's name stands for."""
        return KINDS[self.name]

    def __call__(self, prediction: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The loss of a batch with `target` and `mask`."""
        return self.kind.scale * self.kind.loss(prediction, batch["target"], batch["mask"], self.weight)


def _semantic(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    del weight
    return losses.cross_entropy(prediction, target, mask)


def _depth(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    del weight
    return losses.depth(prediction[..., 0], target, mask)


def _normals(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    del weight
    return losses.normals(prediction, target, mask)


def _edge(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    return losses.edges(prediction[..., 0], target, mask, weight)


def _shares(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    del weight
    return divergence(jnp.mean(prediction, (1, 2)), jnp.where(mask[:, None], target, 0))


def _likeliest(prediction: Any) -> Any:
    return jnp.argmax(prediction, -1)


def _likeliest_of_all(prediction: Any) -> Any:
    return jnp.argmax(jnp.mean(prediction, (1, 2)), -1)


def _first(prediction: Any) -> Any:
    return prediction[..., 0]


def _chance(prediction: Any) -> Any:
    return jax.nn.sigmoid(prediction[..., 0])


def _same(prediction: Any) -> Any:
    return prediction


def _overlap(task: Task) -> metrics.MeanIoU:
    return metrics.MeanIoU(task.channels, ignore=-1, unlabeled=task.unlabeled)


def _angles(task: Task) -> metrics.AngularError:
    del task
    return metrics.AngularError()


def _meters(task: Task) -> metrics.DepthError:
    del task
    return metrics.DepthError()


def _edges(task: Task) -> metrics.EdgeError:
    del task
    return metrics.EdgeError()


def canny(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Canny edges (Canny 1986) of the gray picture: 1 on an edge, 0 elsewhere, float32.

    scikit-image's detector with a Gaussian of `SIGMA` pixels and thresholds `LOW` and `HIGH`, its defaults, on the
    luminance of ITU-R BT.709. DDS 2020 takes Canny edges as ground truth and does not state its settings: these are
    our own.

    Raises:
        ImportError: scikit-image is not installed.

    >>> import numpy as np
    >>> halves = np.zeros((8, 8, 3), np.uint8)
    >>> halves[:, 4:] = 255
    >>> np.flatnonzero(canny(halves)[4]).tolist()
    [3, 4]
    """
    from skimage.color import rgb2gray
    from skimage.feature import canny as detect

    return detect(rgb2gray(image), SIGMA, LOW, HIGH).astype(np.float32)


_WHOLE = (_shares, _likeliest_of_all, _overlap, "accuracy", "accuracy", True)
_EDGE = (_edge, _chance, _edges, "mae", "edges, MAE", False)
_DEPTH = (_depth, _first, _meters, "log_rmse", "depth, log RMSE", False)
_NORMALS = (_normals, _same, _angles, "mean", "normals, mean degrees", False)
_PIXELS = (_semantic, _likeliest, _overlap, "miou", "classes of pixels, mIoU", True)
KINDS: dict[str, Kind] = {
    "edge": Kind(*_EDGE, ("edge2d", "edge_texture"), scale=50, channels=1, compute=canny),
    "depth": Kind(*_DEPTH, ("rgb2depth", "depth_zbuffer"), channels=1),
    "normals": Kind(*_NORMALS, ("rgb2sfnorm", "normal"), scale=10, channels=3, vectors=True),
    "semantic": Kind(*_PIXELS, ("segmentsemantic", "segment_semantic")),
    "object": Kind(*_WHOLE, ("class_object", "class_1000"), whole=True),
    "scene": Kind(*_WHOLE, ("class_scene", "class_places"), whole=True),
}
"""Tasks by name. 'edge' is Canny's edges of the picture (DDS 2020); 'object' and 'scene' are shares of classes in the
whole picture, judged by the likeliest alone. 'depth' is judged by the error over known pixels alone; what ASTMT's code
gives, which counts unknown ones, is `DepthError`'s 'log_rmse_released'."""
