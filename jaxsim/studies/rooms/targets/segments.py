"""Unsupervised segments by scikit-image's graph-based method (Felzenszwalb and Huttenlocher 2004), on the host."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from jaxsim import extras

if TYPE_CHECKING:
    from jaxsim.studies.rooms.render import View

COARSENESS_2D, COARSENESS_25D = 100.0, 100.0
"""The method's scale k for colors in [0, 1] and for planes."""

OFFSET = 4.0
"""Distance of a plane from the camera, in meters, that weighs as much as a unit normal."""


def segment2d(view: "View") -> Int[np.ndarray, "h w"]:
    """Segments of the colors, numbered from 0; runs on the host, for one concrete view.

    Raises:
        ImportError: scikit-image is not installed.
    """
    return _segments(np.asarray(view.rgb), COARSENESS_2D)


def segment25d(view: "View") -> Int[np.ndarray, "h w"]:
    """Segments of depth and normals, numbered from 0; runs on the host, for one concrete view.

    Each pixel is described by its tangent plane: the normal n times 1 + |n.p| / OFFSET, where |n.p| is the plane's
    distance from the camera. All pixels of one plane are then equal, and planes that differ in direction or position
    are not. No color is used.

    Raises:
        ImportError: scikit-image is not installed.
    """
    normals = np.asarray(view.normals)
    offset = np.abs(np.sum(normals * np.asarray(view.points), -1, keepdims=True))
    return _segments(normals * (1 + offset / OFFSET), COARSENESS_25D)


def _segments(features, coarseness):
    with extras.needed("Segments need", "scikit-image"):
        from skimage.segmentation import felzenszwalb
    height, width = features.shape[:2]
    found = felzenszwalb(
        features.astype(np.float64),
        scale=coarseness * (width / 64) ** 2,
        sigma=0.5 * width / 64,
        min_size=max(1, height * width // 200),
    )
    return found.astype(np.int32)
