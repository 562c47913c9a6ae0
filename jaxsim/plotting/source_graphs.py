"""Graphs of the selected sources and the targets that they serve."""

from typing import TYPE_CHECKING

import numpy as np

from jaxsim import measures
from jaxsim.plotting.canvas import COLORS, EDGE, INK, expect, new_figure, place, shown, text_width
from jaxsim.results import plots
from jaxsim.taxonomy import SourceChoice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS, FONT = 2.2, 8
"""Inches between sources and targets, and font size of their names in points."""


@plots(SourceChoice)
def source_graph(choice: SourceChoice, *, title: str | None = None) -> "Figure":
    """Draw which of the selected sources serves each target.

    Sources are on the left, targets on the right. A target served by several sources together has a line from each. The
    higher a target's score is among all, the wider its lines.

    Args:
        choice: the sources and their targets.
        title: text above; the measure and the number of sources by default.

    Raises:
        TypeError: `choice` is not a `SourceChoice`.
        ImportError: matplotlib is not installed.
        ImportError: matplotlib is not installed.

    Example:
        >>> import jaxsim as js
        >>> from jaxsim.taxonomy import choose_sources
        >>> scores = js.Affinity.from_array([[1, 0.5], [0.4, 1]], ("edges", "depth"), measure="gain")
        >>> len(source_graph(choose_sources(scores, 1)).axes[0].lines)
        2
    """
    expect(choice, (SourceChoice,), "source_graph", "js.taxonomy.choose_sources(transfers, budget) makes one")
    scores = np.asarray(choice.scores, float)
    left, right = sorted(choice.sources), list(choice.targets)
    # targets next to their source, so that fewer lines cross
    order = sorted(range(len(right)), key=lambda t: (min(map(left.index, choice.used[t])), -scores[t]))
    height = 0.19 * max(len(left), len(right), 2)
    margins = [text_width(shown(names), FONT) + 0.12 + EDGE for names in (left, right)]
    default = f"{measures.title_of(choice.measure)}: {len(left)} sources for {len(right)} targets"
    title = default if title is None else title
    figure = new_figure(max(sum(margins) + ACROSS, text_width([title], 9) + 2 * EDGE), height + 0.35 + EDGE)
    axes = place(figure, margins[0], EDGE, ACROSS, height)
    from_top, to_top = (np.linspace(0, 1, 2 * len(names) + 1)[1::2] for names in (left, right))
    spread = np.ptp(scores)
    for y, t in zip(to_top, order, strict=True):
        width = 0.8 + 2.2 * ((scores[t] - scores.min()) / spread if spread > 0 else 1)
        for name in choice.used[t]:
            k = left.index(name)
            axes.plot([0, 1], [from_top[k], y], color=COLORS[k % len(COLORS)], linewidth=width, solid_capstyle="round")
    for x, places, names, side in ((-0.03, from_top, left, "right"), (1.03, to_top, [right[t] for t in order], "left")):
        for y, name in zip(places, shown(names), strict=True):
            axes.text(x, y, name, ha=side, va="center", fontsize=FONT, color=INK, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.set_axis_off()
    figure.text(EDGE / figure.get_figwidth(), 1 - 0.08 / figure.get_figheight(), title, fontsize=9, va="top", color=INK)
    return figure
