"""What each measure does not see, over shapes, dtypes and scales; and what it must see.

A measure that is listed under a change of the features gives the same score before and after it. Every other measure
must give another score on generic features: an invariance too many is as wrong as one too few.
"""

import functools
import warnings

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

import jaxsim as js
from jaxsim import casts, measures, pairwise, transforms

CELLS = ["identity,correlation", "identity,cosine", "identity,laplacian", "identity,cityblock", "center,cosine"]
MEASURES = measures.NAMED | {f"dds:{cell}": measures.by_name(f"dds:{cell}") for cell in CELLS}
EVERY = set(MEASURES)
LINEAR = {"cka-linear", "cka-linear-biased", "rv", "svcca"}
CORRELATIONS = {"cca", "cca-squared"}  # of all linear combinations of the features; 1 where there are as many as images
RADIAL = {"cka-rbf", "cka-rbf-biased", "distance-correlation", "distance-correlation-unbiased"}
ZSCORED = {"dds-laplacian", "dds-cosine"}
DIRECTIONS = {"rsa-uncentered", "dds:identity,correlation", "dds:identity,cosine"}  # of raw feature vectors
RANKS = {"rsa", "rsa-uncentered"}

SHAPE = (31, 7)
DTYPES = ["float16", "float32", "float64", "int8", "int32", "bool"]
settings = hypothesis.settings(
    max_examples=12, deadline=None, derandomize=True, phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
)
samples = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(DTYPES),
        "scale": st.sampled_from([1e-3, 1.0, 1e3]),
        "seed": st.integers(0, 2**16),
    }
)


# Changes: (rng, x) -> x. The same rng state for both networks where the change must be shared.
def same_images_in_another_order(rng, x):
    return x[rng.permutation(len(x))]


def features_in_another_order(rng, x):
    return x[:, rng.permutation(x.shape[1])]


def sign(rng, x):
    return -x.astype(float)


def rotation(rng, x):
    q, r = np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))
    return x.astype(float) @ (q * np.sign(np.diag(r)))


def scale(rng, x):
    return rng.choice([0.03, 20]) * x.astype(float)


def shift(rng, x):
    x = x.astype(float)
    return x + 3 * x.std() * rng.normal(size=x.shape[1])


def scale_of_every_feature(rng, x):
    return x * rng.uniform(0.2, 3, x.shape[1])


def scale_of_every_image(rng, x):
    return x * rng.uniform(0.2, 3, (len(x), 1))


def offset_of_every_image(rng, x):
    x = x.astype(float)
    return x + 2 * x.std() * rng.normal(size=(len(x), 1))


def invertible(rng, x):
    return x.astype(float) @ (np.eye(x.shape[1]) + rng.normal(size=(x.shape[1],) * 2))


BLIND = {
    same_images_in_another_order: EVERY,
    features_in_another_order: EVERY,
    sign: EVERY,
    rotation: CORRELATIONS | LINEAR | RADIAL | {"dds:identity,cosine", "dds:center,cosine"},
    scale: EVERY - {"dds:identity,laplacian"},
    shift: EVERY - DIRECTIONS,
    scale_of_every_feature: ZSCORED | CORRELATIONS,
    scale_of_every_image: DIRECTIONS,
    offset_of_every_image: {"rsa", "rsa-uncentered", "dds:identity,correlation"},
    invertible: CORRELATIONS,
}
changes = pytest.mark.parametrize("change", BLIND, ids=lambda c: c.__name__)


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_taken_away_before_the_cast_is_what_the_measure_is_blind_to(name):
    free = MEASURES[name].freedom
    assert (free.shift == casts.ROW) == (name in BLIND[shift])
    assert (free.shift >= casts.NUMBER) >= (name in BLIND[offset_of_every_image])
    assert free.scale == (name in BLIND[scale])


def features(sample):
    """Two networks that share something; integers and booleans are thresholds and roundings of the same numbers."""
    rng = np.random.default_rng(sample["seed"])
    shape = sample.get("shape", SHAPE)
    shared = rng.normal(size=shape)
    x, y = (shared + 0.6 * rng.normal(size=shape) + 0.3 * rng.normal(size=shape[1]) for _ in "xy")
    dtype = np.dtype(sample["dtype"])
    if dtype.kind == "b":
        return x > 0, y > 0
    if dtype.kind == "i":
        return np.round(10 * x).astype(dtype), np.round(10 * y).astype(dtype)
    return (sample["scale"] * x).astype(dtype), (sample["scale"] * y).astype(dtype)


