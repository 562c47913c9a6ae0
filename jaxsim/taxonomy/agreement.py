"""How alike two trees of the same networks are, or a tree and known groups."""

from collections.abc import Mapping

import jax
import numpy as np

from jaxsim.evaluation import pearson
from jaxsim.taxonomy.trees import Tree


def cophenetic_agreement(first: Tree, second: Tree) -> float:
    """Pearson correlation of two trees' cophenetic distances over all pairs of networks, aligned by name.

    1 means that all pairs join in proportionally the same places; NaN where one tree joins all at one height
    (Sokal & Rohlf 1962).

    Raises:
        ValueError: the trees are of different networks, or of fewer than three.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> round(cophenetic_agreement(tree(s), tree(s**2)), 6)
        1.0
    """
    places = positions(second, first.names)
    if len(first.names) < 3:
        raise ValueError(f"Cophenetic agreement needs at least 3 networks, not {len(first.names)}.")
    pairs = np.triu_indices(len(first.names), 1)
    return pearson(first.cophenetic()[pairs], second.cophenetic()[np.ix_(places, places)][pairs])


def cluster_agreement(first: Tree, second: "Tree | Mapping[str, object]", k: int) -> float:
    """Adjusted Rand index of a tree cut into k clusters and another tree cut so, or given groups.

    With n_ij networks in cluster i of one and j of the other, a_i and b_j their sums, and C the number of
    pairs: `(sum C(n_ij) - E) / ((sum C(a_i) + sum C(b_j)) / 2 - E)`, `E = sum C(a_i) sum C(b_j) / C(n)`; 1
    for the same clusters, 0 on average for random ones (Hubert & Arabie 1985).

    Args:
        first: the tree.
        second: another tree of the same networks, or a mapping of names to groups (other names are ignored).
        k: number of clusters that a tree is cut into.

    Raises:
        ValueError: a network lacks a group, the trees are of different networks, or k is out of range.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> cluster_agreement(tree(s), {"a": "2D", "b": "3D", "c": "3D"}, k=2)
        1.0
    """
    a, b = _labels(first, second, k)
    return float(_adjusted_rand(a, b[None])[0])


def cluster_agreement_p(
    first: Tree, second: "Tree | Mapping[str, object]", k: int, *, key: jax.Array, permutations: int = 999
) -> float:
    """Permutation p value of `cluster_agreement`: (1 + #) / (B + 1), # the relabelings that agree no less.

    The names of the second grouping are shuffled B times: the null is that groups are unrelated to the tree.

    Args:
        first: as in `cluster_agreement`.
        second: as in `cluster_agreement`.
        k: as in `cluster_agreement`.
        key: random key.
        permutations: B.

    Raises:
        ValueError: as `cluster_agreement`.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> groups = {"a": "2D", "b": "3D", "c": "3D"}
        >>> 0.2 < cluster_agreement_p(tree(s), groups, k=2, key=jax.random.key(0), permutations=199) < 0.5
        True
    """
    a, b = _labels(first, second, k)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(permutations))
    bits = jax.vmap(lambda one: jax.random.bits(one, (len(b),)))(keys)
    shuffled = b[np.argsort(np.asarray(bits), axis=1)]
    scores = _adjusted_rand(a, np.concatenate([b[None], shuffled]))
    return float(np.mean(scores >= scores[0] - 1e-12))


def _labels(first, second, k):
    """Two integer labelings of the first tree's networks."""
    if isinstance(second, Tree):
        groups = np.asarray(second.cut(k))[positions(second, first.names)]
    else:
        lacking = [n for n in first.names if n not in second]
        if lacking:
            raise ValueError(f"The groups lack the networks {', '.join(lacking)}.")
        groups = np.unique([str(second[n]) for n in first.names], return_inverse=True)[1]
    return np.asarray(first.cut(k)), groups


def positions(tree_, names):
    """Where each of `names` is in the tree."""
    if set(tree_.names) != set(names):
        odd = ", ".join(sorted(set(tree_.names) ^ set(names)))
        raise ValueError(f"The two trees are of different networks; in one only: {odd}.")
    return [tree_.names.index(n) for n in names]


def _adjusted_rand(a, labelings):
    """Adjusted Rand index of labels `(T,)` with each of `(B, T)` labelings."""
    table = np.einsum("ti,btj->bij", _one_hot(a), _one_hot(labelings))
    both = _pairs(table).sum((1, 2))
    rows, columns = _pairs(table.sum(2)).sum(1), _pairs(table.sum(1)).sum(1)
    chance = rows * columns / max(_pairs(np.float64(a.size)), 1.0)
    span = (rows + columns) / 2 - chance
    return np.where(span == 0, 1.0, (both - chance) / np.where(span == 0, 1.0, span))


def _one_hot(labels):
    return (labels[..., None] == np.arange(labels.max() + 1)).astype(np.float64)


def _pairs(n):
    return n * (n - 1) / 2
