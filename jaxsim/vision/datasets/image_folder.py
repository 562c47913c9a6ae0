"""A folder of pictures without labels."""

import functools
import os
from pathlib import Path
from typing import NoReturn

from jaxsim.vision.datasets import image_files, splits
from jaxsim.vision.datasets.records import Dataset

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def folder(root: str | Path) -> Dataset:
    """All pictures in a folder and the folders below it, without targets; hidden files are left out.

    An id is the file's path below the folder, with its suffix; ids are sorted.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: a folder below it cannot be listed.
        ValueError: it holds no picture.

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
        raise ValueError(f"{root} holds no picture: none of its files ends in {', '.join(SUFFIXES)}.")
    return Dataset("folder", tuple(sorted(found)), functools.partial(picture_below, root, ""), {})


def _refused(error: OSError) -> NoReturn:
    raise type(error)(f"{error.filename} could not be listed: {(error.strerror or '').lower()}.") from error


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def path_below(root: Path, suffix: str, name: str) -> Path:
    """The file of one id in a folder."""
    return root / (name + suffix)


def picture_below(root: Path, suffix: str, name: str):
    """The picture of one id in a folder, `(h, w, 3)` uint8."""
    return image_files.picture(path_below(root, suffix, name))
