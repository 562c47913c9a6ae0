"""Experiments on measures: the grid of duality diagrams, and the comparison of methods."""

import functools
import warnings
from typing import NamedTuple

import jax
import numpy as np

from jaxsim import engine, evaluation, measures, pairwise, resampling, schemes, transforms
from jaxsim.io.files import finite
from jaxsim.results import Affinity
from jaxsim.statistics.checks import as_key
from jaxsim.studies.reproduce import figures, predictors, rankings
from jaxsim.studies.reproduce.settings import Outcome, Setting
from jaxsim.studies.reproduce.timings import timed

TRANSFORMS = {
    "identity": transforms.identity,
    "centering": transforms.center,
    "z-score": transforms.zscore,
    "group norm": transforms.group_norm,
    "instance norm": transforms.instance_norm,
    "layer norm": transforms.layer_norm,
    "batch norm": transforms.batch_norm,
}
FUNCTIONS = {
    "rbf": pairwise.rbf,
    "laplacian": pairwise.laplacian,
    "linear": pairwise.linear,
    "correlation": pairwise.correlation,
    "euclidean": pairwise.euclidean,
    "cosine": pairwise.cosine,
}
GRID_NOTEBOOK = np.array(
    [
        [0.815, 0.815, 0.842, 0.805, 0.843, 0.799, 0.851],
        [0.819, 0.819, 0.860, 0.821, 0.839, 0.815, 0.854],
        [0.639, 0.639, 0.839, 0.838, 0.851, 0.832, 0.734],
        [0.832, 0.749, 0.860, 0.838, 0.853, 0.832, 0.862],
        [0.694, 0.694, 0.846, 0.825, 0.850, 0.824, 0.811],
        [0.750, 0.740, 0.862, 0.838, 0.853, 0.832, 0.852],
    ]
).T
"""Correlation with Taskonomy's affinity from the notebook released with DDS 2020, not printed in the paper; rows and
columns as above."""
GRID_PRINTED = np.array(
    [
        [0.800, 0.815, 0.632, 0.823, 0.688, 0.742],
        [np.nan] * 6,
        [0.841, 0.860, 0.842, 0.856, 0.850, 0.864],
        [0.790, 0.813, 0.829, 0.829, 0.814, 0.829],
        [0.838, 0.835, 0.849, 0.850, 0.847, 0.850],
        [0.786, 0.806, 0.823, 0.823, 0.813, 0.823],
        [0.840, 0.852, 0.729, 0.857, 0.807, 0.850],
    ]
)
"""Correlation with Taskonomy's win rate as DDS 2020, Table 2 prints it, which has no row for centering."""
METHODS = predictors.MEASURES


class Cell(NamedTuple):
    """A row of the table of `grid`: mean correlation with transfer."""

    transform: str
    function: str
    printed: float | None
    notebook: float
    with_self: float
    without_self: float


class Method(NamedTuple):
    """A row of the table of `methods`: mean correlation with transfer, its interval and p value without self."""

    method: str
    paper: float | None
    with_self: float
    without_self: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    seconds: float | None = None


def grid(setting: Setting) -> Outcome:
    """Compare agreement with transfer of every transform and pairwise function (DDS 2020, table 2)."""
    cells = [(t, f) for t in TRANSFORMS for f in FUNCTIONS]
    code = setting.code
    rows_of = [[measures.dds(t, f) for f in FUNCTIONS.values()] for t in TRANSFORMS.values()]
    found = [one for wanted in rows_of for one in engine.affinity(code, wanted)]
    shape = (len(TRANSFORMS), len(FUNCTIONS))
    scores = {
        diagonal: np.array([rankings.agreement(a, setting, diagonal=diagonal).mean for a in found]).reshape(shape)
        for diagonal in (True, False)
    }
    rows = [
        Cell(
            t,
            f,
            finite(float(GRID_PRINTED[k])),
            float(GRID_NOTEBOOK[k]),
            float(scores[True][k]),
            float(scores[False][k]),
        )
        for k, (t, f) in zip(np.ndindex(shape), cells, strict=True)
    ]
    names = list(TRANSFORMS)
    plain, scored = names.index("identity"), names.index("z-score")
    gains = scores[True][scored] - scores[True][plain]
    raised, gain = int(np.sum(gains > 0)), float(np.mean(gains))
    first = rows[int(np.argmax(scores[True]))]
    alike = evaluation.spearman(scores[True].ravel(), GRID_NOTEBOOK.ravel())
    printed, released = (float(np.mean(g[scored] - g[plain])) for g in (GRID_PRINTED, GRID_NOTEBOOK))
    return Outcome(
        source="DDS 2020, table 2",
        claim="Z-scoring the features raises the agreement with transfer, whatever the pairwise function.",
        criterion="self included: higher than with the identity for every function",
        paper=f"higher for 6 of 6, by {printed:.3f} on average; best z-score with cosine, "
        f"{np.nanmax(GRID_PRINTED):.3f} (released notebook: {released:.3f}, {GRID_NOTEBOOK.max():.3f})",
        here=f"higher for {raised} of {len(FUNCTIONS)}, by {gain:+.3f} on average; best {first.transform} with "
        f"{first.function}, {first.with_self:.3f}; rank correlation of all cells with the released "
        f"notebook's {alike:.2f}",
        holds=raised == len(FUNCTIONS),
        header=Cell._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.cells,
            scores[True],
            {"transform": names},
            {"pairwise function": list(FUNCTIONS)},
            "mean correlation with transfer, with self",
        ),
    )


