"""Taking features: the numbers, which layers of which networks, several devices, bounded memory, bad input."""

import functools
import json
import os
import subprocess
import sys
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("grain", reason="datasets need the nn extra")

import jaxsim
from jaxsim.vision import extraction, models
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.extraction import Preprocessing, extract, forward


def quick(make, seed=0):
    """What `make` gives, with NumPy's random weights: drawing them through a compiler takes seconds a shape."""
    graph, state = nnx.split(nnx.eval_shape(make))
    random = np.random.default_rng(seed)
    return nnx.merge(graph, jax.tree.map(lambda v: jnp.asarray(random.uniform(0.1, 0.5, v.shape), v.dtype), state))


def small(seed=0, **rest):
    return quick(lambda: models.SmallEncoder((4, 6), (2, 2), rngs=nnx.Rngs(0), **rest), seed)


@functools.cache
def resnet(variant):
    return quick(lambda: models.ResNet((1,), 2, variant=variant, rngs=nnx.Rngs(0)))


def picture(name, height=16, width=16):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (height, width, 3)).astype(np.uint8)


def made_up(count, image=picture):
    return Dataset("made up", tuple(f"p{k:03d}" for k in range(count)), image, {})


def images_of(dataset):
    return np.stack([dataset.image(name) for name in dataset.ids])


# Numbers


def test_a_folder_through_two_encoders_gives_what_they_give_of_arrays(tmp_path):
    for name in "cabdefg":
        Image.fromarray(picture(name)).save(tmp_path / f"{name}.png")
    encoders, told = {"one": small(1), "two": small(2)}, []
    out = extract(
        tmp_path, encoders, tmp_path / "out" / "features", batch=4, progress=lambda *counts: told.append(counts)
    )
    features, ids = jaxsim.read_features(out)
    assert ids == tuple(f"{name}.png" for name in "abcdefg")
    shown = np.stack([picture(name) for name in "abcdefg"]).astype(np.float32) / 255
    for name, encoder in encoders.items():
        assert isinstance(features[name], np.memmap)
        assert features[name].dtype == np.float32
        np.testing.assert_allclose(features[name], encoder(shown), rtol=1e-5)
    assert told == [(4, 7), (7, 7)]
    assert sorted(path.name for path in out.parent.iterdir()) == ["features"]
    assert sorted(path.name for path in out.iterdir()) == ["features.json", "image_ids.npy", "one.npy", "two.npy"]


@pytest.mark.parametrize("variant", ["torchvision", "taskonomy"])
def test_a_resnet_is_shown_its_own_preprocessing_and_taken_as_in_use(tmp_path, variant):
    data, network = made_up(3, functools.partial(picture, height=24, width=40)), nnx.clone(resnet(variant))
    shown = extraction.preprocessing_of("rgb2depth", network).at(32)
    network.train()
    out = extract(data, {"rgb2depth": network}, tmp_path / "f", layers=["block1", "code"], size=32, batch=2)
    assert not network.stem.norm.use_running_average
    assert network.stem.norm is not None
    framed = np.stack([shown.frame(image) for image in images_of(data)])
    expected = resnet(variant).layers(forward.prepare(shown, framed))
    features, _ = jaxsim.read_features(out)
    assert list(features) == ["rgb2depth.block1", "rgb2depth.code"]
    for name, found in features.items():
        np.testing.assert_allclose(found, expected[name.split(".")[1]], rtol=2e-4, atol=1e-4)
    told = json.loads((out / "features.json").read_text())["features"]["rgb2depth.code"]
    assert told["layer"] == "code"
    assert told["preprocessing"]["clip"] == ([0.1, 0.9] if variant == "taskonomy" else None)


