"""Training on batches as they come: from a loader that reads files and can say where it is."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
from flax import nnx

from jaxsim.vision.training import loop
from jaxsim.vision.training.feeds import Cut
from jaxsim.vision.training.loop import Fitted, Loss
from jaxsim.vision.training.optimizers import Optimizer
from jaxsim.vision.training.steps import adam


class Reader(Protocol):
    """Iterator of batches: dicts of arrays, one of them `images`."""

    def __next__(self) -> Mapping[str, Any]:
        """The next batch."""
        ...

    def get_state(self) -> Any:
        """Where it is, JSON types."""
        ...

    def set_state(self, state: Any) -> None:
        """Go on from where `state` was taken."""
        ...


class Stream(Protocol):
    """What `iter` makes a `Reader` of, such as a `grain.IterDataset`."""

    def __iter__(self) -> Reader:
        """A reader from the first batch on."""
        ...


def fit_stream(
    network: nnx.Module,
    loss: Loss,
    stream: Stream,
    *,
    steps: int,
    optimizer: Optimizer = adam,
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    log: str | Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Train a network as `fit` does, on batches as a stream gives them; the network given is left as it is.

    A checkpoint holds the stream's state too: a run that was killed sees the batches it would have seen.

    Args:
        network: called with the `images` of a batch.
        loss: function of (prediction, batch). Keep it a module-level function or a frozen record.
        stream: batches without end, or at least as many as steps.
        steps: number of steps of the whole run.
        optimizer: as for `fit`.
        learning_rate: as for `fit`.
        checkpoints: as for `fit`.
        every: as for `fit`.
        log: as for `fit`.
        progress: as for `fit`.

    Returns:
        The trained network and its curve.

    Raises:
        ValueError: steps do not fit, the stream ended early or gave no images, or no checkpoint can be used.
        FloatingPointError: a loss or gradient is not finite, naming the step.

    Example:
        >>> import grain
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from jaxsim.vision import training
        >>> def squared_error(prediction, batch):
        ...     return jnp.mean((prediction - 3 * batch["images"]) ** 2)
        >>> rows = grain.MapDataset.source(np.linspace(-1, 1, 32, dtype=np.float32)).seed(0).shuffle().repeat()
        >>> stream = rows.batch(8).map(lambda x: {"images": x[:, None]}).to_iter_dataset()
        >>> line = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
        >>> optimizer = training.Sgd(epochs=10, weight_decay=0.0)
        >>> done = training.fit_stream(line, squared_error, stream, steps=200, optimizer=optimizer,
        ...                            learning_rate=0.1, progress=False)
        >>> round(float(done.network.kernel[0, 0]), 2)
        3.0
    """
    settings = loop.Settings(steps, optimizer, learning_rate, checkpoints, every, log, progress)
    return loop.run({"loss": network}, {"loss": loss}, _Read(stream), settings)["loss"]


class _Read:
    """The feed of one task that a stream is."""

    def __init__(self, stream: Stream):
        self._reader = iter(stream)
        self.images = 0

    def alike(self, task: str) -> Any:
        return task

    def inputs(self, task: str) -> str:
        del task
        return "images"

    def shared(self, tasks: Sequence[str]) -> frozenset:
        del tasks
        return frozenset()

    def block(self, begin: int, end: int) -> Iterator[Cut]:
        for step in range(begin, end):
            batch = next(self._reader, None)
            if batch is None:
                raise ValueError(f"The stream ended before step {step}; give one that goes on, or ask for fewer steps.")
            if "images" not in batch:
                raise ValueError(f"The stream's batch of step {step} has no 'images'; it has {', '.join(batch)}.")
            self.images = len(batch["images"])
            yield functools.partial(self._whole, jax.device_put(dict(batch)))

    @staticmethod
    def _whole(batch: Any, tasks: Sequence[str], shared: frozenset | None) -> Any:
        del tasks, shared
        return batch

    def settings(self) -> dict[str, Any]:
        return {"data": "a stream"}

    def state(self) -> Any:
        return self._reader.get_state()

    def go_to(self, state: Any) -> None:
        self._reader.set_state(state)
