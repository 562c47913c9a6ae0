"""Making the built-in world: pictures, trained encoders, measured transfer. A killed build can be resumed."""

import dataclasses
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io import files, jobs
from jaxsim.io.arrays import read_npz, write_npz
from jaxsim.studies.rooms import encoders, pictures, tasks, transfer
from jaxsim.studies.rooms.targets import image
from jaxsim.vision import models
from jaxsim.vision.extraction.preprocessing import decolored

TRANSFER_SEED = 1_000_000
"""Added to the seed for the pictures that transfer is measured on, which networks never saw."""
TRUTH = "shipped/transfer.npz"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Sizes of a world: pictures, steps, networks. The defaults made the shipped world.

    Attributes:
        seed: seed of the training pictures and networks; validation uses the next one, so seeds of worlds to be
            compared should be further apart.
        learn: number of pictures for training.
        judge: number of pictures for validation losses.
        steps: gradient steps of 32 pictures.
        fit: number of pictures that a readout is fitted to.
        test: number of pictures for measuring transfer.
        names: names of the tasks.
        resolution: resolution in pixels.
        size: size of the encoders, a name in `models.SIZES`.
    """

    seed: int = 0
    learn: int = 6000
    judge: int = 450
    steps: int = 1500
    fit: int = 450
    test: int = 600
    names: tuple[str, ...] = tuple(tasks.TASKS)
    resolution: int = 64
    size: str = "small"


def readable(task: tasks.Task, targets: np.ndarray) -> np.ndarray:
    """Targets as the readout predicts them: images at half size, classes as shares, segments as boundaries."""
    if task.kind == "classes":
        return np.eye(task.channels, dtype=np.float32)[targets]
    if task.kind == "segmentation":
        return _pooled(np.eye(task.channels, dtype=np.float32)[targets], 4)
    if task.kind == "embedding":
        return _pooled(_boundaries(targets), 2)
    return _pooled(targets, 2) if task.kind == "image" else targets.astype(np.float32)


def _boundaries(segments):
    """Pixels whose right or lower neighbor is in another segment, `(n, h, w, 1)`."""
    across = np.diff(segments.astype(np.int32), axis=2, append=segments[:, :, -1:]) != 0
    down = np.diff(segments.astype(np.int32), axis=1, append=segments[:, -1:]) != 0
    return (across | down).astype(np.float32)[..., None]


def _pooled(a, side):
    n, h, w, c = a.shape
    return a.astype(np.float32).reshape(n, h // side, side, w // side, side, c).mean((2, 4))


_SHOWN = {image.unchanged: "clean", image.noisy: "noisy", image.masked: "masked", decolored: "gray"}


def measure_transfer(
    sources: Mapping[str, models.SmallEncoder],
    scratch: models.SmallEncoder,
    fit: pictures.Pictures,
    test: pictures.Pictures,
    progress: Callable[[str], None] | None = None,
) -> transfer.Truth:
    """Transfer of encoders to the tasks whose targets the pictures have; see `transfer`."""
    wanted = [tasks.named(name) for name in fit.targets]
    shown = {_SHOWN[t.corrupt]: t for t in wanted}
    seen = {k: [encoders.inputs(t, part.rgb, part.seed) for part in (fit, test)] for k, t in shown.items()}

    def codes(name: str, encoder: models.SmallEncoder) -> dict[str, transfer.Pair]:
        def of(rgb: np.ndarray) -> np.ndarray:
            return encoders.features({name: encoder}, rgb)[name]

        return {kind: (of(first), of(second)) for kind, (first, second) in seen.items()}

    targets = {
        t.name: (_SHOWN[t.corrupt], readable(t, fit.targets[t.name]), readable(t, test.targets[t.name])) for t in wanted
    }
    return transfer.measure({n: codes(n, e) for n, e in sources.items()}, codes("scratch", scratch), targets, progress)


def build(
    out: str | Path,
    recipe: Recipe = Recipe(),
    *,
    progress: Callable[[str], Callable[[int, int], None] | None] = lambda what: None,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Make the pictures, train the encoders and measure transfer, reusing what is already in the folder.

    Writes `encoders.safetensors`, `transfer.npz`, `training.csv` (validation losses and skills) and `recipe.json`, and
    keeps pictures and checkpoints next to them.

    Args:
        out: the folder; created if missing.
        recipe: what to make.
        progress: called with a short description; returns a function of (done, total), or None.
        tell: called with a sentence whenever a network is trained or its transfer measured.

    Returns:
        The validation skill of each task's network, to four decimals.

    Raises:
        ValueError: the folder has a world with another recipe, or the recipe is not possible.
        OSError: the folder cannot be written to, or another process is building there.
    """
    out = Path(out)
    models.check_size(recipe.size)
    encoders.reduction(recipe.size, recipe.resolution)
    with jobs.lock(out):
        files.clear(out, held=True)
        return _built(out, recipe, progress, tell)


