"""The training loop behind `fit`, `fit_many` and `fit_stream`, with its progress lines, logs and checks."""

import contextlib
import csv
import dataclasses
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.io import jobs
from jaxsim.io.files import write_text
from jaxsim.statistics.checks import as_count, is_whole
from jaxsim.vision.training import checkpoints as storage
from jaxsim.vision.training import steps as stepping
from jaxsim.vision.training.optimizers import Optimizer, adam, describe
from jaxsim.vision.training.sources import Source

Loss = Callable[[Any, Any], jax.Array]
"""Function of (prediction, batch) that returns a scalar."""

BLOCK = 50
"""Steps between two checks of the losses; the rows of a block are drawn together."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained network and its loss at every step.

    Attributes:
        network: the network after the last step, with its own weights.
        curve: the loss of each step's batch before that step, `(steps,)`.
    """

    network: Any
    curve: np.ndarray


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a run, except for its batches; see `fit`."""

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
        """The last step of this call."""
        return self.steps if self.until is None else self.until

    def check(self) -> None:
        """Raise ValueError if the numbers of steps are not valid."""
        for name in ("steps", "every"):
            as_count(getattr(self, name), name)
        if not is_whole(self.last) or not 1 <= self.last <= self.steps:
            raise ValueError(f"until must be from 1 to the {self.steps} steps of the run, not {self.until}.")

    def as_json(self, source: Source, states: Mapping[str, Any], losses: Mapping[str, Loss]) -> dict[str, Any]:
        """Settings that a run and its checkpoints must agree on."""
        sizes = {task: [list(leaf.shape) for leaf in jax.tree.leaves(state)] for task, state in states.items()}
        own = {"steps": self.steps, "learning rate": float(self.learning_rate), "network": sizes}
        own["loss"] = {task: describe(loss) for task, loss in losses.items()}
        other = {} if self.optimizer is adam else {"optimizer": describe(self.optimizer)}
        return own | other | source.settings()


@dataclasses.dataclass(frozen=True)
class _Group:
    """Tasks with one compiled step; `shared` names the arrays that a stack of tasks shares, None for a single task."""

    tasks: tuple[str, ...]
    step: Callable
    shared: frozenset | None

    @property
    def stacked(self) -> bool:
        return self.shared is not None


def run(
    networks: Mapping[str, nnx.Module], losses: Mapping[str, Loss], source: Source, settings: Settings
) -> dict[str, Fitted]:
    """Train networks with exclusive use of the folder of checkpoints; see `fit`."""
    settings.check()
    alone = contextlib.nullcontext() if settings.checkpoints is None else jobs.lock(settings.checkpoints)
    with alone:
        return _run(networks, losses, source, settings)


def _run(networks, losses, source: Source, settings: Settings) -> dict[str, Fitted]:
    begun = {
        task: stepping.initial(network, settings.learning_rate, settings.steps, settings.optimizer)
        for task, network in networks.items()
    }
    graphs, states = {t: g for t, (g, _) in begun.items()}, {t: s for t, (_, s) in begun.items()}
    groups = _grouped(graphs, states, losses, source, settings)
    told = {} if settings.checkpoints is None else settings.as_json(source, states, losses)
    done, states, curves = _resumed(states, settings, source, told)
    held = [_gather(group, states) for group in groups]
    tasks, curves, progress = tuple(networks), [curves], _Progress(settings.steps)
    since = done
    while done < settings.last:
        end = min(done + BLOCK, settings.last, (done // settings.every + 1) * settings.every)
        held, block = _block(groups, held, source, done, end, tasks)
        _check_finite(tasks, block, done)
        curves, done = [*curves, block], end
        if done % settings.every == 0 or done == settings.last:
            curves = [np.concatenate(curves)]
            _record(groups, held, curves[0], tasks, source, settings, done, told)
            if settings.progress:
                progress.report(done, curves[0][since:], source.images)
            since = done
    states = jax.tree.map(jnp.asarray, _scatter(groups, held))
    curve = np.concatenate(curves)
    return {t: Fitted(stepping.network_of(graphs[t], states[t]), curve[:, i]) for i, t in enumerate(tasks)}


def _grouped(graphs, states, losses, source: Source, settings: Settings) -> list[_Group]:
    """Group tasks with equal networks and batches and compile their step; on CPU every task is a group."""
    stacks = stepping.stacks_tasks()
    alike: dict[Any, list[str]] = {}
    for task in graphs:
        leaves, structure = jax.tree.flatten(states[task])
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        same = (graphs[task], structure, shapes, source.alike(task), None if stacks else task)
        alike.setdefault(same, []).append(task)
    groups = []
    for tasks in alike.values():
        first = tasks[0]
        shared = source.shared(tasks) if stacks and len(tasks) > 1 else None
        step = stepping.compiled(
            graphs[first],
            tuple(losses[task] for task in tasks),
            source.inputs(first),
            settings.learning_rate,
            settings.steps,
            shared,
            settings.optimizer,
        )
        groups.append(_Group(tuple(tasks), step, shared))
    return groups


def _gather(group: _Group, states: Mapping[str, Any]) -> Any:
    """The states of a group's tasks, stacked if the group is."""
    if not group.stacked:
        return states[group.tasks[0]]
    held = jax.device_get([states[task] for task in group.tasks])
    return jax.tree.map(lambda *leaves: jnp.array(np.stack(leaves)), *held)


