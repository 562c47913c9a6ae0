"""Furniture: object classes made of boxes, an ellipsoid and a cylinder, and their frequency in each scene type.

Parts are given in the unit box of their object: x from -0.5 to 0.5 (right), y from 0 to 1 (up), z from -0.5 (back) to
0.5 (front). A box is `(x, y, z, half x, half y, half z, material)`, an ellipsoid the same with its semi-axes, and an
upright cylinder `(x, y, z, radius, half height, radius, material)`. An object has three materials.
"""

from typing import NamedTuple

import numpy as np

BOXES = 6
"""Largest number of boxes per object."""
PARTS = BOXES + 2
"""Parts per object: boxes, then the ellipsoid, then the cylinder."""
SURFACES = ("wall", "floor", "ceiling")


class Furniture(NamedTuple):
    """One class of objects.

    Attributes:
        least: smallest width, height and depth in meters.
        most: largest width, height and depth.
        boxes: up to BOXES boxes.
        ellipsoid: one ellipsoid or None.
        cylinder: one upright cylinder or None.
        place: 'wall' stands with its back against a wall, 'free' anywhere, 'hung' hangs on a wall.
    """

    least: tuple[float, float, float]
    most: tuple[float, float, float]
    boxes: tuple[tuple[float, ...], ...]
    ellipsoid: tuple[float, ...] | None = None
    cylinder: tuple[float, ...] | None = None
    place: str = "free"


def _legs(height: float, thick: float = 0.05, inset: float = 0.44, material: int = 1):
    corners = [(x, z) for x in (-inset, inset) for z in (-inset, inset)]
    return tuple((x, height / 2, z, thick, height / 2, thick, material) for x, z in corners)


