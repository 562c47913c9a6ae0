"""Baseline (a): the published method, reimplemented from its definitions.

For every pair of networks, both networks are normalized, both maps are built and both are centered again, in float64,
with NumPy and scikit-learn. Nothing is shared between pairs. The functions for one network also serve as the float64
oracle, where each map is built once.

DDS: Dwivedi et al., ECCV 2020, Table 1 and section 3. RSA: Dwivedi & Roig, CVPR 2019, section 3.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn.metrics import pairwise
from sklearn.preprocessing import StandardScaler

NORMS = ("identity", "center", "zscore", "batch_norm", "instance_norm", "layer_norm", "group_norm")
FUNCTIONS = ("linear", "laplacian", "rbf", "correlation", "euclidean", "cosine")
CELLS = tuple((norm, f) for norm in NORMS for f in FUNCTIONS)
EPS = 1e-9


def normalize(x: np.ndarray, norm: str) -> np.ndarray:
    """Transform features `(n, h, w, c)`; returns `(n, d)` float64."""
    x = x.astype(np.float64)
    flat = x.reshape(len(x), -1)
    if norm == "identity":
        return flat
    if norm == "center":
        return flat - flat.mean(axis=0)
    if norm == "zscore":
        return StandardScaler().fit_transform(flat)
    if norm == "batch_norm":
        return _standardize(x, (0, 1, 2)).reshape(len(x), -1)
    groups = {"instance_norm": x.shape[-1], "layer_norm": 1, "group_norm": 2}[norm]
    parts = x.reshape(*x.shape[:3], groups, -1)
    return _standardize(parts, (1, 2, 4)).reshape(len(x), -1)


def _standardize(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(var + EPS)


def pairwise_map(x: np.ndarray, function: str) -> np.ndarray:
    """Kernel or distance between all images of `(n, d)`; returns `(n, n)`."""
    if function == "linear":
        return pairwise.linear_kernel(x)
    if function == "laplacian":
        return pairwise.laplacian_kernel(x)
    if function == "rbf":
        squared = pairwise.euclidean_distances(x, squared=True)
        return np.exp(-squared / (2 * 0.5**2 * np.median(squared)))
    if function == "correlation":
        return 1 - np.corrcoef(x)
    if function == "euclidean":
        return pairwise.euclidean_distances(x)
    return pairwise.cosine_distances(x)


def u_center(m: np.ndarray) -> np.ndarray:
    """Unbiased centering of a map (Szekely & Rizzo 2014): off-diagonal rows then sum to zero."""
    m, n = m.copy(), len(m)
    np.fill_diagonal(m, 0)
    rows = m.sum(axis=0) / (n - 2)
    rows -= rows.sum() / (2 * (n - 1))
    m -= rows[:, None] + rows[None, :]
    np.fill_diagonal(m, 0)
    return m


def dds(x: np.ndarray, y: np.ndarray, norm: str, function: str) -> float:
    """Duality diagram similarity of two networks: cosine of their unbiasedly centered maps."""
    k = u_center(pairwise_map(normalize(x, norm), function))
    m = u_center(pairwise_map(normalize(y, norm), function))
    return float(np.sum(k * m) / (np.linalg.norm(k) * np.linalg.norm(m)))


def rsa(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of the upper triangles of Pearson dissimilarity matrices of centered features."""
    k = pairwise_map(normalize(x, "center"), "correlation")
    m = pairwise_map(normalize(y, "center"), "correlation")
    upper = np.triu_indices(len(k), 1)
    return float(np.corrcoef(stats.rankdata(k[upper]), stats.rankdata(m[upper]))[0, 1])


def every_pair(features: np.ndarray, score: Callable[..., float], *args: str) -> np.ndarray:
    """All pairs `i <= j`, each from the raw features; the matrix is filled by symmetry."""
    count = len(features)
    out = np.empty((count, count))
    for i in range(count):
        for j in range(i, count):
            out[i, j] = out[j, i] = score(features[i], features[j], *args)
    return out


def subset_protocol(sources: np.ndarray, target: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """DDS Table 4: on every subset of images, each source against the target under six functions, z-scored.

    Returns:
        `(6, resamples, sources)`.
    """
    out = np.empty((len(FUNCTIONS), len(indices), len(sources)))
    for b, rows in enumerate(indices):
        for s, x in enumerate(sources):
            for f, function in enumerate(FUNCTIONS):
                out[f, b, s] = dds(x[rows], target[rows], "zscore", function)
    return out


def oracle(features: np.ndarray, norm: str, function: str) -> np.ndarray:
    """Float64 scores of one cell with each map built once: what float32 is checked against."""
    maps = [u_center(pairwise_map(normalize(x, norm), function)).ravel() for x in features]
    z = np.stack([m / np.linalg.norm(m) for m in maps])
    return np.matmul(z, z.T)


def rsa_oracle(features: np.ndarray) -> np.ndarray:
    """Float64 RSA scores with each map built and ranked once."""
    upper = np.triu_indices(features.shape[1], 1)
    maps = [pairwise_map(normalize(x, "center"), "correlation")[upper] for x in features]
    ranks = np.stack([stats.rankdata(m) for m in maps])
    return np.corrcoef(ranks)
