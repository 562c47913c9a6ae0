"""Dendrograms of trees."""

from typing import TYPE_CHECKING

import numpy as np

from jaxsim import measures
from jaxsim.plotting.canvas import COLORS, EDGE, INK, bare, expect, new_figure, place, shown, text_width
from jaxsim.results import plots
from jaxsim.taxonomy import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plots(Tree)
def dendrogram(tree: Tree, *, ax: "Axes | None" = None, title: str | None = None) -> "Figure":
    """Draw a tree with its leaves on the right and the heights of its merges along x.

    If the tree has support, it is printed in percent to the right of each joint, between the two branches, where there
    are no lines. The root's support is not printed, because every resample has the root.

    Args:
        tree: the tree.
        ax: matplotlib axes to draw in; a new figure by default.
        title: text above; the measure by default.

    Raises:
        TypeError: `tree` is not a tree.
        ImportError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> [label.get_text() for label in dendrogram(tree(s)).axes[0].get_yticklabels()]
        ['a', 'c', 'b']
    """
    expect(tree, (Tree,), "dendrogram", "js.taxonomy.tree(affinity) makes one")
    count = len(tree.names)
    names = shown(tree.names[i] for i in tree.order)
    title = measures.title_of(tree.provenance.measure) if title is None else title
    font = float(np.clip(420 / count, 5.5, 9))
    small = max(font - 2, 5)
    pad = 0.05 if tree.support is None else text_width(["100"], small) + 0.05
    height, right = max(count * font * 1.9 / 72, 0.6), text_width(names, font) + 0.12 + pad + EDGE
    note = "" if tree.support is None else "\nnumbers: % of resamples with this branch"
    below, above = 0.55 if tree.support is None else 0.7, EDGE + (0.25 if title else 0.0)
    if ax is None:
        wide = max(0.3 + 4.2 + right, 0.3 + text_width([title], 9) + EDGE)
        ax = place(new_figure(wide, below + height + above), 0.3, below, 4.2, height)
    joints = draw_tree(ax, tree, upright=False)
    ax.yaxis.tick_right()
    ax.set_yticks(range(count), names, fontsize=font, color=INK, parse_math=False)
    ax.tick_params(axis="y", length=0, pad=72 * pad)
    ax.set_ylim(count - 0.5, -0.5)
    highest = max((h for h, _ in joints), default=0.0)
    ax.set_xlim(highest * 1.06 if highest > 0 else 1.0, 0.0)
    bare(ax, keep=("bottom",))
    ax.tick_params(axis="x", labelsize=8, colors=INK)
    ax.set_xlabel(f"height: {tree.convention}{note}", fontsize=8, color=INK, parse_math=False)
    ax.set_title(title, fontsize=9, loc="left", color=INK, parse_math=False)
    if tree.support is not None:
        _print_support(ax, tree, small)
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def draw_tree(axes: "Axes", tree: Tree, *, upright: bool) -> list[tuple[float, float]]:
    """Draw the branches on given axes.

    Leaves are at 0, 1, 2, ... in the order of the tree.

    Args:
        axes: the axes; the caller sets their limits.
        tree: the tree.
        upright: draw leaves along x and heights along y, instead of the other way around.

    Returns:
        Height of each merge and its position along the leaves.
    """
    merges = np.asarray(tree.merges, dtype=float)
    count = len(tree.names)
    places = np.empty(count + len(merges))
    places[np.asarray(tree.order, dtype=int)] = np.arange(count)
    heights = np.concatenate([np.zeros(count), merges[:, 2]])
    for step, (first, second) in enumerate(merges[:, :2].astype(int)):
        low, high, top = places[first], places[second], heights[count + step]
        along, up = [low, low, high, high], [heights[first], top, top, heights[second]]
        axes.plot(*((along, up) if upright else (up, along)), color=INK, linewidth=0.9, solid_joinstyle="miter")
        places[count + step] = (low + high) / 2
    return list(zip(heights[count:].tolist(), places[count:].tolist(), strict=True))


def _print_support(axes: "Axes", tree: Tree, font: float) -> None:
    """Print the support to the right of each joint except the root's, between the two branches, clear of lines."""
    places = {int(leaf): place for place, leaf in enumerate(tree.order)}
    ends = [(places[leaf], places[leaf]) for leaf in range(len(tree.names))]
    merges, support = np.asarray(tree.merges, dtype=float), np.asarray(tree.support)
    for first, second in merges[:, :2].astype(int):
        ends.append((min(ends[first][0], ends[second][0]), max(ends[first][1], ends[second][1])))
    for (first, second, height, _), share in zip(merges[:-1], support[:-1], strict=True):
        upper, lower = sorted((ends[int(first)], ends[int(second)]))
        axes.annotate(
            f"{100 * share:.0f}",
            (height, (upper[1] + lower[0]) / 2),
            xytext=(2, 0),
            textcoords="offset points",
            ha="left",
            va="center_baseline",
            fontsize=font,
            color="0.35" if share < 0.5 else COLORS[0],
        )
