"""Curves of errors against the number of images, and of precision and recall."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import measures
from jaxsim.evaluation import Agreement
from jaxsim.plotting.canvas import (
    BELOW,
    EDGE,
    GRAY,
    INK,
    bare,
    expect,
    legend,
    new_figure,
    place,
    style_of,
)
from jaxsim.results import VarianceStudy, on_host, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _SIDE, _LEFT = 2, 2.4, 0.6
_WIDTH, _HEIGHT, _BETWEEN, _ABOVE = 2.3, 1.9, 0.95, 0.6


@plots(VarianceStudy)
def variance_curves(study: VarianceStudy, *, error: float | None = None, stability: float | None = None) -> "Figure":
    """Draw error, bias and rank stability against the number of images, one line per scheme.

    Lines are medians over pairs of networks, or over targets; bands run from the 10th to the 90th percentile. The gray
    line falls as `1/sqrt(n)` to the last size of the first scheme. Target values are dashed.

    Args:
        study: a record from `js.variance_study`.
        error: target standard error.
        stability: target rank stability.

    Raises:
        TypeError: `study` is not such a record.
        ImportError: matplotlib is not installed.

    Example:
        >>> import jaxsim as js
        >>> V = js.variance_study(js.demo.features(), "cka", schemes="half-samples", n_resamples=40)
        >>> [axes.get_ylabel() for axes in variance_curves(V).axes]
        ['standard error', 'bias', 'rank stability']
    """
    expect(study, (VarianceStudy,), "variance_curves", "js.variance_study makes one")
    errors, biases = (on_host(v)[:, :, -1][..., ~study.own].astype(float) for v in (study.error, study.bias))
    panels = [("standard error", errors, error), ("bias", biases, None)]
    stabilities = on_host(study.stability)[:, :, -1].astype(float)
    if stability is not None or not np.isnan(stabilities).all():  # two sources or fewer have no ranking
        panels.append(("rank stability", stabilities, stability))
    left = 0.62
    width = left + len(panels) * (_WIDTH + _BETWEEN) - _BETWEEN + EDGE
    figure = new_figure(width, BELOW - 0.2 + _HEIGHT + _ABOVE)
    drawn = []
    for k, (label, values, wanted) in enumerate(panels):
        axes = place(figure, left + k * (_WIDTH + _BETWEEN), BELOW - 0.2, _WIDTH, _HEIGHT)
        _panel(axes, study, label, values, wanted)
        drawn.append(axes)
    _logarithmic(drawn[0], study, errors)
    drawn[1].axhline(0, color=GRAY, linewidth=0.8, zorder=0)
    legend(drawn[0], study.kinds, columns=len(study.kinds))
    title = (
        f"{measures.title_of(study.provenance.measure)}: {len(study.names)} × {len(study.targets)} networks, "
        f"{study.counts[-1]} resamples of {study.images} images"
    )
    title += "" if study.groups is None else f" in {study.groups} groups"
    up = BELOW - 0.2 + _HEIGHT + _ABOVE
    figure.text(left / width, 1 - 0.25 / up, title, fontsize=9, color=INK, parse_math=False)
    return figure


def _panel(axes: "Axes", study: VarianceStudy, label: str, values: np.ndarray, wanted: float | None) -> None:
    """Medians and bands of one quantity `(K, L, entries)`."""
    for k in range(len(study.kinds)):
        known = values[k][:, ~np.isnan(values[k]).any(0)]
        if known.size:
            low, middle, high = np.quantile(known, (0.1, 0.5, 0.9), axis=1)
            style = style_of(k)
            axes.fill_between(study.sizes, low, high, color=style["color"], alpha=0.1, linewidth=0)
            axes.plot(study.sizes, middle, markersize=4, linewidth=1.2, **style)
    if wanted is not None:
        axes.axhline(wanted, color=INK, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.set_xticks(study.sizes, [str(m) for m in study.sizes])
    axes.minorticks_off()
    axes.tick_params(labelsize=8, colors=INK)
    axes.set_xlabel(f"number of {study.what}", fontsize=8, color=INK)
    axes.set_ylabel(label, fontsize=8, color=INK)
    bare(axes, keep=("left", "bottom"))


def _logarithmic(axes: "Axes", study: VarianceStudy, errors: np.ndarray) -> None:
    """Logarithmic errors, with the line that 1/sqrt(n) gives."""
    known = errors[0][:, ~np.isnan(errors[0]).any(0)]
    if not known.size or not (known > 0).all():
        return
    m = np.asarray(study.sizes, float)
    level = float(np.median(known[-1])) * np.sqrt(m[-1])
    axes.plot(m, level / np.sqrt(m), color=GRAY, linewidth=0.8, zorder=0)
    start, below = (m[0], level / np.sqrt(m[0])), (0, -10)  # the line falls, and would cross the text
    axes.annotate("1/√n", start, below, textcoords="offset points", fontsize=7, color=GRAY, ha="left", va="top")
    axes.set_yscale("log")
    from matplotlib.ticker import LogLocator, ScalarFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(LogLocator(subs=()))


def precision_recall(agreements: "Mapping[str, Agreement]") -> "Figure":
    """Draw precision and recall of the first k predicted sources, and one against the other.

    The dashed line is the precision of a random order. The left panel is as in Song et al. 2019.

    Args:
        agreements: agreement of each measure by its label.

    Raises:
        TypeError: it is not such a dict.
        ValueError: there is no agreement, or one has no target with more candidates than relevant sources.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from jaxsim.evaluation import evaluate
        >>> names = list("abcdefgh")
        >>> truth = pd.DataFrame(np.eye(8) - 0.1 * np.arange(8)[:, None], names, names)
        >>> figure = precision_recall({"itself": evaluate(truth, truth, diagonal=False)})
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['first k sources', 'first k sources', 'recall']
    """
    instead = "give {'label': js.evaluate(affinity, truth, diagonal=False)}"
    expect(agreements, (Mapping,), "precision_recall", instead)
    if not agreements:
        raise ValueError("agreements is empty: there is no agreement to draw.")
    for label, one in agreements.items():
        expect(one, (Agreement,), "precision_recall", instead)
        if not np.isfinite(one.precision_at_k).any():
            raise ValueError(
                f"{label} has no curves: no target has more than {one.relevant} sources besides itself; evaluate with "
                "fewer relevant ones."
            )
    above = 0.15 + 0.2 * -(-len(agreements) // _COLUMNS)
    figure = new_figure(3 * (_LEFT + _SIDE) + 0.15, BELOW + _SIDE + above)
    panels = [place(figure, _LEFT + i * (_LEFT + _SIDE), BELOW, _SIDE, _SIDE) for i in range(3)]
    for i, one in enumerate(agreements.values()):
        precision, recall = one.precision_at_k, one.recall_at_k
        k = np.arange(1, len(precision) + 1)
        for axes, (x, y) in zip(panels, ((k, precision), (k, recall), (recall, precision)), strict=True):
            axes.plot(x, y, markersize=3.5, linewidth=1.2, **style_of(i))
    first = next(iter(agreements.values()))
    panels[0].axhline(first.relevant / len(first.precision_at_k), color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
    titles = (("first k sources", "precision"), ("first k sources", "recall"), ("recall", "precision"))
    for axes, (across, up) in zip(panels, titles, strict=True):
        axes.set_xlabel(across, fontsize=9, color=INK)
        axes.set_ylabel(up, fontsize=9, color=INK)
        axes.set_ylim(0, 1.04)
        axes.tick_params(labelsize=8, colors=INK)
        bare(axes, keep=("bottom", "left"))
    legend(panels[0], list(agreements), columns=_COLUMNS)
    return figure
