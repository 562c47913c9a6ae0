"""Figures of the outcomes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.plotting import affinity_heatmap
from jaxsim.plotting.canvas import COLOURS, EDGE, GREY, INK, MARKERS, bare, listing, new_figure, place, text_width
from jaxsim.plotting.trees import draw_tree
from jaxsim.results import Affinity, Provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsim.taxonomy import Tree


def _group_colours(groups: Mapping[str, str]) -> dict[str, str]:
    return {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(dict.fromkeys(groups.values()))}


def _colour(labels: Any, groups: Mapping[str, str]) -> None:
    colours = _group_colours(groups)
    for label in labels:
        label.set_color(colours[groups[label.get_text()]])


def _key(axes: Any, groups: Mapping[str, str], left: float, top: float) -> None:
    """Names of the groups in their colours, one below the other, at inches from the figure's lower left corner."""
    figure = axes.get_figure()
    width, height = figure.get_size_inches()
    for i, (group, colour) in enumerate(_group_colours(groups).items()):
        figure.text(left / width, (top - 0.16 * i) / height, group, fontsize=8, color=colour, va="top")


def grouped_heatmap(affinity: Affinity, tree: "Tree", groups: Mapping[str, str]) -> "Figure":
    """A matrix in the order of its tree, names in the colours of their groups."""
    figure = affinity_heatmap(affinity, tree)
    axes = figure.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        _colour(labels, groups)
    _key(axes, groups, EDGE, figure.get_size_inches()[1] - EDGE)
    return figure


def two_trees(trees: Sequence["Tree"], titles: Sequence[str], groups: Mapping[str, str]) -> "Figure":
    """Trees beside each other, names in the colours of their groups."""
    count = max(len(tree.names) for tree in trees)
    font, wide, below, above = 9.0, 2.4, 0.55, 0.4
    height, words = count * font * 1.9 / 72, text_width(list(groups), font) + 0.2
    step = wide + words + 0.25
    figure = new_figure(EDGE + step * len(trees) + 0.7, below + height + above)
    for i, (tree, title) in enumerate(zip(trees, titles, strict=True)):
        axes = place(figure, EDGE + i * step, below, wide, height)
        joints = draw_tree(axes, tree, upright=False)
        names = [tree.names[leaf] for leaf in tree.order]
        axes.yaxis.tick_right()
        axes.set_yticks(range(len(names)), names, fontsize=font, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8, colors=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(max(h for h, _ in joints) * 1.06, 0.0)
        bare(axes, keep=("bottom",))
        axes.set_title(title, fontsize=9, loc="left", color=INK)
        axes.set_xlabel("height", fontsize=8, color=INK)
        _colour(axes.get_yticklabels(), groups)
    _key(figure.axes[0], groups, EDGE + step * len(trees), below + height)
    return figure


def lines(
    x: Sequence[Any], series: Mapping[str, Sequence[float]], across: str, up: str, level: float | None = None
) -> "Figure":
    """One line a series over the same x; a `level` is drawn across."""
    figure = new_figure(5.2, 3.3)
    axes = place(figure, 0.7, 0.6, 4.3, 2.2)
    for i, (label, values) in enumerate(series.items()):
        axes.plot(x, values, marker=MARKERS[i], color=COLOURS[i], markersize=4.5, linewidth=1.2, label=label)
    if level is not None:
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(
            f"{level:g}",
            (1, level),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 1),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=GREY,
        )
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    bare(axes, keep=("bottom", "left"))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series), fontsize=8, frameon=False, labelcolor=INK)
    return figure


def listed(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    across: str,
    *,
    spans: Sequence[tuple[float | None, float | None]] | None = None,
    marks: Sequence[float] = (),
) -> "Figure":
    """Points of one or more series, a line of text each; `spans` are intervals of the last series but the paper's."""
    figure, axes = listing(names, 4.2, above=0.4)
    places = np.arange(len(names), dtype=float)
    shown = [label for label in series if not label.startswith("paper")]
    for i, (label, values) in enumerate(series.items()):
        hollow = label.startswith("paper")
        style: dict[str, Any] = {"markerfacecolor": "none"} if hollow else {}
        axes.plot(values, places, MARKERS[i], color=GREY if hollow else COLOURS[i], markersize=5, label=label, **style)
    if spans is not None:
        low, high = np.array([[np.nan if v is None else v for v in span] for span in spans], dtype=float).T
        axes.hlines(places, low, high, color=COLOURS[len(shown) - 1], linewidth=1.6, alpha=0.5)
    for mark in marks:
        axes.axvline(mark, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xlabel(across, fontsize=8, color=INK)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series), fontsize=8, frameon=False, labelcolor=INK)
    return figure


def cells(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], what: str) -> "Figure":
    """A table of numbers as a heat map."""
    given = Provenance(measure=what, dtype=str(values.dtype), device="host")
    return affinity_heatmap(Affinity(values, None, tuple(rows), tuple(columns), given, against=True))
