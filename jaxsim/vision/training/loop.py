"""The training loop, for one network and for many."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.io import jobs
from jaxsim.vision.training import batches, reports
from jaxsim.vision.training import checkpoints as storage
from jaxsim.vision.training import steps as stepping
from jaxsim.vision.training.feeds import Drawn, Feed
from jaxsim.vision.training.optimizers import Optimizer, describe
from jaxsim.vision.training.steps import adam

Loss = Callable[[Any, Any], jax.Array]
"""Function of (prediction, batch) giving a scalar."""

BLOCK = 50
"""Steps between two looks at the losses; their rows are drawn together."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained network and its loss at every step.

    Attributes:
        network: the network after the last step, with weights of its own.
        curve: the loss of each step's batch before that step, `(steps,)`.
    """

    network: Any
    curve: np.ndarray


def fit(
    network: nnx.Module,
    loss: Loss,
    data: batches.Data,
    *,
    steps: int,
    batch: int,
    key: jax.Array,
    optimizer: Optimizer = adam,
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    until: int | None = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Train a network, by default with Adam (`steps.adam`: warm-up, then a cosine); the one given is left as it is.

    The rows of step s are drawn without replacement by `fold_in(key, s)`. With `checkpoints`, a run that was killed
    at any moment goes on from the last good checkpoint, and on CPU ends in the same bits as one that was not.

    Args:
        network: called with the images of a batch; batch statistics and other variables are updated too.
        loss: function of (prediction, batch), batch being `data` cut to the batch's rows. Keep it a module-level
            function: each new lambda is compiled anew.
        data: a dict of arrays with one row an image, one of them `images`; or a tuple with the images first.
            Images of unsigned bytes are divided by 255 on the device.
        steps: number of steps of the whole run.
        batch: images a step.
        key: typed random key.
        optimizer: `adam`, an `Sgd`, or any function of (learning_rate, steps).
        learning_rate: the highest.
        checkpoints: folder for checkpoints, None for none. They are tied to the settings above, the data and the loss.
        every: steps between checkpoints, rewrites of the log and progress lines.
        until: stop after this step of the run, as a kill there would; a later call with the same checkpoints goes
            on, so that stages of one run are consecutive calls.
        log: CSV file for the curve, `step,loss`; an older one is replaced.
        progress: write lines on standard error.

    Returns:
        The trained network and its curve.

    Raises:
        ValueError: data, steps, batch or until do not fit, or no checkpoint can be used.
        FloatingPointError: a loss or gradient is not finite, naming the step.

    Example:
        >>> import jax.numpy as jnp
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
    return run({"loss": network}, {"loss": loss}, Drawn({"loss": data}, batch, key), settings)["loss"]


def fit_many(
    networks: Mapping[str, nnx.Module],
    loss: Loss | Mapping[str, Loss],
    data: Mapping[str, batches.Data],
    *,
    steps: int,
    batch: int,
    key: jax.Array,
    optimizer: Optimizer = adam,
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    until: int | None = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Fitted]:
    """Train one network per task side by side, each as `fit` would with the same key.

    On accelerators, tasks whose networks and batches have the same shapes take one vmapped step together, each with
    its own loss; on CPU every task takes its own step, which is faster there. The two differ by rounding only, which
    Adam magnifies with the steps. Arrays that several tasks hold as the same object, such as the images, are cut and
    sent once a step.

    Args:
        networks: networks by task.
        loss: one function of (prediction, batch) for all tasks, or one a task.
        data: arrays by task, as for `fit`.
        steps: as for `fit`.
        batch: as for `fit`.
        key: as for `fit`; tasks with equally many rows see the same rows.
        optimizer: as for `fit`.
        learning_rate: as for `fit`.
        checkpoints: as for `fit`; one checkpoint holds all tasks.
        every: as for `fit`.
        until: as for `fit`.
        log: CSV file for the curves, `step,<task>,...`.
        progress: as for `fit`.

    Returns:
        The trained network and its curve for each task.

    Raises:
        ValueError: as for `fit`, or tasks of networks, losses and data differ.
        FloatingPointError: a loss or gradient is not finite, naming the task and the step.
    """
    settings = Settings(steps, optimizer, learning_rate, checkpoints, every, log, progress, until)
    losses = dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(networks, loss)
    for what, given in (("losses", losses), ("data", data)):
        if given.keys() != networks.keys():
            raise ValueError(f"The tasks of the {what}, {sorted(given)}, are not those of the networks.")
    return run(networks, losses, Drawn({task: data[task] for task in networks}, batch, key), settings)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `fit` and its kin are told of a run, but for its batches."""

    steps: int
    optimizer: Optimizer
    learning_rate: float
    checkpoints: str | Path | None
    every: int
    log: str | Path | None
    progress: bool
    until: int | None = None

    @property
    def last(self) -> int:
        """The step after which this call ends."""
        return self.steps if self.until is None else self.until

    def check(self) -> None:
        """Raise ValueError where the numbers of steps make no run."""
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every must be positive; they are {self.steps} and {self.every}.")
        if not 1 <= self.last <= self.steps:
            raise ValueError(f"until must be from 1 to the {self.steps} steps of the run, not {self.until}.")

    def as_json(self, feed: Feed, states: Mapping[str, Any], losses: Mapping[str, Loss]) -> dict[str, Any]:
        """What a checkpoint's run must have in common with this one."""
        sizes = {task: [list(leaf.shape) for leaf in jax.tree.leaves(state)] for task, state in states.items()}
        own = {"steps": self.steps, "learning rate": float(self.learning_rate), "network": sizes}
        own["loss"] = {task: describe(loss) for task, loss in losses.items()}
        other = {} if self.optimizer is adam else {"optimizer": describe(self.optimizer)}
        return own | other | feed.settings()


