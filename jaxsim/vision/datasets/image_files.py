"""Decoding one file: pictures, label maps and MATLAB arrays, each fault as one sentence that names the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxsim.io.arrays import naming, read_npy
from jaxsim.vision.datasets.records import Values

PALETTE_MODES = ("P", "L", "1")
DEEP_MODES = ("I;16", "I;16B", "I")
UNLABELED = 255
"""Class number of pixels that no one labeled, in all 8-bit label maps but Taskonomy's."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with naming(path):
        try:
            with Image.open(path) as picture:
                yield picture
        except UnidentifiedImageError as error:
            raise ValueError("no picture format is recognized in it") from error
        except Image.DecompressionBombError as error:
            raise ValueError("it announces too many pixels to be read") from error


def picture(path: Path) -> np.ndarray:
    """A picture file as `(h, w, 3)` uint8; gray ones three times over, transparency dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, truncated or no picture, or has more than 8 bits a channel.
    """
    with _opened(path) as opened:
        if opened.mode.startswith(("I", "F")):  # what Pillow would clip to 255
            raise ValueError(f"it is a picture of mode {opened.mode} where 8 bits a channel are expected")
        opened.info.pop("transparency", None)
        return np.asarray(opened.convert("RGB"))


def path_below(root: Path, suffix: str, name: str) -> Path:
    """The file of one id in a folder."""
    return root / (name + suffix)


def picture_below(root: Path, suffix: str, name: str) -> np.ndarray:
    """The picture of one id in a folder, `(h, w, 3)` uint8."""
    return picture(path_below(root, suffix, name))


def bytes_of(path: Path, channels: int) -> np.ndarray:
    """The first channels of an 8-bit picture: `(h, w)` for one, else `(h, w, channels)`; palettes give indices.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or not of 8 bits, or has fewer channels.
    """
    with _opened(path) as opened:
        values, mode = np.asarray(opened), opened.mode
        if values.dtype != np.uint8 and mode != "1":
            raise ValueError(f"it is a picture of mode {mode} where 8 bits a channel are expected")
        values = np.atleast_3d(values)
        if values.shape[2] < channels:
            raise ValueError(f"it has {values.shape[2]} channels where {channels} are expected")
        return values[..., 0] if channels == 1 else values[..., :channels]


def deep(path: Path) -> np.ndarray:
    """A 16-bit gray picture as `(h, w)` uint16.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or not of 16 bits and one channel.
    """
    with _opened(path) as opened:
        if opened.mode not in DEEP_MODES:
            raise ValueError(f"it is a picture of mode {opened.mode} where 16 bits and one channel are expected")
        values = np.asarray(opened)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise ValueError("it has numbers that do not fit in 16 bits")
        return values.astype(np.uint16)


def class_map(path: Path, classes: int) -> Values:
    """A map of class numbers below `classes` or 255, `(h, w)` uint8; the mask leaves out 255.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, a color picture, or has other numbers.
    """
    with _opened(path) as opened:
        if opened.mode not in PALETTE_MODES:
            raise ValueError(f"it is a picture of mode {opened.mode} where one class number a pixel is expected")
        values = np.asarray(opened).astype(np.uint8)
    return checked_classes(path, values, classes)


def checked_classes(path: Path, values: np.ndarray, classes: int) -> Values:
    """The `Values` of class numbers below `classes` or 255.

    Raises:
        ValueError: there are others.
    """
    labeled = values != UNLABELED
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} holds classes of shape {values.shape} and type {values.dtype} where numbers (height, width) are "
            "expected."
        )
    check_numbers(path, values[labeled], classes, " and 255")
    return Values(values.astype(np.uint8), labeled)


def check_numbers(path: Path, values: np.ndarray, classes: int, besides: str = "") -> None:
    """Check that all are whole numbers from 0 to `classes` - 1.

    Raises:
        ValueError: one is not; the first is named.
    """
    odd = values[~((values >= 0) & (values < classes) & (values == np.floor(values)))]
    if odd.size:
        raise ValueError(f"{path} has class {odd.flat[0]} where 0 to {classes - 1}{besides} are expected.")


def signed_bytes(values: np.ndarray) -> np.ndarray:
    """Bytes v as 2 v / 255 - 1, float32, from -1 to 1."""
    return np.float32(2) * values.astype(np.float32) / np.float32(255) - np.float32(1)


def plane(path: Path, key: str, kinds: str) -> np.ndarray:
    """One two-axis array of a .mat file, of one of the given NumPy kinds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is unreadable, has no such array, or the array is of another kind or number of axes.
    """
    values = matlab(path, key)
    if values.ndim != 2 or values.dtype.kind not in kinds:
        raise ValueError(f"{path} holds {key!r} of shape {values.shape} and type {values.dtype}, not one plane.")
    return values


def matlab(path: Path, key: str) -> np.ndarray:
    """One array of a .mat file with MATLAB's order of axes: format 5 by SciPy, 7.3 by h5py.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is unreadable or has no such array.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with naming(path):
        try:
            if h5py.is_hdf5(path):
                with h5py.File(path, "r") as file:
                    return np.asarray(_entry(file, key)).T
            return _entry(loadmat(path, variable_names=[key]), key)
        except MatReadError as error:
            raise ValueError(str(error)) from error


def _entry(entries, key):
    if key not in entries:
        raise ValueError(f"array {key!r} is not in it")
    return entries[key]


def vector(path: Path) -> Values:
    """A one-axis .npy array of numbers, float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of another kind, or has numbers that are not finite.
    """
    values = read_npy(path)
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "fiu":
        raise ValueError(f"{path} does not hold one row of numbers.")
    if not np.isfinite(values).all():
        raise ValueError(f"{path} has numbers that are not finite.")
    return Values(np.asarray(values, np.float32), None)
