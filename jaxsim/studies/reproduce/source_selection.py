"""Experiments on choosing a source by RSA, for each task and for a new task in another world."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import rankdata

from jaxsim import engine, evaluation, measures
from jaxsim.io.files import finite
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.model_cache import NEW_TASK, NEW_WORLD
from jaxsim.studies.reproduce.settings import Outcome, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = {1: 7, 3: 14, 5: 16}
"""Number of 17 first choices that are among the best 1, 3 and 5 sources."""
PAPER_ORDER = (
    *("class_object", "class_scene", "rgb2mist", "edge3d", "room_layout", "segment25d", "keypoint3d", "rgb2sfnorm"),
    *("reshade", "segmentsemantic", "segment2d", "edge2d", "curvature", "keypoint2d", "autoencoder", "colorization"),
    *("denoise", "rgb2depth", "inpainting", "vanishing_point"),
)
"""Taskonomy's networks by similarity to the small network for Pascal VOC, the most similar first (RSA 2019, fig. 8)."""
PAPER_TRANSFER = {
    **{"segment25d": 0.657, "class_scene": 0.6529, "edge3d": 0.6496, "class_object": 0.6492, "rgb2depth": 0.649},
    **{"segmentsemantic": 0.6487, "keypoint3d": 0.648, "rgb2sfnorm": 0.648, "curvature": 0.647, "rgb2mist": 0.644},
    **{"reshade": 0.630, "segment2d": 0.630, "room_layout": 0.626, "edge2d": 0.601, "keypoint2d": 0.599},
    **{"autoencoder": 0.5901, "vanishing_point": 0.5891},
}
"""Mean IoU of transfer to Pascal VOC (RSA 2019, table 2; all 17 in the notebook released with DDS 2020)."""
TOP = 5
"""Largest rank by transfer of the first choice for a new task."""


class Choice(NamedTuple):
    """A row of the table: the source that RSA ranks first for a target, and its rank by transfer; 1 is the best."""

    target: str
    chosen: str
    true_rank: int
    best: str
    reliability: float | None


def selection(setting: Setting) -> Outcome:
    """Rank by transfer of the source that RSA ranks first, for every target (RSA 2019, table 1).

    The p value is from relabeling the networks of the RSA matrix, rows and columns together.
    """
    affinity, truth = engine.affinity(setting.code, measures.RSA), setting.truth.matrix()
    values = np.asarray(affinity.values, dtype=float)
    columns = np.array([affinity.names.index(name) for name in truth.targets])
    chosen, ranks = _picks(values, truth.values, columns)
    hits = {k: int(np.sum(ranks <= k)) for k in PAPER}
    orders = rankings.relabelings(setting, len(values))
    null = np.array([np.sum(_picks(values[np.ix_(o, o)], truth.values, columns)[1] <= 5) for o in orders])
    p, count = rankings.p_value(hits[5], null), len(columns)
    reliability = np.asarray(setting.truth.reliability, dtype=float)
    rows = [
        Choice(target, affinity.names[chosen[t]], int(ranks[t]), _best(truth, t), finite(float(reliability[t])))
        for t, target in enumerate(truth.targets)
    ]
    shown = sorted(rows, key=lambda row: row.true_rank)
    return Outcome(
        source="RSA 2019, table 1",
        claim="For most targets the source that RSA ranks first is among the five that transfer best.",
        criterion="in the top five for more than half of the targets and above chance, permutation p < "
        f"{rankings.LEVEL}",
        paper="top 1 / 3 / 5: 7, 14, 16 of 17",
        here=f"top 1 / 3 / 5: {hits[1]}, {hits[3]}, {hits[5]} of {count} (top 5 by chance {null.mean():.1f}, p = "
        f"{p:.3g})",
        holds=bool(hits[5] > count / 2 and p < rankings.LEVEL),
        header=Choice._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.listed,
            [row.target for row in shown],
            {"source ranked first by RSA": [row.true_rank for row in shown]},
            "its rank by measured transfer (1 is best); left of the line: one of the five best",
            marks=(5.5,),
        ),
    )


