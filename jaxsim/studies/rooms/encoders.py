"""Small encoders of the built-in world: training one per task, the shipped set, and their features."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.statistics.checks import as_key
from jaxsim.studies.rooms import losses, pictures, tasks
from jaxsim.vision import models, training
from jaxsim.vision.extraction.preprocessing import GRAY, UNIT, Preprocessing, decolored
from jaxsim.vision.models import decoders
from jaxsim.vision.training import steps as stepping

SHIPPED = "shipped/encoders.safetensors"
"""File of the shipped encoders, relative to this module."""
RESNET = "resnet50"
"""Size of Taskonomy's own encoder, a ResNet-50; not a size for worlds, whose files contain small encoders."""
BATCH = 32


@dataclasses.dataclass(frozen=True)
class TaskLoss:
    """A task's loss on standardized targets, as a function of (prediction, batch).

    Attributes:
        name: name of the task.
        mean: mean of each channel of the training targets; empty for tasks of classes and segments.
        sd: standard deviation of each channel.
        weights: class weights of a segmentation by frequency in the training targets; empty for other tasks.
    """

    name: str
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, task: tasks.Task, targets: np.ndarray) -> "TaskLoss":
        """Fit the loss to training targets."""
        if task.kind == "segmentation":
            weights = losses.class_weights(jnp.asarray(targets, jnp.int32), task.channels)
            return cls(task.name, weights=tuple(map(float, weights)))
        if task.kind not in ("image", "vector"):
            return cls(task.name)
        mean, sd = losses.standardize(jnp.asarray(targets, jnp.float32))
        return cls(task.name, tuple(map(float, mean)), tuple(map(float, sd)))

    def target(self, target: jax.Array) -> jax.Array:
        """Standardize targets, or cast class numbers."""
        if not self.mean:
            return target.astype(jnp.int32 if jnp.issubdtype(target.dtype, jnp.integer) else jnp.float32)
        return (target.astype(jnp.float32) - jnp.array(self.mean)) / jnp.array(self.sd)

    def __call__(self, prediction: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The loss of a batch."""
        return self.value(prediction, self.target(batch["target"]))

    def value(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        """The loss of outputs for targets returned by `target`."""
        return tasks.TASKS[self.name].loss(prediction, target, self.class_weights)

    @property
    def class_weights(self) -> jax.Array | None:
        """The weights as an array, if the task has any."""
        return jnp.array(self.weights) if self.weights else None


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network, its loss curve, and its validation loss.

    Attributes:
        network: encoder and decoder.
        curve: loss of each step's batch.
        loss: validation loss.
        constant: validation loss of the best constant.
    """

    network: models.Network
    curve: np.ndarray
    loss: float
    constant: float

    @property
    def skill(self) -> float:
        """1 - loss / constant."""
        return 1 - self.loss / self.constant


def network(task: tasks.Task, seed: int = 0, size: str = "small", resolution: int = 64) -> models.Network:
    """Make an untrained network for a task; initial weights differ between tasks.

    Args:
        task: the task.
        seed: seed of the weights.
        size: size of the encoder, a name in `models.SIZES` or `RESNET`. Size 'paper' also has the decoder of Table S1.
        resolution: side of the pictures in pixels.

    Raises:
        ValueError: the size of the encoder is unknown, or no decoder fits it at this resolution.
    """
    scale = reduction(size, resolution)
    place = list(tasks.TASKS).index(task.name)
    rngs = nnx.Rngs(jax.random.fold_in(as_key(seed), place))
    if size == RESNET:
        encoder = models.ResNet.named("resnet50-taskonomy", rngs=rngs)
    else:
        encoder = models.SmallEncoder.named(size, rngs=rngs)
    if task.kind in ("image", "embedding"):
        widths = decoders.PAPER_WIDTHS if size == "paper" else decoders.WIDTHS
        return models.Network(
            encoder, models.SmallDecoder(task.channels, scale.bit_length() - 1, widths=widths, rngs=rngs)
        )
    if task.kind == "segmentation":
        return models.Network(encoder, models.AsppDecoder(task.channels, scale=scale, rngs=rngs))
    cells = (resolution // scale) ** 2
    head = models.VectorHead(task.channels, features_in=8 * cells, rngs=rngs)
    return models.Network(encoder, head)


def reduction(size: str, resolution: int) -> int:
    """Side of the pictures over the side of their code: 8, or 16 for 'paper' and the ResNet.

    Raises:
        ValueError: the size is unknown, or the resolution is not a multiple of the reduction, so that no decoder fits.

    >>> reduction("small", 64), reduction("paper", 64)
    (8, 16)
    """
    if size != RESNET:
        models.check_size(size)
    scale = 16 if size == RESNET else math.prod(models.SIZES[size]["strides"])
    if resolution % scale:
        raise ValueError(
            f"encoders of size {size!r} need pictures whose side is a multiple of {scale}, so that a decoder gives the "
            f"targets' shape; not {resolution} pixels."
        )
    return scale


def inputs(task: tasks.Task, rgb: np.ndarray, seed: int = 0) -> np.ndarray:
    """Inputs of the task's network for pictures `(n, h, w, 3)` uint8: noisy, masked, gray, or unchanged."""
    if task.corrupt is tasks.image.unchanged:
        return rgb
    out = np.empty_like(rgb)
    for start in range(0, len(rgb), 256):
        part = rgb[start : start + 256]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(as_key(seed), np.arange(start, start + len(part)))
        seen = jax.vmap(task.corrupt)(jnp.asarray(part, jnp.float32) / 255, keys)
        out[start : start + 256] = np.round(np.clip(np.asarray(seen), 0, 1) * 255)
    return out


def train(
    names: Sequence[str],
    learn: pictures.Pictures,
    judge: pictures.Pictures,
    *,
    steps: int = 1500,
    seed: int = 0,
    size: str = "small",
    learning_rate: float = 3e-3,
    until: int | None = None,
    checkpoints: str | Path | None = None,
    progress: Callable[[str, Trained], None] | None = None,
) -> dict[str, Trained]:
    """Train one network per task, all together on an accelerator, and validate it on other pictures.

    Args:
        names: names of tasks.
        learn: training pictures and targets.
        judge: validation pictures and targets.
        steps: gradient steps of BATCH pictures.
        seed: seed of initial weights, batches and noise.
        size: size of the encoder, a name in `models.SIZES`.
        learning_rate: highest rate of Adam, which warms up and decays along a cosine to zero.
        until: stop each run after this step, to be resumed by a later call with the same checkpoints; None for the end.
        checkpoints: folder from which a killed run resumes; None for no checkpoints.
        progress: called with the name and result of each finished task.

    Raises:
        ValueError: a task or size is unknown, or the pictures lack a task's targets.
        FloatingPointError: a loss is not finite; the message names the task and the step.
    """
    for name in names:
        tasks.named(name)
        for what, have in (("training", learn), ("validation", judge)):
            if name not in have.targets:
                raise ValueError(f"task {name!r} has no targets in the {what} pictures.")
    fits = {name: TaskLoss.of(tasks.TASKS[name], learn.targets[name]) for name in names}
    how: dict[str, Any] = {
        "steps": steps,
        "batch": min(BATCH, len(learn)),
        "key": as_key(seed),
        "learning_rate": learning_rate,
        "until": until,
        "progress": False,
    }
    done = {}
    for name, fitted in _fitted(fits, learn, seed, size, None if checkpoints is None else Path(checkpoints), how):
        value, constant = validate(tasks.TASKS[name], fitted.network, fits[name], judge)
        done[name] = Trained(fitted.network, np.asarray(fitted.curve), value, constant)
        if progress is not None:
            progress(name, done[name])
    return done


def _fitted(
    fits: Mapping[str, TaskLoss], learn: pictures.Pictures, seed: int, size: str, folder: Path | None, how: dict
) -> Iterator[tuple[str, training.Fitted]]:
    """Yield every task's network, trained together on an accelerator and one by one on other devices."""

    def begun(name):
        return network(tasks.TASKS[name], seed, size, learn.rgb.shape[1])

    def data(name):
        return {"images": inputs(tasks.TASKS[name], learn.rgb, seed), "target": learn.targets[name]}

    def kept(name):
        return None if folder is None else folder / f"{name}-{size}-{seed}"

    if len(fits) > 1 and stepping.stacks_tasks():
        networks, arrays = {name: begun(name) for name in fits}, {name: data(name) for name in fits}
        yield from training.fit_many(networks, fits, arrays, checkpoints=kept("together"), **how).items()
        return
    for name, loss in fits.items():
        try:
            yield name, training.fit(begun(name), loss, data(name), checkpoints=kept(name), **how)
        except FloatingPointError as error:
            raise FloatingPointError(f"{name}: {error}") from None


def validate(task: tasks.Task, net: models.Network, loss: TaskLoss, judge: pictures.Pictures) -> tuple[float, float]:
    """Validation loss of a network, and that of the best constant."""
    seen, targets = inputs(task, judge.rgb, judge.seed), judge.targets[task.name]
    parts = [slice(s, s + 256) for s in range(0, len(seen), 256)]
    outputs = [np.asarray(_predict(net, jnp.asarray(seen[p], jnp.float32) / 255)) for p in parts]
    wanted = loss.target(jnp.asarray(targets))
    value = float(loss.value(jnp.asarray(np.concatenate(outputs)), wanted))
    return value, float(losses.constant_loss(task, wanted, loss.class_weights))


@nnx.jit
def _predict(net, x):
    return net(x)


def shipped() -> dict[str, models.SmallEncoder]:
    """Load the twenty shipped encoders; see `load`."""
    return load(shipped_file())


def shipped_file() -> Path:
    """Path of the shipped encoders."""
    return Path(str(resources.files("jaxsim.studies.rooms") / SHIPPED))


def load(path: str | Path) -> dict[str, models.SmallEncoder]:
    """Load the encoders of a world made by `world.build`, by task.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or was made for another version of the world.
    """
    version = models.safetensors_metadata(path).get("world_version")
    if version != pictures.VERSION:
        raise ValueError(f"{path} was made for version {version} of the world, but this is version {pictures.VERSION}.")
    return models.from_safetensors(path)


def features(
    encoders: Mapping[str, models.SmallEncoder], rgb: np.ndarray, layer: str | None = None
) -> dict[str, np.ndarray]:
    """Compute features `(n, h, w, c)` float32 of pictures `(n, H, W, 3)` uint8 by encoder.

    Colorization's encoder gets gray pictures, as in its training.

    Args:
        encoders: encoders by the name of their task.
        rgb: pictures; the shipped encoders were trained on 64 x 64.
        layer: name of the layer, such as 'conv2'; the code by default.

    Raises:
        ValueError: the pictures have another shape or type, there are none, or an encoder has no such layer.
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or rgb.dtype != np.uint8 or not len(rgb):
        raise ValueError(f"pictures must be (n, h, w, 3) uint8 with n > 0, not {rgb.shape} {rgb.dtype}.")
    found: dict[str, Any] = {}
    for name, encoder in encoders.items():
        seen = inputs(tasks.TASKS[name], rgb) if sees_gray(name) else rgb
        found[name] = _extract(encoder, seen, layer, name)
    return found


def sees_gray(name: str) -> bool:
    """Whether a network of that name gets gray pictures, which only colorization does.

    >>> sees_gray("colorization"), sees_gray("edge2d"), sees_gray("mine")
    (True, False, False)
    """
    return name in tasks.TASKS and tasks.TASKS[name].corrupt is decolored


def preprocessing_of(name: str) -> Preprocessing:
    """Preprocessing of the small encoder of that name: gray pictures for colorization.

    >>> preprocessing_of("colorization") == GRAY, preprocessing_of("edge2d") == UNIT
    (True, True)
    """
    return GRAY if sees_gray(name) else UNIT


@functools.partial(nnx.jit, static_argnames="layer")
def _layer(encoder, x, layer):
    return encoder.layers(x.astype(jnp.float32) / 255, layer)[layer]


def _extract(encoder, rgb, layer, name):
    wanted = layer or encoder.names[-1]
    if wanted not in encoder.names:
        raise ValueError(f"encoder {name!r} has no layer {wanted!r}; it has {', '.join(encoder.names)}.")
    parts = [rgb[start : start + 256] for start in range(0, len(rgb), 256)]
    return np.concatenate([np.asarray(_layer(encoder, jnp.asarray(part), wanted)) for part in parts])
