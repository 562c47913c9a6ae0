"""Crops and resizing of single pictures on the host, as used to train each network."""

import dataclasses
from typing import Self

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxsim.vision.datasets.loader import Size, fit, sides
from jaxsim.vision.datasets.records import Example


@dataclasses.dataclass(frozen=True)
class AsIs:
    """Leave pictures unchanged; all must have the same size."""

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return the picture."""
        return image

    def at(self, size: Size) -> "Fitted":
        """A frame that resizes pictures to `size` instead."""
        return Fitted(sides(size))


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Crop the largest centered part of the right aspect ratio and resize it, as `datasets.batches` does.

    Attributes:
        size: height and width.
    """

    size: tuple[int, int]

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r c 3"]:
        """Crop and resize a picture."""
        return fit(Example("", image, {}, {}), self.size).image

    def at(self, size: Size) -> Self:
        """The same at another size."""
        return dataclasses.replace(self, size=sides(size))


@dataclasses.dataclass(frozen=True)
class Square:
    """Crop the largest centered square and resize it bilinearly, without antialiasing.

    Source: Zamir et al. (2018), code released with Taskonomy's networks.

    Attributes:
        side: side of the square in pixels.

    >>> import numpy as np
    >>> wide = np.arange(4, dtype=np.uint8).repeat(3).reshape(1, 4, 3)[[0, 0]]
    >>> Square(1)(wide)[..., 0].tolist()
    [[1.5]]
    """

    side: int = 256

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "s s 3"]:
        """Crop and resize a picture; values stay in [0, 255] and are not rounded."""
        height, width = image.shape[:2]
        have = min(height, width)
        top, left = (height - have) // 2, (width - have) // 2
        x = image[top : top + have, left : left + have].astype(np.float32)
        low, high, share = _between(have, self.side)
        x = x[low] + (x[high] - x[low]) * share[:, None, None]
        return x[:, low] + (x[:, high] - x[:, low]) * share[:, None]

    def at(self, size: Size) -> Self:
        """The same at another side."""
        return dataclasses.replace(self, side=_side(size))


@dataclasses.dataclass(frozen=True)
class ShortSide:
    """Resize the short side to `short` pixels, bilinearly with antialiasing, and crop the center.

    Torchvision's transforms for networks trained on ImageNet.

    Attributes:
        side: side of the cropped square in pixels.
        short: short side before the crop in pixels.

    >>> import numpy as np
    >>> ShortSide(2, 4)(np.zeros((8, 16, 3), np.uint8)).shape
    (2, 2, 3)
    """

    side: int = 224
    short: int = 256

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """Resize and crop a picture."""
        height, width = image.shape[:2]
        least = min(height, width)
        height, width = self.short * height // least, self.short * width // least
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        top, left = round((height - self.side) / 2), round((width - self.side) / 2)
        return np.asarray(resized)[top : top + self.side, left : left + self.side]

    def at(self, size: Size) -> Self:
        """The same at another size, with the same share of the short side cropped."""
        side = _side(size)
        return dataclasses.replace(self, side=side, short=round(side * self.short / self.side))


Frame = AsIs | Fitted | Square | ShortSide


def _side(size: Size) -> int:
    height, width = sides(size)
    if height != width:
        raise ValueError(f"this network needs square pictures, not {height} x {width}.")
    return height


def _between(have: int, want: int) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, " want"]]:
    """For each output pixel, the two input pixels around its center and the weight of the second."""
    place = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    low = place.astype(int)
    return low, np.minimum(low + 1, have - 1), (place - low).astype(np.float32)
