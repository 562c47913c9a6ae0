"""Experiment on the comparator of two maps in DDS."""

import functools
from typing import NamedTuple

import numpy as np

from jaxsim import compare, engine
from jaxsim.measures import Measure
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.measure_comparison import FUNCTIONS, TRANSFORMS
from jaxsim.studies.reproduce.settings import Outcome, Setting

CELLS = ("identity", "z-score")
COMPARATORS = {"unbiased cosine": compare.u_centered_cosine, "pearson": compare.pearson, "spearman": compare.spearman}


class Cell(NamedTuple):
    """A row of the table of `comparators`: mean correlation with transfer."""

    transform: str
    function: str
    comparator: str
    with_self: float
    without_self: float


def comparators(setting: Setting) -> Outcome:
    """Compare Pearson and Spearman with the unbiased cosine as the comparator g of DDS (DDS 2020, section 4).

    The paper gives these numbers only in its supplement.
    """
    rows = []
    for transform in CELLS:
        wanted = [(f, g) for f in FUNCTIONS for g in COMPARATORS]
        made = engine.affinity(
            setting.code, [Measure(TRANSFORMS[transform], FUNCTIONS[f], COMPARATORS[g]) for f, g in wanted]
        )
        for (f, g), one in zip(wanted, made, strict=True):
            scores = [rankings.agreement(one, setting, diagonal=diagonal).mean for diagonal in (True, False)]
            rows.append(Cell(transform, f, g, *scores))
    shape = (len(CELLS) * len(FUNCTIONS), len(COMPARATORS))
    scores = np.array([row.with_self for row in rows]).reshape(shape)
    means, best = dict(zip(COMPARATORS, scores.mean(0), strict=True)), np.argmax(scores, 1)
    wins = {name: int(np.sum(best == i)) for i, name in enumerate(COMPARATORS)}
    return Outcome(
        source="DDS 2020, section 4 (its numbers are in the supplement)",
        claim="The unbiased cosine predicts transfer no worse than Pearson or Spearman correlation of the same maps.",
        criterion="self included: its mean over twelve cells is at most .01 below that of each of the others",
        paper="no numbers in the text",
        here="; ".join(f"{name} {means[name]:.3f}, best in {wins[name]} of {shape[0]}" for name in COMPARATORS),
        holds=bool(means["unbiased cosine"] >= max(means.values()) - 0.01),
        header=Cell._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.cells,
            scores,
            {"transform and function": [f"{t}, {f}" for t in CELLS for f in FUNCTIONS]},
            {"comparator": list(COMPARATORS)},
            "mean correlation with transfer, with self",
        ),
    )