def _scatter(groups: list[_Group], held: list[Any]) -> dict[str, Any]:
    """States by task; stacked ones are moved to the host."""
    states = {}
    for group, state in zip(groups, held, strict=True):
        host = jax.device_get(state) if group.stacked else state
        for i, task in enumerate(group.tasks):
            states[task] = jax.tree.map(lambda leaf, i=i: leaf[i], host) if group.stacked else state
    return states


def _block(groups, held, source: Source, begin: int, end: int, tasks) -> tuple[list[Any], np.ndarray]:
    """Run steps begin ... end - 1; return the states and the losses `(end - begin, tasks)`."""
    held, losses = list(held), [[] for _ in groups]
    for cut in source.block(begin, end):
        for g, group in enumerate(groups):
            held[g], loss = group.step(held[g], cut(group.tasks, group.shared))
            losses[g].append(loss)
    columns = {}
    for group, values in zip(groups, jax.device_get(losses), strict=True):
        columns |= dict(zip(group.tasks, np.asarray(values, np.float32).reshape(end - begin, -1).T, strict=True))
    return held, np.stack([columns[task] for task in tasks], 1)


def _resumed(states, settings: Settings, source: Source, told: dict[str, Any]) -> tuple[int, Any, np.ndarray]:
    """Step, states and losses of the last good checkpoint, or of step 0."""
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
        raise ValueError(f"{folder} has a checkpoint of step {step}, past the requested step {settings.last}.")
    if place is not None:
        source.go_to(place)
    return step, jax.tree.map(jnp.array, tree["states"]), tree["losses"]


def _record(groups, held, curves, tasks, source: Source, settings: Settings, done: int, told: dict[str, Any]) -> None:
    """Write the checkpoint, then the log."""
    if settings.checkpoints is not None:
        states = _scatter(groups, held)
        tree = {"states": states, "losses": curves}
        storage.save(Path(settings.checkpoints), done, tree, told, source.state())
    if settings.log is not None:
        _write_curves(settings.log, tasks, curves)


def _write_curves(path: str | Path, tasks: Sequence[str], curves: np.ndarray) -> None:
    """Write losses `(steps, tasks)` as CSV with the header `step,<task>,...`, replacing an existing file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["step", *tasks], *([step, *row] for step, row in enumerate(curves))])
    write_text(path, text.getvalue(), overwrite=True)


def _check_finite(tasks: Sequence[str], losses: np.ndarray, first: int) -> None:
    """Raise FloatingPointError at the first non-finite entry of losses `(steps, tasks)` from step `first` on."""
    bad = np.argwhere(~np.isfinite(losses))
    if len(bad):
        step, task = bad[0]
        whose = f" of task {tasks[task]!r}" if len(tasks) > 1 else ""
        value = losses[step, task]
        raise FloatingPointError(f"the loss{whose} or its gradient is not finite ({value}) at step {first + step}.")


class _Progress:
    """Lines on standard error with the step, the mean loss since the last line, and images per second."""

    def __init__(self, steps: int):
        self.steps = steps
        self.time = time.monotonic()

    def report(self, step: int, losses: np.ndarray, images: int) -> None:
        """Report on the losses `(steps, tasks)` since the last line, with `images` per step."""
        now = time.monotonic()
        rate = len(losses) * images / max(now - self.time, 1e-9)
        sys.stderr.write(f"step {step}/{self.steps}  loss {losses.mean():.4g}  {rate:.0f} images/s\n")
        self.time = now
