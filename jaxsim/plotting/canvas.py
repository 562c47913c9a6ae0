"""Figures, axes and text measured in inches: what all pictures share."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import extras, io

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRAY = "#222222", "#8a8a8a"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
EDGE = 0.15
GROUPS = ("2d", "3d", "geometric", "semantic")


def colors_of(groups: Iterable[str]) -> dict[str, str]:
    """A color a group: Taskonomy's four have their own wherever they occur, others follow in their order."""
    names = list(dict.fromkeys(groups))
    known, others = [name for name in GROUPS if name in names], [name for name in names if name not in GROUPS]
    free = COLORS[len(GROUPS) :] if known else COLORS
    found = {name: COLORS[GROUPS.index(name)] for name in known}
    found |= {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: found[name] for name in names}


def save_figure(figure: "Figure", path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure to `path`, whole or not at all; the ending of the name chooses the format.

    Raises:
        FileExistsError: the file is there and `overwrite` is False.
        OSError: it cannot be written.
        ValueError: matplotlib does not write files of that ending.
    """
    path = Path(path)
    ending = path.suffix.lstrip(".").lower()
    if ending not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path} cannot be drawn: matplotlib writes no files that end in {path.suffix!r}.")
    with io.atomic(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format=ending, dpi=200)
    return path


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches, which shows itself in a notebook."""
    with extras.needed("Plots need", "matplotlib", install=extras.PLOT):
        from jaxsim.plotting.shown import ShownFigure
    return ShownFigure(figsize=(width, height), dpi=150)


def place(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """New axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def text_width(labels: Sequence[str], size: float) -> float:
    """Inches that the longest label takes in the default font at `size` points."""
    with extras.needed("Plots need", "matplotlib", install=extras.PLOT):
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.font_manager import FontProperties
    renderer, font = RendererAgg(1, 1, 72), FontProperties(size=size)
    widths = [renderer.get_text_width_height_descent(s, font, ismath=False)[0] for s in labels]
    return max(widths, default=0.0) / 72


def bare(axes: "Axes", keep: Sequence[str] = ()) -> None:
    """Remove the frame of the axes but for the sides named."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(GRAY)


def listing(names: Sequence[str], width: float, *, above: float = EDGE, right: float = EDGE) -> tuple["Figure", "Axes"]:
    """A figure with one line per name from top to bottom, names on the left, a score along x.

    Args:
        names: the lines.
        width: inches of the axes.
        above: inches kept free above the axes.
        right: inches kept free to the right of them.
    """
    font = float(np.clip(360 / max(len(names), 1), 5.5, 9))
    pitch = font * 1.9 / 72
    left, height = text_width(names, font) + 0.12 + EDGE, pitch * (len(names) + 0.4)
    figure = new_figure(left + width + right, 0.65 + height + above)
    axes = place(figure, left, 0.65, width, height)
    axes.set_ylim(len(names) - 0.3, -0.7)
    axes.set_yticks(range(len(names)), list(names), fontsize=font, color=INK, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.hlines(range(len(names)), 0, 1, transform=axes.get_yaxis_transform(), color="0.92", linewidth=0.6, zorder=0)
    bare(axes, keep=("bottom",))
    return figure, axes
