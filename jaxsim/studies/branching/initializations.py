"""Which encoder to start from for a new task, predicted by a small network and measured: RSA 2019, section 6.3."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from jaxsim import engine, evaluation, statistics
from jaxsim.io import read_features
from jaxsim.io.jobs import Blocks
from jaxsim.measures import Measure
from jaxsim.studies.branching import networks, similarity, training_runs
from jaxsim.studies.branching.data import Folder
from jaxsim.studies.branching.tasks import Task
from jaxsim.studies.branching.training_runs import Plan
from jaxsim.vision import extraction, models
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.models.weights import Encoder

PERMUTATIONS = 999
SELF = "small network"


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """Similarity of each initialization with the small network, and what fine-tuning from it gave.

    Attributes:
        task: the new task.
        names: of the initializations, S.
        scores: similarity by measure, each `(S,)`.
        values: the task's metric of each run, `(runs, S)`.
        small: the small network's own metric.
    """

    task: Task
    names: tuple[str, ...]
    scores: dict[str, np.ndarray]
    values: np.ndarray
    small: float

    @property
    def mean(self) -> np.ndarray:
        """Metric, mean over runs `(S,)`."""
        return self.values.mean(0)

    @property
    def ranks(self) -> np.ndarray:
        """Rank of each initialization by its mean metric, 1 the best, `(S,)`."""
        return _ranks(self._goodness)

    def predicted_ranks(self, measure: str) -> np.ndarray:
        """Rank of each by similarity, 1 the most similar, `(S,)`."""
        return _ranks(self.scores[measure])

    @property
    def _goodness(self) -> np.ndarray:
        return self.mean if self.task.kind.higher else -self.mean

    def correlation(self, measure: str) -> tuple[float, float, float]:
        """Spearman and Pearson correlation of similarity with the metric, the better the higher; p of no relation.

        The p value is one-sided, (1 + #) / (B + 1) of random orders of the initializations, by ranks.
        """
        scores, real = self.scores[measure], self._goodness
        found = evaluation.spearman(scores, real)
        rng = np.random.default_rng(0)
        null = [evaluation.spearman(scores, rng.permutation(real)) for _ in range(PERMUTATIONS)]
        return found, evaluation.pearson(scores, real), float(statistics.permutation_p(np.array(null), found))


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
    """Rank all initializations by similarity to a small network trained on the task, and fine-tune from each.

    Every network is the encoder with a new decoder on its last map of features, trained as a whole. As in RSA 2019
    there is no ReLU within the decoder's pyramid; optimizer and augmentation are those of `Plan`, as for branches.

    Args:
        bank: the initializations by name.
        folder: with one task.
        plan: of the training, the small network's too.
        measures: of similarity, by name.
        probe: which pictures similarity is computed on.
        work: keeps what is done; of a `recipe` with `task` and `small`.
        size: of the small network, a name in `models.SIZES`.
        seeds: runs from each initialization.
        progress: called with the networks trained and their number.

    Raises:
        ValueError: there are fewer than two initializations, or not one task, or damaged files.
        FloatingPointError: a loss is not finite.
    """
    if len(bank) < 2 or len(folder.tasks) != 1:
        raise ValueError(f"It takes several initializations and one task, not {len(bank)} and {len(folder.tasks)}.")
    task, names, total = folder.tasks[0], tuple(bank), 1 + seeds * len(bank)
    pictures = probe.pictures(folder.train)
    code, own = _small(task, folder, plan, probe, pictures, work, size)
    if progress is not None:
        progress(1, total)
    coded = similarity.codes(bank, pictures, work)
    scores = {
        label: np.asarray(engine.cross_affinity(coded, {SELF: code}, measure).values, dtype=float)[:, 0]
        for label, measure in measures.items()
    }
    values = np.zeros((seeds, len(names)))
    for s in range(seeds):
        for i, name in enumerate(names):
            seed = probe.seed + s

            def run(checkpoints: Path, name: str = name, seed: int = seed) -> dict[str, float]:
                return _tuned(name, bank[name], task, folder, plan, seed, checkpoints)[1]

            values[s, i] = work.get(f"{name}-{seed}", run)[task.kind.measured]
            if progress is not None:
                progress(1 + s * len(names) + i + 1, total)
    return Transfer(task, names, scores, values, own)


def _tuned(
    name: str, encoder: Encoder, task: Task, folder: Folder, plan: Plan, seed: int, checkpoints: Path
) -> tuple[Encoder, dict[str, float]]:
    """The encoder after fine-tuning with a decoder, and its metrics."""
    last = list(networks.layers(encoder, blocks=False))[-1]
    network = networks.branch(encoder, last, task, name=name, among=[last], activation=False, seed=seed)
    fitted = training_runs.trained(network, task, folder.train, plan, seed=seed, checkpoints=checkpoints)
    return fitted.network.network.encoder, training_runs.judged(fitted.network, task, folder.val, plan)


def _small(
    task: Task,
    folder: Folder,
    plan: Plan,
    probe: similarity.Probe,
    pictures: Dataset,
    work: Blocks,
    size: str,
) -> tuple[np.ndarray, float]:
    """The small network's codes of the pictures, and its metric."""

    def made(checkpoints: Path) -> dict[str, np.ndarray]:
        encoder = models.SmallEncoder.named(size, rngs=nnx.Rngs(probe.seed + 1))
        encoder, found = _tuned("", encoder, task, folder, plan, probe.seed, checkpoints)
        with tempfile.TemporaryDirectory(prefix="jaxsim-") as temporary:
            out = extraction.extract(pictures, {SELF: encoder}, Path(temporary) / SELF, size=plan.size)
            code = np.array(read_features(out)[0][SELF])
        return {"code": code, "metric": np.array(found[task.kind.measured])}

    found = work.get("small-network", made)
    return found["code"], float(found["metric"])


def _ranks(values: np.ndarray) -> np.ndarray:
    return 1 + np.sum(values[None] > values[:, None], axis=1)
