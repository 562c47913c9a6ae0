"""Agreement of several measures with the same measured transfer, tested together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation import mantel
from jaxsim.evaluation.differences import difference
from jaxsim.evaluation.prediction import Correlation, check_relabelings, falls, spearman, warn_of_resolution
from jaxsim.evaluation.truth import Aligned, align, as_affinity, reordered, warn_of_distances, warn_undefined
from jaxsim.results import Affinity, Saved, record
from jaxsim.results.tables import Table, number
from jaxsim.statistics import holm
from jaxsim.statistics.checks import as_count

if TYPE_CHECKING:
    import jax
    import pandas as pd

_EACH = ("means", "p", "adjusted", "null_mean", "null_deviation", "partial", "partial_p", "partial_adjusted")
_PAIRS = ("difference", "error", "difference_p", "difference_adjusted")


_SHAPES: dict[str, tuple[str | int, ...]] = dict.fromkeys(_EACH, ("names",))
_SHAPES.update(dict.fromkeys(_PAIRS, ("names", "names")))


@record(arrays=_SHAPES)
class AgreementComparison(Saved):
    """Agreement of several measures with one truth, and their differences.

    Attributes:
        means: `(M,)` mean correlation over targets, without the diagonal; NaN where undefined.
        p: `(M,)` one-sided p values from relabelings of the tasks, as in `evaluate`.
        adjusted: `(M,)` adjusted for all M measures by the maximum over them under the same relabelings.
        null_mean: `(M,)` mean agreement over the relabelings.
        null_deviation: `(M,)` standard deviation of the agreement over the relabelings.
        partial: `(M,)` mean correlation without the main effects of the sources.
        partial_p: `(M,)` p values of `partial`.
        partial_adjusted: `(M,)` adjusted like `adjusted`.
        difference: `(M, M)` mean agreement of the row's measure minus that of the column's.
        error: `(M, M)` standard error of the difference over tasks.
        difference_p: `(M, M)` two-sided, against equal agreement.
        difference_adjusted: `(M, M)` adjusted for all pairs by Holm's method.
        names: names of the measures.
        targets: names of the targets.
        relabelings: number of relabelings.
        exact: whether these are all possible relabelings.
        correlation: name of the correlation.
        truth: name of the measured transfer.
    """

    means: Any
    p: Any
    adjusted: Any
    null_mean: Any
    null_deviation: Any
    partial: Any
    partial_p: Any
    partial_adjusted: Any
    difference: Any
    error: Any
    difference_p: Any
    difference_adjusted: Any
    names: tuple[str, ...]
    targets: tuple[str, ...]
    relabelings: int
    exact: bool
    correlation: str
    truth: str

    def table(self) -> Table:
        """Mean agreement of each measure with its p values, and its difference from the best one."""
        best = int(np.nanargmax(self.means)) if np.isfinite(self.means).any() else 0
        columns = {"mean": self.means, "p": self.p, "adjusted": self.adjusted, "partial": self.partial}
        columns |= {"p partial": self.partial_p, "minus best": np.asarray(self.difference)[:, best]}
        columns |= {
            "error": np.asarray(self.error)[:, best],
            "p of difference": np.asarray(self.difference_adjusted)[:, best],
        }
        rows = [[name, *(number(float(c[k])) for c in columns.values())] for k, name in enumerate(self.names)]
        how = f"all {self.relabelings}" if self.exact else str(self.relabelings)
        title = f"mean {self.correlation} with {self.truth} over {len(self.targets)} targets, without the diagonal"
        return Table(title, ["", *columns], rows, f"{how} relabelings; best: {self.names[best]}")

    def to_pandas(self):
        """Convert to a DataFrame with one row per measure, without the `(M, M)` arrays such as `difference`."""
        import pandas as pd

        return pd.DataFrame(
            {name: np.asarray(getattr(self, name)) for name in _EACH}, index=pd.Index(self.names, name="measure")
        )


def compare_agreements(
    affinities: "Mapping[str, Affinity | pd.DataFrame]",
    truth: "Affinity | pd.DataFrame",
    *,
    relabelings: int = 999,
    key: "jax.Array | int" = 0,
    correlation: Correlation = spearman,
    subset: bool = False,
) -> AgreementComparison:
    """Compare how well several measures agree with one measured transfer.

    Each measure gets the mean agreement and p values of `evaluate(..., diagonal=False, relabelings=999)`. `adjusted`
    accounts for having looked at all of them. It uses the largest agreement, in deviations of its null distribution,
    under the same relabelings for all measures, stepping down from the best (Westfall & Young 1993). It keeps the
    family-wise level no matter which of the measures are related to the truth.

    `difference_p` tests another hypothesis: that two measures agree with the truth equally well, not that neither
    agrees. It generalizes to other tasks of the same kind, drawn one by one; in families of tasks it rejects too often.
    The standard error is a jackknife over tasks, leaving out each as a source and as a target, corrected for what that
    counts twice. The p value is from Student's t with one degree of freedom less than the number of targets (or
    sources, if fewer).

    Args:
        affinities: two or more predictions by name, over the same networks in any order.
        truth: measured transfer; higher is better unless its `distance` is set.
        relabelings: number of relabelings of the tasks; all of them if there are no more.
        key: key for the relabelings, as for `js.resample`.
        correlation: `spearman` or `pearson` of `jaxsim.evaluation`.
        subset: use the networks that both have instead of failing when the truth lacks some.

    Returns:
        The comparison; NaN where a measure's correlation is undefined for all targets. As in `evaluate`, a matrix that
        seems to contain distances without saying so causes a warning.

    Raises:
        ValueError: there are fewer than two affinities, they have different networks, or `evaluate` would raise an
            error.
        TypeError: the affinities are not a mapping, or include a matrix without names.

    Example:
        >>> import numpy as np, jaxsim as js
        >>> names, rng = list("abcdefgh"), np.random.default_rng(0)
        >>> truth = rng.normal(size=(8, 8))
        >>> near, far = (js.Affinity.from_array(truth + s * rng.normal(size=(8, 8)), names, measure="") for s in (1, 9))
        >>> given = js.Affinity.from_array(truth, names, measure="transfer")
        >>> found = js.compare_agreements({"near": near, "far": far}, given)
        >>> bool(found.adjusted[0] < 0.05 < found.adjusted[1])
        True
    """
    relabelings = as_count(relabelings, "relabelings")
    check_relabelings(False, correlation)
    aligned, truth = _aligned(affinities, truth, subset)
    first, ranked = aligned[0], correlation is spearman
    used: np.ndarray = np.sum([one.others for one in aligned], axis=0)
    rows, columns = used.sum(axis=1) > 0, used.sum(axis=0) > 0
    own = first.own[rows][:, columns]
    scores = [one.scores[rows][:, columns] for one in aligned]
    g = first.truth[rows][:, columns]
    for one in aligned:
        warn_undefined(one.targets, [fine for _, _, fine in one.pairs(one.others)])
    orders = mantel.relabelings(own, relabelings, key)
    plain = _tested([mantel.null(a, g, own, orders, ranked) for a in scores], orders)
    partial = _tested([mantel.partial_null(a, g, own, orders, ranked) for a in scores], orders)
    warn_of_resolution(plain["smallest"], orders)
    return AgreementComparison(
        **{name: plain[name] for name in _EACH[:5]},
        partial=partial["means"],
        partial_p=partial["p"],
        partial_adjusted=partial["adjusted"],
        **dict(zip(_PAIRS, _differences(scores, g, own, ranked), strict=True)),
        names=tuple(map(str, affinities)),
        targets=tuple(t for t, c in zip(first.targets, columns, strict=True) if c),
        relabelings=orders.count,
        exact=orders.exact,
        correlation=correlation.__name__,
        truth=truth.provenance.measure,
    )


def _differences(scores: list[np.ndarray], g: np.ndarray, own: np.ndarray, ranked: bool) -> tuple[np.ndarray, ...]:
    """`(M, M)` fields of the comparison about differences of measures, in the order of _PAIRS."""
    count = len(scores)
    pairs = [(i, j, difference(scores[i], scores[j], g, own, ranked)) for i in range(count) for j in range(i)]
    value, error, p, adjusted = np.zeros((count, count)), np.zeros((count, count)), np.eye(count), np.eye(count)
    for (i, j, one), all_pairs in zip(pairs, holm([one.p for *_, one in pairs]), strict=True):
        value[i, j], value[j, i] = one.value, -one.value
        error[[i, j], [j, i]], p[[i, j], [j, i]], adjusted[[i, j], [j, i]] = one.error, one.p, all_pairs
    return value, error, p, adjusted


def _aligned(affinities, truth, subset) -> tuple[list[Aligned], Affinity]:
    """Each affinity with the truth, all over the networks of the first affinity, in its order."""
    if not isinstance(affinities, Mapping):
        kind = type(affinities).__name__
        raise TypeError(f"affinities must be a dict from names to Affinity, such as {{'rsa': ...}}, not {kind}.")
    if len(affinities) < 2:
        raise ValueError(
            "compare_agreements needs two affinities or more; for a single one, use evaluate(..., relabelings=999)."
        )
    made = {name: as_affinity(one, f"the affinity {name!r}") for name, one in affinities.items()}
    truth = as_affinity(truth, "the truth")
    lead, first = next(iter(made.items()))
    for name, one in made.items():
        for what in ("names", "targets"):
            odd = sorted(set(getattr(one, what)) ^ set(getattr(first, what)))
            if odd:
                raise ValueError(
                    f"{lead!r} and {name!r} have different networks; only one of them has: {', '.join(odd)}."
                )
    aligned = [align(reordered(one, first.names, first.targets), truth, subset=subset) for one in made.values()]
    for one, both in zip(made.values(), aligned, strict=True):
        warn_of_distances(one, falls(both))
    return aligned, truth


def _tested(nulls: list[mantel.Null], orders: mantel.Relabelings) -> dict[str, Any]:
    """Fields of the comparison that come from relabelings, and the smallest p value they can give."""
    means, scores = (np.stack([getattr(one, what) for one in nulls], axis=1) for what in ("means", "scores"))
    defined = np.isfinite(means[0])
    null = means if orders.exact else means[1:]
    if not defined.any():
        undefined = np.full(len(nulls), np.nan)
        return dict.fromkeys(_EACH[:5], undefined) | {"smallest": 0.0}
    found = {"p": mantel.p_values(scores), "adjusted": _step_down(scores, defined)}
    found |= {"null_mean": np.nanmean(null, axis=0), "null_deviation": np.nanstd(null, axis=0, ddof=1)}
    found = {name: np.where(defined, one, np.nan) for name, one in found.items()}
    smallest = min(mantel.smallest_p(one) for one in scores[:, defined].T)
    return found | {"means": means[0], "smallest": smallest}


def _step_down(scores: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """P values adjusted by the maximum over the measures that agree no better, `(B, M)` to `(M,)`."""
    scores = np.where(defined & np.isfinite(scores), scores, np.nan)
    z = (scores - np.nanmean(scores, axis=0)) / np.maximum(np.nanstd(scores, axis=0), mantel.TIE)
    z = np.where(np.isfinite(z), z, -np.inf)
    order = np.argsort(-z[0], kind="stable")
    rest = np.maximum.accumulate(z[:, order[::-1]], axis=1)[:, ::-1]
    adjusted = np.mean(rest >= z[0, order] - mantel.TIE, axis=0)
    out = np.empty(len(order))
    out[order] = np.maximum.accumulate(adjusted)
    return out
