"""Decoders of single files: pictures, label maps and MATLAB arrays. Errors name the file."""

import contextlib
import functools
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from jaxsim.io import matlab_elements
from jaxsim.io.arrays import naming, read_npy
from jaxsim.io.containers import own_data
from jaxsim.io.pickles import Refused
from jaxsim.vision.datasets.records import Values

PALETTE_MODES = ("P", "L", "1")
DEEP_MODES = ("I;16", "I;16B", "I")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Rotations and flips that make a picture upright, by its EXIF orientation."""
FIRST_IS_WHOLE = ("MPO", "PSD")
"""Formats whose frames after the first are previews or layers of the first."""
STUBS = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
"""Formats that Pillow recognizes but cannot decode without plugins."""
UNLABELED = 255
"""Class number of unlabeled pixels in all 8-bit label maps except Taskonomy's."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with naming(path):
        try:
            # not by file name: Pillow would memory-map uncompressed TIFF, and get rows wrong for those that it rotates
            with open(path, "rb") as file, Image.open(file) as picture:
                yield picture
        except UnidentifiedImageError as error:
            raise ValueError("its picture format is not recognized") from error
        except Image.DecompressionBombError as error:
            raise Refused(f"{path} was not read: its header declares too many pixels.") from error


def _told(path: Path, opened: Image.Image) -> str:
    """Text on a valid picture of another kind than expected."""
    count, mode = len(opened.getbands()), opened.mode
    bits = 16 if "16" in mode else 32 if mode in ("I", "F") else 1 if mode == "1" else 8
    kind = "floating-point numbers" if mode == "F" else "color numbers" if mode == "P" else "values"
    return f"{path} is a picture of {bits}-bit {kind} in {count} channel{'s' * (count > 1)} (mode {mode})"


@functools.cache
def suffixes() -> tuple[str, ...]:
    """Suffixes of the formats that Pillow, with its plugins, decodes; lower case, sorted."""
    Image.init()
    known = Image.registered_extensions().items()
    return tuple(sorted(suffix for suffix, kind in known if kind in Image.OPEN and kind not in STUBS))


def picture(path: Path, *, upright: bool = False) -> np.ndarray:
    """Read a picture as `(h, w, 3)` uint8; gray is repeated over channels, transparency dropped.

    Pillow always rotates TIFF files by their orientation, including label maps.

    Args:
        path: the file.
        upright: rotate it by its EXIF orientation; pictures with labels must stay aligned with their labels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, truncated or not a picture, is an animation or has several pages, or has more than 8
            bits per channel.
    """
    with _opened(path) as opened:
        frames = 1 if opened.format in FIRST_IS_WHOLE else getattr(opened, "n_frames", 1)
        if frames > 1:
            text = (
                f"{path} is an animation or has several pages, {frames} in all; save the one you need as its own file."
            )
            raise Refused(text)
        if opened.mode.startswith(("I", "F")):  # Pillow would clip these to 255
            raise Refused(f"{_told(path, opened)}; 8 bits per channel are expected; save it with 8 bits.")
        opened.info.pop("transparency", None)
        opened.load()
        turn = _turn(opened) if upright else None
        return np.asarray((opened if turn is None else opened.transpose(turn)).convert("RGB"))


def _turn(opened: Image.Image) -> Image.Transpose | None:
    """The rotation or flip that EXIF specifies; None if there is none or it cannot be read."""
    with contextlib.suppress(SyntaxError, ValueError, LookupError, TypeError, OSError, struct.error):
        return TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def path_below(root: Path, suffix: str, name: str) -> Path:
    """The path of an id's file in a folder."""
    return root / (name + suffix)


def picture_below(root: Path, suffix: str, name: str) -> np.ndarray:
    """Read an id's picture from a folder, `(h, w, 3)` uint8."""
    return picture(path_below(root, suffix, name))


