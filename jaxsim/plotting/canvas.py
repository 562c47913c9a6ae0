"""Figures, axes and text measured in inches, and contact sheets of pictures."""

import functools
import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import extras, io
from jaxsim.io.files import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRAY = "#222222", "#8a8a8a"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
EDGE = 0.15
GROUPS = ("2d", "3d", "geometric", "semantic")
COLUMNS, SIDE, GAP = 8, 0.9, 0.04
"""Pictures in a row of a contact sheet; inches of a picture's side and of the gap between two."""
SCREEN_DPI = 80
"""Dots per inch in a notebook; files have more."""


def colors_of(groups: Iterable[str]) -> dict[str, str]:
    """A color for each group; Taskonomy's four always keep theirs."""
    names = list(dict.fromkeys(groups))
    known, others = [name for name in GROUPS if name in names], [name for name in names if name not in GROUPS]
    free = COLORS[len(GROUPS) :] if known else COLORS
    found = {name: COLORS[GROUPS.index(name)] for name in known}
    found |= {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: found[name] for name in names}


def save_figure(figure: "Figure", path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure to `path`, whole or not at all, and return the path.

    The suffix chooses the format.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: it cannot be written.
        ValueError: matplotlib writes no files of that suffix.
    """
    path = Path(path)
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path} cannot be drawn: matplotlib writes no files that end in {path.suffix!r}.")
    with io.atomic(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format=suffix, dpi=200)
    return path


@functools.cache
def _notebook_figure() -> "type[Figure]":
    """A `Figure` that a notebook shows without pyplot."""
    with extras.needed("plots need", "matplotlib", install=extras.PLOT):
        from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            file = BytesIO()
            self.savefig(file, format="png", dpi=SCREEN_DPI)
            return file.getvalue()

    return NotebookFigure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches, which shows itself in a notebook.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return _notebook_figure()(figsize=(width, height), dpi=150)


def place(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Add axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def text_width(labels: Sequence[str], size: float) -> float:
    """Width in inches of the longest label, in the default font at `size` points."""
    with extras.needed("plots need", "matplotlib", install=extras.PLOT):
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.font_manager import FontProperties
    renderer, font = RendererAgg(1, 1, 72), FontProperties(size=size)
    widths = [renderer.get_text_width_height_descent(label(s), font, ismath=False)[0] for s in labels]
    return max(widths, default=0.0) / 72


def bare(axes: "Axes", keep: Sequence[str] = ()) -> None:
    """Remove the frame of the axes except for the sides to keep."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(GRAY)


def labeled_rows(
    names: Sequence[str], width: float, *, above: float = EDGE, right: float = EDGE
) -> tuple["Figure", "Axes"]:
    """A figure with one row per name, names on the left and a score along x.

    Args:
        names: the rows from top to bottom.
        width: width of the axes in inches.
        above: free space above the axes in inches.
        right: free space to the right of them in inches.
    """
    font = float(np.clip(360 / max(len(names), 1), 5.5, 9))
    pitch = font * 1.9 / 72
    left, height = text_width(names, font) + 0.12 + EDGE, pitch * (len(names) + 0.4)
    figure = new_figure(left + width + right, 0.65 + height + above)
    axes = place(figure, left, 0.65, width, height)
    axes.set_ylim(len(names) - 0.3, -0.7)
    axes.set_yticks(range(len(names)), [label(name) for name in names], fontsize=font, color=INK, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.hlines(range(len(names)), 0, 1, transform=axes.get_yaxis_transform(), color="0.92", linewidth=0.6, zorder=0)
    bare(axes, keep=("bottom",))
    return figure, axes


def contact_sheet(rgb: np.ndarray) -> "Figure":
    """Draw pictures `(n, h, w, 3)`, uint8 or floats in [0, 1], eight in a row.

    Raises:
        ValueError: the array has another shape, or no picture.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> len(contact_sheet(np.zeros((10, 8, 8, 3))).axes)
        10
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
