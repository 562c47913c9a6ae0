"""Experiments on the number of pictures: stability of rankings, and agreement with transfer."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxsim import engine, evaluation, measures, resampling, schemes
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Features, Outcome, Setting

STABILITY_COUNTS = (50, 100, 200, 300, 400, 500)
DRAWS = 10
COUNTS = (10, 25, 50, 100, 200, 300, 400)
ENOUGH, GAIN = 200, 0.01
"""Criterion of `image-count`: pictures beyond `ENOUGH` add less than `GAIN` to the agreement."""


class Stability(NamedTuple):
    """A row of the table of `images`: correlation of rankings by n pictures with those by other pictures."""

    pictures: int
    mean_correlation: float
    lowest_draw: float
    lowest_task: float
    draws: int


class AgreementCount(NamedTuple):
    """A row of the table of `image-count`: agreement with transfer by n pictures."""

    measure: str
    pictures: int
    mean: float
    standard_deviation: float | None
    draws: int


def images(setting: Setting) -> Outcome:
    """Compare similarity rankings from n pictures with those from other pictures (RSA 2019, supplement S3.3).

    The paper's reference contains the n pictures; here the two sets are disjoint, which is harder.

    Raises:
        ValueError: the setting has no reference.
    """
    if setting.reference is None:
        raise ValueError("images needs codes of other pictures; use a setting with a reference.")
    code, reference = setting.code, engine.affinity(setting.ordered(setting.reference), measures.RSA)
    most, rows = len(next(iter(code.values()))), []
    for n in [n for n in STABILITY_COUNTS if n < most] + [most]:
        correlations = np.array([_rankings(draw, reference.values) for draw in _subsets(code, n, most, setting)])
        each = correlations.mean(1)
        rows.append(Stability(n, float(each.mean()), float(each.min()), float(correlations.min()), len(each)))
    enough = [row for row in rows if row.pictures >= 400] or rows[-1:]
    holds = all(row.mean_correlation > 0.99 for row in enough)
    other = len(next(iter(setting.reference.values())))
    return Outcome(
        source="RSA 2019, supplement S3.3",
        claim="From 400 pictures on, similarity rankings hardly depend on the number of pictures.",
        criterion="mean Pearson correlation of the rankings above .99 for every n from 400 on (or at the largest n "
        "there is)",
        paper="> .99 from 400 on, against 2000 pictures that include the n",
        here=", ".join(f"{row.mean_correlation:.3f} at {row.pictures}" for row in rows)
        + f", against {other} other pictures",
        holds=holds,
        header=Stability._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.lines,
            [row.pictures for row in rows],
            {
                "mean over tasks and draws": [row.mean_correlation for row in rows],
                "lowest task of any draw": [row.lowest_task for row in rows],
            },
            "pictures",
            f"correlation with {other} other pictures",
            level=0.99,
        ),
    )


def _subsets(code, n, most, setting):
    """RSA matrices of random sets of n pictures."""
    rng, draws = np.random.default_rng((setting.seed, n)), 3 if setting.quick else DRAWS
    places = [np.sort(rng.permutation(most)[:n]) for _ in range(draws if n < most else 1)]
    drawn = ({name: x[place] for name, x in code.items()} for place in places)
    return [np.asarray(engine.affinity(one, measures.RSA).values) for one in drawn]


def _rankings(mine, theirs) -> list[float]:
    """Pearson correlation of each network's similarities to the others."""
    mine, theirs = np.asarray(mine, dtype=float), np.asarray(theirs, dtype=float)
    others = ~np.eye(len(mine), dtype=bool)
    return [evaluation.pearson(mine[o, t], theirs[o, t]) for t, o in enumerate(others.T)]


def image_count(setting: Setting) -> Outcome:
    """Compare agreement with transfer over growing numbers of pictures (DDS 2020, section 5; supplement S3).

    The supplement's figure is known only by its statement in the text: agreement saturates at around 200 pictures.
    """
    code, functions = setting.code, {"dds-cosine": measures.DDS_COSINE, "dds-laplacian": measures.DDS_LAPLACIAN}
    most = len(next(iter(code.values())))
    rows = [
        row for n in (*(n for n in COUNTS if n < most), most) for row in _counted(code, functions, n, most, setting)
    ]
    at = {(row.measure, row.pictures): row for row in rows}
    enough = max(row.pictures for row in rows if row.pictures <= ENOUGH)
    gains = {name: at[name, most].mean - at[name, enough].mean for name in functions}
    few = rows[0].pictures
    return Outcome(
        source="DDS 2020, section 5 (its figure is in supplement S3)",
        claim=f"Agreement with transfer saturates at around {ENOUGH} pictures.",
        criterion=f"all pictures agree by less than {GAIN} more than {ENOUGH} do, for both measures, self left out",
        paper="saturates at around 200 (no numbers in the text)",
        here="; ".join(
            f"{name} "
            + ", ".join(f"{row.mean:.3f} at {row.pictures}" for row in rows if row.measure == name)
            + f", so {gains[name]:+.3f} from {enough} on and {at[name, enough].mean - at[name, few].mean:+.3f} before"
            for name in functions
        ),
        holds=all(gain < GAIN for gain in gains.values()),
        header=AgreementCount._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.lines,
            [row.pictures for row in rows if row.measure == "dds-cosine"],
            {name: [row.mean for row in rows if row.measure == name] for name in functions},
            "pictures",
            "mean correlation with transfer, without self",
            spans={name: [_spread(row) for row in rows if row.measure == name] for name in functions},
        ),
    )


def _counted(code: Features, functions: Mapping, n: int, most: int, setting: Setting) -> list[AgreementCount]:
    """Rows of both measures for n pictures."""
    draws = (5 if setting.quick else 20) if n < most else 1
    places = [np.sort(np.random.default_rng((setting.seed, n, k)).permutation(most)[:n]) for k in range(draws)]
    made = resampling.resample(
        code, list(functions.values()), schemes.Subsample(indices=np.array(places)), estimate=False
    )
    rows = []
    for name, one in zip(functions, made, strict=True):
        each = [rankings.agreement_of(draw, one.names, setting) for draw in np.asarray(one.values)]
        rows.append(
            AgreementCount(name, n, float(np.mean(each)), float(np.std(each, ddof=1)) if draws > 1 else None, draws)
        )
    return rows


def _spread(row: AgreementCount) -> tuple[float, float]:
    deviation = row.standard_deviation or 0.0
    return row.mean - deviation, row.mean + deviation
