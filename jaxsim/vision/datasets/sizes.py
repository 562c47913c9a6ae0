"""Bringing examples to one size: pictures by averaging, targets by the nearest pixel, so that none is made up."""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from jaxsim.vision.datasets.image_files import UNLABELED
from jaxsim.vision.datasets.records import Example


def fit(example: Example, size: tuple[int, int]) -> Example:
    """The largest centered part of the asked-for shape, resized to `size` (height, width).

    The picture is resized bilinearly with the filter widened on reduction; targets and masks take the nearest pixel.
    Depth stays in meters and normals keep their directions.

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
    return resampled(example, np.asarray(picture), lambda values, fill: values[at])


def stretch(example: Example, size: tuple[int, int]) -> Example:
    """The whole of the picture at `size` (height, width), whatever its own shape; otherwise as `fit`.

    >>> import numpy as np
    >>> depth, known = np.arange(4.0)[None], np.ones((1, 4), bool)
    >>> wide = Example("a", np.zeros((1, 4, 3), np.uint8), {"depth": depth}, {"depth": known})
    >>> stretch(wide, (2, 2)).targets["depth"].tolist()
    [[1.0, 3.0], [1.0, 3.0]]
    """
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(example.image)).resize((width, height), Image.Resampling.BILINEAR)
    at = np.ix_(*(_nearest(have, want) for have, want in zip(example.image.shape[:2], size, strict=True)))
    return resampled(example, np.asarray(picture), lambda values, fill: values[at])


def _nearest(have: int, want: int) -> np.ndarray:
    return ((np.arange(want) + 0.5) * have / want).astype(int)


def resampled(example: Example, image: np.ndarray, move: Callable[[np.ndarray, int | bool], np.ndarray]) -> Example:
    """The example with another picture, and its targets of pixels and their masks moved likewise.

    Args:
        example: with masks for its targets of pixels.
        image: the picture after the move.
        move: from values and what fills places without any (255 in targets of bytes, 0 in others, False in masks).
    """

    def of(name, values):
        if name not in example.masks:
            return values
        return move(values, UNLABELED if values.dtype == np.uint8 else 0)

    targets = {name: of(name, values) for name, values in example.targets.items()}
    masks = {name: move(mask, False) for name, mask in example.masks.items()}
    return dataclasses.replace(example, image=image, targets=targets, masks=masks)
