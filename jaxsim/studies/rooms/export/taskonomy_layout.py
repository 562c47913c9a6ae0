"""Writer of Taskonomy's folders in all arrangements."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jaxsim.studies.rooms.export import encodings
from jaxsim.studies.rooms.export.labeled_pictures import Labeled, numbered
from jaxsim.studies.rooms.furniture import SCENES
from jaxsim.studies.rooms.targets import geometry, image
from jaxsim.vision.datasets.taskonomy_encodings import CENTER, DEEP, NO_DEPTH, UNITS_PER_METER
from jaxsim.vision.datasets.taskonomy_layout import ARRANGEMENTS

FOLDERS = {
    "omnitools": "{domain}/taskonomy/{building}",
    "original": "{domain}/{building}",
    "tiny": "{building}_{domain}",
    "sample": "{domain}",
}
SPLITS = ("train", "val", "test")
VIEWS, POINTS = 2, 2
"""Views per point and points per building."""
SPLIT_FILE = "train_val_test_rooms.csv"


def taskonomy(folder: str | Path, pictures: Iterable[Labeled], layout: str = "original") -> Path:
    """Write Taskonomy's folders in one of `ARRANGEMENTS`, and a csv of splits; return the folder.

    Every four pictures are a building of two points and two views; of four buildings the second is 'val', the third
    'test', the others 'train'. Depths are to 1/1024 m, or 65535 where they are not below 128 m; normals
    round(127 + 127 n), to 1/254; segment_semantic, segments, class_object and class_scene exact; edges and keypoints,
    in the units of Rooms' detectors and clipped to [0, 1], to 1/131070; reshading, the cosine, to 1/510; curvatures,
    k R / sqrt(1 + (k R)^2) for R = 0.3 m, to 1/254. Domains of tasks are written for those the pictures have.

    Args:
        folder: folder to create.
        pictures: labeled pictures, all with the same tasks.
        layout: a name in `ARRANGEMENTS`.

    Raises:
        FileExistsError: the folder exists.
        ValueError: there are no pictures, the layout is unknown, or a picture has more than 256 segments.
        OSError: the folder cannot be written.
    """
    if layout not in FOLDERS:
        raise ValueError(f"there is no Taskonomy layout {layout!r}; choose from {', '.join(ARRANGEMENTS)}.")
    found = []
    with encodings.whole_folder(folder) as root:
        for number, picture in numbered(pictures):
            building, rest = divmod(number, VIEWS * POINTS) if layout != "sample" else (0, number)
            found += [building] if building not in found else []
            stem = f"point_{rest // VIEWS}_view_{rest % VIEWS}"
            for domain, values in encoded(picture).items():
                place = root / FOLDERS[layout].format(domain=domain, building=f"room{building:03d}")
                place.mkdir(parents=True, exist_ok=True)
                own = {"mask_valid": "depth_zbuffer", "segment_semantic": "segmentsemantic"}.get(domain, domain)
                if values.ndim == 1:
                    np.save(place / f"{stem}_domain_{own}.npy", values)
                else:
                    encodings.png(place / f"{stem}_domain_{own}.png", values)
        rows = [",".join(("id", *SPLITS))]
        for building in found:
            part = {1: "val", 2: "test"}.get(building % 4, "train")
            rows.append(",".join((f"room{building:03d}", *(str(int(part == name)) for name in SPLITS))))
        (root / SPLIT_FILE).write_bytes("\r".join(rows).encode())
    return Path(folder)


def encoded(picture: Labeled) -> dict[str, np.ndarray]:
    """Contents of a picture's files by domain."""
    out = {
        "rgb": picture.rgb,
        "depth_zbuffer": _depth(picture.depth),
        "depth_euclidean": _depth(picture.distance),
        "normal": encodings.bytes_around(picture.normals, CENTER, CENTER),
        "segment_semantic": (picture.objects + 1).astype(np.uint8),
        "mask_valid": np.full(picture.depth.shape, 255, np.uint8),
    }
    targets = picture.targets
    return out | {name: encode(targets[task]) for name, (task, encode) in STORED.items() if task in targets}


def _depth(meters: np.ndarray) -> np.ndarray:
    units = np.round(meters * UNITS_PER_METER)
    return np.where(units < NO_DEPTH, units, NO_DEPTH).astype(np.uint16)


def _edges(unit: float, values: np.ndarray) -> np.ndarray:
    """Edges and keypoints in units of Rooms' detectors, as 16 bits."""
    return np.round(np.clip(values[..., 0] * unit, 0, 1) * DEEP).astype(np.uint16)


def _curvatures(values: np.ndarray) -> np.ndarray:
    both = encodings.bytes_around(values * geometry.CURVATURE_UNIT, CENTER, CENTER)
    return np.concatenate([both, np.full_like(both[..., :1], CENTER)], -1)


def _shading(values: np.ndarray) -> np.ndarray:
    return encodings.bytes_around(values[..., 0] * geometry.SHADING_UNIT + 0.5, 0, 255)


def _segments(values: np.ndarray) -> np.ndarray:
    if values.max() > np.iinfo(np.uint8).max:
        raise ValueError(f"a picture has {values.max() + 1} segments; a Taskonomy file can store at most 256.")
    return values.astype(np.uint8)


def _shares(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _scene(values: np.ndarray) -> np.ndarray:
    return np.eye(len(SCENES), dtype=np.float32)[int(values)]


STORED: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "edge_texture": ("edge2d", functools.partial(_edges, image.EDGE_UNIT)),
    "keypoints2d": ("keypoint2d", functools.partial(_edges, image.KEYPOINT_UNIT)),
    "edge_occlusion": ("edge3d", functools.partial(_edges, geometry.EDGE_UNIT)),
    "keypoints3d": ("keypoint3d", functools.partial(_edges, geometry.KEYPOINT_UNIT)),
    "principal_curvature": ("curvature", _curvatures),
    "reshading": ("reshade", _shading),
    "segment_unsup2d": ("segment2d", _segments),
    "segment_unsup25d": ("segment25d", _segments),
    "class_object": ("class_object", _shares),
    "class_scene": ("class_scene", _scene),
}
"""Task of Rooms and encoding of its target, for each domain that is not among a picture's own labels."""
