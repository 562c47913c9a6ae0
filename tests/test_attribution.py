"""Attribution maps: every rule against its formula, what rules promise, scores of networks, resampling, bad input."""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
pytest.importorskip("grain", reason="datasets need the nn extra")

from test_extraction import quick

import jaxsim as js
from jaxsim.results import ImageScores, Provenance
from jaxsim.studies.rooms import encoders
from jaxsim.vision import attribution, models
from jaxsim.vision.attribution import DeepLift, EpsilonLrp, attribute, image_scores
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.extraction import UNIT

RULES = tuple(attribution.RULES)
RANDOM = np.random.default_rng(0)


def inputs(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def small(seed=0, **rest):
    return quick(lambda: models.SmallEncoder((4, 3), (2, 1), rngs=nnx.Rngs(0), **rest), seed)


def signed(network, seed=0):
    """The same network with weights of both signs and layers of about unit size."""
    graph, state = nnx.split(network)
    random = np.random.default_rng(seed)

    def draw(path, v):
        if v.ndim > 1:
            return jnp.asarray(random.normal(size=v.shape) * np.sqrt(2 / np.prod(v.shape[:-1])), v.dtype)
        positive = any(part in str(path) for part in ("var", "scale"))
        return jnp.asarray(random.uniform(0.5, 1.5, v.shape) - (not positive), v.dtype)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, state))


# A network with biases and a skip connection, by hand in float64: z = W1 x + b1; u = W2 f(z) + b2 + x; T = sum f(u).

