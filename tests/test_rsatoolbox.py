"""The functions that rsatoolbox 0.3.2 has too, on inputs of our own, and its objects from our records and back.

`docs/rsatoolbox.md` lists what is checked here. Scores are held to 1e-6 in float32, and to 1e-12 in float64.
"""

import functools
import re
import sys
import warnings

import jax
import numpy as np
import oracles as o
import pytest

import jaxsim as js
from jaxsim.extras import MissingExtra
from jaxsim.measurements import noise_precision

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rsatoolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (extra: peers)")
    from rsatoolbox.data import Dataset
    from rsatoolbox.data.noise import prec_from_residuals
    from rsatoolbox.inference import Result, eval_fixed
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs, calc_rdm, compare
    from rsatoolbox.util.matrix import get_v
    from rsatoolbox.util.pooling import pool_rdm

N, RUNS, CHANNELS, SUBJECTS = 12, 4, 9, 5
METHODS = {
    "pearson": "corr",
    "spearman": "spearman",
    "rho-a": "rho-a",
    "kendall-a": "tau-a",
    "kendall-b": "tau-b",
    "cosine": "cosine",
    "whitened-pearson": "corr_cov",
    "whitened-cosine": "cosine_cov",
}
"""Comparators here, and there."""
WHITENED = ("whitened-pearson", "whitened-cosine")
every = pytest.mark.parametrize("name", METHODS)
dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
NOISE = pytest.mark.filterwarnings("ignore:Noise ceiling for tau")


