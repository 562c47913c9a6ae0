"""Every distance and kernel x every behavior: oracle, jit, vmap, dtype, padding, ties, NaN, offsets, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from marks import slow_but
from oracles import close

from jaxsim import pairwise, protocols, transforms
from jaxsim.centering import off_diagonal
from jaxsim.protocols import PairwiseCapabilities, declared

N, D = 11, 13
ORACLES = o.PAIRWISE | {"squared_euclidean": o.squared_euclidean}
NAMES = list(ORACLES)
DISTANCES = [*o.DISTANCES, "squared_euclidean"]
SHIFTED = ["euclidean", "squared_euclidean", "rbf", "laplacian", "cityblock"]  # a shift of all images changes nothing
every = pytest.mark.parametrize("name", NAMES)
FLOAT32 = 2e-6


def value(name):
    return getattr(pairwise, name)


def features(seed=0, n=N, d=D):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * rng.uniform(0.5, 2, d) + rng.normal(size=d)).astype(np.float32)


def _all(x):
    return {name: value(name)(x) for name in NAMES}


all_jitted = jax.jit(_all)
all_mapped = jax.jit(jax.vmap(_all))
fingerprint = jax.jit(pairwise._fingerprint)


@functools.cache
def maps(seed=0):
    return jax.tree.map(np.asarray, all_jitted(features(seed)))


@functools.cache
def in_float64():
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, all_jitted(features().astype(np.float64)))


@every
def test_oracle(name):
    close(maps()[name], ORACLES[name](features()))


def test_copies_of_an_image_are_at_distance_zero():
    """Tiles of a product round apart, and the root of 1e-7 is 3e-4."""
    x = np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32)[np.arange(300) % 5]
    x[-1, 0] += 0.03  # less than the rounding that copies are allowed, .044 here
    got = np.asarray(jax.jit(pairwise.euclidean)(x))
    assert (got[:295:5, :295:5] == 0).all()
    np.testing.assert_allclose(got[-1, 4:-1:5], 0.03, atol=0.003)


def test_rounding_between_copies_is_no_distance_wherever_a_device_rounds():
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)[np.arange(10) % 5]
    rounded = np.float32(1 - 4e-7 * np.triu(np.ones((10, 10)), 1))
    products = x @ x.T * rounded * rounded.T
    got = np.asarray(jax.jit(pairwise._squared_distances)(products, fingerprint(x)))
    np.testing.assert_array_equal(got == 0, np.arange(10)[:, None] % 5 == np.arange(10) % 5)


def test_fingerprints_tell_rows_apart():
    x = features(n=400)
    x = np.concatenate([x, x[:, ::-1], -x, np.eye(13, dtype=np.float32), np.zeros((1, 13), np.float32)])
    x[-1, 0] = -0.0
    marks = np.asarray(fingerprint(x))
    assert len(set(marks.tolist())) == len(x)
    assert marks[-1] == fingerprint(0 * x)[0]


@every
def test_oracle_in_float64(name):
    assert in_float64()[name].dtype == np.float64
    close(in_float64()[name], ORACLES[name](features().astype(np.float64)), 1e-12)


@pytest.mark.parametrize("name", slow_but(["laplacian"], ["rbf", "laplacian"]))
def test_jit_is_eager(name):
    """Of two that call others; the example of `js.Measure` calls correlation, and `test_invariances` linear."""
    close(maps()[name], value(name)(jnp.asarray(features())), 1e-6)


@every
def test_vmap_is_a_loop(name):
    got = over_networks()[name]
    for seed in range(3):
        close(got[seed], maps(seed)[name], 1e-6)


@functools.cache
def over_networks():
    return all_mapped(np.stack([features(seed) for seed in range(3)]))


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_out_is_dtype_in(name, dtype):
    if name == "rbf" and dtype != jnp.float32:
        pytest.skip("the median reads the bits of 32- and 64-bit floats")
    assert jax.eval_shape(value(name), jax.ShapeDtypeStruct((N, D), dtype)) == jax.ShapeDtypeStruct((N, N), dtype)


@every
@pytest.mark.parametrize("dtype", [bool, jnp.uint8, jnp.int32])
def test_whole_numbers_are_refused(name, dtype):
    """Differences of unsigned bytes would wrap around."""
    with pytest.raises(TypeError, match="need floating point, not "):
        jax.eval_shape(value(name), jax.ShapeDtypeStruct((N, D), dtype))


@every
def test_symmetric_with_its_diagonal(name):
    m = maps()[name]
    np.testing.assert_array_equal(m, m.T)
    if name != "linear":
        level = 0 if name in DISTANCES else 1
        np.testing.assert_allclose(np.diag(m), level, atol=0 if name not in ("correlation", "cosine") else 1e-7)


@every
def test_distances_are_not_negative(name):
    """Cancellation never shows as a distance below zero or a kernel above one, with nearly equal images."""
    x = features()[:1] + 1e-4 * features(1)
    m = np.asarray(all_jitted(x)[name])
    if name in DISTANCES:
        assert (m >= 0).all()
    elif name != "linear":
        assert (m <= 1).all()
        assert (m >= 0).all()


@functools.cache
def padded():
    where = jnp.pad(jnp.ones(D, bool), (0, 6))
    run = jax.jit(lambda x: {name: value(name)(x, where) for name in NAMES})
    return run(np.pad(features(), ((0, 0), (0, 6))))


@every
def test_padding_counts_nowhere(name):
    close(padded()[name], maps()[name], 1e-6)
    assert protocols.declared(value(name), protocols.PairwiseCapabilities).accepts_padding


@pytest.mark.parametrize("d", [1, 8, 16])
def test_widths(d):
    """One feature, one block of the city-block sums, and two; Pearson and cosine need at least two features."""
    x = features(d=d)
    names = ["laplacian", "cityblock"] if d > 1 else [k for k in NAMES if k not in ("correlation", "cosine")]
    for name, got in zip(names, jax.jit(lambda x: [value(k)(x) for k in names])(x), strict=True):
        close(got, ORACLES[name](x), 3e-6)


# Parameters.
def test_parameters():
    """Bandwidth of the RBF kernel and scale of the Laplacian."""
    x, fractions, gammas = features(), [0.2, 0.5, 1.0], [0.01, 0.3, 1 / D]
    kernels = [pairwise.Rbf(fraction=f) for f in fractions], [pairwise.Laplacian(gamma=g) for g in gammas]
    radial, laplacian = jax.jit(lambda x: [[kernel(x) for kernel in some] for some in kernels])(x)
    for fraction, got in zip(fractions, radial, strict=True):
        close(got, o.rbf(x, fraction))
    for gamma, got in zip(gammas, laplacian, strict=True):
        close(got, np.exp(-gamma * o.cityblock(x)))
    close(laplacian[-1], maps()["laplacian"], 1e-6)
    assert pairwise.Rbf() == pairwise.rbf
    for wrong in (0.0, -0.5, np.inf, np.nan):
        for kernel, name in ((pairwise.Rbf, "fraction"), (pairwise.Laplacian, "gamma")):
            with pytest.raises(ValueError, match=f"{name} of a kernel must be a positive number"):
                kernel(wrong)


# Degenerate features.
@functools.cache
def degenerate():
    """Images 2 and 5 are the same, image 7 is constant, image 8 is zero, feature 4 is constant."""
    x = features()
    x[:, 4] = 0.7
    x[5], x[7], x[8] = x[2], 0.3, 0.0
    return x, all_jitted(x)


@every
def test_degenerate_images(name):
    x, found = degenerate()
    got = np.asarray(found[name])
    lost = {"correlation": [7, 8], "cosine": [8]}.get(name, [])
    keep = np.delete(np.arange(N), lost)
    assert np.isnan(got[lost]).all()
    assert np.isnan(got[:, lost]).all()
    close(got[np.ix_(keep, keep)], ORACLES[name](x)[np.ix_(keep, keep)])


@pytest.mark.parametrize("level", [0.1, 1.0, 1e3])
def test_correlation_of_a_constant_image_is_undefined(level):
    x = features()
    x[3] = level
    got = np.asarray(all_jitted(x)["correlation"])
    assert np.isnan(got[3]).all()
    assert np.isfinite(np.delete(np.delete(got, 3, 0), 3, 1)).all()


@pytest.mark.parametrize("name", ["euclidean", "squared_euclidean", "cityblock"])
def test_identical_images_are_at_distance_zero(name):
    x = np.repeat(features()[:1], N, 0)
    assert (np.asarray(all_jitted(x)[name]) == 0).all()
    pair = features()
    pair[5] = pair[2]
    assert np.asarray(all_jitted(pair)[name])[2, 5] <= (0 if name == "cityblock" else 3e-3)


def test_kernels_of_identical_images():
    found = all_jitted(np.repeat(features()[:1], N, 0))
    assert np.isnan(found["rbf"]).all()
    assert (np.asarray(found["laplacian"]) == 1).all()


@every
def test_nan_stays_in_its_network(name):
    x = np.stack([features(seed) for seed in range(3)])
    x[1, 4, 6] = np.nan
    got = np.asarray(_mapped_with_nan(x.tobytes())[name])
    assert np.isnan(got[1, 4]).all()
    close(got[0], maps(0)[name], 1e-6)
    close(got[2], maps(2)[name], 1e-6)


@functools.cache
def _mapped_with_nan(data):
    return all_mapped(np.frombuffer(data, np.float32).reshape(3, N, D))


@pytest.mark.parametrize("name", ["correlation", "linear", "laplacian", "cityblock", "cosine"])
def test_nan_of_one_image_is_seen_in_its_pairs(name):
    x = features()
    x[4, 6] = np.nan
    got = np.asarray(all_jitted(x)[name])
    assert np.isnan(got[4]).all()
    if name in ("linear", "laplacian", "cityblock"):
        assert np.isfinite(np.delete(np.delete(got, 4, 0), 4, 1)).all()


# Digits.
@pytest.mark.parametrize("name", SHIFTED)
def test_large_mean(name):
    """Mean 1e3, standard deviation 1: against float64 on the same float32 numbers."""
    x = np.random.default_rng(3).normal(1e3, 1, (N, D)).astype(np.float32)
    close(all_jitted(x)[name], ORACLES[name](x.astype(np.float64)), 5e-6)


@pytest.mark.parametrize("name", ["correlation", "cosine"])
def test_nearly_parallel_images(name):
    """Gaps of 1e-6 keep their relative digits: one minus a rounded cosine would be off by a tenth."""
    x = np.random.default_rng(4).normal(size=D) * 3 + 1e-3 * np.random.default_rng(5).normal(size=(N, D))
    x = x.astype(np.float32)
    got, want = np.asarray(all_jitted(x)[name]), ORACLES[name](x.astype(np.float64))
    assert want.max() < 1e-6
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-3 * want.max())


@every
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scale(name, scale):
    x = features() * np.float32(scale)
    got, want = np.asarray(all_jitted(x)[name]), ORACLES[name](x.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32 * max(np.abs(want).max(), 1e-30))


@every
def test_declared_freedom(name):
    """What a distance or kernel declares to ignore changes it by rounding alone."""
    own, x = declared(value(name), PairwiseCapabilities), features()
    plain = np.asarray(all_jitted(x)[name])
    changes = {"ignores_shift": x + np.arange(D, dtype="f"), "ignores_number": x + 2, "keeps_scale": 4 * x}
    for change, y in changes.items():
        found = np.asarray(all_jitted(np.float32(y))[name])
        factor = found[0, 1] / plain[0, 1] if change == "keeps_scale" else 1
        same = np.allclose(found, factor * plain, rtol=1e-4, atol=1e-4 * factor)
        assert same == (getattr(own, change) or (change == "ignores_number" and own.ignores_shift)), change


# What may be changed for the sake of digits and range.
STABLE = {
    "linear": protocols.MARGINS,
    "rbf": protocols.CONSTANT,
    "laplacian": protocols.CONSTANT,
}
SCALED = ["linear", "squared_euclidean"]


LEVELS = [protocols.NOTHING, protocols.SCALE, protocols.CONSTANT, protocols.MARGINS]


@functools.cache
def stable_maps():
    @jax.jit
    def run(x):
        found = {}
        for name in NAMES:
            own = declared(value(name), PairwiseCapabilities)
            parts = [own.stable(level) for level in LEVELS] if own.stable else [(own.product, own.finish)]
            made = [finish(product(x, None), jnp.float32(D)) for product, finish in parts]
            found |= {(name, level): made[min(k, len(made) - 1)] for k, level in enumerate(LEVELS)}
        return found

    return jax.tree.map(np.asarray, run(features()))


@pytest.mark.slow
@every
@pytest.mark.parametrize("level", LEVELS)
def test_stable_map_differs_by_what_it_may(name, level):
    m = stable_maps()[name, level]
    want = maps()[name]
    if level >= protocols.SCALE and name in SCALED:
        m = m * 4.0 ** np.round(np.log2(np.ptp(want) / np.ptp(m)) / 2)
    gap = m - want
    if level < STABLE.get(name, protocols.MARGINS + 1):
        close(m, want, 1e-6)
    elif STABLE[name] == protocols.CONSTANT:
        assert np.ptp(gap) < 1e-6
    else:
        assert np.abs(gap).max() > 0.1
        close(gap + gap.diagonal().sum() / N, (gap.diagonal()[:, None] + gap.diagonal()) / 2 + gap.trace() / N, 3e-6)


@pytest.mark.parametrize("name", ["rbf", "laplacian"])
def test_stable_kernel_of_similar_images_keeps_its_digits(name):
    x = (features()[:1] + 1e-3 * features(1)).astype(np.float32)
    kernel = pairwise.Rbf(fraction=30.0) if name == "rbf" else pairwise.laplacian
    product, finish = kernel.stable(protocols.CONSTANT)
    got = np.asarray(jax.jit(lambda x: finish(product(x, None), jnp.float32(D)))(x))
    exact = x.astype(np.float64)
    want = o.rbf(exact, 30.0) - 1 if name == "rbf" else o.laplacian(exact) - 1
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())


# Gradients.
@jax.jit
def _slopes(x, weight):
    def of(name):
        return jax.grad(lambda x: jnp.sum(jnp.where(weight != 0, value(name)(x) * weight, 0)))(x)

    return {name: of(name) for name in NAMES}


def weights(lost=()):
    weight = np.random.default_rng(6).normal(size=(N, N))
    weight[list(lost)], weight[:, list(lost)] = 0, 0
    return weight


@functools.cache
def slopes():
    """In float64."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _slopes(features().astype(np.float64), weights()))


