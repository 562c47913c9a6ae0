"""Networks: shapes, layers, precision, and weights that survive a file or are refused."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from machine import full_disk

nnx = pytest.importorskip("flax.nnx")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

from jaxsim.vision import models
from jaxsim.vision.models.weights import HEADER, WHOLE, variables


def rngs(seed=0):
    return nnx.Rngs(seed)


def quick(make):
    """What `make` gives, with NumPy's random weights: drawing them through a compiler takes seconds a shape."""
    graph, state = nnx.split(nnx.eval_shape(make))
    random = np.random.default_rng(0)
    return nnx.merge(graph, jax.tree.map(lambda v: jnp.asarray(random.normal(0, 0.1, v.shape), v.dtype), state))


@functools.cache
def small():
    return quick(lambda: models.SmallEncoder(rngs=rngs()))


IMAGES = jax.random.uniform(jax.random.key(3), (2, 32, 32, 3))
CODE = jax.random.normal(jax.random.key(4), (2, 4, 4, 8))


@pytest.mark.parametrize(
    ("name", "side", "code"),
    [
        ("tiny", 64, 8),
        ("small", 64, 8),
        ("paper", 256, 16),
        ("wide", 64, 8),
        ("deep", 64, 8),
        ("large", 64, 8),
        ("small", 36, 5),
    ],
)
def test_code_shapes(name, side, code):
    encoder = nnx.eval_shape(lambda: models.SmallEncoder.named(name, rngs=rngs()))
    out = nnx.eval_shape(lambda e, x: e(x), encoder, jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32))
    assert out.shape == (2, code, code, 8)


def test_tiny_is_half_of_small_within():
    tiny, paper = models.SIZES["tiny"], models.SIZES["small"]
    assert [2 * width for width in tiny["widths"][:-1]] == list(paper["widths"][:-1])
    assert tiny["widths"][-1] == paper["widths"][-1]
    assert tiny["strides"] == paper["strides"]


def test_layers_are_every_intermediate_and_end_in_the_code():
    encoder = small()
    layers = encoder.layers(IMAGES)
    assert list(layers) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [v.shape[1:] for v in layers.values()] == [(16, 16, 16), (8, 8, 32), (4, 4, 64), (4, 4, 64), (4, 4, 8)]
    np.testing.assert_array_equal(layers["conv5"], encoder(IMAGES))
    assert min(float(layers[f"conv{i}"].min()) for i in range(1, 5)) == 0
    assert float(layers["conv5"].min()) < 0


