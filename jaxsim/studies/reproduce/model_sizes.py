"""Experiments on model size: whether networks of other sizes rank the bank as its own networks do."""

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxsim import engine, measures
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Outcome, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsim.vision.models import SmallEncoder

SMALLER = "tiny"
"""The small network of `small`: one size below the bank's."""
LADDER, LADDER_QUICK = ("tiny", "small", "wide", "deep", "large"), ("tiny", "small", "wide")
HANDFUL = ("autoencoder", "keypoint2d", "edge3d", "rgb2sfnorm", "room_layout", "class_object")
"""Target tasks of `sizes`: from every group, including both in the paper's figure 7."""
PAPER = 0.96
"""Rank correlation between a smaller encoder's ranking and the larger one's, for Pascal VOC."""
SMALL_PAPER = 0.85
"""Mean rank correlation over 14 tasks."""
TOP, SHARED = (1, 3, 5), 5
"""Ranks within which a first choice counts, and the number of first ranks to compare."""


class Size(NamedTuple):
    """A row of the table of `sizes`: means over tasks, with 95 % intervals."""

    size: str
    weights: int | None = None
    paper: float | None = None
    rank_correlation: float | None = None
    low: float | None = None
    high: float | None = None
    lowest_task: str | None = None
    lowest: float | None = None
    correlation: float | None = None
    transfer_rank_correlation: float | None = None
    transfer_low: float | None = None
    transfer_high: float | None = None
    skill: float | None = None


class Small(NamedTuple):
    """A row of the table of `small`: how the small network for a task ranks the bank."""

    task: str
    group: str
    correlation: float
    rank_correlation: float
    with_other_tasks: float | None
    chosen: str
    rank_of_chosen: int
    shared_of_5: int
    rank_of_own_task: int
    transfer_rank_correlation: float
    skill: float | None


def draw_sizes(rows: Sequence[Size]) -> "Figure":
    """Draw the table of `sizes`, with the bank's own network set apart."""
    drawn = [*rows[:-1], Size(""), rows[-1]]
    return figures.lines(
        ["" if row.weights is None else f"{row.size}\n{row.weights / 1000:.0f} k" for row in drawn],
        {
            "with the bank's own ranking": [row.rank_correlation for row in drawn],
            "with transfer": [row.transfer_rank_correlation for row in drawn],
            "paper, with its own": [row.paper for row in drawn],
        },
        "size and thousands of weights of the encoder",
        "rank correlation (mean, 95 % over tasks)",
        spans={
            "with the bank's own ranking": [(row.low, row.high) for row in drawn],
            "with transfer": [(row.transfer_low, row.transfer_high) for row in drawn],
        },
    )


def draw_small(rows: Sequence[Small]) -> "Figure":
    """Draw the table of `small`, most similar rankings first."""
    shown = sorted(rows, key=lambda row: -row.rank_correlation)
    return figures.listed(
        [row.task for row in shown],
        {
            "with its own task's large network": [row.rank_correlation for row in shown],
            "with other tasks' (mean)": [row.with_other_tasks for row in shown],
        },
        f"rank correlation of the small network's ranking; line: paper's mean, {SMALL_PAPER:.2f}",
        marks=(SMALL_PAPER,),
    )


def sizes(setting: Setting) -> Outcome:
    """Compare rankings of the bank by networks of several sizes with the bank's own (RSA 2019, supplement S3.2).

    The size of the bank's own networks shows only the effect of another seed and other pictures.

    Raises:
        ValueError: the setting has no workshop.
    """
    shop = rankings.workshop(setting, "sizes")
    names = tuple(name for name in HANDFUL if name in shop.names) or shop.names
    target, truth = rankings.own(setting, names), rankings.transfer(setting, names)

    def agreement(scores: np.ndarray) -> tuple[float, float | None, float | None]:
        each = [rankings.alike(scores[:, t], truth[:, t], setting, n).spearman for t, n in enumerate(names)]
        return rankings.over_tasks(each, setting)

    rows, found, real = [], {}, {}
    for size in LADDER_QUICK if setting.quick else LADDER:
        nets = [shop.made(name, size) for name in names]
        scores = rankings.similarities(setting.code, [net.code for net in nets])
        same = [rankings.alike(scores[:, t], target[:, t], setting, n) for t, n in enumerate(names)]
        ranks = [one.spearman for one in same]
        lowest, skill = int(np.argmin(ranks)), float(np.mean(np.array([net.skill for net in nets], dtype=float)))
        found[size], low, high = rankings.over_tasks(ranks, setting)
        real[size], real_low, real_high = agreement(scores)
        rows.append(
            Size(
                size=size,
                weights=weights(nets[0].encoder),
                paper=PAPER if size == SMALLER else None,
                rank_correlation=found[size],
                low=low,
                high=high,
                lowest_task=names[lowest],
                lowest=ranks[lowest],
                correlation=float(np.mean([one.pearson for one in same])),
                transfer_rank_correlation=real[size],
                transfer_low=real_low,
                transfer_high=real_high,
                skill=skill,
            )
        )
    bank = "bank's own"
    real[bank], low, high = agreement(target)
    own = Size(
        bank,
        weights(shop.bank[names[0]]),
        transfer_rank_correlation=real[bank],
        transfer_low=low,
        transfer_high=high,
    )
    return Outcome(
        source="RSA 2019, supplement S3.2",
        claim="Networks of other sizes rank other networks as the given one does.",
        criterion="mean rank correlation over tasks, with the ranking by the bank's own network, at least "
        f"{rankings.ALIKE:g} for every size",
        paper="small against Taskonomy's encoder for Pascal VOC .95 (ranks .96)",
        here=_listed(found) + "; with transfer " + _listed(real) + f" ({len(names)} tasks: {', '.join(names)})",
        holds=bool(min(found.values()) >= rankings.ALIKE),
        header=Size._fields,
        rows=(*rows, own),
        draw=functools.partial(draw_sizes, (*rows, own)),
    )


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def weights(encoder: "SmallEncoder") -> int:
    """Number of weights of an encoder of 3 x 3 convolutions."""
    channels = (encoder.channels_in, *encoder.widths)
    return sum(9 * before * after + after for before, after in itertools.pairwise(channels))


