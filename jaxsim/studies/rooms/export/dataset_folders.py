"""The built-in world in any of the layouts, by one call."""

from collections.abc import Callable, Iterable
from pathlib import Path

from jaxsim.studies.rooms.export import encodings
from jaxsim.studies.rooms.export.labeled_pictures import Labeled, numbered, rooms
from jaxsim.studies.rooms.export.nyuv2_layout import nyu, nyud_mt
from jaxsim.studies.rooms.export.pascal_layouts import pascal_mt, voc
from jaxsim.studies.rooms.export.taskonomy_layout import TASKS, taskonomy


def folder(path: str | Path, pictures: Iterable[Labeled]) -> Path:
    """Write a plain folder of PNGs, without labels; give the folder.

    Raises:
        FileExistsError: the folder is there already.
        ValueError: there are no pictures.
        OSError: the folder cannot be written.
    """
    with encodings.whole_folder(path) as root:
        for number, picture in numbered(pictures):
            encodings.png(root / f"{number:06d}.png", picture.rgb)
    return Path(path)


LAYOUTS: dict[str, Callable[..., Path]] = {
    "folder": folder,
    "nyu": nyu,
    "nyud_mt": nyud_mt,
    "pascal_mt": pascal_mt,
    "taskonomy": taskonomy,
    "voc": voc,
}
"""The writer of each layout."""


def world(
    path: str | Path, layout: str, count: int, *, seed: int = 0, world: str = "rooms", resolution: int = 64
) -> Path:
    """Write pictures of the built-in world in the layout of a public dataset; give the folder.

    The pictures are those of `rooms.pictures.make` with the same arguments; they are rendered and written a batch at
    a time. The writer of each layout says which are held out.

    Args:
        path: the folder to be made.
        layout: one of `LAYOUTS`.
        count: number of pictures.
        seed: of the scenes.
        world: 'rooms' or 'lofts'.
        resolution: height and width in pixels.

    Raises:
        FileExistsError: the folder is there already.
        ValueError: the layout or world is unknown, or no pictures are asked for.
        OSError: the folder cannot be written.

    >>> import tempfile
    >>> from jaxsim.vision import datasets
    >>> from jaxsim.studies.rooms import export
    >>> made = export.world(Path(tempfile.mkdtemp()) / "rooms", "nyu", 2, resolution=16)
    >>> example = datasets.nyu(made / "nyu_depth_v2_labeled.mat")[0]
    >>> example.image.shape, example.targets["depth"].shape
    ((16, 16, 3), (16, 16))
    """
    if layout not in LAYOUTS:
        raise ValueError(f"No dataset layout is called {layout!r}; there are {', '.join(LAYOUTS)}.")
    names = tuple(TASKS.values()) if layout == "taskonomy" else ()
    return LAYOUTS[layout](path, rooms(count, seed=seed, world=world, resolution=resolution, names=names))