def test_first_layer_against_a_plain_loop():
    encoder = small()
    conv = encoder.convolutions["conv1"]
    kernel, bias = np.asarray(conv.kernel[...], np.float64), np.asarray(conv.bias[...], np.float64)
    padded = np.pad(np.asarray(IMAGES, np.float64), ((0, 0), (0, 1), (0, 1), (0, 0)))  # SAME at stride 2, even side
    expected = np.zeros((2, 16, 16, 16))
    for i in range(16):
        for j in range(16):
            expected[:, i, j] = np.tensordot(padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], kernel, 3) + bias
    np.testing.assert_allclose(encoder.layers(IMAGES)["conv1"], np.maximum(expected, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("decoder", "shape"),
    [
        (lambda: models.SmallDecoder(3, rngs=rngs()), (2, 32, 32, 3)),
        (lambda: models.SmallDecoder(1, 1, rngs=rngs()), (2, 8, 8, 1)),
        (lambda: models.SmallDecoder(2, 4, widths=(32, 16, 4, 4), rngs=rngs()), (2, 64, 64, 2)),
        (lambda: models.SmallDecoder(2, 0, rngs=rngs()), (2, 4, 4, 2)),
        (lambda: models.VectorHead(7, features_in=128, rngs=rngs()), (2, 7)),
        (lambda: models.AsppDecoder(5, rngs=rngs()), (2, 32, 32, 5)),
        (lambda: models.AsppDecoder(5, rates=(6, 12), scale=4, rngs=rngs()), (2, 16, 16, 5)),
    ],
)
def test_decoders(decoder, shape):
    graph, state = nnx.split(quick(decoder))
    out = np.asarray(jax.jit(lambda state, code: nnx.merge(graph, state)(code))(state, CODE))
    assert out.shape == shape
    assert len(np.unique(out)) > 5


@pytest.mark.parametrize("shape", [(2, 4, 4, 8), (1, 1, 3, 5)])
def test_a_convolution_of_doubled_images_needs_no_doubled_images(shape):
    from jaxsim.vision.models.decoders import on_doubled

    layer = models.decoders.convolution(shape[-1], 3, precision=jax.lax.Precision.HIGHEST, rngs=rngs())
    layer.bias[...] = jnp.arange(3.0)
    x = jax.random.normal(jax.random.key(1), shape)
    large = np.pad(np.asarray(x, np.float64).repeat(2, 1).repeat(2, 2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(large, (3, 3), axis=(1, 2))
    expected = np.einsum("bhwcij,ijck->bhwk", windows, np.asarray(layer.kernel[...], np.float64)) + np.arange(3)
    np.testing.assert_allclose(on_doubled(layer, x), expected, atol=2e-6)


def precisions(jaxpr):
    """Precisions of all contractions in a jaxpr and those within."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation.params["precision"]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "jaxpr")):
            if hasattr(value, "jaxpr"):
                yield from precisions(value.jaxpr)
            elif hasattr(value, "eqns"):
                yield from precisions(value)


@pytest.mark.parametrize(
    "decoder",
    [
        lambda: models.SmallDecoder(3, rngs=rngs()),
        lambda: models.VectorHead(7, features_in=128, rngs=rngs()),
        lambda: models.AsppDecoder(5, rngs=rngs()),
    ],
    ids=["small", "vector", "aspp"],
)
def test_every_contraction_asks_for_full_precision(decoder):
    network = models.Network(small(), quick(decoder))
    graph, state = nnx.split(network)

    def loss(state):
        return jnp.sum(nnx.merge(graph, state)(IMAGES) ** 2)

    found = list(precisions(jax.make_jaxpr(jax.grad(loss))(state).jaxpr))
    assert len(found) > 10
    assert all(p is not None and set(p) == {jax.lax.Precision.HIGHEST} for p in found)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.SmallEncoder((4, 4), (1,), rngs=rngs()), r"\(4, 4\).*\(1,\)"),
        (lambda: models.SmallEncoder((4, 0), (1, 1), rngs=rngs()), "positive"),
        (lambda: models.SmallEncoder.named("huge", rngs=rngs()), "'huge'.*small"),
        (lambda: models.SmallDecoder(1, 5, rngs=rngs()), "5 upsamplings"),
        (lambda: quick(lambda: models.SmallDecoder(1, rngs=rngs()))(CODE[..., :3]), r"\(b, h, w, 8\).*\(2, 4, 4, 3\)"),
        (lambda: small()(IMAGES[0]), r"\(b, h, w, 3\).*\(32, 32, 3\)"),
        (lambda: quick(lambda: models.VectorHead(2, rngs=rngs()))(CODE), "512 features.*128"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    encoders = {
        "normals": quick(lambda: models.SmallEncoder((4, 8), (2, 1), rngs=rngs())),
        "depth": quick(lambda: models.SmallEncoder((4,) * 11, (2,) + (1,) * 10, rngs=rngs())),
    }
    path = models.to_safetensors(encoders, tmp_path_factory.mktemp("weights") / "e.safetensors", {"steps": 5})
    return encoders, path.read_bytes()


@pytest.fixture
def saved(written, tmp_path):
    path = tmp_path / "e.safetensors"
    path.write_bytes(written[1])
    return written[0], path


def test_weights_come_back_bit_for_bit(saved, tmp_path):
    encoders, path = saved
    read = models.from_safetensors(path)
    assert list(read) == ["normals", "depth"]
    assert models.safetensors_metadata(path) == {"steps": 5}
    for name, encoder in encoders.items():
        np.testing.assert_array_equal(encoder(IMAGES), read[name](IMAGES))
        assert read[name].configuration == encoder.configuration
    again = models.to_safetensors(read, tmp_path / "again.safetensors", {"steps": 5})
    assert again.read_bytes() == path.read_bytes()
    assert "normals/conv1/kernel" in safetensors_numpy.load_file(path)


def change(path, edit):
    """Rewrite the file after `edit(arrays, header)`."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()[HEADER])
    del header[WHOLE]
    arrays = {name: np.array(values) for name, values in safetensors_numpy.load_file(path).items()}
    edit(arrays, header)
    safetensors_numpy.save_file(arrays, path, {HEADER: json.dumps(header)})


KERNEL = "depth/conv3/kernel"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda a, h: a.pop(KERNEL), f"has no array '{KERNEL}'"),
        (lambda a, h: a.update({"depth/conv99/kernel": a[KERNEL]}), "array 'depth/conv99/kernel' that belongs to none"),
        (lambda a, h: a.update({KERNEL: a[KERNEL][1:].copy()}), rf"'{KERNEL}' has shape \(2, 3, 4, 4\)"),
        (lambda a, h: a.update({KERNEL: a[KERNEL].astype(np.float16)}), f"'{KERNEL}' has type float16"),
        (lambda a, h: a[KERNEL].ravel().__setitem__(0, 9), f"array '{KERNEL}' differs from its checksum"),
        (lambda a, h: h["sha256"].update({KERNEL: "0" * 64}), f"array '{KERNEL}' differs from its checksum"),
        (lambda a, h: h["sha256"].pop(KERNEL), f"array '{KERNEL}' differs from its checksum"),
        (lambda a, h: h["encoders"]["depth"].update(widths=[3]), "does not describe encoders"),
        (lambda a, h: h.pop("encoders"), "does not describe encoders"),
    ],
)
def test_a_changed_file_is_refused_by_name(saved, edit, words):
    _, path = saved
    change(path, edit)
    with pytest.raises(ValueError, match=words) as caught:
        models.from_safetensors(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("where", [3, 40, -5])
def test_a_flipped_byte_is_refused(saved, where):
    _, path = saved
    data = bytearray(path.read_bytes())
    data[where] ^= 64
    path.write_bytes(data)
    with pytest.raises(ValueError, match="e.safetensors"):
        models.from_safetensors(path)


def test_a_flipped_byte_of_the_header_is_refused_wherever_it_is(saved):
    _, path = saved
    whole = path.read_bytes()
    text = whole.index(b'\\"encoders')
    places = [*range(text, text + 400, 3), whole.index(b'steps\\": 5') + 9, whole.index(WHOLE.encode())]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match="e.safetensors"):
            models.safetensors_metadata(path)