def test_encoders_that_want_different_sizes_share_one_reading(tmp_path):
    read = []

    def image(name):
        read.append(name)
        return picture(name, 20, 28)

    encoders = {"a": small(1), "b": small(1), "c": small(1)}
    shown = {"a": extraction.UNIT.at(8), "b": extraction.UNIT.at((8, 12)), "c": extraction.TASKONOMY["denoise"].at(16)}
    data = made_up(5, image)
    features, _ = jaxsim.read_features(extract(data, encoders, tmp_path / "f", preprocessing=shown))
    assert {name: x.shape for name, x in features.items()} == {
        "a": (5, 2, 2, 6),
        "b": (5, 2, 3, 6),
        "c": (5, 4, 4, 6),
    }
    assert len(read) == 6  # the first one twice: once for its size
    for name, own in shown.items():
        framed = np.stack([own.frame(picture(name, 20, 28)) for name in data.ids])
        np.testing.assert_allclose(features[name], encoders[name](forward.prepare(own, framed)), rtol=1e-5, atol=1e-5)


def test_pooling_is_the_mean_over_positions(tmp_path):
    data, encoders = made_up(5), {"a": small(), "f": lambda x: {"tokens": x.reshape(len(x), -1, 3), "flat": x[:, 0, 0]}}
    layers = {"a": ["*"], "f": ["*"]}
    whole, _ = jaxsim.read_features(extract(data, encoders, tmp_path / "whole", layers=layers, batch=3))
    pooled, _ = jaxsim.read_features(extract(data, encoders, tmp_path / "pooled", layers=layers, batch=3, pool=True))
    for name, x in whole.items():
        expected = x.reshape(5, -1, x.shape[-1]).astype(float).mean(1)
        np.testing.assert_allclose(pooled[name], expected, rtol=1e-5)
    assert pooled["f.flat"].shape == (5, 3)


def test_one_program_serves_all_batches_and_encoders_of_one_shape(tmp_path):
    before = forward._features._cache_size()
    extract(made_up(9), {"a": small(1), "b": small(2)}, tmp_path / "f", batch=4, size=12)
    extract(made_up(6), {"c": small(3)}, tmp_path / "g", batch=4, size=12)
    assert forward._features._cache_size() == before + 1


