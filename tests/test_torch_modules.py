"""Features of networks of PyTorch, by hooks: numbers, names, kinds of batches and outputs, folders, bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jaxsim as js
from jaxsim import inputs
from jaxsim.vision import modules

pytestmark = pytest.mark.usefixtures("one_thread")
X = np.random.default_rng(0).normal(size=(7, 3, 8, 6)).astype(np.float32)
IMAGES = torch.tensor(X)


class Small(torch.nn.Module):
    """Two blocks, whose activation works in place and serves twice, and a head that keeps a tuple of states."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.layer1 = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5))
        self.layer2 = nn.Sequential(nn.Conv2d(5, 4, 3, stride=2), nn.Dropout(0.5))
        self.relu = nn.ReLU(inplace=True)
        self.memory = nn.GRU(4, 6, batch_first=True)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.relu(self.layer2(self.relu(self.layer1(x))))
        return self.memory(x.flatten(2).transpose(1, 2))[0]


def small(seed=0):
    torch.manual_seed(seed)
    return Small()


def expected(network):
    """Outputs of the blocks, by hand."""
    with torch.no_grad():
        copy = small()
        copy.load_state_dict(network.state_dict())
        copy.eval()
        first = copy.layer1(IMAGES)
        second = copy.layer2(first.relu())
        states, last = copy.memory(second.relu().flatten(2).transpose(1, 2))
    return {"layer1": first, "layer2": second, "memory[0]": states, "memory[1]": last}


def last(x):
    """Channels last."""
    return np.moveaxis(x.numpy(), 1, -1)


# Numbers


def test_outputs_are_those_of_the_layers_before_others_change_them_in_place():
    network, right = small(), expected(small())
    found = modules.features(network, IMAGES, "layer*", batch=3)
    assert list(found) == ["layer1", "layer2"]
    for name, x in found.items():
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, last(right[name]), atol=1e-6)
    assert (found["layer1"] < 0).any()


def test_a_network_is_left_as_it_was():
    network = small().train()
    network.layer1.eval()
    flags = {name: one.training for name, one in network.named_modules()}
    before = {name: x.clone() for name, x in network.state_dict().items()}
    found = modules.features(network, IMAGES, "layer2")
    np.testing.assert_allclose(found["layer2"], last(expected(network)["layer2"]), atol=1e-6)
    assert {name: one.training for name, one in network.named_modules()} == flags
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert not any(one._forward_hooks for one in network.modules())
    with pytest.raises(ValueError, match="does not accept"):
        modules.features(network, IMAGES[:, :2], "layer2")
    assert {name: one.training for name, one in network.named_modules()} == flags
    assert not any(one._forward_hooks for one in network.modules())
    network(IMAGES).sum().backward()  # nothing of inference mode is left


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA in PyTorch")
def test_a_network_on_a_gpu_stays_there():
    network = small()
    right = modules.features(network, IMAGES, "layer*")
    network.to("cuda")
    for name, x in modules.features(network, IMAGES, "layer*").items():
        np.testing.assert_allclose(x, right[name], atol=5e-3)  # PyTorch's TensorFloat-32 stays as it is set
    assert next(network.parameters()).is_cuda


def test_pooling():
    right = expected(small())
    mean = modules.features(small(), IMAGES, ["layer1", "memory[0]"], pool="mean", batch=4)
    np.testing.assert_allclose(mean["layer1"], right["layer1"].mean((2, 3)), atol=1e-6)
    np.testing.assert_allclose(mean["memory[0]"], right["memory[0]"].mean(1), atol=1e-6)
    first = modules.features(small(), IMAGES, "memory[0]", pool="first", call=lambda model, x: model(x))["memory[0]"]
    np.testing.assert_allclose(first, right["memory[0]"][:, 0], atol=1e-6)
    own = modules.features(small(), IMAGES, "layer1", pool=lambda x: x.amax((2, 3)))["layer1"]
    np.testing.assert_allclose(own, right["layer1"].amax((2, 3)), atol=1e-6)


