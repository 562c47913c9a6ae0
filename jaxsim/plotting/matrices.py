"""Matrices of scores as colored cells."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim import measures
from jaxsim.plotting import cells
from jaxsim.plotting.canvas import EDGE, GRAY, INK, expect, new_figure, place, shown, text_width, wrapped
from jaxsim.plotting.dendrograms import draw_tree
from jaxsim.results import Affinity, Calibration, Resamples, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxsim.taxonomy import Tree

_LINE = 0.15
"""Height of a line of notes in inches."""


@plots(Resamples)
@plots(Affinity)
def affinity_heatmap(
    scores: Affinity | Resamples,
    tree: "Tree | None" = None,
    *,
    order: Sequence[Any] | None = None,
    ax: "Axes | None" = None,
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    annotate: bool | None = None,
    level: float = 0.95,
    interval: Any = None,
    p: Any = None,
    stars: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw a matrix of scores as colored cells.

    Colors range from 0 to 1 for the measures of this library, and from the lowest to the highest score for other
    numbers. (In a large matrix, they range over different networks only; if the diagonal lies outside, the color bar
    ends in an arrow.) Scores far below zero get a diverging colormap with white at zero. Distances (`distance=True` on
    the record) start at 0 in the same colors reversed, and the title says so. Undefined scores are hatched. Cells of
    resampled scores show their intervals. A cell is faded if its interval contains zero (for permutations: if p >= 1 -
    level).

    Args:
        scores: `Affinity` or `Resamples` of `(T, T)`, or `(S, T)` for two sets.
        tree: a tree of the same networks, drawn above, that orders a square matrix.
        order: names of the networks in another order; for two sets a pair, names of rows and of columns.
        ax: matplotlib axes to draw in; a new figure by default.
        cmap: colormap or its name.
        vmin: score of the lowest color.
        vmax: score of the highest color.
        title: text above; by default the numbers of networks and images. "" for none.
        xlabel: title of the columns; by default "target" for two sets.
        ylabel: title of the rows; by default "source" for two sets.
        annotate: whether to print the scores in the cells; by default up to 12 x 12 of them.
        level: coverage of the intervals of resampled scores.
        interval: lower and upper ends `(2, S, T)` of intervals computed elsewhere for an `Affinity`.
        p: p-values `(S, T)` computed elsewhere for an `Affinity`; cells with p >= 1 - level are faded.
        stars: names of the row to mark in each column, such as a recommendation.

    Raises:
        TypeError: `scores` is not such a record.
        ValueError: tree or order have other networks, `vmin` is not below `vmax`, a colormap or a starred name is
            unknown, or the resamples have no interval.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from jaxsim.results import Affinity, Provenance
        >>> scores = np.array([[1.0, 0.4], [0.4, 1.0]])
        >>> made_by = Provenance("rsa", "float32", "cpu")
        >>> made = Affinity(scores, np.full((2, 2), 50), ("a", "b"), ("a", "b"), made_by)
        >>> figure = affinity_heatmap(made)
        >>> figure.axes[0].images[0].get_clim(), figure.axes[1].get_ylabel()
        ((0.0, 1.0), 'RSA')
    """
    instead = "js.Affinity.from_array(values, names, measure=...) makes one of numbers"
    expect(scores, (Affinity, Resamples), "affinity_heatmap", instead)
    at = _order(scores, tree, order)
    drawn = cells.Cells.of(scores, level, interval, stars, annotate, p).reordered(*at)
    colors, low, high, arrows = cells.scale(drawn, scores, cmap, vmin, vmax)
    rows, columns = shown(scores.names[i] for i in at[0]), shown(scores.targets[i] for i in at[1])
    sides = ("", "") if scores.square else ("target", "source")
    across, up = (side if given is None else given for given, side in zip((xlabel, ylabel), sides, strict=True))
    measure = measures.title_of(scores.provenance.measure) or ("distance" if scores.distance else "similarity")
    measure += ": distance, lower is more similar" if scores.distance and measure != "distance" else ""
    notes = drawn.notes(scores, level)
    title = _title(scores) if title is None else title
    if ax is not None:
        return _draw_in(ax, drawn, (colors, low, high, arrows), (rows, columns), (across, up), measure, title, notes)
    font, pitch = drawn.sizes()
    width, height = pitch * len(columns), pitch * len(rows)
    up = wrapped(up, max(height, 1.2)) if up else ""
    left = text_width(rows, font) + 0.1 + EDGE + (0.05 + 0.17 * len(up.splitlines()) if up else 0.0)
    below = text_width(columns, font) + 0.1 + EDGE + (0.2 if across else 0.0)
    bar_height = float(np.clip(height, 1.6, 3.2))
    wide = max(left + width + 1.2, left + text_width(title.splitlines(), 9) + EDGE, 2.4 if notes else 0.0)
    lines = [line for note in notes for line in textwrap.wrap(note, max(int((wide - 2 * EDGE) / 0.066), 24))]
    under = _LINE * len(lines)
    top = max(below + height, EDGE + bar_height) + under
    above = (0.9 if tree else EDGE) + (0.08 + 0.16 * len(title.splitlines()) if title else 0.0)
    figure = new_figure(wide, top + above)
    axes = place(figure, left, top - height, width, height)
    image = cells.draw(axes, drawn, colors, low, high, pitch)
    _label(axes, rows, columns, font, across, up)
    bar = place(figure, left + width + 0.15, top - bar_height, 0.14, bar_height)
    _finish_bar(figure.colorbar(image, cax=bar, extend=arrows), measure, bar_height)
    figure.text(EDGE / wide, 0.08 / (top + above), "\n".join(lines), fontsize=7, color=INK, parse_math=False)
    highest = axes
    if tree is not None:
        highest = place(figure, left, top + 0.03, width, 0.9 - EDGE)
        draw_tree(highest, tree, upright=True)
        highest.set_xlim(-0.5, len(columns) - 0.5)
        highest.set_axis_off()
    highest.set_title(title, fontsize=9, loc="left", color=INK, parse_math=False)
    return figure


