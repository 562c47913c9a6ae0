"""Settings and outcomes of experiments: features of unseen pictures, measured transfer, and verdicts on claims."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.io.files import finite
from jaxsim.studies.reproduce.model_cache import NEW_WORLD, ModelCache, Report, TrainedEncoder, recipe_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsim.studies.rooms.tasks import Task
    from jaxsim.studies.rooms.transfer import Truth
    from jaxsim.studies.rooms.world import Recipe
    from jaxsim.vision.models import SmallEncoder

SEED = 2_000_000
"""Seed of the pictures; training uses seeds near 0 and measured transfer seeds near 1 000 000."""
PICTURES, PICTURES_QUICK = 500, 300
REFERENCE = 2000
"""Number of reference pictures for `images`, except in a quick setting."""
LARGER = "wide"
"""Size of the networks that `large` trains by default, with four times the weights of the shipped ones."""
FEWEST = 4
"""Fewest networks for meaningful rankings and trees."""
PARTS = ("layers", "labels", "reference", "elsewhere", "workshop")
QUICK = {"learn": 600, "judge": 60, "steps": 150, "fit": 100, "test": 150}
"""Sizes in the workshop's recipe in a quick setting."""
TARGETS_QUICK = ("autoencoder", "edge3d", "rgb2depth", "class_object")
"""Tasks that networks are trained for in a quick setting."""

