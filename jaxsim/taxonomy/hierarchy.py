"""Hierarchical clustering of networks: linkages and labeled trees."""

import dataclasses
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation import as_affinity
from jaxsim.evaluation.truth import warn_of_distances
from jaxsim.results import Affinity, Provenance, Saved, record
from jaxsim.results.tables import Table
from jaxsim.statistics.checks import flag, is_whole, shown

if TYPE_CHECKING:
    import pandas as pd

_ROUNDING = 1e-5


def one_minus(values: np.ndarray) -> np.ndarray:
    """Distances `1 - S_ij` of T networks, `(T, T)` to condensed `(T (T - 1) / 2,)`.

    Similarities are symmetric and at most 1. Differences of up to 1e-5 between S_ij and S_ji, or above 1, count as
    rounding: S_ij and S_ji are averaged, and a negative distance becomes zero.

    Raises:
        ValueError: the matrix is not square, not symmetric, or contains similarities above 1.

    Example:
        >>> import numpy as np
        >>> one_minus(np.array([[1.0, 0.75], [0.75, 1.0]])).tolist()
        [0.25]
    """
    if values.shape[0] != values.shape[1]:
        raise ValueError(f"1 - S needs a square affinity matrix, but its shape is {values.shape}.")
    if np.max(np.abs(values - values.T), initial=0.0) > _ROUNDING:
        raise ValueError("1 - S needs a symmetric matrix; pass symmetrize=True to use (S + S^T) / 2.")
    distances = 1.0 - ((values + values.T) / 2)[np.triu_indices(len(values), 1)]
    if np.min(distances, initial=0.0) < -_ROUNDING:
        raise ValueError(f"1 - S needs similarities of at most 1, but one is {1 - np.min(distances):.4g}.")
    return np.maximum(distances, 0.0)


def between_rows(values: np.ndarray) -> np.ndarray:
    """Euclidean distances between the rows of a matrix, `(S, T)` to condensed `(S (S - 1) / 2,)`.

    Example:
        >>> import numpy as np
        >>> between_rows(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [5.0]
    """
    from scipy.spatial.distance import pdist

    return pdist(values)


@dataclasses.dataclass(frozen=True)
class Linkage:
    """A convention of agglomerative clustering.

    Attributes:
        name: name stored in the trees made with it.
        distances: function from the affinity matrix to the condensed distances between the networks of its rows.
        rule: SciPy's name for the distance between two clusters: `average`, `single`, `complete`...
    """

    name: str
    distances: Callable[[np.ndarray], np.ndarray]
    rule: str

    def merges(self, values: np.ndarray, *, ordered: bool = False) -> np.ndarray:
        """SciPy's linkage matrix `(T - 1, 4)`; `ordered` puts similar leaves next to each other."""
        from scipy.cluster import hierarchy

        distances = self.distances(values)
        if distances.size == 0:
            return np.zeros((0, 4))
        merges = hierarchy.linkage(distances, method=self.rule)
        return hierarchy.optimal_leaf_ordering(merges, distances) if ordered else merges


average_linkage = Linkage("average linkage on 1 - S", one_minus, "average")
authors_linkage = Linkage("single linkage, Euclidean distance of rows (RSA)", between_rows, "single")
transfer_linkage = Linkage("average linkage, Euclidean distance of rows (Taskonomy)", between_rows, "average")

LINKAGES = MappingProxyType({"average": average_linkage, "authors": authors_linkage, "transfer": transfer_linkage})
"""The conventions by their command-line names."""


def _wrong(found: "Tree") -> str | None:
    """Find a flaw that keeps `merges` from being a tree of the names."""
    count, merges = len(found.names), np.asarray(found.merges, float)
    if len(merges) != count - 1 or not np.isfinite(merges).all():
        return f"{len(merges)} merges of finite heights and sizes are not a tree of {count} names"
    sizes = [1] * count
    for step, (a, b, _, size) in enumerate(merges):
        if not (a in range(count + step) and b in range(count + step)) or size != sizes[int(a)] + sizes[int(b)]:
            return f"its merge {step} joins nodes that do not exist, or has the wrong number of leaves"
        sizes.append(int(size))
    if np.unique(merges[:, :2]).size != 2 * len(merges):
        return "one of its nodes merges twice"
    return None


