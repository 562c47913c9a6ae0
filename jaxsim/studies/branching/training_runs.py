"""Training a branch on pictures, evaluating it on held-out ones, and the recipe that its results depend on."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.statistics.checks import as_key
from jaxsim.studies.branching.augmentation import Augment
from jaxsim.studies.branching.data import Folder, Pictures, add_computed
from jaxsim.studies.branching.similarity import Probe
from jaxsim.studies.branching.tasks import Task
from jaxsim.vision import training
from jaxsim.vision.datasets import Batch
from jaxsim.vision.datasets.loader import stretch
from jaxsim.vision.models.weights import Encoder, digest
from jaxsim.vision.training.optimizers import Optimizer


@dataclasses.dataclass(frozen=True)
class Plan:
    """Settings of the training of branches; defaults as in DDS 2020 (section 5.2) for Pascal VOC.

    Complete pictures are resized to squares, as in ASTMT. Metrics are computed at that size, not at the pictures' own
    size as in ASTMT.

    Attributes:
        size: side of the squares in pixels; 512 in ASTMT.
        epochs: passes over the training pictures; 60, and 200 for NYUv2.
        batch: pictures per step.
        learning_rate: the highest rate.
        optimizer: a name in `OPTIMIZERS`.
        max_pictures: largest number of training pictures, and twice that of validation pictures; None for all.
        frozen: train only the decoder, with the encoder unchanged.
    """

    size: int
    epochs: int = 60
    batch: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "sgd"
    max_pictures: int | None = None
    frozen: bool = False

    def steps(self, pictures: int) -> int:
        """Steps of a whole run; an epoch drops an incomplete batch."""
        return self.epochs * max(1, pictures // self.batch)

    def limit(self, folder: Folder) -> Folder:
        """Limit a folder to `max_pictures`."""
        if self.max_pictures is None:
            return folder
        train, val = folder.train.part(self.max_pictures), folder.val.part(max(1, self.max_pictures // 2))
        return dataclasses.replace(folder, train=train, val=val)


OPTIMIZERS: dict[str, Callable[[Plan], Optimizer]] = {
    "sgd": lambda plan: training.Sgd(plan.epochs),
    "adam": lambda plan: training.adam,
}
"""Optimizers by name, as functions of the plan."""


def train(
    network: nnx.Module,
    task: Task,
    pictures: Pictures,
    plan: Plan,
    *,
    seed: int = 0,
    checkpoints: str | Path | None = None,
) -> training.Fitted:
    """Train the weights of a network on pictures with targets of a task, augmented by `Augment`.

    Args:
        network: maps pictures in [0, 1] to `task.channels` at their size; it is not changed.
        task: the task, with its loss.
        pictures: training pictures.
        plan: settings of the training.
        seed: seed of the order of the pictures and of the augmentation.
        checkpoints: folder from which a killed run resumes; None for no checkpoints.

    Raises:
        ValueError: the optimizer is unknown, a file is damaged, or the checkpoints belong to another run.
        FloatingPointError: a loss is not finite; the message names the step.
    """
    if plan.optimizer not in OPTIMIZERS:
        raise ValueError(f"there is no optimizer {plan.optimizer!r}; choose from {', '.join(OPTIMIZERS)}.")
    stream = pictures.batches(
        min(plan.batch, len(pictures)),
        size=plan.size,
        resize=stretch,
        key=as_key(seed),
        epochs=None,
        augment=Augment(),
        finish=add_computed,
        drop_remainder=True,
    ).map(functools.partial(_arrays, task.name))
    steps = plan.steps(len(pictures))
    return training.fit_stream(
        network,
        task,
        stream,
        steps=steps,
        optimizer=OPTIMIZERS[plan.optimizer](plan),
        learning_rate=plan.learning_rate,
        checkpoints=checkpoints,
        every=max(1, min(250, steps // 4)),
        progress=False,
    )


def evaluate(network: nnx.Module, task: Task, pictures: Pictures, plan: Plan) -> dict[str, float]:
    """All results of the task's metric on pictures without augmentation.

    Raises:
        ValueError: a file is damaged.
    """
    metric = task.kind.metric(task)
    state, batch = metric.start(), min(plan.batch, len(pictures))
    for one in pictures.batches(batch, size=plan.size, resize=stretch, finish=add_computed):
        arrays = _padded(_arrays(task.name, one), batch)
        predicted, target = _answer(network, task, jnp.asarray(arrays["images"]))[: len(one)], arrays["target"]
        target = np.argmax(target, -1) if target.ndim == 2 else target
        state = metric.update(state, predicted, target, arrays["mask"])
    found = metric.result(state)
    return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


@functools.partial(nnx.jit, static_argnums=1)
def _answer(network: Any, task: Task, images: jax.Array) -> jax.Array:
    return task.kind.postprocess(network(images.astype(jnp.float32) / 255))


def _arrays(name: str, batch: Batch) -> dict[str, np.ndarray]:
    """Images, target and mask of a batch; a target of shares is known if any share is positive."""
    target = batch.targets[name]
    mask = batch.masks[name] if name in batch.masks else np.any(target > 0, axis=-1)
    return {"images": batch.images, "target": target, "mask": mask}


def _padded(arrays: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Pad images to a full batch, so that the last batch is not compiled again."""
    lacking = rows - len(arrays["images"])
    images = np.concatenate([arrays["images"], np.zeros((lacking, *arrays["images"].shape[1:]), np.uint8)])
    return arrays | {"images": images}


def recipe(
    comparison: str,
    folder: Folder,
    probe: Probe,
    encoders: Mapping[str, Encoder],
    plan: Plan | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Everything that a comparison's results depend on, as `working` expects it.

    Measures and numbers of runs are left out: scores are recomputed each time and runs are stored by their seed.

    Args:
        comparison: name of the comparison; `jaxsim layers`, `branch` and `transfer` use their own.
        folder: the folder given to the comparison, after `Plan.limit`.
        probe: settings of the similarity.
        encoders: all encoders that take part, by any names.
        plan: settings of the training; None if nothing is trained.
        **more: further settings that the results depend on, as JSON types: `layers` for `compare_layers`; `task` and
            `small`, the size of the small network, for `compare_initializations`.

    Returns:
        JSON types, with a SHA-256 of each encoder's weights and of the pictures' ids.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from jaxsim.studies import branching
        >>> from jaxsim.vision import datasets, models
        >>> from jaxsim import measures
        >>> gray = datasets.Dataset("made up", ("a", "b"), lambda name: np.zeros((16, 16, 3), np.uint8), {})
        >>> folder = branching.Folder("folder", *(branching.Pictures(gray.select([name])) for name in "ab"), ())
        >>> encoders = {"mine": models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(0))}
        >>> plan, probe = branching.Plan(size=16), branching.Probe(measures.RSA)
        >>> found = branching.recipe("mine", folder, probe, encoders, plan, layers=["conv1"])
        >>> with branching.working(None, found) as work:
        ...     sorted(found), work.folder.is_dir()  # branching.compare_layers(..., work, layers=["conv1"])
        (['command', 'encoders', 'images', 'layers', 'layout', 'pictures', 'plan', 'seed', 'size'], True)
    """
    ids = "\n".join((*folder.train.dataset.ids, "", *folder.val.dataset.ids))
    return {
        "command": comparison,
        "images": probe.count,
        "seed": probe.seed,
        "size": probe.side,
        "layout": folder.layout,
        "pictures": hashlib.sha256(ids.encode()).hexdigest(),
        "encoders": {name: digest(encoder) for name, encoder in encoders.items()},
        "plan": None if plan is None else dataclasses.asdict(plan),
    } | more
