"""Dendrograms of trees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxsim.io.files import label
from jaxsim.plotting.canvas import EDGE, INK, bare, new_figure, place, text_width
from jaxsim.results import plots
from jaxsim.taxonomy import Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plots(Tree)
def dendrogram(tree: Tree) -> "Figure":
    """Draw a tree with its leaves on the right and the heights of its merges along x.

    Support, where the tree has it, is printed in percent where a branch joins. The root's is not, since every
    resample has it.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> [label.get_text() for label in dendrogram(tree(s)).axes[0].get_yticklabels()]
        ['a', 'c', 'b']
    """
    count = len(tree.names)
    names = [tree.names[i] for i in tree.order]
    font = float(np.clip(420 / count, 5.5, 9))
    height, right = max(count * font * 1.9 / 72, 0.6), text_width(names, font) + 0.12 + EDGE
    note = "" if tree.support is None else "\nnumbers: % of resamples with this branch"
    below = 0.55 if tree.support is None else 0.7
    figure = new_figure(0.3 + 4.2 + right, below + height + EDGE)
    axes = place(figure, 0.3, below, 4.2, height)
    joints = draw_tree(axes, tree, upright=False)
    axes.yaxis.tick_right()
    axes.set_yticks(range(count), [label(name) for name in names], fontsize=font, color=INK, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(count - 0.5, -0.5)
    highest = max((h for h, _ in joints), default=0.0)
    axes.set_xlim(highest * 1.06 if highest > 0 else 1.0, 0.0)
    bare(axes, keep=("bottom",))
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.set_xlabel(f"height: {tree.convention}{note}", fontsize=8, color=INK, parse_math=False)
    if tree.support is not None:
        _print_support(axes, joints[:-1], np.asarray(tree.support)[:-1], font)
    return figure


def draw_tree(axes: "Axes", tree: Tree, *, upright: bool) -> list[tuple[float, float]]:
    """Draw the branches on given axes.

    Leaves are at 0, 1, 2, ... in the order of the tree.

    Args:
        axes: the axes; the caller sets their limits.
        tree: the tree.
        upright: leaves along x and heights along y, or the other way round.

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


def _print_support(axes: "Axes", joints: Sequence[tuple[float, float]], support: np.ndarray, font: float) -> None:
    """Print the share just left of each joint, above the branch that leads on from it."""
    from matplotlib.patheffects import withStroke

    for (height, where), share in zip(joints, support, strict=True):
        axes.annotate(
            f"{100 * share:.0f}",
            (height, where),
            xytext=(-2, 1),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=max(font - 2, 5),
            color="#5f5f5f" if share < 0.5 else "#0072B2",
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )
