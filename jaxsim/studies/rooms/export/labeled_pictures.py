"""Labeled pictures in physical units, the input of all writers, from the built-in world or elsewhere."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxsim.studies.rooms import pictures, tasks
from jaxsim.studies.rooms.furniture import SURFACES


@dataclasses.dataclass(frozen=True, eq=False)
class Labeled:
    """One picture and its labels.

    Attributes:
        rgb: `(h, w, 3)` uint8.
        depth: along the optical axis, meters, `(h, w)` float32.
        distance: along the ray, meters, `(h, w)` float32.
        normals: unit vectors, x right, y down, z forward, `(h, w, 3)` float32.
        semantic: index into `rooms.furniture.CLASSES`, `(h, w)`.
        instance: number of the visible instance, `(h, w)`.
        targets: targets of further tasks of `rooms.tasks`, by name.
    """

    rgb: np.ndarray
    depth: np.ndarray
    distance: np.ndarray
    normals: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    targets: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def objects(self) -> np.ndarray:
        """Class of each pixel's object counted from 1, 0 on the room's surfaces, `(h, w)` uint8."""
        return np.maximum(self.semantic.astype(np.int32) - (len(SURFACES) - 1), 0).astype(np.uint8)


def labeled(
    count: int, *, seed: int = 0, world: str = "rooms", resolution: int = 64, names: Sequence[str] = ()
) -> Iterator[Labeled]:
    """Render labeled pictures of the built-in world, those of `rooms.pictures.make` with the same arguments.

    Args:
        count: number of pictures.
        seed: seed of the scenes.
        world: 'rooms' or 'lofts'.
        resolution: height and width in pixels.
        names: further tasks of `rooms.tasks` to compute targets for.

    Raises:
        ValueError: the count is not positive, or the world or a task is unknown.
    """
    if count < 1:
        raise ValueError(f"{count} pictures were requested; at least one is needed.")
    wanted, look = [tasks.named(name) for name in names], pictures.style(world)
    for host, targets in pictures.rendered(count, seed, look, resolution, wanted):
        for k in range(len(host.rgb)):
            yield Labeled(
                pictures.as_bytes(host.rgb[k]),
                host.depth[k],
                host.distance[k],
                host.normals[k],
                host.semantic[k],
                host.instance[k],
                {name: values[k] for name, values in targets.items()},
            )


def numbered(pictures: Iterable[Labeled]) -> Iterator[tuple[int, Labeled]]:
    """Enumerate pictures from 0.

    Raises:
        ValueError: there are no pictures.
    """
    number = -1
    for number, picture in enumerate(pictures):
        yield number, picture
    if number < 0:
        raise ValueError("there are no pictures to write.")


def held_out(number: int) -> bool:
    """Whether a picture belongs to the validation or test split, as every fourth does."""
    return number % 4 == 3


def band(numbers: np.ndarray, width: int) -> np.ndarray:
    """Mask of pixels within `width` of another number, along rows and columns, `(h, w)`.

    >>> import numpy as np
    >>> band(np.array([[1, 1, 1, 2, 2]]), 1).astype(int).tolist()
    [[0, 0, 1, 1, 0]]
    """
    near = np.zeros(numbers.shape, bool)
    for axis in (0, 1):
        along, marks = np.moveaxis(numbers, axis, 0), np.moveaxis(near, axis, 0)
        for by in range(1, width + 1):
            differs = along[by:] != along[:-by]
            marks[by:] |= differs
            marks[:-by] |= differs
    return near