@dataclasses.dataclass(frozen=True)
class _Group:
    """Tasks that one compiled step serves; `shared` are the arrays that a stack of them shares, None for one task."""

    tasks: tuple[str, ...]
    step: Callable
    shared: frozenset | None

    @property
    def stacked(self) -> bool:
        return self.shared is not None


def run(
    networks: Mapping[str, nnx.Module], losses: Mapping[str, Loss], feed: Feed, settings: Settings
) -> dict[str, Fitted]:
    """The loop that all training goes through, alone in its folder of checkpoints; see `fit`."""
    settings.check()
    alone = contextlib.nullcontext() if settings.checkpoints is None else jobs.lock(settings.checkpoints)
    with alone:
        return _run(networks, losses, feed, settings)


def _run(networks, losses, feed: Feed, settings: Settings) -> dict[str, Fitted]:
    begun = {
        task: stepping.initial(network, settings.learning_rate, settings.steps, settings.optimizer)
        for task, network in networks.items()
    }
    graphs, states = {t: g for t, (g, _) in begun.items()}, {t: s for t, (_, s) in begun.items()}
    groups = _grouped(graphs, states, losses, feed, settings)
    told = {} if settings.checkpoints is None else settings.as_json(feed, states, losses)
    done, states, curves = _resumed(states, settings, feed, told)
    held = [_gather(group, states) for group in groups]
    tasks, curves, progress = tuple(networks), [curves], reports.Progress(settings.steps)
    since = done
    while done < settings.last:
        end = min(done + BLOCK, settings.last, (done // settings.every + 1) * settings.every)
        held, block = _block(groups, held, feed, done, end, tasks)
        reports.check_finite(tasks, block, done)
        curves, done = [*curves, block], end
        if done % settings.every == 0 or done == settings.last:
            curves = [np.concatenate(curves)]
            _record(groups, held, curves[0], tasks, feed, settings, done, told)
            if settings.progress:
                progress.report(done, curves[0][since:], feed.images)
            since = done
    states = jax.tree.map(jnp.asarray, _scatter(groups, held))
    curve = np.concatenate(curves)
    return {t: Fitted(stepping.network_of(graphs[t], states[t]), curve[:, i]) for i, t in enumerate(tasks)}


def _grouped(graphs, states, losses, feed: Feed, settings: Settings) -> list[_Group]:
    """Tasks whose networks and batches are alike, with the program of their step; alone where tasks are not stacked."""
    stacks = stepping.stacks_tasks()
    alike: dict[Any, list[str]] = {}
    for task in graphs:
        leaves, structure = jax.tree.flatten(states[task])
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        same = (graphs[task], structure, shapes, feed.alike(task), None if stacks else task)
        alike.setdefault(same, []).append(task)
    groups = []
    for tasks in alike.values():
        first = tasks[0]
        shared = feed.shared(tasks) if stacks and len(tasks) > 1 else None
        step = stepping.compiled(
            graphs[first],
            tuple(losses[task] for task in tasks),
            feed.inputs(first),
            settings.learning_rate,
            settings.steps,
            shared,
            settings.optimizer,
        )
        groups.append(_Group(tuple(tasks), step, shared))
    return groups


def _gather(group: _Group, states: Mapping[str, Any]) -> Any:
    """The states of a group's tasks, stacked if its step is."""
    if not group.stacked:
        return states[group.tasks[0]]
    held = jax.device_get([states[task] for task in group.tasks])
    return jax.tree.map(lambda *leaves: jnp.array(np.stack(leaves)), *held)


def _scatter(groups: list[_Group], held: list[Any]) -> dict[str, Any]:
    """States by task; those of a stack on the host."""
    states = {}
    for group, state in zip(groups, held, strict=True):
        host = jax.device_get(state) if group.stacked else state
        for i, task in enumerate(group.tasks):
            states[task] = jax.tree.map(lambda leaf, i=i: leaf[i], host) if group.stacked else state
    return states


def _block(groups, held, feed: Feed, begin: int, end: int, tasks) -> tuple[list[Any], np.ndarray]:
    """States after steps begin ... end - 1, and their losses `(end - begin, tasks)`."""
    held, losses = list(held), [[] for _ in groups]
    for cut in feed.block(begin, end):
        for g, group in enumerate(groups):
            held[g], loss = group.step(held[g], cut(group.tasks, group.shared))
            losses[g].append(loss)
    columns = {}
    for group, values in zip(groups, jax.device_get(losses), strict=True):
        columns |= dict(zip(group.tasks, np.asarray(values, np.float32).reshape(end - begin, -1).T, strict=True))
    return held, np.stack([columns[task] for task in tasks], 1)


def _resumed(states, settings: Settings, feed: Feed, told: dict[str, Any]) -> tuple[int, Any, np.ndarray]:
    """Where to begin: the last good checkpoint, or step 0."""
    none = np.zeros((0, len(states)), np.float32)
    if settings.checkpoints is None:
        return 0, states, none
    folder = Path(settings.checkpoints)

    def template(step):
        return {"states": states, "losses": np.zeros((step, len(states)), np.float32)}

    found = storage.restore(folder, template, told)
    if found is None:
        return 0, states, none
    step, tree, place = found
    if step > settings.last:
        raise ValueError(f"{folder} has a checkpoint of step {step}, past the step {settings.last} asked for.")
    if place is not None:
        feed.go_to(place)
    return step, jax.tree.map(jnp.array, tree["states"]), tree["losses"]


def _record(groups, held, curves, tasks, feed: Feed, settings: Settings, done: int, told: dict[str, Any]) -> None:
    """Write the checkpoint, then the log."""
    if settings.checkpoints is not None:
        states = _scatter(groups, held)
        tree = {"states": states, "losses": curves}
        place = feed.state()
        more = {} if place is None else {"feed": place}
        storage.save(Path(settings.checkpoints), done, tree, told, **more)
    if settings.log is not None:
        reports.write_curves(settings.log, tasks, curves)
