"""The setting that experiments work on, features of unseen pictures and measured transfer, and their outcome."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.io.files import finite
from jaxsim.studies.reproduce.model_cache import NEW_WORLD, ModelCache, Report, recipe_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsim.studies.rooms.transfer import Truth
    from jaxsim.studies.rooms.world import Recipe
    from jaxsim.vision.models import SmallEncoder

SEED = 2_000_000
"""Seed of the pictures; training uses seeds near 0 and measured transfer seeds near 1 000 000."""
PICTURES, PICTURES_QUICK = 500, 300
REFERENCE = 2000
"""Other pictures, for `images`; as many as the rest in a quick setting."""
FEWEST = 4
"""Networks without which rankings and trees say nothing."""
PARTS = ("layers", "labels", "reference", "elsewhere", "workshop")
QUICK = {"learn": 600, "judge": 60, "steps": 150, "fit": 100, "test": 150}
"""Amounts of a workshop's recipe for a first look."""
TARGETS_QUICK = ("autoencoder", "edge3d", "rgb2depth", "class_object")
"""Tasks that networks are trained for then."""

Features = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """Everything that an experiment may look at.

    Attributes:
        features: by layer, first to last, and by encoder: `(n, ..., c)` for the same n pictures. The last layer is
            the code that encoders are compared by; experiments other than `depth` need no other.
        truth: measured transfer; its sources are the encoders.
        groups: group of each task, such as '2d'.
        labels: the tasks' own targets of the pictures `(n, ...)`, for `depth`.
        reference: codes of other pictures of the same world, for `images`.
        elsewhere: codes of pictures of another world, for `subsets` and `new-task`.
        workshop: trains further networks, for `small`, `new-task`, `stages` and `sizes`.
        quick: fewer resamples, for a first look.
        seed: of whatever is random in an experiment.
    """

    features: Mapping[str, Features]
    truth: "Truth"
    groups: Mapping[str, str]
    labels: Features | None = None
    reference: Features | None = None
    elsewhere: Features | None = None
    workshop: ModelCache | None = None
    quick: bool = False
    seed: int = 0

    @property
    def grouped(self) -> dict[str, str]:
        """Group of every source, in their order.

        Raises:
            ValueError: a source has none.
        """
        lacking = [name for name in self.truth.sources if name not in self.groups]
        if lacking:
            raise ValueError(f"the groups lack {', '.join(lacking)}.")
        return {name: self.groups[name] for name in self.truth.sources}

    @property
    def code(self) -> dict[str, np.ndarray]:
        """Features of the last layer in the order of the truth's sources."""
        return self.ordered(self.features[list(self.features)[-1]])

    def ordered(self, features: Features) -> dict[str, np.ndarray]:
        """Features in the order of the truth's sources.

        Raises:
            ValueError: an encoder whose transfer was measured has no features, or a target is no source.
        """
        odd = [name for name in self.truth.targets if name not in self.truth.sources]
        if odd:
            raise ValueError(f"transfer was measured to {', '.join(odd)}, not among the sources.")
        lacking = [name for name in self.truth.sources if name not in features]
        if lacking:
            raise ValueError(f"transfer was measured from {', '.join(lacking)}, which the features lack.")
        return {name: np.asarray(features[name]) for name in self.truth.sources}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """A paper's claim beside what the built-in world says of it.

    Attributes:
        name: of the experiment.
        source: paper and table or figure.
        claim: in a sentence.
        criterion: what had to come out for the claim to hold, fixed beforehand.
        paper: the paper's number or numbers.
        here: ours.
        holds: whether the criterion was met.
        header: of the table.
        rows: of the table; a number that is not known is None.
        draw: makes the figure; needs matplotlib.
    """

    name: str
    source: str
    claim: str
    criterion: str
    paper: str
    here: str
    holds: bool
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    draw: Callable[[], "Figure"]

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON types, without its figure."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("draw", "rows")}
        return finite(fields | {"rows": [dict(zip(self.header, row, strict=True)) for row in self.rows]})


