"""The multi-task re-packaging of Pascal Context (Maninis et al. 2019), PASCAL_MT."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsim.vision.datasets import image_files, splits
from jaxsim.vision.datasets.image_folder import path_below, picture_below
from jaxsim.vision.datasets.pascal_voc_layout import CLASSES
from jaxsim.vision.datasets.records import Dataset, Label, Values, chosen, label_of_files

TARGETS = ("semantic", "normals", "context")
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
"""Numbers of the Pascal Context classes whose names NYUv2 also has, 'unknown' left out, and of 'tvmonitor'.

The normals were predicted by a network that had learned from NYUv2; they count on these classes alone.
"""


def pascal_mt(root: str | Path, split: str = "train", targets: Sequence[str] = TARGETS) -> Dataset:
    """PASCAL_MT, as published with ASTMT (Maninis et al. 2019).

    'semantic': class 0 to 20, or 255 where masked; from `semseg/VOC12`, or from `semseg/pascal-context` if the picture
    is not there. 'normals': 2 v / 255 - 1 from `normals_distill`, float32 `(h, w, 3)`, zero and masked where the
    Pascal Context class is not in `NORMALS_KNOWN`. 'context': the 459 classes of `pascal-context/trainval`, uint16,
    masked where 0.

    Args:
        root: the folder that holds `JPEGImages`.
        split: name of a file in `ImageSets/Context`, without '.txt'.
        targets: some of the three.

    Raises:
        FileNotFoundError: a folder, the split file, or files that it names are missing.
        ValueError: a target is unknown.
    """
    root, wanted = splits.folder_of(root), chosen("PASCAL_MT", targets, TARGETS)
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
    """Where each picture's mask is, VOC's first."""
    voc, other = root / "VOC12", root / "pascal-context"
    first = splits.names_in(voc) if voc.is_dir() else set()
    splits.require(other, [name for name in ids if f"{name}.png" not in first], ".png", listed)
    return functools.partial(_mask_file, voc, first, other)


def _mask_file(voc: Path, first: set[str], other: Path, name: str) -> Path:
    return path_below(voc if f"{name}.png" in first else other, ".png", name)


def _mask(path: Path) -> Values:
    return image_files.class_map(path, CLASSES)


def _context(path: Path) -> Values:
    classes = image_files.plane(path, "LabelMap", "iuf")
    image_files.check_numbers(path, classes, CONTEXT_CLASSES + 1)
    return Values(classes.astype(np.uint16), classes > 0)


def _normals(root: Path, name: str) -> Values:
    path = path_below(root / "normals_distill", ".png", name)
    normals = image_files.signed_bytes(image_files.bytes_of(path, 3))
    classes = _context(path_below(root / "pascal-context" / "trainval", ".mat", name)).values
    if classes.shape != normals.shape[:2]:
        raise ValueError(f"{path} holds normals of shape {normals.shape[:2]} for classes of shape {classes.shape}.")
    known = np.isin(classes, list(NORMALS_KNOWN))
    return Values(np.where(known[..., None], normals, 0), known)
