"""Multidimensional scaling: points whose distances are close to given dissimilarities."""

from typing import Any

import numpy as np

from jaxsim.statistics.checks import is_whole, shown


def classical_scaling(distances: Any, dimensions: int = 2) -> np.ndarray:
    """Points whose Euclidean distances are close to given ones: `(n, n)` to `(n, dimensions)`, float64.

    Principal coordinates (Torgerson 1952): the leading eigenvectors of the doubly centered matrix -D^2 / 2, scaled by
    the square roots of their eigenvalues. If the distances are Euclidean in that many dimensions, the points reproduce
    them. Dimensions without a positive eigenvalue are zero. The largest coordinate of each dimension is positive.

    Args:
        distances: symmetric, nonnegative, zero on the diagonal.
        dimensions: from 1 to n.

    Raises:
        ValueError: the distances are not such a matrix, or not finite; or there are fewer images than dimensions.

    Example:
        >>> import numpy as np
        >>> points = classical_scaling([[0, 3, 5], [3, 0, 4], [5, 4, 0]])
        >>> np.linalg.norm(points[0] - points[2]).round(6)
        np.float64(5.0)
    """
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or not len(d):
        raise ValueError(f"distances must have shape (n, n), not {d.shape}.")
    if not np.isfinite(d).all():
        raise ValueError(f"{int((~np.isfinite(d)).sum())} distances are not finite; leave those rows and columns out.")
    unit = np.abs(d).max() or 1.0
    d = d / unit
    if max(np.abs(d - d.T).max(), np.abs(np.diagonal(d)).max(), -d.min()) > 1e-5:
        raise ValueError("distances must be a symmetric matrix without negative values and with zeros on the diagonal.")
    if not is_whole(dimensions) or not 1 <= dimensions <= len(d):
        raise ValueError(
            f"{len(d)} points cannot be placed in {shown(dimensions)} dimensions; give a whole number from 1 to "
            f"{len(d)}."
        )
    squares = ((d + d.T) / 2) ** 2
    margin = squares.mean(0)
    values, vectors = np.linalg.eigh((margin[:, None] + margin - squares - margin.mean()) / 2)
    values, vectors = values[::-1][:dimensions], vectors[:, ::-1][:, :dimensions]
    points = unit * vectors * np.sqrt(np.maximum(values, 0))
    largest = points[np.abs(points).argmax(0), np.arange(dimensions)]
    return points * np.where(largest < 0, -1.0, 1.0)
