"""Slow, obvious float64 NumPy versions of everything jaxsim computes, written from the formulas alone.

No JAX, SciPy or scikit-learn here: `test_oracles.py` checks these functions against SciPy and scikit-learn.
Feature arrays are `(n, ..., c)`; maps are `(n, n)`; `w` holds one weight per image (None means all ones).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

EPS = 1e-9  # added to variances by batch, instance, layer and group norm


# Transforms: (n, ..., c) -> (n, d), flattened in C order.
def flatten(x):
    x = np.asarray(x, np.float64)
    return x.reshape(len(x), -1)


def identity(x):
    return flatten(x)


def center(x):
    x = flatten(x)
    return x - x.mean(0)


def zscore(x):
    x = flatten(x)
    out = np.empty_like(x)
    for j in range(x.shape[1]):
        column = x[:, j]
        constant = column.max() == column.min()
        out[:, j] = 0.0 if constant else (column - column.mean()) / np.sqrt(column.var())
    return out


def _normalize(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPS)


def _channels_last(x):
    x = np.asarray(x, np.float64)
    return x.reshape(len(x), -1, x.shape[-1])  # (n, positions, c)


def batch_norm(x):
    return flatten(_normalize(_channels_last(x), (0, 1)))


def instance_norm(x):
    return flatten(_normalize(_channels_last(x), (1,)))


def layer_norm(x):
    return flatten(_normalize(_channels_last(x), (1, 2)))


def group_norm(x, groups=2):
    x = _channels_last(x)
    size = x.shape[-1] // groups
    if size * groups != x.shape[-1]:
        raise ValueError(f"{x.shape[-1]} channels cannot be cut into {groups} equal groups")
    parts = [_normalize(x[..., g * size : (g + 1) * size], (1, 2)) for g in range(groups)]
    return flatten(np.concatenate(parts, -1))


def mean_pool(x):
    return _channels_last(x).mean(1)


def duality(x, q, d):
    return np.asarray(d, np.float64) @ flatten(x) @ np.asarray(q, np.float64)


TRANSFORMS = {
    f.__name__: f for f in (identity, center, zscore, batch_norm, instance_norm, layer_norm, group_norm, mean_pool)
}


# Distances and kernels: (n, d) -> (n, n).
def pearson_distance(x):
    x = flatten(x)
    return cosine_distance(x - x.mean(1, keepdims=True))


def cosine_distance(x):
    x = flatten(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = x / np.sqrt((x**2).sum(1, keepdims=True))
    return 1.0 - unit @ unit.T


def squared_euclidean(x):
    x = flatten(x)
    return np.stack([((x - row) ** 2).sum(1) for row in x])


def euclidean(x):
    return np.sqrt(squared_euclidean(x))


def cityblock(x):
    x = flatten(x)
    return np.stack([np.abs(x - row).sum(1) for row in x])


def linear(x):
    x = flatten(x)
    return x @ x.T


def rbf(x, fraction=0.5):
    s = squared_euclidean(x)
    return np.exp(-s / (2.0 * fraction**2 * np.median(s)))  # all n^2 entries, zero diagonal included


def laplacian(x):
    return np.exp(-cityblock(x) / flatten(x).shape[1])


DISTANCES = {
    "correlation": pearson_distance,
    "euclidean": euclidean,
    "cosine": cosine_distance,
    "cityblock": cityblock,
}
KERNELS = {"linear": linear, "rbf": rbf, "laplacian": laplacian}
PAIRWISE = DISTANCES | KERNELS


# Centering of a map: (n, n) -> (n, n).
def biased_center(k, w=None):
    """H K H^T with H = I - 1 w^T / sum w."""
    n = len(k)
    w = np.ones(n) if w is None else np.asarray(w, np.float64)
    h = np.eye(n) - np.outer(np.ones(n), w) / w.sum()
    return h @ k @ h.T


def u_center(k):
    """Szekely and Rizzo 2014, definition 2."""
    n = len(k)
    if n < 4:
        raise ValueError(f"U-centering needs 4 images or more, got {n}")
    k = np.where(np.eye(n, dtype=bool), 0.0, k)
    rows = k.sum(1)
    out = k - rows[:, None] / (n - 2) - rows[None, :] / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(out, 0.0)
    return out


def u_center_least_squares(k, w):
    """Residual of the least-squares fit of a_i + a_j to the off-diagonal, with pair weights w_i w_j."""
    n = len(k)
    i, j = np.triu_indices(n, 1)
    pair = np.sqrt(np.asarray(w, np.float64)[i] * np.asarray(w, np.float64)[j])
    design = np.zeros((len(i), n))
    design[np.arange(len(i)), i] = 1.0
    design[np.arange(len(i)), j] = 1.0
    a = np.linalg.lstsq(design * pair[:, None], k[i, j] * pair, rcond=None)[0]
    out = k - a[:, None] - a[None, :]
    np.fill_diagonal(out, 0.0)
    return out


def crossnobis(runs, precision=None):
    """Squared Mahalanobis distances of each run with the mean of the others, per channel: (m, n, c) -> (n, n)."""
    m, n, channels = runs.shape
    precision = np.eye(channels) if precision is None else precision
    out = np.zeros((n, n))
    for k in range(m):
        others = np.delete(runs, k, 0).mean(0)
        for i, j in itertools.permutations(range(n), 2):
            out[i, j] += (others[i] - others[j]) @ precision @ (runs[k, i] - runs[k, j]) / channels / m
    return out


# Comparators of vectors, with optional weights of the entries.
def _ones(a, p):
    return np.ones(len(a)) if p is None else np.asarray(p, np.float64)


def cosine_of(a, b, p=None):
    p = _ones(a, p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (p * a * b).sum() / np.sqrt((p * a * a).sum() * (p * b * b).sum())


def pearson_of(a, b, p=None):
    p = _ones(a, p)
    return cosine_of(a - (p * a).sum() / p.sum(), b - (p * b).sum() / p.sum(), p)


def ranks(v, p=None):
    """Average ranks: weight below, plus (own weight + 1) / 2, where ties count as one value."""
    _, group = np.unique(v, return_inverse=True)
    own = np.bincount(group, _ones(v, p))
    return (np.cumsum(own) - own + (own + 1.0) / 2.0)[group]


def spearman_of(a, b, p=None):
    return pearson_of(ranks(a, p), ranks(b, p), p)


def rho_a_of(a, b, p=None):
    """Spearman expected under random breaking of ties: 12 sum (r - mean r)(s - mean s) / (P^3 - P)."""
    p = _ones(a, p)
    total = p.sum()
    middle = (total + 1.0) / 2.0
    return 12.0 * (p * (ranks(a, p) - middle) * (ranks(b, p) - middle)).sum() / (total**3 - total)


def _signed_pairs(a, b, p):
    """Sum over ordered pairs of entries of the weights and the signs of both differences, some rows at a time."""
    rows = np.array_split(np.arange(len(a)), max(1, len(a) // 256))
    signs = ((np.sign(v[k][:, None] - v) for v in (a, b)) for k in rows)
    return sum(p[k] @ (x * y) @ p for k, (x, y) in zip(rows, signs, strict=True))


def kendall_a_of(a, b, p=None):
    """Concordant less discordant pairs of entries, by all of them, when entry k is in the list p[k] times."""
    p = _ones(a, p)
    return _signed_pairs(a, b, p) / (p.sum() * (p.sum() - 1.0))


def kendall_b_of(a, b, p=None):
    p = _ones(a, p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _signed_pairs(a, b, p) / np.sqrt(_signed_pairs(a, a, p) * _signed_pairs(b, b, p))


VECTOR_COMPARE = {
    "pearson": pearson_of,
    "spearman": spearman_of,
    "rho_a": rho_a_of,
    "kendall_a": kendall_a_of,
    "kendall_b": kendall_b_of,
    "cosine": cosine_of,
}


# Comparators of maps: (n, n), (n, n), w -> scalar.
def condense(m):
    m = np.asarray(m, np.float64)
    return m[np.triu_indices(len(m), 1)]


def pair_weights(w):
    return condense(np.outer(w, w))


def _on_triangle(of_vectors):
    def compare(a, b, w=None):
        return of_vectors(condense(a), condense(b), None if w is None else pair_weights(w))

    return compare


pearson, spearman, rho_a, kendall_a, kendall_b, cosine = (_on_triangle(VECTOR_COMPARE[n]) for n in VECTOR_COMPARE)


def distance_covariance(sigma):
    """Covariance of the squared distances of noise, up to a factor: (C sigma C')^2, a row of C for each pair."""
    i, j = np.triu_indices(len(sigma), 1)
    contrasts = np.eye(len(sigma))[i] - np.eye(len(sigma))[j]
    return (contrasts @ sigma @ contrasts.T) ** 2


def whitened_cosine(a, b, w=None, sigma=None, centered=False):
    """Cosine under V^-1, V of `distance_covariance`; with weights, (V x)_ij = 2 x_ij + sum of w_k (x_ik + x_jk)."""
    n = len(a)
    w = np.ones(n) if w is None else np.asarray(w, np.float64)
    i, j = np.triu_indices(n, 1)
    pairs, a, b = w[i] * w[j], condense(a), condense(b)
    if centered:
        a, b = (v - (pairs * v).sum() / pairs.sum() for v in (a, b))
    if sigma is None:
        member = np.eye(n)[i] + np.eye(n)[j]
        other = w[j][:, None] * np.eye(n)[i] + w[i][:, None] * np.eye(n)[j]  # of pair (i, k) in the sum of i: w_k
        v = 2.0 * np.eye(len(i)) + member @ other.T
    else:
        v = distance_covariance(sigma)
    va, vb = np.linalg.solve(v, np.stack([a, b], 1)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return (pairs * a * vb).sum() / np.sqrt((pairs * a * va).sum() * (pairs * b * vb).sum())


def whitened_pearson(a, b, w=None, sigma=None):
    return whitened_cosine(a, b, w, sigma, centered=True)


def u_centered_cosine(a, b, w=None):
    if w is None:
        return cosine_of(u_center(a).ravel(), u_center(b).ravel())
    pairs = np.outer(w, w).ravel()
    return cosine_of(u_center_least_squares(a, w).ravel(), u_center_least_squares(b, w).ravel(), pairs)


def centered_cosine(a, b, w=None):
    """Cosine of the doubly centered maps, diagonal included (the biased, or V, statistic)."""
    pairs = None if w is None else np.outer(w, w).ravel()
    return cosine_of(biased_center(a, w).ravel(), biased_center(b, w).ravel(), pairs)


def root_centered_cosine(a, b, w=None):
    """Applied to Euclidean distances: the distance correlation of Szekely, Rizzo and Bakirov 2007."""
    return np.sqrt(max(centered_cosine(a, b, w), 0.0))


COMPARE = {
    "pearson": pearson,
    "spearman": spearman,
    "rho_a": rho_a,
    "kendall_a": kendall_a,
    "kendall_b": kendall_b,
    "cosine": cosine,
    "whitened_cosine": whitened_cosine,
    "whitened_pearson": whitened_pearson,
    "u_centered_cosine": u_centered_cosine,
    "centered_cosine": centered_cosine,
    "root_centered_cosine": root_centered_cosine,
}


# Measures.
class Measure(NamedTuple):
    transform: Callable
    pairwise: Callable
    compare: Callable

    def map(self, x):
        return self.pairwise(self.transform(x))

    def __call__(self, x, y):
        return self.compare(self.map(x), self.map(y))


def dds(transform, pairwise):
    return Measure(transform, pairwise, u_centered_cosine)


def basis(x, fraction=1.0):
    """Orthonormal columns of the leading principal directions; rank as of numbers with the digits of float32."""
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    held = np.cumsum(s**2) / (s**2).sum()
    rank = int((s > max(x.shape) * np.finfo(np.float32).eps * s[0]).sum())
    return u[:, : rank if fraction == 1 else int((held < fraction).sum()) + 1]


def leading_basis(x):
    return basis(x, 0.99)


def canonical_correlations(a, b):
    """Cosines of the principal angles of two bases."""
    return np.linalg.svd(a.T @ b, compute_uv=False)


def mean_correlation(a, b, w=None):
    return canonical_correlations(a, b).mean()


def mean_squared_correlation(a, b, w=None):
    return (canonical_correlations(a, b) ** 2).mean()


CCA, CCA_SQUARED = Measure(identity, basis, mean_correlation), Measure(identity, basis, mean_squared_correlation)
SVCCA = Measure(identity, leading_basis, mean_correlation)
RSA = Measure(center, pearson_distance, spearman)
RSA_UNCENTERED = Measure(identity, pearson_distance, spearman)
CKA_LINEAR, CKA_RBF = dds(identity, linear), dds(identity, rbf)
CKA_LINEAR_BIASED = Measure(identity, linear, centered_cosine)
CKA_RBF_BIASED = Measure(identity, rbf, centered_cosine)
RV = CKA_LINEAR_BIASED
RV_MODIFIED = Measure(center, linear, cosine)  # Smilde et al. 2009: diagonals left out after centering
DISTANCE_CORRELATION = Measure(identity, euclidean, root_centered_cosine)
DISTANCE_CORRELATION_UNBIASED = dds(identity, euclidean)  # squared, may be negative; Szekely and Rizzo 2013
DDS_LAPLACIAN, DDS_COSINE = dds(zscore, laplacian), dds(zscore, cosine_distance)
DDS_TABLE = {(t, f): dds(TRANSFORMS[t], PAIRWISE[f]) for t in TRANSFORMS for f in PAIRWISE}


def hsic_song(a, b):
    """Song et al. 2012, equation 5."""
    n = len(a)
    a, b = (np.where(np.eye(n, dtype=bool), 0.0, m) for m in (a, b))
    third = 2.0 / (n - 2) * (a.sum(0) @ b.sum(0))
    return (np.trace(a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - third) / (n * (n - 3))


def hsic_features(x, y):
    """The same for linear kernels, from the features alone and without an n x n array."""
    x, y = center(x), center(y)
    n = len(x)
    kx, ky = (x**2).sum(1), (y**2).sum(1)
    rx, ry = x @ x.sum(0) - kx, y @ y.sum(0) - ky
    whole = ((x.T @ y) ** 2).sum() - kx @ ky
    return (whole + rx.sum() * ry.sum() / ((n - 1) * (n - 2)) - 2.0 * (rx @ ry) / (n - 2)) / (n * (n - 3))


def ratio(hsic, x, y):
    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def compare_maps(maps, compare, w=None):
    return np.array([[compare(a, b, w) for b in maps] for a in maps])


def affinity(features, measure):
    return compare_maps([measure.map(x) for x in features], measure.compare)


# Resampling and inference.
def drop(m, index):
    """Condensed map of the images in `index`, in order, less the pairs of two copies of one image."""
    index = np.asarray(index)
    a, b = np.triu_indices(len(index), 1)
    keep = index[a] != index[b]
    return np.asarray(m, np.float64)[index[a[keep]], index[b[keep]]]


def index_of(w):
    """The images that integer weights stand for: image i, w_i times."""
    return np.repeat(np.arange(len(w)), w)


def bootstrap(maps, indices, of_vectors):
    """`(B, T, T)` by indexing and dropping; `indices` is `(B, m)`."""
    out = np.empty((len(indices), len(maps), len(maps)))
    for b, index in enumerate(indices):
        vectors = [drop(m, index) for m in maps]
        out[b] = [[of_vectors(u, v) for v in vectors] for u in vectors]
    return out


def pool(vectors, name):
    """The group's map that a noise ceiling takes as best: a mean after the comparator's own normalization."""
    vectors = np.asarray(vectors, np.float64)
    if name in ("spearman", "rho_a"):
        return np.mean([ranks(v) for v in vectors], 0)
    if name == "pearson":
        return np.mean([(v - v.mean()) / v.std() for v in vectors], 0)
    return np.mean([v / np.sqrt((v**2).mean()) for v in vectors], 0)


def noise_ceiling(maps, name):
    """Lower bound: each map against the pool of the others; upper bound: against the pool of all."""
    vectors = [condense(m) for m in maps]
    compare = VECTOR_COMPARE[name]
    others = [pool(vectors[:i] + vectors[i + 1 :], name) for i in range(len(vectors))]
    whole = pool(vectors, name)
    lower = np.mean([compare(o, v) for o, v in zip(others, vectors, strict=True)])
    return lower, np.mean([compare(whole, v) for v in vectors])


def two_factor_variance(both, networks, images, n_networks, n_images):
    """Schuett et al. 2023: variance over networks and images from the variances of three bootstraps."""
    f, g = n_networks / (n_networks - 1), n_images / (n_images - 1)
    corrected = f * networks + g * images - f * g * (both - networks - images)
    return min(max(corrected, f * networks, g * images), f * g * both)


def close(got, want, tolerance=2e-6):
    """Assert that numbers differ by rounding alone, relative to the largest wanted one, or to 1 where that is less."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, np.nanmax(np.abs(want))))
