"""Writers of the official NYUv2 files and of NYUD_MT."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from jaxsim.studies.rooms.export import encodings
from jaxsim.studies.rooms.export.labeled_pictures import Labeled, band, held_out, numbered
from jaxsim.studies.rooms.furniture import CLASSES

NUMBERS = {
    "wall": (21, 1),
    "floor": (11, 2),
    "ceiling": (4, 22),
    "chair": (5, 5),
    "table": (19, 7),
    "sofa": (83, 6),
    "bed": (157, 4),
    "shelf": (42, 15),
    "cabinet": (3, 3),
    "desk": (36, 14),
    "lamp": (144, 35),
    "plant": (82, 40),
    "screen": (172, 25),
    "bath": (136, 36),
    "basin": (24, 34),
    "appliance": (17, 24),
    "picture": (64, 11),
    "window": (59, 9),
    "door": (28, 8),
}
"""Nearest classes to those of Rooms among NYUv2's 894 and among the forty."""
ALL, FORTY = (np.array([NUMBERS[name][k] for name in CLASSES]) for k in (0, 1))
OTHER = 40
"""The class among the forty for everything else."""
MATLAB = (b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM").ljust(512, b"\0")
"""MATLAB's header before the HDF5 data."""


def nyu(folder: str | Path, pictures: Iterable[Labeled]) -> Path:
    """Write `nyu_depth_v2_labeled.mat`, `splits.mat` and `classMapping40.mat`; return the folder.

    Every fourth picture is 'test', the others 'train'. All labels are exact. The map to forty classes is NYUv2's for
    the classes of Rooms, and 40 for the rest. All pictures are kept compressed in memory until they are written.

    Raises:
        FileExistsError: the folder exists.
        ValueError: there are no pictures, or they differ in size.
        OSError: the folder cannot be written.
    """
    with encodings.whole_folder(folder) as root:
        path, splits = root / "nyu_depth_v2_labeled.mat", {"trainNdxs": [], "testNdxs": []}
        # in memory, because closing a file that HDF5 failed to write crashes the process
        with h5py.File(path, "w", driver="core", backing_store=False) as file:
            for number, picture in numbered(pictures):
                splits["testNdxs" if held_out(number) else "trainNdxs"].append([number + 1])
                _append(file, "images", picture.rgb.T)
                _append(file, "depths", picture.depth.T.astype(np.float32))
                _append(file, "labels", ALL[picture.semantic].T.astype(np.uint16))
            file.flush()
            with open(path, "wb") as written:
                written.write(MATLAB)
                written.write(file.id.get_file_image())
        encodings.mat(root / "splits.mat", {name: np.array(found, np.float64) for name, found in splits.items()})
        table = np.full((1, 894), OTHER, np.uint8)
        table[0, ALL - 1] = FORTY
        encodings.mat(root / "classMapping40.mat", {"mapClass": table})
    return Path(folder)


def _append(file: h5py.File, name: str, values: np.ndarray) -> None:
    shape = values.shape
    stored = file.get(name)
    if not isinstance(stored, h5py.Dataset):
        how = {"chunks": (1, *shape), "maxshape": (None, *shape), "compression": 4}
        stored = file.create_dataset(name, (0, *shape), values.dtype, **how)
    if stored.shape[1:] != values.shape:
        raise ValueError(
            f"all pictures in a .mat file must have the same size; {values.shape} follows {stored.shape[1:]}."
        )
    stored.resize(len(stored) + 1, axis=0)
    stored[-1] = values


def nyud_mt(folder: str | Path, pictures: Iterable[Labeled]) -> Path:
    """Write the multi-task repackaging NYUD_MT; return the folder.

    Every fourth picture is 'val', the others 'train'. Classes (of the forty), depths, and edges (between
    instances) are exact. Normals are JPEGs of round(127.5 (n + 1)) at quality 100, with errors of 0.4 of 255 on average
    and at most 5 in pictures of Rooms; pictures are JPEGs.

    Raises:
        FileExistsError: the folder exists.
        ValueError: there are no pictures.
        OSError: the folder cannot be written.
    """
    with encodings.whole_folder(folder) as root:
        places = ("images", "segmentation", "depth", "normals", "edge", "gt_sets")
        images, segmentation, depth, normals, edge, lists = encodings.folders(root, places)
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for number, picture in numbered(pictures):
            name = f"{number + 1:04d}"
            splits["val" if held_out(number) else "train"].append(name)
            encodings.jpeg(images / f"{name}.jpg", picture.rgb)
            encodings.mat(segmentation / f"{name}.mat", {"segmentation": FORTY[picture.semantic].astype(np.uint8)})
            encodings.mat(depth / f"{name}.mat", {"depth": picture.depth.astype(np.float32)})
            encodings.jpeg(normals / f"{name}.jpg", encodings.bytes_around(picture.normals, 127.5, 127.5), quality=100)
            encodings.png(edge / f"{name}.png", np.where(band(picture.instance, 1), 255, 0).astype(np.uint8))
        for part, names in splits.items():
            encodings.lines(lists / f"{part}.txt", names)
    return Path(folder)