def test_encoders_written_before_headers_had_a_checksum_are_read(saved):
    encoders, path = saved
    change(path, lambda arrays, header: None)
    assert list(models.from_safetensors(path)) == list(encoders)


def test_a_full_disk_keeps_the_file_that_was_there(saved):
    encoders, path = saved
    whole = path.read_bytes()
    with full_disk(2000), pytest.raises(OSError, match=r"e\.safetensors could not be written: file too large\.$"):
        models.to_safetensors(encoders, path, overwrite=True)
    assert [p.name for p in path.parent.iterdir()] == ["e.safetensors"]
    assert path.read_bytes() == whole


def test_weights_that_are_not_finite_are_refused(tmp_path):
    encoder = quick(lambda: models.SmallEncoder((4,), (2,), rngs=rngs()))
    kernel = variables(encoder)["conv1/kernel"]
    kernel.set_value(kernel[...].at[0, 0].set(jnp.nan))
    path = models.to_safetensors({"depth": encoder}, tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match="e.safetensors: array 'depth/conv1/kernel' has values that are not finite"):
        models.from_safetensors(path)


def test_truncated_absent_foreign_and_existing_files(saved, tmp_path):
    encoders, path = saved
    with pytest.raises(FileExistsError):
        models.to_safetensors(encoders, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="damaged"):
        models.from_safetensors(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.from_safetensors(tmp_path / "nowhere.safetensors")
    with pytest.raises(FileNotFoundError, match="does not exist or is not a file"):
        models.from_safetensors(tmp_path)
    safetensors_numpy.save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no jaxsim encoders"):
        models.from_safetensors(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("encoders", "error"),
    [
        ({}, ValueError),
        ({"a/b": small()}, ValueError),
        ({"a": quick(lambda: models.VectorHead(2, rngs=rngs()))}, TypeError),
    ],
    ids=["none", "slash", "not an encoder"],
)
def test_what_is_not_written_leaves_no_file(tmp_path, encoders, error):
    with pytest.raises(error):
        models.to_safetensors(encoders, tmp_path / "e.safetensors")
    assert list(tmp_path.iterdir()) == []
