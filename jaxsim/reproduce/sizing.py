"""Model size: networks of other sizes, and smaller ones, rank the bank as its own networks do."""

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import engine, measures
from jaxsim.reproduce import figures, judging, rankings
from jaxsim.reproduce.outcomes import Outcome
from jaxsim.reproduce.settings import Setting

if TYPE_CHECKING:
    from jaxsim.models import SmallEncoder

SMALLER = "tiny"
"""The small network of `small`: one size below the bank's."""
LADDER, LADDER_QUICK = ("tiny", "small", "wide", "deep", "large"), ("tiny", "small", "wide")
HANDFUL = ("autoencoder", "keypoint2d", "edge3d", "rgb2sfnorm", "room_layout", "class_object")
"""Target tasks of `sizes`: of every group, with both of the paper's figure 7."""
PAPER = 0.96
"""Rank correlation of a smaller encoder's ranking with the larger one's, for Pascal VOC."""
SMALL_PAPER = 0.85
"""Mean rank correlation over 14 tasks."""
TOP = (1, 3, 5)


def sizes(setting: Setting) -> Outcome:
    """Rankings of the bank by networks of several sizes against the bank's own (RSA 2019, supplement S3.2).

    The size that the bank has itself shows what another seed and other pictures do alone.

    Raises:
        ValueError: the setting has no workshop.
    """
    shop = rankings.workshop(setting, "sizes")
    names = tuple(name for name in HANDFUL if name in shop.names) or shop.names
    target, truth = rankings.own(setting, names), rankings.transfer(setting, names)

    def agreement(scores: np.ndarray) -> tuple:
        real = [rankings.alike(scores[:, t], truth[:, t], setting, n).spearman for t, n in enumerate(names)]
        return judging.over_tasks(real, setting)

    rows = []
    for size in LADDER_QUICK if setting.quick else LADDER:
        nets = [shop.made(name, size) for name in names]
        scores = rankings.similarities(setting.code, [net.code for net in nets])
        same = [rankings.alike(scores[:, t], target[:, t], setting, n) for t, n in enumerate(names)]
        ranks = [one.spearman for one in same]
        lowest, skill = int(np.argmin(ranks)), float(np.mean(np.array([net.skill for net in nets], dtype=float)))
        row = (size, weights(nets[0].encoder), PAPER if size == SMALLER else None, *judging.over_tasks(ranks, setting))
        row = (*row, names[lowest], ranks[lowest], float(np.mean([one.pearson for one in same])))
        rows.append((*row, *agreement(scores), skill))
    reference = agreement(target)
    count = weights(shop.bank[names[0]])
    rows.append(("bank's own", count, None, None, None, None, None, None, None, *reference, None))
    trained, gap = rows[:-1], ("",) + (None,) * 12
    drawn = [*trained, gap, rows[-1]]
    return Outcome(
        name="sizes",
        source="RSA 2019, supplement S3.2",
        claim="Networks of other sizes rank other networks as the given one does.",
        criterion="mean rank correlation over tasks, with the ranking by the bank's own network, at least "
        f"{rankings.ALIKE:g} for every size",
        paper="small against Taskonomy's encoder for Pascal VOC .95 (ranks .96)",
        here=", ".join(f"{row[0]} {row[3]:.2f}" for row in trained)
        + "; with transfer "
        + ", ".join(f"{row[0]} {row[9]:.2f}" for row in rows)
        + f" ({len(names)} tasks: {', '.join(names)})",
        holds=bool(min(row[3] for row in trained) >= rankings.ALIKE),
        header=(
            *("size", "weights", "paper", "rank_correlation", "low", "high", "lowest_task", "lowest", "correlation"),
            *("transfer_rank_correlation", "transfer_low", "transfer_high", "skill"),
        ),
        rows=tuple(rows),
        draw=functools.partial(
            figures.lines,
            [f"{row[0]}\n{row[1] / 1000:.0f} k" if row[0] else "" for row in drawn],
            {
                "with the bank's own ranking": [row[3] for row in drawn],
                "with transfer": [row[9] for row in drawn],
                "paper, with its own": [row[2] for row in drawn],
            },
            "size and thousands of weights of the encoder",
            "rank correlation (mean, 95 % over tasks)",
            spans={
                "with the bank's own ranking": [(row[4], row[5]) for row in drawn],
                "with transfer": [(row[10], row[11]) for row in drawn],
            },
        ),
    )


