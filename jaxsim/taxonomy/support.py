"""Support of each branch of a tree by resamples of the images."""

import dataclasses
import warnings
from typing import Any

import numpy as np

from jaxsim.taxonomy.agreement import positions
from jaxsim.taxonomy.linkages import Linkage, average_linkage
from jaxsim.taxonomy.trees import Tree, symmetrized


def branch_support(base: Tree, resamples: Any, *, linkage: Linkage = average_linkage) -> Tree:
    """The tree with the share of resamples that hold each branch: its set of leaves under one node.

    As bootstrap support of phylogenies (Felsenstein 1985): how firmly a cluster follows from these images,
    not the probability that it is true. The root is in every tree. Under subsampling the share depends on the
    subset's size.

    Args:
        base: the tree of the full sample.
        resamples: `(B, T, T)` affinities in the order of `base.names`, or a record of them with `values` and
            `names`.
        linkage: the convention that `base` was made with.

    Returns:
        A copy of `base` with `support`. Resamples that hold NaN are left out, warned of and noted.

    Raises:
        ValueError: other networks, another convention, another shape, or no resample that is defined.
        ImportError: SciPy is not installed.

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
    if linkage.name != base.convention:
        raise ValueError(f"The tree was made with {base.convention}, not with {linkage.name}.")
    values = _resampled(base, resamples)
    defined = np.isfinite(values).all(axis=(1, 2))
    if not defined.any():
        raise ValueError(f"None of the {len(values)} resamples is free of NaN.")
    notes = base.notes
    if not defined.all():
        notes += (f"{int(np.sum(~defined))} of {len(values)} resamples hold NaN and are left out of support",)
        warnings.warn(notes[-1] + ".", RuntimeWarning, stacklevel=2)
    values = symmetrized(values, True) if base.symmetrized else values
    clades = _clades(base.merges)
    counts = dict.fromkeys(clades, 0)
    for one in values[defined]:
        for clade in set(_clades(linkage.merges(one))) & counts.keys():
            counts[clade] += 1
    support = np.array([counts[c] for c in clades]) / int(defined.sum())
    return dataclasses.replace(base, support=support, notes=notes)


def _resampled(base, resamples):
    names = getattr(resamples, "names", base.names)
    values = np.asarray(getattr(resamples, "values", resamples), dtype=np.float64)
    rows = positions(base, names)
    if values.ndim != 3 or values.shape[1] != len(rows):
        needed = f"a tree of {len(rows)} networks needs (B, T, T)"
        raise ValueError(f"The resamples have shape {values.shape}; {needed}.")
    places = np.argsort(rows)
    return values[:, places][:, :, places] if values.shape[2] == len(rows) else values[:, places]


def _clades(merges) -> list[int]:
    """Set of leaves below each merge, as the bits of an integer."""
    bits = [1 << i for i in range(len(merges) + 1)]
    for left, right in np.asarray(merges)[:, :2].astype(int).tolist():
        bits.append(bits[left] | bits[right])
    return bits[len(merges) + 1 :]
