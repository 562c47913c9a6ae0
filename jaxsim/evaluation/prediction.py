"""Prediction of measured transfer by an affinity matrix, target by target.

Correlations of columns are computed in float64 on the host, so that ranks see the ties in the file.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation import mantel
from jaxsim.evaluation.truth import Aligned, align, as_affinity, warn_of_distances, warn_undefined
from jaxsim.io.files import warn
from jaxsim.results import Affinity, Provenance, Saved, record
from jaxsim.results.tables import Table, number
from jaxsim.statistics.checks import as_count, flag, is_whole, shown

if TYPE_CHECKING:
    import jax
    import pandas as pd

Correlation = Callable[[np.ndarray, np.ndarray], float]


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two vectors `(n,)`.

    NaN if one of them is constant, contains NaN or has fewer than two entries.

    Example:
        >>> round(pearson([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]), 3)
        0.5
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(np.sum(x / np.linalg.norm(x) * (y / np.linalg.norm(y))))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of two vectors `(n,)`, with average ranks for ties.

    NaN as in `pearson`.

    Example:
        >>> round(spearman([1.0, 2.0, 30.0], [5.0, 5.0, 6.0]), 3)
        0.866
    """
    from scipy.stats import rankdata

    return pearson(rankdata(x), rankdata(y))


_SHAPES = {**dict.fromkeys(("per_target", "sources"), ("targets",)), "top_k_hits": ("targets", "top")}


@record(arrays=_SHAPES | {"found": ("targets", "first")})
class Agreement(Saved):
    """Agreement of a predicted affinity with measured transfer, target by target.

    Attributes:
        per_target: `(T,)` correlation of each target's two columns; NaN where undefined.
        sources: `(T,)` number of sources in each correlation.
        top_k_hits: `(T, len(top))` 1 if the source predicted best is among the k truly best, else 0.
        found: `(T, K)` number of the `relevant` truly best sources among the first k predicted, k = 1..K.
        targets: the T targets.
        top: the values of k in `top_k_hits`.
        relevant: number of truly best sources that `found` looks for.
        diagonal: whether the correlations include a target's own network as a source.
        correlation: name of the correlation.
        truth: name of the measured transfer.
        provenance: where the prediction comes from.
        relabelings: number of task relabelings behind the p values; 0 if none were requested.
        exact: whether these are all possible relabelings.
        p: share of relabelings that agree at least as well, including the observed one; None where undefined.
        null_mean: mean agreement over the relabelings.
        null_deviation: standard deviation of the agreement over the relabelings.
        partial: mean agreement without the main effects of the sources.
        partial_p: p value of `partial`.
        smallest_p: p value of the relabeling that agrees most.
    """

    per_target: Any
    sources: Any
    top_k_hits: Any
    found: Any
    targets: tuple[str, ...]
    top: tuple[int, ...]
    relevant: int
    diagonal: bool
    correlation: str
    truth: str
    provenance: Provenance
    relabelings: int = 0
    exact: bool = False
    p: float | None = None
    null_mean: float | None = None
    null_deviation: float | None = None
    partial: float | None = None
    partial_p: float | None = None
    smallest_p: float | None = None

    @property
    def mean(self) -> float:
        """Mean of `per_target` over the targets where it is defined; NaN if there are none."""
        return float(_mean(self.per_target))

    @property
    def undefined(self) -> tuple[str, ...]:
        """Targets whose correlation is undefined, which the mean leaves out."""
        return tuple(t for t, v in zip(self.targets, self.per_target, strict=True) if np.isnan(v))

    @property
    def precision_at_k(self) -> np.ndarray:
        """Mean share `(K,)` of the first k predicted sources that are relevant."""
        return _mean(self.found) / np.arange(1, self.found.shape[1] + 1)

    @property
    def recall_at_k(self) -> np.ndarray:
        """Mean share `(K,)` of the relevant sources that are among the first k."""
        return _mean(self.found) / self.relevant

    def to_json(self) -> dict[str, Any]:
        """Convert the record to JSON types, with the mean."""
        mean = None if np.isnan(self.mean) else self.mean
        return super().to_json() | {"mean": mean, "undefined": list(self.undefined)}

    def table(self) -> Table:
        """Correlation, number of sources and hits of each target, and the mean."""
        hits = [f"top {k}" for k in self.top]
        rows = [
            [name, number(float(value)), str(int(count)), *map(hit, found)]
            for name, value, count, found in zip(
                self.targets, self.per_target, self.sources, np.asarray(self.top_k_hits), strict=True
            )
        ]
        diagonal = "with" if self.diagonal else "without"
        title = f"agreement with {self.truth}, {diagonal} the diagonal: mean {self.correlation} {number(self.mean)}"
        return Table(title, ["", self.correlation, "sources", *hits], rows, self.tests())

    def tests(self) -> str:
        """Text with the p values, or "" if none were requested."""
        if not self.relabelings:
            return ""
        if self.p is None:
            return "no p value: no target has a correlation"
        how = f"all {self.relabelings}" if self.exact else str(self.relabelings)
        unrelated = f"{_known(self.null_mean)} +- {_known(self.null_deviation)}"
        return (
            f"p = {_known(self.p)} by {how} relabelings of the tasks, whose mean is {unrelated}; without the sources' "
            f"main effects, mean {_known(self.partial)}, p = {_known(self.partial_p)}"
        )

    def to_pandas(self):
        """Convert to a DataFrame with one row per target: correlation, number of sources, hits at each k."""
        import pandas as pd

        hits = {f"top_{k}": np.asarray(self.top_k_hits)[:, i] for i, k in enumerate(self.top)}
        columns = {self.correlation: np.asarray(self.per_target), "sources": np.asarray(self.sources)}
        return pd.DataFrame(columns | hits, index=pd.Index(self.targets, name="target"))


