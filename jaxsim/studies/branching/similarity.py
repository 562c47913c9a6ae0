"""Similarity of an encoder's layers with encoders of tasks, and the layer it recommends for each task."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsim import engine, measures, resampling, schemes
from jaxsim.io import read_features
from jaxsim.io.jobs import Blocks
from jaxsim.measures import Measure
from jaxsim.results import Affinity, Resamples
from jaxsim.statistics.checks import as_key
from jaxsim.studies.branching import networks
from jaxsim.studies.branching.data import Pictures
from jaxsim.vision import extraction
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.models.weights import Encoder

LEAST = 8
"""Fewest pictures for a meaningful similarity."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recommendation:
    """Similarity of each layer with each task's encoder, and the most similar layer.

    Attributes:
        affinity: scores `(layers, tasks)`.
        resamples: the scores of half-samples of the pictures; None for scores alone.
    """

    affinity: Affinity
    resamples: Resamples | None = None

    @property
    def scores(self) -> np.ndarray:
        """The scores in float64."""
        return np.asarray(self.affinity.values, dtype=float)

    @property
    def best(self) -> dict[str, str]:
        """The recommended layer for each task; tasks without known scores are left out."""
        columns = zip(self.affinity.targets, self.scores.T, strict=True)
        return {task: self.affinity.names[int(np.argmax(c))] for task, c in columns if np.isfinite(c).all()}

    @functools.cached_property
    def contenders(self) -> dict[str, tuple[str, ...]]:
        """Layers that may be the most similar one to each task, recommended one first; see `Resamples.contenders`.

        All compared layers, if there are no resamples to tell them apart.
        """
        if self.resamples is None:
            return {task: (best, *(n for n in self.affinity.names if n != best)) for task, best in self.best.items()}
        return {task: self.resamples.contenders(task) for task in self.best}


def recommend(
    layers: Mapping[str, Any],
    tasks: Mapping[str, Any],
    measure: Measure = measures.DDS_LAPLACIAN,
    *,
    resamples: int | None = None,
    key: jax.Array | int = 0,
) -> Recommendation:
    """Compare every layer of one encoder with encoders of tasks, on features of the same pictures.

    Source: Dwivedi et al., Duality diagram similarity (2020), section 6.4, figures 3 and 4.

    Args:
        layers: features `(n, ...)` of one encoder by layer.
        tasks: features `(n, ...)` of one encoder per task, by task; in the paper those of the encoder's last layer.
        measure: measure of similarity.
        resamples: number of half-samples of the pictures for intervals, even; None for scores alone.
        key: random key of the half-samples, or a seed.

    Raises:
        ValueError: there are no layers or tasks, or their pictures differ in number.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> early, late = rng.normal(size=(2, 30, 8))
        >>> found = recommend({"block1": early, "block2": late}, {"edges": early[:, ::-1], "classes": late + early / 9})
        >>> found.best
        {'edges': 'block1', 'classes': 'block2'}
    """
    if resamples is None:
        return Recommendation(engine.affinity(layers, measure, against=tasks))
    drawn = resampling.resample(layers, measure, schemes.HalfSamples(), n_resamples=resamples, key=key, against=tasks)
    images = np.full(np.shape(drawn.estimate), drawn.images)
    affinity = Affinity(np.asarray(drawn.estimate), images, drawn.names, drawn.targets, drawn.provenance, against=True)
    return Recommendation(affinity, drawn)


def mean(each: Sequence[Recommendation]) -> Recommendation:
    """Recommendation by the mean scores of encoders with the same layers, on the same half-samples of pictures."""
    affinity = dataclasses.replace(each[0].affinity, values=np.mean([one.affinity.values for one in each], 0))
    drawn = [one.resamples for one in each if one.resamples is not None]
    if len(drawn) < len(each):
        return Recommendation(affinity)
    values, estimate = (np.mean([getattr(r, part) for r in drawn], 0) for part in ("values", "estimate"))
    return Recommendation(affinity, dataclasses.replace(drawn[0], values=values, estimate=estimate))


