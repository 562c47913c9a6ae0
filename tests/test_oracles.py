"""The oracles of the other tests, against SciPy, scikit-learn, literal expansion and closed forms."""

import itertools

import numpy as np
import oracles as o
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform
from sklearn import metrics, preprocessing

N = 23


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, 3, 4, 6)) * rng.uniform(0.5, 2.0, size=6) + 1.0


@pytest.fixture
def flat(rng):
    return np.maximum(rng.normal(size=(N, 40)), -0.5)


@pytest.fixture
def maps(rng):
    """Two related maps with many ties."""
    shared = rng.normal(size=(N, 8))
    features = [np.concatenate([shared, rng.normal(size=(N, 6))], 1) for _ in range(2)]
    return [np.round(squareform(pdist(f)), 1) for f in features]


@pytest.fixture
def w(rng):
    return rng.multinomial(N, np.ones(N) / N)


# Transforms.
def _moments(x, axes):
    mean = np.broadcast_to(np.mean(x, axes, keepdims=True), x.shape)
    return (x - mean) / np.sqrt(np.var(x, axes, keepdims=True) + 1e-9)


def _per_image(x, channels):
    """Normalize every image by itself over the positions and each set of channels, by explicit loops."""
    out = np.empty_like(x)
    for i, c in itertools.product(range(len(x)), channels):
        part = x[i][..., c]
        out[i][..., c] = (part - part.mean()) / np.sqrt(part.var() + 1e-9)
    return out


TRANSFORMED = {
    "identity": lambda x: x.reshape(N, -1),
    "center": lambda x: preprocessing.StandardScaler(with_std=False).fit_transform(x.reshape(N, -1)),
    "zscore": lambda x: preprocessing.StandardScaler().fit_transform(x.reshape(N, -1)),
    "batch_norm": lambda x: _moments(x, (0, 1, 2)).reshape(N, -1),
    "instance_norm": lambda x: _per_image(x, [[c] for c in range(6)]).reshape(N, -1),
    "layer_norm": lambda x: _per_image(x, [list(range(6))]).reshape(N, -1),
    "group_norm": lambda x: _per_image(x, [[0, 1, 2], [3, 4, 5]]).reshape(N, -1),
    "mean_pool": lambda x: x.mean((1, 2)),
}


@pytest.mark.parametrize("name", o.TRANSFORMS)
def test_transform(name, x):
    got = o.TRANSFORMS[name](x)
    np.testing.assert_allclose(got, TRANSFORMED[name](x), rtol=0, atol=1e-12)
    assert got.shape == (N, 6 if name == "mean_pool" else 72)


def test_zscore_leaves_constant_columns_at_zero(flat):
    flat[:, 3] = 0.1
    np.testing.assert_allclose(o.zscore(flat), preprocessing.StandardScaler().fit_transform(flat), atol=1e-12)
    assert (o.zscore(flat)[:, 3] == 0).all()


def test_group_norm_of_one_group_is_layer_norm_and_of_each_channel_is_instance_norm(x):
    np.testing.assert_array_equal(o.group_norm(x, 1), o.layer_norm(x))
    np.testing.assert_allclose(o.group_norm(x, 6), o.instance_norm(x), atol=1e-13)
    with pytest.raises(ValueError, match="6 channels cannot"):
        o.group_norm(x, 4)


def test_transforms_that_are_matrices(x):
    n, d = o.flatten(x).shape
    h = np.eye(n) - 1.0 / n
    scale = np.diag(1.0 / o.flatten(x).std(0))
    pool = np.kron(np.ones((12, 1)) / 12, np.eye(6))
    np.testing.assert_allclose(o.duality(x, np.eye(d), h), o.center(x), atol=1e-12)
    np.testing.assert_allclose(o.duality(x, scale, h), o.zscore(x), atol=1e-12)
    np.testing.assert_allclose(o.duality(x, pool, np.eye(n)), o.mean_pool(x), atol=1e-12)


# Distances and kernels.
def _rbf(x):
    median = np.median(metrics.pairwise_distances(x, metric="sqeuclidean"))
    return metrics.pairwise.rbf_kernel(x, gamma=2.0 / median)


PAIRED = {
    "correlation": lambda x: squareform(pdist(x, "correlation")),
    "euclidean": lambda x: squareform(pdist(x)),
    "cosine": lambda x: squareform(pdist(x, "cosine")),
    "cityblock": lambda x: squareform(pdist(x, "cityblock")),
    "linear": metrics.pairwise.linear_kernel,
    "rbf": _rbf,
    "laplacian": metrics.pairwise.laplacian_kernel,  # its default gamma is 1 / d
}


