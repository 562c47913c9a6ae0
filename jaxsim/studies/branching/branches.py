"""Branches from every layer for several tasks, compared with the recommended ones (DDS 2020, Table 5)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxsim.io.jobs import Blocks
from jaxsim.statistics.checks import as_count
from jaxsim.studies.branching import networks, similarity, training_runs
from jaxsim.studies.branching.data import Folder
from jaxsim.studies.branching.tasks import Task
from jaxsim.studies.branching.training_runs import Plan
from jaxsim.vision.models.weights import Encoder


@dataclasses.dataclass(frozen=True, eq=False)
class Branches:
    """Metrics of branches, and similarity of their layers with encoders of the tasks.

    Attributes:
        layers: names of the L layers.
        tasks: names of the T tasks.
        values: the tasks' metrics in each run, `(runs, L, T)`; a run is an encoder with a seed.
        scores: similarity of each encoder's layers with the task's encoder, `(encoders, L, T)`; NaN if there is none.
        contenders: by task, layers that the pictures cannot tell from the recommended one, which comes first.
    """

    layers: tuple[str, ...]
    tasks: tuple[Task, ...]
    values: np.ndarray
    scores: np.ndarray
    contenders: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def mean(self) -> np.ndarray:
        """Mean metrics over runs, `(L, T)`."""
        return self.values.mean(0)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the metrics over runs, `(L, T)`; NaN for one run."""
        return self.values.std(0, ddof=1) if len(self.values) > 1 else np.full(self.mean.shape, np.nan)

    @property
    def best(self) -> dict[str, str]:
        """The layer with the best mean metric for each task."""
        return self._first([task.kind.higher for task in self.tasks], self.mean)

    @property
    def recommended(self) -> dict[str, str]:
        """The layer with the highest mean similarity for each task that has an encoder."""
        return self._first([True] * len(self.tasks), self.scores.mean(0))

    @property
    def agreeing(self) -> tuple[str, ...]:
        """Tasks whose best layer is the recommended one."""
        best = self.best
        return tuple(task for task, layer in self.recommended.items() if best.get(task) == layer)

    def regret(self, task: str, layer: str | None = None) -> float:
        """Difference in mean metric between the best layer and the recommended one, or another; at least 0."""
        t = [one.name for one in self.tasks].index(task)
        places = [self.layers.index(choice) for choice in (self.best[task], layer or self.recommended[task])]
        return float(abs(self.mean[places[0], t] - self.mean[places[1], t]))

    def _first(self, higher: Sequence[bool], table: np.ndarray) -> dict[str, str]:
        found = {}
        for t, task in enumerate(self.tasks):
            column = table[:, t] if higher[t] else -table[:, t]
            if np.isfinite(column).all():
                found[task.name] = self.layers[int(np.argmax(column))]
        return found


def compare_layers(
    encoders: Sequence[Encoder],
    bank: Mapping[str, Encoder],
    folder: Folder,
    plan: Plan,
    probe: similarity.Probe,
    work: Blocks,
    *,
    name: str = "",
    layers: Sequence[str] = (),
    seeds: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Branches:
    """Train a branch from every layer for every task, and score the layers by similarity.

    Args:
        encoders: one encoder, or several that differ only in their training seed.
        bank: encoders by task; for each task the one of the same name or in `Kind.likes` is used.
        folder: pictures and tasks.
        plan: settings of the training.
        probe: settings of the similarity, which is computed on training pictures without their targets.
        work: store of finished results, made with a `recipe` that includes `layers`.
        name: name of the encoders; for Taskonomy's networks, the name of their task.
        layers: names of layers; all blocks by default.
        seeds: number of branches trained from each layer of each encoder.
        progress: called with the number of branches done and in total.

    Raises:
        ValueError: `seeds` is not a positive whole number, the encoders have different layers, a layer does not exist,
            or files are damaged.
        FloatingPointError: a loss is not finite.
    """
    seeds, names = as_count(seeds, "seeds"), tuple(networks.layers(encoders[0], layers))
    if any(tuple(networks.layers(encoder, layers)) != names for encoder in encoders):
        raise ValueError("the encoders have different layers; they may differ only in their weights.")
    scores, contenders = _scores(encoders, name, bank, folder, probe, work, names)
    shape = (len(encoders), seeds, len(names), len(folder.tasks))
    values = np.zeros(shape)
    for done, (e, s, i, t) in enumerate(np.ndindex(*shape), 1):
        task, layer, seed = folder.tasks[t], names[i], probe.seed + e * seeds + s

        def run(checkpoints, e=e, task=task, layer=layer, seed=seed):
            how = {"name": name, "among": names, "frozen": plan.frozen, "seed": seed}
            network = networks.branch(encoders[e], layer, task, **how)
            fitted = training_runs.train(network, task, folder.train, plan, seed=seed, checkpoints=checkpoints)
            return training_runs.evaluate(fitted.network, task, folder.val, plan)

        values[e, s, i, t] = work.get(f"{e}-{layer}-{task.name}-{seed}", run)[task.kind.measured]
        if progress is not None:
            progress(done, values.size)
    return Branches(names, folder.tasks, values.reshape(-1, *shape[2:]), scores, contenders)


def likenesses(tasks: Sequence[Task], bank: Mapping[str, Encoder]) -> dict[str, str]:
    """The bank's encoder of the same or a similar task, for tasks that have one."""
    found = {}
    for task in tasks:
        own = next((name for name in (task.name, *task.kind.likes) if name in bank), None)
        if own is not None:
            found[task.name] = own
    return found


def _scores(
    encoders: Sequence[Encoder],
    name: str,
    bank: Mapping[str, Encoder],
    folder: Folder,
    probe: similarity.Probe,
    work: Blocks,
    names: Sequence[str],
) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """Similarities `(encoders, L, T)`, and the layers that may be the most similar to each task."""
    like = likenesses(folder.tasks, bank)
    scores = np.full((len(encoders), len(names), len(folder.tasks)), np.nan)
    if not like:
        return scores, {}
    pictures = probe.pictures(folder.train)
    coded = similarity.codes({name: bank[name] for name in like.values()}, pictures, work)
    each = [
        similarity.score_layers(
            encoder, coded, pictures, probe, work, name=name or "encoder", label=f"encoder-{e}", wanted=names
        )
        for e, encoder in enumerate(encoders)
    ]
    for t, task in enumerate(folder.tasks):
        if task.name in like:
            scores[:, :, t] = [one.scores[:, one.affinity.targets.index(like[task.name])] for one in each]
    found = similarity.mean(each).contenders
    return scores, {task: found[own] for task, own in like.items() if own in found}
