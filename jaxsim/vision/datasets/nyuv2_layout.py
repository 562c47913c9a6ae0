"""Readers of NYU Depth v2 (Silberman et al. 2012): the official .mat file, and its multi-task repackaging NYUD_MT."""

import functools
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from jaxsim.io.arrays import naming
from jaxsim.io.containers import own_data
from jaxsim.vision.datasets import image_files
from jaxsim.vision.datasets.image_files import path_below, picture_below
from jaxsim.vision.datasets.records import (
    Dataset,
    Label,
    Layout,
    Values,
    chosen,
    every_fourth,
    everywhere,
    label_of_files,
)
from jaxsim.vision.datasets.splits import absent_files, folder_of, read_split, require

TARGETS = ("semantic", "depth")
MT_TARGETS = ("semantic", "depth", "normals", "edge")
MT_CLASSES = 41
"""Class 0, counted as background in ASTMT, and the forty classes."""
ALL_CLASSES = 895
"""Class 0 and the 894 classes of the official file."""
SHORT = 0.5
"""Length up to which a NYUD_MT normal counts as unknown: neither gray byte, 127 or 128, is exactly zero."""
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}
FILE, SPLIT_FILE, CLASS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"
EDGE_WEIGHT, EPOCHS = 0.8, 200
"""See `Layout`."""
_KINDS = {"labels": "iu", "depths": "f"}


def nyu(
    file: str | Path,
    split: str | None = None,
    targets: Sequence[str] = TARGETS,
    *,
    splits: str | Path | None = None,
    classes: str | Path | None = None,
) -> Dataset:
    """Read the official `nyu_depth_v2_labeled.mat`, an HDF5 file in MATLAB's reversed axis order.

    `images` (n, 3, w, h), `depths` and `labels` (n, w, h) become `(h, w, 3)` and `(h, w)`. 'semantic': uint16, the
    894 classes of the file or, given `classes`, the forty in its 'mapClass'; 0 is unlabeled and masked. 'depth':
    meters, float32, masked where not positive. An id is the picture's number from 1, in four digits.

    Args:
        file: the labeled .mat file.
        split: 'train' (795) or 'test' (654) of `splits`; None gives all 1449.
        targets: a subset of the two.
        splits: `splits.mat`, with 'trainNdxs' and 'testNdxs' counted from 1.
        classes: `classMapping40.mat`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is unreadable or contains something else, or a target or split is unknown.
    """
    file, wanted = Path(file), chosen("NYUv2", targets, TARGETS)
    count = _count(file, wanted)
    table = None if classes is None else _table(Path(classes))
    numbers = range(1, count + 1) if split is None else _numbers(split, splits, count, file)
    at = functools.partial(_always, file)
    labels = {
        "semantic": Label(at, functools.partial(_semantic, file, table)),
        "depth": Label(at, functools.partial(_depth, file)),
    }
    image = functools.partial(_image, file)
    return Dataset("NYUv2", tuple(f"{k:04d}" for k in numbers), image, {name: labels[name] for name in wanted})


def _table(classes: Path) -> np.ndarray:
    """Map from the file's classes to the forty, `(895,)`."""
    table = image_files.plane(classes, "mapClass", "iuf").ravel()
    image_files.check_numbers(classes, table, MT_CLASSES)
    return np.concatenate([[0], table]).astype(np.uint16)


def _always(file: Path, name: str) -> Path:
    return file


def _count(file: Path, wanted: Sequence[str]) -> int:
    """Check the arrays' shapes and return the number of pictures."""
    with naming(file), h5py.File(file, "r") as opened:
        shapes = {}
        for key in ("images", *({"semantic": "labels", "depth": "depths"}[name] for name in wanted)):
            array = _array(opened, key)
            if array.dtype != np.uint8 if key == "images" else array.dtype.kind not in _KINDS[key]:
                raise ValueError(f"its array {key!r} has type {array.dtype}")
            shapes[key] = array.shape
        pictures = shapes["images"]
        if len(pictures) != 4 or pictures[1] != 3 or pictures[0] == 0:
            raise ValueError(f"its array 'images' has shape {pictures}, not (pictures, 3, width, height)")
        n, _, w, h = pictures
        for key, shape in shapes.items():
            if key != "images" and shape != (n, w, h):
                raise ValueError(f"its array {key!r} has shape {shape}, but 'images' requires {(n, w, h)}")
    return n


def _array(opened: h5py.File, key: str) -> h5py.Dataset:
    found = opened.get(key)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"array {key!r} is missing")
    return own_data(found, opened.filename)


def _numbers(split: str, splits: str | Path | None, count: int, file: Path) -> list[int]:
    if split not in SPLITS:
        raise ValueError(f"the NYUv2 layout has no split {split!r}; choose from {', '.join(SPLITS)}, or None for all.")
    if splits is None:
        raise ValueError(f"split {split!r} of NYUv2 is listed in splits.mat; give the path of that file as `splits`.")
    listed = image_files.plane(Path(splits), SPLITS[split], "iuf").ravel()
    if not listed.size or np.any(listed != np.floor(listed)):
        raise ValueError(f"{splits} lists no pictures for split {split!r}, or does not list them by whole numbers.")
    numbers = listed.astype(int).tolist()
    outside = [str(k) for k in numbers if not 1 <= k <= count]
    if outside:
        raise absent_files(file, outside, len(numbers), splits)
    return numbers


