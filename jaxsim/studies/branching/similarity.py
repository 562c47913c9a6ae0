"""Similarity of an encoder's layers with encoders of tasks, on pictures of a folder."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jaxsim.io import read_features
from jaxsim.io.jobs import Blocks
from jaxsim.measures import Measure
from jaxsim.studies.branching import networks
from jaxsim.studies.branching.data import Pictures
from jaxsim.studies.branching.recommendation import Recommendation, recommend
from jaxsim.vision import extraction
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.models.weights import Encoder

LEAST = 8
"""Pictures, below which a similarity means nothing."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Which pictures similarity is computed on, and how.

    Attributes:
        measure: of similarity.
        count: pictures at most, drawn at random from those to learn from; 200 in DDS 2020.
        resamples: half-samples for intervals, an even number; None for scores alone.
        seed: of the draws.
        side: of the pictures of the encoder whose layers are compared, in pixels; None for what its kind was made for.
    """

    measure: Measure
    count: int = 200
    resamples: int | None = 100
    seed: int = 0
    side: int | None = None

    def pictures(self, pictures: Pictures) -> Dataset:
        """The pictures, without targets.

        Raises:
            ValueError: there are too few.
        """
        have = min(self.count, len(pictures))
        if have < LEAST:
            raise ValueError(f"Similarity needs at least {LEAST} pictures to learn from; there are {have}.")
        drawn = np.random.default_rng(self.seed).permutation(len(pictures))[:have]
        dataset = pictures.dataset.select([pictures.dataset.ids[i] for i in np.sort(drawn)])
        return dataclasses.replace(dataset, labels={})


def codes(bank: Mapping[str, Encoder], pictures: Dataset, work: Blocks, label: str = "bank") -> dict[str, np.ndarray]:
    """What the last layer of each encoder makes of the pictures, at the size that its kind was made for."""
    shown = {name: networks.shown(name, encoder) for name, encoder in bank.items()}
    out = work.folder / "features" / label
    if not out.exists():
        extraction.extract(pictures, bank, out, preprocessing=shown)
    features, _ = read_features(out)
    return {name: features[name] for name in bank}


def compared(
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
    """Similarity of an encoder's layers with the codes of tasks' encoders.

    Args:
        encoder: the encoder.
        bank: codes of the same pictures by task.
        pictures: as `probe.pictures` gives.
        probe: how.
        work: keeps the features.
        name: of the encoder.
        label: of the encoder in the work folder.
        wanted: names of layers; all blocks by default.

    Raises:
        ValueError: there is no such layer.
    """
    names = list(networks.layers(encoder, wanted))
    out = work.folder / "features" / "-".join((label, *names))
    if not out.exists():
        shown = {name: networks.shown(name, encoder, probe.side)}
        extraction.extract(pictures, {name: encoder}, out, layers=names, preprocessing=shown)
    features, _ = read_features(out)
    found = {layer: features[f"{name}.{layer}" if len(names) > 1 else name] for layer in names}
    key = jax.random.key(probe.seed)
    return recommend(found, dict(bank), probe.measure, resamples=probe.resamples, key=key)