@record(arrays={"merges": ("merges", 4), "support": ("merges",)}, check=_wrong)
class Tree(Saved):
    """A binary tree of T networks.

    Attributes:
        merges: `(T - 1, 4)`, SciPy's linkage matrix in leaf order: the two nodes that merge (leaves 0..T-1, then
            merges), the height at which they merge, and the number of leaves below.
        support: `(T - 1,)` share of resamples whose tree contains each merge's set of leaves, or None.
        names: names of the networks, in the order of the affinity matrix.
        convention: name of the linkage.
        symmetrized: whether the affinity was averaged with its transpose first.
        provenance: where the affinity comes from.
        notes: resamples that the support leaves out.
    """

    merges: Any
    support: Any
    _optional = ("support",)
    names: tuple[str, ...]
    convention: str
    symmetrized: bool
    provenance: Provenance
    notes: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """Positions in `names` of the leaves from left to right; neighbors are similar."""
        return _members(self.merges)[-1]

    def cut(self, k: int) -> tuple[int, ...]:
        """Cluster of each of `names` when the tree is cut into k clusters.

        Clusters are numbered 0..k-1 in leaf order, and there are exactly k. If merges have the same height, the order
        of `merges` decides.

        Raises:
            ValueError: k is not between 1 and the number of networks.
        """
        if not is_whole(k) or not 1 <= k <= len(self.names):
            raise ValueError(f"a tree of {len(self.names)} networks cannot be cut into {shown(k)} clusters.")
        cluster = list(range(len(self.names)))
        for row, members in enumerate(_members(self.merges)[len(self.names) : 2 * len(self.names) - k]):
            for leaf in members:
                cluster[leaf] = len(self.names) + row
        numbers: dict[int, int] = {}
        for leaf in self.order:
            numbers.setdefault(cluster[leaf], len(numbers))
        return tuple(numbers[c] for c in cluster)

    def clusters(self, k: int) -> list[tuple[str, ...]]:
        """Names in each of k clusters, with clusters and names in leaf order."""
        found: list[list[str]] = [[] for _ in range(k)]
        cluster = self.cut(k)
        for leaf in self.order:
            found[cluster[leaf]].append(self.names[leaf])
        return [tuple(names) for names in found]

    def cophenetic(self) -> np.ndarray:
        """Height `(T, T)` at which two networks first join; zero on the diagonal."""
        from scipy.cluster import hierarchy
        from scipy.spatial.distance import squareform

        merges = np.asarray(self.merges, dtype=np.float64)
        return squareform(hierarchy.cophenet(merges)) if len(merges) else np.zeros((1, 1))

    def to_newick(self) -> str:
        """Convert the tree to Newick format.

        The path between two leaves is as long as their cophenetic distance. Names with characters other than letters,
        digits, dots and signs are quoted. If known, support labels the inner nodes.
        """
        text, height = [_newick_name(n) for n in self.names], [0.0] * len(self.names)
        for row, (left, right, top, _) in enumerate(np.asarray(self.merges, dtype=np.float64)):
            sides = (f"{text[i]}:{(top - height[i]) / 2:.9g}" for i in (int(left), int(right)))
            text.append(f"({','.join(sides)})" + ("" if self.support is None else f"{self.support[row]:.4g}"))
            height.append(top)
        return text[-1] + ";"

    def table(self) -> Table:
        """The tree, one line per row."""
        title = f"{self.provenance.measure}, {self.convention}: height of each merge" + (
            "" if self.support is None else " (share of resamples that hold it)"
        )
        return Table(title, [""], [[line] for line in self.to_text().splitlines()])

    def to_text(self) -> str:
        """The tree in plain ASCII, with heights and support."""
        blocks = [[name] for name in self.names]
        for row, (left, right, height, _) in enumerate(np.asarray(self.merges, dtype=np.float64)):
            label = f"{height:.3f}" + ("" if self.support is None else f" ({self.support[row]:.0%})")
            upper, lower = blocks[int(left)], blocks[int(right)]
            above = ["|- " + upper[0], *("|  " + line for line in upper[1:])]
            below = ["`- " + lower[0], *("   " + line for line in lower[1:])]
            blocks.append([label, *above, *below])
        return "\n".join(blocks[-1])

    def to_pandas(self):
        """Convert to a DataFrame of the merges: nodes, height, size, support, names below."""
        import pandas as pd

        merges, members = np.asarray(self.merges), _members(self.merges)[len(self.names) :]
        support = np.full(len(merges), np.nan) if self.support is None else np.asarray(self.support)
        below = [", ".join(self.names[i] for i in leaves) for leaves in members]
        columns = dict(zip(("left", "right", "height", "size"), merges.T, strict=True))
        table = pd.DataFrame(columns | {"support": support, "members": below})
        return table.astype({"left": int, "right": int, "size": int})


