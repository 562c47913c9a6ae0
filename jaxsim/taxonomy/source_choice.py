"""Selection of the networks to keep: which k sources serve all targets best (Zamir et al. 2018, section 3.4)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation import as_affinity
from jaxsim.evaluation.truth import rising
from jaxsim.results import Affinity, Saved, record
from jaxsim.results.tables import Table, number
from jaxsim.statistics.checks import is_number, shown

if TYPE_CHECKING:
    import pandas as pd

Transfers = Mapping[tuple[tuple[str, ...], str], float]
"""Score of each transfer, by its sources and its target."""


@record(arrays={"scores": ("targets",), "weights": ("targets",)})
class SourceChoice(Saved):
    """The best sources within a budget, and the transfer that serves each target.

    Attributes:
        scores: `(T,)` score of each target's transfer.
        weights: `(T,)` importance of each target.
        targets: names of the T targets.
        used: `(T,)` sources of each target's transfer; several for transfers of higher order.
        sources: the sources to keep; sources that are not used by a transfer are left out.
        budget: the most that the sources may cost together.
        cost: total cost of the sources.
        measure: name of the matrix.
    """

    scores: Any
    weights: Any
    targets: tuple[str, ...]
    used: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]
    budget: float
    cost: float
    measure: str

    @property
    def total(self) -> float:
        """Weighted sum of the scores, which the selection maximizes."""
        return float(np.sum(np.asarray(self.scores) * np.asarray(self.weights)))

    def table(self) -> Table:
        """The transfer and the score of each target."""
        rows = [
            [target, " + ".join(used), number(float(score))]
            for target, used, score in zip(self.targets, self.used, np.asarray(self.scores), strict=True)
        ]
        title = f"{len(self.sources)} sources for {len(self.targets)} targets, {self.measure}, total {self.total:.4g}"
        return Table(title, ["", "from", "score"], rows, f"sources: {', '.join(self.sources)}")

    def to_pandas(self):
        """Convert to a DataFrame with one row per target: its sources and its score."""
        import pandas as pd

        columns = {"from": [" + ".join(used) for used in self.used], "score": np.asarray(self.scores, float)}
        return pd.DataFrame(columns, index=pd.Index(self.targets, name="target"))


def choose_sources(
    transfers: "Affinity | pd.DataFrame | Transfers",
    budget: float,
    *,
    importance: Mapping[str, float] | None = None,
    cost: Mapping[str, float] | None = None,
    free: Sequence[str] = (),
) -> SourceChoice:
    """Choose the sources within a budget that serve all targets best, exactly.

    Each target is served by one transfer, whose sources must all be kept. Among the selections within the budget, the
    one with the largest importance-weighted sum of scores is found by mixed-integer programming (HiGHS, through
    `scipy.optimize.milp`). If several are equally good, one of them is returned.

    Args:
        transfers: scores `(S, T)`, higher is better; or the score of each `(sources, target)`, which may have several
            sources, as read by `jaxsim.io.read_transfers`. Undefined (NaN) transfers are not used. If a matrix has a
            target among its sources, the target serves itself when it is kept.
        budget: the most that the kept sources may cost together; their number, if each costs 1.
        importance: weight of targets, 1 by default; a target of weight 0 is served but does not count.
        cost: cost of sources, 1 by default.
        free: sources that cost nothing, such as a random network.

    Raises:
        TypeError: transfers are neither a matrix nor given by sources and target.
        ValueError: the budget is invalid, a cost or weight is negative or has an unknown name, no transfer reaches a
            target, or the budget is too small to serve every target.
        RuntimeError: the solver stopped before the optimum.

    Example:
        >>> import jaxsim as js
        >>> values, names = [[1, 0.5, 0.4], [0.4, 1, 0.3], [0.6, 0.1, 1]], ("edges", "depth", "faces")
        >>> scores = js.Affinity.from_array(values, names, measure="gain")
        >>> found = choose_sources(scores, 1)
        >>> found.sources, found.used[1], round(found.total, 3)
        (('edges',), ('edges',), 1.9)
    """
    given, measure = _transfers(transfers)
    targets = tuple(dict.fromkeys(target for _, target in given))
    sources = tuple(dict.fromkeys(name for used, _ in given for name in used))
    weights = _numbers(importance, targets, "importance", "target")
    if isinstance(free, str) or not isinstance(free, Iterable):
        raise TypeError(f"free must be a list of names of sources, not {shown(free)}.")
    _refuse_unknown(free := list(free), sources, "free", "source")
    costs = _numbers(cost, sources, "cost", "source", dict.fromkeys(free, 0.0))
    if not is_number(budget) or not 0 < budget < np.inf:
        raise ValueError(f"budget must be a positive number, not {shown(budget)}.")
    chosen = _solve(given, targets, sources, weights, costs, float(budget))
    used = {target: (names, score) for (names, target), score in chosen.items()}
    kept = tuple(name for name in sources if any(name in names for names, _ in used.values()))
    return SourceChoice(
        np.array([used[t][1] for t in targets]),
        weights,
        targets,
        tuple(used[t][0] for t in targets),
        kept,
        float(budget),
        float(sum(costs[sources.index(name)] for name in kept)),
        measure,
    )


def _transfers(transfers) -> tuple[dict[tuple[tuple[str, ...], str], float], str]:
    """Defined transfers and the name of their measure; each target of a matrix has at least one."""
    if isinstance(transfers, Mapping):
        given, measure = dict(transfers), "transfer"
        for key in given:
            if not (isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], tuple) and key[0]):
                raise TypeError(
                    f"the keys of transfers must be (sources, target), such as (('edges',), 'depth'), not {key!r}."
                )
    else:
        matrix = as_affinity(transfers, "transfer")
        places = np.ndindex(len(matrix.names), len(matrix.targets))
        values = rising(matrix)
        given = {((matrix.names[s],), matrix.targets[t]): float(values[s, t]) for s, t in places}
        measure = matrix.provenance.measure
    defined = {key: float(score) for key, score in given.items() if np.isfinite(score)}
    lost = sorted({target for _, target in given} - {target for _, target in defined})
    if lost or not defined:
        raise ValueError(f"no transfer is defined for {', '.join(lost) or 'any target'}; leave it out.")
    return defined, measure


def _numbers(given, names, what, of, default: Any = ()) -> np.ndarray:
    """One number per name, 1 by default.

    Raises:
        TypeError: the numbers have no names.
        ValueError: a name is unknown, or a number is negative or not finite.
    """
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a mapping of {of}s to numbers, not {shown(given)}.")
    _refuse_unknown(given or (), names, what, of)
    given = dict(default) | dict(given or ())
    for name, value in given.items():
        if not is_number(value) or not 0 <= value < np.inf:
            raise ValueError(f"the {what} of {name!r} must be zero or positive, not {shown(value)}.")
    return np.array([float(given.get(name, 1)) for name in names])


def _refuse_unknown(given, names, what, of):
    """Reject names of unknown networks.

    Raises:
        ValueError: a name is unknown; the message gives it.
    """
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"{what} names {unknown[0]!r}, which is not a {of}; choose from {', '.join(names)}.")


def _solve(given, targets, sources, weights, costs, budget):
    """The transfers of the optimum.

    A binary variable says whether a source is kept, and another whether a transfer is used, which requires all its
    sources. Each target has one transfer, and the kept sources cost no more than the budget.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    keys, scores = list(given), np.array(list(given.values()))
    count, at = len(sources), {name: k for k, name in enumerate(sources)}
    target = np.array([targets.index(t) for _, t in keys])
    needs = [(e, at[name]) for e, (used, _) in enumerate(keys) for name in dict.fromkeys(used)]
    edge, node = np.array(needs).T
    rows, size = np.arange(len(needs)), count + len(keys)
    ones = np.ones(len(needs))
    links = coo_array((np.r_[ones, -ones], (np.r_[rows, rows], np.r_[count + edge, node])), (len(needs), size))
    served = coo_array((np.ones(len(keys)), (target, count + np.arange(len(keys)))), (len(targets), size))
    spent = np.r_[costs, np.zeros(len(keys))][None]
    # sets the scale for the solver's tolerance; subtracting a target's worst score does not change the optimum
    gains = weights[target] * (scores - scores.min())
    gains = gains / max(gains.max(), np.finfo(float).tiny)
    found = milp(
        -np.r_[np.zeros(count), gains],
        integrality=np.r_[np.ones(count), np.zeros(len(keys))],
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(links, -np.inf, 0),
            LinearConstraint(served, 1, 1),
            LinearConstraint(spent, -np.inf, budget),
        ],
        options={"mip_rel_gap": 0},
    )
    if found.status == 2:
        raise ValueError(
            f"a budget of {budget:g} allows too few sources to serve all {len(targets)} targets; increase it."
        )
    if found.status != 0:
        raise RuntimeError(f"no choice of sources was found: {found.message}")
    return _best_within(given, {name for name, y in zip(sources, found.x[:count], strict=True) if y > 0.5})


def _best_within(given, kept):
    """The best transfer of each target from the kept sources; the first of equally good ones."""
    best: dict[str, tuple[tuple[str, ...], str]] = {}
    for (used, target), score in given.items():
        if kept.issuperset(used) and (target not in best or score > given[best[target]]):
            best[target] = (used, target)
    return {key: given[key] for key in best.values()}
