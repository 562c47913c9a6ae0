"""Tasks of branches: targets, losses and metrics."""

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
"""Standard deviation in pixels of the Gaussian in Canny's detector."""
LOW, HIGH = 0.1, 0.2
"""Its hysteresis thresholds, on the gradient of a picture in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        loss: function of (prediction, target, mask, weight of edge pixels).
        postprocess: function from a prediction to the values that the metric compares with the target.
        metric: function from the task to one of `training.metrics`.
        measured: name of the metric's main result.
        label: label of that result, with its unit.
        higher: whether higher is better.
        likes: similar tasks of Taskonomy, the best match first, whose encoder is compared with the layers.
        scale: scale of the loss (Maninis et al. 2019, released configurations).
        channels: channels of the prediction; None for the dataset's number of classes.
        whole: whether the target is a share of every class in the whole picture, not a class per pixel.
        compute: function from a picture `(h, w, 3)` uint8 to the target `(h, w)`; None if the dataset stores it.
        vectors: whether values are directions that rotate with the picture: x to the right, y down, z along the optical
            axis, toward the viewer or away. The normals of PASCAL_MT, NYUD_MT and Rooms are; for Taskonomy's this is
            assumed and has not been checked on its files.
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
    """A task on a dataset, and its loss as a function of (prediction, batch).

    Attributes:
        name: a name in `KINDS`.
        channels: channels of the prediction.
        weight: weight of edge pixels.
        unlabeled: class numbers that mark unknown pixels.
    """

    name: str
    channels: int
    weight: float = 0.95
    unlabeled: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return KINDS[self.name]

    def __call__(self, prediction: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The loss of a batch with `target` and `mask`."""
        return self.kind.scale * self.kind.loss(prediction, batch["target"], batch["mask"], self.weight)


def _semantic(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    return losses.cross_entropy(prediction, target, mask)


def _depth(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    return losses.depth(prediction[..., 0], target, mask)


def _normals(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    return losses.normals(prediction, target, mask)


def _edge(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
    return losses.edges(prediction[..., 0], target, mask, weight)


def _shares(prediction: Any, target: Any, mask: Any, weight: float) -> jax.Array:
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
    return metrics.AngularError()


def _meters(task: Task) -> metrics.DepthError:
    return metrics.DepthError()


def _edges(task: Task) -> metrics.EdgeError:
    return metrics.EdgeError()


def canny(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Detect Canny edges (Canny 1986) in the gray picture: 1 on an edge, 0 elsewhere.

    scikit-image's detector with a Gaussian of `SIGMA` pixels and thresholds `LOW` and `HIGH`, its defaults, on the luma
    of ITU-R BT.709. DDS 2020 uses Canny edges as ground truth without stating its settings; these are our own.

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
"""Tasks by name. 'edge' is the Canny edges of the picture (DDS 2020); 'object' and 'scene' are shares of classes in the
whole picture, evaluated by their most likely class. 'depth' is evaluated over known pixels; the number of ASTMT's code,
which includes unknown ones, is 'log_rmse_released' of `DepthError`."""
