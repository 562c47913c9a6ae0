"""Experiment on baselines: predictors of transfer that need no network of the target, and attribution."""

import functools
import warnings
from typing import NamedTuple

import numpy as np

from jaxsim import evaluation
from jaxsim.evaluation.differences import Difference, difference
from jaxsim.io.files import finite
from jaxsim.results import Affinity
from jaxsim.statistics import holm
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.predictors import MEASURES, METHODS, Evidence, Method, halves
from jaxsim.studies.reproduce.settings import Outcome, Setting

TESTED = "DDS, Laplacian"
"""The measure tested against every baseline, chosen beforehand: the one that DDS 2020 recommends."""
ATTRIBUTED, ATTRIBUTED_QUICK = 200, 40
"""Number of pictures for attribution maps."""
MEASURE, PAPERS, OURS = "measure", "paper's baseline", "no target network"
"""Kinds of rows. The last kind is ours, and needs no network that was trained on the target."""


class Baseline(NamedTuple):
    """A row of the table of `baselines`: mean correlation with transfer, and the tested measure's lead over it.

    The interval is over targets; `p` is for the difference, adjusted for all rows by Holm's method.
    """

    method: str
    kind: str
    reads: str
    paper: float | None
    with_self: float | None
    without_self: float | None
    low: float | None = None
    high: float | None = None
    behind: float | None = None
    behind_low: float | None = None
    behind_high: float | None = None
    p: float | None = None


def baselines(setting: Setting) -> Outcome:
    """Compare measures with attribution and with predictors without a target network (DDS 2020, table 3).

    The paper's table has attribution maps and RSA as baselines. Ours need no network that was trained on the target:
    labels, neighbors, network size, mean transfer to other targets, chance. The truth is the transfer on half of the
    held-out images; the tournament reads the other half. Self is left out of tests, whose p values are those of
    `evaluation.differences`.

    Raises:
        ValueError: the setting has no labels or no workshop, whose networks are attributed, or transfer was measured on
            one image.
    """
    evidence = _evidence(setting)
    found = {one.name: np.asarray(one.part.scores(evidence), dtype=np.float64) for one in METHODS}
    with_self, without = ({n: _agreements(m, evidence, d) for n, m in found.items()} for d in (True, False))
    gaps = {
        name: difference(found[TESTED], one, evidence.values, evidence.own, True)
        for name, one in found.items()
        if one.ndim == 2 and name != TESTED and np.isfinite(without[name]).any()
    }
    adjusted = dict(zip(gaps, holm([gap.p for gap in gaps.values()]), strict=True))
    rows = [
        _row(one, with_self[one.name], without[one.name], setting, gaps.get(one.name), adjusted.get(one.name))
        for one in METHODS
    ]
    rows.sort(key=lambda row: -np.inf if row.without_self is None else row.without_self, reverse=True)
    alone = [row for row in rows if row.kind == OURS and row.method in gaps]
    beaten = [row for row in alone if (row.behind or 0) > 0 and _number(row.p) < rankings.LEVEL]
    chance = _chance(found[TESTED], evidence, setting)
    known = {row.method: row for row in rows}
    silent = [row.method for row in rows if row.without_self is None]
    said = f"; no ranking: {', '.join(silent)}" if silent else ""
    return Outcome(
        source="DDS 2020, table 3, and baselines of ours",
        claim="Similarity to a network of the target predicts transfer better than what needs no such network.",
        criterion=f"self left out, {TESTED} agrees more with transfer than every predictor without a target network "
        f"that ranks sources (adjusted p < {rankings.LEVEL}), and than chance (permutation p < {rankings.LEVEL})",
        paper="DDS .860, RSA .777, epsilon-LRP .682, DeepLIFT .681, saliency .605; none without a target network",
        here=f"without self {TESTED} {_number(known[TESTED].without_self):.3f} (p = {chance:.3g} against chance); "
        + ", ".join(f"{row.method} {row.without_self:.3f} (p = {_number(row.p):.3g})" for row in alone)
        + f"; {len(beaten)} of {len(alone)} beaten{said}",
        holds=bool(alone and len(beaten) == len(alone) and chance < rankings.LEVEL),
        header=Baseline._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [f"{row.method}{'' if row.kind == MEASURE else ' *' if row.kind == PAPERS else ' **'}" for row in rows],
            {
                "with self": [row.with_self for row in rows],
                "without self": [row.without_self for row in rows],
                "paper, with self": [row.paper for row in rows],
            },
            "mean correlation with transfer; lines: 95 % without self, over targets\n"
            "* the paper's baseline, ** ours, without a network of the target\n"
            "no points: ranks no source",
            spans=[(row.low, row.high) for row in rows],
        ),
    )


def _number(value: float | None) -> float:
    """A number, or NaN for None."""
    return float("nan") if value is None else value


def _evidence(setting: Setting) -> Evidence:
    """What the methods read."""
    if setting.labels is None or setting.workshop is None:
        raise ValueError("baselines uses labels and networks, so it needs a setting with labels and a workshop.")
    if np.shape(setting.truth.losses)[-1] < 2:
        raise ValueError("baselines needs transfer that was measured on at least two images.")
    affinity, skill, others = halves(setting.truth)
    shop, count = setting.workshop, ATTRIBUTED_QUICK if setting.quick else ATTRIBUTED
    return Evidence(affinity, setting.code, skill, setting.labels, others, shop.bank, shop.shown["rooms"][:count])


def _agreements(predicted: np.ndarray, evidence: Evidence, diagonal: bool) -> np.ndarray:
    """Correlation `(T,)` of each target's column with transfer, averaged over several matrices if there are any."""
    if predicted.ndim == 3:
        return np.mean([_agreements(one, evidence, diagonal) for one in predicted], 0)
    made = Affinity.from_array(predicted, evidence.sources, evidence.targets, measure="predicted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an undefined correlation is empty in the table
        return evaluation.evaluate(made, evidence.truth, diagonal=diagonal).per_target


def _row(
    method: Method,
    whole: np.ndarray,
    without: np.ndarray,
    setting: Setting,
    gap: Difference | None,
    p: float | None,
) -> Baseline:
    """A method's row; unknown numbers are None."""
    papers = method.paper is not None or "encoders" in method.part.needs and "pictures" in method.part.needs
    kind = MEASURE if method.name in MEASURES else PAPERS if papers else OURS
    reads = [*method.part.needs, *(["transfer to other targets"] if not method.fair else [])]
    behind_low, behind_high = (np.nan, np.nan) if gap is None else gap.interval()
    mean, low, high = rankings.over_tasks(without, setting)
    return Baseline(
        method.name,
        kind,
        ", ".join(reads) or "nothing",
        method.paper,
        finite(rankings.over_tasks(whole, setting)[0]),
        finite(mean),
        low,
        high,
        None if gap is None else finite(gap.value),
        finite(float(behind_low)),
        finite(float(behind_high)),
        None if p is None else finite(float(p)),
    )


def _chance(predicted: np.ndarray, evidence: Evidence, setting: Setting) -> float:
    """P value of a prediction against no relation, by relabeling the tasks."""
    made = Affinity.from_array(predicted, evidence.sources, evidence.targets, measure="predicted")
    count = rankings.permutations(setting)
    found = evaluation.evaluate(made, evidence.truth, diagonal=False, relabelings=count, key=setting.seed)
    return 1.0 if found.p is None else found.p
