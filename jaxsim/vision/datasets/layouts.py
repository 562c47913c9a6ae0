"""Dataset layouts by name, recognition of a folder's layout, and the reader of plain folders of pictures."""

import functools
import os
from pathlib import Path
from typing import NoReturn

from jaxsim.vision.datasets import nyuv2_layout, pascal_layouts, splits, taskonomy_layout
from jaxsim.vision.datasets.image_files import picture_below
from jaxsim.vision.datasets.records import Dataset, Layout, every_fourth

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def folder(root: str | Path) -> Dataset:
    """Read all pictures in a folder and its subfolders, without targets; hidden files are skipped.

    Ids are paths relative to the folder, with their suffix, sorted.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: a subfolder cannot be listed.
        ValueError: there are no pictures in it.

    >>> import tempfile
    >>> from PIL import Image
    >>> here = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (4, 3), "red").save(here / "red.png")
    >>> pictures = folder(here)
    >>> pictures.ids, pictures[0].image.shape
    (('red.png',), (3, 4, 3))
    """
    root = splits.folder_of(root)
    found = []
    for place, folders, names in os.walk(root, onerror=_refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place).relative_to(root)
        found += [(here / name).as_posix() for name in names if _is_picture(name)]
    if not found:
        raise ValueError(f"{root} has no pictures: none of its files ends in {', '.join(SUFFIXES)}.")
    return Dataset("folder", tuple(sorted(found)), functools.partial(picture_below, root, ""), {})


def _refused(error: OSError) -> NoReturn:
    raise type(error)(f"{error.filename} could not be listed: {(error.strerror or '').lower()}.") from error


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _whole(root: Path, split: str | None, targets: tuple[str, ...]) -> Dataset:
    del split, targets
    return folder(root)


def _every_fourth(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    del targets
    return every_fourth(folder(root))


LAYOUTS: dict[str, Layout] = {
    "nyu": nyuv2_layout.NYU,
    "nyud_mt": nyuv2_layout.NYUD_MT,
    "pascal_mt": pascal_layouts.PASCAL_MT,
    "voc": pascal_layouts.VOC,
    "taskonomy": taskonomy_layout.TASKONOMY,
    "folder": Layout(marks=(), targets={}, read=_whole, train_val=_every_fourth),
}
"""Layouts by name. A folder must have the marks of one alone, or of one that covers the others; `folder` has none."""


def layout_named(name: str) -> Layout:
    """Look up a layout.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    if name not in LAYOUTS:
        raise ValueError(f"there is no dataset layout {name!r}; there are {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def recognize(root: Path) -> str:
    """Name of the layout of a folder or file; 'folder' if no other is recognized.

    Raises:
        ValueError: the folder matches several layouts.
    """
    if not root.is_dir():
        return next((name for name, layout in LAYOUTS.items() if layout.suffix == root.suffix), "folder")
    found = [name for name, layout in LAYOUTS.items() if layout.marked(root)]
    covered = {name for other in found for name in LAYOUTS[other].covers}
    found = [name for name in found if name not in covered]
    if len(found) > 1:
        raise ValueError(f"{root} mixes the layouts {' and '.join(found)}: say which with layout (--layout).")
    return next(iter(found), "folder")
