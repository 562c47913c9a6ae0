"""Figures of outcomes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.plotting import affinity_heatmap
from jaxsim.plotting.canvas import (
    COLORS,
    EDGE,
    GRAY,
    INK,
    MARKERS,
    bare,
    colors_of,
    labeled_rows,
    legend,
    new_figure,
    place,
    shifts,
    style_of,
    text_width,
    wrapped,
)
from jaxsim.plotting.dendrograms import draw_tree
from jaxsim.results import Affinity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsim.taxonomy import Tree


SYMBOLS = ("●", "■", "▲", "◆", "▼", "✚", "✖")
"""Signs of groups next to names, in the order of `MARKERS`, since colors alone are lost in grayscale."""


def _signs(groups: Mapping[str, str]) -> dict[str, str]:
    """A sign for each group."""
    return {group: SYMBOLS[COLORS.index(color)] for group, color in colors_of(groups.values()).items()}


def _signed(names: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    """Names with the signs of their groups."""
    signs = _signs(groups)
    return [f"{name} {signs[groups[name]]}" for name in names]


def _color(labels: Any, groups: Mapping[str, str]) -> None:
    """Color the labels made by `_signed`."""
    colors = {sign: colors_of(groups.values())[group] for group, sign in _signs(groups).items()}
    for label in labels:
        label.set_color(colors[label.get_text()[-1]])


def _key(axes: Any, groups: Mapping[str, str], left: float, top: float, only: str | None = None) -> None:
    """Draw the names of all groups, or of one, with their signs.

    `left` and `top` are inches from the figure's lower left corner.
    """
    figure = axes.get_figure()
    width, height = figure.get_size_inches()
    signs = _signs(groups)
    colors = colors_of(groups.values())
    for i, (group, color) in enumerate((colors if only is None else {only: colors[only]}).items()):
        at = (left / width, (top - 0.16 * i) / height)
        figure.text(*at, f"{signs[group]} {group}", fontsize=8, color=color, va="top", parse_math=False)


def _keys_in_a_row(
    axes: Any, groups: Mapping[str, str], left: float, top: float, some: Sequence[str] | None = None
) -> None:
    for group, width in _widths(groups).items():
        if some is None or group in some:
            _key(axes, groups, left, top, only=group)
            left += width


def _rows_of_keys(groups: Mapping[str, str], width: float) -> list[list[str]]:
    """The groups in as many rows as their names need."""
    rows, used = [[]], 0.0
    for group, wide in _widths(groups).items():
        if rows[-1] and used + wide > width:
            rows.append([])
            used = 0.0
        rows[-1].append(group)
        used += wide
    return rows


def _widths(groups: Mapping[str, str]) -> dict[str, float]:
    return {group: text_width([group], 8) + 0.35 for group in colors_of(groups.values())}


def grouped_heatmap(affinity: Affinity, tree: "Tree", groups: Mapping[str, str]) -> "Figure":
    """Draw a matrix in the order of its tree, with names in the colors of their groups."""
    names = tuple(_signed(affinity.names, groups))
    renamed = dataclasses.replace(affinity, names=names, targets=names)
    figure = affinity_heatmap(renamed, dataclasses.replace(tree, names=names), title="")
    axes = figure.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        _color(labels, groups)
    _key(axes, groups, EDGE, figure.get_size_inches()[1] - EDGE)
    return figure


def matrices(panels: Mapping[str, np.ndarray], names: Sequence[str], groups: Mapping[str, str]) -> "Figure":
    """Draw matrices `(T, T)` in panels, three per row, in the same colors from 0 to 1, with names signed by group."""
    font, side, gap, above = 6.0, 1.95, 0.2, 0.27
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    words = text_width(_signed(names, groups), font) + 0.1
    wide = EDGE + words + columns * (side + gap) + 0.35
    keys = _rows_of_keys(groups, wide - EDGE)
    below = 0.08 + 0.17 * len(keys)
    figure = new_figure(wide, below + rows * (side + above) + 0.1)
    top = below + rows * (side + above)
    for i, (title, values) in enumerate(panels.items()):
        row, column = divmod(i, columns)
        left, bottom = EDGE + words + column * (side + gap), top - row * (side + above) - above - side
        axes = place(figure, left, bottom, side, side)
        image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        if not column:
            axes.set_yticks(range(len(names)), _signed(names, groups), fontsize=font, parse_math=False)
            _color(axes.get_yticklabels(), groups)
        axes.tick_params(length=0)
        axes.set_title(title, fontsize=7.5, loc="left", color=INK, pad=3)
        bare(axes)
    bar = place(figure, EDGE + words + columns * (side + gap) - 0.08, below, 0.1, side)
    figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7, colors=INK)
    for i, row in enumerate(keys):
        _keys_in_a_row(figure.axes[0], groups, EDGE, below - 0.06 - 0.17 * i, row)
    return figure


def side_by_side_trees(trees: Mapping[str, "Tree"], groups: Mapping[str, str]) -> "Figure":
    """Draw trees by title side by side, with names in the colors of their groups."""
    count = max(len(tree.names) for tree in trees.values())
    font, wide, below, above = 9.0, 0.9, 0.55, 0.6
    height, words = count * font * 1.9 / 72, text_width(_signed(list(groups), groups), font) + 0.2
    step = wide + words + 0.25
    figure = new_figure(EDGE + step * len(trees), below + height + above)
    for i, (title, tree) in enumerate(trees.items()):
        axes = place(figure, EDGE + i * step, below, wide, height)
        joints = draw_tree(axes, tree, upright=False)
        names = _signed([tree.names[leaf] for leaf in tree.order], groups)
        axes.yaxis.tick_right()
        axes.set_yticks(range(len(names)), names, fontsize=font, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8, colors=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(max(h for h, _ in joints) * 1.06, 0.0)
        bare(axes, keep=("bottom",))
        axes.set_title(title, fontsize=9, loc="left", color=INK)
        axes.set_xlabel("height", fontsize=8, color=INK)
        _color(axes.get_yticklabels(), groups)
    _keys_in_a_row(figure.axes[0], groups, EDGE, below + height + above - 0.1)
    return figure


def lines(
    x: Sequence[Any],
    series: Mapping[str, Sequence[float | None]],
    across: str,
    up: str,
    level: float | None = None,
    spans: Mapping[str, Sequence[tuple[float | None, float | None]]] | None = None,
) -> "Figure":
    """Draw one line per series over the same x, a horizontal line at `level`, and intervals `spans` by series.

    Text labels along x are equally spaced; an empty one is a gap. The paper's series are hollow points.
    """
    figure = new_figure(5.2, 3.3)
    axes = place(figure, 0.7, 0.6, 4.3, 2.2)
    if isinstance(x[0], str):
        axes.set_xticks([i for i, word in enumerate(x) if word], [word for word in x if word])
        x = range(len(x))
    apart = 0.0 if spans is None else 0.12
    for i, (label, values) in enumerate(series.items()):
        solid = "" if _printed(label) else "-"
        style = _style(label, i) | {"marker": MARKERS[i], "markersize": 4.5, "linewidth": 1.2, "linestyle": solid}
        shifted = np.asarray(x) + apart * i
        axes.plot(shifted, _numbers(values), label=label, **style)
        if spans is not None and label in spans:
            axes.vlines(shifted, *_numbers(spans[label]).T, color=COLORS[i], linewidth=1.6, alpha=0.4)
    if spans is not None:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -1.05), min(high, 1.05))
    if level is not None:
        axes.axhline(level, color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(
            f"{level:g}",
            (0, level),
            xycoords=axes.get_yaxis_transform(),
            xytext=(2, 1),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=8,
            color=GRAY,
        )
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    bare(axes, keep=("bottom", "left"))
    fitting = max(int(4.3 / (text_width(list(series), 8) + 0.45)), 1)
    ncols = min(fitting, len(series))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _printed(label: str) -> bool:
    return label.startswith("paper")


def _style(label: str, place: int) -> dict[str, Any]:
    """Style of a series; the paper's is gray and hollow."""
    return {"color": GRAY, "markerfacecolor": "none"} if _printed(label) else {"color": COLORS[place]}


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Convert to floats, with NaN for None."""
    return np.array(values, dtype=float)


def listed(
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    across: str,
    *,
    spans: Sequence[tuple[float | None, float | None]] | None = None,
    marks: Sequence[float] = (),
) -> "Figure":
    """Draw points of one or more series, one row per name; `spans` are intervals of the last of our own series."""
    figure, axes = labeled_rows(names, 4.2, above=0.4, series=len(series))
    places = np.arange(len(names), dtype=float)
    last = [label for label in series if not _printed(label)][-1]
    for i, (label, values) in enumerate(series.items()):
        at = places + shifts(len(series))[i]
        if spans is not None and label == last:
            low, high = _numbers(spans).T
            axes.hlines(at, low, high, color=COLORS[i], linewidth=1.6, alpha=0.5)
        axes.plot(_numbers(values), at, MARKERS[i], markersize=4.5, label=label, **_style(label, i))
    for mark in marks:
        axes.axvline(mark, color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xlabel(across, fontsize=8, color=INK)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series), fontsize=8, frameon=False, labelcolor=INK)
    return figure


def side_by_side(
    names: Sequence[str],
    panels: Mapping[str, Sequence[float | None]],
    groups: Mapping[str, str],
    spans: Mapping[str, Sequence[tuple[float | None, float | None]]] | None = None,
) -> "Figure":
    """Draw points in panels side by side, one row per name, with names in the colors of their groups.

    Intervals `spans` are by panel; panels with intervals share their scale.
    """
    wide, gap = 1.05, 0.15
    right = max((wide + gap) * (len(panels) - 1), sum(_widths(groups).values()) - wide) + EDGE
    figure, first = labeled_rows(_signed(names, groups), wide, above=0.4, right=right)
    width, height = figure.get_size_inches()
    left, below, _, up = first.get_position().bounds * np.array([width, height, width, height])
    places, colors = np.arange(len(names), dtype=float), colors_of(groups.values())
    where = {group: [i for i, name in enumerate(names) if groups[name] == group] for group in colors}
    for i, (label, values) in enumerate(panels.items()):
        axes = first if i == 0 else place(figure, left + i * (wide + gap), below, wide, up)
        if i:
            axes.set_ylim(first.get_ylim())
            axes.set_yticks([])
            axes.tick_params(axis="x", labelsize=8, colors=INK)
            axes.hlines(places, 0, 1, transform=axes.get_yaxis_transform(), color="0.92", linewidth=0.6, zorder=0)
            bare(axes, keep=("bottom",))
        for group, color in colors.items():
            hollow: dict[str, Any] = {"markerfacecolor": "none"} if _printed(label) else {}
            marker, at = MARKERS[COLORS.index(color)], where[group]
            axes.plot(_numbers(values)[at], places[at], marker, color=color, markersize=4.5, **hollow)
            if spans is not None:
                axes.hlines(places[at], *_numbers(spans[label])[at].T, color=color, linewidth=1.6, alpha=0.5)
        axes.locator_params(axis="x", nbins=3)
        axes.set_xlabel(wrapped(label, wide), fontsize=8, color=INK)
    if spans is not None:
        ends = [axes.get_xlim() for axes in figure.axes]
        for axes in figure.axes:
            axes.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))
    _color(first.get_yticklabels(), groups)
    _keys_in_a_row(first, groups, left, below + up + 0.3)
    return figure


def small_multiples(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], across: Mapping[str, str], up: str, level: float
) -> "Figure":
    """Draw panels by title, five per row, each with a line `(x, y)` by label, and a horizontal line at `level`.

    The title of the horizontal axis is by panel, and is shown below the last panel of each column.
    """
    columns, side, tall, gap, above = min(5, len(panels)), 1.25, 0.95, 0.15, 0.36
    labels = list(next(iter(panels.values())))
    rows, top = -(-len(panels) // columns), 0.1 + 0.2 * -(-len(labels) // 3)
    figure = new_figure(0.6 + columns * (side + gap), 0.5 + rows * (tall + above) + top)
    for i, (title, curves) in enumerate(panels.items()):
        row, column = divmod(i, columns)
        axes = place(figure, 0.5 + column * (side + gap), 0.5 + (rows - 1 - row) * (tall + above), side, tall)
        for k, (x, y) in enumerate(curves.values()):
            axes.plot(x, y, linewidth=0.9, markersize=2.6, **style_of(k))
        axes.axhline(level, color=GRAY, linewidth=0.7, linestyle="--", zorder=0)
        axes.set_ylim(-0.04, 1.06)
        axes.set_title(title, fontsize=7.5, loc="left", color=INK, pad=2, parse_math=False)
        axes.tick_params(labelsize=6.5, colors=INK, pad=1)
        if column:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel(up, fontsize=7.5, color=INK)
        if i + columns >= len(panels):
            axes.set_xlabel(across[title], fontsize=7.5, color=INK)
        last = max(x[-1] for x, _ in curves.values())
        axes.set_xticks((1, 5, 10) if last > 1 else (0, 0.5, 1))
        axes.set_xlim(0.5 if last > 1 else -0.03, 1.04 * last)
        bare(axes, keep=("bottom", "left"))
    legend(figure.axes[0], labels, columns=3)
    if (made := figure.axes[0].get_legend()) is not None:
        made.set_bbox_to_anchor((0, 1 + 0.2 / tall))  # above the title
    return figure


def along_layers(
    layers: Sequence[str], rows: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[bool]]]]
) -> "Figure":
    """Draw a row of panels for each name: numbers along the layers by title, the marked layers filled."""
    wide, tall, gap, left, below = 1.7, 1.0, 0.55, 0.75, 0.45
    columns = max(map(len, rows.values()))
    figure = new_figure(left + columns * (wide + gap), below + len(rows) * (tall + 0.35) + 0.1)
    for r, (name, panels) in enumerate(rows.items()):
        bottom = below + (len(rows) - 1 - r) * (tall + 0.35)
        for c, (title, (values, marked)) in enumerate(panels.items()):
            axes, places = place(figure, left + c * (wide + gap), bottom, wide, tall), np.arange(len(layers))
            style = {"color": COLORS[min(c, 2)], "marker": MARKERS[min(c, 2)], "markersize": 5.0}
            axes.plot(places, values, linewidth=1.1, markerfacecolor="white", **style)
            axes.plot(places[list(marked)], np.asarray(values)[list(marked)], linestyle="", **style)
            axes.set_title(title, fontsize=8, loc="left", color=INK, pad=3, parse_math=False)
            axes.set_xticks(places, layers if r == len(rows) - 1 else [""] * len(layers), fontsize=7)
            axes.margins(y=0.15)
            axes.tick_params(labelsize=7, colors=INK)
            if not c:
                axes.set_ylabel(name, fontsize=9, color=INK)
            bare(axes, keep=("bottom", "left"))
    return figure


def cells(
    values: np.ndarray, rows: Mapping[str, Sequence[str]], columns: Mapping[str, Sequence[str]], what: str
) -> "Figure":
    """Draw a table of numbers as a heat map; rows and columns map the title of an axis to its names."""
    ((up, names),), ((across, targets),) = rows.items(), columns.items()
    made = Affinity.from_array(values, names, targets, measure=what, against=True)
    return affinity_heatmap(made, xlabel=across, ylabel=up)
