"""Prediction of measured transfer by an affinity matrix, target by target.

Correlations of columns are computed in float64 on the host, so that ranks see ties as they are in the file.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation.truth import align, as_affinity, warn_of_distances, warn_undefined
from jaxsim.results import Affinity, Provenance, Saved, record
from jaxsim.results.tables import Table, number

if TYPE_CHECKING:
    import pandas as pd

Correlation = Callable[[np.ndarray, np.ndarray], float]


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two vectors `(n,)`.

    NaN where one of them is constant, holds NaN or has fewer than two entries.

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
        sources: `(T,)` number of sources that entered each correlation.
        top_k_hits: `(T, len(top))` 1 where the source predicted best is among the k truly best, 0 elsewhere.
        found: `(T, K)` number of the `relevant` truly best sources among the first k predicted, k = 1..K.
        targets: the T targets.
        top: the values of k in `top_k_hits`.
        relevant: number of truly best sources that `found` looks for.
        diagonal: whether the correlations include a target's own network as a source.
        correlation: name of the correlation.
        truth: name of the measured transfer.
        provenance: where the prediction comes from.
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

    @property
    def mean(self) -> float:
        """Mean of `per_target` over the targets where it is defined; else NaN."""
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
        """The record as JSON types, with the mean."""
        mean = None if np.isnan(self.mean) else self.mean
        return super().to_json() | {"mean": mean, "undefined": list(self.undefined)}

    def table(self) -> Table:
        """Correlation, number of sources and hits of each target, and the mean."""
        hits = [f"top {k}" for k in self.top]
        rows = [
            [name, number(float(value)), str(int(count)), *("yes" if hit else "no" for hit in found)]
            for name, value, count, found in zip(
                self.targets, self.per_target, self.sources, np.asarray(self.top_k_hits), strict=True
            )
        ]
        diagonal = "with" if self.diagonal else "without"
        title = f"agreement with {self.truth}, {diagonal} the diagonal: mean {self.correlation} {number(self.mean)}"
        return Table(title, ["", self.correlation, "sources", *hits], rows)

    def to_pandas(self):
        """A DataFrame with one row per target: correlation, number of sources, hits at each k."""
        import pandas as pd

        hits = {f"top_{k}": np.asarray(self.top_k_hits)[:, i] for i, k in enumerate(self.top)}
        columns = {self.correlation: np.asarray(self.per_target), "sources": np.asarray(self.sources)}
        return pd.DataFrame(columns | hits, index=pd.Index(self.targets, name="target"))


def _mean(values) -> np.ndarray:
    """Mean over targets of the defined values, NaN without a warning where there are none."""
    values = np.asarray(values, dtype=np.float64)
    count = np.sum(~np.isnan(values), axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


def evaluate(
    affinity: "Affinity | pd.DataFrame",
    truth: "Affinity | pd.DataFrame",
    *,
    diagonal: bool,
    correlation: Correlation = spearman,
    top: tuple[int, ...] = (1, 3, 5),
    relevant: int = 5,
    subset: bool = False,
) -> Agreement:
    """Compare an affinity matrix with measured transfer performance, target by target.

    For target t, with a_t and g_t the columns of the affinity and of the truth over the sources that both
    have, `per_target[t] = correlation(a_t, g_t)`, and `mean` is its mean over targets. Names align the two.

    `diagonal` has no default, since the choice matters. True keeps the target's own network among its sources,
    as the code of DDS does (Dwivedi et al. 2020): a network is mostly its own best source in both matrices,
    which raises the correlation. False removes it, as RSA does (Dwivedi & Roig 2019, section 4.3).

    Choosing a source never counts the target's own network, whatever `diagonal` says. `top_k_hits` asks whether
    the source predicted best is among the k truly best (RSA, table 1; a tie with the k-th counts).
    `precision_at_k` and `recall_at_k` compare the `relevant` truly best sources with the first k predicted ones
    (Song et al. 2019). Equal values keep the affinity's order of sources.

    Args:
        affinity: `(S, T)` prediction, an `Affinity` or a DataFrame; higher is more similar, unless it is an `Affinity`
            that says `distance`.
        truth: measured transfer, higher is better unless it says `distance`; it may hold more networks, in another
            order.
        diagonal: whether a target's own network counts as a source in the correlations.
        correlation: function of two float64 vectors; `spearman`, `pearson` or your own.
        top: values of k for `top_k_hits`.
        relevant: size of the set of truly best sources.
        subset: use the networks that both have instead of failing when the truth lacks some.

    Returns:
        The agreement. A target is NaN, listed in `undefined` and warned of, where fewer than 3 sources have
        both values or one of the columns is constant; its choice of source likewise, its own network left out.
        `found` is also NaN for a target with no more than `relevant` candidates. A matrix that seems to hold
        distances, unsaid, is warned of.

    Raises:
        ValueError: the truth lacks networks of the affinity and `subset` is False, or the two share none.
        TypeError: a matrix has no names.

    Example:
        >>> import numpy as np, pandas as pd
        >>> names = ["edges", "depth", "normals", "classes"]
        >>> truth = pd.DataFrame(np.eye(4) - 0.1 * np.arange(4)[:, None], names, names)
        >>> round(evaluate(truth, truth, diagonal=False).mean, 6)
        1.0
    """
    affinity, truth = as_affinity(affinity, "the affinity"), as_affinity(truth, "the truth")
    both = align(affinity, truth, subset=subset)
    used = both.used(diagonal)
    pairs = both.pairs(used)
    warn_undefined(both.targets, [fine for _, _, fine in pairs])
    warn_of_distances(affinity, _falls(both))
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
        relevant=relevant,
        diagonal=bool(diagonal),
        correlation=getattr(correlation, "__name__", repr(correlation)),
        truth=truth.provenance.measure,
        provenance=affinity.provenance,
    )


def _falls(both) -> float | None:
    """Mean rank correlation with the truth, own networks left out, if it is below zero by two standard errors."""
    pairs = [(a, g) for a, g, fine in both.pairs(both.others) if fine]
    if not pairs:
        return None
    mean = float(np.mean([spearman(a, g) for a, g in pairs]))
    error = sum(1 / (len(a) - 1) for a, _ in pairs) ** 0.5 / len(pairs)  # of independent ranks
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
    """Stack curves cut to the shortest; NaN rows where there is none."""
    length = min((len(c) for c in curves if c is not None), default=0)
    return np.stack([np.full(length, np.nan) if c is None else c[:length] for c in curves])
