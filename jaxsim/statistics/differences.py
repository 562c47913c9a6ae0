"""Paired differences of scores: both entries come from the same resample, so what they share cancels.

All functions take scores with any leading axes, so that the same call serves the resamples `(B, S, T)` and
the estimate `(S, T)`.
"""

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxsim.statistics import checks

Entry = tuple[int, int]


def difference(values: ArrayLike, first: Entry, second: Entry) -> jax.Array:
    """`values[..., i, j] - values[..., k, l]` for the entries `(i, j)` and `(k, l)`, shape `(...)`.

    Raises:
        IndexError: an entry lies outside the matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> float(difference(jnp.array([[1.0, 4.0], [2.0, 8.0]]), (1, 1), (0, 1)))
        4.0
    """
    chosen = select(values, (first, second))
    return chosen[..., 0] - chosen[..., 1]


def select(values: ArrayLike, entries: Sequence[Entry]) -> jax.Array:
    """The listed entries of each matrix as one flat family, `(..., S, T) -> (..., H)`, in the order given.

    List each hypothesis once: of a symmetric matrix, the pairs that `pairs` gives and no diagonal.

    Raises:
        IndexError: an entry lies outside the matrix; JAX alone would clamp it.

    Example:
        >>> import jax.numpy as jnp
        >>> select(jnp.array([[1.0, 4.0], [2.0, 8.0]]), ((0, 1), (1, 0))).tolist()
        [4.0, 2.0]
    """
    values = _matrices(values)
    shape = values.shape[-2:]
    rows = [operator.index(i) for i, _ in entries]
    columns = [operator.index(j) for _, j in entries]
    for entry in zip(rows, columns, strict=True):
        if not all(0 <= k < size for k, size in zip(entry, shape, strict=True)):
            raise IndexError(f"entry {entry} lies outside scores of shape {shape}.")
    return values[..., jnp.array(rows, int), jnp.array(columns, int)]


def pairs(count: int) -> tuple[Entry, ...]:
    """All `(i, j)` with `i < j < count`, row by row: the order of every list of pairs in this package.

    Example:
        >>> pairs(3)
        ((0, 1), (0, 2), (1, 2))
    """
    return tuple((i, j) for i in range(count) for j in range(i + 1, count))


def pair_differences(family: ArrayLike) -> jax.Array:
    """Differences, first minus second, of all `pairs(H)` of a family, `(..., H) -> (..., H (H - 1) / 2)`.

    Example:
        >>> import jax.numpy as jnp
        >>> pair_differences(jnp.array([1.0, 3.0, 7.0])).tolist()
        [-2.0, -6.0, -4.0]
    """
    family = checks.floating(family, "family")
    if family.ndim == 0:
        raise ValueError("family needs a last axis of hypotheses, and has shape ().")
    first, second = jnp.triu_indices(family.shape[-1], 1)
    return family[..., first] - family[..., second]


def column_differences(values: ArrayLike) -> jax.Array:
    """Differences of all sources within each target, `(..., S, T) -> (..., S, S, T)`.

    Entry `[..., a, b, t]` is `values[..., a, t] - values[..., b, t]`: positive where a is the better source
    for t. It is antisymmetric in a and b: for a family of tests take `a < b` only.

    Example:
        >>> import jax.numpy as jnp
        >>> column_differences(jnp.array([[1.0], [4.0]]))[:, :, 0].tolist()
        [[0.0, -3.0], [3.0, 0.0]]
    """
    values = _matrices(values)
    return values[..., :, None, :] - values[..., None, :, :]


def _matrices(values: ArrayLike) -> jax.Array:
    values = checks.floating(values, "values")
    if values.ndim < 2:
        raise ValueError(f"values must have shape (..., S, T), and has shape {values.shape}.")
    return values