def test_channels_of_outputs_may_be_said():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Flatten(2), torch.nn.Conv1d(2, 5, 1))
    found = modules.features(network, IMAGES, "2", pool="mean", channels={"2": "first"})
    assert found["2"].shape == (7, 5)
    network = torch.nn.Sequential(torch.nn.Identity())
    square = torch.zeros(2, 4, 4, 9)
    with pytest.raises(
        ValueError, match="'0' returns 2 x 4 x 4 x 9, and its channels seem to be last; pass channels='la"
    ):
        modules.features(network, square, "*")
    assert modules.features(network, square, "*", channels="last", pool="mean")["0"].shape == (2, 9)
    assert modules.features(network, square, "*", channels="first", pool="mean")["0"].shape == (2, 4)


class Unsupported(torch.nn.Module):
    """Layers whose outputs are dicts, tuples with a None, and no arrays at all."""

    class Of(torch.nn.Module):
        def __init__(self, make):
            super().__init__()
            self.make = make

        def forward(self, x):
            return self.make(x)

    def __init__(self):
        super().__init__()
        self.both = self.Of(lambda x: {"a": x + 1, "b": (x + 2, None)})
        self.alone = self.Of(lambda x: (x + 3, None))
        self.none = self.Of(lambda x: None)
        self.turned = self.Of(lambda x: x.transpose(0, 1))

    def forward(self, x):
        self.both(x), self.alone(x), self.none(x), self.turned(x)


def test_each_call_and_each_array_of_a_layer_has_a_name():
    found = modules.features(small(), IMAGES, ["relu", "memory[0]"])
    assert {name: x.shape for name, x in found.items()} == {
        "relu#1": (7, 8, 6, 5),
        "relu#2": (7, 3, 2, 4),
        "memory[0]": (7, 6, 6),
    }
    x = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    found = modules.features(Unsupported(), x, ["both", "alone"])
    assert {name: float((y - x)[0, 0]) for name, y in found.items()} == {"both[a]": 1, "both[b][0]": 2, "alone": 3}
    assert list(modules.features(Unsupported(), x, "both[b*")) == ["both[b][0]"]


def test_outputs_that_are_no_features_are_told():
    x = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match=r"layer 'both' has no output '\[c\]'; it has \[a\], \[b\]\[0\]"):
        modules.features(Unsupported(), x, "both[c]")
    with pytest.raises(ValueError, match="layer 'none' returns a NoneType without an array; name a layer in"):
        modules.features(Unsupported(), x, "none")
    with pytest.raises(
        ValueError, match=r"layer 'turned' of the network returns an array of shape \(3, 4\) for 4 images; p"
    ):
        modules.features(Unsupported(), x, "turned")
    assert modules.features(Unsupported(), x, "turned", pool=lambda x: x.T)["turned"].shape == (4, 3)
    match = r"'memory\[1\]' of the network returns .* \(1, 7, 6\) for 7 images; name .* as 'layer\[0\]'"
    with pytest.raises(ValueError, match=match):
        modules.features(small(), IMAGES, "memory")
    with pytest.raises(ValueError, match=r"'layer1' returns 7 x 5 x 8 x 6, not tokens \(b, tokens, c\)"):
        modules.features(small(), IMAGES, "layer1", pool="first")
    with pytest.raises(ValueError, match="layer 'unused' was not called in the network's forward pass"):
        modules.features(small(), IMAGES, ["layer1", "unused"])


def test_networks_of_half_precision_and_of_wide_numbers_give_float32():
    network = torch.nn.Sequential(torch.nn.Linear(4, 3))
    x = torch.randn(5, 4)
    right = network(x).detach().numpy()
    for kind, tolerance in ((torch.float64, 1e-6), (torch.bfloat16, 0.05)):
        found = modules.features(network.to(kind), x, "0")["0"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, right, atol=tolerance)


# Layers


def test_a_star_stops_at_dots():
    found = modules.features(small(), IMAGES, ["layer1.*", "layer?"])
    assert list(found) == ["layer1.0", "layer1.1", "layer1", "layer2"]
    found = modules.features(torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.ReLU()), IMAGES, "*")
    assert list(found) == ["0", "1"]


def test_a_pattern_that_matches_everything_is_warned_of():
    network = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)), torch.nn.ReLU())
    match = r"layers \*\* of the network match all its 3 modules, including modules that contain others; name .* as '0'"
    with pytest.warns(UserWarning, match=match):
        assert list(modules.features(network, IMAGES, "**")) == ["0.0", "0", "1"]