def scores(change, sample):
    """Scores before and after the change, by measure."""
    x, y = features(sample)
    changed = [change(np.random.default_rng(sample["seed"] + 1), a) for a in (x, y)]
    names = ["x", "y", "changed x", "changed y"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", js.results.UndefinedScores)
        found = js.affinity(dict(zip(names, [x, y, *changed], strict=True)), list(MEASURES.values()))
    pair = np.array([np.asarray(a.values)[[0, 2], [1, 3]] for a in found])
    return dict(zip(MEASURES, pair, strict=True))


def has_undefined_images(x):
    x = x.astype(float)
    return (np.ptp(x, 1) == 0).any() or (np.ptp(x - x.mean(0), 1) < 1e-9).any()


@changes
@settings
@hypothesis.given(sample=samples)
def test_blind_to(change, sample):
    x, y = features(sample)
    hypothesis.assume(not has_undefined_images(x) and not has_undefined_images(y))
    assert_blind(change, sample)


@pytest.mark.slow
@changes
def test_blind_to_with_more_features_than_images(change):
    assert_blind(change, {"dtype": "float32", "scale": 1.0, "seed": 4, "shape": (12, 16)})


def assert_blind(change, sample):
    for name, (before, after) in scores(change, sample).items():
        if name in BLIND[change] and not underflows(name, sample):
            assert np.isfinite(before), name
            np.testing.assert_allclose(after, before, rtol=0, atol=tolerance(name, sample), err_msg=name)


def underflows(name, sample):
    """exp(-|x - y|_1 / d) of features of size 1e3 that nothing has scaled is zero: a constant map, no score."""
    return name == "dds:identity,laplacian" and sample["scale"] > 1 and sample["dtype"].startswith("float")


def tolerance(name, sample):
    """Ranks of distances that tie but for rounding may fall either way; integers and booleans tie often."""
    if name in RANKS:
        return 1e-3 if sample["dtype"].startswith("float") else 0.1
    return 2e-5


@functools.cache
def generic(change):
    return scores(change, {"dtype": "float32", "scale": 1.0, "seed": 4})


SEEN = [(change, name) for change in BLIND for name in sorted(EVERY - BLIND[change])]


@pytest.mark.parametrize(("change", "name"), SEEN, ids=lambda v: getattr(v, "__name__", v))
def test_sees(change, name):
    before, after = generic(change)[name]
    assert abs(after - before) > 1e-3


def test_order_of_the_images_of_one_network_alone_is_seen():
    x, y = features({"dtype": "float32", "scale": 1.0, "seed": 1})
    found = js.affinity({"x": x, "y": y, "moved": y[::-1], "again": y}, list(MEASURES.values()))
    for name, a in zip(MEASURES, found, strict=True):
        assert abs(a.values[0, 1] - a.values[0, 2]) > 1e-2, name
        assert abs(a.values[0, 1] - a.values[0, 3]) < 1e-6, name


@settings
@hypothesis.given(sample=samples)
def test_scores_are_similarities(sample):
    """One with itself, symmetric, at most one; and dtypes of whatever kind give float32 scores."""
    x, y = features(sample)
    hypothesis.assume(not has_undefined_images(x) and not has_undefined_images(y))
    names = [name for name in MEASURES if not underflows(name, sample)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", js.results.UndefinedScores)
        found = js.affinity({"x": x, "y": y, "2x": x, "2y": y}, list(MEASURES.values()))
    for name, a in zip(MEASURES, found, strict=True):
        if name not in names:
            continue
        values = np.asarray(a.values)
        assert values.dtype == np.float32
        np.testing.assert_allclose(np.diag(values), 1, atol=2e-6, err_msg=name)
        np.testing.assert_array_equal(values, values.T, err_msg=name)
        assert (np.abs(values) <= 1 + 2e-6).all(), name


def test_biased_scores_are_not_negative_and_unbiased_ones_may_be():
    rng = np.random.default_rng(3)
    nets = {name: rng.normal(size=SHAPE).astype(np.float32) for name in ("x", "y", "changed x", "changed y")}
    found = dict(zip(MEASURES, js.affinity(nets, list(MEASURES.values())), strict=True))
    for name in ("cka-linear-biased", "cka-rbf-biased", "rv", "distance-correlation"):
        assert (np.asarray(found[name].values) > 0.1).all()
    for name in ("cka-linear", "distance-correlation-unbiased"):
        assert (np.asarray(found[name].values) < 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_measure_by_itself_takes_every_dtype_that_the_engine_takes(dtype):
    """As `js.affinity` does: integers and booleans count as float32."""
    x, y = features({"dtype": dtype, "scale": 1.0, "seed": 2})
    want = js.affinity({"x": x, "y": y}, js.CKA_LINEAR).values[0, 1]
    np.testing.assert_allclose(js.CKA_LINEAR(x, y), want, rtol=0, atol=2e-3 if dtype == "float16" else 2e-5)


PARTS = ["rsa", "cka-linear", "cka-rbf", "dds-laplacian", "dds-cosine", "rv", "distance-correlation", "svcca"]
"""Every part of a measure in one of these."""


@functools.cache
def at_scale(scale):
    """Scores with the first network at that scale, by the engine and by the measure itself."""
    x, y = (np.random.default_rng(3).normal(size=(2, *SHAPE)) + np.random.default_rng(4).normal(size=SHAPE)) / 2
    four = {"x": x * scale, "y": y, "again x": x, "again y": y}  # as many as in `scores`, for the same program
    names = PARTS if scale != 1 else list(MEASURES)
    together = js.affinity(four, [MEASURES[name] for name in names])
    alone = _alone(np.float32(x * scale), np.float32(y))
    return {name: [a.values[0, 1], alone[name]] for name, a in zip(names, together, strict=True) if name in PARTS}


@jax.jit
def _alone(x, y):
    return {name: MEASURES[name](x, y) for name in PARTS}


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("name", PARTS)
def test_squares_stay_in_the_range_of_float32(name, scale):
    np.testing.assert_allclose(at_scale(scale)[name], at_scale(1.0)[name], rtol=0, atol=2e-6)


jitted = functools.cache(jax.jit)
UNITS = np.array([1e-30, 1e-20, 1e-3, 1.0, 1e20, 1e30])


@pytest.mark.parametrize("transform", ["zscore", "batch_norm", "layer_norm"])
def test_normalizations_take_features_of_any_unit(transform):
    x = np.random.default_rng(5).normal(size=(12, 6))
    unit = UNITS if transform == "zscore" else 1e25
    made = [np.asarray(jitted(getattr(transforms, transform))(np.float32(z))) for z in (x, x * unit)]
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=5e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e15])
@pytest.mark.parametrize("name", ["euclidean", "squared_euclidean", "linear"])
def test_maps_keep_their_unit(name, scale):
    """Squares at 1e-20 vanish from float32 and roots do not."""
    x = np.random.default_rng(6).normal(size=(12, 6))
    power = 1 if name == "euclidean" else 2
    made = [np.asarray(jitted(getattr(pairwise, name))(np.float32(z))) for z in (x, x * scale)]
    np.testing.assert_allclose(made[1], made[0] * scale**power, rtol=1e-5, atol=1e-37)


# Rounding: labels, few features and few logits tie many distances in exact arithmetic.
def tied():
    rng = np.random.default_rng(0)
    other, two, z = rng.normal(size=(40, 6)), rng.normal(size=(40, 2)), rng.normal(size=40)
    labels, rare = np.eye(6)[np.arange(40) // 7], np.eye(6)[np.minimum(np.arange(40) // 2, 5)]
    logits = np.stack([z, -z], 1), np.stack([z + 0.5 * rng.normal(size=40), 0 * z], 1)
    return {
        "labels": (labels, other),
        "labels at an offset": (labels + 1000.0, other),
        "rare labels": (rare, other),
        "two features and three times the same": (two, 3 * two),
        "two logits": logits,
    }


@functools.cache
def tied_scores():
    """By pair of features, transform and metric, in one call."""
    nets = {(name, k): x for name, both in tied().items() for k, x in enumerate(both)}
    found = js.affinity(list(nets.values()), [f"{t}:{m}:spearman" for t, m in CELLS_OF_RANKS])
    return {
        (name, *cell): float(a.values[2 * k, 2 * k + 1])
        for cell, a in zip(CELLS_OF_RANKS, found, strict=True)
        for k, name in enumerate(tied())
    }


CELLS_OF_RANKS = [("identity", "correlation"), *(("center", m) for m in ("correlation", "euclidean", "cityblock"))]
"""Shifts leave the last two as they are, but for rounding."""


TIED = [(name, *c) for name in tied() for c in CELLS_OF_RANKS if name != "two logits" or c[1] == "correlation"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "transform", "metric"), TIED)
def test_distances_that_tie_in_exact_arithmetic_share_a_rank(name, transform, metric):
    centered = transform == "center"
    maps = [np.round(pdist(z - z.mean(0) * centered, metric), 9) for z in tied()[name]]
    want = np.corrcoef(*(rankdata(m) for m in maps))[0, 1]
    assert abs(tied_scores()[name, transform, metric] - want) < 2e-6


@pytest.mark.slow
def test_bootstraps_share_ranks_too():
    labels, other = tied()["labels"]
    counts = np.random.default_rng(1).multinomial(40, np.ones(40) / 40, size=3)
    found = js.resample({"a": labels, "b": other}, "rsa", js.Bootstrap(weights=counts)).values[:, 0, 1]
    i, j = np.triu_indices(40, 1)
    maps = [np.round(pdist(z - z.mean(0), "correlation"), 9) for z in (labels, other)]
    for w, score in zip(counts, found, strict=True):
        want = np.corrcoef(*(rankdata(np.repeat(m, w[i] * w[j])) for m in maps))[0, 1]
        assert abs(score - want) < 2e-6


@pytest.mark.slow
def test_linear_cka_takes_more_images_than_pairs_of_integers():
    """n (n - 1) passes the integers of a device at n = 46,342."""
    x = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32)
    y = x @ np.float32([[1, 0.5], [0, 1]]) + 1
    found = [float(a.values[0, 1]) for a in js.affinity({"x": x, "y": y}, ["cka-linear", "cka-linear-biased"])]
    u, v = x - x.mean(0, dtype=np.float64), y - y.mean(0, dtype=np.float64)
    want = np.sum((u.T @ v) ** 2) / np.linalg.norm(u.T @ u) / np.linalg.norm(v.T @ v)
    assert abs(found[1] - want) < 2e-6
    assert abs(found[0] - want) < 1e-4
