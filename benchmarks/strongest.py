"""Baseline (b): the strongest NumPy and SciPy that we could write.

Each map is built once, from one float32 Gram matrix shared by five functions. Scores are one `Z Z^T`. Networks (or
subsets) are spread over a thread pool, one thread per core, with single-threaded BLAS. NumPy and BLAS release the
interpreter lock, and small products scale better this way than with threads inside BLAS. `np.matmul(x, x.T)` on one
buffer calls SYRK, half the work of GEMM. Medians are `np.partition` on the condensed map.

L1 distances use `|x - y| = x + y - 2 min(x, y)`, a minimum and a matrix-vector product per row. `python -m
benchmarks.numpy_forms` times the alternatives.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.published import EPS, FUNCTIONS

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_cores(work, items) -> list:
    """`[work(i) for i in items]` on one thread per core, BLAS single-threaded meanwhile."""
    with threadpool_limits(1), ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(work, items))


def normalize(x: np.ndarray, norm: str) -> np.ndarray:
    """Transform features `(n, h, w, c)` float32; returns `(n, d)` float32."""
    flat = x.reshape(len(x), -1)
    if norm == "identity":
        return flat
    if norm == "center":
        return flat - flat.mean(axis=0)
    if norm == "zscore":
        return zscore(flat)
    if norm == "batch_norm":
        return _per_channel(flat, x.shape[-1])
    groups = {"instance_norm": x.shape[-1], "layer_norm": 1, "group_norm": 2}[norm]
    return _per_image(flat, x.shape[-1], groups)


def zscore(x: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance per column of `(n, d)`; constant columns are divided by 1."""
    out = x - x.mean(axis=0)
    sd = np.sqrt(np.einsum("ij,ij->j", out, out) / np.float32(len(x)))
    out *= 1 / np.where(sd > 0, sd, np.float32(1))
    return out


def _per_channel(flat: np.ndarray, channels: int) -> np.ndarray:
    """Batch norm: contiguous column sums first, then 2,048 numbers fold to 8."""
    pixels = flat.shape[1] // channels
    out = flat - np.tile(flat.mean(axis=0).reshape(pixels, channels).mean(axis=0), pixels)
    squares = np.einsum("ij,ij->j", out, out).reshape(pixels, channels).mean(axis=0) / np.float32(len(flat))
    out *= np.tile(1 / np.sqrt(squares + np.float32(EPS)), pixels)
    return out


def _per_image(flat: np.ndarray, channels: int, groups: int) -> np.ndarray:
    """Instance, layer and group norm; sums and shifts run along contiguous stretches of 16 pixels."""
    n, d = flat.shape
    stretches = flat.reshape(n, -1, 16 * channels)
    out = stretches - _widened(_group_means(stretches, channels, groups), channels)
    squares = _group_means(np.square(out), channels, groups)
    out *= _widened(1 / np.sqrt(squares + np.float32(EPS)), channels)
    return out.reshape(n, d)