@pytest.mark.parametrize("name", o.PAIRWISE)
def test_pairwise(name, flat):
    np.testing.assert_allclose(o.PAIRWISE[name](flat), PAIRED[name](flat), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["correlation", "cosine"])
def test_undefined_rows_are_nan_and_no_others(name, flat):
    flat[4] = 0.0
    undefined = np.isnan(o.PAIRWISE[name](flat))
    assert undefined[4].all()
    assert undefined[:, 4].all()
    assert undefined.sum() == 2 * N - 1


# Centering.
def test_biased_centering(flat):
    k = o.linear(flat)
    np.testing.assert_allclose(o.biased_center(k), preprocessing.KernelCenterer().fit_transform(k), atol=1e-10)


def test_weighted_biased_centering_is_that_of_the_expanded_map(flat, w):
    k, index = o.linear(flat), o.index_of(w)
    expanded = o.biased_center(k[np.ix_(index, index)])
    np.testing.assert_allclose(o.biased_center(k, w)[np.ix_(index, index)], expanded, atol=1e-10)


def test_u_centering_has_zero_rows_and_is_idempotent(flat):
    k = o.u_center(o.euclidean(flat))
    np.testing.assert_allclose(k.sum(0), 0, atol=1e-11)
    np.testing.assert_allclose(o.u_center(k), k, atol=1e-12)
    with pytest.raises(ValueError, match="4 images or more, got 3"):
        o.u_center(np.ones((3, 3)))


def test_u_centering_is_the_unweighted_least_squares_residual(flat):
    k = o.euclidean(flat)
    np.testing.assert_allclose(o.u_center(k), o.u_center_least_squares(k, np.ones(N)), atol=1e-11)


def _closed_form(k, w):
    """The additive part of the weighted fit, in closed form."""
    k = np.where(np.eye(len(k), dtype=bool), 0.0, k)
    total = w.sum()
    r = k @ w
    q = (w * r / (total - 2 * w)).sum() / (1 + (w / (total - 2 * w)).sum())
    return (r - q) / (total - 2 * w)


@pytest.mark.parametrize("kind", ["counts", "real"])
def test_weighted_least_squares_against_the_closed_form(kind, maps, w, rng):
    w = w if kind == "counts" else rng.dirichlet(np.ones(N)) * N
    k, m = maps
    a = _closed_form(k, w)
    residual = k - a[:, None] - a[None, :]
    np.fill_diagonal(residual, 0)
    seen = np.outer(w, w) > 0
    np.testing.assert_allclose(residual[seen], o.u_center_least_squares(k, w)[seen], atol=1e-9)
    k0, m0 = (np.where(np.eye(N, dtype=bool), 0.0, v) for v in (k, m))
    inner = (np.outer(w, w) * k0 * m0).sum() - 2 * (w * a * (m0 @ w)).sum()
    other = o.u_center_least_squares(m, w)
    assert inner == pytest.approx((np.outer(w, w) * residual * other).sum(), abs=1e-8)


def test_weighted_least_squares_is_that_of_the_copies_of_each_image(maps, w):
    k, index = maps[0], o.index_of(w)
    i, j = np.triu_indices(len(index), 1)
    keep = index[i] != index[j]
    i, j = i[keep], j[keep]
    design = np.zeros((len(i), len(index)))
    design[np.arange(len(i)), i] = design[np.arange(len(i)), j] = 1.0
    y = k[index[i], index[j]]
    copies = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(o.u_center_least_squares(k, w)[index[i], index[j]], copies, atol=1e-9)


# Comparators.
def _scipy_rho_a(a, b):
    a, b = scipy.stats.rankdata(a), scipy.stats.rankdata(b)
    n = len(a)
    return 12 * (n - 1) * np.cov(a, b)[0, 1] / (n**3 - n)


def _scipy_tau_a(a, b):
    """Tau-b times the roots of the untied shares."""
    untied = [
        1 - sum(t * (t - 1) for t in np.unique(v, return_counts=True)[1]) / (len(v) * (len(v) - 1)) for v in (a, b)
    ]
    return scipy.stats.kendalltau(a, b)[0] * np.sqrt(untied[0] * untied[1])


