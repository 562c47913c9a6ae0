"""Experiments on the number and choice of pictures: stability of rankings, spread over subsets, another world."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from jaxsim import engine, evaluation, measures, resampling, schemes
from jaxsim.results import Affinity
from jaxsim.statistics.checks import as_key
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Outcome, Setting

COUNTS = (50, 100, 200, 300, 400, 500)
DRAWS = 10
SUBSET = 200
SUBSET_PAPER = {
    "dds-cosine": ("0.722 +- 0.049", "0.525 +- 0.057"),
    "dds-laplacian": ("0.765 +- 0.038", "0.578 +- 0.050"),
}
"""Table 4 of DDS 2020: pictures of the target's dataset (Pascal VOC) and of another (Taskonomy)."""


class Count(NamedTuple):
    """A row of the table of `images`: correlation of rankings by n pictures with those by other pictures."""

    pictures: int
    mean_correlation: float
    lowest_draw: float
    lowest_task: float
    draws: int


class Subsets(NamedTuple):
    """A row of the table of `subsets`: correlation with transfer over subsets of one world's pictures."""

    measure: str
    pictures: str
    paper: str
    mean: float
    standard_deviation: float


def images(setting: Setting) -> Outcome:
    """Compare similarity rankings from n pictures with those from other pictures (RSA 2019, supplement S3.3).

    The paper's reference contains the n pictures; here the two sets are disjoint, which is harder.

    Raises:
        ValueError: the setting has no reference.
    """
    if setting.reference is None:
        raise ValueError("images needs codes of other pictures: a setting with a reference.")
    code, reference = setting.code, engine.affinity(setting.ordered(setting.reference), measures.RSA)
    most, rows = len(next(iter(code.values()))), []
    for n in [n for n in COUNTS if n < most] + [most]:
        correlations = np.array([_rankings(draw, reference.values) for draw in _subsets(code, n, most, setting)])
        each = correlations.mean(1)
        rows.append(Count(n, float(each.mean()), float(each.min()), float(correlations.min()), len(each)))
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
        header=Count._fields,
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


def subsets(setting: Setting) -> Outcome:
    """Compare agreement with transfer over subsets of pictures of the same and of another world (DDS 2020, table 4).

    The spread over subsets is the paper's number; it is not a standard error. The diagonal is left out, as the paper's
    target is not a source.

    Raises:
        ValueError: the setting has no codes of another world.
    """
    if setting.elsewhere is None:
        raise ValueError("subsets needs codes of pictures of another world.")
    functions = {"dds-cosine": measures.DDS_COSINE, "dds-laplacian": measures.DDS_LAPLACIAN}
    worlds = {"same world": setting.code, "another world": setting.ordered(setting.elsewhere)}
    draws, rows, size = (10 if setting.quick else 100), [], 0
    for place, (where, code) in enumerate(worlds.items()):
        available = len(next(iter(code.values())))
        size = SUBSET if available > SUBSET else available // 2
        found = resampling.resample(
            code,
            list(functions.values()),
            schemes.Subsample(size=size),
            n_resamples=draws,
            key=jax.random.fold_in(as_key(setting.seed), place),
            estimate=False,
        )
        for name, one in zip(functions, found, strict=True):
            scores = [_mean_agreement(draw, one.names, setting) for draw in np.asarray(one.values)]
            mean, deviation = float(np.mean(scores)), float(np.std(scores, ddof=1))
            rows.append(Subsets(name, where, SUBSET_PAPER[name][place], mean, deviation))
    means, shown = {(row.measure, row.pictures): row.mean for row in rows}, sorted(rows)
    here = "; ".join(f"{r.measure} {r.pictures} {r.mean:.2f} +- {r.standard_deviation:.2f}" for r in shown)
    return Outcome(
        source="DDS 2020, table 4",
        claim="Pictures of the world that transfer was measured in predict it better than pictures of another world.",
        criterion="higher mean correlation over subsets for both measures",
        paper="target's pictures .72 +- .05 (cosine), .77 +- .04 (Laplacian); others .53 +- .06, .58 +- .05",
        here=f"{here} ({draws} subsets of {size})",
        holds=all(means[name, "same world"] > means[name, "another world"] for name in functions),
        header=Subsets._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [f"{measures.title_of(row.measure)}: {row.pictures}" for row in shown],
            {"mean and standard deviation over subsets": [row.mean for row in shown]},
            "mean correlation with transfer, without self",
            spans=[(row.mean - row.standard_deviation, row.mean + row.standard_deviation) for row in shown],
        ),
    )


def _mean_agreement(values, names, setting) -> float:
    return rankings.agreement(Affinity.from_array(values, names, measure="dds"), setting, diagonal=False).mean