W1, W2 = RANDOM.normal(size=(2, 5, 5))
B1, B2 = RANDOM.normal(size=(2, 5))
ACTIVATIONS = {
    "relu": (jax.nn.relu, lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (jnp.tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "silu": (
        jax.nn.silu,
        lambda z: z / (1 + np.exp(-z)),
        lambda z: (1 + np.exp(-z) + z * np.exp(-z)) / (1 + np.exp(-z)) ** 2,
    ),
}


def residual(f):
    precise = functools.partial(jnp.matmul, precision="highest")
    w1, w2, b1, b2 = (jnp.asarray(a, jnp.float32) for a in (W1, W2, B1, B2))
    return lambda x: f(precise(f(precise(x, w1.T) + b1), w2.T) + b2 + x)


def by_hand(x, rule, f, slope):
    """Attribution of one image in float64 from the published formula."""
    x = x.astype(float)
    x0 = np.full_like(x, rule.baseline)

    def values(x):
        z = W1 @ x + B1
        return z, W2 @ f(z) + B2 + x

    def g(z, z0):
        if rule.name == "deeplift":
            return (f(z) - f(z0)) / (z - z0)
        if rule.name == "epsilon-lrp":
            return f(z) / (z + rule.epsilon * np.where(z >= 0, 1, -1))
        return slope(z)

    (z, u), (z0, u0) = values(x), values(x0)
    gu = g(u, u0)
    m = W1.T @ (g(z, z0) * (W2.T @ gu)) + gu
    return {"saliency": np.abs(m), "deeplift": (x - x0) * m}.get(rule.name, x * m)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rule", [*attribution.RULES.values(), DeepLift(baseline=0.3), EpsilonLrp(0.1)], ids=str)
def test_a_rule_is_its_formula(rule, activation):
    f, ours, slope = ACTIVATIONS[activation]
    x = inputs(6, 1, 1, 5)
    found = attribute(residual(f), x, rule)
    expected = [by_hand(one, rule, ours, slope) for one in x.reshape(6, 5)]
    np.testing.assert_allclose(np.reshape(found, (6, 5)), expected, rtol=2e-4, atol=1e-4)


@functools.cache
def resnet(variant):
    return signed(quick(lambda: models.ResNet((1, 2), 2, variant=variant, rngs=nnx.Rngs(0))))


X = inputs(3, 32, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["torchvision", "taskonomy"])
def test_deeplift_sums_to_the_difference_through_normalization_pooling_and_skips(variant):
    network = resnet(variant)
    total = attribute(network, X, "deeplift").sum((1, 2, 3))
    y = jax.jit(lambda x: network(x).reshape(len(x), -1).sum(1))(np.concatenate([X, 0 * X]))
    np.testing.assert_allclose(total, y[:3] - y[3:], rtol=1e-4, atol=1e-4 * np.abs(y).max())


@pytest.mark.slow
def test_deeplift_sums_to_the_difference_in_four_blocks_of_resnet50s_width():
    network = signed(quick(lambda: models.ResNet((1, 2, 2, 1), variant="taskonomy", rngs=nnx.Rngs(0))))
    x = inputs(2, 64, 64, 3)
    total = attribute(network, x, "deeplift").sum((1, 2, 3))
    y = np.asarray(jax.jit(network)(np.concatenate([x, 0 * x[:1]])), float).sum((1, 2, 3))
    np.testing.assert_allclose(total, y[:2] - y[2], rtol=1e-3)


def test_pooling_by_its_gradient_does_not_sum_to_the_difference():
    pool = functools.partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
    x = jnp.asarray([[1.0, -2.0], [0.5, 3.0]]).reshape(1, 2, 2, 1)
    whole, part = (attribute(pool, x, DeepLift(2.0, shares)).ravel().tolist() for shares in (True, False))
    assert whole == part == [0, 0, 0, 1]  # the maximum rose
    whole, part = (attribute(pool, x, DeepLift(4.0, shares)).ravel().tolist() for shares in (True, False))
    assert whole == [-1, 0, 0, 0]  # it fell, at the place of the baseline's
    assert part == [0, 0, 0, -1]


@pytest.mark.slow
def test_epsilon_lrp_of_relus_without_biases_is_gradient_times_input():
    def network(x):
        for w in weights:
            x = jax.nn.relu(jax.lax.conv(x.transpose(0, 3, 1, 2), w, (1, 1), "SAME", "highest").transpose(0, 2, 3, 1))
        return x

    weights = [inputs(4, 3, 3, 3), inputs(4, 4, 3, 3), inputs(2, 4, 3, 3)]
    x = inputs(2, 6, 6, 3)
    expected = np.asarray(attribute(network, x, "gradient-x-input"))
    gaps = [np.abs(attribute(network, x, EpsilonLrp(e)) - expected).max() for e in (1e-1, 1e-3, 1e-6)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(attribute(network, x, "deeplift"), expected, atol=1e-4 * np.abs(expected).max())


def test_an_image_has_its_map_whatever_the_others_are():
    network = resnet("taskonomy")
    found, other = attribute(network, X, "deeplift"), attribute(network, X[[1, 1, 0]], "deeplift")
    np.testing.assert_allclose(np.asarray(found)[[1, 1, 0]], other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_maps_are_those_of_the_network_with_its_own_normalizations(rule):
    network = resnet("torchvision")  # `attribute` folds them
    found, expected = attribute(network, X, rule), attribute(lambda x: network(x), X, rule)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_network_keeps_its_values():
    network, x = residual(jax.nn.relu), jnp.asarray(inputs(5))
    for rule in (DeepLift(), EpsilonLrp()):
        np.testing.assert_array_equal(attribution.modified(network, rule)(x), network(x))


SMOOTH = {
    "leaky": jax.nn.leaky_relu,
    "relu6": jax.nn.relu6,
    "elu": jax.nn.elu,
    "gelu": jax.jit(jax.nn.gelu),
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "square": jnp.square,
    "clip": lambda x: jnp.clip(x, -0.5, 0.5),
    "remat": jax.checkpoint(lambda x: jnp.tanh(2 * x)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_any_activation_of_each_number_has_a_quotient(name):
    x = inputs(2, 1, 1, 6)
    f = SMOOTH[name]
    found = attribute(lambda x: f(3 * x + 1), x, DeepLift(0.5))
    np.testing.assert_allclose(found, f(3 * x + 1) - f(jnp.full_like(x, 2.5)), rtol=1e-4, atol=1e-5)


UNDEFINED = {
    "softmax": (jax.nn.softmax, "deeplift", "the rule deeplift is not defined for reduce_max"),
    "product": (
        lambda x: x * jnp.tanh(x),
        "epsilon-lrp",
        "epsilon-lrp is not defined for mul; .* several operations counts as one inside jax.jit",
    ),
    "two": (lambda x: jnp.maximum(x, 2 * x), "deeplift", "the rule deeplift is not defined for max"),
    "choice": (lambda x: jnp.where(x > 1, x, 2 * x), "deeplift", "not defined for select_n in _where"),
    "gate": (lambda x: (x > 1) * x, "epsilon-lrp", "the rule epsilon-lrp is not defined for mul"),
    "sigmoid": (jax.nn.sigmoid, "epsilon-lrp", "epsilon-lrp is not defined for logistic, which is not 0 at 0"),
    "softplus": (jax.nn.softplus, "epsilon-lrp", "epsilon-lrp is not defined for softplus, which is not 0 at 0"),
    "loop": (
        lambda x: jax.lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x), x),
        "deeplift",
        "not defined for scan",
    ),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_a_rule_does_not_define_is_named_with_the_rule(name):
    f, rule, message = UNDEFINED[name]
    x = inputs(1, 1, 1, 4)
    with pytest.raises(ValueError, match=message):
        attribute(f, x, rule)
    assert np.isfinite(attribute(f, x, "saliency")).all()


@pytest.mark.parametrize(
    ("f", "by"),
    [
        (lambda x: jnp.round(3 * x), "round"),
        (lambda x: (3 * x).astype(jnp.int32), "convert_element_type"),
        (lambda x: jnp.argmax(x, -1).astype(jnp.float32), "argmax"),
        (lambda x: jax.nn.relu(jax.lax.stop_gradient(x)), "stop_gradient"),
        (lambda x: jnp.ones((1, 3)), None),
    ],
)
@pytest.mark.parametrize("rule", ["saliency", "deeplift"])
def test_an_encoder_without_gradients_is_refused(f, by, rule):
    with pytest.raises(ValueError, match=r"encoder 'encoder': it has no gradient" + (f".*{by}" if by else "")):
        attribute(f, inputs(1, 1, 1, 4), rule)


def test_encoders_that_cannot_be_attributed():
    x = inputs(1, 8, 8, 3)
    with pytest.raises(TypeError, match="encoder 'encoder' has type str; it must be a network or a function"):
        attribute("resnet50", x, "saliency")
    with pytest.raises(TypeError, match="encoder 'encoder' is not a JAX function"):
        attribute(lambda x: np.asarray(x).sum(-1), x, "saliency")
    with pytest.raises(ValueError, match="encoder 'encoder' does not accept pictures of 8 x 8 x 3"):
        attribute(small(channels_in=1), x, "saliency")
    with pytest.raises(ValueError, match="there is no attribution rule 'lrp'; choose from saliency, gradient-x-input"):
        attribute(small(), x, "lrp")
    for bad in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="epsilon of epsilon-lrp"):
            EpsilonLrp(bad)
    with pytest.raises(ValueError, match="the baseline of deeplift is inf"):
        DeepLift(float("inf"))


# Scores of networks.

PICTURES = RANDOM.integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)


@functools.cache
def bank():
    return {name: signed(small(), seed) for seed, name in enumerate("abc")}


@functools.cache
def scored(batch=2):
    return image_scores(PICTURES, bank(), RULES, batch=batch)


def test_scores_are_cosines_of_maps_averaged_over_channels():
    x = PICTURES.astype(np.float32) / 255
    for rule, found in zip(RULES, scored(), strict=True):
        maps = np.stack([attribute(one, x, rule) for one in bank().values()]).astype(float)
        flat = maps.mean(-1).reshape(3, 5, -1)
        flat /= np.linalg.norm(flat, axis=-1, keepdims=True)
        np.testing.assert_allclose(found.values, np.einsum("inp,jnp->nij", flat, flat), atol=1e-5)
        affinity = found.affinity()
        np.testing.assert_allclose(affinity.values, np.mean(found.values, 0), atol=1e-6)
        np.testing.assert_allclose(np.diag(affinity.values), 1, atol=1e-5)
        assert affinity.provenance.measure == f"attribution by {rule}"
        assert (np.asarray(affinity.images) == 5).all()
        assert affinity.names == ("a", "b", "c")


@pytest.mark.slow
def test_scores_of_the_shipped_encoders_are_those_of_float64():
    from benchmarks import attribution as by_hand

    nets = dict(list(encoders.shipped().items())[::6])
    pictures = encoders.pictures.make(6).rgb
    found = image_scores(pictures, nets, RULES, preprocessing=dict.fromkeys(nets, UNIT), batch=6)
    with jax.enable_x64(True):
        parts = [nnx.split(one) for one in nets.values()]
        parts = [(graph, jax.tree.map(lambda v: jnp.asarray(v, float), state)) for graph, state in parts]
        expected = by_hand.loop(parts, pictures, 6, dtype=float)
    assert expected.dtype == float
    for one, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.affinity().values, theirs.mean(0), atol=1e-5)


def test_scores_do_not_depend_on_the_batch():
    for one, other in zip(scored(), scored(5), strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)


def test_memory_does_not_grow_with_the_pictures():
    held = []

    def watch(done, count):
        held.append(sum(a.nbytes for a in jax.live_arrays()))

    image_scores(np.tile(PICTURES, (8, 1, 1, 1)), bank(), RULES, batch=2, progress=watch)
    assert len(held) == 20
    assert held[-1] <= held[3]


def test_one_rule_gives_one_record_that_is_saved_and_read(tmp_path):
    found = image_scores(PICTURES, bank(), DeepLift(0.5), batch=2)
    assert found.provenance.measure == "attribution by deeplift(baseline=0.5)"
    again = js.load(found.save(tmp_path / "scores.npz"))
    np.testing.assert_array_equal(again.values, found.values)
    assert (again.ids, again.names) == (("0", "1", "2", "3", "4"), ("a", "b", "c"))
    assert "attribution by deeplift(baseline=0.5), 3 x 3, 5 images" in str(found)
    pytest.importorskip("xarray")
    assert found.to_xarray().dims == ("image", "source", "target")


def test_a_map_of_zeros_has_no_score_and_is_said():
    nets = bank() | {"dead": lambda x: 0 * x}
    pictures = PICTURES.copy()
    pictures[2] = 0  # whose input is zero, and so its product with the gradient
    with pytest.warns(
        js.UndefinedScores, match=r"pictures whose map is zero have no score .*a \(1\), b \(1\), c \(1\), dead \(5\)"
    ):
        found = image_scores(pictures, nets, "gradient-x-input", batch=2)
    assert found.undefined == (("a", 1), ("b", 1), ("c", 1), ("dead", 5))
    assert np.isnan(found.affinity().values).all()
    assert np.isfinite(np.asarray(found.values)[[0, 1, 3, 4], :3, :3]).all()


def test_pictures_that_cannot_be_compared(tmp_path):
    uneven = Dataset("uneven", ("a", "b"), lambda name: np.zeros((8 + 8 * (name == "b"), 8, 3), np.uint8), {})
    with pytest.raises(ValueError, match=r"Picture 'b' has 16 x 8 pixels, but the first one has 8 x 8; give a size"):
        image_scores(uneven, bank(), "saliency")
    with pytest.raises(
        ValueError, match="1 pictures in batches of 32 by 1 rules cannot be compared; give at least two"
    ):
        image_scores(PICTURES[:1], bank(), "saliency")
    with pytest.raises(ValueError, match=r"array \(n, h, w, 3\) .* not float64 of shape \(4, 9\); to compare features"):
        image_scores(np.zeros((4, 9)), bank(), "saliency")
    with pytest.raises(ValueError, match="there are no encoders"):
        image_scores(PICTURES, {}, "saliency")
    with pytest.raises(ValueError, match=r"'a' sees pictures of 8 x 8 pixels and 'b' of 16 x 16, so their maps"):
        image_scores(PICTURES, bank(), "saliency", preprocessing={"a": UNIT.at(8)})
    np.savez(tmp_path / "features.npz", a=np.zeros((4, 9)))
    with pytest.raises((ValueError, OSError), match=r"features\.npz"):
        image_scores(tmp_path / "features.npz", bank(), "saliency")


# Resampling of scores that every image has by itself.


def made_up(count=24, nan=None):
    values = RANDOM.uniform(-1, 1, (count, 3, 3)).astype(np.float32)
    values = (values + values.transpose(0, 2, 1)) / 2
    if nan is not None:
        values[nan] = np.nan
    names = tuple(map(str, range(count)))
    return ImageScores(values, ("a", "b", "c"), names, Provenance("made up", "float32", "cpu"))


def test_resamples_are_means_of_the_images_drawn():
    scores = made_up()
    v = scores.values.astype(float)
    counts = RANDOM.multinomial(24, np.full(24, 1 / 24), size=7)
    found = js.resample_scores(scores, js.Bootstrap(weights=counts))
    np.testing.assert_allclose(found.values, np.einsum("bn,nij->bij", counts, v) / 24, atol=1e-6)
    np.testing.assert_allclose(found.estimate, v.mean(0), atol=1e-6)
    subsets = np.stack([RANDOM.permutation(24)[:5] for _ in range(6)])
    found = js.resample_scores(scores, js.Subsample(indices=subsets))
    np.testing.assert_allclose(found.values, v[subsets].mean(1), atol=1e-6)
    found = js.resample_scores(scores, "jackknife")
    np.testing.assert_allclose(found.standard_error(), v.std(0, ddof=1) / np.sqrt(24), rtol=1e-3)


def test_whole_scores_are_weighed_like_others():
    whole = dataclasses.replace(made_up(), values=np.asarray(4 * made_up().values, np.int32))
    weights = RANDOM.dirichlet(np.ones(24), size=5) * 24
    found = js.resample_scores(whole, js.Bootstrap(weights=weights))
    np.testing.assert_allclose(found.values, np.einsum("bn,nij->bij", weights, whole.values) / 24, atol=1e-5)


@pytest.mark.slow
def test_half_samples_have_the_error_of_a_mean():
    scores = made_up(400)
    found = js.resample_scores(scores, n_resamples=200, key=3)
    halves = np.asarray(found.values)
    whole = np.broadcast_to(found.estimate, halves[::2].shape)
    np.testing.assert_allclose((halves[0::2] + halves[1::2]) / 2, whole, atol=1e-5)
    error = np.asarray(scores.values, float).std(0, ddof=1) / np.sqrt(400)
    np.testing.assert_allclose(found.standard_error(), error, rtol=0.25)
    again = js.resample_scores(scores, n_resamples=20, key=3)
    np.testing.assert_allclose(again.values, halves[:20], atol=1e-7)
    assert found.flags == ()


@pytest.mark.slow
def test_strata_and_groups_hold(recwarn):
    scores, labels = made_up(40), np.repeat(np.arange(8), 5)
    found = js.resample_scores(scores, js.HalfSamples(groups=labels), n_resamples=20)
    assert (found.groups, found.groups_drawn) == (8, 4)
    assert any("8 groups are few" in flag for flag in found.flags)
    found = js.resample_scores(scores, js.Bootstrap(strata=labels), n_resamples=20)
    assert found.images == 40


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_an_image_without_a_score_spoils_only_the_resamples_that_hold_it(lost):
    scores = made_up(nan=3)
    scores = dataclasses.replace(scores, values=np.where(np.isnan(scores.values), lost, scores.values))
    with_it, without = np.arange(6), np.arange(10, 16)
    found = js.resample_scores(scores, js.Subsample(indices=np.stack([with_it, without])))
    assert np.isnan(found.values[0]).all()
    assert np.isfinite(found.values[1]).all()
    assert np.isnan(found.estimate).all()
    assert np.isnan(scores.affinity().values).all()
    assert found.undefined == (("a", 1), ("b", 1), ("c", 1))


def test_resampling_that_cannot_be():
    scores = made_up()
    with pytest.raises(ValueError, match="the scheme permutation rearranges images"):
        js.resample_scores(scores, js.Permutation())
    with pytest.raises(TypeError, match=r"scores must be ImageScores, not dict; for features, use js\.resample"):
        js.resample_scores({"a": np.zeros((4, 3))})
    with pytest.raises(ValueError, match="halves of 1 images hold 0 each"):
        js.resample_scores(made_up(1))
    with pytest.raises(ValueError, match="there are no images"):
        js.resample_scores(made_up(0))
    with pytest.raises(ValueError, match="no scheme is named 'boot'"):
        js.resample_scores(scores, "boot")
    with pytest.raises(ValueError, match=r"must have shape \(5, 3, 3\), not \(\d+, 3, 3\)"):
        js.resample_scores(dataclasses.replace(scores, ids=scores.ids[:5]))


def test_equal_labels_are_refused():
    scores = made_up()
    for change, message in (
        ({"names": ("a", "b", "a")}, "two networks are both named 'a'"),
        ({"ids": (scores.ids[1], *scores.ids[1:])}, f"two images both have the id '{scores.ids[1]}'"),
    ):
        odd = dataclasses.replace(scores, **change)
        for use in (js.resample_scores, lambda one: one.affinity()):
            with pytest.raises(ValueError, match=message):
                use(odd)
    twice = Dataset("twice", ("p", "q", "p"), lambda name: np.zeros((8, 8, 3), np.uint8), {})
    with pytest.raises(ValueError, match="two images both have the id 'p'"):
        image_scores(twice, {"a": lambda x: x}, "saliency")


# Captum as a second oracle.


def test_captum_agrees():
    attr = pytest.importorskip("captum.attr", reason="captum is not installed (extra: peers)")
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    # no max-pooling: captum gives a maximum tied in the baseline to another place, and its maps do not always sum up
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(4, 3, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 5),
    ).double()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.from_numpy(random.normal(size=p.shape)))
    (w1, b1), (w2, b2), (w3, b3) = (
        [jnp.asarray(p.detach().numpy(), jnp.float32) for p in network[k].parameters()] for k in (0, 3, 6)
    )

    def ours(x):
        x = x.transpose(0, 3, 1, 2)
        for w, b in ((w1, b1), (w2, b2)):
            x = jax.nn.relu(jax.lax.conv(x, w, (1, 1), "SAME", "highest") + b[:, None, None])
            if w is w1:
                x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4
        return jnp.matmul(x.reshape(len(x), -1), w3.T, precision="highest") + b3

    class Total(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x).sum(1)

    x = random.normal(size=(4, 8, 8, 3)).astype(np.float32)
    given = torch.from_numpy(x.transpose(0, 3, 1, 2).astype(float)).requires_grad_()
    total = Total()
    peers = {
        "saliency": attr.Saliency(total).attribute(given),
        "gradient-x-input": attr.InputXGradient(total).attribute(given),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its hooks
        peers["deeplift"] = attr.DeepLift(total).attribute(given, torch.zeros_like(given))
    for rule, theirs in peers.items():
        theirs = theirs.detach().numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(attribute(ours, x, rule), theirs, atol=2e-4 * np.abs(theirs).max(), err_msg=rule)