def setting(
    quick: bool = False,
    *,
    encoders: "Mapping[str, SmallEncoder] | None" = None,
    truth: "Truth | None" = None,
    recipe: "Recipe | None" = None,
    parts: Collection[str] = PARTS,
    seed: int = 0,
    work: str | Path | None = None,
    progress: Callable[[str], Report | None] | None = None,
) -> Setting:
    """The setting of the built-in world: fresh pictures seen by trained encoders, and measured transfer.

    Args:
        quick: 300 pictures instead of 500, 300 others instead of 2000, fewer resamples in the experiments, and networks
            trained for four tasks only, in 150 steps.
        encoders: by task; those that come with the package by default.
        truth: measured transfer of these encoders, if they are given; that of the shipped ones by default.
        recipe: how much the encoders learned from and for how long, and with what seed; the shipped ones by default,
            `Recipe()` where encoders are given.
        parts: what to make besides codes, see `Setting`; all by default.
        seed: of the pictures, beyond those of training and transfer, of the experiments and of the networks they train.
        work: folder that keeps pictures and networks, in which a killed run goes on; None keeps nothing.
        progress: called with a few words, gives a function of what is done and how much there is, or None.

    Raises:
        ValueError: an unknown part; fewer than four encoders; encoders without truth or the other way round, or of
            different networks; a damaged file, or one of other pictures in `work`.
        ImportError: the `nn` extra is not installed.
    """
    from jaxsim.studies.rooms import encoders as networks
    from jaxsim.studies.rooms import pictures, tasks, world

    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(f"a setting has no part {unknown[0]!r}; there are {', '.join(PARTS)}.")
    if (encoders is None) != (truth is None):
        raise ValueError("encoders and their measured transfer belong together: give both, or neither for the shipped.")
    if encoders is None:
        encoders, recipe = networks.shipped(), recipe or recipe_of()
    truth = world.load_truth() if truth is None else truth
    if set(encoders) != set(truth.sources):
        odd = ", ".join(sorted(set(encoders) ^ set(truth.sources)))
        raise ValueError(f"the encoders and the measured transfer are of different networks; in one only: {odd}.")
    if len(truth.sources) < FEWEST:
        raise ValueError(
            f"the experiments compare rankings of networks and need {FEWEST} at least; this world has "
            f"{len(truth.sources)}: {', '.join(truth.sources)}."
        )
    count = PICTURES_QUICK if quick else PICTURES
    folder = None if work is None else Path(work) / f"version-{pictures.VERSION}"
    report = None if progress is None else progress("pictures")
    others = count if quick else REFERENCE
    total, made = count * (1 + ("elsewhere" in parts)) + others * ("reference" in parts), 0

    def rendered(where: int, count: int, name: str = "rooms", names: Sequence[str] = ()) -> "pictures.Pictures":
        nonlocal made
        before, place = made, SEED + 10 * seed + where

        def told(done: int, _: int) -> None:
            if report is not None:
                report(before + done, total)

        file = None if folder is None else folder / f"{name}-{place}-{count}{'-labels' if names else ''}.npz"
        found = pictures.cached(file, count, seed=place, world=name, names=names, progress=told)
        made += count
        return found

    def codes(rgb: np.ndarray, layer: str | None = None) -> dict[str, np.ndarray]:
        return networks.features(encoders, rgb, layer)

    here = rendered(0, count, names=truth.sources if "labels" in parts else ())
    rgb = here.rgb
    deepest = max(len(encoder.widths) for encoder in encoders.values())
    layers = range(1, deepest) if "layers" in parts else ()
    features: dict[str, Any] = {f"conv{i}": codes(rgb, f"conv{i}") for i in layers}
    features[f"conv{deepest}"] = codes(rgb)
    reference = rendered(1, others).rgb if "reference" in parts else None
    there = rendered(2, count, NEW_WORLD).rgb if "elsewhere" in parts else None
    shown = {"rooms": rgb} | ({} if there is None else {NEW_WORLD: there})
    amount = _amount(recipe or world.Recipe(), truth.targets, quick, seed)
    return Setting(
        features,
        truth,
        {name: task.group for name, task in tasks.TASKS.items()},
        labels={name: world.readable(tasks.named(name), target) for name, target in here.targets.items()} or None,
        reference=None if reference is None else codes(reference),
        elsewhere=None if there is None else codes(there),
        workshop=ModelCache(encoders, shown, amount, folder=folder, progress=progress) if "workshop" in parts else None,
        quick=quick,
        seed=seed,
    )


def _amount(recipe: "Recipe", targets: Sequence[str], quick: bool, seed: int) -> "Recipe":
    """What the workshop's networks take, given what the bank took: as much with other seeds, or little if `quick`."""
    few = tuple(name for name in TARGETS_QUICK if name in targets)
    less: dict[str, Any] = QUICK | {"names": few or tuple(targets)} if quick else {"names": tuple(targets)}
    return dataclasses.replace(recipe, **less, seed=recipe.seed + 1 + seed)
