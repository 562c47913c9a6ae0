"""Encodings of Taskonomy's files by domain: bits, units, and the training targets of its networks."""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from jaxsim.vision.datasets import image_files
from jaxsim.vision.datasets.records import Values, everywhere

UNITS_PER_METER = 512
NO_DEPTH = 65535
DEEP = 65535
CENTER = 127
"""The byte that encodes zero in normals and curvatures."""
CLASSES = 18
"""Semantic classes: 0 uncertain, 1 background, 2 to 17 objects."""


def meters(v: np.ndarray) -> Values:
    """Depth in units of 1/512 m; 65535 is unknown."""
    return Values(v.astype(np.float32) / np.float32(UNITS_PER_METER), v != NO_DEPTH)


def share_of_deep(v: np.ndarray) -> Values:
    """16-bit values scaled to [0, 1]."""
    return everywhere(v.astype(np.float32) / np.float32(DEEP))


def centered(v: np.ndarray) -> Values:
    """Bytes around 127 scaled to about [-1, 1]."""
    return everywhere((v.astype(np.float32) - np.float32(CENTER)) / np.float32(CENTER))


def share_of_byte(v: np.ndarray) -> Values:
    """Bytes scaled to [0, 1]."""
    return everywhere(v.astype(np.float32) / np.float32(255))


def classes(v: np.ndarray) -> Values:
    """Class numbers: 1 background, 2 to 17 objects; 0 is uncertain and masked."""
    return Values(v, v != 0)


def valid(v: np.ndarray) -> Values:
    """False where the mesh has a hole."""
    return everywhere(v != 0)


DEPTH_LIMIT = 64500
CURVATURE_MEAN, CURVATURE_SD = (123.572, 120.1), (31.922, 21.658)
EDGE_BLUR = 4.0
"""Pixels at 256 x 256."""


def log_depth(values: np.ndarray) -> Values:
    """ln(1 + v) / ln(2^16) of the number v in the file, masked where v >= 64500."""
    v = values * UNITS_PER_METER
    return Values(np.log1p(v) / math.log(2**16), v < DEPTH_LIMIT)


def clipped(most: float, values: np.ndarray) -> Values:
    """Map [0, most] to [-1, 1], clipped."""
    return everywhere(np.clip(values / most, 0, 1) * 2 - 1)


def blurred(values: np.ndarray) -> Values:
    """Map [0, 0.00625] to [-1, 1], unclipped, then blur by a Gaussian of four pixels."""
    from scipy.ndimage import gaussian_filter

    return everywhere(gaussian_filter(values / 0.00625 * 2 - 1, EDGE_BLUR))


def signed(values: np.ndarray) -> Values:
    """Map [0, 1] to [-1, 1]."""
    return everywhere(values * 2 - 1)


def signed_bytes(values: np.ndarray) -> Values:
    """Map the file's bytes from [0, 255] to [-1, 1]."""
    return everywhere((values * CENTER + CENTER) / 255 * 2 - 1)


def standardized(values: np.ndarray) -> Values:
    """Z-score the file's bytes by their mean and standard deviation over Taskonomy."""
    return everywhere((values * CENTER + CENTER - np.array(CURVATURE_MEAN)) / np.array(CURVATURE_SD))


@dataclasses.dataclass(frozen=True)
class Domain:
    """One of Taskonomy's domains.

    Attributes:
        bits: 8 or 16 per value; 0 for a vector in a .npy file.
        channels: number of channels to read.
        units: function from the file's numbers to values and mask; None for .npy.
        mesh: whether it was made from the scanned mesh and is masked by `mask_valid`.
        files: names of the domain in file names, where they differ from the folder's.
        classes: number of classes; 0 if the values are not classes.
        trained: function from values in those units to the training targets of Taskonomy's network; None without one.
    """

    bits: int
    channels: int = 1
    units: Callable[[np.ndarray], Values] | None = None
    mesh: bool = False
    files: tuple[str, ...] = ()
    classes: int = 0
    trained: Callable[[np.ndarray], Values] | None = None

    def decode(self, path) -> Values:
        """Read one file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, not of this domain's kind, or has an unknown class number.
        """
        if self.units is None:
            return image_files.vector(path)
        values = image_files.deep(path) if self.bits == 16 else image_files.bytes_of(path, self.channels)
        if self.classes:
            image_files.check_numbers(path, values, self.classes)
        return self.units(values)


DOMAINS: dict[str, Domain] = {
    "class_object": Domain(0),
    "class_scene": Domain(0),
    "depth_euclidean": Domain(16, units=meters, mesh=True, trained=log_depth),
    "depth_zbuffer": Domain(16, units=meters, mesh=True, trained=log_depth),
    "edge_occlusion": Domain(16, units=share_of_deep, mesh=True, trained=blurred),
    "edge_texture": Domain(16, units=share_of_deep, trained=functools.partial(clipped, 0.08)),
    "keypoints2d": Domain(16, units=share_of_deep, trained=functools.partial(clipped, 0.005)),
    "keypoints3d": Domain(16, units=share_of_deep, mesh=True, trained=signed),
    "mask_valid": Domain(8, units=valid, files=("mask_valid", "depth_zbuffer")),
    "normal": Domain(8, 3, centered, mesh=True, trained=signed_bytes),
    "principal_curvature": Domain(8, 2, centered, mesh=True, trained=standardized),
    "reshading": Domain(8, units=share_of_byte, mesh=True, trained=signed),
    "segment_semantic": Domain(8, units=classes, files=("segment_semantic", "segmentsemantic"), classes=CLASSES),
    "segment_unsup25d": Domain(8, units=everywhere, mesh=True),
    "segment_unsup2d": Domain(8, units=everywhere),
}
"""Targets of the `taskonomy` reader; 'rgb' is the picture."""


def as_trained(domain: str, values: np.ndarray) -> Values:
    """Training targets of Taskonomy's networks, from values in the units of `DOMAINS`; see `Domain.trained`.

    Resize values to 256 x 256 first, as was done for the networks.

    Source: Zamir et al. (2018), configurations of the released networks.

    Raises:
        ValueError: there is no such training target.

    >>> import numpy as np
    >>> as_trained("edge_texture", np.array([[0.0, 0.04, 1.0]])).values.tolist()
    [[-1.0, 0.0, 1.0]]
    """
    trained = DOMAINS[domain].trained if domain in DOMAINS else None
    if trained is None:
        raise ValueError(f"Taskonomy trained no network on values of {domain!r} as they are encoded here.")
    return trained(values)
