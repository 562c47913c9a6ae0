"""What the experiments work on: features of pictures that no network was trained on, and measured transfer."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxsim.models import SmallEncoder
    from jaxsim.rooms.transfer import Truth

SEED = 2_000_000
"""Of the pictures; training uses seeds near 0 and measured transfer seeds near 1 000 000."""
PICTURES, PICTURES_QUICK = 500, 300
PARTS = ("layers", "reference", "elsewhere")

Features = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """Everything that an experiment may look at.

    Attributes:
        features: by layer, first to last, and by encoder: `(n, ..., c)` for the same n pictures. The last layer is
            the code that encoders are compared by; experiments other than `depth` need no other.
        truth: measured transfer; its sources are the encoders.
        groups: group of each task, such as '2d'.
        reference: codes of other pictures of the same world, for `images`.
        elsewhere: codes of pictures of another world, for `subsets`.
        quick: fewer resamples, for a first look.
        seed: of whatever is random in an experiment.
    """

    features: Mapping[str, Features]
    truth: "Truth"
    groups: Mapping[str, str]
    reference: Features | None = None
    elsewhere: Features | None = None
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
            raise ValueError(f"The groups lack {', '.join(lacking)}.")
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
            raise ValueError(f"Transfer was measured to {', '.join(odd)}, which are no sources.")
        lacking = [name for name in self.truth.sources if name not in features]
        if lacking:
            raise ValueError(f"Transfer was measured from {', '.join(lacking)}, which the features lack.")
        return {name: np.asarray(features[name]) for name in self.truth.sources}


def setting(
    quick: bool = False,
    *,
    encoders: "Mapping[str, SmallEncoder] | None" = None,
    truth: "Truth | None" = None,
    parts: Collection[str] = PARTS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Setting:
    """The setting of the built-in world: fresh pictures seen by trained encoders, and measured transfer.

    Args:
        quick: 300 pictures instead of 500, and fewer resamples in the experiments.
        encoders: by task; those that come with the package by default.
        truth: measured transfer of these encoders; the one that comes with the package by default.
        parts: what to make besides codes: 'layers' (for `depth`), 'reference' (for `images`) and 'elsewhere' (for
            `subsets`), all by default.
        seed: of the pictures, beyond those of training and transfer, and of the experiments.
        progress: called with the pictures made and their number.

    Raises:
        ValueError: an unknown part; encoders that the truth lacks or the other way round; a damaged file.
        ImportError: the `nn` extra is not installed.
    """
    from jaxsim.rooms import encoders as networks
    from jaxsim.rooms import pictures, tasks, world

    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(f"A setting has no part {unknown[0]!r}; there are {', '.join(PARTS)}.")
    encoders = networks.shipped() if encoders is None else encoders
    truth = world.load_truth() if truth is None else truth
    if set(encoders) != set(truth.sources):
        odd = ", ".join(sorted(set(encoders) ^ set(truth.sources)))
        raise ValueError(f"The encoders and the measured transfer are of different networks; in one only: {odd}.")
    count = PICTURES_QUICK if quick else PICTURES
    total, made = count * (1 + sum(part in parts for part in PARTS[1:])), 0

    def rendered(where: int, name: str = "rooms") -> np.ndarray:
        nonlocal made
        before = made

        def report(done: int, _: int) -> None:
            if progress is not None:
                progress(before + done, total)

        found = pictures.make(count, seed=SEED + 10 * seed + where, world=name, progress=report).rgb
        made += count
        return found

    def codes(rgb: np.ndarray, layer: str | None = None) -> dict[str, np.ndarray]:
        return networks.features(encoders, rgb, layer)

    rgb = rendered(0)
    deepest = max(len(encoder.widths) for encoder in encoders.values())
    layers = range(1, deepest) if "layers" in parts else ()
    features: dict[str, Any] = {f"conv{i}": codes(rgb, f"conv{i}") for i in layers}
    return Setting(
        features | {f"conv{deepest}": codes(rgb)},
        truth,
        {name: task.group for name, task in tasks.TASKS.items()},
        codes(rendered(1)) if "reference" in parts else None,
        codes(rendered(2, "lofts")) if "elsewhere" in parts else None,
        quick,
        seed,
    )