Features = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """Everything that an experiment may use.

    Attributes:
        features: by layer, first to last, and by encoder: `(n, ..., c)` for the same n pictures. Encoders are compared
            by the last layer, the code, except in `depth` and `layers`.
        truth: measured transfer; its sources are the encoders.
        groups: group of each task, such as '2d'.
        labels: the tasks' targets for the pictures, `(n, ...)`, for `depth` and `labels`.
        forms: form of each task's output, such as 'image, 1', for `labels`.
        reference: codes of other pictures of the same world, for `images`.
        elsewhere: codes of pictures of another world, for `subsets` and `new-task`.
        workshop: trains further networks, for `small`, `new-task`, `stages`, `sizes` and `large`.
        large: larger networks by task, for `large`; by default the workshop trains some.
        larger: size of the networks that it trains.
        quick: whether to use fewer resamples, for a first look.
        seed: seed of all random draws in an experiment.
    """

    features: Mapping[str, Features]
    truth: "Truth"
    groups: Mapping[str, str]
    labels: Features | None = None
    reference: Features | None = None
    elsewhere: Features | None = None
    workshop: ModelCache | None = None
    forms: Mapping[str, str] = dataclasses.field(default_factory=dict)
    large: Mapping[str, TrainedEncoder] | None = None
    larger: str = LARGER
    quick: bool = False
    seed: int = 0

    @property
    def grouped(self) -> dict[str, str]:
        """Group of every source, in order.

        Raises:
            ValueError: a source has no group.
        """
        lacking = [name for name in self.truth.sources if name not in self.groups]
        if lacking:
            raise ValueError(f"the groups do not include {', '.join(lacking)}.")
        return {name: self.groups[name] for name in self.truth.sources}

    @property
    def code(self) -> dict[str, np.ndarray]:
        """Features of the last layer in the order of the truth's sources."""
        return self.ordered(self.features[list(self.features)[-1]])

    def ordered(self, features: Features) -> dict[str, np.ndarray]:
        """Features in the order of the truth's sources.

        Raises:
            ValueError: a source has no features, or a target is not a source.
        """
        odd = [name for name in self.truth.targets if name not in self.truth.sources]
        if odd:
            raise ValueError(f"transfer was measured to {', '.join(odd)}, but the sources do not include it.")
        lacking = [name for name in self.truth.sources if name not in features]
        if lacking:
            raise ValueError(f"transfer was measured from {', '.join(lacking)}, but the features do not include it.")
        return {name: np.asarray(features[name]) for name in self.truth.sources}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """A paper's claim and its test in the built-in world.

    Attributes:
        source: paper and table or figure.
        claim: the claim in a sentence.
        criterion: condition under which the claim holds, fixed beforehand.
        paper: the paper's numbers.
        here: our numbers.
        holds: whether the criterion is met.
        header: columns of the table.
        rows: rows of the table; unknown numbers are None.
        draw: function that draws the figure; needs matplotlib.
    """

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
    large: str | Path = LARGER,
    seed: int = 0,
    work: str | Path | None = None,
    scratch: str | Path | None = None,
    progress: Callable[[str], Report | None] | None = None,
) -> Setting:
    """Make the setting of the built-in world: features of unseen pictures, and measured transfer.

    Args:
        quick: use 300 pictures instead of 500, 300 reference pictures instead of 2000, fewer resamples, and train
            networks for only four tasks, in 150 steps.
        encoders: encoders by task; the shipped ones by default.
        truth: measured transfer of these encoders; that of the shipped ones by default.
        recipe: the recipe that the encoders were made with; by default that of the shipped ones, or `Recipe()` if
            encoders are given.
        parts: parts to make besides codes, see `Setting`; all by default.
        large: the larger networks of `large`: their size, or a folder of `jaxsim rooms` that has them.
        seed: seed of the pictures, the experiments and the networks they train.
        work: folder for pictures and networks, from which a killed run resumes; None for no folder.
        scratch: where to put checkpoints if there is no `work`; None for the system's temporary folder.
        progress: called with a description; returns a function of (done, total), or None.

    Raises:
        ValueError: a part is unknown, there are fewer than four encoders, encoders and truth are for different networks
            or only one of them is given, or a file in `work` is damaged or is for other pictures.
        ImportError: the `nn` extra is not installed.
    """
    from jaxsim.studies.rooms import encoders as networks
    from jaxsim.studies.rooms import pictures, tasks, world
    from jaxsim.vision import models

    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(f"a setting has no part {unknown[0]!r}; choose from {', '.join(PARTS)}.")
    folded = Path(large).is_dir()
    if not folded and large not in (*models.SIZES, networks.RESNET):
        raise ValueError(
            f"large networks are of a size, {', '.join((*models.SIZES, networks.RESNET))}, or in a folder of `jaxsim "
            f"rooms`; {str(large)!r} is neither."
        )
    if (encoders is None) != (truth is None):
        raise ValueError(
            "encoders and their measured transfer belong together; give both, or neither to use the shipped ones."
        )
    if encoders is None:
        encoders, recipe = networks.shipped(), recipe or recipe_of()
    truth = world.load_truth() if truth is None else truth
    if set(encoders) != set(truth.sources):
        odd = ", ".join(sorted(set(encoders) ^ set(truth.sources)))
        raise ValueError(
            f"the encoders and the measured transfer have different networks; only one of them has: {odd}."
        )
    if len(truth.sources) < FEWEST:
        raise ValueError(
            f"the experiments rank at least {FEWEST} networks, but this world has "
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
        workshop=ModelCache(encoders, shown, amount, folder=folder, scratch=scratch, progress=progress)
        if "workshop" in parts
        else None,
        forms={name: _form(task) for name, task in tasks.TASKS.items()},
        large=_larger(Path(large), rgb) if folded and "workshop" in parts else None,
        larger=LARGER if folded else str(large),
        quick=quick,
        seed=seed,
    )


def _form(task: "Task") -> str:
    """Kind of output and its channels; classes and shares of classes are one form."""
    return "classes" if task.kind in ("classes", "distribution") else f"{task.kind}, {task.channels}"


def _larger(folder: Path, rgb: np.ndarray) -> dict[str, TrainedEncoder]:
    """The encoders of a folder of `jaxsim rooms`, with their skills."""
    from jaxsim.studies.rooms import encoders
    from jaxsim.vision import models

    path = folder / "encoders.safetensors"
    found, skills = encoders.load(path), models.safetensors_metadata(path).get("skill", {})
    codes = encoders.features(found, rgb)
    return {name: TrainedEncoder(one, codes[name], skills.get(name)) for name, one in found.items()}


def _amount(recipe: "Recipe", targets: Sequence[str], quick: bool, seed: int) -> "Recipe":
    """Recipe of the workshop's networks: that of the bank with other seeds, or a small one if `quick`."""
    few = tuple(name for name in TARGETS_QUICK if name in targets)
    less: dict[str, Any] = QUICK | {"names": few or tuple(targets)} if quick else {"names": tuple(targets)}
    return dataclasses.replace(recipe, **less, seed=recipe.seed + 1 + seed)
