"""Affinity matrices as colored cells."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.io.files import label
from jaxsim.plotting.canvas import EDGE, GRAY, INK, bare, new_figure, place, text_width
from jaxsim.plotting.dendrograms import draw_tree
from jaxsim.results import Affinity, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxsim.taxonomy import Tree

_PRINT_UP_TO = 12
_UNDEFINED = "0.82"


@plots(Affinity)
def affinity_heatmap(affinity: Affinity, tree: "Tree | None" = None) -> "Figure":
    """Draw an affinity matrix as colored cells, ordered by a tree if given.

    The dendrogram of the tree is above. The colors span the scores between different networks; the diagonal may
    lie beyond, and the color bar then ends in an arrow. Scores that go far below zero get a diverging colormap
    with white at zero. Undefined scores are gray. Up to 12 x 12 scores are printed in their cells.

    Args:
        affinity: `(T, T)`, or `(S, T)` for two sets.
        tree: a tree of the same networks; only for a square matrix.

    Raises:
        ValueError: a tree is given, and the matrix is not square or the tree is of other networks.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from jaxsim.results import Affinity, Provenance
        >>> scores = np.array([[1.0, 0.4], [0.4, 1.0]])
        >>> made_by = Provenance("RSA", "float32", "cpu")
        >>> made = Affinity(scores, np.full((2, 2), 50), ("a", "b"), ("a", "b"), made_by)
        >>> len(affinity_heatmap(made).axes)
        2
    """
    values = np.asarray(affinity.values, dtype=float)
    rows, columns = list(affinity.names), list(affinity.targets)
    if tree is not None:
        order = _order(affinity, tree)
        values = values[np.ix_(order, order)]
        rows = columns = [rows[i] for i in order]
    font, pitch = _text_size(max(values.shape))
    width, height = pitch * len(columns), pitch * len(rows)
    left, below = text_width(rows, font) + 0.1 + EDGE, text_width(columns, font) + 0.1 + EDGE
    above, bar_height = EDGE if tree is None else 0.9, float(np.clip(height, 1.6, 3.2))
    top = max(below + height, EDGE + bar_height)
    figure = new_figure(left + width + 1.2, top + above)
    axes = place(figure, left, top - height, width, height)
    image = _draw_cells(axes, values, np.array(rows)[:, None] == np.array(columns)[None, :])
    _label(axes, rows, columns, font)
    bar = place(figure, left + width + 0.15, top - bar_height, 0.14, bar_height)
    _draw_bar(bar, image, affinity.provenance.measure, undefined=bool(np.isnan(values).any()))
    if tree is not None:
        branches = place(figure, left, top + 0.03, width, above - EDGE)
        draw_tree(branches, tree, upright=True)
        branches.set_xlim(-0.5, len(columns) - 0.5)
        branches.set_axis_off()
    return figure


def _order(affinity: Affinity, tree: "Tree") -> list[int]:
    if not affinity.square:
        shape = tuple(np.shape(affinity.values))
        raise ValueError(f"a tree orders the rows and columns of a square matrix, and this one is {shape}.")
    if tuple(tree.names) != tuple(affinity.names):
        raise ValueError("the tree and the matrix are of different networks, or in a different order.")
    return [int(i) for i in tree.order]


def _text_size(count: int) -> tuple[float, float]:
    """Font size of the labels in points, and side of a cell in inches."""
    if count <= _PRINT_UP_TO:
        return 9.0, 0.46 if count > 3 else 0.6
    font = float(np.clip(320 / count, 5.0, 9.0))
    return font, max(font * 1.3 / 72, 4.0 / count)


def _limits(values: np.ndarray, same: np.ndarray) -> tuple[float, float, str]:
    """Range of the colors, from pairs not the `same`, and ends of the bar with arrows."""
    off = values[~same & np.isfinite(values)]
    every = values[np.isfinite(values)]
    if every.size == 0:
        return 0.0, 1.0, "neither"
    low, high = (off.min(), off.max()) if off.size > 2 else (min(every.min(), 0.0), every.max())
    if high - low < 1e-6 * max(abs(high), 1.0):
        low, high = min(low, every.min()) - 0.05, max(high, every.max()) + 0.05
    beyond = (every.min() < low, every.max() > high)
    arrows = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    return float(low), float(high), arrows[beyond]


def _colors(low: float, high: float) -> Any:
    """Viridis, or for scores far below zero a diverging colormap, white at zero."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    if low >= 0 or -low < 0.15 * high:
        return matplotlib.colormaps["viridis"].with_extremes(bad=_UNDEFINED)
    reach = max(-low, high)
    sampled = np.linspace(0.5 + low / (2 * reach), 0.5 + high / (2 * reach), 256)
    return ListedColormap(matplotlib.colormaps["RdBu_r"](sampled)).with_extremes(bad=_UNDEFINED)


def _draw_cells(axes: "Axes", values: np.ndarray, same: np.ndarray) -> Any:
    low, high, arrows = _limits(values, same)
    colors = _colors(low, high)
    colors.colorbar_extend = arrows
    image = axes.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    rows, columns = values.shape
    if max(rows, columns) <= 40:
        axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.0 if max(rows, columns) <= _PRINT_UP_TO else 0.5)
    axes.tick_params(which="both", length=0)
    bare(axes)
    if max(rows, columns) <= _PRINT_UP_TO:
        _print_scores(axes, image, values)
    return image


def _print_scores(axes: "Axes", image: Any, values: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(value) else "n/a"
        color = "white" if dark and np.isfinite(value) else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=color)


def _label(axes: "Axes", rows: list[str], columns: list[str], font: float) -> None:
    axes.set_yticks(range(len(rows)), [label(name) for name in rows], fontsize=font, color=INK, parse_math=False)
    axes.set_xticks(
        range(len(columns)), [label(name) for name in columns], fontsize=font, color=INK, rotation=90, parse_math=False
    )


def _draw_bar(bar: "Axes", image: Any, measure: str, *, undefined: bool) -> None:
    figure = bar.get_figure()
    assert figure is not None
    drawn = figure.colorbar(image, cax=bar, extend=image.cmap.colorbar_extend)
    drawn.outline.set_visible(False)
    bar.tick_params(labelsize=8, length=2, color=GRAY, labelcolor=INK)
    height = bar.get_position().height * figure.get_figure(root=True).get_size_inches()[1]
    text = textwrap.fill(measure or "similarity", max(int(height / 0.072), 12))
    bar.set_ylabel(text, fontsize=8, color=INK, parse_math=False)
    if undefined:
        bar.set_title("gray:\nundefined", fontsize=7, color=GRAY, loc="left")
