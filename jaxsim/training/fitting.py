"""The training loop, for one network and for many."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.training import batches, reports
from jaxsim.training import checkpoints as storage
from jaxsim.training import steps as stepping

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
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    log: str | Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Train a network with Adam, its rate falling along a cosine to zero; the network given is left as it is.

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
        learning_rate: the first step's.
        checkpoints: folder for checkpoints, None for none. They are tied to the settings above.
        every: steps between checkpoints, rewrites of the log and progress lines.
        log: CSV file for the curve, `step,loss`; an older one is replaced.
        progress: write lines on standard error.

    Returns:
        The trained network and its curve.

    Raises:
        ValueError: data, steps or batch do not fit, or no checkpoint can be used.
        FloatingPointError: a loss or gradient is not finite, naming the step.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxsim import training
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
    settings = _Settings(steps, batch, key, learning_rate, checkpoints, every, log, progress)
    return _run({"loss": network}, {"loss": loss}, {"loss": data}, settings)["loss"]


def fit_many(
    networks: Mapping[str, nnx.Module],
    loss: Loss | Mapping[str, Loss],
    data: Mapping[str, batches.Data],
    *,
    steps: int,
    batch: int,
    key: jax.Array,
    learning_rate: float = 1e-3,
    checkpoints: str | Path | None = None,
    every: int = 250,
    log: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Fitted]:
    """Train one network per task side by side, each as `fit` would with the same key.

    On accelerators, tasks of equal structure, loss function and shapes take one vmapped step together; on CPU every
    task takes its own, which is faster there. The two differ by rounding only, which Adam magnifies with the steps.
    Arrays that several tasks hold as the same object, such as the images, are cut and sent once a step.

    Args:
        networks: networks by task.
        loss: one function of (prediction, batch) for all tasks, or one a task.
        data: arrays by task, as for `fit`.
        steps: as for `fit`.
        batch: as for `fit`.
        key: as for `fit`; tasks with equally many rows see the same rows.
        learning_rate: as for `fit`.
        checkpoints: as for `fit`; one checkpoint holds all tasks.
        every: as for `fit`.
        log: CSV file for the curves, `step,<task>,...`.
        progress: as for `fit`.

    Returns:
        The trained network and its curve for each task.

    Raises:
        ValueError: as for `fit`, or tasks of networks, losses and data differ.
        FloatingPointError: a loss or gradient is not finite, naming the task and the step.
    """
    settings = _Settings(steps, batch, key, learning_rate, checkpoints, every, log, progress)
    losses = dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(networks, loss)
    for what, given in (("losses", losses), ("data", data)):
        if given.keys() != networks.keys():
            raise ValueError(f"The tasks of the {what}, {sorted(given)}, are not those of the networks.")
    return _run(networks, losses, data, settings)


@dataclasses.dataclass(frozen=True)
class _Settings:
    steps: int
    batch: int
    key: jax.Array
    learning_rate: float
    checkpoints: str | Path | None
    every: int
    log: str | Path | None
    progress: bool

    def check(self) -> None:
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every must be positive; they are {self.steps} and {self.every}.")
        if not (isinstance(self.key, jax.Array) and jnp.issubdtype(self.key.dtype, jax.dtypes.prng_key)):
            raise TypeError("key must be a typed key, as jax.random.key gives.")

    def as_json(self, data: Mapping[str, Mapping[Any, np.ndarray]], states: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint's run must have in common with this one."""
        shapes = {t: {str(n): [str(v.dtype), *v.shape] for n, v in arrays.items()} for t, arrays in data.items()}
        sizes = {task: [list(leaf.shape) for leaf in jax.tree.leaves(state)] for task, state in states.items()}
        key = [str(jax.random.key_impl(self.key)), *np.ravel(jax.random.key_data(self.key)).tolist()]
        rest = {"steps": self.steps, "batch": self.batch, "learning rate": float(self.learning_rate)}
        return rest | {"key": key, "data": shapes, "network": sizes}


@dataclasses.dataclass(frozen=True)
class _Group:
    """Tasks that one compiled step serves."""

    tasks: tuple[str, ...]
    step: Callable
    stacked: bool
    shared: frozenset


