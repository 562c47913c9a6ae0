"""Networks that the experiments train: each is trained once, stored, and applied to the experiments' pictures."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxsim.studies.rooms.pictures import Pictures
    from jaxsim.studies.rooms.transfer import Truth
    from jaxsim.studies.rooms.world import Recipe
    from jaxsim.vision.models import SmallEncoder

SEED = 3_000_000
"""Seed of the pictures that these networks are trained on; the experiments' own seeds are near 2 000 000."""
STAGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Shares of the steps after which a network of the `STAGED` size is stored; 0 is untrained."""
STAGED = "small"
"""The size of Table S1, whose networks are stored at every stage; others are stored at the end."""
NEW_WORLD, NEW_TASK = "lofts", "segmentsemantic"
"""Stand-in for Pascal VOC: another world, and the task there."""
FEW = 4
"""The new world has this many times fewer training pictures."""

Report = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """A network at a stage of its training.

    Attributes:
        encoder: its encoder.
        code: its features `(n, h, w, c)` of the experiments' pictures.
        skill: 1 - loss / loss of the best constant on unseen pictures; None if untrained.
    """

    encoder: "SmallEncoder"
    code: np.ndarray
    skill: float | None


class ModelCache:
    """Trains networks on their own pictures, each once however many experiments need it.

    Args:
        bank: the encoders that are ranked, by task.
        shown: the experiments' pictures `(n, h, w, 3)` uint8 by world.
        recipe: pictures, steps and seed of these networks; its names are the tasks they are trained for.
        folder: stores pictures and networks, so that a killed run can resume; None stores nothing.
        scratch: where to put checkpoints if there is no `folder`; None for the system's temporary folder.
        progress: called with a short description; returns a `Report` for it, or None.
    """

    def __init__(
        self,
        bank: "Mapping[str, SmallEncoder]",
        shown: Mapping[str, np.ndarray],
        recipe: "Recipe",
        *,
        folder: str | Path | None = None,
        scratch: str | Path | None = None,
        progress: Callable[[str], Report | None] | None = None,
    ):
        self.bank, self.shown, self.recipe = bank, shown, recipe
        self.folder, self.scratch = None if folder is None else Path(folder), scratch
        self._progress = progress
        self._runs: dict[tuple[str, str, str], dict[float, TrainedEncoder]] = {}
        self._learned: dict[str, Pictures] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks that networks are trained for."""
        return self.recipe.names

    def made(self, task: str, size: str = STAGED, *, world: str = "rooms", stage: float = 1.0) -> TrainedEncoder:
        """A network, trained now unless it has been trained before.

        Args:
            task: the task it is trained for.
            size: size of the encoder, a name in `models.SIZES`.
            world: the world whose pictures it is trained on and applied to.
            stage: one of `STAGES`; 1 unless it has the `STAGED` size and the world is 'rooms'.

        Raises:
            ValueError: the task, size or stage is unknown, or the folder has other networks or damaged ones.
            FloatingPointError: a loss is not finite.
        """
        run = (task, size, world)
        if run not in self._runs:
            self._runs[run] = self._run(*run)
        if stage not in self._runs[run]:
            kept = ", ".join(map(str, self._runs[run]))
            raise ValueError(f"the {size} network for {task} in {world} is kept at {kept} of its steps, not {stage}.")
        return self._runs[run][stage]

    def transfer(self) -> "Truth":
        """Measured transfer of the bank to the new task in the new world."""
        from jaxsim.studies.rooms import encoders, tasks, world

        resolution = self.shown[NEW_WORLD].shape[1]
        scratch = encoders.network(tasks.TASKS["autoencoder"], self.recipe.seed, self.recipe.size, resolution).encoder
        fit, test = (self._pictures(NEW_WORLD, k, n) for k, n in ((2, self.recipe.fit), (3, self.recipe.test)))
        report, done = self.report(f"transfer to {NEW_WORLD}"), 0

        def told(_: str) -> None:
            nonlocal done
            done += 1
            if report is not None:
                report(done, len(self.bank))

        return world.measure_transfer(self.bank, scratch, fit, test, told)

    def _run(self, task: str, size: str, world: str) -> dict[float, TrainedEncoder]:
        stages = STAGES if (size, world) == (STAGED, "rooms") else STAGES[-1:]
        report = self.report(f"{task}, {size}" + ("" if world == "rooms" else f", {world}"))
        found = {}
        with self._checkpoints(world, keep=len(stages) > 1) as folder:
            for stage in stages:
                step = round(stage * self.recipe.steps)
                encoder, skill = self._network(task, size, world, step, folder)
                found[stage] = TrainedEncoder(encoder, self._code(task, encoder, world), skill)
                if report is not None and step:
                    report(step, self.recipe.steps)
        return found

    @contextlib.contextmanager
    def _checkpoints(self, world: str, *, keep: bool) -> Iterator[Path | None]:
        """A folder for checkpoints: the cache's, or a temporary one for a run that `keep`s several stages."""
        if self.folder is not None:
            amount = f"{self._learners(world)}x{self.recipe.steps}-{self.shown[world].shape[1]}px"
            yield self.folder / f"{world}-{amount}"
        elif keep:
            with tempfile.TemporaryDirectory(prefix="jaxsim-", dir=self.scratch) as temporary:
                yield Path(temporary)
        else:
            yield None

    def _network(self, task, size, world, step, folder) -> "tuple[SmallEncoder, float | None]":
        """The encoder after this many steps and its skill, from its file if there is one."""
        from jaxsim.studies.rooms import encoders, tasks
        from jaxsim.vision import models

        if not step:
            return encoders.network(tasks.named(task), self.recipe.seed, size, self.shown[world].shape[1]).encoder, None
        kept = None if self.folder is None else folder / f"{task}-{size}-{self.recipe.seed}-{step:08d}.safetensors"
        if kept is not None and kept.exists():
            return models.from_safetensors(kept)[task], models.safetensors_metadata(kept)["skill"]
        pictures, count = self._learning(world), self._learners(world)
        done = encoders.train(
            [task],
            pictures.part(0, count),
            pictures.part(count, len(pictures)),
            steps=self.recipe.steps,
            seed=self.recipe.seed,
            size=size,
            until=step,
            checkpoints=folder,
        )[task]
        if kept is not None:
            what = {task: done.network.encoder}
            models.to_safetensors(what, kept, {"skill": done.skill}, overwrite=True)  # another process may be as far
        return done.network.encoder, done.skill

    def _code(self, task, encoder, world) -> np.ndarray:
        from jaxsim.studies.rooms import encoders

        return encoders.features({task: encoder}, self.shown[world])[task]

    def _learners(self, world: str) -> int:
        """Number of pictures that a network of that world is trained on."""
        return self.recipe.learn if world == "rooms" else max(self.recipe.learn // FEW, 1)

    def _learning(self, world: str) -> "Pictures":
        """Pictures for training, then those for validation."""
        if world not in self._learned:
            count = self._learners(world) + self.recipe.judge
            self._learned[world] = self._pictures(world, 0 if world == "rooms" else 1, count)
        return self._learned[world]

    def _pictures(self, world: str, place: int, count: int) -> "Pictures":
        from jaxsim.studies.rooms import pictures

        seed = SEED + 10 * self.recipe.seed + place
        return pictures.cached(
            None if self.folder is None else self.folder / f"{world}-{seed}-{count}.npz",
            count,
            seed=seed,
            world=world,
            resolution=self.shown[world].shape[1],
            names=self.names if world == "rooms" else (NEW_TASK,),
            progress=self.report("pictures to learn from" if place < 2 else "pictures for transfer"),
        )

    def report(self, what: str) -> Report | None:
        """The progress report for a short description, or None."""
        return None if self._progress is None else self._progress(what)


def recipe_of(path: str | Path | None = None) -> "Recipe":
    """The recipe stored in a file of encoders; the shipped file's by default.

    Settings that the file lacks have their defaults.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or is not such a file.
        ImportError: the `nn` extra is not installed.

    >>> sorted(set(recipe_of().names))[:2]
    ['autoencoder', 'class_object']
    """
    from jaxsim.studies.rooms import encoders, world
    from jaxsim.vision import models

    told = models.safetensors_metadata(encoders.shipped_file() if path is None else path).get("recipe", {})
    known: dict[str, Any] = {f.name: told[f.name] for f in dataclasses.fields(world.Recipe) if f.name in told}
    if "names" in known:
        known["names"] = tuple(known["names"])
    return world.Recipe(**known)