FURNITURE = {
    "chair": Furniture(
        (0.42, 0.8, 0.42),
        (0.6, 1.1, 0.6),
        ((0, 0.48, 0, 0.5, 0.04, 0.5, 0), (0, 0.76, -0.45, 0.48, 0.24, 0.05, 0), *_legs(0.45)),
    ),
    "table": Furniture(
        (0.9, 0.65, 0.7),
        (1.8, 0.85, 1.1),
        ((0, 0.97, 0, 0.5, 0.03, 0.5, 0), *_legs(0.94, 0.04)),
        (0.2, 1.1, 0.1, 0.12, 0.1, 0.16, 2),
        (-0.2, 1.14, 0, 0.06, 0.14, 0.06, 1),
    ),
    "sofa": Furniture(
        (1.4, 0.7, 0.8),
        (2.4, 0.95, 1.0),
        (
            (0, 0.25, 0, 0.5, 0.2, 0.5, 0),
            (0, 0.65, -0.38, 0.5, 0.35, 0.12, 0),
            (-0.45, 0.4, 0, 0.06, 0.32, 0.5, 1),
            (0.45, 0.4, 0, 0.06, 0.32, 0.5, 1),
            (-0.2, 0.5, 0.06, 0.19, 0.08, 0.4, 2),
            (0.2, 0.5, 0.06, 0.19, 0.08, 0.4, 2),
        ),
        (0.3, 0.7, -0.2, 0.1, 0.2, 0.14, 1),
        place="wall",
    ),
    "bed": Furniture(
        (1.1, 0.8, 1.9),
        (1.9, 1.2, 2.2),
        (
            (0, 0.15, 0, 0.5, 0.15, 0.5, 1),
            (0, 0.4, 0.02, 0.48, 0.12, 0.47, 0),
            (0, 0.5, -0.48, 0.5, 0.5, 0.03, 1),
            (-0.22, 0.56, -0.33, 0.18, 0.06, 0.1, 2),
            (0.22, 0.56, -0.33, 0.18, 0.06, 0.1, 2),
            (0, 0.53, 0.2, 0.485, 0.03, 0.3, 2),
        ),
        place="wall",
    ),
    "shelf": Furniture(
        (0.7, 1.4, 0.28),
        (1.4, 2.2, 0.4),
        (
            (-0.48, 0.5, 0, 0.03, 0.5, 0.5, 0),
            (0.48, 0.5, 0, 0.03, 0.5, 0.5, 0),
            (0, 0.03, 0, 0.5, 0.03, 0.5, 0),
            (0, 0.35, 0, 0.5, 0.02, 0.5, 0),
            (0, 0.68, 0, 0.5, 0.02, 0.5, 0),
            (0, 0.98, 0, 0.5, 0.02, 0.5, 0),
        ),
        (-0.2, 0.45, 0, 0.13, 0.08, 0.35, 2),
        (0.2, 0.8, 0, 0.1, 0.1, 0.3, 1),
        place="wall",
    ),
    "cabinet": Furniture(
        (0.6, 0.7, 0.4),
        (1.6, 1.1, 0.6),
        (
            (0, 0.5, 0, 0.5, 0.5, 0.46, 0),
            (-0.25, 0.48, 0.46, 0.23, 0.42, 0.04, 1),
            (0.25, 0.48, 0.46, 0.23, 0.42, 0.04, 1),
            (-0.06, 0.55, 0.52, 0.02, 0.1, 0.03, 2),
            (0.06, 0.55, 0.52, 0.02, 0.1, 0.03, 2),
            (0, 0.99, 0, 0.52, 0.02, 0.52, 2),
        ),
        place="wall",
    ),
    "desk": Furniture(
        (1.0, 1.1, 0.55),
        (1.7, 1.3, 0.8),
        (
            (0, 0.6, 0, 0.5, 0.025, 0.5, 0),
            (-0.47, 0.3, 0, 0.03, 0.3, 0.48, 1),
            (0.3, 0.3, 0, 0.2, 0.28, 0.45, 1),
            (0, 0.84, -0.2, 0.22, 0.15, 0.03, 2),
            (0, 0.66, -0.2, 0.03, 0.06, 0.03, 1),
            (0, 0.64, 0.2, 0.2, 0.012, 0.12, 2),
        ),
        place="wall",
    ),
    "lamp": Furniture(
        (0.35, 1.3, 0.35),
        (0.55, 1.9, 0.55),
        ((0, 0.015, 0, 0.35, 0.015, 0.35, 1), (0, 0.45, 0, 0.04, 0.45, 0.04, 1)),
        (0, 0.88, 0, 0.5, 0.12, 0.5, 0),
    ),
    "plant": Furniture(
        (0.4, 0.7, 0.4),
        (0.8, 1.7, 0.8),
        ((0, 0.4, 0, 0.03, 0.2, 0.03, 1), (0.14, 0.6, 0.1, 0.3, 0.08, 0.04, 0), (-0.1, 0.7, -0.1, 0.04, 0.1, 0.36, 0)),
        (0, 0.72, 0, 0.38, 0.27, 0.38, 0),
        (0, 0.14, 0, 0.28, 0.14, 0.28, 2),
    ),
    "screen": Furniture(
        (0.9, 0.9, 0.4),
        (1.6, 1.3, 0.5),
        (
            (0, 0.7, 0, 0.5, 0.3, 0.06, 1),
            (0, 0.7, 0.065, 0.47, 0.27, 0.01, 0),
            (0, 0.36, 0, 0.05, 0.06, 0.1, 1),
            (0, 0.15, 0, 0.55, 0.15, 0.5, 2),
        ),
        place="wall",
    ),
    "bath": Furniture(
        (0.7, 0.5, 1.4),
        (0.9, 0.7, 1.9),
        (
            (0, 0.1, 0, 0.5, 0.1, 0.5, 0),
            (-0.45, 0.5, 0, 0.05, 0.45, 0.5, 0),
            (0.45, 0.5, 0, 0.05, 0.45, 0.5, 0),
            (0, 0.5, 0.46, 0.5, 0.45, 0.04, 0),
            (0, 0.5, -0.46, 0.5, 0.45, 0.04, 0),
            (0, 1.1, -0.46, 0.06, 0.15, 0.02, 1),
        ),
        place="wall",
    ),
    "basin": Furniture(
        (0.45, 0.8, 0.4),
        (0.7, 0.95, 0.55),
        ((0, 0.88, -0.05, 0.5, 0.1, 0.45, 0), (0, 1.03, -0.4, 0.04, 0.1, 0.05, 1)),
        (0, 0.86, 0.1, 0.42, 0.14, 0.4, 0),
        (0, 0.4, -0.05, 0.16, 0.4, 0.16, 0),
        place="wall",
    ),
    "appliance": Furniture(
        (0.55, 0.85, 0.55),
        (0.8, 1.9, 0.7),
        (
            (0, 0.5, 0, 0.5, 0.5, 0.47, 0),
            (0, 0.36, 0.47, 0.45, 0.3, 0.03, 1),
            (0, 0.82, 0.47, 0.45, 0.12, 0.03, 1),
            (0.38, 0.4, 0.52, 0.025, 0.2, 0.03, 2),
            (0.38, 0.82, 0.52, 0.025, 0.08, 0.03, 2),
        ),
        place="wall",
    ),
    "picture": Furniture(
        (0.4, 0.35, 0.04),
        (1.2, 0.9, 0.06),
        ((0, 0.5, 0, 0.5, 0.5, 0.4, 1), (0, 0.5, 0.1, 0.42, 0.4, 0.42, 0)),
        place="hung",
    ),
    "window": Furniture(
        (0.8, 0.9, 0.08),
        (1.8, 1.4, 0.12),
        (
            (0, 0.5, 0, 0.5, 0.5, 0.4, 1),
            (0, 0.5, 0.1, 0.45, 0.43, 0.35, 0),
            (0, 0.5, 0.3, 0.02, 0.45, 0.3, 1),
            (0, 0.5, 0.3, 0.45, 0.02, 0.3, 1),
            (0, 0.0, 0.8, 0.55, 0.03, 1.0, 1),
        ),
        place="hung",
    ),
    "door": Furniture(
        (0.8, 1.95, 0.06),
        (1.0, 2.1, 0.1),
        (
            (0, 0.5, 0, 0.5, 0.5, 0.4, 1),
            (0, 0.49, 0.1, 0.43, 0.47, 0.42, 0),
            (0, 0.74, 0.4, 0.28, 0.15, 0.2, 2),
            (0, 0.28, 0.4, 0.28, 0.18, 0.2, 2),
        ),
        (0.34, 0.48, 0.9, 0.04, 0.018, 0.5, 1),
        place="hung",
    ),
}
"""Object classes by name."""