def _run(networks, losses, data, settings: _Settings) -> dict[str, Fitted]:
    settings.check()
    seen: dict[int, np.ndarray] = {}
    arrays = {task: batches.checked(task, data[task], settings.batch, seen) for task in networks}
    begun = {t: stepping.initial(network, settings.learning_rate, settings.steps) for t, network in networks.items()}
    graphs, states = {t: g for t, (g, _) in begun.items()}, {t: s for t, (_, s) in begun.items()}
    groups = _grouped(graphs, states, losses, data, arrays, settings)
    done, states, curves = _resumed(states, settings, arrays)
    held = [_gather(group, states) for group in groups]
    tasks, curves, progress = (
        tuple(networks),
        [curves],
        reports.Progress(settings.steps, settings.batch * len(networks)),
    )
    since = done
    while done < settings.steps:
        end = min(done + BLOCK, settings.steps, (done // settings.every + 1) * settings.every)
        held, block = _block(groups, held, arrays, settings, done, end, tasks)
        reports.check_finite(tasks, block, done)
        curves, done = [*curves, block], end
        if done % settings.every == 0 or done == settings.steps:
            curves = [np.concatenate(curves)]
            _record(groups, held, curves[0], tasks, arrays, settings, done)
            if settings.progress:
                progress.report(done, curves[0][since:])
            since = done
    states = jax.tree.map(jnp.asarray, _scatter(groups, held))
    curve = np.concatenate(curves)
    return {t: Fitted(stepping.network_of(graphs[t], states[t]), curve[:, i]) for i, t in enumerate(tasks)}


def _grouped(graphs, states, losses, data, arrays, settings) -> list[_Group]:
    """Tasks whose step is the same program, with that program; alone where tasks are not stacked."""
    stacks = stepping.stacks_tasks()
    alike: dict[Any, list[str]] = {}
    for task in graphs:
        leaves, structure = jax.tree.flatten(states[task])
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        rows = tuple((name, values.shape, values.dtype) for name, values in arrays[task].items())
        alike.setdefault((graphs[task], losses[task], structure, shapes, rows, None if stacks else task), []).append(
            task
        )
    groups = []
    for tasks in alike.values():
        first, stacked = tasks[0], stacks and len(tasks) > 1
        names = tuple(arrays[first])
        same = frozenset(n for n in names if all(arrays[t][n] is arrays[first][n] for t in tasks))
        batched = (same, names) if stacked else ()
        inputs = batches.images_of(data[first])
        step = stepping.compiled(graphs[first], losses[first], inputs, settings.learning_rate, settings.steps, *batched)
        groups.append(_Group(tuple(tasks), step, stacked, same))
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


def _block(groups, held, arrays, settings, begin: int, end: int, tasks) -> tuple[list[Any], np.ndarray]:
    """States after steps begin ... end - 1, and their losses `(end - begin, tasks)`."""
    lengths = {len(values) for held_by in arrays.values() for values in held_by.values()}
    steps = jnp.arange(begin, end)
    drawn = {n: np.asarray(batches.rows_of_steps(settings.key, steps, rows=n, batch=settings.batch)) for n in lengths}
    held, losses = list(held), [[] for _ in groups]
    for i in range(end - begin):
        rows, cut = {n: places[i] for n, places in drawn.items()}, {}
        for g, group in enumerate(groups):
            held[g], loss = group.step(held[g], _batch(group, arrays, rows, cut))
            losses[g].append(loss)
    columns = {}
    for group, values in zip(groups, jax.device_get(losses), strict=True):
        columns |= dict(zip(group.tasks, np.asarray(values, np.float32).reshape(end - begin, -1).T, strict=True))
    return held, np.stack([columns[task] for task in tasks], 1)


def _batch(group: _Group, arrays, drawn: Mapping[int, np.ndarray], cut: dict[int, Any]) -> Any:
    """The group's rows of this step on the device; an array is cut once for all tasks that hold it."""

    def rows(task, name):
        values = arrays[task][name]
        if id(values) not in cut:
            cut[id(values)] = jax.device_put(values[drawn[len(values)]])
        return cut[id(values)]

    def stacked(name):
        held = [arrays[task][name] for task in group.tasks]
        return jax.device_put(np.stack([values[drawn[len(values)]] for values in held]))

    apart = set(arrays[group.tasks[0]]) - group.shared if group.stacked else ()
    return {name: stacked(name) if name in apart else rows(group.tasks[0], name) for name in arrays[group.tasks[0]]}


def _resumed(states, settings, arrays) -> tuple[int, Any, np.ndarray]:
    """Where to begin: the last good checkpoint, or step 0."""
    none = np.zeros((0, len(states)), np.float32)
    if settings.checkpoints is None:
        return 0, states, none
    folder = Path(settings.checkpoints)

    def template(step):
        return {"states": states, "losses": np.zeros((step, len(states)), np.float32)}

    found = storage.restore(folder, template, settings.as_json(arrays, states))
    if found is None:
        return 0, states, none
    step, tree = found
    return step, jax.tree.map(jnp.array, tree["states"]), tree["losses"]


def _record(groups, held, curves, tasks, arrays, settings, done: int) -> None:
    """Write the checkpoint, then the log."""
    if settings.checkpoints is not None:
        states = _scatter(groups, held)
        tree = {"states": states, "losses": curves}
        storage.save(Path(settings.checkpoints), done, tree, settings.as_json(arrays, states))
    if settings.log is not None:
        reports.write_curves(settings.log, tasks, curves)
