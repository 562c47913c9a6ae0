"""Small encoders trained in the built-in world: one network a task, the shipped set, and features of pictures."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.studies.rooms import losses, pictures, tasks
from jaxsim.vision import models, training
from jaxsim.vision.extraction.preprocessing import GRAY, UNIT, Preprocessing, decolored
from jaxsim.vision.training import steps as stepping

SHIPPED = "shipped/encoders.safetensors"
"""The trained encoders that come with the package, beside this module."""
BATCH = 32


@dataclasses.dataclass(frozen=True)
class TaskLoss:
    """A task's loss on targets brought to mean 0 and variance 1, as the training loop wants it.

    Attributes:
        name: of the task.
        mean: of each channel of the training targets; none for tasks of classes and segments.
        sd: their standard deviation.
        weights: of the classes of a segmentation, by their frequency among the training targets; none elsewhere.
    """

    name: str
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, task: tasks.Task, targets: np.ndarray) -> "TaskLoss":
        """The loss fitted to training targets."""
        if task.kind == "segmentation":
            weights = losses.class_weights(jnp.asarray(targets, jnp.int32), task.channels)
            return cls(task.name, weights=tuple(map(float, weights)))
        if task.kind not in ("image", "vector"):
            return cls(task.name)
        mean, sd = losses.standardize(jnp.asarray(targets, jnp.float32))
        return cls(task.name, tuple(map(float, mean)), tuple(map(float, sd)))

    def target(self, target: jax.Array) -> jax.Array:
        """Targets as the network is to give them."""
        if not self.mean:
            return target.astype(jnp.int32 if jnp.issubdtype(target.dtype, jnp.integer) else jnp.float32)
        return (target.astype(jnp.float32) - jnp.array(self.mean)) / jnp.array(self.sd)

    def __call__(self, prediction: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The loss of a batch."""
        return self.value(prediction, self.target(batch["target"]))

    def value(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        """The loss of outputs for targets that `target` gave."""
        return tasks.TASKS[self.name].loss(prediction, target, self.class_weights)

    @property
    def class_weights(self) -> jax.Array | None:
        """The weights as an array, if the task has any."""
        return jnp.array(self.weights) if self.weights else None


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network, how its loss fell, and how good it is on pictures it has not seen.

    Attributes:
        network: encoder and decoder.
        curve: loss of every step's batch.
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
    """An untrained network for a task; every task has initial weights of its own.

    Raises:
        ValueError: there is no such size of encoder.
    """
    place = list(tasks.TASKS).index(task.name)
    rngs = nnx.Rngs(jax.random.fold_in(jax.random.key(seed), place))
    encoder = models.SmallEncoder.named(size, rngs=rngs)
    if task.kind in ("image", "embedding"):
        return models.Network(encoder, models.SmallDecoder(task.channels, rngs=rngs))
    if task.kind == "segmentation":
        return models.Network(encoder, models.AsppDecoder(task.channels, rngs=rngs))
    cells = (resolution // 8) ** 2
    head = models.VectorHead(task.channels, features_in=8 * cells, rngs=rngs)
    return models.Network(encoder, head)


def inputs(task: tasks.Task, rgb: np.ndarray, seed: int = 0) -> np.ndarray:
    """What the task's network sees of pictures `(n, h, w, 3)` uint8: noisy, masked or gray, or as they are."""
    if task.corrupt is tasks.image.unchanged:
        return rgb
    out = np.empty_like(rgb)
    for start in range(0, len(rgb), 256):
        part = rgb[start : start + 256]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.arange(start, start + len(part)))
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
    """Train one network a task, all together on an accelerator, and judge it on other pictures.

    Args:
        names: tasks.
        learn: pictures and targets to learn from.
        judge: pictures and targets that validation uses.
        steps: gradient steps of BATCH pictures.
        seed: of initial weights, batches and noise.
        size: of the encoder, a name in `models.SIZES`.
        learning_rate: highest rate of Adam; it rises over the first steps and falls along a cosine to zero.
        until: stop each run after this step, to go on in a later call with the same checkpoints; None trains to the
            end.
        checkpoints: folder in which a killed run finds what it had; None keeps nothing.
        progress: called with the name and result of each task when it is done.

    Raises:
        ValueError: an unknown task or size, or pictures without a task's targets.
        FloatingPointError: a loss is not finite, naming task and step.
    """
    for name in names:
        tasks.named(name)
        for what, have in (("learn from", learn), ("be judged on", judge)):
            if name not in have.targets:
                raise ValueError(f"task {name!r} has no targets among the pictures to {what}.")
    fits = {name: TaskLoss.of(tasks.TASKS[name], learn.targets[name]) for name in names}
    how: dict[str, Any] = {
        "steps": steps,
        "batch": min(BATCH, len(learn)),
        "key": jax.random.key(seed),
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
    """Every task's network: all at once on an accelerator, elsewhere each when it is asked for."""

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
    """Loss on the pictures, and that of the best constant."""
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
    """The twenty trained encoders that come with the package; see `load`."""
    return load(shipped_file())


def shipped_file() -> Path:
    """Where the encoders that come with the package are."""
    return Path(str(resources.files("jaxsim.studies.rooms") / SHIPPED))


def load(path: str | Path) -> dict[str, models.SmallEncoder]:
    """The encoders of a world that `world.build` made, by task, checked against their checksums.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file was altered, or is of another version of the world.
    """
    version = models.safetensors_metadata(path).get("world_version")
    if version != pictures.VERSION:
        raise ValueError(f"{path} was made for version {version} of the world, and this is version {pictures.VERSION}.")
    return models.from_safetensors(path)


def features(
    encoders: Mapping[str, models.SmallEncoder], rgb: np.ndarray, layer: str | None = None
) -> dict[str, np.ndarray]:
    """Features `(n, h, w, c)` float32 of pictures `(n, H, W, 3)` uint8, by encoder.

    Colorization's encoder sees gray pictures, as in its training; all others see them as they are.

    Args:
        encoders: by the name of their task.
        rgb: pictures; the shipped encoders were trained on 64 x 64.
        layer: name of the layer, such as 'conv2'; the code by default.

    Raises:
        ValueError: the pictures are of another shape or type, there are none, or an encoder has no such layer.
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
    """Whether the network of that name is shown gray pictures when its features are taken: that of colorization.

    >>> sees_gray("colorization"), sees_gray("edge2d"), sees_gray("mine")
    (True, False, False)
    """
    return name in tasks.TASKS and tasks.TASKS[name].corrupt is decolored


def preprocessing_of(name: str) -> Preprocessing:
    """Preprocessing that the small encoder of that name was trained with: gray pictures for colorization.

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
