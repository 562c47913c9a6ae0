"""Sets of rendered pictures with their targets: made once in batches, kept in a file, reused."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsim.io.writing import write_npz
from jaxsim.rooms import render, scenes, tasks

VERSION = 2
"""Of the world: the same version, style, seed and resolution give the same pixels."""
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of one world and their targets.

    Attributes:
        world: name of its style.
        seed: of the scenes.
        rgb: `(n, h, w, 3)` uint8.
        targets: one array `(n, ...)` a task: float16 where real, uint8 where class or segment numbers.
    """

    world: str
    seed: int
    rgb: np.ndarray
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.rgb)

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
        raise ValueError(f"No world is called {world!r}; there are {', '.join(scenes.WORLDS)}.")
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

    Picture k of a seed is the same whatever the count.

    Args:
        count: number of pictures.
        seed: of the scenes.
        world: 'rooms' or 'lofts'.
        resolution: height and width in pixels, a multiple of 8.
        names: tasks; none gives pictures alone.
        progress: called with the pictures done and the count.

    Raises:
        ValueError: no pictures are asked for, or an unknown world or task, or another resolution.

    >>> from jaxsim.rooms import pictures
    >>> made = pictures.make(2, resolution=16, names=["rgb2depth"])
    >>> made.rgb.shape, made.targets["rgb2depth"].shape
    ((2, 16, 16, 3), (2, 16, 16, 1))
    """
    if count < 1:
        raise ValueError(f"{count} pictures were asked for; at least one is needed.")
    if resolution < 8 or resolution % 8:
        raise ValueError(f"a resolution of {resolution} pixels was asked for; it must be a multiple of 8.")
    wanted, look = [tasks.named(n) for n in names], style(world)
    rgb, targets = [], {task.name: [] for task in wanted}
    root, size = jax.random.key(seed), min(BATCH, count)

    def rendered(start: int) -> render.View:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(root, np.arange(start, start + size))
        return render.views(keys, look, resolution)

    ahead = rendered(0)
    for start in range(0, count, size):
        views, keep = ahead, min(size, count - start)
        made = {task.name: tasks.targets(task, views) for task in wanted if not task.on_host}
        if start + size < count:  # rendered while the host makes the other targets
            ahead = rendered(start + size)
        made |= {task.name: tasks.targets(task, views) for task in wanted if task.on_host}
        rgb.append(np.round(np.asarray(views.rgb)[:keep] * 255).astype(np.uint8))
        for name, values in made.items():
            targets[name].append(_stored(np.asarray(values)[:keep]))
        if progress is not None:
            progress(start + keep, count)
    return Pictures(world, seed, np.concatenate(rgb), {n: np.concatenate(v) for n, v in targets.items()})


def _stored(a: np.ndarray) -> np.ndarray:
    if not np.issubdtype(a.dtype, np.integer):
        return a.astype(np.float16)
    if a.max() > np.iinfo(np.uint8).max:
        raise ValueError(f"a target has {a.max() + 1} classes or segments in a picture; at most 256 can be kept.")
    return a.astype(np.uint8)


def cached(path: str | Path | None, count: int, **how: Any) -> Pictures:
    """The set in the file at `path`, made and written there first if it is absent; `how` as for `make`.

    Raises:
        ValueError: the file holds another set than the one asked for, or is no such file.
    """
    if path is None:
        return make(count, **how)
    wanted = _description(count, how)
    if not Path(path).exists():
        made = make(count, **how)
        arrays = {"rgb": made.rgb} | {f"target/{k}": v for k, v in made.targets.items()}
        write_npz(path, arrays | {"description": np.array(json.dumps(wanted))})
        return made
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = json.loads(str(file["description"]))
            arrays = {name: file[name] for name in file.files if name != "description"}
    except Exception as error:
        raise ValueError(f"{path} is not a whole set of pictures: {error}.") from error
    if found != wanted:
        differing = [k for k in wanted if found.get(k) != wanted[k]]
        words = ", ".join(f"{k} {found.get(k)!r} where {wanted[k]!r} is asked for" for k in differing)
        raise ValueError(f"{path} holds another set of pictures: {words}.")
    targets = {k.removeprefix("target/"): v for k, v in arrays.items() if k != "rgb"}
    return Pictures(found["world"], found["seed"], arrays["rgb"], targets)


def _description(count, how) -> dict[str, Any]:
    told = {"seed": 0, "world": "rooms", "resolution": 64, "names": ()} | {
        k: v for k, v in how.items() if k != "progress"
    }
    return {"version": VERSION, "count": count, **told, "names": list(told["names"])}