@pytest.mark.slow
def test_the_built_in_world_sees_what_it_was_trained_on(tmp_path):
    from jaxsim.studies.rooms import encoders

    shipped = {name: encoder for name, encoder in encoders.shipped().items() if name in ("colorization", "edge2d")}
    data = made_up(3, functools.partial(picture, height=32, width=32))
    out = extract(data, shipped, tmp_path / "f", preprocessing={"colorization": "gray"})
    features, _ = jaxsim.read_features(out)
    for name, expected in encoders.features(shipped, images_of(data)).items():
        np.testing.assert_allclose(features[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_functions_take_part(tmp_path, compiled):
    def moments(x):
        return {"mean": x.mean((1, 2)), "square": (x * x).mean((1, 2))}

    data = made_up(5)
    encoder = jax.jit(moments) if compiled else moments
    out = extract(data, {"f": encoder}, tmp_path / "f", layers=["square"], preprocessing={"f": "imagenet"}, size=14)
    framed = np.stack([extraction.IMAGENET.at(14).frame(image) for image in images_of(data)])
    shown = np.asarray(forward.prepare(extraction.IMAGENET.at(14), framed), float)
    features, _ = jaxsim.read_features(out)
    np.testing.assert_allclose(features["f"], (shown**2).mean((1, 2)), rtol=1e-5)
    assert "moments" in json.loads((out / "features.json").read_text())["features"]["f"]["weights"]


def test_networks_of_pytorch_take_part(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(5, 4, 1)).eval()
    kept = torch.zeros(2, 5, 7, 7)

    def layers(batch):
        x = network[:2](torch.from_dlpack(batch).permute(0, 3, 1, 2))
        kept.copy_(x.detach())  # memory that the next batch overwrites
        return {"relu": kept.permute(0, 2, 3, 1), "out": network[2](x).permute(0, 2, 3, 1)}

    data = made_up(5)
    out = extract(data, {"torch": layers}, tmp_path / "f", layers=["*"], batch=2)
    features, _ = jaxsim.read_features(out)
    with torch.no_grad():
        x = torch.tensor(images_of(data)).permute(0, 3, 1, 2) / 255
        expected = {"torch.relu": network[:2](x), "torch.out": network(x)}
    for name, values in expected.items():
        np.testing.assert_allclose(features[name], values.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


TWO_DEVICES = """
import sys; sys.path.insert(0, {tests!r})
import jax, numpy as np
from test_extraction import made_up, small, resnet, extract
from jaxsim.vision.extraction import forward
seen = []
def shares(x):
    return {{"code": x.mean((1, 2))}}
def one_device(x):
    seen.append(len(x.sharding.device_set))
    return {{"code": np.asarray(x).mean((1, 2))}}
encoders = {{"a": small(), "denoise": resnet("taskonomy"), "jitted": jax.jit(shares), "plain": one_device}}
extract(made_up(7), encoders, {out!r}, size=16, batch=3)
x = jax.device_put(np.zeros((4, 8, 8, 3), np.float32), forward.over_devices()[0])
spread = forward.ready("a", small(), forward.Preprocessing(), np.zeros((8, 8, 3), np.uint8), 4, (), False).run(x)
print(jax.device_count(), len(spread["conv2"].sharding.device_set), set(seen))
"""


@pytest.mark.slow
def test_two_devices_give_the_same_numbers(tmp_path):
    here = os.path.dirname(os.path.abspath(__file__))
    xla = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    flags = os.environ | {"XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"}
    code = TWO_DEVICES.format(tests=here, out=str(tmp_path / "two"))
    done = subprocess.run([sys.executable, "-c", code], env=flags, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["2", "2", "{1}"], done.stderr
    features, ids = jaxsim.read_features(tmp_path / "two")
    encoders = {"a": small(), "denoise": resnet("taskonomy")}
    alone, alone_ids = jaxsim.read_features(extract(made_up(7), encoders, tmp_path / "one", size=16, batch=3))
    assert ids == alone_ids
    for name, x in alone.items():
        np.testing.assert_allclose(features[name], x, rtol=1e-5, atol=1e-6)
    means = images_of(made_up(7)).mean((1, 2)) / 255
    for name in ("jitted", "plain"):
        np.testing.assert_allclose(features[name], means, rtol=1e-5)


def test_every_product_is_of_the_highest_precision():
    encoder = quick(lambda: models.SmallEncoder((4,), (1,), precision=None, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(encoder)
    program = jax.make_jaxpr(functools.partial(forward._features, graph), static_argnums=(1, 2))
    text = str(program(state, ("conv1",), False, jnp.zeros((1, 8, 8, 3))))
    assert "conv_general_dilated" in text
    assert "HIGHEST" in text


# Memory


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    def wide(x):
        return {"all": np.repeat(np.asarray(x).reshape(len(x), 1, -1), 8, 1)}

    def peak(count):
        tracemalloc.start()
        extract(made_up(count, lambda name: picture(name, 32, 32)), {"f": wide}, tmp_path / f"{count}", batch=4)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(8)
    a_picture, a_row = 32 * 32 * 3, 8 * 32 * 32 * 3 * 4
    most = peak(200)
    assert most < (2 * 4 + 3) * 4 * 2 * a_picture + 5 * 4 * a_row + 2**20
    assert most < 200 * a_row / 4


# Bad input


def refused(error, match, tmp_path, *arguments, **rest):
    with pytest.raises(error, match=match):
        extract(*arguments, tmp_path / "out", **rest)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def at_odds(x):
    raise ValueError("Encoder and decoder disagree")


def not_of_arrays(x):
    return [x]


def too_few(x):
    return {"code": x[:1, 0, 0]}


def of_text(x):
    return {"code": np.array([["a"]] * len(x))}


@pytest.mark.parametrize(
    ("encoders", "error", "match"),
    [
        ({}, ValueError, "there are no encoders"),
        ({"a": 3}, TypeError, "encoder 'a' has type int; it must be a network or a function"),
        ({"a": not_of_arrays}, TypeError, "encoder 'a' returned a list, not arrays by layer name"),
        ({"a": at_odds}, ValueError, "encoder 'a' does not accept pictures of .*: Encoder and decoder disagree"),
        ({"a": too_few}, ValueError, "encoder 'a' returned layer 'code' of shape .1, 3. for 3 pictures"),
        ({"a": of_text}, ValueError, "encoder 'a' does not accept .*they must be real numbers"),
        ({"a": lambda x: {"x": x}, "a/b": lambda x: {"x": x}}, ValueError, "'a/b', .* cannot be a file name"),
        ({"a": lambda x: {"b.c": x, "d": x}, "a.b": lambda x: {"c": x, "d": x}}, ValueError, "the name 'a.b.c'"),
    ],
)
def test_encoders_that_are_none(tmp_path, encoders, error, match):
    refused(error, match, tmp_path, made_up(3), encoders, layers=["*"])


def test_unknown_layers_are_told_with_those_there_are(tmp_path):
    encoders = {"a": small()}
    match = r"encoder 'a' has no layer 'conv9'; it has conv1, conv2"
    refused(ValueError, match, tmp_path, made_up(3), encoders, layers=["conv1", "conv9"])
    refused(ValueError, match, tmp_path, made_up(3), encoders, layers={"a": ["conv9"]})
    refused(TypeError, "must be a list of names, not the text 'conv1'", tmp_path, made_up(3), encoders, layers="conv1")


def test_wrong_channels_are_told(tmp_path):
    match = r"encoder 'a' does not accept pictures of 16 x 16 x 3: .* shape \(b, h, w, 1\)"
    refused(ValueError, match, tmp_path, made_up(3), {"a": small(channels_in=1)})
    shown = {"a": "colorization"}
    match = r"encoder 'a' does not accept pictures of 8 x 8 x 1"
    refused(ValueError, match, tmp_path, made_up(3), {"a": small()}, preprocessing=shown, size=8)


def test_sizes_that_differ_need_a_size(tmp_path):
    def image(name):
        return picture(name, 16, 20 if name == "p005" else 16)

    match = "'p005' has 16 x 20 pixels, but the first one has 16 x 16; give a size"
    refused(ValueError, match, tmp_path, made_up(6, image), {"a": small()}, batch=8)
    with pytest.raises(ValueError, match=match + r"\. 4 of 6 pictures are done and kept in .*out.part"):
        extract(made_up(6, image), {"a": small()}, tmp_path / "out", batch=2)


def test_pictures_and_settings_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(ValueError, "empty has no pictures", tmp_path, tmp_path / "empty", {"a": small()})
    refused(FileNotFoundError, "absent does not exist", tmp_path, tmp_path / "absent", {"a": small()})
    refused(ValueError, "has no pictures to extract features from", tmp_path, made_up(0), {"a": small()})
    refused(ValueError, "batch must be a whole number from 1", tmp_path, made_up(3), {"a": small()}, batch=2.5)
    match = "a preprocessing is given for 'b'; the encoders are a"
    refused(ValueError, match, tmp_path, made_up(3), {"a": small()}, preprocessing={"b": "unit"})
    refused(ValueError, "layers are given for 'b'", tmp_path, made_up(3), {"a": small()}, layers={"b": ["conv1"]})
    refused(ValueError, "no preprocessing 'odd'", tmp_path, made_up(3), {"a": small()}, preprocessing={"a": "odd"})
    match = "needs square pictures, not 8 x 9"
    shown = {"a": Preprocessing(extraction.Square())}
    refused(ValueError, match, tmp_path, made_up(3), {"a": small()}, preprocessing=shown, size=(8, 9))


def test_a_function_that_changes_its_mind_is_told(tmp_path):
    calls = []

    def fickle(x):
        calls.append(len(x))
        return {"other" if len(calls) == 4 else "code": x[:, 0, 0]}

    with pytest.raises(ValueError, match=r"'code' for one batch but not for another\. 4 of 6 pictures are done"):
        extract(made_up(6), {"a": fickle}, tmp_path / "out", batch=2)


def test_too_large_a_batch_is_told_and_other_faults_of_the_device_are_raised(tmp_path):
    def of(text):
        calls = []

        def failing(x):
            calls.append(len(x))
            if len(calls) > 2:
                raise jax.errors.JaxRuntimeError(text)
            return {"code": x[:, 0, 0]}

        return failing

    match = r"A batch of 2 does not fit in the device's memory; give a smaller one\. 2 of 6 pictures are done"
    with pytest.raises(ValueError, match=match):
        extract(made_up(6), {"a": of("RESOURCE_EXHAUSTED: Out of memory")}, tmp_path / "out", batch=2)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        extract(made_up(6), {"a": of("INTERNAL: a fault")}, tmp_path / "more", batch=2)