def methods(setting: Setting) -> Outcome:
    """Compare DDS, RSA, CKA and chance (DDS 2020, table 3).

    Seconds are for one compiled call on all networks' features in memory. The interval is for the correlation without
    the diagonal, over pictures and targets. The p values are from relabeling the networks: one per measure, and one for
    the best measure, whose null distribution is the highest correlation in each relabeling.
    """
    code, names = setting.code, list(METHODS)
    calls = [functools.partial(engine.affinity, code, measure) for measure, _ in METHODS.values()]
    found, seconds = zip(*map(timed, calls), strict=True)
    with_self, without = (
        [rankings.agreement(a, setting, diagonal=diagonal) for a in found] for diagonal in (True, False)
    )
    observed, null = rankings.relabeled_means(found, setting)
    spans = _intervals(code, setting)
    rows = [
        Method(
            name,
            METHODS[name][1],
            with_self[i].mean,
            without[i].mean,
            *spans[i],
            p=rankings.p_value(observed[i], null[:, i]),
            seconds=seconds[i],
        )
        for i, name in enumerate(names)
    ]
    rows.append(Method("random", None, *_random(setting, found[0].names)))
    p_best = rankings.p_value(observed.max(), null.max(1))
    score = {row.method: row.with_self for row in rows}
    gains = np.asarray(without[0].per_target) - np.asarray(without[names.index("RSA")].per_target)
    ahead, low, high = rankings.over_tasks(gains, setting)
    span = "" if low is None else f" ({low:+.3f} to {high:+.3f} over targets)"
    ours = [name for name in score if name.startswith("DDS")]
    ahead_of_all = min(score[name] for name in ours) > max(score[name] for name in score if name not in ours)
    return Outcome(
        source="DDS 2020, table 3",
        claim="DDS predicts transfer better than RSA, CKA and chance.",
        criterion="self included, both DDS measures correlate more than each of the others, and the best measure's "
        f"permutation p < {rankings.LEVEL}",
        paper=", ".join(f"{name} {value:.3f}" for name, (_, value) in METHODS.items()) + " (CKA in table 2)",
        here=", ".join(f"{name} {value:.3f}" for name, value in score.items())
        + f"; p of the best of {len(names)} = {p_best:.3g}; DDS Laplacian less RSA without self {ahead:+.3f}{span}",
        holds=bool(ahead_of_all and p_best < rankings.LEVEL),
        header=Method._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [row.method for row in rows],
            {
                "with self": [row.with_self for row in rows],
                "without self": [row.without_self for row in rows],
                "paper, with self": [np.nan if row.paper is None else row.paper for row in rows],
            },
            "mean correlation with transfer; lines: 95 % without self,\nover pictures and targets",
            spans=[(row.low, row.high) for row in rows],
        ),
    )


def _intervals(code, setting):
    """95 % interval of every measure's agreement without the diagonal, over pictures and targets."""
    first, second = jax.random.split(as_key(setting.seed))
    wanted = [measure for measure, _ in METHODS.values()]
    count = 50 if setting.quick else 200
    made = resampling.resample(code, wanted, schemes.Bootstrap(), n_resamples=count, key=first)
    truth = setting.truth.matrix()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The correlation is undefined")
        found = [evaluation.agreement_intervals(r, truth, diagonal=False, key=second, subset=True) for r in made]
    return [tuple(float(v) for v in np.asarray(one.interval)[2]) for one in found]


def _random(setting, names):
    """Mean agreement, with and without the diagonal, of random symmetric similarities with the diagonal highest."""
    rng, draws = np.random.default_rng(setting.seed), []
    for _ in range(20 if setting.quick else 200):
        values = rng.uniform(size=(len(names),) * 2)
        values = (values + values.T) / 2
        np.fill_diagonal(values, 1.0)
        made = Affinity.from_array(values, names, measure="random")
        draws.append([rankings.agreement(made, setting, diagonal=d).mean for d in (True, False)])
    return tuple(float(v) for v in np.mean(draws, 0))
