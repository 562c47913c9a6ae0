"""ResNet against PyTorch with the same random weights and statistics, block by block; folding; layers by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

nnx = pytest.importorskip("flax.nnx")
torch = pytest.importorskip("torch")

from test_models import change, precisions

from benchmarks.torch_resnet import TorchResNet, TorchTaskonomy, randomize
from jaxsim.vision import models
from jaxsim.vision.models import convert

PEERS = {"torchvision": TorchResNet, "taskonomy": TorchTaskonomy}
FAMILY = {"torchvision": "resnet50", "taskonomy": "resnet50-taskonomy"}
SMALL, FULL = ((2, 1, 2, 1), 8), ((3, 4, 6, 3), 64)
LAYERS = ["stem", "block1", "block2", "block3", "block4", "code"]


@functools.cache
def pair(variant, shape, dilated=0):
    """The same network in PyTorch and here, weights converted by name."""
    peer = randomize(PEERS[variant](*shape, **({"dilated": dilated} if dilated else {})))
    arrays = {key: value.numpy() for key, value in peer.state_dict().items()}
    stride = 32 // 2**dilated
    empty = nnx.eval_shape(lambda: models.ResNet(*shape, variant=variant, output_stride=stride, rngs=nnx.Rngs(0)))
    return peer, convert.fill(empty, arrays, convert.NAMINGS[FAMILY[variant]], source="peer").network


def images(*sides, n=1):
    return np.random.default_rng(sum(sides)).uniform(-1, 1, (n, *sides, 3)).astype(np.float32)


def of_peer(peer, x):
    with torch.inference_mode():
        values = peer.layers(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    return {name: np.moveaxis(v.numpy(), 1, -1) for name, v in values.items()}


def jitted(network, x):
    graph, state = nnx.split(network)
    return jax.jit(lambda state, x: nnx.merge(graph, state).layers(x))(state, x)


def assert_equal(ours, theirs, tolerance=1e-4):
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        assert np.max(np.abs(ours[name] - expected)) <= tolerance * np.max(np.abs(expected)), name
        assert np.std(expected) > 0.01, name


@pytest.mark.parametrize("variant", slow_but(["taskonomy"], PEERS))
def test_resnet50_is_pytorchs_block_by_block_and_so_it_is_folded(variant):
    peer, network = pair(variant, FULL)
    x = images(65, 49)
    expected = of_peer(peer, x)
    assert list(expected) == LAYERS
    assert_equal(jitted(network, x), expected)
    assert_equal(jitted(models.fold(network), x), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "side"), [("torchvision", 224), ("taskonomy", 256)])
def test_resnet50_at_its_own_size(variant, side):
    peer, network = pair(variant, FULL)
    x = images(side, side, n=2)
    assert_equal(jitted(network, x), of_peer(peer, x))
    assert_equal(jitted(models.fold(network), x), of_peer(peer, x))


@pytest.mark.parametrize("variant", PEERS)
@pytest.mark.parametrize("sides", [(64, 64), (63, 66), (33, 50), (7, 9)])
def test_odd_sizes_and_strides(variant, sides):
    peer, network = pair(variant, SMALL)
    x = images(*sides, n=2)
    assert_equal(jitted(network, x), of_peer(peer, x))


@pytest.mark.parametrize("dilated", [1, 2])
def test_dilation_instead_of_the_last_strides(dilated):
    peer, network = pair("torchvision", SMALL, dilated)
    x = images(64, 50)
    ours = jitted(network, x)
    assert_equal(ours, of_peer(peer, x))
    assert ours["block4"].shape[1] == 64 * 2**dilated // 32


@pytest.mark.slow
def test_shapes_of_the_published_networks():
    for variant, sides in (("torchvision", (56, 28, 14, 7)), ("taskonomy", (32, 16, 16, 16))):
        size = 224 if variant == "torchvision" else 256
        empty = nnx.eval_shape(lambda v=variant: models.ResNet.named(FAMILY[v], rngs=nnx.Rngs(0)))
        x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
        found = nnx.eval_shape(lambda e, x: e.layers(x), empty, x)
        blocks = [found[f"block{b}"].shape[1:] for b in range(1, 5)]
        assert blocks == [(side, side, 256 * 2**b) for b, side in enumerate(sides)]
        assert found["code"].shape == ((2, 2048) if variant == "torchvision" else (2, 16, 16, 8))
        code = 0 if variant == "torchvision" else 9 * 2048 * 8 + 2 * 8
        parameters = 25_557_032 - 2_049_000  # torchvision's count, without its classifier
        assert sum(v.size for v in jax.tree.leaves(nnx.state(empty, nnx.Param))) == parameters + code


def test_layers_stop_where_they_are_told_to():
    network = pair("torchvision", SMALL)[1]
    assert list(network.layers(images(32, 32))) == LAYERS
    assert list(network.layers(images(32, 32), last="block2")) == LAYERS[:3]
    np.testing.assert_array_equal(network(images(32, 32)), network.layers(images(32, 32))["code"])
    with pytest.raises(ValueError, match="no layer 'block5'; choose from stem, block1"):
        network.layers(images(32, 32), last="block5")


@pytest.mark.slow
def test_training_normalizes_by_the_batch_and_keeps_averages_as_pytorch_does():
    peer, network = pair("taskonomy", SMALL)
    peer, network = randomize(TorchTaskonomy(*SMALL)).train(), nnx.clone(network)
    network.train()
    x = images(32, 32, n=3)
    with torch.no_grad():
        values = peer.layers(torch.tensor(x.transpose(0, 3, 1, 2)))
    assert_equal(network.layers(x), {name: np.moveaxis(v.numpy(), 1, -1) for name, v in values.items()}, 1e-3)
    np.testing.assert_allclose(network.stem.norm.mean[...], peer.bn1.running_mean, rtol=1e-4, atol=1e-6)
    n = 3 * 16 * 16  # PyTorch's running variance is of a sample, ours of a population
    past = 0.9 * pair("taskonomy", SMALL)[1].stem.norm.var[...]
    ours, theirs = network.stem.norm.var[...] - past, peer.bn1.running_var.numpy() - past
    np.testing.assert_allclose(ours, theirs * (n - 1) / n, rtol=1e-3)
    network.eval()
    np.testing.assert_array_equal(network(x), network(x))


@pytest.mark.slow
def test_folding_leaves_the_network_and_needs_no_second_time():
    network = pair("taskonomy", SMALL)[1]
    x = images(40, 40)
    before = np.asarray(network(x))
    folded = models.fold(network)
    np.testing.assert_array_equal(network(x), before)
    assert not [p for p, v in nnx.iter_graph(folded) if isinstance(v, nnx.BatchStat)]
    np.testing.assert_array_equal(models.fold(folded)(x), folded(x))


def test_every_convolution_asks_for_full_precision():
    network = pair("taskonomy", SMALL)[1]
    graph, state = nnx.split(network)
    closed = jax.make_jaxpr(jax.grad(lambda s, x: jnp.sum(nnx.merge(graph, s)(x) ** 2)))(state, images(32, 32))
    found = list(precisions(closed.jaxpr))
    assert len(found) > 50
    assert all(p is not None and set(p) == {jax.lax.Precision.HIGHEST} for p in found)


@pytest.mark.slow
def test_weights_come_back_bit_for_bit_beside_small_encoders(tmp_path):
    network = pair("taskonomy", SMALL)[1]
    small = models.SmallEncoder((2, 3), (2, 1), rngs=nnx.Rngs(0))
    path = models.to_safetensors({"depth": network, "small": small}, tmp_path / "e.safetensors")
    read = models.from_safetensors(path)
    assert {name: type(e).__name__ for name, e in read.items()} == {"depth": "ResNet", "small": "SmallEncoder"}
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in read["depth"].configuration.items()} == (
        network.configuration
    )
    x = images(33, 40)
    for name, values in network.layers(x).items():
        np.testing.assert_array_equal(read["depth"].layers(x)[name], values)
    change(path, lambda arrays, header: header["encoders"]["depth"].update(network="VGG"))
    with pytest.raises(ValueError, match="does not describe encoders .there is no kind of encoder 'VGG'"):
        models.from_safetensors(path)
    with pytest.raises(ValueError, match="'depth' is folded; save the original network"):
        models.to_safetensors({"depth": models.fold(network)}, tmp_path / "folded.safetensors")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variant": "resnext"}, "no variant 'resnext'.*torchvision, taskonomy"),
        ({"depths": ()}, "one to 4 blocks"),
        ({"depths": (1, 1, 1, 1, 1)}, "one to 4 blocks"),
        ({"depths": (1, 0)}, r"not depths \(1, 0\)"),
        ({"width": 0}, "width 0"),
        ({"output_stride": 4}, "no output stride 4"),
        ({"variant": "taskonomy", "output_stride": 16}, "taskonomy variant has no output stride 16"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ValueError, match=words):
        models.ResNet(**arguments, rngs=nnx.Rngs(0))


def test_more_refusals():
    with pytest.raises(ValueError, match="no network 'resnet18'; choose from resnet50, resnet50-taskonomy"):
        models.ResNet.named("resnet18", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(b, h, w, 3\), not \(1, 32, 32, 1\)"):
        pair("taskonomy", SMALL)[1](np.zeros((1, 32, 32, 1), np.float32))
