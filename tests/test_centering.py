"""Biased and unbiased centering, plain and under weights, against the formulas and against least squares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from oracles import close

from jaxsim import centering, pairwise

N = 9
KERNELS = ["linear", "rbf", "laplacian"]
ORACLES = {"biased": o.biased_center, "unbiased": lambda m, w=None: o.u_center_least_squares(m, _ones(w))}
both = pytest.mark.parametrize("kind", ORACLES)


def _ones(w):
    return np.ones(N) if w is None else w


def value(kind):
    return getattr(centering, kind)


jitted = {kind: jax.jit(value(kind)) for kind in ORACLES}


def features(seed=0):
    return np.random.default_rng(seed).normal(size=(N, 5))


def a_map(seed=0):
    """Symmetric, with a diagonal and margins of its own, as float32."""
    x = features(seed)
    m = x @ x.T + 3 + np.add.outer(x[:, 0], x[:, 0])
    return ((m + m.T) / 2).astype(np.float32)


def weightings():
    """Ones, counts with zeros among them, and fractions."""
    rng = np.random.default_rng(1)
    counts = rng.multinomial(N, np.ones(N) / N, size=3).astype(float)
    assert (counts == 0).any()
    return np.concatenate([np.ones((1, N)), counts, rng.uniform(0.1, 2, size=(2, N))])


@functools.cache
def weighted(dtype):
    with jax.enable_x64(True):
        m, w = a_map().astype(dtype), weightings().astype(dtype)
        run = jax.jit(lambda m, w: {kind: jax.vmap(value(kind), (None, 0))(m, w) for kind in ORACLES})
        return jax.tree.map(np.asarray, run(m, w))


@both
def test_plain(kind):
    got = jitted[kind](a_map())
    assert got.dtype == np.float32
    close(got, ORACLES[kind](a_map().astype(float)))
    close(got, value(kind)(jnp.asarray(a_map())), 1e-6)


@both
def test_weighted_without_jit(kind):
    got = value(kind)(jnp.asarray(a_map()), jnp.asarray(weightings()[-1], jnp.float32))
    close(got, weighted(np.float32)[kind][-1], 1e-6)


def test_unbiased_is_szekely_and_rizzo():
    close(jitted["unbiased"](a_map()), o.u_center(a_map().astype(float)))


@both
def test_plain_in_float64(kind, x64):
    got = jitted[kind](a_map().astype(np.float64))
    assert got.dtype == np.float64
    close(got, ORACLES[kind](a_map().astype(float)), 1e-12)


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("b", range(len(weightings())))
def test_weighted(kind, dtype, b):
    """Between images that count; what an image of weight zero gets is read by nobody."""
    got, w = weighted(dtype)[kind][b], weightings()[b]
    assert got.dtype == dtype
    w = w.astype(dtype).astype(float)
    want = ORACLES[kind](a_map().astype(float), w)
    there = np.ix_(w > 0, w > 0)
    close(got[there], want[there], 1e-11 if dtype == np.float64 else 5e-6)


@pytest.mark.parametrize("heavy", [4.0, 3.999, 4.2])
def test_an_image_that_is_half_of_the_sample(heavy, x64):
    """The closed form divides by W - 2 w_i; the least-squares fit is as well defined there as anywhere."""
    w = np.array([heavy, 1, 1, 1, 1, 0, 0, 0, 0])
    got = jitted["unbiased"](a_map().astype(np.float64), w)
    close(got[:5, :5], o.u_center_least_squares(a_map().astype(float), w)[:5, :5], 1e-9)


@both
def test_weights_of_one_are_no_weights(kind):
    close(weighted(np.float32)[kind][0], jitted[kind](a_map()), 1e-6)


@pytest.mark.parametrize("b", range(1, 4))
def test_counts_in_biased_centering_are_copies(b):
    w = weightings()[b].astype(int)
    index = o.index_of(w)
    want = o.biased_center(a_map().astype(float)[np.ix_(index, index)])
    close(weighted(np.float64)["biased"][b][np.ix_(index, index)], want, 1e-12)


@both
def test_margins_of_a_centered_map_vanish(kind):
    m = np.asarray(jitted[kind](a_map()))
    np.testing.assert_allclose(m.sum(0), 0, atol=3e-5)
    if kind == "unbiased":
        np.testing.assert_array_equal(np.diag(m), 0)


@both
def test_centering_twice_is_centering_once(kind):
    once = jitted[kind](a_map())
    close(jitted[kind](once), once, 3e-6)


@both
def test_terms_a_i_plus_a_j_are_removed(kind):
    """Terms of size 1e3 too, at the cost of the digits that the sum has lost and no more."""
    a = np.random.default_rng(2).normal(size=N)
    for size in (1, 1e3):
        m = (a_map() + size * np.add.outer(a, a)).astype(np.float32)
        close(jitted[kind](m), ORACLES[kind](m.astype(float)), 2e-6 if size == 1 else 1e-4)
        close(jitted[kind](m), jitted[kind](a_map()), 1e-6 * max(2, size))


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_a_constant_costs_only_its_own_rounding(size):
    """The second pass: a sum of rows in float32 alone would be wrong by about n times as much."""
    m = (a_map() + np.float32(size)).astype(np.float32)
    for kind in ORACLES:
        got = np.asarray(jitted[kind](m))
        np.testing.assert_allclose(got, ORACLES[kind](m.astype(float)), rtol=0, atol=2e-7 * max(size, 10))


def test_the_diagonal_counts_in_biased_centering_alone():
    m = a_map()
    other = m + np.diag(np.arange(N, dtype=np.float32))
    close(jitted["unbiased"](other), jitted["unbiased"](m), 0)
    assert np.abs(np.subtract(jitted["biased"](other), jitted["biased"](m))).max() > 0.1


@both
def test_nan_fills_the_map(kind):
    m = a_map()
    m[2, 3] = m[3, 2] = np.nan
    got = np.asarray(jitted[kind](m))
    assert np.isnan(got[~np.eye(N, dtype=bool)]).all()


def test_margins_with_trailing_axes_are_those_one_by_one():
    m, w = a_map() * (1 - np.eye(N, dtype=np.float32)), weightings().T.astype(np.float32)
    got, margins = jax.jit(centering.fit_margins)(m @ w, w), jax.jit(centering.margins)
    for b in range(w.shape[1]):
        close(got[:, b], margins(m, w[:, b]), 3e-6)


# Kernels and distances of features.
@jax.jit
def maps(x):
    return {name: getattr(pairwise, name)(x) for name in [*KERNELS, "squared_euclidean", "euclidean", "cityblock"]}


def test_centering_the_features_changes_no_centered_map():
    """Unbiased centering of the map makes centering of the features needless: linear by algebra, the rest by shift."""
    x = features().astype(np.float32) + 2
    centered = maps(x - x.mean(0))
    for name, m in maps(x).items():
        close(jitted["unbiased"](m), jitted["unbiased"](centered[name]), 3e-6)


def test_squared_distances_are_minus_two_linear_kernels_once_centered():
    found = maps(features().astype(np.float32))
    for kind in ORACLES:
        close(jitted[kind](found["squared_euclidean"]), -2 * np.asarray(jitted[kind](found["linear"])), 3e-6)


@both
@pytest.mark.parametrize("b", [0, 1, 4])
def test_gradients(kind, b):
    """Linear in the map, so a difference quotient of any step is exact."""
    rng = np.random.default_rng(3)
    weight, direction, w = rng.normal(size=(N, N)), rng.normal(size=(N, N)), weightings()[b]
    there = np.outer(w > 0, w > 0)
    got = gradient(kind, b)(a_map().astype(np.float64), weight * there, w)
    lift = ORACLES[kind](direction + direction.T, w) - ORACLES[kind](np.zeros((N, N)), w)
    np.testing.assert_allclose(np.sum(got * (direction + direction.T)), np.sum(lift * weight * there), rtol=1e-9)
    assert np.isfinite(got).all()


def gradient(kind, b):
    def run(*args):
        with jax.enable_x64(True):
            return np.asarray(_gradients()[kind](*args))

    return run


@functools.cache
def _gradients():
    def of(kind):
        return jax.jit(jax.grad(lambda m, weight, w: jnp.sum(value(kind)(m, w) * weight)))

    return {kind: of(kind) for kind in ORACLES}
