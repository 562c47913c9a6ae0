"""Dataset layouts by name, recognition of a folder's layout, and the reader of plain folders of pictures."""

import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from jaxsim.io.files import few, warn
from jaxsim.vision.datasets import nyuv2_layout, pascal_layouts, splits, taskonomy_layout
from jaxsim.vision.datasets.image_files import picture, suffixes
from jaxsim.vision.datasets.records import Dataset, Layout, every_fourth


def folder(root: str | Path) -> Dataset:
    """Read all pictures in a folder and its subfolders, without targets; hidden files are skipped.

    Ids are paths relative to the folder, with their suffix, sorted. Links to folders are followed, except back to a
    folder that they are in. Files with the suffix of a format that Pillow decodes count as pictures; a warning counts
    and names the others. Pictures are rotated upright by their EXIF orientation.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: a subfolder cannot be listed.
        ValueError: it contains no pictures.

    >>> import tempfile
    >>> from PIL import Image
    >>> here = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (4, 3), "red").save(here / "red.png")
    >>> pictures = folder(here)
    >>> pictures.ids, pictures[0].image.shape
    (('red.png',), (3, 4, 3))
    """
    root = splits.folder_of(root)
    files = [path.relative_to(root).as_posix() for path in _files(root)]
    found = sorted(name for name in files if name.lower().endswith(suffixes()))
    others = sorted(set(files) - set(found))
    if not found:
        raise ValueError(f"{root} has no pictures" + (f"; its files are {few(files)}." if files else "; it is empty."))
    if others:
        text = f"{root}: left out {len(others)} of {len(files)} files, because Pillow does not read their suffixes"
        warn(f"{text}: {few(others, 10)}.")
    stems = Counter(os.path.splitext(name)[0] for name in found)
    if twice := [name for name in found if stems[os.path.splitext(name)[0]] > 1]:
        text = (
            f"{root}: {len(twice)} pictures have the same name as another except for the suffix; all of them are read"
        )
        warn(f"{text}: {few(twice)}.")
    return Dataset("folder", tuple(found), functools.partial(_upright, root), {})


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files in a folder, also behind links; no hidden ones, and no folder inside itself."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise type(error)(f"{error.filename} could not be listed: {(error.strerror or '').lower()}.") from error
    for entry in seen:
        path = folder / entry.name
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _files(path, (*above, real))
        else:
            yield path


def _upright(root: Path, name: str):
    return picture(root / name, upright=True)


def _whole(root: Path, split: str | None, targets: tuple[str, ...]) -> Dataset:
    return folder(root)


def _every_fourth(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    return every_fourth(folder(root))


LAYOUTS: dict[str, Layout] = {
    "nyu": nyuv2_layout.NYU,
    "nyud_mt": nyuv2_layout.NYUD_MT,
    "pascal_mt": pascal_layouts.PASCAL_MT,
    "voc": pascal_layouts.VOC,
    "taskonomy": taskonomy_layout.TASKONOMY,
    "folder": Layout(marks=(), targets={}, read=_whole, train_val=_every_fourth),
}
"""Layouts by name. A folder must match only one, or one that covers the others; `folder` has no marks."""


def layout_named(name: str) -> Layout:
    """Look up a layout.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    if name not in LAYOUTS:
        raise ValueError(f"there is no dataset layout {name!r}; choose from {', '.join(LAYOUTS)}.")
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
        raise ValueError(f"{root} mixes the layouts {' and '.join(found)}; choose one with layout (--layout).")
    return next(iter(found), "folder")