OBJECTS = tuple(FURNITURE)
CLASSES = (*SURFACES, *OBJECTS)
"""Semantic classes: the room's surfaces, then the objects."""

STANDING = tuple(name for name, f in FURNITURE.items() if f.place != "hung")
HUNG = tuple(name for name, f in FURNITURE.items() if f.place == "hung")

HUES = {
    "chair": 0.07,
    "table": 0.09,
    "sofa": 0.98,
    "bed": 0.62,
    "shelf": 0.10,
    "cabinet": 0.05,
    "desk": 0.12,
    "lamp": 0.14,
    "plant": 0.34,
    "screen": 0.68,
    "bath": 0.52,
    "basin": 0.55,
    "appliance": 0.58,
    "picture": 0.85,
    "window": 0.56,
    "door": 0.03,
}
"""Usual hue of each class, so that form predicts color, as it mostly does in homes."""

WALL_HUES = {
    "bedroom": 0.72,
    "living room": 0.09,
    "dining room": 0.02,
    "office": 0.60,
    "kitchen": 0.15,
    "bathroom": 0.48,
    "library": 0.30,
    "hall": 0.12,
}
"""Usual hue of the walls of each scene type."""
FLOOR_HUE = 0.08

SCENES = {
    "bedroom": {"bed": 4, "cabinet": 2, "lamp": 2, "chair": 1, "plant": 0.5, "shelf": 1},
    "living room": {"sofa": 4, "table": 1.5, "lamp": 1.5, "plant": 1.5, "screen": 2.5, "shelf": 1},
    "dining room": {"table": 3, "chair": 5, "cabinet": 1.5, "plant": 0.5},
    "office": {"desk": 4, "chair": 2.5, "shelf": 2, "lamp": 0.5, "plant": 0.5},
    "kitchen": {"appliance": 5, "cabinet": 3, "table": 1, "chair": 1},
    "bathroom": {"bath": 3.5, "basin": 3.5, "cabinet": 1, "plant": 0.5},
    "library": {"shelf": 6, "chair": 1, "lamp": 1, "table": 0.7},
    "hall": {"plant": 3, "cabinet": 1.5, "lamp": 1.5, "sofa": 0.7, "screen": 0.5},
}
"""Relative frequency of classes in each scene type; the first class is always present."""


def templates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts `(classes, PARTS, 7)`, zero if absent, and the smallest and largest extents `(classes, 3)`."""
    parts = np.zeros((len(FURNITURE), PARTS, 7), np.float32)
    for k, f in enumerate(FURNITURE.values()):
        parts[k, : len(f.boxes)] = f.boxes
        if f.ellipsoid:
            parts[k, BOXES] = f.ellipsoid
        if f.cylinder:
            parts[k, BOXES + 1] = f.cylinder
    least, most = (np.array([getattr(f, end) for f in FURNITURE.values()], np.float32) for end in ("least", "most"))
    return parts, least, most


def mixes() -> tuple[np.ndarray, np.ndarray]:
    """Shares of object classes by scene type, `(scenes, classes)`, and each type's first class, `(scenes,)`."""
    shares = np.zeros((len(SCENES), len(FURNITURE)), np.float32)
    for k, mix in enumerate(SCENES.values()):
        for name, share in mix.items():
            shares[k, OBJECTS.index(name)] = share
    return shares / shares.sum(1, keepdims=True), np.array([OBJECTS.index(next(iter(m))) for m in SCENES.values()])