def _read(file: Path, key: str, name: str) -> np.ndarray:
    with naming(file), h5py.File(file, "r") as opened:
        return np.asarray(_array(opened, key)[int(name) - 1]).T


def _image(file: Path, name: str) -> np.ndarray:
    return np.ascontiguousarray(_read(file, "images", name)).astype(np.uint8)


def _semantic(file: Path, table: np.ndarray | None, name: str) -> Values:
    classes = _read(file, "labels", name)
    image_files.check_numbers(file, classes, ALL_CLASSES if table is None else len(table), f" in picture {name}")
    classes = classes if table is None else table[classes]
    return Values(np.ascontiguousarray(classes).astype(np.uint16), np.ascontiguousarray(classes > 0))


def _depth(file: Path, name: str) -> Values:
    meters = np.ascontiguousarray(_read(file, "depths", name)).astype(np.float32)
    return Values(meters, np.isfinite(meters) & (meters > 0))


def nyud_mt(root: str | Path, split: str = "train", targets: Sequence[str] = MT_TARGETS) -> Dataset:
    """Read NYUD_MT, as published with ASTMT (Maninis et al. 2019).

    'semantic': 0 to 40, uint8, masked where 255; 0 counts as a class. 'depth': meters, float32,
    masked where not positive. 'normals': 2 v / 255 - 1 of a JPEG, float32 `(h, w, 3)`, not renormalized, masked
    where of length zero. 'edge': v / 255, float32.

    Args:
        root: the folder that contains `images`, `segmentation`, `depth`, `normals`, `edge` and `gt_sets`.
        split: name of a file in `gt_sets`, without '.txt': 'train' (795) or 'val' (654).
        targets: a subset of the four.

    Raises:
        FileNotFoundError: a folder, the split file, or files that it names are missing.
        ValueError: a target is unknown.
    """
    root, wanted = folder_of(root), chosen("NYUD_MT", targets, MT_TARGETS)
    listed = root / "gt_sets" / f"{split}.txt"
    ids = read_split(listed)
    require(root / "images", ids, ".jpg", listed)
    labels = {}
    for name in wanted:
        place, suffix, decode = _MT[name]
        require(root / place, ids, suffix, listed)
        labels[name] = label_of_files(functools.partial(path_below, root / place, suffix), decode)
    return Dataset("NYUD_MT", ids, functools.partial(picture_below, root / "images", ".jpg"), labels)


def _mt_semantic(path: Path) -> Values:
    return image_files.checked_classes(path, image_files.plane(path, "segmentation", "iuf"), MT_CLASSES)


def _mt_depth(path: Path) -> Values:
    meters = image_files.plane(path, "depth", "iuf").astype(np.float32)
    return Values(meters, np.isfinite(meters) & (meters > 0))


def _mt_normals(path: Path) -> Values:
    normals = image_files.signed_bytes(image_files.bytes_of(path, 3))
    return Values(normals, np.sum(normals**2, axis=-1) > SHORT**2)


def _mt_edge(path: Path) -> Values:
    return everywhere(image_files.bytes_of(path, 1).astype(np.float32) / np.float32(255))


_MT = {
    "semantic": ("segmentation", ".mat", _mt_semantic),
    "depth": ("depth", ".mat", _mt_depth),
    "normals": ("normals", ".jpg", _mt_normals),
    "edge": ("edge", ".png", _mt_edge),
}


def _read_folder(root: Path, split: str | None, targets: tuple[str, ...]) -> Dataset:
    """Read the folder, or the file itself."""
    file = root / FILE if root.is_dir() else root
    classes = root / CLASS_FILE if (root / CLASS_FILE).exists() and targets else None
    return nyu(file, split, targets, splits=root / SPLIT_FILE, classes=classes)


def _train_test(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    if not (root / SPLIT_FILE).exists():
        return every_fourth(_read_folder(root, None, targets))
    return _read_folder(root, "train", targets), _read_folder(root, "test", targets)


NYU = Layout(
    marks=((FILE,),),
    targets={"semantic": "semantic", "depth": "depth"},
    read=_read_folder,
    train_val=_train_test,
    classes=lambda root: MT_CLASSES if (root / CLASS_FILE).exists() else ALL_CLASSES,
    unlabeled=(0,),
    edge_weight=EDGE_WEIGHT,
    epochs=EPOCHS,
    suffix=".mat",
)
NYUD_MT = Layout(
    marks=(("gt_sets", "images"),),
    targets={"semantic": "semantic", "depth": "depth", "normals": "normals"},
    read=nyud_mt,
    split="train",
    classes=lambda root: MT_CLASSES,
    edge_weight=EDGE_WEIGHT,
    epochs=EPOCHS,
)