def _mean(values) -> np.ndarray:
    """Mean over targets of the defined values; NaN without a warning if there are none."""
    values = np.asarray(values, dtype=np.float64)
    count = np.sum(~np.isnan(values), axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


def hit(value: float) -> str:
    """An entry of `top_k_hits` as a word."""
    return "n/a" if np.isnan(value) else "yes" if value else "no"


def _known(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2g}" if 0 < value < 0.0995 else number(value)


def evaluate(
    affinity: "Affinity | pd.DataFrame",
    truth: "Affinity | pd.DataFrame",
    *,
    diagonal: bool,
    correlation: Correlation = spearman,
    top: tuple[int, ...] = (1, 3, 5),
    relevant: int = 5,
    subset: bool = False,
    relabelings: int = 0,
    key: "jax.Array | int" = 0,
) -> Agreement:
    """Compare an affinity matrix with measured transfer performance, target by target.

    For target t, with a_t and g_t the columns of the affinity and of the truth over the sources that both have,
    `per_target[t] = correlation(a_t, g_t)`, and `mean` is its mean over targets. The two are aligned by name.

    `diagonal` has no default because the choice matters. True keeps the target's own network among its sources, as the
    DDS code does (Dwivedi et al. 2020). A network is mostly its own best source in both matrices, which raises the
    correlation. False removes it, as RSA does (Dwivedi & Roig 2019, section 4.3).

    Source selection never counts the target's own network, whatever `diagonal` is. `top_k_hits` tells whether the
    source predicted best is among the k truly best (RSA, table 1; a tie with the k-th counts). `precision_at_k` and
    `recall_at_k` compare the `relevant` truly best sources with the first k predicted ones (Song et al. 2019). Equal
    values keep the affinity's order of sources.

    `relabelings=999` tests whether the two are related at all (Mantel 1967). The tasks of the affinity are relabeled,
    in rows and columns together, and `p` is the share of relabelings whose mean is at least as high, including the
    observed one. The test is one-sided. It keeps its level whatever the symmetry and main effects of the matrices, as
    long as either could just as well belong to other tasks. Tasks that are only sources, or only targets, are permuted
    among themselves. If there are no more relabelings than requested, all are used: six tasks have 720. With missing
    pairs, each relabeling is ranked over the pairs that it has, and the mean is divided by its standard error.
    `partial_p` tests whether the two are related beyond main effects of sources, since some sources may transfer well
    to everything. These effects are first removed from both matrices. The test is approximate if a few sources make up
    most of the effects.

    Args:
        affinity: `(S, T)` prediction, an `Affinity` or a DataFrame; higher is more similar, unless it is an `Affinity`
            with `distance` set.
        truth: measured transfer; higher is better unless its `distance` is set. It may have more networks, in another
            order.
        diagonal: whether a target's own network counts as a source.
        correlation: function of two float64 vectors: `spearman`, `pearson` or your own.
        top: values of k for `top_k_hits`.
        relevant: size of the set of truly best sources.
        subset: use the networks that both have instead of failing when the truth lacks some.
        relabelings: number of task relabelings for p values; 0 for none. Requires `diagonal=False`, since a task's own
            network stays on the diagonal, and `spearman` or `pearson`.
        key: key for the relabelings, as for `js.resample`.

    Returns:
        The agreement. A target is NaN and listed in `undefined`, with a warning, if fewer than 3 sources have both
        values or one of the columns is constant. The same applies to source selection, without the target's own
        network. `found` is also NaN for a target with no more than `relevant` candidates. A matrix that seems to
        contain distances without saying so causes a warning.

    Raises:
        ValueError: the truth lacks networks of the affinity and `subset` is False, or the two share none; relabelings
            are requested with the diagonal or with your own correlation, or are fewer than 0; `top` or `relevant` is
            not a number of sources.
        TypeError: a matrix has no names; there are several affinities, which `compare_agreements` accepts; the
            correlation is not a function; the key is neither a typed key nor a seed.

    Example:
        >>> import numpy as np, pandas as pd
        >>> names = ["edges", "depth", "normals", "classes"]
        >>> truth = pd.DataFrame(np.eye(4) - 0.1 * np.arange(4)[:, None], names, names)
        >>> round(evaluate(truth, truth, diagonal=False).mean, 6)
        1.0
    """
    if isinstance(affinity, (list, tuple, Mapping)):
        raise TypeError(
            "evaluate needs a single affinity; for several, use compare_agreements({'rsa': ..., 'cka': ...}, truth)."
        )
    if not callable(correlation):
        raise TypeError(f"correlation must be a function, such as jaxsim.evaluation.pearson, not {shown(correlation)}.")
    top = tuple(top) if isinstance(top, Iterable) else (top,)
    if odd := [k for k in (*top, relevant) if not is_whole(k) or k < 1]:
        raise ValueError(f"top and relevant must be positive whole numbers of sources, not {shown(odd[0])}.")
    diagonal = flag(diagonal, "diagonal")
    if as_count(relabelings, "relabelings", least=0):
        check_relabelings(diagonal, correlation)
    affinity, truth = as_affinity(affinity, "the affinity"), as_affinity(truth, "the truth")
    both = align(affinity, truth, subset=subset)
    used = both.used(diagonal)
    pairs = both.pairs(used)
    warn_undefined(both.targets, [fine for _, _, fine in pairs])
    warn_of_distances(affinity, falls(both))
    choices = [
        _choice(a, g, top, relevant) if fine else (np.full(len(top), np.nan), None)
        for a, g, fine in both.pairs(both.others)
    ]
    return Agreement(
        per_target=np.array([float(correlation(a, g)) if fine else np.nan for a, g, fine in pairs]),
        sources=used.sum(axis=0),
        top_k_hits=np.stack([hits for hits, _ in choices]),
        found=_stack_curves([found for _, found in choices]),
        targets=both.targets,
        top=tuple(int(k) for k in top),
        relevant=int(relevant),
        diagonal=diagonal,
        correlation=getattr(correlation, "__name__", repr(correlation)),
        truth=truth.provenance.measure,
        provenance=affinity.provenance,
        **(_relabeled(both, relabelings, key, correlation) if relabelings else {}),
    )


def check_relabelings(diagonal: bool, correlation: Correlation) -> None:
    """Reject relabelings that cannot be made.

    Raises:
        ValueError: they are requested with the diagonal, or with another correlation.
    """
    if diagonal:
        raise ValueError(
            "relabelings keep every task's own network on the diagonal, so it agrees under all of them; "
            "give diagonal=False for a p value."
        )
    if correlation is not spearman and correlation is not pearson:
        text = (
            f"relabelings need evaluation.spearman or evaluation.pearson as the correlation, not {shown(correlation)}"
        )
        raise ValueError(f"{text}.")


def _relabeled(both: Aligned, count: int, key: "jax.Array | int", correlation: Correlation) -> dict[str, Any]:
    """Fields of `Agreement` that come from relabelings."""
    some = np.ix_(*(both.others.any(axis=axis) for axis in (1, 0)))  # sources and targets with a pair
    a, g, own = both.scores[some], both.truth[some], both.own[some]
    orders, ranked = mantel.relabelings(own, count, key), correlation is spearman
    plain = mantel.null(a, g, own, orders, ranked)
    partial = mantel.partial_null(a, g, own, orders, ranked)
    found: dict[str, Any] = {"relabelings": orders.count, "exact": orders.exact}
    if np.isfinite(plain.means[0]):
        null, smallest = plain.means[0 if orders.exact else 1 :], mantel.smallest_p(plain.scores)
        warn_of_resolution(smallest, orders)
        found |= {"p": float(mantel.p_values(plain.scores)), "smallest_p": smallest}
        found |= {"null_mean": float(np.nanmean(null)), "null_deviation": float(np.nanstd(null, ddof=1))}
    if np.isfinite(partial.means[0]):
        found |= {"partial": float(partial.means[0]), "partial_p": float(mantel.p_values(partial.scores))}
    return found


def warn_of_resolution(smallest: float, orders: mantel.Relabelings) -> None:
    """Warn if no p value of these relabelings could reach 5 %."""
    if smallest > 0.05:
        how = f"all {orders.count} relabelings" if orders.exact else f"{orders.count} relabelings"
        remedy = "use more tasks" if orders.exact else "use more relabelings"
        warn(f"the smallest p value that {how} can give is {smallest:.2g}, above .05; {remedy}.", RuntimeWarning)


def falls(both) -> float | None:
    """Mean rank correlation with the truth, without own networks, if it is two standard errors below zero."""
    pairs = [(a, g) for a, g, fine in both.pairs(both.others) if fine]
    if not pairs:
        return None
    mean = float(np.mean([spearman(a, g) for a, g in pairs]))
    error = sum(1 / (len(a) - 1) for a, _ in pairs) ** 0.5 / len(pairs)  # for independent ranks
    return mean if mean < -max(0.3, 1.96 * error) else None


def _choice(a, g, top, relevant):
    """Hits of the source predicted best, and relevant sources among the first k."""
    predicted = np.argsort(-a, kind="stable")
    better = int(np.sum(g > g[predicted[0]]))
    hits = np.array([float(better < k) for k in top])
    if a.size <= relevant:
        return hits, None
    best = np.argsort(-g, kind="stable")[:relevant]
    return hits, np.cumsum(np.isin(predicted, best)).astype(np.float64)


def _stack_curves(curves):
    """Stack curves cut to the shortest, with NaN rows where there is none."""
    length = min((len(c) for c in curves if c is not None), default=0)
    return np.stack([np.full(length, np.nan) if c is None else c[:length] for c in curves])
