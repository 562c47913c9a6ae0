"""Writers of Pascal VOC 2012 with SBD, and of PASCAL_MT."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxsim.studies.rooms.export import encodings
from jaxsim.studies.rooms.export.labeled_pictures import Labeled, band, held_out, numbered
from jaxsim.studies.rooms.furniture import CLASSES
from jaxsim.vision.datasets.image_files import UNLABELED

CONTEXT = {
    "wall": 440,
    "floor": 158,
    "ceiling": 68,
    "chair": 72,
    "table": 397,
    "sofa": 368,
    "bed": 18,
    "shelf": 349,
    "cabinet": 46,
    "desk": 397,
    "lamp": 232,
    "plant": 293,
    "screen": 427,
    "bath": 17,
    "basin": 357,
    "appliance": 170,
    "picture": 287,
    "window": 454,
    "door": 115,
}
"""Nearest classes to those of Rooms in Pascal Context."""


def voc_classes(picture: Labeled) -> np.ndarray:
    """VOC class of each pixel: 0 for the room, from 1 for its objects, 255 in a band around each object.

    The band extends a hundredth of the width to either side of the outline, as in VOC.
    """
    things = np.where(picture.objects > 0, picture.instance + 1, 0)
    outline = band(things, round(picture.rgb.shape[1] / 100))
    return np.where(outline, UNLABELED, picture.objects).astype(np.uint8)


def voc(folder: str | Path, pictures: Iterable[Labeled]) -> Path:
    """Write `VOCdevkit/VOC2012` and, next to it, SBD's `benchmark_RELEASE`; return the folder.

    Of every four pictures two are in VOC's 'train', the third has a mask only in SBD, the fourth is in 'val'. SBD also
    has all of VOC's 'train' and every second picture of 'val'; its masks have no unlabeled band. `SegmentationClassAug`
    has the masks of all pictures. Masks are exact; pictures are JPEGs.

    Raises:
        FileExistsError: the folder exists.
        ValueError: there are no pictures.
        OSError: the folder cannot be written.
    """
    with encodings.whole_folder(folder) as root:
        own = root / "VOCdevkit" / "VOC2012"
        places = ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation")
        jpeg, masks, augmented, lists = encodings.folders(own, places)
        sbd = root / "benchmark_RELEASE" / "dataset"
        images, matlab = encodings.folders(sbd, ("img", "cls"))
        splits: dict[str, list[str]] = {"train": [], "val": [], "sbd train": [], "sbd val": []}
        for number, picture in numbered(pictures):
            name, in_val, alone = f"2012_{number:06d}", held_out(number), number % 4 == 2
            encodings.jpeg(jpeg / f"{name}.jpg", picture.rgb)
            encodings.png(augmented / f"{name}.png", voc_classes(picture) if not alone else picture.objects)
            if not alone:
                splits["val" if in_val else "train"].append(name)
                encodings.palette_png(masks / f"{name}.png", voc_classes(picture))
            if not in_val or number % 8 == 3:
                splits["sbd val" if in_val else "sbd train"].append(name)
                encodings.jpeg(images / f"{name}.jpg", picture.rgb)
                encodings.mat(matlab / f"{name}.mat", {"GTcls": _truth(picture.objects)})
        for part in ("train", "val"):
            encodings.lines(lists / f"{part}.txt", splits[part])
            encodings.lines(sbd / f"{part}.txt", splits[f"sbd {part}"])
        encodings.lines(lists / "trainval.txt", sorted(splits["train"] + splits["val"]))
    return Path(folder)


def _truth(classes: np.ndarray) -> dict:
    """SBD's record of one picture, with empty boundaries."""
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros((0, 0))]] * 20
    present = np.unique(classes[classes > 0])[:, None]
    return {"Boundaries": boundaries, "Segmentation": classes, "CategoriesPresent": present}


def pascal_mt(folder: str | Path, pictures: Iterable[Labeled]) -> Path:
    """Write the multi-task repackaging PASCAL_MT; return the folder.

    Every fourth picture is 'val', the others 'train'; every second has its mask in `semseg/VOC12`, the others in
    `semseg/pascal-context`. Classes are exact, those of `CONTEXT` in the .mat files; normals are PNGs of
    round(127.5 (n + 1)), to 1/255; pictures are JPEGs.

    Raises:
        FileExistsError: the folder exists.
        ValueError: there are no pictures.
        OSError: the folder cannot be written.
    """
    table = np.array([CONTEXT[name] for name in CLASSES], np.uint16)
    with encodings.whole_folder(folder) as root:
        places = ("JPEGImages", "semseg/VOC12", "semseg/pascal-context", "normals_distill")
        jpeg, first, other, normals = encodings.folders(root, places)
        classes, lists = encodings.folders(root, ("pascal-context/trainval", "ImageSets/Context"))
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for number, picture in numbered(pictures):
            name = f"2010_{number:06d}"
            splits["val" if held_out(number) else "train"].append(name)
            encodings.jpeg(jpeg / f"{name}.jpg", picture.rgb)
            encodings.png((other if number % 2 else first) / f"{name}.png", voc_classes(picture))
            encodings.png(normals / f"{name}.png", encodings.bytes_around(picture.normals, 127.5, 127.5))
            encodings.mat(classes / f"{name}.mat", {"LabelMap": table[picture.semantic]})
        for part, names in splits.items():
            encodings.lines(lists / f"{part}.txt", names)
    return Path(folder)
