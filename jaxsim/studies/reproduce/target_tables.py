"""Experiments on single targets: precision and recall of the selected sources, and correlations with intervals."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import engine, resampling, schemes, statistics
from jaxsim.evaluation import Agreement
from jaxsim.io.files import finite
from jaxsim.results import Affinity
from jaxsim.statistics.checks import as_key
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.predictors import MEASURES
from jaxsim.studies.reproduce.settings import Outcome, Setting

EARLY = 5
"""Number of sources to find, and the largest number of first choices in the criterion of `precision-recall`."""
RIVAL = "RSA"
"""The measure that DDS is compared with, the paper's state of the art."""
MEAN, CHANCE = "mean", "random"
"""Names in tables for the mean over targets and for a random order."""
SHOWN = 10
"""Largest k in the panels of single targets."""
MOST = 0.75
"""Share of targets that counts as almost all."""


class Chosen(NamedTuple):
    """A row of the table of `precision-recall`: how many of a measure's first k sources are among the five best.

    Precision is their share of the k, recall their share of the five; `target` is 'mean' for the mean over targets.
    """

    measure: str
    target: str
    k: int
    precision: float
    recall: float


def precision_recall(setting: Setting) -> Outcome:
    """Compare the first sources that measures choose with the best ones (DDS 2020, section 6.2, supplement S10).

    The target's own network is not a candidate (Song et al. 2019). The p value is from relabeling the networks, for the
    measure that is best in each relabeling.

    Raises:
        ValueError: no target has more than five sources besides its own.
    """
    found = dict(zip(MEASURES, _affinities(setting), strict=True))
    curves = {name: rankings.agreement(one, setting, diagonal=False) for name, one in found.items()}
    if not np.isfinite(next(iter(curves.values())).precision_at_k).any():
        raise ValueError(f"precision-recall needs a target with more than {EARLY} sources besides its own.")
    observed, null = _early_precision(list(found.values()), setting)
    p = rankings.p_value(observed.max(), null.max(1))
    score = dict(zip(found, map(float, observed), strict=True))
    ours = [name for name in score if name.startswith("DDS")]
    ahead = min(score[name] for name in ours) > max(score[name] for name in score if name not in ours)
    rows = [row for name, one in curves.items() for row in _curve(name, one)]
    count = len(next(iter(curves.values())).precision_at_k)
    rows += [Chosen(CHANCE, MEAN, k, EARLY / count, k / count) for k in range(1, count + 1)]
    return Outcome(
        source="DDS 2020, section 6.2 (its figure is in supplement S10)",
        claim="Of the first sources that DDS chooses, more are among the five best than of those of RSA and CKA.",
        criterion=f"mean precision of the first k sources, over k from 1 to {EARLY}: both DDS measures above each of "
        f"the others, and the best measure's permutation p < {rankings.LEVEL}",
        paper="no numbers in the text",
        here=", ".join(f"{name} {value:.3f}" for name, value in score.items())
        + f", {CHANCE} {null.mean():.3f}; p of the best of {len(score)} = {p:.3g}; precision of the first, 3 and 5 by "
        + "; ".join(f"{name} {_firsts(curves[name])}" for name in (ours[0], RIVAL))
        + f"; {ours[0]} less {RIVAL} {_gap(curves[ours[0]], curves[RIVAL], setting)}",
        holds=bool(ahead and p < rankings.LEVEL),
        header=Chosen._fields,
        rows=tuple(rows),
        draw=functools.partial(_draw_chosen, curves),
    )


def _affinities(setting: Setting) -> list[Affinity]:
    """The measures' affinities of the code."""
    return engine.affinity(setting.code, [measure for measure, _ in MEASURES.values()])


def _curve(name: str, one: Agreement) -> list[Chosen]:
    """Rows of a measure: the mean over targets, then every target that has a curve."""
    each = {MEAN: one.precision_at_k}
    k = np.arange(1, len(each[MEAN]) + 1)
    each |= {t: found / k for t, found in zip(one.targets, one.found, strict=True) if np.isfinite(found).all()}
    return [
        Chosen(name, target, int(i), float(share), float(share * i / one.relevant))
        for target, shares in each.items()
        for i, share in zip(k, shares, strict=True)
    ]


def _firsts(one: Agreement) -> str:
    return ", ".join(f"{one.precision_at_k[k - 1]:.2f}" for k in (1, 3, 5) if k <= len(one.precision_at_k))


def _gap(first: Agreement, second: Agreement, setting: Setting) -> str:
    """Text with the difference of two mean precisions and its interval over targets."""
    k = np.arange(1, EARLY + 1)
    each = [(one.found[:, :EARLY] / k[: one.found.shape[1]]).mean(1) for one in (first, second)]
    mean, low, high = rankings.over_tasks(each[0] - each[1], setting)
    return f"{mean:+.3f}" + ("" if low is None else f" ({low:+.3f} to {high:+.3f} over targets)")


