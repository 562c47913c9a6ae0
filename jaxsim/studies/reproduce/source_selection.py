"""Choosing a source: is the one that RSA ranks first among the truly best?"""

import functools
from typing import NamedTuple

import numpy as np

from jaxsim import engine, measures
from jaxsim.io.files import finite
from jaxsim.studies.reproduce import figures, statistics
from jaxsim.studies.reproduce.outcomes import Outcome
from jaxsim.studies.reproduce.settings import Setting

PAPER = {1: 7, 3: 14, 5: 16}
"""How many first choices are among the best 1, 3 and 5, of 17 targets."""


class Choice(NamedTuple):
    """A row of the table: the source that RSA ranks first for a target, and its rank by transfer; 1 is the best."""

    target: str
    chosen: str
    true_rank: int
    best: str
    reliability: float | None


def selection(setting: Setting) -> Outcome:
    """True rank of the source that RSA ranks first, for every target (RSA 2019, table 1).

    The p value is of relabeling the networks of the RSA matrix, rows and columns together.
    """
    affinity, truth = engine.affinity(setting.code, measures.RSA), setting.truth.matrix()
    values = np.asarray(affinity.values, dtype=float)
    columns = np.array([affinity.names.index(name) for name in truth.targets])
    chosen, ranks = _picks(values, truth.values, columns)
    hits = {k: int(np.sum(ranks <= k)) for k in PAPER}
    orders = statistics.relabelings(setting, len(values))
    null = np.array([np.sum(_picks(values[np.ix_(o, o)], truth.values, columns)[1] <= 5) for o in orders])
    p, count = statistics.p_value(hits[5], null), len(columns)
    reliability = np.asarray(setting.truth.reliability, dtype=float)
    rows = [
        Choice(target, affinity.names[chosen[t]], int(ranks[t]), _best(truth, t), finite(float(reliability[t])))
        for t, target in enumerate(truth.targets)
    ]
    shown = sorted(rows, key=lambda row: row.true_rank)
    return Outcome(
        name="selection",
        source="RSA 2019, table 1",
        claim="For most targets the source that RSA ranks first is among the five that transfer best.",
        criterion="in the top five for more than half of the targets and above chance, permutation p < "
        f"{statistics.LEVEL}",
        paper="top 1 / 3 / 5: 7, 14, 16 of 17",
        here=f"top 1 / 3 / 5: {hits[1]}, {hits[3]}, {hits[5]} of {count} (top 5 by chance {null.mean():.1f}, p = "
        f"{p:.3g})",
        holds=bool(hits[5] > count / 2 and p < statistics.LEVEL),
        header=Choice._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [row.target for row in shown],
            {"source ranked first by RSA": [row.true_rank for row in shown]},
            "its rank by measured transfer (1 is best)",
            marks=(5.5,),
        ),
    )


def _picks(scores: np.ndarray, truth: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every target the place of the best-scored other network, and its rank in the truth."""
    scores, truth = scores[:, columns].copy(), truth.copy()
    targets = np.arange(len(columns))
    scores[columns, targets] = truth[columns, targets] = -np.inf
    chosen = np.argmax(scores, axis=0)
    return chosen, 1 + np.sum(truth > truth[chosen, targets], axis=0)


def _best(truth, t: int) -> str:
    return truth.ranking(truth.targets[t])[0][0]
