"""Sets of rendered pictures with their targets: made once in batches, stored in a file, reused."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsim.io import files, jobs
from jaxsim.statistics.checks import as_key
from jaxsim.studies.rooms import render, scenes, tasks

VERSION = 2
"""Version of the world: the same version, style, seed and resolution give the same pixels."""
BATCH = 32


@dataclasses.dataclass(frozen=True, repr=False)
class Pictures:
    """Pictures of one world and their targets.

    Attributes:
        world: name of its style.
        seed: seed of the scenes.
        rgb: `(n, h, w, 3)` uint8.
        targets: one array `(n, ...)` per task, in the units of its function in `rooms.targets`: float16 for real
            values, uint8 for class or segment numbers. Depths are logarithms there; meters are in `render.View`.
    """

    world: str
    seed: int
    rgb: np.ndarray
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.rgb)

    def __repr__(self) -> str:
        """One line about the set."""
        n, height, width, _ = self.rgb.shape
        return f"Pictures({n} of {self.world!r}, seed {self.seed}, {height} x {width}, targets of {len(self.targets)})"

    def part(self, start: int, stop: int) -> "Pictures":
        """Pictures `start` to `stop`."""
        return dataclasses.replace(
            self, rgb=self.rgb[start:stop], targets={k: v[start:stop] for k, v in self.targets.items()}
        )


def style(world: str) -> scenes.Style:
    """The style of that name.

    Raises:
        ValueError: no world has that name.
    """
    if world not in scenes.WORLDS:
        raise ValueError(f"there is no world {world!r}; choose from {', '.join(scenes.WORLDS)}.")
    return scenes.WORLDS[world]


def make(
    count: int,
    *,
    seed: int = 0,
    world: str = "rooms",
    resolution: int = 64,
    names: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Pictures:
    """Render pictures and the targets of the named tasks.

    Picture k of a seed does not depend on the count.

    Args:
        count: number of pictures.
        seed: seed of the scenes.
        world: 'rooms' or 'lofts'.
        resolution: height and width in pixels, a multiple of 8.
        names: tasks; empty for pictures without targets.
        progress: called with the pictures done and the count.

    Raises:
        ValueError: the count is not positive, the world or a task is unknown, or the resolution is invalid.
        TypeError: the names are a single string.

    >>> from jaxsim.studies.rooms import pictures
    >>> made = pictures.make(2, resolution=16, names=["rgb2depth"])
    >>> made.rgb.shape, made.targets["rgb2depth"].shape
    ((2, 16, 16, 3), (2, 16, 16, 1))
    """
    if count < 1:
        raise ValueError(f"{count} pictures were requested; at least one is needed.")
    if resolution < 8 or resolution % 8:
        raise ValueError(f"the resolution must be a multiple of 8, not {resolution} pixels.")
    if isinstance(names, str):
        raise TypeError(f"names must be a sequence of tasks, not the text {names!r}: give [{names!r}].")
    wanted, look = [tasks.named(n) for n in names], style(world)
    rgb, targets = [], {task.name: [] for task in wanted}
    done = 0
    for views, made in rendered(count, seed, look, resolution, wanted):
        rgb.append(as_bytes(views.rgb))
        for name, values in made.items():
            targets[name].append(_stored(values))
        done += len(views.rgb)
        if progress is not None:
            progress(done, count)
    return Pictures(world, seed, np.concatenate(rgb), {n: np.concatenate(v) for n, v in targets.items()})


def rendered(
    count: int, seed: int, look: scenes.Style, resolution: int, wanted: Sequence[tasks.Task]
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Yield a `render.View` of up to `BATCH` pictures at a time, in NumPy arrays, with targets by task.

    The next batch is rendered while the host makes the targets that are `on_host`.
    """
    root, size = as_key(seed), min(BATCH, count)

    def begun(start: int) -> render.View:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(root, np.arange(start, start + size))
        return render.views(keys, look, resolution)

    ahead = begun(0)
    for start in range(0, count, size):
        views, keep = ahead, min(size, count - start)
        made = {task.name: tasks.targets(task, views) for task in wanted if not task.on_host}
        if start + size < count:
            ahead = begun(start + size)
        made |= {task.name: tasks.targets(task, views) for task in wanted if task.on_host}
        host = {name: np.asarray(values)[:keep] for name, values in made.items()}
        yield jax.tree.map(lambda values, keep=keep: np.asarray(values)[:keep], views), host


def as_bytes(rgb: np.ndarray) -> np.ndarray:
    """Pictures from 0 to 1 as bytes."""
    return np.round(rgb * 255).astype(np.uint8)


def _stored(a: np.ndarray) -> np.ndarray:
    if not np.issubdtype(a.dtype, np.integer):
        return a.astype(np.float16)
    if a.max() > np.iinfo(np.uint8).max:
        raise ValueError(f"a target has {a.max() + 1} classes or segments in a picture; at most 256 can be stored.")
    return a.astype(np.uint8)


def cached(path: str | Path | None, count: int, **how: Any) -> Pictures:
    """The set in the file at `path`, made and written there first if the file is missing; `how` as for `make`.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: the file has another set than the requested one, is damaged, or is not such a file.
    """
    if path is None:
        return make(count, **how)
    wanted = _description(count, how)
    files.clear(Path(path).parent, Path(path).stem)
    if not Path(path).exists():
        made = make(count, **how)
        arrays = {"rgb": made.rgb} | {f"target/{k}": v for k, v in made.targets.items()}
        with contextlib.suppress(FileExistsError):  # another process was faster: its set is read below
            jobs.write_block(path, arrays, wanted)
            return made
    found, arrays = jobs.read_block(path)
    jobs.agree(found, wanted, path, remedy="request the same pictures, or give another file")
    targets = {k.removeprefix("target/"): v for k, v in arrays.items() if k != "rgb"}
    return Pictures(found["world"], found["seed"], arrays["rgb"], targets)


def _description(count: int, how: dict[str, Any]) -> dict[str, Any]:
    """Settings of the pictures, as JSON types."""
    asked = inspect.signature(make).bind(count, **how)
    asked.apply_defaults()
    told = {name: value for name, value in asked.arguments.items() if name != "progress"}
    return {"version": VERSION, **told, "names": list(told["names"])}