def _built(out: Path, recipe: Recipe, progress: Callable[..., Any], tell: Callable[[str], None]) -> dict[str, float]:
    jobs.begin(out, dataclasses.asdict(recipe) | {"version": pictures.VERSION})
    how = {"resolution": recipe.resolution, "names": recipe.names}

    def made(name, count, seed, what):
        return pictures.cached(out / name, count, seed=seed, progress=progress(f"pictures for {what}"), **how)

    learn = made("learn.npz", recipe.learn, recipe.seed, "training")
    judge = made("judge.npz", recipe.judge, recipe.seed + 1, "validation")
    done = encoders.train(
        recipe.names,
        learn,
        judge,
        steps=recipe.steps,
        seed=recipe.seed,
        size=recipe.size,
        checkpoints=out / "checkpoints",
        progress=lambda name, result: tell(f"{name}: skill {result.skill:.3f}"),
    )
    rows = ["task,validation_loss,constant_loss,skill"]
    rows += [f"{name},{r.loss:.6g},{r.constant:.6g},{r.skill:.4f}" for name, r in done.items()]
    files.write_text(out / "training.csv", "\n".join(rows) + "\n", overwrite=True)
    skills = {name: round(r.skill, 4) for name, r in done.items()}
    metadata = {"world_version": pictures.VERSION, "recipe": dataclasses.asdict(recipe), "skill": skills}
    found = {name: r.network.encoder for name, r in done.items()}
    models.to_safetensors(found, out / "encoders.safetensors", metadata, overwrite=True)
    seed = recipe.seed + TRANSFER_SEED
    fit = made("fit.npz", recipe.fit, seed, "the readout")
    test = made("test.npz", recipe.test, seed + 1, "transfer")
    scratch = encoders.network(tasks.TASKS["autoencoder"], recipe.seed + 1, recipe.size, recipe.resolution).encoder
    truth = measure_transfer(found, scratch, fit, test, lambda name: tell(f"measured transfer from {name}"))
    save_truth(truth, out / "transfer.npz", overwrite=True)
    return skills


def save_truth(truth: transfer.Truth, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write measured transfer as npz, with losses of single images in float16.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.
    """
    arrays = {k: np.asarray(v) for k, v in dataclasses.asdict(truth).items()}
    return write_npz(path, arrays | {"losses": truth.losses.astype(np.float16)}, overwrite=overwrite)


def load_truth(path: str | Path | None = None) -> transfer.Truth:
    """Read measured transfer from a file made by `build`, or the shipped one.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or is not such a file.
    """
    path = Path(str(resources.files("jaxsim.studies.rooms") / TRUTH)) if path is None else Path(path)
    arrays: dict[str, Any] = read_npz(path)
    lacking = [f.name for f in dataclasses.fields(transfer.Truth) if f.name not in arrays]
    if lacking:
        raise ValueError(f"{path} is not a file of measured transfer: it lacks {', '.join(lacking)}.")
    arrays = {f.name: arrays[f.name] for f in dataclasses.fields(transfer.Truth)}
    arrays |= {name: tuple(arrays[name].tolist()) for name in ("sources", "targets")}
    return transfer.Truth(**arrays)