@functools.cache
def rows(count=SUBJECTS, seed=0):
    """Condensed maps that share something, one with many ties, and all with some; exact in float32."""
    rng = np.random.default_rng(seed)
    shared, own = rng.uniform(size=(count + 1, N * (N - 1) // 2)), rng.uniform(size=N * (N - 1) // 2)
    found = np.round(64 * (shared[:-1] + own)) / 64
    found[0] = np.round(2 * found[0])
    return found


def named(arrays, start="s"):
    return {f"{start}{k}": row for k, row in enumerate(arrays)}


@functools.cache
def scores(dtype):
    with jax.enable_x64(dtype == np.float64):
        maps = named(rows().astype(dtype))
        return dict(zip(METHODS, (np.asarray(a.values) for a in js.compare_maps(maps, list(METHODS))), strict=True))


@every
@dtypes
def test_comparators(name, dtype, tolerance):
    rdms = RDMs(rows())
    np.testing.assert_allclose(scores(dtype)[name], compare(rdms, rdms, METHODS[name]), rtol=0, atol=tolerance)


def covariance(seed=1):
    root = np.random.default_rng(seed).normal(size=(N, N))
    return np.matmul(root, root.T) + 2 * np.eye(N)


@pytest.mark.parametrize("variances", [False, True])
@pytest.mark.parametrize("centered", [False, True])
@dtypes
def test_comparators_with_a_covariance_of_images(centered, variances, dtype, tolerance):
    """By V of rsatoolbox, solved exactly; its own scores, by conjugate gradients, are near."""
    sigma = np.diag(covariance()) if variances else covariance()
    with jax.enable_x64(dtype == np.float64):
        by = js.compare.whitened_by(sigma, centered=centered)
        got = js.compare_maps(named(rows().astype(dtype)), by).values
    full = np.diag(sigma) if variances else sigma
    v = get_v(N, full).toarray()
    x = rows() - rows().mean(1, keepdims=True) * centered
    products = np.matmul(x, np.linalg.solve(v, x.T))
    length = np.sqrt(np.diagonal(products))
    np.testing.assert_allclose(got, products / np.outer(length, length), rtol=0, atol=tolerance)
    theirs = compare(RDMs(rows()), RDMs(rows()), ("cosine_cov", "corr_cov")[centered], sigma_k=full)
    np.testing.assert_allclose(got, theirs, rtol=0, atol=1e-4)


SIGMA = {
    "a cube": (np.ones((2, 2, 2)), "sigma_k of shape (2, 2, 2) is neither a covariance (n, n) nor variances (n,)"),
    "nothing": (np.ones(0), "sigma_k of shape (0,) is neither"),
    "no square": (np.ones((2, 3)), "sigma_k of shape (2, 3) is neither"),
    "not symmetric": (np.array([[2.0, 1.0], [0.0, 2.0]]), "sigma_k is not symmetric, or not finite"),
    "NaN": (np.diag([1.0, np.nan]), "sigma_k is not symmetric, or not finite"),
    "singular": (np.ones((3, 3)), "sigma_k is not positive definite"),
    "a variance of zero": (np.array([1.0, 0.0, 1.0]), "sigma_k is not positive definite"),
    "complex numbers": (np.eye(3) * 1j, "sigma_k must hold real numbers, not elements of type complex128"),
    "texts": (["1", "2"], "sigma_k must hold real numbers."),
}


@pytest.mark.parametrize("case", SIGMA)
def test_a_covariance_that_is_none_is_refused(case):
    sigma, message = SIGMA[case]
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        js.compare.whitened_by(sigma)


def test_a_covariance_is_of_these_very_images():
    by, maps = js.compare.whitened_by(covariance()[1:, 1:]), named(rows())
    with pytest.raises(ValueError, match=f"sigma_k has {N - 1} images, and the maps have {N}"):
        js.compare_maps(maps, by)
    by = js.compare.whitened_by(covariance())
    for scheme in (js.Bootstrap(), js.Permutation()):
        with pytest.raises(TypeError, match="WhitenedBy cannot resample the images: its covariance belongs to"):
            js.resample(maps, by, scheme)
    with pytest.raises(TypeError, match='compare models with rho-a, .* or give over="subjects"'):
        js.compare_models(maps, maps, by)
    found = js.compare_models(maps, maps, by, over="subjects", n_resamples=200)
    np.testing.assert_allclose(found.scores, js.compare_maps(maps, by).values, atol=1e-6)


def test_variances_of_images_are_not_those_of_rsatoolbox_given_as_a_vector():
    """It then centers with equal weights, and scores differ from its own of the diagonal matrix."""
    rdms, sigma = RDMs(rows()), np.diag(covariance())
    both = [compare(rdms, rdms, "cosine_cov", sigma_k=s) for s in (sigma, np.diag(sigma))]
    assert np.abs(both[0] - both[1]).max() > 1e-3


@every
def test_images_drawn_with_replacement(name):
    """Copies of an image form no pair, and are images of their own to the whitened comparators."""
    images = np.random.default_rng(3).integers(N, size=N)
    assert len(set(images)) < N - 2
    scheme = js.Bootstrap(weights=np.bincount(images, minlength=N)[None].astype(float))
    with jax.enable_x64(True):
        got = js.resample(named(rows()), name, scheme).values[0]
    sample = RDMs(rows()).subsample_pattern("index", images)
    np.testing.assert_allclose(got, compare(sample, sample, METHODS[name]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman", "rho-a", "cosine"])
def test_maps_that_lack_pairs_of_images(name):
    given = rows().copy()
    given[:, [3, 17, 40]] = np.nan
    with jax.enable_x64(True):
        got = js.compare_maps(named(given), name, missing="pairwise").values
    np.testing.assert_allclose(got, compare(RDMs(given), RDMs(given), METHODS[name]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [*WHITENED, "kendall-a", "kendall-b"])
def test_comparators_of_whole_maps_refuse_gaps_in_a_sentence(name):
    given = rows().copy()
    given[1, 3] = np.nan
    with pytest.raises(TypeError, match=f"map 's1' lacks pairs of images, and {name} needs them all"):
        js.compare_maps(named(given), name, missing="pairwise")


@NOISE
@pytest.mark.parametrize("name", [name for name in METHODS if name not in WHITENED])
def test_noise_ceilings(name):
    with jax.enable_x64(True):
        got = js.noise_ceiling(named(rows()), name)
    np.testing.assert_allclose(got, boot_noise_ceiling(RDMs(rows()), METHODS[name]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", WHITENED)
def test_noise_ceilings_of_whitened_maps(name):
    """Subjects count alike after whitening, as in `rsatoolbox.util.pooling`; its noise ceilings pool plain maps."""
    with jax.enable_x64(True):
        got = js.noise_ceiling(named(rows()), name)
    method, subjects = METHODS[name], [RDMs(row[None]) for row in rows()]
    pooled = [pool_rdm(RDMs(np.delete(rows(), u, 0)), method) for u in range(SUBJECTS)]
    lower = np.mean([compare(a, b, method)[0, 0] for a, b in zip(pooled, subjects, strict=True)])
    upper = np.mean(compare(pool_rdm(RDMs(rows()), method), RDMs(rows()), method))
    np.testing.assert_allclose(got, (lower, upper), rtol=0, atol=1e-5)  # pooled by conjugate gradients
    assert np.abs(np.subtract(got, boot_noise_ceiling(RDMs(rows()), method))).max() < 0.02


# Distances.
def measured(seed=4):
    """Runs of images with a large mean, as of a scanner, and residuals."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, CHANNELS)) + rng.normal(size=(RUNS, N, CHANNELS)) + 20
    return x, np.matmul(rng.normal(size=(60, CHANNELS)), rng.normal(size=(CHANNELS, CHANNELS)))


def dataset(x):
    places = {"image": np.tile(np.arange(N), len(x)), "run": np.repeat(np.arange(len(x)), N)}
    return Dataset(x.reshape(-1, x.shape[-1]), obs_descriptors=places)


def triangles(maps):
    return np.asarray(maps.values)[(slice(None), *np.triu_indices(N, 1))]


@dtypes
def test_correlation_distances(dtype, tolerance):
    x = (measured()[0][0] - 20).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = triangles(js.maps({"a": x}, "rsa-uncentered"))
    np.testing.assert_allclose(got, calc_rdm(Dataset(x.astype(float)), "correlation").dissimilarities, atol=tolerance)


@dtypes
def test_euclidean_and_mahalanobis_distances(dtype, tolerance):
    """Squared and divided by the channels there; of features times a root of the precision here."""
    x, residuals = measured()
    x, precision = (x[0] - 20).astype(dtype), prec_from_residuals(residuals)
    whitened = np.matmul(x.astype(float), np.linalg.cholesky(precision)).astype(dtype)
    euclidean = js.Measure(js.transforms.identity, js.pairwise.euclidean, js.compare.cosine)
    with jax.enable_x64(dtype == np.float64):
        got = triangles(js.maps({"plain": x, "whitened": whitened}, euclidean)) ** 2 / CHANNELS
    given = Dataset(x.astype(float))
    want = [calc_rdm(given, "euclidean"), calc_rdm(given, "mahalanobis", noise=precision)]
    np.testing.assert_allclose(got, [r.dissimilarities[0] for r in want], rtol=5 * tolerance)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of its descriptors
@pytest.mark.parametrize("noise", ["none", "precision", "residuals"])
@dtypes
def test_crossnobis(noise, dtype, tolerance):
    x, residuals = measured()
    precision = None if noise == "none" else prec_from_residuals(residuals)
    given = {"none": {}, "precision": {"precision": precision}, "residuals": {"residuals": residuals}}[noise]
    with jax.enable_x64(dtype == np.float64):
        found = js.crossnobis({"a": x, "b": x[:2]}, **given)
    assert found.values.dtype == dtype
    got = triangles(found)
    want = [
        calc_rdm(dataset(one), "crossnobis", "image", noise=precision, cv_descriptor="run").dissimilarities[0]
        for one in (x, x[:2])
    ]
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())
    assert noise != "none" or (np.min(want) < 0) == (np.min(got) < 0)


@pytest.mark.parametrize("shape", [(60, CHANNELS), (3, 20, CHANNELS), (5, CHANNELS)])
def test_noise_shrunk_toward_its_diagonal(shape):
    residuals = np.matmul(np.random.default_rng(5).normal(size=shape), np.diag(np.arange(1.0, CHANNELS + 1)) + 0.5)
    each = residuals - residuals.mean(-2, keepdims=True)
    degrees = int(np.prod(shape[:-2])) * (shape[-2] - 1)
    want = prec_from_residuals(each.reshape(-1, CHANNELS), dof=degrees, method="shrinkage_diag")
    got, shrinkage = noise_precision(residuals)
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert 0 < shrinkage <= 1


# Inference.
@pytest.fixture(scope="module")
def compared():
    """Models compared for these very images, as `eval_fixed` does."""
    models, subjects = rows(3, seed=6), rows()
    models[:2] += 0.5 * subjects.mean(0)
    with jax.enable_x64(True):
        found = js.compare_models(named(models, "m"), named(subjects), "pearson", over="subjects", n_resamples=200)
    theirs = eval_fixed([ModelFixed(f"m{k}", row) for k, row in enumerate(models)], RDMs(subjects), method="corr")
    return found, theirs


def assert_same_results(found, result, tolerance):
    np.testing.assert_allclose(found.estimate, result.get_means(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.error, result.get_sem(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.p_zero, result.test_zero(), rtol=0, atol=tolerance)
    apart = ~np.eye(len(found.names), dtype=bool)
    np.testing.assert_allclose(found.p_pair[apart], result.test_pairwise()[apart], rtol=0, atol=tolerance)


def test_models_for_these_very_images(compared):
    found, theirs = compared
    assert_same_results(found, theirs, 1e-12)
    np.testing.assert_allclose(found.ceiling, np.mean(theirs.noise_ceiling.reshape(2, -1), 1), rtol=0, atol=1e-12)


# Objects.
def test_maps_become_rdms_and_come_back():
    ids = [f"image {k}" for k in range(N)]
    maps = js.Maps.from_condensed(rows(), ["v1", "v2", "v4", "it", "pfc"], ids=ids)
    rdms = maps.to_rsatoolbox()
    assert isinstance(rdms, RDMs)
    assert rdms.dissimilarities.dtype == float
    np.testing.assert_array_equal(rdms.dissimilarities, rows())
    again = js.Maps.from_rsatoolbox(rdms)
    assert (again.names, again.ids) == (maps.names, maps.ids)
    np.testing.assert_array_equal(again.values, maps.values)
    np.testing.assert_array_equal(rdms.subset("name", "it").dissimilarities, rows()[3:4])
    assert js.Maps.from_condensed(rows()).to_rsatoolbox().n_cond == N


def test_rdms_where_maps_are_wanted_are_refused_by_name():
    rdms = RDMs(rows(), rdm_descriptors={"roi": list("abcde")})
    for verb in (js.compare_maps, js.noise_ceiling, js.resample, js.affinity):
        with pytest.raises(TypeError, match="from_rsatoolbox"):
            verb(rdms, "rsa" if verb is js.affinity else "spearman")
    assert js.Maps.from_rsatoolbox(rdms).names == tuple("abcde")
    assert js.Maps.from_rsatoolbox(RDMs(rows()[:2], rdm_descriptors={"subject": ["s", "s"]})).names[0] == "network_0"


def test_a_comparison_becomes_a_result(compared):
    found, theirs = compared
    result = found.to_rsatoolbox()
    assert isinstance(result, Result)
    assert result.method == "corr"
    assert_same_results(found, result, 1e-9)
    np.testing.assert_allclose(result.test_noise(), found.p_ceiling, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.evaluations, theirs.evaluations, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.test_pairwise("ranksum"), theirs.test_pairwise("ranksum"))
    assert "m0" in result.summary()


def test_a_result_holds_errors_for_new_images_too(tmp_path):
    models, subjects = rows(3, seed=6), rows()
    found = js.compare_models(named(models, "m"), named(subjects), "whitened-cosine", n_resamples=200)
    result = found.to_rsatoolbox(js.Maps.from_dict(named(models, "m")))
    assert result.method == "cosine_cov"
    assert [m.name for m in result.models] == ["m0", "m1", "m2"]
    np.testing.assert_array_equal(result.models[1].rdm, models[1])
    np.testing.assert_allclose(result.get_sem(), found.error, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(result.diff_var), found.difference_error[np.triu_indices(3, 1)], rtol=1e-4)
    np.testing.assert_allclose(result.test_noise(), found.p_ceiling, rtol=0, atol=1e-5)
    result.save(tmp_path / "result.h5", overwrite=True)
    again = rsatoolbox.inference.load_results(str(tmp_path / "result.h5"), "hdf5")
    np.testing.assert_allclose(again.get_sem(), found.error, rtol=1e-5)
    with pytest.raises(ValueError, match="models has no map of m1, m2"):
        found.to_rsatoolbox(js.Maps.from_dict({"m0": models[0]}))


def test_without_rsatoolbox_a_sentence_says_how_to_install_it(monkeypatch, compared):
    for module in ["rsatoolbox", *(one for one in sys.modules if one.startswith("rsatoolbox."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"Maps.to_rsatoolbox needs rsatoolbox: pip install rsatoolbox"):
        js.Maps.from_condensed(rows()).to_rsatoolbox()
    with pytest.raises(MissingExtra, match=r"ModelComparison.to_rsatoolbox needs rsatoolbox: pip install rsatoolbox"):
        compared[0].to_rsatoolbox()


def test_kendall_and_whitened_cosine_of_features():
    """As measures of features, by their parts."""
    x = measured()[0][:3] - 20
    with jax.enable_x64(True):
        got = js.affinity(named(x), ["center:correlation:kendall-a", "identity:correlation:whitened-cosine"])
    maps = [[o.pearson_distance(t(one)) for one in x] for t in (o.center, o.identity)]
    for found, compare_with, own in zip(got, (o.kendall_a, o.whitened_cosine), maps, strict=True):
        np.testing.assert_allclose(found.values, o.compare_maps(own, compare_with), rtol=0, atol=1e-12)