@plots(Calibration)
def calibration_heatmap(
    calibration: Calibration, tree: "Tree | None" = None, *, layers: bool = False, **options: Any
) -> "Figure":
    """Draw calibrated scores of the best layers of networks, fading those that are not findings.

    Args:
        calibration: a record from `js.calibrate`.
        tree: a tree of the same networks, or layers, that orders a square matrix.
        layers: whether to draw all layers with unadjusted p-values, instead of networks with adjusted ones.
        options: options of `affinity_heatmap`.

    Raises:
        TypeError: `calibration` is not such a record.
        ValueError: as for `affinity_heatmap`.
        ImportError: matplotlib is not installed.

    Example:
        >>> import jax, jaxsim as js
        >>> features = jax.random.normal(jax.random.key(0), (3, 20, 5))
        >>> figure = calibration_heatmap(js.calibrate(features, "cka", n_permutations=19))
        >>> " ".join(figure.axes[1].get_ylabel().split())
        'linear CKA, unbiased, calibrated'
    """
    expect(calibration, (Calibration,), "calibration_heatmap", "js.calibrate makes one")
    scores, p = calibration.scores(layers=layers), calibration.p if layers else calibration.adjusted_p()
    adjusted = "of each pair alone" if layers or calibration.adjust == "none" else calibration.adjust
    what = "layers" if layers else "networks"
    title = (
        f"{len(scores.names)}{'' if scores.square else f' × {len(scores.targets)}'} {what}, "
        f"{calibration.images} images\np {adjusted}, {calibration.n_permutations} permutations"
    )
    given = {"title": title, "vmin": 0.0, "vmax": 1.0, "level": 1 - calibration.level} | options
    return affinity_heatmap(scores, tree, p=p, **given)


def _draw_in(
    ax: "Axes",
    drawn: cells.Cells,
    scale: tuple[Any, float, float, str],
    names: tuple[list[str], list[str]],
    sides: tuple[str, str],
    measure: str,
    title: str,
    notes: list[str],
) -> "Figure":
    """Draw in given axes; the notes go below the title."""
    colors, low, high, arrows = scale
    image = cells.draw(ax, drawn, colors, low, high, None)
    _label(ax, *names, 8.0, *sides)
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, ax=ax, extend=arrows, fraction=0.05, pad=0.03)
    _finish_bar(bar, measure, ax.get_position().height * figure.get_size_inches()[1])
    text = "\n".join(filter(None, [title, *notes]))
    ax.set_title(text, fontsize=8, loc="left", color=INK, parse_math=False)
    return figure


def _title(scores: Affinity | Resamples) -> str:
    """Numbers of networks and images."""
    counts = str(len(scores.names)) if scores.square else f"{len(scores.names)} × {len(scores.targets)}"
    if scores.images is None:
        return ""
    fewest, most = int(np.min(np.asarray(scores.images))), int(np.max(np.asarray(scores.images)))
    counts += " maps" if measures.title_of(scores.provenance.measure).endswith("of maps") else " networks"
    return f"{counts}, {most} images" if fewest == most else f"{counts}, {fewest} to {most} images"


def _order(scores: Affinity | Resamples, tree: "Tree | None", order: Sequence[Any] | None) -> tuple[list[int], ...]:
    """Positions of the rows and of the columns to show."""
    if tree is None and order is None:
        return list(range(len(scores.names))), list(range(len(scores.targets)))
    if tree is not None:
        if order is not None:
            raise ValueError("give a tree or an order, not both.")
        expect(tree, (_tree_type(),), "the tree of a heat map", "js.taxonomy.tree(affinity) makes one")
        if not scores.square:
            shape = (len(scores.names), len(scores.targets))
            raise ValueError(f"a tree orders the rows and columns of a square matrix, and this one is {shape}.")
        if tuple(tree.names) != tuple(scores.names):
            raise ValueError("the tree and the matrix have different networks, or a different order of them.")
        return ([int(i) for i in tree.order],) * 2
    pair = (order, order) if scores.square else order
    if pair is None or len(pair) != 2 or any(isinstance(one, str) for one in pair):
        raise ValueError(
            "for two sets of networks, order must be a pair: the names of the rows, and those of the columns."
        )
    return tuple(_places(wanted, have) for wanted, have in zip(pair, (scores.names, scores.targets), strict=True))


def _tree_type() -> type:
    from jaxsim.taxonomy import Tree

    return Tree


def _places(wanted: Sequence[str], have: Sequence[str]) -> list[int]:
    odd = sorted(set(wanted) ^ set(have))
    if odd or len(wanted) != len(have):
        raise ValueError(
            f"order must have each network once; missing or repeated: {', '.join(shown(odd[:5])) or 'one'}."
        )
    return [list(have).index(name) for name in wanted]


def _label(axes: "Axes", rows: list[str], columns: list[str], font: float, across: str, up: str) -> None:
    axes.set_yticks(range(len(rows)), rows, fontsize=font, color=INK, parse_math=False)
    axes.set_xticks(range(len(columns)), columns, fontsize=font, color=INK, rotation=90, parse_math=False)
    axes.set_xlabel(across, fontsize=9, color=INK, parse_math=False)
    axes.set_ylabel(up, fontsize=9, color=INK, parse_math=False)


def _finish_bar(bar: Any, measure: str, height: float) -> None:
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, color=GRAY, labelcolor=INK)
    bar.ax.set_ylabel(wrapped(measure, height), fontsize=8, color=INK, parse_math=False)