def weights(encoder: "SmallEncoder") -> int:
    """Number of weights of an encoder of 3 x 3 convolutions."""
    channels = (encoder.channels_in, *encoder.widths)
    return sum(9 * before * after + after for before, after in itertools.pairwise(channels))


def small(setting: Setting) -> Outcome:
    """A small network for every task against the bank's own (RSA 2019, figure 7, supplement S1 and S3).

    Rankings of different tasks resemble each other anyway, so each small network's is also compared with those by
    the bank's networks for the other tasks, both left out.

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
        most = min(TOP[-1], len(sources) - 1)
        both = np.isin(np.argsort(-mine)[:most], np.argsort(-theirs)[:most])
        real = rankings.alike(scores[:, t], truth[:, t], setting, name).spearman
        own_rank = 1 + int(np.sum(scores[:, t] > scores[sources.index(name), t]))
        row = (name, setting.grouped[name], same.pearson, same.spearman, float(np.mean(apart)) if apart else None)
        row = (*row, sources[first], 1 + int(np.sum(theirs > theirs[first])), int(both.sum()), own_rank)
        rows.append((*row, real, nets[name].skill))
    mean, low, high = judging.over_tasks([row[3] for row in rows], setting)
    straight = judging.over_tasks([row[2] for row in rows], setting)[0]
    hits = [sum(row[6] <= k for row in rows) for k in TOP]
    nearer = sum(row[4] is None or row[3] > row[4] for row in rows)
    span = "" if low is None else f" ({low:.2f} to {high:.2f} over tasks)"
    shown = sorted(rows, key=lambda row: -row[3])
    return Outcome(
        name="small",
        source="RSA 2019, figure 7, supplement S1 and S3",
        claim="A small network ranks the large ones as the large network for its task does.",
        criterion=f"mean rank correlation over tasks at least {rankings.ALIKE:g}, and for most tasks above the mean "
        "with the rankings by other tasks' networks",
        paper="mean .84 (ranks .85) over 14 tasks, 2D above .97 but for segments, 3D above .77; matrices .85 (ranks "
        ".88)",
        here=f"mean {straight:.2f} (ranks {mean:.2f}{span}), nearer than to other tasks' for {nearer} of {len(rows)}; "
        f"first choice in the large network's top {' / '.join(map(str, TOP))}: {', '.join(map(str, hits))}, "
        f"{np.mean([row[7] for row in rows]):.1f} of {TOP[-1]} best shared; {_matrices(nets, setting)}",
        holds=bool(mean >= rankings.ALIKE and nearer > len(rows) / 2),
        header=(
            *("task", "group", "correlation", "rank_correlation", "with_other_tasks", "chosen"),
            *("rank_of_chosen", f"shared_of_{TOP[-1]}", "rank_of_own_task", "transfer_rank_correlation", "skill"),
        ),
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [row[0] for row in shown],
            {
                "with its own task's large network": [row[3] for row in shown],
                "with other tasks' (mean)": [row[4] for row in shown],
            },
            f"rank correlation of the small network's ranking; line: paper's mean, {SMALL_PAPER:.2f}",
            marks=(SMALL_PAPER,),
        ),
    )


def _matrices(nets, setting) -> str:
    """How the matrix of the small networks correlates with the bank's."""
    if len(nets) < 3:
        return "too few tasks to compare matrices"
    bank = setting.code
    mine, theirs = (
        np.asarray(engine.affinity(codes, measures.RSA).values, dtype=float)
        for codes in ({name: net.code for name, net in nets.items()}, {name: bank[name] for name in nets})
    )
    pearson, spearman = judging.matrix_correlation(mine, theirs, np.triu(np.ones(mine.shape, dtype=bool), 1))
    return f"matrices {pearson:.2f} (ranks {spearman:.2f})"