def _picks(scores: np.ndarray, truth: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every target, the index of the best-scored other network and its rank in the truth."""
    scores, truth = scores[:, columns].copy(), truth.copy()
    targets = np.arange(len(columns))
    scores[columns, targets] = truth[columns, targets] = -np.inf
    chosen = np.argmax(scores, axis=0)
    return chosen, 1 + np.sum(truth > truth[chosen, targets], axis=0)


def _best(truth, t: int) -> str:
    return truth.ranking(truth.targets[t])[0][0]


class Source(NamedTuple):
    """A row of the table: a network of the bank as a source for the new task; rank 1 is the best."""

    source: str
    group: str
    similarity: float
    rank_by_rsa: int
    transfer: float
    rank_by_transfer: int
    transfer_skill: float
    wins_against_scratch: float
    paper_rank_by_rsa: int | None
    paper_transfer: float | None


def draw_new_task(rows: Sequence[Source]) -> "Figure":
    """Draw the table of `new_task`."""
    return figures.side_by_side(
        [row.source for row in rows],
        {
            "RSA with the small network": [row.similarity for row in rows],
            "skill of the transfer": [row.transfer_skill for row in rows],
            "paper: mean IoU": [row.paper_transfer for row in rows],
        },
        {row.source: row.group for row in rows},
    )


def new_task(setting: Setting) -> Outcome:
    """Choose a source for semantic segmentation in another world (RSA 2019, section 6.3, figure 8, table 2).

    A small network learns the task from few pictures of that world. RSA on other pictures from it ranks the bank, and
    the bank's transfer is measured on further ones. No network of the bank is left out, since the target is not among
    them. The p value is from random orders of the ranking.

    Raises:
        ValueError: the setting has no workshop, or no codes of the other world.
    """
    shop = rankings.workshop(setting, "new-task")
    if setting.elsewhere is None:
        raise ValueError("new-task needs codes of pictures of another world.")
    sources, truth = list(setting.truth.sources), shop.transfer()
    net = shop.made(NEW_TASK, world=NEW_WORLD)
    scores = rankings.similarities(setting.ordered(setting.elsewhere), [net.code])[:, 0]
    place = [truth.sources.index(name) for name in sources]
    measured = (truth.affinity, truth.skill, truth.wins_scratch)
    real, skills, wins = (np.asarray(a, dtype=float)[place, 0] for a in measured)
    found = evaluation.spearman(scores, real)
    null = np.array([evaluation.spearman(scores, real[order]) for order in rankings.relabelings(setting, len(real))])
    p = rankings.p_value(found, null)
    predicted, actual = (rankdata(-np.nan_to_num(a, nan=-np.inf), "min") for a in (scores, real))
    rows = [
        Source(
            source=name,
            group=setting.grouped[name],
            similarity=float(scores[i]),
            rank_by_rsa=int(predicted[i]),
            transfer=float(real[i]),
            rank_by_transfer=int(actual[i]),
            transfer_skill=float(skills[i]),
            wins_against_scratch=float(wins[i]),
            paper_rank_by_rsa=_paper_rank(name),
            paper_transfer=PAPER_TRANSFER.get(name),
        )
        for i, name in enumerate(sources)
    ]
    rows.sort(key=lambda row: row.rank_by_rsa)
    first, best = rows[0], min(rows, key=lambda row: row.rank_by_transfer)
    same = next((row for row in rows if row.source == NEW_TASK), None)
    kin = f"; the same task's network {_nth(same.rank_by_rsa)} and {_nth(same.rank_by_transfer)}" if same else ""
    return Outcome(
        source="RSA 2019, section 6.3, figure 8 and table 2",
        claim="For a new task in another world, RSA with a small network trained on it tells which network to transfer "
        "from.",
        criterion=f"rank correlation with measured transfer above chance, permutation p < {rankings.LEVEL}, and the "
        f"source ranked first among the {TOP} that transfer best",
        paper="object class first, 4th of 17 by transfer; the same task's network 10th and 6th; rank correlation "
        f"{_paper_correlation():.2f} by figure 8's order and the released transfer",
        here=f"rank correlation {found:.2f} (p = {p:.3g}); {first.source} first, {_nth(first.rank_by_transfer)} of "
        f"{len(rows)} by transfer, best {best.source} ({_nth(best.rank_by_rsa)} by RSA){kin}; skill of the small "
        f"network {net.skill or 0:.2f}, "
        f"reliability of transfer {float(truth.reliability[0]):.2f}",
        holds=bool(p < rankings.LEVEL and first.rank_by_transfer <= TOP),
        header=Source._fields,
        rows=tuple(rows),
        draw=functools.partial(draw_new_task, rows),
    )


def _paper_rank(name: str) -> int | None:
    return 1 + PAPER_ORDER.index(name) if name in PAPER_ORDER else None


def _paper_correlation() -> float:
    """Rank correlation of the paper's figure 8 with the transfer it measured."""
    both = [(-PAPER_ORDER.index(name), value) for name, value in PAPER_TRANSFER.items()]
    return evaluation.spearman(*np.array(both, dtype=float).T)


def _nth(rank: int) -> str:
    """Format a rank as an ordinal.

    >>> [_nth(k) for k in (1, 2, 3, 11, 22)]
    ['1st', '2nd', '3rd', '11th', '22nd']
    """
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"