@dataclasses.dataclass(frozen=True)
class Probe:
    """Settings of the similarity: its measure and the pictures it is computed on.

    Attributes:
        measure: measure of similarity.
        count: largest number of pictures, drawn at random from the training pictures; 200 in DDS 2020.
        resamples: number of half-samples for intervals, even; None for scores alone.
        seed: seed of the draws.
        side: side in pixels of the pictures shown to the compared encoder; None for its own.
        equal_view: compare maps that are averaged to one grid, see `equal_view`.
    """

    measure: Measure
    count: int = 200
    resamples: int | None = 100
    seed: int = 0
    side: int | None = None
    equal_view: bool = False

    def pictures(self, pictures: Pictures) -> Dataset:
        """Draw the pictures and drop their targets.

        Raises:
            ValueError: there are too few pictures.
        """
        have = min(self.count, len(pictures))
        if have < LEAST:
            raise ValueError(f"similarity needs at least {LEAST} training pictures, but there are only {have}.")
        drawn = np.random.default_rng(self.seed).permutation(len(pictures))[:have]
        dataset = pictures.dataset.select([pictures.dataset.ids[i] for i in np.sort(drawn)])
        return dataclasses.replace(dataset, labels={})


def equal_view(features: Mapping[Any, Any]) -> dict[Any, Any]:
    """Average maps `(n, h, w, c)` over blocks to the smallest height and width among them.

    Every feature then describes an equal part of the picture, plus whatever its own layers see around that part.
    Features of other shapes are left unchanged.

    >>> maps = {"early": np.arange(8.0).reshape(1, 4, 2, 1), "late": np.ones((1, 2, 1, 3))}
    >>> equal_view(maps)["early"].ravel().tolist()
    [1.5, 5.5]
    """
    grids = [np.shape(x)[1:3] for x in features.values() if np.ndim(x) == 4]
    if not grids:
        return dict(features)
    grid = np.min(grids, axis=0)
    return {name: _averaged(x, grid) if np.ndim(x) == 4 else x for name, x in features.items()}


def _averaged(x: Any, grid: np.ndarray) -> np.ndarray:
    """Means over the blocks of a grid, whose sizes differ by at most one."""
    x = np.asarray(x)
    for axis, count in zip((1, 2), grid, strict=True):
        starts = np.arange(count) * x.shape[axis] // count
        sizes = np.diff(starts, append=x.shape[axis]).reshape(-1, *[1] * (3 - axis))
        x = np.add.reduceat(x, starts, axis=axis) / sizes.astype(x.dtype)
    return x


def codes(bank: Mapping[str, Encoder], pictures: Dataset, work: Blocks, label: str = "bank") -> dict[str, np.ndarray]:
    """Features of each encoder's last layer, for pictures at the encoder's own size."""
    shown = {name: networks.preprocessing_for(name, encoder) for name, encoder in bank.items()}
    features = _features(pictures, bank, work.folder / "features" / label, preprocessing=shown)
    return {name: features[name] for name in bank}


def _features(pictures: Dataset, encoders: Mapping[str, Encoder], out: Path, **how: Any) -> dict[str, Any]:
    """Features of encoders' layers, unless they are there."""
    with contextlib.suppress(FileExistsError):
        extraction.extract(pictures, encoders, out, **how)
    return read_features(out)[0]


def score_layers(
    encoder: Encoder,
    bank: Mapping[str, np.ndarray],
    pictures: Dataset,
    probe: Probe,
    work: Blocks,
    *,
    name: str,
    label: str = "layers",
    wanted: Sequence[str] = (),
) -> Recommendation:
    """Score an encoder's layers by similarity with the codes of tasks' encoders.

    Args:
        encoder: the encoder.
        bank: codes of the same pictures by task.
        pictures: the result of `probe.pictures`.
        probe: settings of the similarity.
        work: store of the features.
        name: name of the encoder.
        label: label of the encoder in the work folder.
        wanted: names of layers; all blocks by default.

    Raises:
        ValueError: there is no such layer.
    """
    names = list(networks.layers(encoder, wanted))
    out = work.folder / "features" / "-".join((label, *names))
    shown = {name: networks.preprocessing_for(name, encoder, probe.side)}
    features = _features(pictures, {name: encoder}, out, layers=names, preprocessing=shown)
    found, bank = {layer: features[f"{name}.{layer}" if len(names) > 1 else name] for layer in names}, dict(bank)
    if probe.equal_view:
        pooled = equal_view({("layer", n): x for n, x in found.items()} | {("task", n): x for n, x in bank.items()})
        found, bank = {n: pooled["layer", n] for n in found}, {n: pooled["task", n] for n in bank}
    return recommend(found, bank, probe.measure, resamples=probe.resamples, key=as_key(probe.seed))
