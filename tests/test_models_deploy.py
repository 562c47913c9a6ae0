"""Networks made ready for inference: Winograd convolutions against float64, and whole networks against themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

nnx = pytest.importorskip("flax.nnx")

from test_models import quick

from jaxsim.vision import models
from jaxsim.vision.models import deploy
from jaxsim.vision.models.batchnorm import normed_convolution
from jaxsim.vision.models.deploy import Winograd

HIGHEST = jax.lax.Precision.HIGHEST


def convolved(x, kernel, bias):
    """The convolution in float64, pixel by pixel."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    places = ((i, j) for i in range(3) for j in range(3))
    return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i, j in places) + np.asarray(bias, np.float64)


@pytest.mark.parametrize("sides", [(8, 8), (7, 5), (1, 1), (2, 9)])
def test_winograd_is_the_convolution(sides):
    rng = np.random.default_rng(sum(sides))
    layer = nnx.Conv(6, 5, (3, 3), precision=HIGHEST, rngs=nnx.Rngs(0))
    layer.bias.set_value(jnp.asarray(rng.normal(size=5), jnp.float32))
    x = rng.normal(3, 1, (3, *sides, 6)).astype(np.float32)
    expected = convolved(x, layer.kernel[...], layer.bias[...])
    found = np.asarray(jax.jit(Winograd(layer))(x))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def network(variant, monkeypatch):
    """A narrow ResNet with statistics that are not those of a start, and `Winograd` from 8 channels on."""
    monkeypatch.setattr(deploy, "WORTHWHILE", 8)
    made = quick(lambda: models.ResNet((1, 2), 8, variant=variant, rngs=nnx.Rngs(1)))
    rng = np.random.default_rng(0)
    for _, module in nnx.iter_modules(made):
        if isinstance(module, nnx.BatchNorm):
            for variable, low, high in ((module.mean, -0.3, 0.3), (module.var, 0.5, 2), (module.scale, 0.5, 1.2)):
                variable.set_value(jnp.asarray(rng.uniform(low, high, variable.shape), jnp.float32))
    return made


@pytest.mark.parametrize("variant", slow_but(["torchvision"], ["torchvision", "taskonomy"]))
def test_every_layer_stays_what_it_is(variant, monkeypatch):
    made = network(variant, monkeypatch)
    ready = models.for_inference(made)
    swapped = [m for _, m in nnx.iter_modules(ready) if isinstance(m, Winograd)]
    plain = [m for _, m in nnx.iter_modules(ready) if isinstance(m, nnx.Conv)]
    assert swapped
    assert all(m.strides != 1 or m.in_features < 8 for m in plain)
    x = np.random.default_rng(1).uniform(-1, 1, (2, 65, 50, 3)).astype(np.float32)

    def layers(network):
        graph, state = nnx.split(network)
        return jax.jit(lambda state, x: nnx.merge(graph, state).layers(x))(state, x)

    found, expected = layers(ready), layers(made)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= 1e-5 * np.abs(values).max(), name
        assert np.std(values) > 0.01, name


def test_the_network_given_stays_and_the_ready_one_cannot_be_saved(monkeypatch, tmp_path):
    made = network("taskonomy", monkeypatch)
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(made)))
    ready = models.for_inference(made)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(made)))
    with pytest.raises(ValueError, match="'depth' is folded; save the original network"):
        models.to_safetensors({"depth": ready}, tmp_path / "ready.safetensors")


def test_small_layers_and_other_devices_keep_their_convolutions(monkeypatch):
    wide = nnx.Sequential(normed_convolution(128, 8, side=3, precision=HIGHEST, rngs=nnx.Rngs(0)))
    narrow = nnx.Sequential(normed_convolution(64, 8, side=3, precision=HIGHEST, rngs=nnx.Rngs(0)))
    dilated = nnx.Sequential(normed_convolution(128, 8, side=3, dilation=2, precision=HIGHEST, rngs=nnx.Rngs(0)))

    def kinds(layers):
        return [type(layer.linear) for layer in models.for_inference(layers).layers]

    assert (kinds(wide), kinds(narrow), kinds(dilated)) == ([Winograd], [nnx.Conv], [nnx.Conv])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kinds(wide) == [nnx.Conv]
