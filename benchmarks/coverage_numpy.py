"""Scores of full data sets and of their half-samples in NumPy and SciPy, for the coverage table on a CPU.

The simulated data sets are small and numerous, and per map NumPy is several times faster here than XLA's CPU code.
Anything that resampling doesn't change (distances of images that are not normalized together) is computed once.
`tests/test_coverage.py` checks every reimplemented measure against the library's own score for the same images.
"""

import functools
from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform

Maps = Callable[[np.ndarray], np.ndarray]
"""From indices `(m,)` of images to condensed maps `(K + 1, m (m - 1) / 2)`."""


def scores(name: str, features: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Scores `(B, K)` of the first of K + 1 networks `(K + 1, n, d)` with the others, on images `(B, m)`."""
    maps, comparator = RESTATED[name]
    of = maps(features)
    return np.array([comparator(of(s)) for s in subsets], np.float32)


def without_bias(scores_on: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """Scores of n images with the bias of order 1 / n taken out by those of the two halves."""
    whole, first, second = map(scores_on, (np.arange(n), np.arange(n // 2), np.arange(n // 2, n)))
    return 2 * whole - (first + second) / 2


def angles(curve: np.ndarray, grid: np.ndarray, levels) -> np.ndarray:
    """Angles at which scores `curve`, which fall along the grid, are at these levels."""
    return np.interp([-v for v in levels], -np.minimum.accumulate(curve), grid)


def _pearson(features: np.ndarray, center: bool) -> Maps:
    """Correlation distances, 1 - r; without centering no other image matters."""
    if not center:
        return _part_of(np.stack([1 - _cosines(x) for x in features]))

    def of(subset):
        upper = _upper(len(subset))
        return np.stack([(1 - _cosines(x[subset] - x[subset].mean(0))).ravel()[upper] for x in features])

    return of


def _cosines(x):
    x = x - x.mean(1, keepdims=True)
    x /= np.sqrt((x * x).sum(1, keepdims=True))
    return x @ x.T


def _linear(features: np.ndarray) -> Maps:
    """Inner products; centering of the features is lost in that of the maps."""
    return _part_of(np.stack([x @ x.T for x in features.astype(float)]))


def _euclidean(features: np.ndarray) -> Maps:
    return _part_of(np.stack([cdist(x, x) for x in features.astype(float)]))


def _rbf(features: np.ndarray) -> Maps:
    """exp(-2 s / median(s)), s squared distances; the median runs over all m^2 entries, zeros of the diagonal too."""
    of = _part_of(np.stack([cdist(x, x, "sqeuclidean") for x in features.astype(float)]))

    def kernel(subset):
        s, size = of(subset), len(subset)
        # the k-th of all m^2 entries is entry (k - m) // 2 of the condensed ones
        places = [(k - size) // 2 for k in ((size * size - 1) // 2, size * size // 2)]
        middle = np.partition(s, places, axis=1)[:, places].mean(1, keepdims=True)
        return np.exp(-2 * s / middle)

    return kernel


def _laplacian(features: np.ndarray) -> Maps:
    """exp(-|x_i - x_j|_1 / d) after z-scoring the images at hand."""

    def of(subset):
        x = features[:, subset].astype(float)
        spread = x.std(1, keepdims=True)
        x = x / np.where(spread > 0, spread, 1)
        return np.exp(-np.stack([pdist(z, "cityblock") for z in x]) / x.shape[-1])

    return of


def _part_of(whole: np.ndarray) -> Maps:
    flat = whole.reshape(len(whole), -1)

    def of(subset):
        rows, columns = _pairs(len(subset))
        return flat[:, subset[rows] * whole.shape[1] + subset[columns]]

    return of


def _spearman(maps: np.ndarray) -> np.ndarray:
    """Continuous features have no ties: ordinal ranks are average ranks."""
    z = np.empty(maps.shape, np.float32)
    for row, values in zip(z, maps.astype(np.float32).clip(1e-30), strict=True):
        order = values.view(np.uint32).astype(np.uint64) << np.uint64(32) | np.arange(values.size, dtype=np.uint64)
        order.sort()
        row[(order & np.uint64(0xFFFFFFFF)).astype(np.int64)] = np.linspace(-1, 1, values.size, dtype=np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z[1:] @ z[0]


def _u_centered_cosine(maps: np.ndarray) -> np.ndarray:
    """Cosine of the unbiased HSIC (Song et al. 2012, eq. 5), from condensed maps."""
    k = np.stack([squareform(m, checks=False) for m in maps.astype(float) - maps.mean(1, keepdims=True)])
    n, rows = k.shape[1], k.sum(2)

    def hsic(a, b):
        crossed = rows[a].sum() * rows[b].sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows[a] @ rows[b]
        return np.vdot(k[a], k[b]) + crossed

    own = [hsic(a, a) for a in range(len(k))]
    return np.array([hsic(0, b) / np.sqrt(own[0] * own[b]) for b in range(1, len(k))])


@functools.cache
def _pairs(n):
    return np.triu_indices(n, 1)


@functools.cache
def _upper(n):
    return np.ravel_multi_index(_pairs(n), (n, n))


RESTATED = {
    "rsa": (functools.partial(_pearson, center=True), _spearman),
    "rsa-uncentered": (functools.partial(_pearson, center=False), _spearman),
    "cka-linear": (_linear, _u_centered_cosine),
    "cka-rbf": (_rbf, _u_centered_cosine),
    "dds-laplacian": (_laplacian, _u_centered_cosine),
    "distance-correlation-unbiased": (_euclidean, _u_centered_cosine),
}
"""Maps and comparator of each measure restated here, by its name in `jaxsim.measures.NAMED`."""
