"""Writers of pictures, label maps and MATLAB arrays, and of folders that appear completely or not at all."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from jaxsim.io.files import atomic

JPEG_QUALITY = 95


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, and rename it to `path` when the block ends without error.

    Raises:
        FileExistsError: `path` exists.
        OSError: it cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise FileExistsError(f"{path} already exists; give another folder.")
    with atomic(path, folder=True) as folder:
        try:
            yield folder
        except (OSError, RuntimeError) as error:  # h5py and Pillow have their own messages for some system errors
            if code := re.search(r"errno = (\d+)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            if str(error).startswith("encoder error"):
                raise OSError(errno.EIO, "a picture could not be saved completely") from error
            raise


def folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Make folders below `root`."""
    made = [root / name for name in names]
    for folder in made:
        folder.mkdir(parents=True, exist_ok=True)
    return made


def jpeg(path: Path, rgb: np.ndarray, quality: int = JPEG_QUALITY) -> None:
    """Write a color picture as JPEG without chroma subsampling."""
    Image.fromarray(rgb).save(path, quality=quality, subsampling=0)


def png(path: Path, values: np.ndarray) -> None:
    """Write a picture with 8 or 16 bits as PNG."""
    Image.fromarray(np.ascontiguousarray(values)).save(path)


def palette_png(path: Path, classes: np.ndarray) -> None:
    """Write class numbers as a PNG with the palette of Pascal VOC."""
    picture = Image.fromarray(classes.astype(np.uint8))
    picture.putpalette(voc_palette().tobytes())
    picture.save(path)


def voc_palette() -> np.ndarray:
    """The colors of Pascal VOC, `(256, 3)` uint8: bits 0, 3, 6 of a class are the high bits of its red, and so on.

    >>> voc_palette()[[1, 2, 15, 255]].tolist()
    [[128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    number = np.arange(256)
    colors = [sum(((number >> (3 * k + c)) & 1) << (7 - k) for k in range(3)) for c in range(3)]
    return np.stack(colors, -1).astype(np.uint8)


def mat(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a MATLAB file of format 5."""
    savemat(path, dict(arrays), do_compression=True)


def lines(path: Path, names: Sequence[str]) -> None:
    """Write a split file with one id per line."""
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def bytes_around(values: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Quantize values v to bytes round(center + scale v), clipped."""
    return np.clip(np.round(center + scale * values), 0, 255).astype(np.uint8)
