"""Pascal VOC 2012 segmentation, with the additional masks of the Semantic Boundaries Dataset (SBD)."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsim.io.arrays import naming
from jaxsim.vision.datasets import image_files, splits
from jaxsim.vision.datasets.image_folder import path_below
from jaxsim.vision.datasets.records import Dataset, Values, chosen, label_of_files

CLASSES = 21
"""Background, then the twenty classes of objects."""
SPLITS = ("train", "val", "trainval", "trainaug")


def voc(
    root: str | Path, split: str = "train", targets: Sequence[str] = ("semantic",), *, sbd: str | Path | None = None
) -> Dataset:
    """VOC 2012 (Everingham et al. 2015) with one target: 'semantic', the class of each pixel, 0 to 20, or 255.

    Pixels of 255 are the unlabeled bands around objects; the mask leaves them out. The split 'trainaug' is built,
    not read: the pictures of VOC's train list and those with a mask of SBD (Hariharan et al. 2011), less those of
    VOC's val list; 10,582 in all. A picture's own VOC mask is preferred where both exist. SBD's come from the folder
    `sbd`, or else from `SegmentationClassAug` (also where a mirror has put that in a folder of the same name).

    Args:
        root: `VOC2012`, or a folder that holds it or `VOCdevkit/VOC2012`.
        split: 'train', 'val', 'trainval' or 'trainaug'.
        targets: ('semantic',) or none.
        sbd: `benchmark_RELEASE` or its `dataset` folder.

    Raises:
        FileNotFoundError: a folder, a split file, or files that the split names are missing.
        ValueError: the split or a target is unknown.
    """
    root = _place(Path(root), ("VOC2012", "VOCdevkit/VOC2012"), "JPEGImages", "VOC2012")
    wanted = chosen("VOC2012", targets, ("semantic",))
    if split not in SPLITS:
        raise ValueError(f"The VOC2012 layout has no split {split!r}; there are {', '.join(SPLITS)}.")
    lists = root / "ImageSets" / "Segmentation"
    own, more = root / "SegmentationClass", None
    if split == "trainaug":
        inner = ("dataset", "benchmark_RELEASE/dataset")
        ids, more = _augmented(root, lists, None if sbd is None else _place(Path(sbd), inner, "cls", "SBD"))
    else:
        ids = splits.read_split(lists / f"{split}.txt")
        if wanted:
            splits.require(own, ids, ".png", lists / f"{split}.txt")
    places = _pictures(root / "JPEGImages", ids, more, f"split {split!r}")
    image, labels = functools.partial(_picture, places, root / "JPEGImages"), {}
    if wanted:
        labels["semantic"] = label_of_files(functools.partial(_mask_file, own, splits.names_in(own), more), _mask)
    return Dataset("VOC2012", ids, image, labels)


def _place(root: Path, inner: Sequence[str], mark: str, what: str) -> Path:
    """The first of `root` and the paths below it that holds a folder called `mark`."""
    tried = [root, *(root / path for path in inner)]
    for place in tried:
        if (place / mark).is_dir():
            return place
    raise FileNotFoundError(f"{root} holds no {what}: there is no {mark} in {', '.join(map(str, tried))}.")


def _augmented(root: Path, lists: Path, sbd: Path | None) -> tuple[tuple[str, ...], Path]:
    """Ids of trainaug, and the folder of the masks that VOC does not have."""
    train, val = (splits.read_split(lists / f"{part}.txt") for part in ("train", "val"))
    splits.require(root / "SegmentationClass", train, ".png", lists / "train.txt")
    if sbd is not None:
        added = tuple(name for part in ("train", "val") for name in splits.read_split(sbd / f"{part}.txt"))
        more, suffix = sbd / "cls", ".mat"
    else:
        more, suffix = root / "SegmentationClassAug", ".png"
        inner = more / more.name
        more = inner if inner.is_dir() else more
        added = tuple(sorted(Path(name).stem for name in splits.names_in(more) if name.endswith(suffix)))
    kept = set(val)
    ids = tuple(name for name in dict.fromkeys((*train, *added)) if name not in kept)
    own = set(train)
    splits.require(more, [name for name in ids if name not in own], suffix, "split 'trainaug'")
    return ids, more


def _pictures(jpeg: Path, ids: Sequence[str], more: Path | None, source: str) -> dict[str, Path]:
    """Folders of the pictures that are not in VOC's own but in SBD's."""
    elsewhere = more.parent / "img" if more is not None else None
    there = splits.names_in(jpeg)
    absent = [name for name in ids if f"{name}.jpg" not in there]
    others = splits.names_in(elsewhere) if absent and elsewhere is not None and elsewhere.is_dir() else set()
    lost = [f"{name}.jpg" for name in absent if f"{name}.jpg" not in others]
    if lost:
        raise splits.absent_files(jpeg, lost, len(ids), source)
    return dict.fromkeys(absent, elsewhere or jpeg)


def _picture(places, jpeg, name):
    return image_files.picture(path_below(places.get(name, jpeg), ".jpg", name))


def _mask_file(own: Path, names: set[str], more: Path | None, name: str) -> Path:
    if f"{name}.png" in names or more is None:
        return path_below(own, ".png", name)
    return path_below(more, ".mat" if more.name == "cls" else ".png", name)


def _mask(path: Path) -> Values:
    if path.suffix == ".png":
        return image_files.class_map(path, CLASSES)
    truth = image_files.matlab(path, "GTcls")
    if truth.dtype.names is None or "Segmentation" not in truth.dtype.names:
        raise ValueError(f"{path} has no field 'Segmentation' in 'GTcls'.")
    with naming(path):
        classes = np.asarray(truth["Segmentation"].flat[0])
    return image_files.checked_classes(path, classes, CLASSES)
