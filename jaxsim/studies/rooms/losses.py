"""Losses of the twenty tasks, the loss of the best constant, and the skill relative to it.

A loss takes the network's output and the target, of one image or with any leading axes, over which it is averaged;
`jax.vmap` gives one value per image. `weights` are class weights, which only the cross-entropies use.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsim.vision.extraction.preprocessing import hidden

if TYPE_CHECKING:
    from jaxsim.studies.rooms.tasks import Task


def absolute(
    prediction: Float[Array, "*a"], target: Float[Array, "*a"], weights: Float[Array, " c"] | None = None
) -> Float[Array, ""]:
    """Mean absolute error.

    >>> import jax.numpy as jnp
    >>> float(absolute(jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1))))
    1.0
    """
    _check("prediction", prediction, target.shape)
    return jnp.mean(jnp.abs(prediction - target))


def hidden_absolute(
    prediction: Float[Array, "*n h w c"], target: Float[Array, "*n h w c"], weights: Float[Array, " k"] | None = None
) -> Float[Array, ""]:
    """Mean absolute error of inpainting: half for the hidden center, half for the visible rest."""
    _check("prediction", prediction, target.shape)
    inside = hidden(*target.shape[-3:-1])
    share = jnp.mean(inside)
    return jnp.mean(jnp.abs(prediction - target) * (inside / share + (1 - inside) / (1 - share)) / 2)


def squared(
    prediction: Float[Array, "*a"], target: Float[Array, "*a"], weights: Float[Array, " c"] | None = None
) -> Float[Array, ""]:
    """Mean squared error, under which few large values of a sparse target outweigh its many zeros."""
    _check("prediction", prediction, target.shape)
    return jnp.mean((prediction - target) ** 2)


def cross_entropy(
    prediction: Float[Array, "*a c"], target: Int[Array, "*a"], weights: Float[Array, " c"] | None = None
) -> Float[Array, ""]:
    """Cross-entropy of logits in nats, weighted by class.

    >>> import jax.numpy as jnp
    >>> round(float(cross_entropy(jnp.zeros(4), jnp.array(2))), 4)
    1.3863
    """
    _check("prediction", prediction, (*target.shape, prediction.shape[-1]))
    target = target[..., None]
    logs = jnp.take_along_axis(jax.nn.log_softmax(prediction), target, -1)
    return -jnp.mean(logs if weights is None else logs * weights[target])


def balanced_cross_entropy(
    prediction: Float[Array, "*a c"], target: Int[Array, "*a"], weights: Float[Array, " c"] | None = None
) -> Float[Array, ""]:
    """`cross_entropy` with class weights of a training set, or else those of the target itself."""
    if weights is None:
        weights = class_weights(target, prediction.shape[-1])
    return cross_entropy(prediction, target, weights)


def divergence(
    prediction: Float[Array, "*a c"], target: Float[Array, "*a c"], weights: Float[Array, " c"] | None = None
) -> Float[Array, ""]:
    """Kullback-Leibler divergence of the logits' distribution from a target distribution.

    A target of zeros, for an image without objects, contributes 0.

    >>> import jax.numpy as jnp
    >>> p = jnp.array([0.25, 0.75])
    >>> abs(round(float(divergence(jnp.log(p), p)), 6))
    0.0
    """
    _check("prediction", prediction, target.shape)
    entropy = -jnp.sum(jax.scipy.special.xlogy(target, target), -1)
    return jnp.mean(-jnp.sum(target * jax.nn.log_softmax(prediction), -1) - entropy)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Contrastive loss of an embedding on pairs of pixels.

    Mean of d^2 over pairs in one segment and of max(0, margin - d)^2 over pairs in two, half each in every image, for
    the Euclidean distance d of two pixels' outputs (after De Brabandere et al. 2017). The pairs are drawn once from
    `seed` for each image size and are the same for all images; half of them anywhere, half within an eighth of the
    width, so that boundaries count.

    Attributes:
        count: number of pairs per image.
        margin: distance beyond which pairs in two segments add no loss.
        seed: seed of the draw.
    """

    count: int = 4096
    margin: float = 1.0
    seed: int = 0

    def __call__(
        self,
        prediction: Float[Array, "*n h w c"],
        target: Int[Array, "*n h w"],
        weights: Float[Array, " k"] | None = None,
    ) -> Float[Array, ""]:
        """The loss of outputs `(..., h, w, c)` for segment numbers `(..., h, w)`."""
        _check("prediction", prediction, (*target.shape, prediction.shape[-1]))
        first, second = self.draw(*target.shape[-2:])
        pixels = prediction.reshape(*prediction.shape[:-3], -1, prediction.shape[-1])
        square = jnp.sum((pixels[..., first, :] - pixels[..., second, :]) ** 2, -1)
        apart = jnp.maximum(self.margin - jnp.sqrt(square + 1e-8), 0) ** 2
        same, different = self._shares(target)
        return jnp.mean(jnp.sum(same * square + different * apart, -1))

    def constant(self, target: Int[Array, "n h w"]) -> Float[Array, ""]:
        """Lower bound of the loss of distances that are the same in every image.

        Each pair has the best distance for its position over the images. An embedding with all of these distances may
        not exist, so a network's skill is understated rather than overstated.
        """
        same, different = self._shares(target)
        same, different = jnp.mean(same, 0), jnp.mean(different, 0)
        total = same + different
        return self.margin**2 * jnp.sum(same * different / jnp.where(total > 0, total, 1))

    def draw(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the two pixels of every pair, numbered row by row."""
        return _draw(self, height, width)

    def _shares(self, target):
        """Weights of the pairs in the two parts of the loss, `(..., count)` each, that sum to one half."""
        first, second = self.draw(*target.shape[-2:])
        segment = target.reshape(*target.shape[:-2], -1)
        same = (segment[..., first] == segment[..., second]).astype(jnp.float32)
        counts = jnp.sum(same, -1, keepdims=True)
        return same / jnp.maximum(2 * counts, 1), (1 - same) / jnp.maximum(2 * (self.count - counts), 1)


@functools.lru_cache(maxsize=16)
def _draw(pairs: Pairs, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(pairs.seed)
    row, column, far_row, far_column = (rng.integers(0, size, pairs.count) for size in (height, width) * 2)
    near = np.arange(pairs.count) % 2 == 0
    reach = max(1, width // 8)
    steps = rng.integers(-reach, reach + 1, (2, pairs.count))
    far_row = np.where(near, np.clip(row + steps[0], 0, height - 1), far_row)
    far_column = np.where(near, np.clip(column + steps[1], 0, width - 1), far_column)
    return row * width + column, far_row * width + far_column


def class_weights(target: Int[Array, "*a"], classes: int, power: float = 0.5) -> Float[Array, " c"]:
    """Class weights proportional to frequency^-power with mean one over the entries; 0 for absent classes.

    With power 1 every class counts the same, with power 0 every entry.

    >>> import jax.numpy as jnp
    >>> class_weights(jnp.array([0, 0, 0, 0, 1]), 3, power=1.0).tolist()
    [0.625, 2.5, 0.0]
    """
    frequency = jnp.bincount(jnp.ravel(target), length=classes) / target.size
    raw = jnp.where(frequency > 0, jnp.maximum(frequency, 1e-12) ** -power, 0)
    return raw / jnp.sum(frequency * raw)


def standardize(targets: Float[Array, "n *a c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and standard deviation of each channel over a training set; (targets - mean) / sd has unit variance.

    The standard deviation of a constant channel is returned as 1.

    >>> import jax.numpy as jnp
    >>> mean, sd = standardize(jnp.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), sd.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    axes = tuple(range(targets.ndim - 1))
    sd = jnp.std(targets, axes)
    return jnp.mean(targets, axes), jnp.where(sd > 0, sd, 1)


def _median(targets: Array, weights: Array | None, classes: int) -> Array:
    return jnp.median(targets, 0)


def _mean(targets: Array, weights: Array | None, classes: int) -> Array:
    return jnp.mean(targets, 0)


def _log_shares(targets: Array, weights: Array | None, classes: int) -> Array:
    return jnp.log(jnp.mean(targets, 0) + 1e-9)


def _log_frequencies(targets: Array, weights: Array | None, classes: int) -> Array:
    weights = jnp.ones(classes) if weights is None else weights
    counts = [jnp.mean(targets == c, axis=0, dtype=jnp.float32) for c in range(classes)]
    return jnp.log(jnp.stack(counts, -1) * weights + 1e-9)


def _balanced_log_frequencies(targets: Array, weights: Array | None, classes: int) -> Array:
    return _log_frequencies(targets, class_weights(targets, classes) if weights is None else weights, classes)


CONSTANTS: Mapping[Callable[..., jax.Array], Callable[[Array, Array | None, int], Array]] = MappingProxyType(
    {
        absolute: _median,
        hidden_absolute: _median,
        squared: _mean,
        divergence: _log_shares,
        cross_entropy: _log_frequencies,
        balanced_cross_entropy: _balanced_log_frequencies,
    }
)
"""The best constant output under each loss, a function of (targets, class weights, number of classes)."""


def constant_prediction(task: "Task", targets: Array, weights: Float[Array, " c"] | None = None) -> Float[Array, "..."]:
    """The constant output with the least loss: one value for each position and channel, see `CONSTANTS`.

    Args:
        task: one of `tasks.TASKS`, other than the two embeddings.
        targets: `(n, ...)`, targets of training or validation images.
        weights: class weights, as given to the loss.

    Raises:
        ValueError: the task is an embedding, for which only the loss of the best constant is known.
    """
    if task.loss not in CONSTANTS:
        raise ValueError(f"no constant output is known to be best for {task.name!r}; use constant_loss.")
    return CONSTANTS[task.loss](jnp.asarray(targets), weights, task.channels)


def constant_loss(task: "Task", targets: Array, weights: Float[Array, " c"] | None = None) -> Float[Array, ""]:
    """Loss on the targets `(n, ...)` of the best predictor that ignores the image.

    The constant is fitted to these same targets, one value for each position: with n images, its loss is too low by
    about one part in n.

    >>> import jax.numpy as jnp
    >>> from jaxsim.studies.rooms import tasks
    >>> float(constant_loss(tasks.TASKS["edge2d"], jnp.array([0.0, 2.0]).reshape(2, 1, 1, 1)))
    1.0
    """
    targets = jnp.asarray(targets)
    if task.loss not in CONSTANTS:
        return task.loss.constant(targets)
    best = constant_prediction(task, targets, weights)
    return task.loss(jnp.broadcast_to(best, (len(targets), *best.shape)), targets, weights)


def skill(
    task: "Task", predictions: Float[Array, "n ..."], targets: Array, weights: Float[Array, " c"] | None = None
) -> Float[Array, ""]:
    """1 - loss / constant_loss: 1 is perfect, 0 as good as the best constant; NaN if its loss is 0.

    >>> import jax.numpy as jnp
    >>> from jaxsim.studies.rooms import tasks
    >>> target = jnp.array([0.0, 2.0]).reshape(2, 1, 1, 1)
    >>> float(skill(tasks.TASKS["edge2d"], target, target))
    1.0
    """
    constant = constant_loss(task, targets, weights)
    loss = task.loss(predictions, jnp.asarray(targets), weights)
    return jnp.where(constant > 0, 1 - loss / jnp.where(constant > 0, constant, 1), jnp.nan)


def _check(what, array, shape):
    if array.shape != tuple(shape):
        raise ValueError(f"the {what} has shape {array.shape}, but the target requires {tuple(shape)}.")