def test_layers_that_match_nothing_are_told_with_those_there_are():
    names = "layer1, layer1.0, layer1.1, layer2, layer2.0, layer2.1, relu, memory, unused"
    with pytest.raises(ValueError, match=re.escape(f"network has no layer 'block*'; it has {names} (** matches")):
        modules.features(small(), IMAGES, "block*")
    with pytest.raises(ValueError, match="network 'a' has no layer 'layer3'; did you mean layer"):
        modules.features({"a": small()}, IMAGES, ["layer1", "layer3"])
    with pytest.raises(ValueError, match="no layers were given; pass a name or pattern"):
        modules.features(small(), IMAGES, [])
    with pytest.raises(ValueError, match="layers of 'b': give layers for exactly the networks a"):
        modules.features({"a": small()}, IMAGES, {"a": "layer1", "b": "layer1"})


# Batches


class Pictures(torch.utils.data.Dataset):
    def __init__(self, of):
        self.of = of

    def __len__(self):
        return 7

    def __getitem__(self, k):
        return self.of(IMAGES[k], k)


LOADER = torch.utils.data.DataLoader


@pytest.mark.parametrize(
    "images",
    [
        X,
        IMAGES,
        {"x": IMAGES, "labels": torch.arange(7), "note": "text"},
        {"pixels": IMAGES},
        [IMAGES[:3], IMAGES[3:]],
        [(X[:3], None), (X[3:], None)],
        Pictures(lambda x, k: x),
        LOADER(Pictures(lambda x, k: x), 3),
        LOADER(Pictures(lambda x, k: (x, k)), 3),
        LOADER(Pictures(lambda x, k: {"image": x, "label": k, "path": str(k)}), 3),
        LOADER(torch.utils.data.TensorDataset(IMAGES), 3),
    ],
)
def test_images_of_many_kinds(images):
    right = modules.features(small(), IMAGES, "layer*", pool="mean")
    found = modules.features(small(), images, "layer*", pool="mean")
    for name, x in right.items():
        np.testing.assert_allclose(found[name], x, atol=1e-6)


def test_a_stream_and_progress():
    told = []
    found = modules.features(
        small(), (x[None] for x in IMAGES), "layer2", progress=lambda done, count: told.append((done, count))
    )
    assert found["layer2"].shape[0] == 7
    assert told == [(k, None) for k in range(1, 8)]
    modules.features(small(), IMAGES, "layer2", batch=5, progress=lambda done, count: told.append((done, count)))
    assert told[-2:] == [(5, 7), (7, 7)]


def test_call_says_how_a_network_is_run():
    def call(network, batch):
        return network(batch["picture"] * 2)

    right = modules.features(small(), IMAGES * 2, "layer1")["layer1"]
    found = modules.features(small(), {"picture": IMAGES, "age": torch.ones(7)}, "layer1", call=call)["layer1"]
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        ("folder", TypeError, "must be arrays or batches, not 'folder'; to read folders, use jaxsim.vision.extraction"),
        (3, TypeError, "images have type int; give an array"),
        (["a"], TypeError, "a batch contains a str; an array of images"),
        ([], ValueError, "there were 0 images"),
        (IMAGES[:0], ValueError, "there were 0 images"),
        (LOADER(Pictures(lambda x, k: x), 3, shuffle=True), ValueError, "the loader shuffles, .* shuffle=False"),
        ({"picture": IMAGES, "age": torch.ones(7)}, ValueError, "dicts of picture, age, but the network takes x; pass"),
        (
            {"x": IMAGES, "age": torch.ones(3)},
            ValueError,
            r"arrays of the same length; the dict has x \(7, 3, 8, 6\), age \(3",
        ),
        ({"x": "text"}, ValueError, "the dict has no arrays"),
        (IMAGES[:, :2], ValueError, "the network does not accept a batch of 7 x 2 x 8 x 6: .*channels"),
        ([IMAGES, IMAGES[:, :, :4]], ValueError, "features of shape .8, 6, 5., and later of .4, 6, 5."),
    ],
)
def test_images_that_are_none(images, error, match):
    with pytest.raises(error, match=match):
        modules.features(small(), images, "layer1")