@pytest.mark.slow
@every
def test_gradient_is_the_difference_quotient(name):
    """The RBF kernel through its median too."""
    x, weight = features().astype(np.float64), weights()
    got = slopes()[name]
    for place in [(0, 0), (3, 7), (10, 12)]:
        step = np.zeros_like(x)
        step[place] = 1e-6
        slope = np.sum(weight * (ORACLES[name](x + step) - ORACLES[name](x - step))) / 2e-6
        np.testing.assert_allclose(got[place], slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("transform", ["identity", "center"])
@pytest.mark.parametrize("name", ["correlation", "cosine"])
def test_gradient_at_features_that_are_constant(name, transform):
    """What a dead unit would change if it came alive."""
    x, weight = features().astype(np.float64), weights()
    x[:, 2], x[:, 4] = 0, 3

    def total(x):
        return jnp.sum(weight * value(name)(getattr(transforms, transform)(x)))

    with jax.enable_x64(True):
        x = jnp.asarray(x)
        got = jax.jit(jax.grad(total))(x)
        for place in [(0, 2), (7, 2), (5, 4)]:
            step = np.zeros_like(x)
            step[place] = 1e-6
            slope = (total(x + step) - total(x - step)) / 2e-6
            np.testing.assert_allclose(got[place], slope, rtol=1e-5, atol=1e-7)


@functools.cache
def slopes_at_degenerate_features():
    """Identical and constant images and features."""
    plain = degenerate()[0].copy()
    plain[7:9] = features()[7:9]
    return _slopes(plain, weights().astype(np.float32))


@pytest.mark.slow
@every
def test_gradient_is_finite_at_identical_images_and_constant_features(name):
    assert np.isfinite(slopes_at_degenerate_features()[name]).all()


@functools.cache
def slopes_beside_undefined():
    x = features()
    x[8] = 0
    return _slopes(x, weights([8]).astype(np.float32))


@pytest.mark.slow
@every
def test_gradient_of_the_pairs_of_other_images_is_finite(name):
    """An image that is all zero has no Pearson or cosine distance; the others keep theirs."""
    got = np.delete(np.asarray(slopes_beside_undefined()[name]), 8, 0)
    assert np.isfinite(got).all()


@functools.cache
def slopes_at_one_point():
    x = np.repeat(features()[:1], N, 0)
    return _slopes(x, weights().astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "rbf"])
