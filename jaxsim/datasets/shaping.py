"""Bringing examples to one size: pictures by averaging, targets by the nearest pixel, so that none is made up."""

import dataclasses

import numpy as np
from PIL import Image

from jaxsim.datasets.decoding import UNLABELLED
from jaxsim.datasets.records import Example


def fit(example: Example, size: tuple[int, int]) -> Example:
    """The largest centred part of the asked-for shape, resized to `size` (height, width).

    The picture is resized bilinearly with the filter widened on reduction; targets and masks take the nearest pixel.
    Depth stays in metres and normals keep their directions.

    >>> import numpy as np
    >>> wide = Example("a", np.zeros((4, 8, 3), np.uint8), {"depth": np.ones((4, 8))}, {"depth": np.ones((4, 8), bool)})
    >>> small = fit(wide, (2, 2))
    >>> small.image.shape, small.targets["depth"].shape
    ((2, 2, 3), (2, 2))
    """
    rows, columns = example.image.shape[:2]
    height, width = size
    tall, broad = max(1, min(rows, columns * height // width)), max(1, min(columns, rows * width // height))
    top, left = (rows - tall) // 2, (columns - broad) // 2
    part = np.ascontiguousarray(example.image[top : top + tall, left : left + broad])
    picture = Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR)
    at = np.ix_(top + _nearest(tall, height), left + _nearest(broad, width))
    return _moved(example, np.asarray(picture), lambda values, fill: values[at])


def _nearest(have: int, want: int) -> np.ndarray:
    return ((np.arange(want) + 0.5) * have / want).astype(int)


def crop(example: Example, top: int, left: int, size: tuple[int, int]) -> Example:
    """The rectangle of `size` (height, width) whose corner is at row `top` and column `left`.

    What lies outside of the picture is black, masked, and 255 in targets of bytes, 0 in others.
    """
    height, width = size

    def cut(values, fill):
        out = np.full((height, width, *values.shape[2:]), fill, values.dtype)
        rows, columns = values.shape[:2]
        inside = values[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        below, aside = min(max(-top, 0), height), min(max(-left, 0), width)
        out[below : below + inside.shape[0], aside : aside + inside.shape[1]] = inside
        return out

    return _moved(example, cut(example.image, 0), cut)


def _moved(example: Example, image: np.ndarray, move) -> Example:
    """The example with another picture, and its targets of pixels and their masks moved likewise."""

    def of(name, values):
        if name not in example.masks:
            return values
        return move(values, UNLABELLED if values.dtype == np.uint8 else 0)

    targets = {name: of(name, values) for name, values in example.targets.items()}
    masks = {name: move(mask, False) for name, mask in example.masks.items()}
    return dataclasses.replace(example, image=image, targets=targets, masks=masks)