def test_settings_that_are_none():
    with pytest.raises(ValueError, match='pool is \'max\'; give None, "mean", "first" or a function'):
        modules.features(small(), IMAGES, "layer1", pool="max")
    with pytest.raises(ValueError, match="channels are 'middle'; give"):
        modules.features(small(), IMAGES, "layer1", channels={"layer1": "middle"})
    with pytest.raises(ValueError, match="6 ids given for 7 images"):
        modules.features(small(), IMAGES, "layer1", ids=range(6))
    with pytest.raises(ValueError, match="batch must be a whole number from 1"):
        modules.features(small(), IMAGES, "layer1", batch=0)
    with pytest.raises(TypeError, match="network 'a' has type int; give a torch.nn.Module, an nnx.Module or a bound"):
        modules.features({"a": 3}, IMAGES, "layer1")
    with pytest.raises(ValueError, match="no networks were given"):
        modules.features({}, IMAGES, "layer1")
    with pytest.raises(ValueError, match="device 'meta' and has no weights"):
        modules.features(small().to("meta"), IMAGES, "layer1")
    with pytest.raises(ValueError, match="pool returns a int for layer 'layer1'"):
        modules.features(small(), IMAGES, "layer1", pool=len)


# Several networks, folders


def test_several_networks_go_on_to_scores_and_calibration():
    networks = {"one": small(1), "two": small(2)}
    found = modules.features(networks, IMAGES, {"one": ["layer1", "layer2"], "two": "layer*"}, pool="mean")
    assert list(found) == ["one.layer1", "one.layer2", "two.layer1", "two.layer2"]
    for name, network in networks.items():
        np.testing.assert_allclose(found[f"{name}.layer1"], expected(network)["layer1"].mean((2, 3)), atol=1e-6)
    assert inputs.networks(found).names == tuple(found)


@pytest.mark.slow
def test_features_go_to_scores_and_calibration():
    found = modules.features({"one": small(1), "two": small(2)}, IMAGES, "layer*", pool="mean")
    assert js.affinity(found, "cka").names == tuple(found)
    calibrated = js.calibrate(found, "cka", layers_of=lambda name: name.split(".")[0], n_permutations=19)
    assert calibrated.networks == ("one", "two")


@pytest.fixture
def needs_extraction():
    pytest.importorskip("flax", reason="folders need the nn extra")
    pytest.importorskip("google_crc32c", reason="folders need the nn extra")


@pytest.mark.usefixtures("needs_extraction")
def test_a_folder_holds_the_same_with_ids(tmp_path):
    networks, ids = {"one": small(1), "two": small(2)}, [f"p{k}" for k in range(7)]
    loader = LOADER(torch.utils.data.TensorDataset(IMAGES), 3)
    right = modules.features(networks, loader, "layer*")
    found = modules.features(networks, loader, "layer*", ids=ids, out=tmp_path / "f")
    read, read_ids = js.read_features(tmp_path / "f")
    assert read_ids == tuple(ids)
    assert found.keys() == right.keys() == read.keys()
    for name, x in right.items():
        assert isinstance(found[name], np.memmap)
        np.testing.assert_array_equal(found[name], x)
    stated = json.loads((tmp_path / "f" / "features.json").read_text())
    assert stated["features"]["one.layer1"] == {"layer": "one.layer1", "shape": [8, 6, 5]}
    assert len(stated["networks"]["one."]) == 64
    alone = modules.features(small(), IMAGES, "layer2", out=tmp_path / "g")
    np.testing.assert_array_equal(alone["layer2"], modules.features(small(), IMAGES, "layer2")["layer2"])


@pytest.mark.slow
@pytest.mark.usefixtures("needs_extraction")
def test_a_folder_goes_to_commands(tmp_path):
    from jaxsim.cli import main

    modules.features(small(), IMAGES, "layer*", out=tmp_path / "f")
    main(["affinity", str(tmp_path / "f"), "--measure", "cka-linear", "--out", str(tmp_path / "a")])
    assert js.load(tmp_path / "a" / "affinity.npz").names == ("layer1", "layer2")