def _group_means(stretches: np.ndarray, channels: int, groups: int) -> np.ndarray:
    n, count, width = stretches.shape
    sums = stretches.sum(axis=1).reshape(n, 16, channels).sum(axis=1)
    return sums.reshape(n, groups, -1).sum(axis=2) / np.float32(count * width // groups)


def _widened(values: np.ndarray, channels: int) -> np.ndarray:
    """One value per group, `(n, groups)`, along a stretch of 16 pixels: `(n, 1, 16 * channels)`."""
    return np.tile(np.repeat(values, channels // values.shape[1], axis=1), 16)[:, None, :]


def cityblock(x: np.ndarray) -> np.ndarray:
    """L1 distances of `(n, d)`, row at a time on the upper triangle."""
    n, d = x.shape
    out, buffer, ones = np.zeros((n, n), x.dtype), np.empty_like(x), np.ones(d, x.dtype)
    for i in range(n - 1):
        rest = buffer[: n - 1 - i]
        np.minimum(x[i + 1 :], x[i], out=rest)
        out[i, i + 1 :] = np.matmul(rest, ones)
    total = np.matmul(x, ones)
    out += out.T
    out *= -2
    out += total[:, None]
    out += total
    np.fill_diagonal(out, 0)
    return out


def from_gram(gram: np.ndarray, means: np.ndarray, d: int) -> dict[str, np.ndarray]:
    """Five maps from one Gram matrix and the means of the rows of `(n, d)` features."""
    n = len(gram)
    squares = np.diagonal(gram)
    squared = gram * np.float32(-2)
    squared += squares[:, None]
    squared += squares
    np.maximum(squared, 0, out=squared)
    np.fill_diagonal(squared, 0)
    rbf = np.exp(squared * (np.float32(-2) / median_of_map(squared, n)))
    rows = gram - d * np.outer(means, means)
    return {
        "linear": gram.copy(),
        "rbf": rbf,
        "correlation": -_correlation(rows),
        "euclidean": np.sqrt(squared),
        "cosine": -_correlation(gram),
    }


def _correlation(gram: np.ndarray) -> np.ndarray:
    scale = 1 / np.sqrt(np.diagonal(gram))
    return gram * scale[:, None] * scale


def median_of_map(m: np.ndarray, n: int) -> np.float32:
    """Median of all n^2 entries (n zeros, each other entry twice) by partitioning one triangle."""
    values = m.ravel()[upper(n)]
    low, high = ((n * n - 1) // 2 - n) // 2, (n * n // 2 - n) // 2
    values = np.partition(values, (low, high) if low != high else low)
    return (values[low] + values[high]) / np.float32(2)


_UPPER: dict[int, np.ndarray] = {}


def upper(n: int) -> np.ndarray:
    """Flat indices of the upper triangle, kept between calls."""
    if n not in _UPPER:
        rows, columns = np.triu_indices(n, 1)
        _UPPER[n] = (rows * n + columns).astype(np.int64)
    return _UPPER[n]


def unit(m: np.ndarray) -> np.ndarray:
    """U-center a map in place and scale it to norm 1, flat."""
    n = len(m)
    np.fill_diagonal(m, 0)
    rows = m.sum(axis=0) / np.float32(n - 2)
    rows -= rows.sum() / np.float32(2 * (n - 1))
    m -= rows[:, None]
    m -= rows
    np.fill_diagonal(m, 0)
    flat = m.ravel()
    flat *= 1 / np.sqrt(np.dot(flat, flat))
    return flat


def six_maps(flat: np.ndarray, laplacian: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Unit, U-centered rows of the six functions for normalized features `(n, d)`."""
    maps = from_gram(np.matmul(flat, flat.T), flat.mean(axis=1), flat.shape[1])
    if laplacian is None:
        l1 = cityblock(flat)
        laplacian = unit(np.exp(l1 * np.float32(-1 / flat.shape[1]), out=l1))
    return {name: unit(m) for name, m in maps.items()} | {"laplacian": laplacian}


def grid(features: np.ndarray, norms: tuple[str, ...]) -> dict[tuple[str, str], np.ndarray]:
    """All cells `(norm, function)` for networks `(T, n, h, w, c)`; identity and centering share the L1 map."""
    upper(features.shape[1])

    def one(x):
        rows, shared = {}, None
        for norm in norms:
            centered = norm in ("identity", "center")
            maps = six_maps(normalize(x, norm), shared if centered else None)
            shared = maps["laplacian"] if centered else shared
            rows |= {(norm, f): row for f, row in maps.items()}
        return rows

    networks = over_cores(one, features)
    stacks = ((cell, np.stack([rows[cell] for rows in networks])) for cell in networks[0])
    return {cell: np.matmul(z, z.T) for cell, z in stacks}


def subset_protocol(sources: np.ndarray, target: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """DDS Table 4, z-scored: `(6, resamples, sources)`; subsets are spread over the cores."""
    upper(indices.shape[1])
    sources, target = sources.reshape(*sources.shape[:2], -1), target.reshape(len(target), -1)

    def one(rows):
        y = six_maps(zscore(target[rows]))
        scores = np.empty((len(FUNCTIONS), len(sources)))
        for s, x in enumerate(sources):
            maps = six_maps(zscore(x[rows]))
            scores[:, s] = [np.dot(maps[f], y[f]) for f in FUNCTIONS]
        return scores

    return np.stack(over_cores(one, indices), axis=1)
