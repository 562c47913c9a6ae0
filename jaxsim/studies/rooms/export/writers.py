"""Writers of all layouts by name, and the built-in world in any of them."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from jaxsim.studies.rooms.export import encodings
from jaxsim.studies.rooms.export.labeled_pictures import Labeled, labeled, numbered
from jaxsim.studies.rooms.export.nyuv2_layout import nyu, nyud_mt
from jaxsim.studies.rooms.export.pascal_layouts import pascal_mt, voc
from jaxsim.studies.rooms.export.taskonomy_layout import STORED, taskonomy


def folder(path: str | Path, pictures: Iterable[Labeled]) -> Path:
    """Write a plain folder of PNGs, without labels; return the folder.

    Raises:
        FileExistsError: the folder exists.
        ValueError: there are no pictures.
        OSError: the folder cannot be written.
    """
    with encodings.whole_folder(path) as root:
        for number, picture in numbered(pictures):
            encodings.png(root / f"{number:06d}.png", picture.rgb)
    return Path(path)


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writer of a layout.

    Attributes:
        write: function of (folder, pictures) that returns the folder.
        tasks: further tasks of Rooms whose targets the layout stores.
    """

    write: Callable[..., Path]
    tasks: tuple[str, ...] = ()


WRITERS: dict[str, Writer] = {
    "folder": Writer(folder),
    "nyu": Writer(nyu),
    "nyud_mt": Writer(nyud_mt),
    "pascal_mt": Writer(pascal_mt),
    "taskonomy": Writer(taskonomy, tuple(task for task, _ in STORED.values())),
    "voc": Writer(voc),
}
"""The writers of `datasets.LAYOUTS`, by the same names."""


def write_world(
    path: str | Path, layout: str, count: int, *, seed: int = 0, world: str = "rooms", resolution: int = 64
) -> Path:
    """Write pictures of the built-in world in the layout of a public dataset.

    The pictures are those of `rooms.pictures.make` with the same arguments. They are rendered and written one batch at
    a time. Each layout's writer documents which pictures are held out.

    Args:
        path: folder to create.
        layout: a name in `WRITERS`.
        count: number of pictures.
        seed: seed of the scenes.
        world: 'rooms' or 'lofts'.
        resolution: height and width in pixels.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists.
        ValueError: the layout or world is unknown, or the count is not positive.
        OSError: the folder cannot be written.

    >>> import tempfile
    >>> from jaxsim.vision import datasets
    >>> from jaxsim.studies.rooms import export
    >>> made = export.write_world(Path(tempfile.mkdtemp()) / "rooms", "nyu", 2, resolution=16)
    >>> example = datasets.nyu(made / "nyu_depth_v2_labeled.mat")[0]
    >>> example.image.shape, example.targets["depth"].shape
    ((16, 16, 3), (16, 16))
    """
    if layout not in WRITERS:
        raise ValueError(f"there is no dataset layout {layout!r}; choose from {', '.join(WRITERS)}.")
    writer = WRITERS[layout]
    return writer.write(path, labeled(count, seed=seed, world=world, resolution=resolution, names=writer.tasks))
