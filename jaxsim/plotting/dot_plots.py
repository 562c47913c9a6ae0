"""Dot plots of rankings and of agreement with transfer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim import statistics
from jaxsim.plotting.canvas import COLORS, GRAY, INK, MARKERS, labeled_rows
from jaxsim.results import Resamples, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxsim.evaluation import Agreement

_LEGEND_COLUMNS = 3


@plots(Resamples)
def ranking(resamples: Resamples, target: str | None = None, level: float = 0.95) -> "Figure":
    """Draw the sources for one target with intervals, best first.

    At the right is the share of resamples in which each source ranks first.

    Args:
        resamples: resampled scores with their estimate.
        target: name of a column, the first one if None; the target itself is left out.
        level: coverage of the intervals, between 0 and 1.

    Raises:
        ValueError: no column has that name, the scheme gives no interval, or `level` is not between 0 and 1.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from jaxsim.results import Provenance, Resamples
        >>> scores = np.array([[1.0, 0.4, 0.6], [0.4, 1.0, 0.5], [0.6, 0.5, 1.0]])
        >>> values = scores + np.linspace(-0.1, 0.1, 20)[:, None, None]
        >>> made_by = Provenance("RSA", "float32", "cpu")
        >>> r = Resamples(values, scores, tuple("abc"), tuple("abc"), made_by, "bootstrap", images=50)
        >>> [label.get_text() for label in ranking(r, "a").axes[0].get_yticklabels()]
        ['c', 'b']
    """
    target = resamples.targets[0] if target is None else target
    names = [name for name, _ in resamples.ranking(target)]
    order, column = [resamples.names.index(name) for name in names], resamples.targets.index(target)
    low, high = (np.asarray(v)[:, column] for v in resamples.interval(level))
    estimate = np.asarray(resamples.estimate, dtype=float)[:, column]
    figure, axes = labeled_rows(names, 3.6, right=0.95, above=0.42)
    places = np.arange(len(order))
    axes.hlines(places, low[order], high[order], color=COLORS[0], linewidth=1.6, alpha=0.5)
    size = 4.5 if len(order) < 40 else 3.5
    axes.plot(estimate[order], places, "o", color=COLORS[0], markersize=size)
    _mark_zero(axes)
    _print_shares(axes, _share_first(resamples, order, column))
    axes.set_title(f"sources for {target}", fontsize=9, loc="left", color=INK, parse_math=False)
    made = f"{100 * level:g} % intervals: {resamples.kind}, {np.shape(resamples.values)[0]} resamples"
    text = f"{resamples.provenance.measure or 'similarity'}\n{made}"
    axes.set_xlabel(text, fontsize=8, color=INK, parse_math=False)
    return figure


def column_correlations(agreements: "Mapping[str, Agreement]") -> "Figure":
    """Draw each target's correlation with measured transfer, and the means.

    Measures are side by side. Targets are sorted by their mean over the measures; the last row holds the mean
    over targets.

    Args:
        agreements: agreement of each measure by its label; all over the same targets.

    Raises:
        ValueError: there is no agreement, or they are of different targets.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from jaxsim.evaluation import evaluate
        >>> truth = pd.DataFrame(np.eye(4) - 0.1 * np.arange(4)[:, None], list("abcd"), list("abcd"))
        >>> figure = column_correlations({"itself": evaluate(truth, truth, diagonal=False)})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['a', 'b', 'c', 'd', 'mean']
    """
    if not agreements:
        raise ValueError("agreements is empty: there is no agreement to draw.")
    targets = next(iter(agreements.values())).targets
    for label, agreement in agreements.items():
        if tuple(agreement.targets) != tuple(targets):
            raise ValueError(f"{label} was evaluated on other targets than {next(iter(agreements))}.")
    scores = np.array([np.asarray(a.per_target, dtype=float) for a in agreements.values()])
    order = np.argsort(-np.nan_to_num(scores, nan=-1.0).mean(axis=0), kind="stable")
    above = 0.2 + 0.19 * -(-len(agreements) // _LEGEND_COLUMNS)
    figure, axes = labeled_rows([targets[i] for i in order] + ["mean"], 3.8, right=0.3, above=above)
    axes.axhline(len(order) - 0.5, color=GRAY, linewidth=0.6)
    shifts = np.linspace(-0.22, 0.22, len(agreements)) if len(agreements) > 1 else np.zeros(1)
    for i, (label, agreement) in enumerate(agreements.items()):
        line = np.append(scores[i, order], float(agreement.mean))
        style: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "color": COLORS[i % len(COLORS)]}
        axes.plot(line, np.arange(len(line)) + shifts[i], linestyle="", markersize=4.5, label=label, **style)
    _mark_zero(axes)
    axes.set_xlabel("correlation with transfer, per target", fontsize=8, color=INK)
    _legend(axes)
    return figure


def _share_first(resamples: Resamples, order: list[int], column: int) -> np.ndarray:
    values = np.asarray(resamples.values)[:, order, column, None]
    return np.asarray(statistics.first_share(values))[:, 0]


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


def _legend(axes: "Axes") -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=_LEGEND_COLUMNS,
        fontsize=8,
        frameon=False,
        borderpad=0.2,
        handletextpad=0.1,
        columnspacing=1.0,
        labelcolor=INK,
    )
