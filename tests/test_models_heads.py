"""Taskonomy's decoder and head, DeepLab's decoder and branches, against PyTorch and NumPy."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")

from test_models import precisions, quick

from jaxsim.vision import models
from jaxsim.vision.models import convert
from jaxsim.vision.models.deeplab import tile_channels

RANDOM = np.random.default_rng(5)


def rngs():
    return nnx.Rngs(0)


def statistics(network):
    """The network with random scales, shifts, means and variances in its normalizations."""
    for path, slot in nnx.iter_graph(network):
        if isinstance(slot, nnx.Variable) and path[-2] == "norm":
            low, high = (0.5, 1.5) if path[-1] in ("scale", "var") else (-0.5, 0.5)
            slot.set_value(jnp.asarray(RANDOM.uniform(low, high, slot.shape), jnp.float32))
    return network


def close(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.max(np.abs(ours - theirs)) <= 1e-4 * np.max(np.abs(theirs))
    assert np.std(theirs) > 1e-3


def jitted(network, x):
    graph, state = nnx.split(network)
    return np.asarray(jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x))


def port_of_the_decoder(channels_out):
    """The decoder as its PyTorch port has it: 3x3 layers and transposed ones between a padding and a cut."""
    torch = pytest.importorskip("torch")
    from benchmarks.torch_resnet import randomize

    nn = torch.nn

    class Cut(nn.Module):
        def forward(self, x):
            return x[:, :, 1:, 1:]

    def layer(name, inputs, outputs):
        after = [nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        if name.startswith("conv"):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *after)
        double = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        return nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), double, Cut(), *after)

    widths = (1024, 1024, 512, 256, 256, 128, 64, 64, 32, 32, 16, 32, 16)
    names = [f"{'deconv' if i in (8, 10, 12, 14) else 'conv'}{i}" for i in range(2, 15)]
    layers = {n: layer(n, a, b) for n, a, b in zip(names, (8, *widths), widths, strict=False)}
    layers["decoder_output"] = nn.Sequential(nn.Conv2d(16, channels_out, 3, padding=1), nn.Tanh())
    return torch, randomize(nn.Sequential(OrderedDict(layers)))


@pytest.mark.slow
def test_taskonomys_decoder_is_its_ports_and_converts():
    torch, peer = port_of_the_decoder(3)
    arrays = {key: value.numpy() for key, value in peer.state_dict().items()} | {"encoder.conv1.weight": np.ones(1)}
    decoder = nnx.eval_shape(lambda: models.TaskonomyDecoder(3, rngs=rngs()))
    found = convert.fill(decoder, arrays, convert.NAMINGS["taskonomy-decoder"], source="port")
    assert found.left_out["encoder"] == ("encoder.conv1.weight",)
    x = RANDOM.uniform(0, 1, (1, 3, 2, 8)).astype(np.float32)
    with torch.inference_mode():
        expected = np.moveaxis(peer(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy(), 1, -1)
    assert expected.shape == (1, 48, 32, 3)
    close(jitted(decoder, x), expected)
    close(jitted(models.fold(decoder), x), expected)


@pytest.mark.slow
def test_the_task_banks_own_decoder_converts_by_its_keys():
    """Keys and axes as slim writes them: (height, width, inputs, outputs), and outputs first where transposed."""
    decoder = statistics(quick(lambda: models.TaskonomyDecoder(2, rngs=rngs())))
    arrays = {"decoder/decoder_output/weights": decoder.out.kernel, "decoder/decoder_output/biases": decoder.out.bias}
    for i in range(2, 15):
        kind = "deconv" if i in (8, 10, 12, 14) else "conv"
        layer = decoder.hidden[f"{kind}{i}"]
        arrays[f"decoder/{kind}{i}/weights"] = layer.linear.kernel
        for name, part in (("gamma", "scale"), ("beta", "bias"), ("moving_mean", "mean"), ("moving_variance", "var")):
            arrays[f"decoder/{kind}{i}/BatchNorm/{name}"] = getattr(layer.norm, part)
    arrays = {name: np.asarray(variable[...]) for name, variable in arrays.items()}
    assert arrays["decoder/conv2/weights"].shape == (3, 3, 8, 1024)
    assert arrays["decoder/deconv14/weights"].shape == (3, 3, 16, 32)
    empty = nnx.eval_shape(lambda: models.TaskonomyDecoder(2, rngs=rngs()))
    convert.fill(empty, arrays, convert.NAMINGS["taskonomy-decoder"], source="task bank")
    x = RANDOM.uniform(0, 1, (1, 2, 2, 8)).astype(np.float32)
    np.testing.assert_array_equal(jitted(empty, x), jitted(decoder, x))


def test_the_decoder_of_colorization_has_twelve_layers_and_converts():
    """As the published network: 16 x 16 codes, two doublings, scores of 313 colors without activation."""
    widths = (1024, 1024, 512, 512, 512, 512, 256, 256, 256, 256, 256, 256)
    names = [f"conv{i}" for i in (2, 3, 4, 5, 6, "_extra", 7, 8, 9)] + ["deconv10", "conv11", "deconv12"]
    decoder = nnx.eval_shape(lambda: models.ColorizationDecoder(rngs=rngs()))
    arrays = {
        "decoder/decoder_output/weights": np.ones((1, 1, 256, 313)),
        "decoder/decoder_output/biases": np.ones(313),
    }
    for name, inputs, outputs in zip(names, (8, *widths), widths, strict=False):
        shape = (outputs, inputs) if name.startswith("deconv") else (inputs, outputs)
        arrays[f"decoder/{name}/weights"] = np.zeros((3, 3, *shape))
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            arrays[f"decoder/{name}/BatchNorm/{part}"] = np.ones(outputs)
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    convert.fill(decoder, arrays, convert.NAMINGS["taskonomy-decoder"], source="task bank")
    out = nnx.eval_shape(lambda d, x: d(x), decoder, jnp.zeros((2, 16, 16, 8)))
    assert out.shape == (2, 64, 64, 313)
    assert len(decoder.hidden) == 12
    with pytest.raises(ValueError, match=r"decoder needs arrays of shape \(b, h, w, 8\)"):
        decoder(jnp.zeros((1, 2, 2, 4)))


def test_transposed_convolution_is_the_gradient_of_a_same_convolution():
    """Which is what TensorFlow calls conv2d_transpose: weights are (height, width, outputs, inputs)."""
    decoder = nnx.eval_shape(lambda: models.TaskonomyDecoder(3, rngs=rngs()))
    layer = decoder.hidden["deconv14"].linear
    kernel = jnp.asarray(RANDOM.normal(size=layer.kernel.shape), jnp.float32)
    assert kernel.shape == (3, 3, 16, 32)
    layer.kernel.set_value(kernel)
    x = jnp.asarray(RANDOM.normal(size=(1, 5, 4, 32)), jnp.float32)

    def forward(y):
        return jax.lax.conv_general_dilated(y, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    _, pull = jax.vjp(forward, jnp.zeros((1, 10, 8, 16)))
    np.testing.assert_allclose(layer(x), pull(x)[0], rtol=1e-4, atol=1e-4)


def test_head_flattens_with_channels_last_normalizes_and_drops_half():
    head = statistics(quick(lambda: models.TaskonomyHead(5, features_in=24, hidden=400, rngs=rngs())))
    x = RANDOM.normal(size=(3, 2, 3, 4)).astype(np.float32)
    norm = {part: np.asarray(getattr(head.hidden.norm, part)[...], float) for part in ("scale", "bias", "mean", "var")}
    hidden = x.reshape(3, 24) @ np.asarray(head.hidden.linear.kernel[...], float)
    hidden = (hidden - norm["mean"]) / np.sqrt(norm["var"] + 1e-5) * norm["scale"] + norm["bias"]
    kernel = np.asarray(head.out.kernel[...], float)
    close(np.asarray(head(x)), np.maximum(hidden, 0) @ kernel + np.asarray(head.out.bias[...]))
    close(np.asarray(models.fold(head)(x)), np.asarray(head(x)))

    head.out.kernel.set_value(jnp.ones_like(head.out.kernel[...]))
    head.out.bias.set_value(jnp.zeros(5))
    head.set_attributes(deterministic=False)  # dropout alone
    half, other = (np.asarray(head(x, rngs=nnx.Rngs(dropout=seed)))[:, 0] for seed in (1, 2))
    assert not np.allclose(half, other)
    np.testing.assert_allclose(half, np.maximum(hidden, 0).sum(1), rtol=0.3)


def test_heads_of_the_task_bank_convert():
    head = nnx.eval_shape(lambda: models.TaskonomyHead(3, features_in=8, hidden=4, rngs=rngs()))
    first, last = "three_layer_fc_network/fc0", "three_layer_fc_network/fc2"
    arrays = {f"{first}/weights": RANDOM.normal(size=(8, 4)), f"{last}/weights": RANDOM.normal(size=(4, 3))}
    arrays |= {f"{last}/biases": RANDOM.normal(size=3), f"{first}/weights/Adam": np.ones(2), "global_step": np.array(1)}
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays |= {f"{first}/BatchNorm/{part}": RANDOM.uniform(0.5, 1, 4) for part in parts}
    arrays["feedforward/compress1/weights"] = np.ones((3, 3, 2048, 8))
    found = convert.fill(head, arrays, convert.NAMINGS["taskonomy-head"], source="class_places")
    np.testing.assert_array_equal(head.hidden.linear.kernel[...], arrays[f"{first}/weights"].astype(np.float32))
    np.testing.assert_array_equal(head.out.bias[...], arrays[f"{last}/biases"].astype(np.float32))
    np.testing.assert_array_equal(
        head.hidden.norm.var[...], arrays[f"{first}/BatchNorm/moving_variance"].astype(np.float32)
    )
    assert found.left_out == {
        "state of the optimizer": (f"{first}/weights/Adam",),
        "counts of training steps": ("global_step",),
        "encoder": ("feedforward/compress1/weights",),
    }
    assert set(found.cast.values()) == {"float64"}


@pytest.mark.parametrize("activation", [True, False])
def test_deeplab_is_pytorchs(activation):
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    make = lambda: models.DeepLabDecoder(  # noqa: E731
        5, channels_in=12, depth=6, rates=(2, 3), activation=activation, rngs=rngs()
    )
    decoder = statistics(quick(make))
    x = RANDOM.normal(size=(2, 7, 9, 12)).astype(np.float32)

    def tensor(slot):
        values = np.array(slot[...])
        return torch.from_numpy(values.reshape((1, 1, *values.shape)) if values.ndim == 2 else values)

    def part(layer, y, dilation=0):
        kernel = tensor(layer.linear.kernel).permute(3, 2, 0, 1)
        y = functional.conv2d(y, kernel, padding=dilation, dilation=max(dilation, 1))
        mean, var, scale, shift = (tensor(getattr(layer.norm, p)) for p in ("mean", "var", "scale", "bias"))
        y = functional.batch_norm(y, mean, var, scale, shift)
        return functional.relu(y) if activation else y

    y = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    parts = [part(decoder.point, y), part(decoder.atrous[0], y, 2), part(decoder.atrous[1], y, 3)]
    parts.append(part(decoder.pooled, functional.adaptive_avg_pool2d(y, 1)).expand(-1, -1, 7, 9))
    joined = part(decoder.project, torch.cat(parts, 1))
    expected = functional.conv2d(joined, tensor(decoder.out.kernel).permute(3, 2, 0, 1), tensor(decoder.out.bias))
    close(jitted(decoder, x), np.moveaxis(expected.numpy(), 1, -1))
    close(jitted(models.fold(decoder), x), np.moveaxis(expected.numpy(), 1, -1))


@pytest.mark.slow
def test_branches_tile_their_layer_and_enlarge_edge_on_edge():
    torch = pytest.importorskip("torch")
    encoder = statistics(quick(lambda: models.ResNet((1, 1, 1, 1), 2, rngs=rngs())))
    decoder = statistics(quick(lambda: models.DeepLabDecoder(3, channels_in=64, depth=2, rates=(1,), rngs=rngs())))
    x = RANDOM.uniform(size=(1, 45, 64, 3)).astype(np.float32)
    for block, times in (("block1", 8), ("block2", 4), ("block3", 2), ("block4", 1)):
        layer = nnx.eval_shape(lambda e, x, last=block: e.layers(x, last)[last], encoder, x)
        assert layer.shape[-1] * times == 64
    layers = encoder.layers(x)
    for block, times in (("block1", 8), ("block4", 1)):
        small = np.asarray(decoder(np.concatenate([layers[block]] * times, -1)))
        large = torch.nn.functional.interpolate(
            torch.from_numpy(small.transpose(0, 3, 1, 2).copy()), (45, 64), mode="bilinear", align_corners=False
        )
        close(np.asarray(models.Branch(encoder, block, decoder)(x)), np.moveaxis(large.numpy(), 1, -1))


@pytest.mark.slow
def test_branches_compute_nothing_behind_their_layer_and_take_small_encoders_too():
    encoder = quick(lambda: models.ResNet((1, 1, 1), 2, rngs=rngs()))
    encoder.train()
    decoder = statistics(quick(lambda: models.DeepLabDecoder(3, channels_in=8, depth=2, rates=(1,), rngs=rngs())))
    before = [np.asarray(encoder.blocks[f"block{b}"]["unit1"].conv1.norm.mean[...]) for b in (1, 2)]
    models.Branch(encoder, "block1", decoder)(RANDOM.uniform(size=(1, 32, 32, 3)).astype(np.float32))
    after = [np.asarray(encoder.blocks[f"block{b}"]["unit1"].conv1.norm.mean[...]) for b in (1, 2)]
    assert np.any(before[0] != after[0])
    np.testing.assert_array_equal(before[1], after[1])
    small = quick(lambda: models.SmallEncoder((4, 8), (2, 2), rngs=rngs()))
    x = RANDOM.uniform(size=(2, 20, 20, 3)).astype(np.float32)
    assert models.Branch(small, "conv1", decoder)(x).shape == (2, 20, 20, 3)
    assert list(small.layers(x, last="conv1")) == ["conv1"]
    with pytest.raises(ValueError, match="no layer 'conv9'; choose from conv1, conv2"):
        models.Branch(small, "conv9", decoder)(x)
    with pytest.raises(ValueError, match=r"\(2, 10, 10, 4\) cannot be tiled to \(b, h, w, 10\)"):
        tile_channels(small.layers(x)["conv1"], 10)
    with pytest.raises(ValueError, match=r"\(2, 4\) cannot be tiled"):
        tile_channels(jnp.zeros((2, 4)), 8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.TaskonomyDecoder(2, rngs=rngs()),
        lambda: models.TaskonomyHead(2, features_in=128, hidden=4, rngs=rngs()),
        lambda: models.DeepLabDecoder(2, channels_in=8, depth=4, rngs=rngs()),
    ],
    ids=["decoder", "head", "deeplab"],
)
def test_every_contraction_asks_for_full_precision(make):
    graph, state = nnx.split(nnx.eval_shape(make))
    code = jax.ShapeDtypeStruct((1, 4, 4, 8), jnp.float32)
    closed = jax.make_jaxpr(jax.grad(lambda s, x: jnp.sum(nnx.merge(graph, s)(x) ** 2)))(state, code)
    found = list(precisions(closed.jaxpr))
    assert len(found) >= 4
    assert all(p is not None and set(p) == {jax.lax.Precision.HIGHEST} for p in found)


def test_refusals():
    decoder = nnx.eval_shape(lambda: models.TaskonomyDecoder(2, rngs=rngs()))
    with pytest.raises(ValueError, match=r"\(b, h, w, 8\), not \(1, 4, 4, 7\)"):
        decoder(jnp.zeros((1, 4, 4, 7)))
    head = nnx.eval_shape(lambda: models.TaskonomyHead(2, features_in=6, rngs=rngs()))
    with pytest.raises(ValueError, match="needs 6 features per code, but shape .* has 8"):
        head(jnp.zeros((1, 2, 4)))
