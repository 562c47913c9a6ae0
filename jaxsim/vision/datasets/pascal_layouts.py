"""Readers of Pascal VOC of any year, with masks of the Semantic Boundaries Dataset (SBD), and of PASCAL_MT."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsim.io.arrays import naming
from jaxsim.vision.datasets import image_files, splits
from jaxsim.vision.datasets.image_files import path_below, picture_below
from jaxsim.vision.datasets.records import Dataset, Label, Layout, Values, chosen, label_of_files

CLASSES = 21
"""Background and the twenty object classes."""
YEARS = "VOC20[0-9][0-9]"
SPLITS = {"VOC2007": ("train", "val", "trainval", "test"), "VOC2012": ("train", "val", "trainval", "trainaug")}
"""Splits by year where they are not the usual three."""
MT_TARGETS = ("semantic", "normals", "context")
CONTEXT_CLASSES = 459
_KNOWN = """
    3 4 6 9 10 11 13 15 17 18 22 23 29 30 33 34 36 37 38 39 41 43 46 49 50 51 53 55 56 59 61 62 65 66 68 69 72
    73 78 83 84 85 87 88 95 96 101 104 105 107 111 113 115 122 124 135 141 142 143 146 150 154 157 158 159 165
    172 174 181 183 184 191 193 195 197 199 202 213 215 216 219 220 223 225 228 230 232 233 238 239 242 243
    246 250 251 252 255 260 261 263 269 272 273 275 281 283 284 285 286 287 288 290 291 292 293 295 304 307
    309 310 314 315 319 323 329 330 331 336 342 345 349 350 351 352 355 357 368 370 371 374 379 380 383 384
    397 401 403 405 407 408 411 412 413 414 417 419 421 423 427 429 430 432 440 441 442 443 444 446 454 457
    """
NORMALS_KNOWN = frozenset(int(number) for number in _KNOWN.split())
"""Pascal Context classes whose names also occur in NYUv2, except 'unknown', and 'tvmonitor'.

The normals were predicted by a network trained on NYUv2, so only these classes count.
"""


def voc(
    root: str | Path, split: str = "train", targets: Sequence[str] = ("semantic",), *, sbd: str | Path | None = None
) -> Dataset:
    """Read VOC (Everingham et al. 2015) with one target: 'semantic', the class of each pixel, 0 to 20, or 255.

    All years from 2007 on have the same classes; the dataset's name has the year of the folder, 2012 if it has none.

    Pixels of 255, the unlabeled bands around objects, are masked. The split 'trainaug' of 2012 is built, not read: it
    is the pictures in VOC's train list and those with a mask of SBD (Hariharan et al. 2011), minus those in VOC's val
    list; 10,582 in all. VOC's own mask is preferred if both exist. SBD's masks come from the folder `sbd`, or else from
    `SegmentationClassAug` (even if a mirror has nested it in a folder of the same name).

    Args:
        root: `VOC2012`, or a folder that contains it or `VOCdevkit/VOC2012`; or another year.
        split: 'train', 'val', 'trainval' or 'trainaug'; in 2007 also 'test'.
        targets: ('semantic',) or none.
        sbd: `benchmark_RELEASE` or its `dataset` folder.

    Raises:
        FileNotFoundError: a folder, a split file, or files that the split names are missing.
        ValueError: the split or a target is unknown, or the folder contains several years.
    """
    root = _of_one_year(Path(root))
    year = _year(root)
    wanted = chosen(year, targets, ("semantic",))
    if split not in _splits(year):
        raise ValueError(f"the {year} layout has no split {split!r}; choose from {', '.join(_splits(year))}.")
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
    return Dataset(year, ids, image, labels)


def _year(root: Path) -> str:
    return root.resolve().name if re.fullmatch(YEARS, root.resolve().name) else "VOC2012"


def _splits(year: str) -> tuple[str, ...]:
    return SPLITS.get(year, ("train", "val", "trainval"))


def _of_one_year(root: Path) -> Path:
    """The folder of a year in or below `root`."""
    found = sorted(place for inner in ("", "VOCdevkit/") for place in root.glob(f"{inner}{YEARS}") if place.is_dir())
    if len(found) > 1 and not (root / "JPEGImages").is_dir():
        raise ValueError(
            f"{root} contains {' and '.join(place.name for place in found)}; give the folder of one of them."
        )
    inner = [str(place.relative_to(root)) for place in found] or ["VOC2012", "VOCdevkit/VOC2012"]
    return _place(root, inner, "JPEGImages", "VOC2012 or another year")


def _place(root: Path, inner: Sequence[str], mark: str, what: str) -> Path:
    """The first of `root` and the paths below it that contains a folder called `mark`."""
    tried = [root, *(root / path for path in inner)]
    for place in tried:
        if (place / mark).is_dir():
            return place
    raise FileNotFoundError(f"{root} does not contain {what}: there is no {mark} in {', '.join(map(str, tried))}.")


def _augmented(root: Path, lists: Path, sbd: Path | None) -> tuple[tuple[str, ...], Path]:
    """Ids of trainaug, and the folder of the masks that VOC lacks."""
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
    """Folders of the pictures that are in SBD's folder instead of VOC's."""
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


def pascal_mt(root: str | Path, split: str = "train", targets: Sequence[str] = MT_TARGETS) -> Dataset:
    """Read PASCAL_MT, as published with ASTMT (Maninis et al. 2019).

    'semantic': class 0 to 20, or 255 where masked; from `semseg/VOC12`, or from `semseg/pascal-context` if the picture
    is not there. 'normals': 2 v / 255 - 1 from `normals_distill`, float32 `(h, w, 3)`, zero and masked where the
    Pascal Context class is not in `NORMALS_KNOWN`. 'context': the 459 classes of `pascal-context/trainval`, uint16,
    masked where 0.

    Args:
        root: the folder that contains `JPEGImages`.
        split: name of a file in `ImageSets/Context`, without '.txt'.
        targets: a subset of the three.

    Raises:
        FileNotFoundError: a folder, the split file, or files that it names are missing.
        ValueError: a target is unknown.
    """
    root, wanted = splits.folder_of(root), chosen("PASCAL_MT", targets, MT_TARGETS)
    listed = root / "ImageSets" / "Context" / f"{split}.txt"
    ids = splits.read_split(listed)
    splits.require(root / "JPEGImages", ids, ".jpg", listed)
    classes, normals = root / "pascal-context" / "trainval", root / "normals_distill"
    if {"normals", "context"} & set(wanted):
        splits.require(classes, ids, ".mat", listed)
    if "normals" in wanted:
        splits.require(normals, ids, ".png", listed)
    labels = {
        "normals": Label(functools.partial(path_below, normals, ".png"), functools.partial(_normals, root)),
        "context": label_of_files(functools.partial(path_below, classes, ".mat"), _context),
    }
    if "semantic" in wanted:
        labels["semantic"] = label_of_files(_masks(root / "semseg", ids, listed), _mask)
    image = functools.partial(picture_below, root / "JPEGImages", ".jpg")
    return Dataset("PASCAL_MT", ids, image, {name: labels[name] for name in wanted})


def _masks(root: Path, ids: Sequence[str], listed: Path):
    """Function from an id to its mask, preferably VOC's."""
    voc, other = root / "VOC12", root / "pascal-context"
    first = splits.names_in(voc) if voc.is_dir() else set()
    splits.require(other, [name for name in ids if f"{name}.png" not in first], ".png", listed)
    return functools.partial(_mt_mask_file, voc, first, other)


