"""Agreement of trees with each other, with groups, and with resamples."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsim.engine.memory import require
from jaxsim.evaluation import pearson
from jaxsim.io.files import warn
from jaxsim.statistics.checks import as_count, as_key, shown
from jaxsim.taxonomy.hierarchy import LINKAGES, Linkage, Tree, symmetrized


def cophenetic_agreement(first: Tree, second: Tree) -> float:
    """Pearson correlation of the cophenetic distances of two trees.

    It is computed over all pairs of networks, aligned by name. 1 means that the heights at which networks join in the
    two trees are proportional up to a shift. NaN if a tree joins all networks at one height (Sokal & Rohlf 1962).

    Raises:
        ValueError: the trees have different networks, or fewer than three.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> round(cophenetic_agreement(tree(s), tree(s**2)), 6)
        1.0
    """
    places = _positions(second, first.names)
    if len(first.names) < 3:
        raise ValueError(f"cophenetic agreement needs at least 3 networks, not {len(first.names)}.")
    pairs = np.triu_indices(len(first.names), 1)
    return pearson(first.cophenetic()[pairs], second.cophenetic()[np.ix_(places, places)][pairs])


def cluster_agreement(first: Tree, second: "Tree | Mapping[str, object]", k: int) -> float:
    """Adjusted Rand index between k clusters of a tree and another grouping.

    With n_ij networks in cluster i of one and j of the other, a_i and b_j their sums, and C the number of pairs:
    `(sum C(n_ij) - E) / ((sum C(a_i) + sum C(b_j)) / 2 - E)`, `E = sum C(a_i) sum C(b_j) / C(n)`. It is 1 for identical
    clusters and 0 on average for random ones (Hubert & Arabie 1985).

    Args:
        first: the tree.
        second: another tree of the same networks, or a mapping of names to groups (other names are ignored).
        k: number of clusters to cut trees into.

    Raises:
        ValueError: a network lacks a group, the trees have different networks, or k is out of range.

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
    first: Tree, second: "Tree | Mapping[str, object]", k: int, *, key: jax.Array | int = 0, permutations: int = 999
) -> float:
    """Permutation p-value of `cluster_agreement`, `(1 + #) / (B + 1)`.

    The names of the second grouping are shuffled B times, and # of the shuffles agree at least as well. Under the null
    hypothesis, groups are unrelated to the tree.

    Args:
        first: as in `cluster_agreement`.
        second: as in `cluster_agreement`.
        k: as in `cluster_agreement`.
        key: as for `js.resample`.
        permutations: number of shuffles B.

    Raises:
        TypeError: the key is neither a typed key nor a seed.
        ValueError: as in `cluster_agreement`, or B is not a positive whole number, or more than fits in memory.

    Example:
        >>> import pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]], list("abc"), list("abc"))
        >>> groups = {"a": "2D", "b": "3D", "c": "3D"}
        >>> 0.2 < cluster_agreement_p(tree(s), groups, k=2, key=jax.random.key(0), permutations=199) < 0.5
        True
    """
    permutations = as_count(permutations, "permutations")
    a, b = _labels(first, second, k)
    require(32 * permutations * len(b), f"{permutations} permutations of {len(b)} networks")
    keys = jax.vmap(jax.random.fold_in, (None, 0))(as_key(key), np.arange(permutations))
    bits = jax.vmap(lambda one: jax.random.bits(one, (len(b),)))(keys)
    shuffled = b[np.argsort(np.asarray(bits), axis=1)]
    scores = _adjusted_rand(a, np.concatenate([b[None], shuffled]))
    return float(np.mean(scores >= scores[0] - 1e-12))


