"""Every transform x every behavior: oracle, jit, vmap, dtype, padding, constants, NaN, offsets, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest

from jaxsim import transforms
from jaxsim.protocols import TransformCapabilities, declared
from jaxsim.transforms import Duality, GroupNorm

N = 10
SHAPES = {"flat": (N, 6), "tokens": (N, 5, 4), "image": (N, 2, 3, 4)}
NAMES = list(o.TRANSFORMS)
CASES = [(name, kind) for name in NAMES for kind in SHAPES if (name, kind) != ("instance_norm", "flat")]
COLUMNS = ["center", "zscore", "batch_norm"]  # use the mean of a feature over images
ROWS = ["identity", "instance_norm", "layer_norm", "group_norm", "mean_pool"]  # one image at a time
table = pytest.mark.parametrize(("name", "kind"), CASES)
every = pytest.mark.parametrize("name", NAMES)
FLOAT32 = 3e-6
"""Largest error of a normalized feature, relative to the largest feature."""


def features(kind="image", seed=0):
    rng = np.random.default_rng(seed)
    shape = SHAPES[kind]
    x = rng.normal(size=shape) * rng.uniform(0.5, 2, size=shape[1:]) + rng.normal(size=shape[1:])
    return x.astype(np.float32)


def value(name):
    return getattr(transforms, name)


def own(name):
    return declared(value(name), TransformCapabilities)


def close(got, want, tolerance=FLOAT32):
    o.close(got, want, tolerance)


def _all(kind, x):
    return {name: value(name)(x) for name in NAMES if (name, kind) in CASES}


@functools.cache
def program(kind):
    return jax.jit(functools.partial(_all, kind))


@functools.cache
def jitted(kind):
    return program(kind)(features(kind))


@functools.cache
def over_networks():
    return mapped(np.stack([features(seed=seed) for seed in range(3)]))


mapped = jax.jit(jax.vmap(functools.partial(_all, "image")))


@functools.cache
def in_float64():
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, program("image")(features().astype(np.float64)))


@table
def test_oracle(name, kind):
    close(jitted(kind)[name], o.TRANSFORMS[name](features(kind)))


@every
def test_oracle_in_float64(name):
    assert in_float64()[name].dtype == np.float64
    close(in_float64()[name], o.TRANSFORMS[name](features().astype(np.float64)), 1e-12)


@pytest.mark.parametrize("name", ["zscore", "group_norm"])
def test_jit_is_eager(name):
    """Of the longest, which hold the code of the others."""
    close(jitted("image")[name], value(name)(jnp.asarray(features())), 1e-6)


@every
def test_vmap_is_a_loop(name):
    for seed in range(3):
        close(over_networks()[name][seed], o.TRANSFORMS[name](features(seed=seed)))


@table
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_dtype_out_is_dtype_in(name, kind, dtype):
    out = jax.eval_shape(value(name), jax.ShapeDtypeStruct(SHAPES[kind], dtype))
    assert out.dtype == dtype
    assert out.shape[0] == N
    assert out.ndim == 2


@pytest.mark.parametrize("dtype", [bool, jnp.uint8, jnp.int32])
def test_whole_numbers_are_refused_where_they_are_reckoned_with(dtype):
    x = jax.ShapeDtypeStruct(SHAPES["image"], dtype)
    for part in (transforms.center, transforms.zscore, transforms.group_norm, transforms.Duality(d=jnp.eye(N) - 1 / N)):
        with pytest.raises(TypeError, match="need floating point, not "):
            jax.eval_shape(part, x)
    assert jax.eval_shape(transforms.mean_pool, x).dtype == jnp.zeros(0).dtype


# Padding.
def padding(kind):
    """At every axis but the first, whole channel groups and more; and where there is none."""
    shape = SHAPES[kind][1:]
    wider = [*((0, 3) for _ in shape[1:]), (0, 2)]
    return [(0, 0), *wider], np.pad(np.ones(shape, bool), wider)


@functools.cache
def padded_program(kind):
    where = jnp.asarray(padding(kind)[1])
    return jax.jit(lambda x: {name: value(name)(x, where) for name in NAMES if (name, kind) in CASES})


def padded(kind, x):
    """Transforms of padded features, and which of theirs are real."""
    wider, where = padding(kind)
    where, out = jnp.asarray(where), padded_program(kind)(np.pad(x, wider))
    return {name: (np.asarray(v), np.asarray(own(name).padding_after(where))) for name, v in out.items()}


@table
def test_padding_counts_nowhere(name, kind):
    got, real = padded(kind, features(kind))[name]
    assert got.shape[1] == real.size
    close(got[:, real], jitted(kind)[name], 1e-6)
    assert (got[:, ~real] == 0).all()
    assert own(name).accepts_padding


def test_padding_of_a_constant_channel():
    x = features("tokens")
    x[..., 1] = 3.0
    want = program("tokens")(x)
    for name, (got, real) in padded("tokens", x).items():
        close(got[:, real], want[name], 1e-6)


@every
def test_ignores_positions(name):
    """True exactly for the transforms that flattening first does not change."""
    x = features()
    if name == "instance_norm":
        assert not own(name).ignores_positions
        return
    got, want = np.asarray(program("flat")(x.reshape(N, -1))[name]), np.asarray(jitted("image")[name])
    same = got.shape == want.shape and np.allclose(got, want, atol=1e-5)
    assert same == own(name).ignores_positions


# Degenerate features.
@pytest.mark.parametrize("level", [0.0, 0.1, 1e3, -1e6])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_constant_feature_becomes_zero(name, level):
    x = features("flat")
    x[:, 2] = level
    got = np.asarray(program("flat")(x)[name])
    assert (got[:, 2] == 0).all()
    close(np.delete(got, 2, 1), np.delete(o.TRANSFORMS[name](x), 2, 1))


@pytest.mark.parametrize("level", [0.0, 0.1, 1e3])
@pytest.mark.parametrize("name", ["instance_norm", "layer_norm", "group_norm"])
def test_a_constant_image_becomes_zero(name, level):
    x = features()
    x[3] = level
    got = np.asarray(program("image")(x)[name])
    assert (got[3] == 0).all()
    close(np.delete(got, 3, 0), np.delete(o.TRANSFORMS[name](x), 3, 0))


@pytest.mark.parametrize("name", ROWS)
def test_nan_stays_in_its_image(name):
    x = features()
    x[4, 1, 2, 3] = np.nan
    got = np.asarray(program("image")(x)[name])
    assert np.isnan(got[4]).any()
    np.testing.assert_array_equal(np.isnan(np.delete(got, 4, 0)), False)


@pytest.mark.parametrize("name", COLUMNS)
def test_nan_stays_in_its_feature_or_channel(name):
    x = features()
    x[4, 1, 2, 3] = np.nan
    got = np.asarray(program("image")(x)[name]).reshape(x.shape)
    assert np.isnan(got[:, 1, 2, 3]).all()
    assert np.isfinite(got[..., :3]).all()


@every
def test_nan_stays_in_its_network(name):
    x = np.stack([features(seed=seed) for seed in range(3)])
    x[1, 4, 1, 2, 3] = np.nan
    got = np.asarray(mapped(x)[name])
    close(got[[0, 2]], np.asarray(over_networks()[name])[[0, 2]], 1e-6)


@pytest.mark.parametrize("name", [*COLUMNS, "instance_norm", "layer_norm", "group_norm"])
def test_large_mean(name):
    """Mean 1e3 and standard deviation 1 cost no digits beyond those the input has lost."""
    x = np.random.default_rng(1).normal(1e3, 1, size=SHAPES["image"]).astype(np.float32)
    close(program("image")(x)[name], o.TRANSFORMS[name](x.astype(np.float64)), 5e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@every
def test_scale(name, scale):
    x = features() * np.float32(scale)
    got, want = np.asarray(program("image")(x)[name]), o.TRANSFORMS[name](x.astype(np.float64))
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32 * np.abs(want).max())


@pytest.mark.parametrize("level", [0.1, 3.0, 1e3, 12345.6])
@pytest.mark.parametrize("name", [*COLUMNS, "instance_norm", "layer_norm", "group_norm"])
def test_constants_become_zero_compiled_too(name, level):
    """Fused loops may round x - mean in two ways, so that a second subtraction finds nothing left to remove."""
    x = np.random.default_rng(0).normal(size=(N, 7, 8)).astype(np.float32)
    x[3], x[..., 1] = level, level
    for got in normalized(x)[name]:
        got = np.asarray(got).reshape(N, -1, got.shape[1] // 7)[:, :7, :8]
        np.testing.assert_allclose(got[..., 1] if name in COLUMNS else got[3], 0, atol=1e-6)


@jax.jit
def normalized(x):
    where = jnp.pad(jnp.ones((7, 8), bool), ((0, 0), (0, 2)))
    names = [*COLUMNS, "instance_norm", "layer_norm", "group_norm"]
    wider = jnp.pad(x, ((0, 0), (0, 0), (0, 2)))
    return {name: (value(name)(x), value(name)(wider, where)) for name in names}


def degenerate():
    x = features()
    x[:, 0, 0, 1] = 2.0
    x[3] = 0.5
    x[7] = x[6]
    return x


@functools.cache
def gradients():
    weight = np.random.default_rng(2).normal(size=(N, 24)).astype(np.float32)

    def of(name):
        def total(x):
            out = value(name)(x)
            return jnp.sum(out * weight[:, : out.shape[1]])

        return jax.grad(total)

    run = jax.jit(lambda x: {name: of(name)(x) for name in NAMES})
    with jax.enable_x64(True):
        exact = jax.tree.map(np.asarray, run(degenerate().astype(np.float64)))
    return run(degenerate()), exact, weight


@every
def test_gradient_is_finite_and_right(name):
    """On constant features, constant images and identical images; against central differences."""
    single, gradient, weight = gradients()[0][name], gradients()[1][name], gradients()[2]
    assert np.isfinite(gradient).all()
    assert np.isfinite(single).all()
    x = degenerate().astype(np.float64)

    def total(x):
        out = o.TRANSFORMS[name](x)
        return np.sum(out * weight[:, : out.shape[1]])

    for place in [(0, 1, 1, 0), (1, 0, 2, 3), (6, 1, 0, 2)]:  # none in a constant feature or image
        step = np.zeros_like(x)
        step[place] = 1e-5
        slope = (total(x + step) - total(x - step)) / 2e-5
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-6, atol=1e-8)


# The general matrix form D X Q.
def matrix_forms():
    x = features().astype(np.float64)
    flat = x.reshape(N, -1)
    centering = np.eye(N) - 1 / N
    pool = np.tile(np.eye(4), (6, 1)) / 6
    return {
        "identity": (x, None, None),
        "center": (x, None, centering),
        "zscore": (x, np.diag(1 / flat.std(0)), centering),
        "mean_pool": (x, pool, None),
    }


@functools.cache
def dualities(dtype):
    forms = {name: [None if a is None else a.astype(dtype) for a in form] for name, form in matrix_forms().items()}
    run = jax.jit(lambda forms: {name: (Duality(q, d)(x), value(name)(x)) for name, (x, q, d) in forms.items()})
    return run(forms)


@pytest.mark.parametrize("name", ["identity", "center", "zscore", "mean_pool"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duality_is_the_element_wise_form(name, dtype, x64):
    got, same = dualities(dtype)[name]
    assert got.dtype == dtype
    tolerance = 1e-12 if dtype == np.float64 else FLOAT32
    close(got, same, tolerance)
    close(got, o.TRANSFORMS[name](matrix_forms()[name][0].astype(dtype)), tolerance)


def test_duality_of_any_matrices():
    rng = np.random.default_rng(3)
    x, q, d = features("flat"), rng.normal(size=(6, 3)), rng.normal(size=(N, N))
    close(Duality(jnp.asarray(q), jnp.asarray(d))(jnp.asarray(x)), o.duality(x, q, d))
    assert Duality(jnp.asarray(q, jnp.float32))(jnp.asarray(x)).shape == (N, 3)


def test_duality_is_traced_by_value():
    """New numbers in Q run the program that is there; None and an array are two programs."""
    traces = []

    @jax.jit
    def apply(transform, x):
        traces.append(transform)
        return transform(x)

    x = jnp.asarray(features("flat"))
    for scale in (1.0, 2.0, 3.0):
        close(apply(Duality(q=scale * jnp.eye(6)), x), scale * x)
    assert len(traces) == 1
    apply(Duality(), x)
    assert len(traces) == 2


def test_duality_has_gradients_in_its_matrices():
    x = jnp.asarray(features("flat"))
    slope = jax.grad(lambda t: jnp.sum(t(x)))(Duality(jnp.eye(6), jnp.eye(N)))
    close(slope.q, np.tile(np.asarray(x).sum(0)[:, None], (1, 6)), 1e-6)
    close(slope.d, np.tile(np.asarray(x).sum(1)[None], (N, 1)), 1e-6)


# What is refused.
REFUSED = {
    "no positions": (transforms.instance_norm, "flat", r"instance_norm needs .* not \(10, 6\)"),
    "odd channels": (GroupNorm(3), "image", "cannot divide 4 channels into 3 equal groups"),
    "width of Q": (Duality(q=jnp.eye(5)), "flat", r"Q of shape \(5, 5\) for features of width 6"),
    "width of D": (Duality(d=jnp.eye(9)), "flat", r"D of shape \(9, 9\) for 10 images"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why):
    transform, kind, message = REFUSED[why]
    with pytest.raises(ValueError, match=message):
        transform(jnp.asarray(features(kind)))


@pytest.mark.parametrize("kind", ["tokens", "image"])
def test_groups(kind):
    """One group is a layer norm, and one channel a group an instance norm."""
    found = jax.jit(lambda x: {groups: GroupNorm(groups)(x) for groups in (1, 2, 4)})(features(kind))
    for groups, got in found.items():
        close(got, o.group_norm(features(kind), groups))
    close(found[1], jitted(kind)["layer_norm"], 1e-6)
    close(found[4], jitted(kind)["instance_norm"], 1e-6)


@pytest.mark.parametrize("wrong", [0, -2, 1.5])
def test_groups_of_channels_are_refused(wrong):
    with pytest.raises(ValueError, match="groups of channels must be a whole number from 1"):
        GroupNorm(wrong)


def test_values_are_equal_and_hash_by_value():
    assert GroupNorm(2) == transforms.group_norm
    assert len({GroupNorm(2), transforms.group_norm, GroupNorm(4)}) == 2
    assert not jax.tree.leaves([value(name) for name in NAMES])


@every
def test_declared_freedom(name):
    """What a transform declares to ignore or to keep, in the program that the other tests compile."""
    x, free = features(), own(name)
    row = np.arange(24, dtype="f").reshape(2, 3, 4) / 8
    inputs = x, x + row, x + 1, 4 * x, 2 ** (8 * row % 5) * x
    plain, moved, raised, scaled, each = (np.asarray(program("image")(y)[name]) for y in inputs)

    def same(a, b):
        return np.allclose(a, b, rtol=1e-5, atol=1e-5)

    assert same(moved, plain) == free.ignores_shift
    assert same(raised, plain) == (free.ignores_shift or free.ignores_number)
    assert same(moved - moved[:1], plain - plain[:1]) == (free.ignores_shift or free.keeps_shift)
    assert (same(raised - plain, (raised - plain)[0, 0]) and not free.ignores_shift) >= free.keeps_shift
    assert same(scaled, 4 * plain) == free.keeps_scale
    assert (same(scaled, plain) and same(each, plain)) >= free.ignores_scale
