"""Which layer of an encoder to branch from for a task: the one most similar to an encoder trained on that task."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsim import engine, measures, resampling, schemes
from jaxsim.measures import Measure
from jaxsim.results import Affinity


@dataclasses.dataclass(frozen=True, eq=False)
class Recommendation:
    """Similarity of each layer with each task's encoder, and the most similar layer.

    Attributes:
        affinity: scores `(layers, tasks)`.
        low: lower ends of their intervals over pictures, `(layers, tasks)`; None without resamples.
        high: upper ends.
        first_share: share of resamples in which each layer is the most similar to the task, `(layers, tasks)`.
    """

    affinity: Affinity
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    first_share: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """The scores in float64."""
        return np.asarray(self.affinity.values, dtype=float)

    @property
    def best(self) -> dict[str, str]:
        """The recommended layer of each task; tasks whose scores are not known are left out."""
        columns = zip(self.affinity.targets, self.scores.T, strict=True)
        return {task: self.affinity.names[int(np.argmax(c))] for task, c in columns if np.isfinite(c).all()}


def recommend(
    layers: Mapping[str, Any],
    tasks: Mapping[str, Any],
    measure: Measure = measures.DDS_LAPLACIAN,
    *,
    resamples: int | None = None,
    key: jax.Array | int = 0,
    level: float = 0.95,
) -> Recommendation:
    """Compare every layer of one encoder with encoders of tasks, on features of the same pictures.

    Source: Dwivedi et al., Duality diagram similarity (2020), section 6.4, figures 3 and 4.

    Args:
        layers: features `(n, ...)` of one encoder by layer.
        tasks: features `(n, ...)` of one encoder a task, by task; in the paper those of their last layer.
        measure: of similarity.
        resamples: half-samples of the pictures for intervals, an even number; None for scores alone.
        key: random key of the half-samples, or a seed.
        level: of the intervals.

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
    low, high = (np.asarray(end, dtype=float) for end in drawn.interval(level))
    return Recommendation(affinity, low, high, np.asarray(drawn.first_share(), dtype=float))
