"""Baseline (b) for RSA, its bootstrap, and linear CKA: the strongest NumPy that we could write.

Ranks come from one `argsort` per network (NumPy sorts float32 with AVX-512 or AVX2 if available) and are never
recomputed per resample. A bootstrap of images is integer weights, and weighted ranks are cumulative sums in sorted
order.
"""

import numpy as np

from benchmarks.strongest import over_cores, upper


def condensed_pearson(x: np.ndarray, center: bool = True) -> np.ndarray:
    """Upper triangle of the Pearson dissimilarities of `(n, ...)`, images as rows."""
    flat = x.reshape(len(x), -1)
    flat = flat - flat.mean(axis=0) if center else flat.copy()
    flat -= flat.mean(axis=1, keepdims=True)
    gram = np.matmul(flat, flat.T)
    scale = 1 / np.sqrt(np.diagonal(gram))
    gram *= scale[:, None]
    gram *= scale
    return 1 - gram.ravel()[upper(len(x))]


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties averaged, by one argsort."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ranks = np.empty(len(values), np.float32)
    if len(starts) == len(values):
        ranks[order] = np.arange(len(values), dtype=np.float32)
        return ranks
    counts = np.diff(np.append(starts, len(values)))
    ranks[order] = np.repeat(starts + (counts - 1) / 2, counts)
    return ranks


def inner(z: np.ndarray, blocks: int = 8) -> np.ndarray:
    """`Z Z^T` summed by blocks of columns in float64: as fast as one product, and four times as accurate."""
    out = np.zeros((len(z), len(z)))
    for part in np.array_split(z, blocks, axis=1):
        out += np.matmul(part, part.T)
    return out


def rsa(features: np.ndarray, ranks: bool = True) -> np.ndarray:
    """RSA scores of networks `(T, n, ...)`: every dissimilarity matrix built once, and ranked if `ranks`."""
    upper(features.shape[1])

    def one(x):
        distances = condensed_pearson(x)
        ordered = average_ranks(distances) if ranks else distances
        ordered -= ordered.mean(dtype=np.float64).astype(np.float32)
        ordered *= 1 / np.sqrt(np.dot(ordered, ordered))
        return ordered

    return inner(np.stack(over_cores(one, features)))


def rsa_bootstrap(features: np.ndarray, weights: np.ndarray, center: bool = False) -> np.ndarray:
    """RSA scores under image weights `(B, n)`, pairs of copies of one image left out; `(B, T, T)`.

    A pair of images i, j counts `w_i w_j` times; its mid-rank is the weight before it plus half its own.
    Exactly tied dissimilarities are broken by position, not averaged: fit for a timing, not for use.
    """
    n = features.shape[1]
    rows, columns = np.triu_indices(n, 1)
    upper(n)
    orders = over_cores(lambda x: np.argsort(condensed_pearson(x, center)).astype(np.int32), features)

    def one(w):
        pair = (w[rows] * w[columns]).astype(np.float32)
        root, half = np.sqrt(pair), np.float32(pair.sum() / 2)
        z = np.empty((len(orders), len(pair)), np.float32)
        for row, order in zip(z, orders, strict=True):
            sorted_pair = pair[order]
            rank = np.cumsum(sorted_pair)
            rank -= sorted_pair / 2
            rank -= half
            row[order] = rank
            row *= root
        gram = inner(z)
        norm = np.sqrt(np.diagonal(gram))
        return gram / norm[:, None] / norm

    return np.stack(over_cores(one, weights))


def cka_linear(features: np.ndarray) -> np.ndarray:
    """Unbiased linear CKA of networks `(T, n, ...)`.

    `<U(K), U(L)> = <K0, L0> - 2 r.s / (n - 2) + sum(r) sum(s) / ((n - 1)(n - 2))`, where K0 and L0 have zero
    diagonals and row sums r and s: centering never passes over the maps.
    """
    count, n = features.shape[:2]
    maps = np.empty((count, n, n), np.float32)

    def one(item):
        x, out = item
        flat = x.reshape(n, -1)
        flat = flat - flat.mean(axis=0)
        np.matmul(flat, flat.T, out=out)
        np.fill_diagonal(out, 0)
        return out.sum(axis=1, dtype=np.float64)

    sums = np.stack(over_cores(one, zip(features, maps, strict=True)))
    flat = maps.reshape(count, -1)
    total = sums.sum(axis=1)
    hsic = inner(flat)
    hsic += np.outer(total, total) / ((n - 1) * (n - 2)) - 2 * np.matmul(sums, sums.T) / (n - 2)
    norm = np.sqrt(np.diagonal(hsic))
    return hsic / norm[:, None] / norm