def branch_support(base: Tree, resamples: Any, *, linkage: Linkage | None = None) -> Tree:
    """Add to a tree the share of resamples that contain each branch.

    A branch is the set of leaves under one node. This is the bootstrap support used for phylogenies (Felsenstein 1985).
    It shows how firmly a cluster follows from these images, not the probability that it is true. The root is in every
    tree. Under subsampling the share depends on the size of the subsets.

    Args:
        base: the tree of the full sample.
        resamples: `(B, T, T)` affinities in the order of `base.names`, or a record of them with `values` and `names`.
        linkage: the convention that `base` was made with; needed only for your own.

    Returns:
        A copy of `base` with `support`. Resamples with NaN are left out, with a warning and a note.

    Raises:
        ValueError: the networks, the convention or the shape differ, or no resample is defined.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from jaxsim.taxonomy import tree
        >>> s = np.array([[1, 0.1, 0.2], [0.1, 1, 0.8], [0.2, 0.8, 1]])
        >>> other = np.array([[1, 0.9, 0.2], [0.9, 1, 0.8], [0.2, 0.8, 1]])
        >>> base = tree(pd.DataFrame(s, list("abc"), list("abc")))
        >>> print(branch_support(base, np.stack([s, s, s, other])).to_text())
        0.850 (100%)
        |- a
        `- 0.200 (75%)
           |- c
           `- b
    """
    if linkage is not None and not isinstance(linkage, Linkage):
        raise TypeError(f"linkage must be a Linkage such as js.taxonomy.average_linkage, not {shown(linkage)}.")
    known = LINKAGES.values() if linkage is None else (linkage,)
    linkage = next((one for one in known if one.name == base.convention), None)
    if linkage is None:
        raise ValueError(f"the tree was made with {base.convention}; pass that linkage.")
    values = _resampled(base, resamples)
    defined = np.isfinite(values).all(axis=(1, 2))
    if not defined.any():
        raise ValueError(f"all {len(values)} resamples contain NaN.")
    notes = base.notes
    if not defined.all():
        notes += (f"{int(np.sum(~defined))} of {len(values)} resamples contain NaN and are left out of the support",)
        warn(notes[-1] + ".", RuntimeWarning)
    values = symmetrized(values, True) if base.symmetrized else values
    clades = _clades(base.merges)
    counts = dict.fromkeys(clades, 0)
    for one in values[defined]:
        for clade in set(_clades(linkage.merges(one))) & counts.keys():
            counts[clade] += 1
    support = np.array([counts[c] for c in clades]) / int(defined.sum())
    return dataclasses.replace(base, support=support, notes=notes)


def _labels(first, second, k):
    """Two integer labelings of the first tree's networks."""
    if isinstance(second, Tree):
        groups = np.asarray(second.cut(k))[_positions(second, first.names)]
    else:
        lacking = [n for n in first.names if n not in second]
        if lacking:
            raise ValueError(f"the groups do not include the networks {', '.join(lacking)}.")
        groups = np.unique([str(second[n]) for n in first.names], return_inverse=True)[1]
    return np.asarray(first.cut(k)), groups


def _positions(one, names):
    """Position in the tree of each of `names`."""
    if set(one.names) != set(names):
        odd = ", ".join(sorted(set(one.names) ^ set(names)))
        raise ValueError(f"the two trees have different networks; only one of them has: {odd}.")
    return [one.names.index(n) for n in names]


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


def _resampled(base, resamples):
    names = getattr(resamples, "names", base.names)
    values = np.asarray(getattr(resamples, "values", resamples), dtype=np.float64)
    rows = _positions(base, names)
    if values.ndim != 3 or values.shape[1] != len(rows):
        needed = f"a tree of {len(rows)} networks needs (B, T, T)"
        raise ValueError(f"the resamples have shape {values.shape}, but {needed}.")
    places = np.argsort(rows)
    return values[:, places][:, :, places] if values.shape[2] == len(rows) else values[:, places]


def _clades(merges) -> list[int]:
    """Sets of leaves below each merge, as the bits of an integer."""
    bits = [1 << i for i in range(len(merges) + 1)]
    for left, right in np.asarray(merges)[:, :2].astype(int).tolist():
        bits.append(bits[left] | bits[right])
    return bits[len(merges) + 1 :]
