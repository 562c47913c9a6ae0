"""Conventions of agglomerative clustering: how far apart two networks are, and how clusters merge (SciPy)."""

import dataclasses
import importlib
from collections.abc import Callable

import numpy as np

from jaxsim import extras

_ROUNDING = 1e-5


def one_minus(values: np.ndarray) -> np.ndarray:
    """Distances `1 - S_ij` of T networks: `(T, T)` symmetric similarities of at most 1 to `(T (T - 1) / 2,)`.

    Differences of 1e-5 and less between S_ij and S_ji, or above 1, count as rounding: the mean of the two is
    taken and a distance that rounding made negative is zero.

    Raises:
        ValueError: the matrix is not square, not symmetric, or holds similarities above 1.
    """
    if values.shape[0] != values.shape[1]:
        raise ValueError(f"1 - S needs a square affinity matrix, not one of shape {values.shape}.")
    if np.max(np.abs(values - values.T), initial=0.0) > _ROUNDING:
        raise ValueError("1 - S needs a symmetric matrix; pass symmetrize=True to use (S + S^T) / 2.")
    distances = 1.0 - ((values + values.T) / 2)[np.triu_indices(len(values), 1)]
    if np.min(distances, initial=0.0) < -_ROUNDING:
        raise ValueError(f"1 - S needs similarities of at most 1, but one is {1 - np.min(distances):.4g}.")
    return np.maximum(distances, 0.0)


def between_rows(values: np.ndarray) -> np.ndarray:
    """Euclidean distances between the rows of an `(S, T)` affinity matrix, as `(S (S - 1) / 2,)`."""
    return _scipy("spatial.distance").pdist(values)


@dataclasses.dataclass(frozen=True)
class Linkage:
    """A convention of agglomerative clustering.

    Attributes:
        name: what the tree says it is.
        distances: function of the affinity matrix that gives the condensed distances of its rows' networks.
        rule: how the distance of two clusters follows: SciPy's `average`, `single`, `complete`...
    """

    name: str
    distances: Callable[[np.ndarray], np.ndarray]
    rule: str

    def merges(self, values: np.ndarray, *, ordered: bool = False) -> np.ndarray:
        """SciPy's `(T - 1, 4)` linkage matrix; `ordered` puts similar leaves side by side."""
        distances = self.distances(values)
        if distances.size == 0:
            return np.zeros((0, 4))
        hierarchy = _scipy("cluster.hierarchy")
        merges = hierarchy.linkage(distances, method=self.rule)
        return hierarchy.optimal_leaf_ordering(merges, distances) if ordered else merges


average_linkage = Linkage("average linkage on 1 - S", one_minus, "average")
authors_linkage = Linkage("single linkage, Euclidean distance of rows (RSA)", between_rows, "single")
transfer_linkage = Linkage("average linkage, Euclidean distance of rows (Taskonomy)", between_rows, "average")


def _scipy(module: str):
    with extras.needed("Trees need", "SciPy, which is not installed", install=extras.TAXONOMY):
        return importlib.import_module(f"scipy.{module}")