def test_gradient_is_finite_where_all_images_are_the_same(name):
    assert np.isfinite(slopes_at_one_point()[name]).all()


def test_diagonal_of_the_linear_kernel_is_read_by_nobody_who_drops_it():
    m = jnp.asarray(maps()["linear"])
    np.testing.assert_array_equal(np.diag(off_diagonal(m)), 0)
    np.testing.assert_array_equal(off_diagonal(m) + jnp.diag(jnp.diag(m)), m)


def _gap_oracle(name, x):
    z = x.astype(np.float64)
    z = z - z.mean(1, keepdims=True) if name == "correlation" else z
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return ((z[:, None] - z[None]) ** 2).sum(-1) / 2


@functools.cache
def _jitted(*names):
    # sums that are not vectorized lose digits that users' programs keep
    options = {"xla_backend_optimization_level": 3}
    return jax.jit(lambda x: [value(name)(x) for name in names], compiler_options=options)


angles = pytest.mark.parametrize("name", slow_but(["cosine"], ["cosine", "correlation"]))


@pytest.mark.parametrize("d", slow_but([300], [8, 64, 300]))
@pytest.mark.parametrize("spread", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
@angles
def test_angles_from_lengths_and_from_directions(name, offset, spread, d):
    """Both ways to an angle, chosen by how unequal the images' lengths are, keep the digits of the oracle."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, d)) * np.exp(spread * rng.uniform(-1, 1, (40, 1)))
    x = (x + offset).astype(np.float32)
    expected = _gap_oracle(name, x)
    found = np.asarray(_jitted(name)(x)[0], np.float64)
    assert np.abs(found - expected).max() <= 4e-6 * expected[np.triu_indices(40, 1)].mean()


@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
@angles
def test_nearly_parallel_images_of_unequal_length(name, noise):
    """Where lengths differ more than angles, the angles keep their digits."""
    rng = np.random.default_rng(6)
    common, own = rng.normal(size=(1, 300)), rng.normal(size=(40, 300))
    x = ((common + noise * own) * rng.uniform(0.5, 2, (40, 1))).astype(np.float32)
    expected = _gap_oracle(name, x)
    found = np.asarray(_jitted(name)(x)[0], np.float64)
    # subtracting the rows' means rounds every feature once
    rounding = 0.2 * np.finfo(np.float32).eps / noise if name == "correlation" else 0
    assert np.abs(found - expected).max() <= (4e-6 + rounding) * expected.mean()


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e17])
@angles
def test_angles_do_not_depend_on_scale(name, scale):
    x = features(3, 40, 300)
    assert np.allclose(_jitted(name)(x * np.float32(scale))[0], _jitted(name)(x)[0], atol=2e-6)


@angles
def test_zero_features_have_no_angles(name):
    assert np.isnan(_jitted(name)(np.zeros((40, 300), np.float32))[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 6])
@pytest.mark.parametrize("longer", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("places", [[0], [3, 7]])
def test_images_far_from_all_others_do_not_cost_these_their_digits(places, longer, d):
    """The mean over the images lies far from most of them then."""
    x = np.random.default_rng(8).normal(size=(30, d))
    x[places] *= longer
    x = x.astype(np.float32)
    others = np.delete(np.arange(30), places)
    want = o.euclidean(x)
    found, kernel = (np.asarray(m, np.float64) for m in _jitted("euclidean", "rbf")(x))
    assert np.abs(found**2 - want**2)[np.ix_(others, others)].max() < 1e-5
    assert np.allclose(found, want, rtol=1e-5, atol=1e-3)
    assert np.allclose(kernel, o.rbf(x), atol=FLOAT32)


@pytest.mark.parametrize("kernel", [pairwise.cosine, pairwise.correlation])
def test_images_at_right_angles_have_a_distance_of_one_and_a_gradient(kernel):
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    x -= x.mean(1, keepdims=True)
    x[1] -= x[0] * (x[0] @ x[1]) / (x[0] @ x[0])
    assert kernel(jnp.asarray(x))[0, 1] == 1
    slope = jax.grad(lambda row: kernel(jnp.asarray(x).at[0].set(row))[0, 1])(jnp.asarray(x[0]))
    want = -x[1] / np.linalg.norm(x[0]) / np.linalg.norm(x[1])
    np.testing.assert_allclose(slope, want, rtol=0, atol=2e-6)
