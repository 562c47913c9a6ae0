"""Plot of models compared with subjects."""

from typing import TYPE_CHECKING

import numpy as np

from jaxsim import measures
from jaxsim.plotting.canvas import COLORS, GRAY, INK, expect, labeled_rows, wrapped
from jaxsim.results import ModelComparison, plots
from jaxsim.results.model_comparisons import WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVEL = 0.05
"""Level at which the figure marks findings."""
MOST_LINES = 12
"""Most lines that join models that do not differ; if there are more, none is drawn."""


@plots(ModelComparison)
def model_scores(found: ModelComparison, *, ax: "Axes | None" = None, title: str | None = None) -> "Figure":
    """Draw models by mean score with intervals, subjects' scores, noise ceiling and significance, best first.

    Dots are filled if a model is above zero (p < .05). A cross on the right marks models below the lower noise ceiling
    (p < .05). A vertical line at the far right joins models that do not differ from each other, adjusted for all pairs;
    it is thin where it passes a model outside the set. If lines are drawn, two models without a common line differ. The
    gray band is the noise ceiling, hatched up to the ends of its own intervals.

    Args:
        found: a record from `js.compare_models`.
        ax: matplotlib axes to draw in; a new figure by default.
        title: text above; comparator and numbers by default.

    Raises:
        TypeError: it is not such a record.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, jaxsim as js
        >>> a, b, *brains = np.random.default_rng(0).uniform(size=(6, 190))
        >>> subjects = {str(k): a + m for k, m in enumerate(brains)}
        >>> found = js.compare_models({"a": a, "b": b}, subjects, "pearson", over="subjects")
        >>> [label.get_text() for label in model_scores(found).axes[0].get_yticklabels()]
        ['a', 'b']
    """
    expect(found, (ModelComparison,), "model_scores", "js.compare_models(models, subjects) makes one")
    names = [name for name, _ in found.ranking()]
    order = [found.names.index(name) for name in names]
    lines = _alike(np.asarray(found.p_adjusted)[order][:, order])
    lines = lines if len(lines) <= MOST_LINES else []
    figure, axes = labeled_rows(names, 3.6, right=0.45 + 0.09 * len(lines), above=0.42, ax=ax)
    rows = np.arange(len(order))
    _draw_ceiling(axes, found)
    low, high, estimate = (np.asarray(v, float)[order] for v in (found.low, found.high, found.estimate))
    scores = np.asarray(found.scores, float)[order]
    if len(found.subjects) > 1:
        where = np.repeat(rows, len(found.subjects))
        axes.plot(scores.ravel(), where, "|", color=GRAY, markersize=5, markeredgewidth=0.7, zorder=2)
    axes.hlines(rows, low, high, color=COLORS[0], linewidth=1.8, alpha=0.6, zorder=3)
    above = np.asarray(found.p_zero)[order] < LEVEL
    for some, fill in ((above, COLORS[0]), (~above, "white")):
        axes.plot(estimate[some], rows[some], "o", color=COLORS[0], markerfacecolor=fill, markersize=4.5, zorder=4)
    across = axes.get_yaxis_transform()
    below = np.asarray(found.estimate) < np.asarray(found.ceiling)[0]
    for row in rows[(below & (np.asarray(found.p_ceiling) < LEVEL))[order]]:
        axes.text(
            1.03, row, "\N{MULTIPLICATION SIGN}", transform=across, va="center", ha="center", color=INK, fontsize=8
        )
    for k, members in enumerate(lines):
        x = 1.07 + 0.025 * k
        axes.plot([x, x], [members[0], members[-1]], transform=across, color=INK, linewidth=0.5, clip_on=False)
        for run in np.split(np.asarray(members), np.flatnonzero(np.diff(members) > 1) + 1):
            ends = [run[0] - 0.25, run[-1] + 0.25]
            axes.plot([x, x], ends, transform=across, color=INK, linewidth=1.6, clip_on=False)
    limits = axes.get_xlim()
    if limits[0] < 0 < limits[1]:
        axes.axvline(0, color=GRAY, linewidth=0.6, zorder=0)
    text = found.title if title is None else title
    axes.set_title(wrapped(text, 4.4), fontsize=8, loc="left", color=INK, parse_math=False)
    axes.set_xlabel(_caption(found, bool(lines)), fontsize=7, color=INK, parse_math=False)
    return figure


def _draw_ceiling(axes: "Axes", found: ModelComparison) -> None:
    lower, upper = np.asarray(found.ceiling, float)
    outer = float(np.asarray(found.ceiling_low)[0]), float(np.asarray(found.ceiling_high)[1])
    if np.isfinite([lower, upper]).all():
        axes.axvspan(lower, upper, color="0.8", linewidth=0, zorder=1)
    if np.isfinite(outer).all():
        axes.axvspan(*outer, facecolor="none", edgecolor="0.8", hatch="////", linewidth=0, zorder=0.5)


def _alike(p: np.ndarray) -> list[tuple[int, ...]]:
    """Rows of each maximal set of models that do not differ from each other; NaN counts as no difference.

    Any two models that do not differ share a set. If there are many sets, only a few more than `MOST_LINES` are found.
    """
    found = [frozenset(range(len(p)))]
    for first, second in np.argwhere(np.triu(p < LEVEL, 1)):
        pair = {first, second}
        split = [part for one in found for part in ((one - {first}, one - {second}) if pair <= one else (one,))]
        found = [one for one in dict.fromkeys(split) if not any(one < other for other in split)]
        if len(found) > 20 * MOST_LINES:
            break
    return sorted(tuple(sorted(map(int, one))) for one in found if len(one) > 1)


def _caption(found: ModelComparison, lines: bool) -> str:
    measure = measures.title_of(found.provenance.measure) or "score"
    squared = " squared" * found.squared
    text = [
        f"{measure}{squared}, mean over {len(found.subjects)} subjects (ticks)",
        f"{100 * found.level:g} % intervals for {WORDS[found.over]}; band: noise ceiling and its interval",
        f"filled: above zero; \N{MULTIPLICATION SIGN}: below the lower ceiling; test {found.test}, p < .05",
        "thick lines join models that do not differ, adjusted for all pairs" if lines else "",
    ]
    return "\n".join(one for one in text if one)
