"""Evidence from worlds of `jaxsim rooms`, or from any measured transfer with features."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxsim.evaluation.truth import reordered, rising
from jaxsim.io.files import few
from jaxsim.results import Affinity
from jaxsim.studies.reproduce.predictors import Evidence, halves
from jaxsim.studies.reproduce.settings import SEED
from jaxsim.studies.reproduce.timings import timed

SHIPPED = "rooms"
"""Name of the shipped world, accepted in place of a folder."""


def evidence_of(
    folder: str | Path = SHIPPED,
    count: int = 500,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Evidence of a world: its encoders, unseen pictures with labels, and measured transfer.

    The truth is Taskonomy's affinity on every second held-out image of the measured transfer; the skill is for the same
    images. The tournament may read the losses of the other half.

    Args:
        folder: folder made by `jaxsim rooms`, or 'rooms' for the shipped world.
        count: number of pictures.
        seed: seed of the pictures, in addition to the world's own.
        progress: called with the pictures done and their number.

    Raises:
        FileNotFoundError: the folder lacks a file.
        ValueError: it has another version of the world, is damaged, or has files for different networks.
    """
    from jaxsim.studies.reproduce.model_cache import recipe_of
    from jaxsim.studies.rooms import encoders as networks
    from jaxsim.studies.rooms import pictures, tasks, world

    shipped = str(folder) == SHIPPED and not Path(folder).exists()
    path = networks.shipped_file() if shipped else Path(folder) / "encoders.safetensors"
    encoders, truth = networks.load(path), world.load_truth(path.with_name("transfer.npz"))
    if set(encoders) != set(truth.sources):
        odd = few(sorted(set(encoders) ^ set(truth.sources)))
        raise ValueError(
            f"{folder}: encoders and measured transfer have different networks; only one of them has: {odd}."
        )
    if truth.losses.shape[-1] < 2:
        raise ValueError(
            f"{folder}: its transfer is measured on one image; to split the images in half, at least two are needed."
        )
    place = SEED + 10 * (recipe_of(path).seed + seed)
    names = tuple(dict.fromkeys((*truth.sources, *truth.targets)))
    made = pictures.make(count, seed=place, names=names, progress=progress)
    labels = {name: world.readable(tasks.named(name), made.targets[name]) for name in names}
    features, seconds = timed(lambda: networks.features(encoders, made.rgb))
    affinity, skill, others = halves(truth)
    return Evidence(affinity, features, skill, labels, others, encoders, made.rgb, seconds)


def given_evidence(
    truth: Affinity,
    features: Mapping[str, np.ndarray],
    *,
    skill: Affinity | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
    subset: bool = False,
) -> Evidence:
    """Evidence of any measured transfer, with features of its networks.

    Args:
        truth: measured transfer `(S, T)`.
        features: features of its sources and targets by name, in any order; others are ignored.
        skill: performance after transfer, for the same sources and targets in any order; the truth by default.
        labels: labels of tasks by name.
        subset: leave out sources and targets without features.

    Raises:
        ValueError: the features or the skill lack a source or a target.

    >>> import jaxsim as js
    >>> names, rng = list("abcd"), np.random.default_rng(0)
    >>> truth = js.Affinity.from_array(rng.normal(size=(4, 4)), names, measure="transfer")
    >>> given_evidence(truth, {n: rng.normal(size=(9, 3)) for n in "dcba"}).sources
    ('a', 'b', 'c', 'd')
    """
    if subset:
        names, targets = ([n for n in labels if n in features] for labels in (truth.names, truth.targets))
        truth = reordered(truth, names, targets)
    if skill is not None:
        for what in ("names", "targets"):
            lacking = [n for n in getattr(truth, what) if n not in getattr(skill, what)]
            if lacking:
                kind = "sources" if what == "names" else "targets"
                raise ValueError(f"the skill lacks the {kind} {few(lacking)}, which the truth has.")
        skill = reordered(skill, truth.names, truth.targets)
    values = None if skill is None else rising(skill)
    features = {name: np.asarray(x) for name, x in features.items()}
    return Evidence(truth, features, values, labels)