def _mt_mask_file(voc: Path, first: set[str], other: Path, name: str) -> Path:
    return path_below(voc if f"{name}.png" in first else other, ".png", name)


def _context(path: Path) -> Values:
    classes = image_files.plane(path, "LabelMap", "iuf")
    image_files.check_numbers(path, classes, CONTEXT_CLASSES + 1)
    return Values(classes.astype(np.uint16), classes > 0)


def _normals(root: Path, name: str) -> Values:
    path = path_below(root / "normals_distill", ".png", name)
    normals = image_files.signed_bytes(image_files.bytes_of(path, 3))
    classes = _context(path_below(root / "pascal-context" / "trainval", ".mat", name)).values
    if classes.shape != normals.shape[:2]:
        raise ValueError(f"{path} has normals of shape {normals.shape[:2]} for classes of shape {classes.shape}.")
    known = np.isin(classes, list(NORMALS_KNOWN))
    return Values(np.where(known[..., None], normals, 0), known)


def _train_val(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    """The splits 'trainaug', or 'train' if further masks are missing, and 'val'."""
    beside = (root / "benchmark_RELEASE", root.parent / "benchmark_RELEASE")
    sbd = next((place for place in beside if place.is_dir()), None)
    place = _of_one_year(root)
    more = "trainaug" in _splits(_year(place)) and (sbd is not None or (place / "SegmentationClassAug").is_dir())
    return voc(place, "trainaug" if more else "train", targets, sbd=sbd), voc(place, "val", targets)


VOC = Layout(
    marks=(("JPEGImages", "ImageSets/Segmentation"), (YEARS,), (f"VOCdevkit/{YEARS}",)),
    targets={"semantic": "semantic"},
    read=voc,
    split="train",
    train_val=_train_val,
    classes=lambda root: CLASSES,
)
PASCAL_MT = Layout(
    marks=(("JPEGImages", "semseg"), ("JPEGImages", "normals_distill")),
    targets={"semantic": "semantic", "normals": "normals"},
    read=pascal_mt,
    split="train",
    classes=lambda root: CLASSES,
    covers=("voc",),
)