def _early_precision(found: Sequence[Affinity], setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Mean precision over targets and k from 1 to five: observed `(m,)`, and for relabeled networks `(B, m)`."""
    names, targets = found[0].names, setting.truth.targets
    columns = np.array([names.index(name) for name in targets])
    rows = [names.index(name) for name in setting.truth.sources]
    goal = np.full((len(names), len(targets)), -np.inf)
    goal[rows] = np.nan_to_num(np.asarray(setting.truth.affinity, dtype=float), nan=-np.inf)
    own = np.arange(len(names))[:, None] == columns
    best = np.zeros_like(own)
    np.put_along_axis(best, np.argsort(-np.where(own, -np.inf, goal), 0, kind="stable")[:EARLY], True, 0)

    def of(values: np.ndarray, order: np.ndarray) -> float:
        moved = np.where(own, -np.inf, values[np.ix_(order, order[columns])])
        first = np.argsort(-moved, axis=0, kind="stable")[:EARLY]
        hits = np.cumsum(np.take_along_axis(best, first, 0), 0)
        return float(np.mean(hits / np.arange(1, len(first) + 1)[:, None]))

    values = [np.nan_to_num(np.asarray(one.values, dtype=float), nan=-np.inf) for one in found]
    orders = rankings.relabelings(setting, len(names))
    observed = np.array([of(one, np.arange(len(names))) for one in values])
    return observed, np.array([[of(one, order) for one in values] for order in orders])


def _draw_chosen(curves: Mapping[str, Agreement]):
    """Precision of the first ten sources, on average and for every target, and mean precision against mean recall."""
    k = np.arange(1, len(next(iter(curves.values())).precision_at_k) + 1)
    panels = {"mean over targets": {name: (k[:SHOWN], one.precision_at_k[:SHOWN]) for name, one in curves.items()}}
    for t, target in enumerate(next(iter(curves.values())).targets):
        panels[target] = {name: (k[:SHOWN], (one.found[t] / k)[:SHOWN]) for name, one in curves.items()}
    across = dict.fromkeys(panels, "first k sources") | {"mean over targets, all k": "recall"}
    panels["mean over targets, all k"] = {name: (one.recall_at_k, one.precision_at_k) for name, one in curves.items()}
    return figures.small_multiples(panels, across, "precision", EARLY / len(k))


class Target(NamedTuple):
    """A row of the table of `targets`: correlation of a target's column with transfer.

    The interval is for the correlation without self, over pictures, corrected for the bias of resampling.
    """

    target: str
    group: str
    measure: str
    with_self: float | None
    without_self: float | None
    low: float | None
    high: float | None


def targets(setting: Setting) -> Outcome:
    """Compare the correlation of each target's column with transfer by every measure (DDS 2020, supplement S9)."""
    found = _affinities(setting)
    whole, without = ([rankings.agreement(a, setting, diagonal=d).per_target for a in found] for d in (True, False))
    spans, names = _intervals(setting), list(MEASURES)
    rows = [
        Target(
            target,
            setting.groups.get(target, ""),
            name,
            *(finite(float(v)) for v in (whole[i][t], without[i][t], *spans[i][t])),
        )
        for t, target in enumerate(setting.truth.targets)
        for i, name in enumerate(names)
    ]
    known = dict(zip(names, whole, strict=True))
    ahead = {name: int(np.sum(known[name] > known[RIVAL])) for name in names if name.startswith("DDS")}
    count = int(np.sum(np.isfinite(known[RIVAL])))
    lowest = {name: int(np.nanargmin(values)) for name, values in zip(names, without, strict=True)}
    return Outcome(
        source="DDS 2020, section 6.2 (its table is in supplement S9)",
        claim="DDS predicts transfer better than RSA for almost all targets.",
        criterion=f"self included, both DDS measures correlate more than RSA for at least {MOST:.0%} of the targets",
        paper="better for almost all of 17 (no numbers in the text)",
        here="; ".join(f"{name} above {RIVAL} for {won} of {count}" for name, won in ahead.items())
        + "; lowest without self "
        + ", ".join(
            f"{without[i][lowest[n]]:.2f} by {n} ({setting.truth.targets[lowest[n]]})"
            for i, n in enumerate(names)
            if n in (*ahead, RIVAL)
        ),
        holds=bool(count and all(won >= MOST * count for won in ahead.values())),
        header=Target._fields,
        rows=tuple(rows),
        draw=functools.partial(_draw_targets, rows, names),
    )


def _intervals(setting: Setting) -> np.ndarray:
    """95 % intervals over pictures `(m, T, 2)` of each target's correlation without self, by every measure."""
    count, truth = 50 if setting.quick else 200, setting.truth.matrix()
    made = resampling.resample(
        setting.code,
        [measure for measure, _ in MEASURES.values()],
        schemes.Bootstrap(),
        n_resamples=count,
        key=as_key(setting.seed),
    )
    columns = [made[0].names.index(name) for name in truth.targets]
    goal = np.asarray(truth.values, dtype=np.float32)
    used = (np.asarray(truth.names)[:, None] != np.asarray(truth.targets)) & np.isfinite(goal)
    goal = np.where(used, goal, 0)
    return np.stack(
        [
            np.asarray(_each_target(np.asarray(r.values)[..., columns], np.asarray(r.estimate)[:, columns], goal, used))
            for r in made
        ]
    )


@jax.jit
def _each_target(values, estimate, truth, used):
    """Intervals `(T, 2)` over images, for each target separately."""

    def of(v, s, g, u):
        alone = (v[..., None], s[:, None], g[:, None])
        return statistics.agreement_over_images(*alone, statistics.masked_spearman, u[:, None]).interval

    return jax.vmap(of, (2, 1, 1, 1))(jnp.asarray(values), estimate, truth, used)


def _draw_targets(rows: Sequence[Target], names: Sequence[str]):
    """Correlation of each target without self, with a panel for each measure."""
    panels = {name: [row.without_self for row in rows if row.measure == name] for name in names}
    spans = {name: [(row.low, row.high) for row in rows if row.measure == name] for name in names}
    groups = {row.target: row.group for row in rows}
    return figures.side_by_side(list(groups), panels, groups, spans)
