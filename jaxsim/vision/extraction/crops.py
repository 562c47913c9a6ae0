"""Bringing one picture to a network's size, on the host: each network's own crop and filter."""

import dataclasses
from typing import Self

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxsim.vision.datasets.loader import fit
from jaxsim.vision.datasets.records import Example

Size = int | tuple[int, int]
"""Height and width in pixels, or both in one number."""


@dataclasses.dataclass(frozen=True)
class AsIs:
    """Pictures as they are; all must be of one size."""

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The picture itself."""
        return image

    def at(self, size: Size) -> "Fitted":
        """The frame that brings pictures to `size` instead."""
        return Fitted((size, size) if isinstance(size, int) else size)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The largest centered part of the shape asked for, resized as `datasets.batches` does.

    Attributes:
        size: height and width.
    """

    size: tuple[int, int]

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r c 3"]:
        """The picture at that size."""
        return fit(Example("", image, {}, {}), self.size).image

    def at(self, size: Size) -> Self:
        """The same at another size."""
        return dataclasses.replace(self, size=(size, size) if isinstance(size, int) else size)


@dataclasses.dataclass(frozen=True)
class Square:
    """The largest centered square, resized bilinearly between pixel centers, without a filter against aliasing.

    So were Taskonomy's pictures brought to 256 x 256 (Zamir et al. 2018, release of the networks).

    Attributes:
        side: of the square.

    >>> import numpy as np
    >>> wide = np.arange(4, dtype=np.uint8).repeat(3).reshape(1, 4, 3)[[0, 0]]
    >>> Square(1)(wide)[..., 0].tolist()
    [[1.5]]
    """

    side: int = 256

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "s s 3"]:
        """The square, float32 and still from 0 to 255, since values between two bytes are kept."""
        height, width = image.shape[:2]
        have = min(height, width)
        top, left = (height - have) // 2, (width - have) // 2
        x = image[top : top + have, left : left + have].astype(np.float32)
        low, high, share = _between(have, self.side)
        x = x[low] + (x[high] - x[low]) * share[:, None, None]
        return x[:, low] + (x[:, high] - x[:, low]) * share[:, None]

    def at(self, size: Size) -> Self:
        """The same with another side."""
        return dataclasses.replace(self, side=_side(size))


@dataclasses.dataclass(frozen=True)
class ShortSide:
    """The short side brought to `short` pixels, bilinearly with the filter widened on reduction, then the center cut.

    Torchvision's transforms of pictures for networks trained on ImageNet.

    Attributes:
        side: of the square that is cut.
        short: of the short side before.

    >>> import numpy as np
    >>> ShortSide(2, 4)(np.zeros((8, 16, 3), np.uint8)).shape
    (2, 2, 3)
    """

    side: int = 224
    short: int = 256

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The square."""
        height, width = image.shape[:2]
        least = min(height, width)
        height, width = self.short * height // least, self.short * width // least
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        top, left = round((height - self.side) / 2), round((width - self.side) / 2)
        return np.asarray(resized)[top : top + self.side, left : left + self.side]

    def at(self, size: Size) -> Self:
        """The same at another size, with the same share of the short side cut away."""
        side = _side(size)
        return dataclasses.replace(self, side=side, short=round(side * self.short / self.side))


Frame = AsIs | Fitted | Square | ShortSide


def _side(size: Size) -> int:
    if isinstance(size, int) or size[0] == size[1]:
        return size if isinstance(size, int) else size[0]
    raise ValueError(f"This network takes square pictures; {size[0]} x {size[1]} is not square.")


def _between(have: int, want: int) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, " want"]]:
    """For each wanted pixel the two that its center lies between, and the second one's share."""
    place = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    low = place.astype(int)
    return low, np.minimum(low + 1, have - 1), (place - low).astype(np.float32)
