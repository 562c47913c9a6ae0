"""Figures, axes and text measured in inches, and contact sheets of pictures."""

import functools
import importlib
import math
import textwrap
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim import extras, io
from jaxsim.io import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRAY = "#222222", "#8a8a8a"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
EDGE, BELOW = 0.15, 0.78
GROUPS = ("2d", "3d", "geometric", "semantic")
COLUMNS, SIDE, GAP = 8, 0.9, 0.04
"""Pictures per row of a contact sheet; side of a picture and gap between two, in inches."""
SCREEN_DPI = 80
"""Dots per inch in a notebook; files have more."""
LONGEST = 60
"""Characters to show of a name; the middle of longer names is left out."""
FONTS: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42}
"""Embed fonts as TrueType, since publishers reject matplotlib's default."""


def colors_of(groups: Iterable[str]) -> dict[str, str]:
    """A color for each group; Taskonomy's four groups always keep their own."""
    names = list(dict.fromkeys(groups))
    known, others = [name for name in GROUPS if name in names], [name for name in names if name not in GROUPS]
    free = COLORS[len(GROUPS) :] if known else COLORS
    found = {name: COLORS[GROUPS.index(name)] for name in known}
    found |= {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: found[name] for name in names}


def style_of(place: int) -> dict[str, Any]:
    """Marker and color of a series; the first 49 differ."""
    turn, kind = divmod(place, len(MARKERS))
    return {"marker": MARKERS[kind], "color": COLORS[(kind + turn) % len(COLORS)]}


def expect(value: Any, kinds: tuple[type, ...], drawn: str, instead: str) -> None:
    """Raise an error for a value that a function does not draw.

    Raises:
        TypeError: `value` is not an instance of any of the `kinds`.
    """
    if not isinstance(value, kinds):
        known = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{drawn} draws {known}, not {type(value).__name__}; {instead}.")


def shown(names: Iterable[Any]) -> list[str]:
    r"""Names as shown in figures: control characters escaped, the middle of long names left out.

    >>> shown(["a\tb", "c" * 100])[0], len(shown(["c" * 100])[0])
    ('a\\tb', 60)
    """
    return [files.label(str(name), LONGEST) for name in names]


def wrapped(text: str, inches: float) -> str:
    """Wrap text at 8 points to lines of about that length."""
    return textwrap.fill(text, max(int(inches / 0.072), 12))


def require_matplotlib() -> None:
    """Check early that figures can be drawn.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with extras.needed("plots need", "matplotlib", install=extras.PLOT):
        importlib.import_module("matplotlib")


def save_figure(figure: "Figure", path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a figure to `path`, completely or not at all, and return the path.

    The suffix determines the format.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.
        ValueError: matplotlib does not write files with that suffix.
    """
    path = Path(path)
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path} cannot be drawn: matplotlib cannot write files that end in {path.suffix!r}.")
    import matplotlib

    with io.atomic(path, overwrite=overwrite) as temporary, matplotlib.rc_context(FONTS):
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
    """An empty figure of that size in inches, which displays itself in a notebook.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return _notebook_figure()(figsize=(width, height), dpi=150)


def place(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Add axes at a position given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def text_width(labels: Sequence[str], size: float) -> float:
    """Width in inches of the longest label, in the default font at `size` points."""
    with extras.needed("plots need", "matplotlib", install=extras.PLOT):
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.font_manager import FontProperties
    renderer, font = RendererAgg(1, 1, 72), FontProperties(size=size)
    widths = [renderer.get_text_width_height_descent(files.printable(s), font, ismath=False)[0] for s in labels]
    return max(widths, default=0.0) / 72


def bare(axes: "Axes", keep: Sequence[str] = ()) -> None:
    """Remove the frame of the axes, except for the sides to keep."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(GRAY)


def row_sizes(names: Sequence[str], series: int = 1) -> tuple[float, float, float]:
    """Font size of labeled rows in points, width of their labels and height of the rows in inches."""
    font = float(np.clip(360 / max(len(names), 1), 5.5, 9))
    pitch = max(font * 1.9, 6.5 * series) / 72
    return font, text_width(names, font) + 0.12 + EDGE, pitch * (len(names) + 0.4)


def labeled_rows(
    names: Sequence[str],
    width: float,
    *,
    above: float = EDGE,
    right: float = EDGE,
    series: int = 1,
    ax: "Axes | None" = None,
) -> tuple["Figure", "Axes"]:
    """A figure with one row per name, with names on the left and a score along x.

    Args:
        names: the rows from top to bottom.
        width: width of the axes in inches.
        above: free space above the axes in inches.
        right: free space to the right of the axes in inches.
        series: number of points in a row, one above another.
        ax: axes to use instead of those of a new figure.
    """
    names = shown(names)
    font, left, height = row_sizes(names, series)
    if ax is None:
        axes = place(new_figure(left + width + right, BELOW + height + above), left, BELOW, width, height)
    else:
        axes = ax
    figure = axes.get_figure(root=True)
    assert figure is not None
    axes.set_ylim(len(names) - 0.3, -0.7)
    axes.set_yticks(range(len(names)), names, fontsize=font, color=INK, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.hlines(range(len(names)), 0, 1, transform=axes.get_yaxis_transform(), color="0.92", linewidth=0.6, zorder=0)
    bare(axes, keep=("bottom",))
    return figure, axes


def shifts(series: int) -> np.ndarray:
    """Offsets of the points of each series in a row, in units of rows from its middle."""
    return np.linspace(-1, 1, series) * min(0.085 * series, 0.23) if series > 1 else np.zeros(1)


def legend(axes: "Axes", labels: Sequence[str], *, columns: int, title: str | None = None) -> None:
    """Add a legend for the lines above the axes, in their order; `title` is a line above it."""
    drawn = [line for line in axes.lines if line.get_marker() not in ("None", "", None)][: len(labels)]
    made = axes.legend(
        drawn,
        ["series"] * len(labels),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize=8,
        frameon=False,
        borderpad=0.2,
        handletextpad=0.1,
        columnspacing=1.0,
        labelcolor=INK,
        title=title,
        title_fontsize=9,
        alignment="left",
    )
    for text, label in zip(made.get_texts(), shown(labels), strict=True):
        text.set_parse_math(False)
        text.set_text(label)  # otherwise matplotlib skips labels that start with an underscore


def contact_sheet(rgb: np.ndarray) -> "Figure":
    """Draw pictures `(n, h, w, 3)`, uint8 or floats in [0, 1], eight per row.

    Raises:
        ValueError: the array has the wrong shape, or no picture.
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