def _members(merges) -> list[tuple[int, ...]]:
    """Leaves below each node, left to right; leaves come first, then merges."""
    found: list[tuple[int, ...]] = [(i,) for i in range(len(merges) + 1)]
    for left, right in np.asarray(merges)[:, :2].astype(int):
        found.append(found[left] + found[right])
    return found


def _newick_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9.+-]+", name) else "'" + name.replace("'", "''") + "'"


def tree(
    affinity: "Affinity | pd.DataFrame",
    *,
    linkage: Linkage = average_linkage,
    symmetrize: bool = False,
) -> Tree:
    """Cluster networks by their affinities.

    * `average_linkage`, the default: average linkage on 1 - S. It needs a symmetric matrix and ignores its diagonal.
    * `authors_linkage`: the RSA authors' MATLAB code (Dwivedi & Roig 2019, figure 4), single linkage on Euclidean
      distances between rows of the matrix, including the diagonal.
    * `transfer_linkage`: Taskonomy's features (Zamir et al. 2018), where a source is its row of transfer performance on
      all targets; `(S, T)` gives a tree of the S sources. The paper does not specify a linkage; this one is average
      linkage.

    Leaves are in the optimal order for the distances (Bar-Joseph et al. 2001).

    Args:
        affinity: `(T, T)`, or `(S, T)` for conventions on rows; higher is more similar. Distances in an `Affinity` with
            `distance` set are used directly.
        linkage: the convention, one of the above or your own `Linkage`.
        symmetrize: use (S + S^T) / 2, which an asymmetric matrix needs with `average_linkage`.

    Raises:
        ValueError: there is no network, a score is undefined, or the matrix does not suit the convention.
        TypeError: the matrix has no names, or the linkage is not a `Linkage`.

    Example:
        >>> import pandas as pd
        >>> names = ["edges", "depth", "normals"]
        >>> print(tree(pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], names, names)).to_text())
        0.850
        |- edges
        `- 0.200
           |- normals
           `- depth
    """
    if not isinstance(linkage, Linkage):
        raise TypeError(f"linkage must be a Linkage such as js.taxonomy.average_linkage, not {shown(linkage)}.")
    affinity = as_affinity(affinity, "the affinity")
    values = np.asarray(affinity.values, dtype=np.float64)
    _refuse_undefined(values, affinity.names)
    warn_of_distances(affinity)
    values = 1.0 - values if affinity.distance else values
    if flag(symmetrize, "symmetrize"):
        values = symmetrized(values, affinity.square)
    merges = linkage.merges(values, ordered=True)
    return Tree(merges, None, affinity.names, linkage.name, symmetrize, affinity.provenance)


def _refuse_undefined(values, names):
    if not names:
        raise ValueError("a tree needs at least one network, and the affinity matrix is empty.")
    bad = ~np.isfinite(values)
    if bad.any():
        worst = names[int(np.argmax(bad.sum(axis=1)))]
        raise ValueError(
            f"{int(bad.sum())} affinities are not finite, most of them for {worst}; leave out that network."
        )


def symmetrized(values: np.ndarray, square: bool) -> np.ndarray:
    """`(S + S^T) / 2` over the last two axes."""
    if not square:
        raise ValueError("symmetrize=True needs the same networks as rows and as columns, in the same order.")
    return (values + np.swapaxes(values, -1, -2)) / 2
