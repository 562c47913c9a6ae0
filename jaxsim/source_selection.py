"""Selection of the best sources for a target as a scikit-learn step: features of many networks in, of the best out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsim.engine import affinity
from jaxsim.extras import SKLEARN, needed
from jaxsim.measures import Measure
from jaxsim.statistics.checks import is_whole

with needed("jaxsim.source_selection needs", "scikit-learn", install=SKLEARN):
    from sklearn.base import BaseEstimator
    from sklearn.feature_selection import SelectorMixin
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import check_is_fitted, validate_data


class SourceSelector(SelectorMixin, BaseEstimator):
    """Keep the columns of the networks whose features are most similar to the target (Dwivedi and Roig 2019).

    Works in a `Pipeline` and with `GridSearchCV`, so the selection is made again on each training set.

    Args:
        sources: name of the network of each column of X, `(d,)`; None treats each column as its own network.
        measure: a measure or its name. Some, such as "rsa", are undefined for a target of a single number.
        k: number of networks to keep.

    Attributes:
        names_: names of the networks in the order of their first columns, `(S,)`.
        scores_: similarity of each network with the target, `(S,)`; NaN where undefined.
        ranking_: names from the highest score to the lowest, undefined ones last.

    Example:
        >>> import numpy as np, jaxsim as js
        >>> from jaxsim.source_selection import SourceSelector
        >>> features = {name: x.reshape(200, -1) for name, x in js.demo.features().items()}
        >>> target = features.pop("amber_1")
        >>> sources = np.repeat([*features], [x.shape[1] for x in features.values()])
        >>> chosen = SourceSelector(sources, k=3).fit(np.concatenate([*features.values()], 1), target)
        >>> chosen.ranking_[:3]
        ('amber_2', 'amber_3', 'coral_1')
    """

    def __init__(self, sources: Sequence[Any] | None = None, measure: Measure | str = "cka", k: int = 1):
        self.sources, self.measure, self.k = sources, measure, k

    def fit(self, X: Any, y: Any) -> "SourceSelector":  # noqa: N803
        """Score each network against the target.

        Args:
            X: features of all networks side by side, `(n, d)`.
            y: the target: classes `(n,)`, which get one column each, or numbers `(n,)` or `(n, t)`, such as features of
                a network trained on the target.

        Raises:
            ValueError: `sources` does not name every column, `k` is not a number of networks, or no score is defined.
        """
        X, y = validate_data(self, X, y, multi_output=True, ensure_min_samples=4)  # noqa: N806
        columns = np.arange(X.shape[1]) if self.sources is None else np.asarray(self.sources)
        if columns.shape != (X.shape[1],):
            raise ValueError(f"sources names {columns.size} columns, but X has {X.shape[1]}.")
        names = list(dict.fromkeys(columns.tolist()))
        if not is_whole(self.k) or not 0 < self.k <= len(names):
            raise ValueError(f"k must be a number of networks from 1 to {len(names)}, not {self.k!r}.")
        features = {str(name): X[:, columns == name] for name in names}
        found = affinity(features, self.measure, against={"target": _as_features(y)})
        self.names_, self.scores_ = tuple(names), np.asarray(found.values)[:, 0]
        if np.isnan(self.scores_).all():
            raise ValueError(f"no {found.provenance.measure} score with the target is defined; take another measure.")
        order = np.argsort(np.where(np.isnan(self.scores_), np.inf, -self.scores_), kind="stable")
        self.ranking_ = tuple(names[k] for k in order)
        self._support = np.isin(columns, self.ranking_[: self.k])
        return self

    def _get_support_mask(self):
        check_is_fitted(self)
        return self._support

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _as_features(y: np.ndarray) -> np.ndarray:
    """The target as features `(n, t)`, with one column per class for classes."""
    if type_of_target(y, input_name="y", raise_unknown=True) in ("binary", "multiclass"):
        return (y.reshape(-1, 1) == np.unique(y)).astype(np.float32)
    return y.reshape(len(y), -1)
