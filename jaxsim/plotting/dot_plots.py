"""Dot plots of rankings and of agreement with transfer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import measures
from jaxsim.evaluation import Agreement
from jaxsim.plotting.canvas import (
    COLORS,
    EDGE,
    GRAY,
    INK,
    expect,
    labeled_rows,
    legend,
    new_figure,
    place,
    row_sizes,
    shifts,
    shown,
    style_of,
    wrapped,
)
from jaxsim.results import Resamples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_COLUMNS = 3
MOST_PANELS, _PANELS_ACROSS, _PANELS_IN_A_COLUMN = 30, 2, 5
_TICKS, _CAPTION = 0.3, 0.68
"""Inches below a panel, and below all of them: four lines."""


def ranking(
    resamples: Resamples,
    target: str | None = None,
    level: float = 0.95,
    *,
    ax: "Axes | None" = None,
    title: str | None = None,
) -> "Figure":
    """Draw the sources for one target, or for each, with intervals, best first.

    On the right is the share of resamples in which each source ranks first, if the scheme provides it (`first_share`).
    Sources whose interval contains zero are hollow.

    Args:
        resamples: resampled scores with their estimate.
        target: name of a column, or None for one panel per column; the target itself is left out.
        level: coverage of the intervals, between 0 and 1.
        ax: matplotlib axes to draw one target in; a new figure by default.
        title: text above; "sources for ..." by default.

    Raises:
        TypeError: `resamples` is not such a record.
        ValueError: no column has that name, there are too many columns for one figure, the scheme gives no interval, or
            `level` is not between 0 and 1.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from jaxsim.results import Provenance, Resamples
        >>> scores = np.array([[1.0, 0.4, 0.6], [0.4, 1.0, 0.5], [0.6, 0.5, 1.0]])
        >>> values = scores + np.linspace(-0.1, 0.1, 40)[:, None, None]
        >>> made_by = Provenance("rsa", "float32", "cpu")
        >>> r = Resamples(values, scores, tuple("abc"), tuple("abc"), made_by, "bootstrap", images=50)
        >>> [label.get_text() for label in ranking(r, "a").axes[0].get_yticklabels()]
        ['c', 'b']
        >>> len(ranking(r).axes)
        3
    """
    expect(resamples, (Resamples,), "ranking", "js.resample(features, measure) makes one")
    targets = resamples.targets if target is None else (target,)
    ranked = {one: [name for name, _ in resamples.ranking(one)] for one in targets}
    if ax is not None and len(targets) > 1:
        raise ValueError(f"a single axes shows one target: name it; there are {', '.join(shown(targets))}.")
    if len(targets) > MOST_PANELS:
        raise ValueError(f"{len(targets)} targets are too many for one figure (at most {MOST_PANELS}); name one.")
    if len(targets) == 1:
        figure, axes = labeled_rows(ranked[targets[0]], 3.6, right=0.95, above=0.42, ax=ax)
        places = [axes]
    else:
        figure, places = _panels(ranked)
    shares = np.asarray(resamples.first_share()) if resamples.ranks else None
    unsure = []
    for axes, one in zip(places, targets, strict=True):
        text = f"sources for {shown([one])[0]}" if title is None else title
        unsure.append(_draw_ranking(axes, resamples, one, level, text, shares))
    _say_once(figure, places, resamples, level, np.any(unsure, 0))
    ends = [axes.get_xlim() for axes in places]
    for axes in places:
        axes.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))
        _mark_zero(axes)
    return figure


def _panels(ranked: Mapping[str, list[str]]) -> tuple["Figure", list["Axes"]]:
    """Axes for each target: a few stacked at the width of a paper's column, more in rows; free space below all."""
    wide, right, above = 2.2, 0.85, 0.42
    sizes = [row_sizes(shown(names)) for names in ranked.values()]
    left, height = max(left for _, left, _ in sizes), max(height for *_, height in sizes)
    across = 1 if len(ranked) <= _PANELS_IN_A_COLUMN else _PANELS_ACROSS
    step, pitch, rows = left + wide + right, _TICKS + height + above, -(-len(ranked) // across)
    figure = new_figure(across * step, _CAPTION + rows * pitch)
    places = (divmod(k, across) for k in range(len(ranked)))
    bottom = _CAPTION + _TICKS
    made = [place(figure, left + c * step, bottom + (rows - 1 - r) * pitch, wide, height) for r, c in places]
    for axes, names in zip(made, ranked.values(), strict=True):
        labeled_rows(names, wide, ax=axes)
    return figure, made


def _draw_ranking(
    axes: "Axes", resamples: Resamples, target: str, level: float, title: str, shares: np.ndarray | None
) -> tuple[bool, bool]:
    """Draw one panel; return whether an interval contains zero or is missing, and whether one is missing."""
    names = [name for name, _ in resamples.ranking(target)]
    order, column = [resamples.names.index(name) for name in names], resamples.targets.index(target)
    low, high = (np.asarray(v, dtype=float)[order, column] for v in resamples.interval(level))
    estimate = np.asarray(resamples.estimate, dtype=float)[order, column]
    places = np.arange(len(order))
    axes.hlines(places, low, high, color=COLORS[0], linewidth=1.6, alpha=0.5)
    size = 4.5 if len(order) < 40 else 3.5
    found = (low > 0) | (high < 0)
    for some, fill in ((found, COLORS[0]), (~found, "white")):
        axes.plot(estimate[some], places[some], "o", color=COLORS[0], markerfacecolor=fill, markersize=size)
    if shares is not None:
        _print_shares(axes, shares[order, column])
    axes.set_title(title, fontsize=9, loc="left", color=INK, parse_math=False)
    return not found.all(), bool(np.isnan(low).any())


def _say_once(figure: "Figure", places: list["Axes"], resamples: Resamples, level: float, unsure: np.ndarray) -> None:
    """Explain the scores and intervals once: below the panel, or below all of them."""
    hollow, missing = unsure
    lines = [measures.title_of(resamples.provenance.measure) or "similarity"]
    lines += [f"{100 * level:g} % intervals: {resamples.origin}"]
    lines += ["hollow: the interval holds zero" + ", or there is none" * bool(missing)] * bool(hollow)
    style = {"fontsize": 8, "color": INK, "parse_math": False}
    if len(places) == 1:
        places[0].set_xlabel("\n".join(lines), **style)
        return
    across, up = figure.get_size_inches()
    text = "\n".join(wrapped(one, across - 2 * EDGE) for one in lines)
    figure.text(EDGE / across, _CAPTION / up, text, va="top", **style)


def column_correlations(
    agreements: "Mapping[str, Agreement]", *, ax: "Axes | None" = None, title: str | None = None
) -> "Figure":
    """Draw each target's correlation with measured transfer, and the means.

    Measures are side by side. Targets are sorted by their mean over the measures; the last row is the mean over
    targets. Targets without a correlation have a note instead of a point.

    Args:
        agreements: agreement of each measure by its label; all for the same targets.
        ax: matplotlib axes to draw in; a new figure by default.
        title: text above the labels; none by default.

    Raises:
        TypeError: it is not such a dict.
        ValueError: there is no agreement, or they have different targets.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from jaxsim.evaluation import evaluate
        >>> truth = pd.DataFrame(np.eye(4) - 0.1 * np.arange(4)[:, None], list("abcd"), list("abcd"))
        >>> figure = column_correlations({"itself": evaluate(truth, truth, diagonal=False)})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['a', 'b', 'c', 'd', 'mean']
    """
    instead = "give {'label': js.evaluate(affinity, truth, diagonal=False)}"
    expect(agreements, (Mapping,), "column_correlations", instead)
    if not agreements:
        raise ValueError("agreements is empty: there is no agreement to draw.")
    first = next(iter(agreements.values()))
    for label, agreement in agreements.items():
        expect(agreement, (Agreement,), "column_correlations", instead)
        if tuple(agreement.targets) != tuple(first.targets):
            raise ValueError(f"{label} was evaluated on different targets than {next(iter(agreements))}.")
    scores = np.array([np.asarray(a.per_target, dtype=float) for a in agreements.values()])
    order = np.argsort(-np.nan_to_num(scores, nan=-1.0).mean(axis=0), kind="stable")
    lines = title.count("\n") + 1 if title else 0
    above = 0.2 + 0.19 * -(-len(agreements) // _LEGEND_COLUMNS) + 0.18 * lines
    names = [f"{first.targets[i]}{' (undefined)' * bool(np.isnan(scores[:, i]).any())}" for i in order] + ["mean"]
    figure, axes = labeled_rows(names, 3.8, right=0.3, above=above, series=min(len(agreements), 4), ax=ax)
    axes.axhline(len(order) - 0.5, color=GRAY, linewidth=0.6)
    for i, (label, agreement) in enumerate(agreements.items()):
        line = np.append(scores[i, order], float(agreement.mean))
        axes.plot(
            line,
            np.arange(len(line)) + shifts(len(agreements))[i],
            linestyle="",
            markersize=4.5,
            label=label,
            **style_of(i),
        )
    _mark_zero(axes)
    correlations = {f"{a.correlation.capitalize()} correlation with {a.truth}" for a in agreements.values()}
    text = correlations.pop() if len(correlations) == 1 else "correlation with transfer"
    axes.set_xlabel(wrapped(f"{text}, per target", 4.0), fontsize=8, color=INK, parse_math=False)
    legend(axes, list(agreements), columns=_LEGEND_COLUMNS, title=title)
    return figure


def _share_text(share: float) -> str:
    if np.isnan(share):
        return "n/a"
    if 0 < share <= 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def _mark_zero(axes: "Axes") -> None:
    low, high = axes.get_xlim()
    if low < 0 < high:
        axes.axvline(0, color=GRAY, linewidth=0.6, zorder=0)


def _print_shares(axes: "Axes", shares: np.ndarray) -> None:
    across, size = axes.get_yaxis_transform(), axes.yaxis.get_ticklabels()[0].get_fontsize()
    for where, share in enumerate(shares):
        text = _share_text(share)
        color = INK if share else GRAY
        axes.text(1.2, where, text, transform=across, ha="right", va="center_baseline", fontsize=size, color=color)
    axes.text(1.2, -0.75, "ranks first", transform=across, ha="right", va="bottom", fontsize=8, color=GRAY)
