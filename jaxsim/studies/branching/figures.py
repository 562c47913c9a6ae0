"""Figure of the Pascal experiment."""

from typing import TYPE_CHECKING

import numpy as np

from jaxsim.plotting.canvas import INK, bare, colors_of, new_figure, place
from jaxsim.studies.branching.initializations import Transfer
from jaxsim.studies.rooms.tasks import TASKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, GAP, ABOVE = 3.4, 0.8, 0.3


def scatter(found: Transfer) -> "Figure":
    """Metric after fine-tuning over similarity with the small network, a panel a measure, a point an initialization.

    Points have the colors of the tasks' groups where these are known. The better is higher: axes of errors are turned.
    """
    groups = [TASKS[name].group if name in TASKS else "" for name in found.names]
    shades = colors_of(groups)
    count = len(found.scores)
    figure = new_figure(GAP + count * (SIDE + GAP), 0.55 + SIDE + ABOVE)
    for i, (label, scores) in enumerate(found.scores.items()):
        axes = place(figure, GAP + i * (SIDE + GAP), 0.55, SIDE, SIDE)
        for group, shade in shades.items():
            some = np.array([one == group for one in groups])
            axes.scatter(scores[some], found.mean[some], s=18, color=shade, label=group or None)
        middle = (np.min(scores) + np.max(scores)) / 2
        for name, x, y in zip(found.names, scores, found.mean, strict=True):
            side, away = ("left", 4) if x <= middle else ("right", -4)
            how = {"textcoords": "offset points", "ha": side, "va": "center", "parse_math": False}
            axes.annotate(name, (x, y), (away, 0), fontsize=6, color=INK, **how)
        spearman, _, p = found.correlation(label)
        axes.set_title(f"rank correlation {spearman:.2f} (p = {p:.3g})", fontsize=9, loc="left", color=INK)
        axes.set_xlabel(f"{label} with the small network", fontsize=9, color=INK)
        axes.set_ylabel(found.task.kind.label, fontsize=9, color=INK)
        axes.tick_params(labelsize=8, colors=INK)
        if not found.task.kind.higher:
            axes.invert_yaxis()
        bare(axes, keep=("bottom", "left"))
        if i == 0 and any(groups):
            axes.legend(fontsize=7, frameon=False, labelcolor=INK, loc="best")
    return figure