SCIPY = {
    "kendall_a": _scipy_tau_a,
    "kendall_b": lambda a, b: scipy.stats.kendalltau(a, b)[0],
    "pearson": lambda a, b: scipy.stats.pearsonr(a, b)[0],
    "spearman": lambda a, b: scipy.stats.spearmanr(a, b)[0],
    "cosine": lambda a, b: 1 - scipy.spatial.distance.cosine(a, b),
    "rho_a": _scipy_rho_a,
}


@pytest.mark.parametrize("name", o.VECTOR_COMPARE)
def test_compare(name, maps):
    got = o.COMPARE[name](*maps)
    assert got == pytest.approx(SCIPY[name](*map(o.condense, maps)), abs=1e-12)
    assert 0.1 < got < 0.999


@pytest.mark.parametrize("name", o.VECTOR_COMPARE)
def test_compare_with_counts_is_scipy_on_the_expanded_map_less_same_image_pairs(name, maps, w):
    expanded = [o.drop(m, o.index_of(w)) for m in maps]
    assert len(expanded[0]) == (w.sum() ** 2 - (w**2).sum()) // 2
    assert o.COMPARE[name](*maps, w) == pytest.approx(SCIPY[name](*expanded), abs=1e-12)


@pytest.mark.parametrize("centered", [False, True])
def test_whitened_cosine_with_counts_is_that_of_copies_as_images_less_same_image_pairs(centered, maps, w):
    index = o.index_of(w)
    i, j = np.triu_indices(len(index), 1)
    keep = index[i] != index[j]
    a, b = (o.drop(m, index) for m in maps)
    a, b = (v - v.mean() if centered else v for v in (a, b))
    inverse = np.linalg.inv(o.distance_covariance(np.eye(len(index)))[keep][:, keep])
    want = a @ inverse @ b / np.sqrt((a @ inverse @ a) * (b @ inverse @ b))
    assert o.whitened_cosine(*maps, w, centered=centered) == pytest.approx(want, abs=1e-12)


def test_distance_covariance_is_that_of_simulated_noise(rng):
    """Of crossvalidated squared distances of noise alone, over many channels."""
    sigma = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, -0.3], [0.0, -0.3, 0.7]])
    x, y = np.linalg.cholesky(sigma) @ rng.normal(size=(2, 100_000, 3, 1))[..., None][..., 0]
    i, j = np.triu_indices(3, 1)
    found = np.cov(((x[:, i] - x[:, j]) * (y[:, i] - y[:, j]))[..., 0].T)
    np.testing.assert_allclose(found, o.distance_covariance(sigma), rtol=0, atol=0.3)


def test_rho_a_is_spearman_without_ties_and_the_mean_over_broken_ties_with_them(rng):
    a, b = rng.normal(size=(2, 12))
    assert o.rho_a_of(a, b) == pytest.approx(o.spearman_of(a, b), abs=1e-12)
    a = np.array([1.0, 1, 1, 2, 3, 3])
    b = rng.normal(size=6)
    orders = [p + (4,) + q for p in itertools.permutations([1, 2, 3]) for q in itertools.permutations([5, 6])]
    assert o.rho_a_of(a, b) == pytest.approx(np.mean([o.spearman_of(np.array(r), b) for r in orders]), abs=1e-12)


def test_ranks(rng):
    v = rng.integers(0, 9, size=60)
    np.testing.assert_array_equal(o.ranks(v), scipy.stats.rankdata(v))
    p = rng.integers(0, 4, size=60)
    np.testing.assert_allclose(o.ranks(v, p)[np.repeat(np.arange(60), p)], scipy.stats.rankdata(np.repeat(v, p)))


def test_biased_cosine_with_counts_is_that_of_the_expanded_map(maps, w):
    index = o.index_of(w)
    expanded = [m[np.ix_(index, index)] for m in maps]
    assert o.centered_cosine(*maps, w) == pytest.approx(o.centered_cosine(*expanded), abs=1e-12)


# Measures and the identities between them.
def test_three_forms_of_the_unbiased_hsic(rng, flat):
    y = flat @ rng.normal(size=(40, 5)) + 1.0
    k, m = o.linear(flat), o.linear(y)
    inner = (o.u_center(k) * o.u_center(m)).sum() / (N * (N - 3))
    assert o.hsic_song(k, m) == pytest.approx(inner, rel=1e-12)
    assert o.hsic_features(flat, y) == pytest.approx(inner, rel=1e-10)
    assert o.ratio(o.hsic_features, flat, y) == pytest.approx(o.CKA_LINEAR(flat, y), abs=1e-12)


