"""Initializations for a new task, ranked by similarity to a small network and by fine-tuning (RSA 2019, 6.3)."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from flax import nnx
from scipy.stats import rankdata

from jaxsim import engine, evaluation, statistics
from jaxsim.io import read_features
from jaxsim.io.jobs import Blocks
from jaxsim.measures import Measure, title_of
from jaxsim.plotting.canvas import COLORS, GRAY, INK, MARKERS, bare, colors_of, new_figure, place, shown
from jaxsim.statistics.checks import as_count
from jaxsim.studies.branching import networks, similarity, training_runs
from jaxsim.studies.branching.data import Folder
from jaxsim.studies.branching.tasks import Task
from jaxsim.studies.branching.training_runs import Plan
from jaxsim.studies.rooms.tasks import TASKS
from jaxsim.vision import extraction, models
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.models.weights import Encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PERMUTATIONS = 999
SELF, SCRATCH = "small network", "random weights"
FEWEST = 3
"""Fewest initializations for correlating ranks."""
SIDE, GAP, ABOVE, BELOW = 3.0, 0.8, 0.45, 0.55
"""Side of a figure's panels and margins left of, above and below them, in inches."""


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """Similarity of each initialization to the small network, and the metric after fine-tuning from it.

    Attributes:
        task: the new task.
        names: names of the S initializations.
        scores: similarity by measure, each `(S,)`.
        values: the task's metric in each run, `(runs, S)`.
        small: the small network's own metric.
        scratch: mean metric from random weights of the initializations' architecture; NaN if it was not trained.
    """

    task: Task
    names: tuple[str, ...]
    scores: dict[str, np.ndarray]
    values: np.ndarray
    small: float
    scratch: float = float("nan")

    @property
    def own(self) -> np.ndarray:
        """Whether each initialization was trained on the new task itself, `(S,)`; its similarity is no prediction."""
        return np.array([name.removesuffix("_rb") in self.task.kind.likes for name in self.names])

    @property
    def mean(self) -> np.ndarray:
        """Mean metric over runs, `(S,)`."""
        return self.values.mean(0)

    @property
    def ranks(self) -> np.ndarray:
        """Rank of each initialization by its mean metric, `(S,)`; 1 is the best."""
        return _ranks(self._goodness)

    def predicted_ranks(self, measure: str) -> np.ndarray:
        """Rank of each initialization by similarity, `(S,)`; 1 is the most similar."""
        return _ranks(self.scores[measure])

    @property
    def _goodness(self) -> np.ndarray:
        return self.mean if self.task.kind.higher else -self.mean

    def correlation(self, measure: str, *, own: bool = False) -> tuple[float, float, float]:
        """Spearman and Pearson correlation of similarity with the metric, and a permutation p value.

        Metrics of errors are negated. The p value is one-sided, (1 + #) / (B + 1) over random orders of the
        initializations, for the Spearman correlation. All are NaN for fewer than `FEWEST` initializations.

        Args:
            measure: name of the measure.
            own: count initializations that were trained on the task itself, too; see `own`.
        """
        used = ~self.own | own
        scores, real = self.scores[measure][used], self._goodness[used]
        if len(real) < FEWEST:
            return float("nan"), float("nan"), float("nan")
        found = evaluation.spearman(scores, real)
        rng = np.random.default_rng(0)
        null = [evaluation.spearman(scores, rng.permutation(real)) for _ in range(PERMUTATIONS)]
        return found, evaluation.pearson(scores, real), float(statistics.permutation_p(np.array(null), found))

    def plot(self) -> "Figure":
        """Draw the metric against similarity: one panel per measure, stacked, with a point per initialization.

        Points have the colors of their tasks' groups if these are known. Better is higher: axes of errors are inverted.
        """
        groups = [TASKS[name].group if name in TASKS else "" for name in self.names]
        shades = colors_of(groups)
        count = len(self.scores)
        pitch = BELOW + SIDE + ABOVE
        figure = new_figure(GAP + SIDE + 0.2, count * pitch)
        for i, (label, scores) in enumerate(self.scores.items()):
            axes = place(figure, GAP, BELOW + (count - 1 - i) * pitch, SIDE, SIDE)
            for group, shade in shades.items():
                some = np.array([one == group for one in groups])
                marker = MARKERS[COLORS.index(shade)]
                own = some & self.own
                some &= ~own
                axes.scatter(scores[some], self.mean[some], s=18, color=shade, marker=marker, label=group or None)
                axes.scatter(scores[own], self.mean[own], s=18, facecolors="none", edgecolors=shade, marker=marker)
            if np.isfinite(self.scratch):
                axes.axhline(self.scratch, color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
                where = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
                axes.annotate(
                    SCRATCH, (1, self.scratch), xytext=(-2, -2), ha="right", va="top", fontsize=6, color=GRAY, **where
                )
            middle = (np.min(scores) + np.max(scores)) / 2
            for name, x, y in zip(shown(self.names), scores, self.mean, strict=True):
                side, away = ("left", 4) if x <= middle else ("right", -4)
                how = {"textcoords": "offset points", "ha": side, "va": "center", "parse_math": False}
                axes.annotate(name, (x, y), (away, 0), fontsize=6, color=INK, **how)
            spearman, _, p = self.correlation(label)
            beside = f"\nwith the hollow point {self.correlation(label, own=True)[0]:.2f}" if self.own.any() else ""
            axes.set_title(f"rank correlation {spearman:.2f} (p = {p:.3g}){beside}", fontsize=9, loc="left", color=INK)
            axes.set_xlabel(f"similarity with the small network: {title_of(label)}", fontsize=8, color=INK)
            axes.set_ylabel(self.task.kind.label, fontsize=9, color=INK)
            axes.tick_params(labelsize=8, colors=INK)
            if not self.task.kind.higher:
                axes.invert_yaxis()
            bare(axes, keep=("bottom", "left"))
            if i == 0 and any(groups):
                axes.legend(fontsize=7, frameon=False, labelcolor=INK, loc="best")
        return figure


def compare_initializations(
    bank: Mapping[str, Encoder],
    folder: Folder,
    plan: Plan,
    measures: Mapping[str, Measure],
    probe: similarity.Probe,
    work: Blocks,
    *,
    size: str = "small",
    seeds: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Transfer:
    """Rank initializations by similarity to a small network trained on the task, and fine-tune from each.

    One more network starts from random weights of the first initialization's architecture. Every network is the
    encoder with a new decoder on its last feature map, trained as a whole. As in RSA 2019 there is no ReLU within the
    decoder's pyramid; optimizer and augmentation are those of `Plan`, as for branches.

    Args:
        bank: initializations by name.
        folder: pictures and one task.
        plan: settings of the training, also of the small network.
        measures: measures of similarity by name.
        probe: settings of the similarity.
        work: store of finished results, made with a `recipe` that includes `task` and `small`.
        size: size of the small network, a name in `models.SIZES`.
        seeds: number of runs from each initialization and from random weights.
        progress: called with the number of networks trained and in total.

    Raises:
        ValueError: `seeds` is not a positive whole number, there are fewer than two initializations, there is not
            exactly one task, or files are damaged.
            or files are damaged.
        FloatingPointError: a loss is not finite.
    """
    seeds = as_count(seeds, "seeds")
    if len(bank) < 2 or len(folder.tasks) != 1:
        raise ValueError(
            f"at least two initializations and exactly one task are needed, not {len(bank)} and {len(folder.tasks)}."
        )
    task, names, total = folder.tasks[0], tuple(bank), 1 + seeds * (1 + len(bank))
    pictures = probe.pictures(folder.train)
    code, own = _small(task, folder, plan, probe, pictures, work, size)
    if progress is not None:
        progress(1, total)
    coded = similarity.codes(bank, pictures, work)
    scores = {
        label: np.asarray(engine.affinity(coded, measure, against={SELF: code}).values, dtype=float)[:, 0]
        for label, measure in measures.items()
    }
    values, done = np.zeros((seeds, 1 + len(names))), 1
    for s in range(seeds):
        for i, name in enumerate((SCRATCH, *names)):
            seed = probe.seed + s

            def run(checkpoints: Path, name: str = name, seed: int = seed) -> dict[str, float]:
                like, start = (name, bank[name]) if name in bank else _fresh(names[0], bank[names[0]], seed)
                return _tuned(like, start, task, folder, plan, seed, checkpoints)[1]

            values[s, i] = work.get(f"{name}-{seed}", run)[task.kind.measured]
            done += 1
            if progress is not None:
                progress(done, total)
    return Transfer(task, names, scores, values[:, 1:], own, float(values[:, 0].mean()))


def _fresh(name: str, encoder: Encoder, seed: int) -> tuple[str, Encoder]:
    """An encoder of the same architecture with random weights, and the name that determines its preprocessing."""
    made = type(encoder)(**encoder.configuration, rngs=nnx.Rngs(seed + 2))
    return ("" if isinstance(made, models.SmallEncoder) else name), made


def _tuned(
    name: str, encoder: Encoder, task: Task, folder: Folder, plan: Plan, seed: int, checkpoints: Path
) -> tuple[Encoder, dict[str, float]]:
    """Fine-tune an encoder with a new decoder; return it and its metrics."""
    last = list(networks.layers(encoder, blocks=False))[-1]
    network = networks.branch(encoder, last, task, name=name, among=[last], activation=False, seed=seed)
    fitted = training_runs.train(network, task, folder.train, plan, seed=seed, checkpoints=checkpoints)
    return fitted.network.network.encoder, training_runs.evaluate(fitted.network, task, folder.val, plan)


def _small(
    task: Task,
    folder: Folder,
    plan: Plan,
    probe: similarity.Probe,
    pictures: Dataset,
    work: Blocks,
    size: str,
) -> tuple[np.ndarray, float]:
    """Train the small network; return its codes of the pictures and its metric."""

    def made(checkpoints: Path) -> dict[str, np.ndarray]:
        encoder = models.SmallEncoder.named(size, rngs=nnx.Rngs(probe.seed + 1))
        encoder, found = _tuned("", encoder, task, folder, plan, probe.seed, checkpoints)
        place = checkpoints.with_name("features")
        out = extraction.extract(pictures, {SELF: encoder}, place, size=plan.size, overwrite=True)
        code = np.array(read_features(out)[0][SELF])
        return {"code": code, "metric": np.array(found[task.kind.measured])}

    found = work.get("small-network", made)
    return found["code"], float(found["metric"])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, 1 for the highest, ties sharing the best and NaN last."""
    return rankdata(-np.nan_to_num(values, nan=-np.inf), "min")
