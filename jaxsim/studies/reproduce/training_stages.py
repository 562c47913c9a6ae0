"""Experiment on training stages: how early a network ranks the bank as it does when fully trained."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.model_cache import STAGES
from jaxsim.studies.reproduce.settings import Outcome, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = {0.1: 0.88, 0.5: 0.99, 0.75: 0.99}
"""Correlation with the last ranking by share of the training; from one half on the paper says above .99."""
SETTLED = 0.95
"""Smallest mean correlation of a ranking that counts as settled."""


class Stage(NamedTuple):
    """A row of the table: means over tasks at one stage, with 95 % intervals."""

    share: float
    step: int
    paper: float | None
    correlation: float
    low: float | None
    high: float | None
    lowest_task: str
    lowest: float
    rank_correlation: float
    transfer_rank_correlation: float
    transfer_low: float | None
    transfer_high: float | None
    skill: float | None


def draw_stages(rows: Sequence[Stage]) -> "Figure":
    """Draw the table of `stages`."""
    return figures.lines(
        [f"{100 * row.share:g}" for row in rows],
        {
            "with the last ranking": [row.correlation for row in rows],
            "with transfer (ranks)": [row.transfer_rank_correlation for row in rows],
            "paper, with the last": [row.paper for row in rows],
        },
        "share of the training steps (%)",
        "correlation (mean, 95 % over tasks)",
        spans={
            "with the last ranking": [(row.low, row.high) for row in rows],
            "with transfer (ranks)": [(row.transfer_low, row.transfer_high) for row in rows],
        },
    )


def stages(setting: Setting) -> Outcome:
    """Compare rankings of the bank at stages of training with the last one (RSA 2019, supplement S3.1).

    Networks are trained from scratch, on other pictures and from other weights than the bank's. A task's own network in
    the bank is left out of its ranking. Stage 0 is untrained: agreement there is not learned.

    Raises:
        ValueError: the setting has no workshop.
    """
    shop = rankings.workshop(setting, "stages")
    names = shop.names
    nets = [[shop.made(name, stage=stage) for stage in STAGES] for name in names]
    scores = rankings.similarities(setting.code, [net.code for each in nets for net in each])
    scores = scores.reshape(len(scores), len(names), len(STAGES))
    truth = rankings.transfer(setting, names)
    rows = {}
    for k, stage in enumerate(STAGES):
        last = [rankings.alike(scores[:, t, k], scores[:, t, -1], setting, n) for t, n in enumerate(names)]
        real = [rankings.alike(scores[:, t, k], truth[:, t], setting, n).spearman for t, n in enumerate(names)]
        lowest = int(np.argmin([one.pearson for one in last]))
        skills = [each[k].skill for each in nets]
        skill = None if None in skills else float(np.mean(np.array(skills, dtype=float)))
        same = rankings.over_tasks([one.pearson for one in last], setting)
        ranks = rankings.over_tasks([one.spearman for one in last], setting)[0]
        step, apart = round(stage * shop.recipe.steps), (names[lowest], last[lowest].pearson)
        agreed = rankings.over_tasks(real, setting)
        rows[stage] = Stage(stage, step, PAPER.get(stage), *same, *apart, ranks, *agreed, skill)
    early, late = rows[0.1].correlation, [row.correlation for row in rows.values() if 0.5 <= row.share < 1]
    return Outcome(
        source="RSA 2019, supplement S3.1",
        claim="A network from an early stage of training ranks other networks as the fully trained one does.",
        criterion=f"mean Pearson correlation with the last ranking at least {rankings.ALIKE:g} after a tenth of the "
        f"steps and at least {SETTLED:g} at every stage from one half on",
        paper=".88 after a tenth, above .99 from one half on (one network)",
        here=f"{early:.2f} after a tenth, {late[0]:.2f} after one half, {rows[0.0].correlation:.2f} untrained; rank "
        f"correlation with transfer {rows[0.1].transfer_rank_correlation:.2f} after a tenth, "
        f"{rows[1.0].transfer_rank_correlation:.2f} at the end ({len(names)} tasks)",
        holds=bool(early >= rankings.ALIKE and min(late) >= SETTLED),
        header=Stage._fields,
        rows=tuple(rows.values()),
        draw=functools.partial(draw_stages, tuple(rows.values())),
    )
