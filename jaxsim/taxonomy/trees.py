"""The tree of a set of networks: a labeled record, and the verb that makes it from affinities."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation import as_affinity
from jaxsim.results import Affinity, Provenance, Saved, record
from jaxsim.taxonomy.linkages import Linkage, average_linkage

if TYPE_CHECKING:
    import pandas as pd


@record(arrays=("merges", "support"))
class Tree(Saved):
    """A binary tree of T networks.

    Attributes:
        merges: `(T - 1, 4)`, SciPy's linkage matrix: the two nodes that merge (leaves 0..T-1, then merges),
            the height at which they do, and the number of leaves below. Left to right it is in leaf order.
        support: `(T - 1,)` share of resamples whose tree holds each merge's set of leaves, or None.
        names: the networks, in the order of the affinity matrix.
        convention: how distances and merges were made.
        symmetrized: whether the affinity was averaged with its transpose first.
        provenance: where the affinity comes from.
        notes: what the reader must know of the support.
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
        """Positions in `names` of the leaves from left to right: neighbors are similar."""
        return _members(self.merges)[-1]

    def cut(self, k: int) -> tuple[int, ...]:
        """Cluster (0..k-1, numbered in leaf order) of each of `names` when the tree is cut into k clusters.

        Exactly k: where merges tie in height, the order of `merges` decides.

        Raises:
            ValueError: k is not between 1 and the number of networks.
        """
        if not 1 <= k <= len(self.names):
            raise ValueError(f"A tree of {len(self.names)} networks cannot be cut into {k} clusters.")
        cluster = list(range(len(self.names)))
        for row, members in enumerate(_members(self.merges)[len(self.names) : 2 * len(self.names) - k]):
            for leaf in members:
                cluster[leaf] = len(self.names) + row
        numbers: dict[int, int] = {}
        for leaf in self.order:
            numbers.setdefault(cluster[leaf], len(numbers))
        return tuple(numbers[c] for c in cluster)

    def clusters(self, k: int) -> list[tuple[str, ...]]:
        """Names in each of k clusters, clusters and names in leaf order."""
        found: list[list[str]] = [[] for _ in range(k)]
        cluster = self.cut(k)
        for leaf in self.order:
            found[cluster[leaf]].append(self.names[leaf])
        return [tuple(names) for names in found]

    def cophenetic(self) -> np.ndarray:
        """`(T, T)` height at which two networks first join; zero on the diagonal."""
        heights = np.zeros((len(self.names),) * 2)
        members = _members(self.merges)
        for left, right, height, _ in np.asarray(self.merges, dtype=np.float64):
            a, b = list(members[int(left)]), list(members[int(right)])
            heights[np.ix_(a, b)] = heights[np.ix_(b, a)] = height
        return heights

    def to_newick(self) -> str:
        """The tree in Newick format: the path between two leaves is as long as their cophenetic distance.

        Names other than plain letters and digits are quoted; support, where known, labels the inner nodes.
        """
        text, height = [_newick_name(n) for n in self.names], [0.0] * len(self.names)
        for row, (left, right, top, _) in enumerate(np.asarray(self.merges, dtype=np.float64)):
            sides = (f"{text[i]}:{(top - height[i]) / 2:.9g}" for i in (int(left), int(right)))
            text.append(f"({','.join(sides)})" + ("" if self.support is None else f"{self.support[row]:.4g}"))
            height.append(top)
        return text[-1] + ";"

    def to_text(self) -> str:
        """The tree in plain ASCII: one line per leaf and per merge, with its height and support."""
        blocks = [[name] for name in self.names]
        for row, (left, right, height, _) in enumerate(np.asarray(self.merges, dtype=np.float64)):
            label = f"{height:.3f}" + ("" if self.support is None else f" ({self.support[row]:.0%})")
            upper, lower = blocks[int(left)], blocks[int(right)]
            above = ["|- " + upper[0], *("|  " + line for line in upper[1:])]
            below = ["`- " + lower[0], *("   " + line for line in lower[1:])]
            blocks.append([label, *above, *below])
        return "\n".join(blocks[-1])

    def to_pandas(self):
        """A DataFrame with one row per merge: both nodes, height, size, support and the names below."""
        import pandas as pd

        merges, members = np.asarray(self.merges), _members(self.merges)[len(self.names) :]
        support = np.full(len(merges), np.nan) if self.support is None else np.asarray(self.support)
        below = [", ".join(self.names[i] for i in leaves) for leaves in members]
        columns = dict(zip(("left", "right", "height", "size"), merges.T, strict=True))
        table = pd.DataFrame(columns | {"support": support, "members": below})
        return table.astype({"left": int, "right": int, "size": int})


def _members(merges) -> list[tuple[int, ...]]:
    """Leaves below each node, left to right: first the leaves themselves, then every merge, the root last."""
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

    * `average_linkage`, the default: average linkage on 1 - S; needs a symmetric matrix, ignores its
      diagonal.
    * `authors_linkage`: what the RSA authors' MATLAB code does (Dwivedi & Roig 2019, figure 4): single
      linkage on Euclidean distances between rows of the matrix, the diagonal included.
    * `transfer_linkage`: Taskonomy's features (Zamir et al. 2018): a source is its row of transfer
      performance on all targets; `(S, T)` gives a tree of the S sources. The paper names no linkage; here it
      is average.

    Leaves come in the optimal order under the distances (Bar-Joseph et al. 2001).

    Args:
        affinity: `(T, T)`, or `(S, T)` for conventions on rows; higher is more similar.
        linkage: the convention; any `Linkage`.
        symmetrize: use (S + S^T) / 2, as an asymmetric matrix needs under `average_linkage`.

    Raises:
        ValueError: no network, an undefined score, or a matrix that does not suit the convention.
        ImportError: SciPy is not installed.

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
    affinity = as_affinity(affinity, "the affinity")
    values = np.asarray(affinity.values, dtype=np.float64)
    _refuse_undefined(values, affinity.names)
    if symmetrize:
        values = symmetrized(values, affinity.square)
    merges = linkage.merges(values, ordered=True)
    return Tree(merges, None, affinity.names, linkage.name, symmetrize, affinity.provenance)


def _refuse_undefined(values, names):
    if not names:
        raise ValueError("A tree needs at least one network; the affinity matrix is empty.")
    bad = ~np.isfinite(values)
    if bad.any():
        worst = names[int(np.argmax(bad.sum(axis=1)))]
        raise ValueError(f"{int(bad.sum())} affinities are not finite, most of them of {worst}: leave it out.")


def symmetrized(values: np.ndarray, square: bool) -> np.ndarray:
    """`(S + S^T) / 2` over the last two axes."""
    if not square:
        raise ValueError("symmetrize=True needs the same networks as rows and as columns, in the same order.")
    return (values + np.swapaxes(values, -1, -2)) / 2