RECIPE = re.findall(r"```python\n(.*?)```", (Path(__file__).parent.parent / "docs" / "torch.md").read_text(), re.S)


@pytest.mark.slow
def test_the_recipe_of_the_manual_gives_a_resampled_result_and_a_figure_in_ten_lines(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    networks, recipe, two_sets = RECIPE
    assert len([line for line in recipe.splitlines() if line]) <= 10
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    for part in (networks, recipe, two_sets):
        exec(part, made)
    low, high = made["R"].interval()
    assert (low <= high).all()
    assert "narrow.0" in capsys.readouterr().out
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")
    assert "narrow.0" in (tmp_path / "layers.html").read_text()
    assert (len(made["narrow"]), len(made["wide"])) == (3, 2)


@pytest.mark.usefixtures("needs_extraction")
def test_a_stopped_job_goes_on_where_it_was(tmp_path):
    from jaxsim.vision.extraction.storage import Unfinished

    network, out, ran = small(), tmp_path / "f", []
    network.layer1.register_forward_hook(lambda module, given, output: ran.append(len(output)))

    def broken():
        yield from (IMAGES[:2], IMAGES[2:4])
        raise OSError("the disk of pictures is gone.")

    settings = {"layers": "layer*", "ids": range(7), "out": out}
    with pytest.raises(Unfinished, match="disk of pictures is gone. 4 of 7 pictures are done and kept in .*f.part"):
        modules.features(network, broken(), **settings)
    assert not out.exists()
    with pytest.raises(ValueError, match="made with other settings: networks. is"):
        modules.features(small(5), IMAGES, **settings)
    with pytest.raises(ValueError, match="made with other settings: .*pool is None .here mean."):
        modules.features(network, IMAGES, **{**settings, "pool": "mean"})
    ran.clear()
    found = modules.features(network, IMAGES, batch=3, **settings)
    assert ran == [3, 3, 1]  # the first for the shapes; of the second, two images were missing
    for name, x in modules.features(network, IMAGES, "layer*").items():
        np.testing.assert_allclose(found[name], x, atol=1e-6)
    with pytest.raises(FileExistsError):
        modules.features(network, IMAGES, **settings)
    modules.features(network, IMAGES, overwrite=True, **settings)


@pytest.mark.usefixtures("needs_extraction")
def test_counts_that_are_wrong_leave_nothing(tmp_path):
    stream = lambda: (x[None] for x in IMAGES)  # noqa: E731
    with pytest.raises(ValueError, match="the number of images is not known in advance; pass their ids"):
        modules.features(small(), stream(), "layer1", out=tmp_path / "f")
    with pytest.raises(ValueError, match="there were 7 images, but 8 were expected"):
        modules.features(small(), stream(), "layer1", ids=range(8))
    with pytest.raises(ValueError, match="there were more images than the 6 expected"):
        modules.features(small(), stream(), "layer1", ids=range(6), out=tmp_path / "g")
    assert not (tmp_path / "f.part").exists()
    assert not (tmp_path / "g").exists()


# Networks of others


def of_torchvision():
    models = pytest.importorskip("torchvision", exc_type=Exception).models
    return models.resnet18(num_classes=3), "layer*", {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}


def of_timm():
    timm = pytest.importorskip("timm", exc_type=Exception)
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)
    return network, "blocks.*", {"blocks.0": 192, "blocks.1": 192}


def of_transformers():
    transformers = pytest.importorskip("transformers", exc_type=Exception)
    configuration = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
    )
    network = transformers.ViTModel(configuration)
    names = [name for name, _ in network.named_modules() if re.fullmatch(r"(encoder\.)?layers?\.\d", name)]
    return network, names, dict.fromkeys(names, 16)


@pytest.mark.parametrize("make", [of_torchvision, of_timm, of_transformers])
def test_networks_of_others(make):
    network, layers, widths = make()
    assert widths
    images = {"pixel_values": torch.randn(3, 3, 32, 32)}
    found = modules.features(network, images, layers, pool="mean")
    assert {name: x.shape for name, x in found.items()} == {name: (3, width) for name, width in widths.items()}
    if make is not of_torchvision:
        assert modules.features(network, images, layers, pool="first").keys() == widths.keys()
