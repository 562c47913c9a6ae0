"""Training one network, many side by side, or one from a stream."""

from collections.abc import Mapping
from pathlib import Path

import jax
from flax import nnx

from jaxsim.vision.training.loop import Fitted, Loss, Settings, run
from jaxsim.vision.training.optimizers import Optimizer, adam
from jaxsim.vision.training.sources import ArraySource, Data, Stream, StreamSource


def fit(
    network: nnx.Module,
    loss: Loss,
    data: Data,
    *,
    steps: int,
    batch: int,
    key: jax.Array | int,
    optimizer: Optimizer = adam,
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    until: int | None = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Train a network, by default with Adam (`optimizers.adam`: warm-up, then a cosine).

    The network passed in is left unchanged. The rows of step s are drawn without replacement by `fold_in(key, s)`. With
    `checkpoints`, a run killed at any moment resumes from the last good checkpoint, and on CPU ends in the same bits as
    an uninterrupted one.

    Args:
        network: called with the images of a batch; batch statistics and other variables are updated too.
        loss: function of (prediction, batch), where batch is `data` cut to the batch's rows. Use a module-level
            function, because each new lambda is compiled again.
        data: a dict of arrays with one row per image, one of them `images`; or a tuple with the images first.
            Images of unsigned bytes are divided by 255 on the device.
        steps: number of steps of the whole run.
        batch: images per step.
        key: random key or seed.
        optimizer: `adam`, an `Sgd`, or any function of (learning_rate, steps).
        learning_rate: the highest rate of the schedule.
        checkpoints: folder for checkpoints, None for none. They are tied to the settings above, the data and the loss.
        every: steps between checkpoints, rewrites of the log and progress lines.
        until: stop after this step, as if killed there; a later call with the same checkpoints resumes there, so the
            stages of one run can be consecutive calls.
        log: CSV file for the curve, `step,loss`; an existing one is replaced.
        progress: write progress lines to standard error.

    Returns:
        The trained network and its curve.

    Raises:
        ValueError: data, steps, batch or until do not fit, or no checkpoint can be used.
        FloatingPointError: a loss or gradient is not finite; the message names the step.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from jaxsim.vision import training
        >>> def squared_error(prediction, batch):
        ...     return jnp.mean((prediction - batch["target"]) ** 2)
        >>> x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
        >>> line = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
        >>> data = {"images": x, "target": 3 * x}
        >>> done = training.fit(line, squared_error, data, steps=200, batch=8, key=jax.random.key(0),
        ...                     learning_rate=0.1, progress=False)
        >>> round(float(done.network.kernel[0, 0]), 2)
        3.0
    """
    settings = Settings(steps, optimizer, learning_rate, checkpoints, every, log, progress, until)
    return run({"loss": network}, {"loss": loss}, ArraySource({"loss": data}, batch, key), settings)["loss"]


def fit_many(
    networks: Mapping[str, nnx.Module],
    loss: Loss | Mapping[str, Loss],
    data: Mapping[str, Data],
    *,
    steps: int,
    batch: int,
    key: jax.Array | int,
    optimizer: Optimizer = adam,
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    until: int | None = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Fitted]:
    """Train one network per task side by side, each as `fit` would with the same key.

    On accelerators, tasks whose networks and batches have the same shapes share one vmapped step, each with its own
    loss; on CPU every task takes its own step, which is faster there. The two differ by rounding only, which Adam
    amplifies over the steps. Arrays that several tasks share as the same object, such as the images, are cut and sent
    once per step.

    Args:
        networks: networks by task.
        loss: one function of (prediction, batch) for all tasks, or one per task.
        data: arrays by task, as for `fit`.
        steps: as for `fit`, like all that follow.
        batch: images per step and task.
        key: random key or seed; tasks with the same number of rows see the same rows.
        optimizer: of every task.
        learning_rate: the highest.
        checkpoints: folder for checkpoints, each of which contains all tasks.
        every: steps between checkpoints.
        until: stop after this step.
        log: CSV file for the curves, `step,<task>,...`.
        progress: write progress lines.

    Returns:
        The trained network and its curve for each task.

    Raises:
        ValueError: as for `fit`, or networks, losses and data are of different tasks.
        FloatingPointError: a loss or gradient is not finite; the message names the task and the step.
    """
    settings = Settings(steps, optimizer, learning_rate, checkpoints, every, log, progress, until)
    losses = dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(networks, loss)
    for what, given in (("losses", losses), ("data", data)):
        if given.keys() != networks.keys():
            raise ValueError(
                f"the tasks of the {what}, {sorted(given)}, must be those of the networks, {sorted(networks)}."
            )
    return run(networks, losses, ArraySource({task: data[task] for task in networks}, batch, key), settings)


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
    """Train a network as `fit` does, on batches read from a stream.

    A checkpoint also stores the stream's position: a resumed run sees the batches that it would have seen.

    Args:
        network: called with the `images` of a batch.
        loss: function of (prediction, batch). Use a module-level function or a frozen record.
        stream: an endless iterable of batches, or one of at least as many batches as steps.
        steps: number of steps of the whole run.
        optimizer: as for `fit`, like all that follow.
        learning_rate: the highest.
        checkpoints: folder for checkpoints.
        every: steps between checkpoints.
        log: CSV file for the curve.
        progress: write progress lines.

    Returns:
        The trained network and its curve.

    Raises:
        ValueError: steps do not fit, the stream ends early or gives no images, or no checkpoint can be used.
        FloatingPointError: a loss or gradient is not finite; the message names the step.

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
    settings = Settings(steps, optimizer, learning_rate, checkpoints, every, log, progress)
    return run({"loss": network}, {"loss": loss}, StreamSource(stream), settings)["loss"]