def small(setting: Setting) -> Outcome:
    """Compare a small network for every task with the bank's own (RSA 2019, figure 7, supplement S1 and S3).

    Since rankings by different tasks resemble each other, each small network's ranking is also compared with those by
    the bank's networks for other tasks, with both tasks left out.

    Raises:
        ValueError: the setting has no workshop.
    """
    shop = rankings.workshop(setting, "small")
    names, sources = shop.names, setting.truth.sources
    nets = {name: shop.made(name, SMALLER) for name in names}
    scores = rankings.similarities(setting.code, [net.code for net in nets.values()])
    target, truth = rankings.own(setting, names), rankings.transfer(setting, names)
    rows = []
    for t, name in enumerate(names):
        same = rankings.alike(scores[:, t], target[:, t], setting, name)
        apart = [
            rankings.alike(scores[:, t], target[:, u], setting, name, other).spearman
            for u, other in enumerate(names)
            if other != name
        ]
        others = np.array(sources) != name
        mine, theirs = (np.where(others, column[:, t], -np.inf) for column in (scores, target))
        first = int(np.argmax(mine))
        most = min(SHARED, len(sources) - 1)
        both = np.isin(np.argsort(-mine)[:most], np.argsort(-theirs)[:most])
        rows.append(
            Small(
                task=name,
                group=setting.grouped[name],
                correlation=same.pearson,
                rank_correlation=same.spearman,
                with_other_tasks=float(np.mean(apart)) if apart else None,
                chosen=sources[first],
                rank_of_chosen=1 + int(np.sum(theirs > theirs[first])),
                shared_of_5=int(both.sum()),
                rank_of_own_task=1 + int(np.sum(scores[:, t] > scores[sources.index(name), t])),
                transfer_rank_correlation=rankings.alike(scores[:, t], truth[:, t], setting, name).spearman,
                skill=nets[name].skill,
            )
        )
    mean, low, high = rankings.over_tasks([row.rank_correlation for row in rows], setting)
    straight = rankings.over_tasks([row.correlation for row in rows], setting)[0]
    hits = [sum(row.rank_of_chosen <= k for row in rows) for k in TOP]
    nearer = sum(row.with_other_tasks is None or row.rank_correlation > row.with_other_tasks for row in rows)
    span = "" if low is None else f" ({low:.2f} to {high:.2f} over tasks)"
    return Outcome(
        source="RSA 2019, figure 7, supplement S1 and S3",
        claim="A small network ranks the large ones as the large network for its task does.",
        criterion=f"mean rank correlation over tasks at least {rankings.ALIKE:g}, and for most tasks above the mean "
        "with the rankings by other tasks' networks",
        paper="mean .84 (ranks .85) over 14 tasks, 2D above .97 but for segments, 3D above .77; matrices .85 (ranks "
        ".88)",
        here=f"mean {straight:.2f} (ranks {mean:.2f}{span}), nearer than to other tasks' for {nearer} of {len(rows)}; "
        f"first choice in the large network's top {' / '.join(map(str, TOP))}: {', '.join(map(str, hits))}, "
        f"{np.mean([row.shared_of_5 for row in rows]):.1f} of {SHARED} best shared; {_matrices(nets, setting)}",
        holds=bool(mean >= rankings.ALIKE and nearer > len(rows) / 2),
        header=Small._fields,
        rows=tuple(rows),
        draw=functools.partial(draw_small, rows),
    )


def _matrices(nets, setting) -> str:
    """Correlation of the small networks' matrix with the bank's, as text."""
    if len(nets) < 3:
        return "too few tasks to compare matrices"
    bank = setting.code
    mine, theirs = (
        np.asarray(engine.affinity(codes, measures.RSA).values, dtype=float)
        for codes in ({name: net.code for name, net in nets.items()}, {name: bank[name] for name in nets})
    )
    pearson, spearman = rankings.matrix_correlation(mine, theirs, np.triu(np.ones(mine.shape, dtype=bool), 1))
    return f"matrices {pearson:.2f} (ranks {spearman:.2f})"