def bytes_of(path: Path, channels: int) -> np.ndarray:
    """Read the first channels of an 8-bit picture: `(h, w)` for one, else `(h, w, channels)`; palettes give indices.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, does not have 8 bits, or has fewer channels.
    """
    with _opened(path) as opened:
        opened.load()  # which may rotate it
        values = np.asarray(opened)
        if values.dtype != np.uint8 and opened.mode != "1":
            raise Refused(f"{_told(path, opened)}; 8 bits per channel are expected.")
        values = np.atleast_3d(values)
        if values.shape[2] < channels:
            raise Refused(f"{_told(path, opened)}; {channels} channels are expected.")
        return values[..., 0] if channels == 1 else values[..., :channels]


def deep(path: Path) -> np.ndarray:
    """Read a 16-bit gray picture as `(h, w)` uint16.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or does not have 16 bits and one channel.
    """
    with _opened(path) as opened:
        if opened.mode not in DEEP_MODES:
            raise Refused(f"{_told(path, opened)}; 16 bits and one channel are expected.")
        opened.load()
        values = np.asarray(opened)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise Refused(f"{path} has values that do not fit in 16 bits.")
        return values.astype(np.uint16)


def class_map(path: Path, classes: int) -> Values:
    """Read a map of class numbers below `classes` or 255, `(h, w)` uint8; 255 is masked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, a color picture, or has other class numbers.
    """
    with _opened(path) as opened:
        if opened.mode not in PALETTE_MODES:
            raise Refused(f"{_told(path, opened)}; one class number per pixel is expected.")
        opened.load()
        values = np.asarray(opened).astype(np.uint8)
    return checked_classes(path, values, classes)


def checked_classes(path: Path, values: np.ndarray, classes: int) -> Values:
    """Check class numbers and mask 255.

    Raises:
        ValueError: one is neither below `classes` nor 255.
    """
    labeled = values != UNLABELED
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} has classes of shape {values.shape} and type {values.dtype}; a (height, width) array of "
            "numbers is expected."
        )
    check_numbers(path, values[labeled], classes, " and 255")
    return Values(values.astype(np.uint8), labeled)


def check_numbers(path: Path, values: np.ndarray, classes: int, besides: str = "") -> None:
    """Check that all values are integers from 0 to `classes` - 1.

    Raises:
        ValueError: one is not; the message names the first.
    """
    odd = values[~((values >= 0) & (values < classes) & (values == np.floor(values)))]
    if odd.size:
        raise ValueError(f"{path} has class {odd.flat[0]}, but only 0 to {classes - 1}{besides} are allowed.")


def signed_bytes(values: np.ndarray) -> np.ndarray:
    """Map bytes v to 2 v / 255 - 1, float32."""
    return np.float32(2) * values.astype(np.float32) / np.float32(255) - np.float32(1)


def plane(path: Path, key: str, kinds: str) -> np.ndarray:
    """Read a two-dimensional array of one of the given NumPy kinds from a .mat file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is unreadable, has no such array, or the array has another kind or shape.
    """
    values = matlab(path, key)
    if values.ndim != 2 or values.dtype.kind not in kinds:
        raise ValueError(f"{path} has {key!r} of shape {values.shape} and type {values.dtype}, not a matrix.")
    return values


def matlab(path: Path, key: str) -> np.ndarray:
    """Read an array from a .mat file in MATLAB's axis order: format 5 with SciPy, 7.3 with h5py.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is unreadable or has no such array.
    """
    with naming(path):
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return np.asarray(own_data(_entry(file, key), path)).T
        return _entry(matlab_elements.load(path, [key]), key)


def _entry(entries, key):
    if key not in entries:
        raise ValueError(f"array {key!r} is missing")
    return entries[key]


def vector(path: Path) -> Values:
    """Read a one-dimensional .npy array of numbers as float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of another kind, or has values that are not finite.
    """
    values = read_npy(path)
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "fiu":
        raise ValueError(f"{path} does not contain a one-dimensional array of numbers.")
    if not np.isfinite(values).all():
        raise ValueError(f"{path} has values that are not finite.")
    return Values(np.asarray(values, np.float32), None)