def test_rv_is_the_trace_form_and_biased_linear_cka(rng, flat):
    y = flat @ rng.normal(size=(40, 5))
    a, b = o.center(flat), o.center(y)
    traces = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert o.RV(flat, y) == pytest.approx(traces, abs=1e-12)


def test_distance_correlation_of_a_line_is_one_and_of_independent_data_is_small(rng):
    x, y = rng.normal(size=(2, 200, 1))
    assert o.DISTANCE_CORRELATION(x, 3 - 2 * x) == pytest.approx(1, abs=1e-12)
    assert 0 < o.DISTANCE_CORRELATION(x, y) < 0.25
    assert abs(o.DISTANCE_CORRELATION_UNBIASED(x, y)) < 0.1


def test_u_centered_cosine_is_pearson_of_the_u_centered_maps_and_not_of_the_raw_ones(maps):
    centered = [o.u_center(m) for m in maps]
    score = o.u_centered_cosine(*maps)
    assert score == pytest.approx(o.pearson(*centered), abs=1e-12)
    assert abs(score - o.pearson(*maps)) > 1e-3


@pytest.mark.parametrize("f", ["linear", "rbf", "laplacian", "euclidean"])
def test_dds_ignores_centering_under_shift_invariant_maps(f, x):
    y = np.tanh(x[..., ::2]) + x[..., :3]
    a, b = (o.DDS_TABLE[t, f](x, y) for t in ("identity", "center"))
    assert a == pytest.approx(b, abs=1e-10)


@pytest.mark.parametrize("t", ["layer_norm", "instance_norm", "group_norm"])
def test_pearson_and_cosine_distances_agree_on_rows_of_zero_mean(t, x):
    y = np.tanh(x[..., ::2])[..., [0, 1, 2, 0]]
    assert o.DDS_TABLE[t, "correlation"](x, y) == pytest.approx(o.DDS_TABLE[t, "cosine"](x, y), abs=1e-10)


def test_affine_invariance_that_spearman_has_and_cosine_has_not(maps):
    shifted = 3.0 * maps[1] + 2.0
    assert o.spearman(maps[0], shifted) == pytest.approx(o.spearman(*maps), abs=1e-12)
    assert abs(o.cosine(maps[0], shifted) - o.cosine(*maps)) > 1e-4


# Resampling.
def test_bootstrap_is_the_weighted_comparison(maps, rng):
    indices = rng.integers(0, N, size=(3, N))
    scores = o.bootstrap(maps, indices, o.spearman_of)
    for index, score in zip(indices, scores, strict=True):
        w = np.bincount(index, minlength=N)
        np.testing.assert_allclose(score, o.compare_maps(maps, o.spearman, w), atol=1e-12)


def test_unbiased_cosine_under_counts_has_the_mean_of_the_full_sample(rng):
    """Zero similarity stays zero under resampling; indexing and recomputing would report the biased value."""
    x, y = rng.normal(size=(2, 30, 100))
    k, m = o.linear(x), o.linear(y)
    full = o.u_centered_cosine(k, m)
    counts = rng.multinomial(30, np.ones(30) / 30, size=40)
    weighted = np.mean([o.u_centered_cosine(k, m, w) for w in counts])
    naive = [np.ix_(o.index_of(w), o.index_of(w)) for w in counts]
    assert abs(weighted - full) < 0.05
    assert np.mean([o.u_centered_cosine(k[i], m[i]) for i in naive]) > 0.5


def test_noise_ceiling_orders_its_bounds(rng):
    truth = rng.normal(size=(20, 6))
    group = [squareform(pdist(truth + 0.5 * rng.normal(size=truth.shape))) for _ in range(5)]
    for name in o.VECTOR_COMPARE:
        lower, upper = o.noise_ceiling(group, name)
        assert 0.2 < lower < upper < 1


def test_two_factor_variance_of_an_additive_model():
    """Both bootstraps at once add up the variances: corrected, the sum; never below one factor alone."""
    assert o.two_factor_variance(4.0, 1.0, 2.0, 10**9, 10**9) == pytest.approx(2.0)
    assert o.two_factor_variance(3.0, 1.0, 2.0, 10**9, 10**9) == pytest.approx(3.0)
