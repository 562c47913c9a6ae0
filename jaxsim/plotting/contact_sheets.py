"""Contact sheets of pictures."""

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxsim.plotting.canvas import new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, SIDE, GAP = 8, 0.9, 0.04
"""Pictures in a row, and inches of a picture's side and of the gap between two."""


def pictures(rgb: np.ndarray) -> "Figure":
    """Pictures `(n, h, w, 3)`, uint8 or in [0, 1], eight in a row.

    Raises:
        ValueError: the array has another shape.
        ImportError: matplotlib is not installed.
    """
    rgb = np.asarray(rgb)
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or not len(rgb):
        raise ValueError(f"pictures must be (n, h, w, 3) with n > 0, not {rgb.shape}.")
    columns = min(COLUMNS, len(rgb))
    rows, step = math.ceil(len(rgb) / columns), SIDE + GAP
    figure = new_figure(columns * step + GAP, rows * step + GAP)
    for k, picture in enumerate(rgb):
        row, column = divmod(k, columns)
        axes = place(figure, GAP + column * step, GAP + (rows - 1 - row) * step, SIDE, SIDE)
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
    return figure
