"""Converting checkpoints: every tensor used, left out for a reason or named; the command `convert`."""

import argparse
import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

nnx = pytest.importorskip("flax.nnx")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

from test_convert_bundle import write_bundle
from test_models import quick

from jaxsim.cli import main
from jaxsim.io import limits
from jaxsim.vision import models
from jaxsim.vision.models import convert, resnet
from jaxsim.vision.models.convert import assignment
from jaxsim.vision.models.weights import variables

SHAPE = {"depths": (2, 1, 1, 1), "width": 4}
TINY = {name: SHAPE | dict(arguments) for name, arguments in resnet.NETWORKS.items()}


@pytest.fixture
def tiny(monkeypatch):
    """The public networks with few units and channels."""
    monkeypatch.setattr(assignment, "NETWORKS", TINY)
    monkeypatch.setattr(resnet, "NETWORKS", TINY)


def network(name, **rest):
    """A tiny network with random weights, and variances above zero."""
    made = quick(lambda: models.ResNet(**TINY[name], **rest, rngs=nnx.Rngs(0)))
    for key, slot in variables(made).items():
        if key.endswith("var"):
            slot.set_value(jnp.abs(slot[...]) + 0.5)
    return made


def exported(made, naming, prefix=""):
    """The network's tensors as a checkpoint has them; written with NumPy's transposition, not the table's."""
    out = {}
    for name, slot in variables(made).items():
        values = np.asarray(slot[...])
        if values.ndim == 2:
            values = values[None, None]
        if values.ndim == 4 and naming.outputs_first:
            values = values.transpose(3, 2, 0, 1)
        out[prefix + naming.key(name)] = np.array(values, order="C")
    return out


def same(found, made):
    ours, theirs = variables(found), variables(made)
    assert list(ours) == list(theirs)
    for name, slot in theirs.items():
        np.testing.assert_array_equal(ours[name][...], slot[...], err_msg=name)


TORCHVISION, (VISUAL_PRIOR, TASKBANK) = convert.NAMINGS["resnet50"][0], convert.NAMINGS["resnet50-taskonomy"]


def test_names_are_those_of_the_public_checkpoints():
    unit = "block3/unit6"
    names = ["stem/linear/kernel", "stem/norm/mean", f"{unit}/conv2/linear/kernel", f"{unit}/conv2/norm/scale"]
    names += [f"{unit}/shortcut/linear/kernel", f"{unit}/shortcut/norm/var"]
    assert [TORCHVISION.key(name) for name in names] == [
        "conv1.weight",
        "bn1.running_mean",
        "layer3.5.conv2.weight",
        "layer3.5.bn2.weight",
        "layer3.5.downsample.0.weight",
        "layer3.5.downsample.1.running_var",
    ]
    names += ["code/linear/kernel", "code/norm/bias"]
    assert [VISUAL_PRIOR.key(name) for name in names[-2:]] == ["compress1.weight", "compress_bn.bias"]
    inside = "encoder/block3/unit_6/bottleneck_v1"
    assert [TASKBANK.key(name) for name in names] == [
        "encoder/conv1/weights",
        "encoder/conv1/BatchNorm/moving_mean",
        f"{inside}/conv2/weights",
        f"{inside}/conv2/BatchNorm/gamma",
        f"{inside}/shortcut/weights",
        f"{inside}/shortcut/BatchNorm/moving_variance",
        "compress1/weights",
        "compress1/BatchNorm/beta",
    ]
    with pytest.raises(KeyError):
        TORCHVISION.key("code/linear/kernel")


@pytest.mark.parametrize(
    ("name", "naming", "prefix"),
    [
        ("resnet50", TORCHVISION, ""),
        pytest.param("resnet50", TORCHVISION, "module.", marks=pytest.mark.slow),
        pytest.param("resnet50-taskonomy", VISUAL_PRIOR, "", marks=pytest.mark.slow),
        pytest.param("resnet50-taskonomy", VISUAL_PRIOR, "encoder.", marks=pytest.mark.slow),
        pytest.param("resnet50-taskonomy", TASKBANK, "", marks=pytest.mark.slow),
        ("resnet50-taskonomy", TASKBANK, "feedforward/"),
    ],
)
def test_every_family_comes_back_bit_for_bit(tiny, tmp_path, name, naming, prefix):
    made = network(name)
    arrays = exported(made, naming, prefix)
    rest = {"decoder.conv2.0.weight": "decoder"} if prefix == "encoder." else {}
    rest |= {f"{prefix}bn1.num_batches_tracked": "counts of training batches"} if naming is not TASKBANK else {}
    rest |= {f"{prefix}fc.weight": "classifier", f"{prefix}fc.bias": "classifier"} if naming is TORCHVISION else {}
    if naming is TASKBANK:
        rest |= {"decoder/conv2/weights": "decoder", "three_layer_fc_network/fc0/weights": "head"}
        rest |= {f"{prefix}encoder/conv1/weights/Adam_1": "state of the optimizer"}
        rest |= {"beta1_power": "counts of training steps", "discriminator/c/weights": "discriminator of the training"}
        path = write_bundle(tmp_path / "model.permanent-ckpt", arrays | dict.fromkeys(rest, np.ones(2, np.float32)))
    else:
        path = tmp_path / "model.safetensors"
        safetensors_numpy.save_file(arrays | dict.fromkeys(rest, np.ones(2, np.int64)), path)
    found = models.from_checkpoint(path, name)
    same(found.network, made)
    assert found.naming == naming.label
    assert sorted(found.taken.values()) == sorted(arrays)
    assert {key: reason for reason, keys in found.left_out.items() for key in keys} == rest
    assert not found.cast


@pytest.mark.slow
def test_a_gray_network_keeps_its_one_channel(tiny, tmp_path):
    made = network("resnet50-taskonomy", channels_in=1)
    for naming in (VISUAL_PRIOR, TASKBANK):
        path = tmp_path / f"{naming.outputs_first}.safetensors"
        safetensors_numpy.save_file(exported(made, naming), path)
        found = models.from_checkpoint(path, "resnet50-taskonomy").network
        assert found.channels_in == 1
        same(found, made)


def test_an_untrained_compression_is_noted(tiny):
    made = network("resnet50-taskonomy")
    arrays = exported(made, VISUAL_PRIOR)
    assert convert.fill(made, arrays, [VISUAL_PRIOR], source="x").notes == ()
    arrays |= {"compress_bn.weight": np.ones(8, np.float32), "compress_bn.bias": np.zeros(8, np.float32)}
    (note,) = convert.fill(made, arrays, [VISUAL_PRIOR], source="x").notes
    assert "random projection" in note


@pytest.mark.parametrize("dtype", slow_but([np.float64, jnp.bfloat16], [np.float64, np.float16, jnp.bfloat16]))
def test_other_precisions_become_float32_and_are_told(dtype):
    made = network("resnet50")
    arrays = {key: values.astype(dtype) for key, values in exported(made, TORCHVISION).items()}
    found = convert.fill(network("resnet50"), arrays, [TORCHVISION], source="x")
    assert set(found.cast.values()) == {np.dtype(dtype).name}
    assert all(slot.dtype == jnp.float32 for slot in variables(found.network).values())
    np.testing.assert_array_equal(
        variables(found.network)["stem/norm/mean"][...], arrays["bn1.running_mean"].astype(np.float32)
    )


CONV = "layer1.0.conv1.weight"
TURNED = r"of another shape layer2.0.conv1.weight \(1, 1, 16, 8\), not \(8, 16, 1, 1\): its axes are in another order"
EDITS = [
    (lambda a: a.pop(CONV), f"missing {CONV}"),
    (lambda a: (a.pop("bn1.bias"), a.pop(CONV)), f"missing .*({CONV}.*bn1.bias|bn1.bias.*{CONV})"),
    (lambda a: a.update({"layer1.2.conv1.weight": a[CONV]}), "unknown layer1.2.conv1.weight"),
    (lambda a: a.update({"head.weight": a[CONV], "x": a[CONV]}), "unknown head.weight, x"),
    (lambda a: a.update({"layer2.0.conv1.weight": a["layer2.0.conv1.weight"].transpose(2, 3, 1, 0)}), TURNED),
    (lambda a: a.update({"bn1.bias": np.ones(5, np.float32)}), r"of another shape bn1.bias \(5,\), not \(4,\)"),
    (lambda a: a.update({CONV: np.ones((4, 4, 1, 1), np.int32)}), rf"of another type {CONV} \(int32, not floating\)"),
    (lambda a: a[CONV].ravel().__setitem__(2, np.nan), f"not finite {CONV}"),
    (lambda a: a.update({CONV: np.full((4, 4, 1, 1), 1e300)}), f"not finite {CONV}"),
    (lambda a: a["bn1.running_var"].__setitem__(0, -1), "below zero bn1.running_var"),
]


@pytest.mark.parametrize(
    ("edit", "words"),
    [*EDITS[::2], *(pytest.param(*one, marks=pytest.mark.slow) for one in EDITS[1::2])],
    ids=[words[:25] for _, words in EDITS[::2] + EDITS[1::2]],
)
def test_what_does_not_fit_is_named_and_changes_nothing(edit, words):
    made = network("resnet50")
    arrays = exported(network("resnet50"), TORCHVISION)
    before = {name: np.asarray(slot[...]) for name, slot in variables(made).items()}
    edit(arrays)
    with pytest.raises(ValueError, match=words) as caught:
        convert.fill(made, arrays, [TORCHVISION], source="model.pth")
    assert str(caught.value).startswith("model.pth does not fit the names of torchvision or timm: ")
    for name, slot in variables(made).items():
        np.testing.assert_array_equal(slot[...], before[name])


def test_all_that_is_wrong_is_in_one_message():
    arrays = exported(network("resnet50"), TORCHVISION)
    arrays.pop("bn1.bias")
    arrays |= {"extra.weight": np.ones(1), CONV: arrays[CONV][:1], "bn1.running_var": -np.ones(4, np.float32)}
    message = (
        "m does not fit the names of torchvision or timm: missing bn1.bias; unknown extra.weight; "
        f"of another shape {CONV} (1, 4, 1, 1), not (4, 4, 1, 1); below zero bn1.running_var. "
        "To ignore unknown tensors, give leave_out (--leave-out)."
    )
    with pytest.raises(ValueError, match="does not fit") as caught:
        convert.fill(network("resnet50"), arrays, [TORCHVISION], source="m")
    assert str(caught.value) == message


def test_a_message_names_the_first_five_of_each_kind_and_the_exception_has_them_all():
    arrays = exported(network("resnet50"), TORCHVISION)
    lost = [name for name in arrays if name.startswith("layer2")]
    more = {f"layer9.{i}.weight": np.ones(1) for i in range(30)}
    kept = {name: values for name, values in arrays.items() if name not in lost} | more
    with pytest.raises(convert.Misfit) as caught:
        convert.fill(network("resnet50"), kept, [TORCHVISION], source="m")
    assert f"; unknown {', '.join(list(more)[:5])} and 25 more. To ignore" in str(caught.value)
    assert f" and {len(lost) - 5} more; unknown" in str(caught.value)
    assert str(caught.value).count("layer") == 10
    assert set(caught.value.problems["missing"]) == set(lost)
    assert caught.value.problems["unknown"] == tuple(more)


def test_networks_that_no_checkpoint_is_of():
    arrays = exported(network("resnet50"), TORCHVISION)
    for made in (models.fold(network("resnet50")), quick(lambda: models.SmallEncoder((2,), (1,), rngs=nnx.Rngs(0)))):
        with pytest.raises(ValueError, match="no known naming has the tensor .* of the network; is the network folded"):
            convert.fill(made, arrays, [TORCHVISION], source="m")


def test_extra_tensors_can_be_left_out_by_name():
    arrays = exported(network("resnet50"), TORCHVISION) | {"head.weight": np.ones(1), "head.bias": np.ones(1)}
    found = convert.fill(network("resnet50"), arrays, [TORCHVISION], source="m", leave_out=["head.*"])
    assert found.left_out == {"as asked": ("head.weight", "head.bias")}
    arrays.pop("bn1.bias")
    with pytest.raises(ValueError, match="missing bn1.bias"):
        convert.fill(network("resnet50"), arrays, [TORCHVISION], source="m", leave_out=["*"])


def test_a_foreign_checkpoint_is_told_by_its_first_names(tiny, tmp_path):
    safetensors_numpy.save_file({f"blocks.{i}.attn": np.ones(2) for i in range(9)}, tmp_path / "vit.safetensors")
    words = (
        "no tensor with a name as in visual-prior or Taskonomy's task bank; its first tensors are blocks.0.attn, "
        "blocks.1.attn"
    )
    with pytest.raises(ValueError, match=words):
        models.from_checkpoint(tmp_path / "vit.safetensors", "resnet50-taskonomy")


# Files of PyTorch


def saved(torch, tmp_path, values, **rest):
    path = tmp_path / "model.pth"
    torch.save(values, path, **rest)
    return path


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_state_dicts_of_pytorch_alone_or_in_a_training_run(tiny, tmp_path, wrapper):
    torch = pytest.importorskip("torch")
    from benchmarks.torch_resnet import TorchResNet, randomize

    peer = randomize(TorchResNet(**SHAPE, classes=3))
    weights = peer.state_dict()
    whole = weights if wrapper is None else {wrapper: weights, "epoch": 3, "optimizer": {"lr": 0.1}}
    old = {"_use_new_zipfile_serialization": wrapper != "model"}  # as PyTorch saved before 1.6
    found = models.from_checkpoint(saved(torch, tmp_path, whole, **old), "resnet50")
    assert found.left_out["classifier"] == ("fc.weight", "fc.bias")
    assert len(found.left_out["counts of training batches"]) == sum("num_batches" in key for key in weights)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 33, 40, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = peer(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(jax.jit(lambda x: found.network(x))(x), expected, rtol=1e-4, atol=1e-4)


def test_bombs_in_files_of_pytorch_are_refused(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(limits, "FLOOR", 2**20)
    path = saved(torch, tmp_path, {"conv1.weight": torch.zeros(2_000_000)})
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED) as small:
        for name in archive.namelist():
            small.writestr(name, archive.read(name))
    shared = saved(torch, tmp_path, {"conv1.weight": torch.zeros(1).expand(10**5, 10**5)})
    for file in (tmp_path / "z.pth", shared):
        with pytest.raises(
            ValueError, match=r"pth.* takes .* over 200 times its .* MB in the file; if you trust it, give --unlimited"
        ):
            dict(convert.read_checkpoint(file)[0][""])


def test_half_precision_of_pytorch(tiny, tmp_path):
    torch = pytest.importorskip("torch")
    arrays = {key: torch.from_numpy(v).bfloat16() for key, v in exported(network("resnet50"), TORCHVISION).items()}
    found = models.from_checkpoint(saved(torch, tmp_path, arrays), "resnet50")
    expected = arrays["layer1.0.bn1.weight"].float().numpy()
    np.testing.assert_array_equal(variables(found.network)["block1/unit1/conv1/norm/scale"][...], expected)
    assert set(found.cast.values()) == {"bfloat16"}


class Surprise:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"conv1.weight": Surprise()},
            r"contains print besides tensors, .* load it with torch.load.path, weights_on",
        ),
        ([1, 2], "contains a list, not tensors by name"),
        ({}, "not tensors by name"),
        ({1: 2}, "not tensors by name"),
        ({"conv1.weight": 3}, "contains a dict, not tensors by name"),
        ({"conv1.weight": "sparse"}, "'conv1.weight' has type torch.float32 and is not a plain tensor"),
    ],
)
def test_other_things_that_pytorch_saves(tmp_path, capsys, values, words):
    torch = pytest.importorskip("torch")
    if values == {"conv1.weight": "sparse"}:
        values = {"conv1.weight": torch.eye(2).to_sparse()}
    with pytest.raises(ValueError, match=words):
        models.from_checkpoint(saved(torch, tmp_path, values), "resnet50")
    assert capsys.readouterr().out == ""


def state():
    """A tiny network's tensors, by name in PyTorch."""
    torch = pytest.importorskip("torch")
    return {key: torch.from_numpy(values) for key, values in exported(network("resnet50"), TORCHVISION).items()}


def pre(prefix, weights):
    return {prefix + key: values for key, values in weights.items()}


def plus(weights):
    return {key: values + 1 for key, values in weights.items()}


WRAPPED = {
    "compiled": lambda s: pre("_orig_mod.", s),
    "compiled in parallel": lambda s: pre("module._orig_mod.", s),
    "inside": lambda s: {key.replace("layer1.0", "layer1._orig_mod.0"): v for key, v in pre("module.", s).items()},
    "backbone": lambda s: pre("module.backbone.", s) | {"module.head.weight": s["bn1.bias"]},
    "net": lambda s: {"net": s, "acc": 90.0},
    "nested": lambda s: {"model": {"state_dict": s}, "optimizer": {"state": {0: {"exp_avg": s["bn1.bias"]}}}},
    "averaged": lambda s: {"n_averaged": s["bn1.bias"][0]} | pre("module.", s),
    "odd": lambda s: {"a": [1, {"b": pre("x.y.z.", s)}]},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_and_prefixes_are_found_by_what_remains(tiny, tmp_path, name):
    torch = pytest.importorskip("torch")
    whole = WRAPPED[name](state())
    found = models.from_checkpoint(saved(torch, tmp_path, whole), "resnet50")
    same(found.network, network("resnet50"))
    out = {key for keys in found.left_out.values() for key in keys}
    rest = {
        "backbone": {"module.head.weight"},
        "net": {"acc"},
        "nested": {"optimizer/state/0/exp_avg"},
        "odd": {"a/0"},
        "averaged": {"n_averaged"},
    }
    assert out == rest.get(name, set())


@pytest.mark.slow
def test_averages_of_tensorflow_are_an_entry(tiny, tmp_path):
    raw = exported(network("resnet50-taskonomy"), TASKBANK)
    trained = {key: 2 * values for key, values in raw.items() if "moving" not in key}
    beside = {f"{key}/ExponentialMovingAverage": values for key, values in trained.items()}
    path = write_bundle(tmp_path / "model.ckpt", raw | beside)
    with pytest.warns(
        UserWarning, match="has 2 sets of weights: .*'ExponentialMovingAverage'.* The one read is entry ''"
    ):
        same(models.from_checkpoint(path, "resnet50-taskonomy").network, network("resnet50-taskonomy"))
    found = models.from_checkpoint(path, "resnet50-taskonomy", entry="ExponentialMovingAverage")
    for key, values in exported(found.network, TASKBANK).items():
        np.testing.assert_array_equal(values, trained.get(key, raw[key]))


SEVERAL = {
    "averaged": (lambda s, t: {"state_dict_ema": t, "state_dict": s}, {"entry": "state_dict_ema"}),
    "teacher": (lambda s, t: {"student": pre("module.", t), "teacher": s}, {"entry": "student"}),
    "in names": (lambda s, t: {"model": pre("student.", t) | pre("teacher.", s)}, {"prefix": "student"}),
    "query": (
        lambda s, t: {**pre("module.encoder_q.", s), **pre("module.encoder_k.", t)},
        {"prefix": "module.encoder_k."},
    ),
}


@pytest.mark.parametrize("name", slow_but(["averaged"], SEVERAL))
def test_several_sets_of_weights_are_named_and_chosen(tiny, tmp_path, name):
    torch = pytest.importorskip("torch")
    made, choice = SEVERAL[name]
    path = saved(torch, tmp_path, made(state(), plus(state())))
    with pytest.warns(
        UserWarning, match="has 2 sets of weights: entry .*; entry .* The one read is entry .*--prefix"
    ) as told:
        found = models.from_checkpoint(path, "resnet50")
    same(found.network, network("resnet50"))
    assert next(iter(choice.values())) in str(told[0].message)
    assert sum(map(len, found.left_out.values())) == len(state())
    other = models.from_checkpoint(path, "resnet50", **choice)
    expected = state()["bn1.bias"].numpy() + 1
    np.testing.assert_array_equal(variables(other.network)["stem/norm/bias"][...], expected)
    with pytest.raises(ValueError, match="model.pth has no entry 'x'; it has '"):
        models.from_checkpoint(path, "resnet50", entry="x")
    with pytest.raises(
        ValueError, match="model.pth has no weights with prefix 'x'; its weights are: entry '.*; entry '"
    ):
        models.from_checkpoint(path, "resnet50", prefix="x")


def test_a_block_inside_the_network_is_no_wrapper(tiny, tmp_path):
    weights = state()
    weights["layer1.0.fc.weight"] = weights["bn1.bias"]
    with pytest.raises(ValueError, match="unknown layer1.0.fc.weight. To ignore unknown tensors, give leave_out"):
        models.from_checkpoint(saved(pytest.importorskip("torch"), tmp_path, weights), "resnet50")


@pytest.mark.parametrize(
    ("name", "beside"), [("argparse.Namespace", argparse.Namespace(lr=0.1)), ("multiarray.scalar", np.float64(77.1))]
)
def test_objects_beside_the_weights_are_named(tmp_path, name, beside):
    torch = pytest.importorskip("torch")
    path = saved(torch, tmp_path, {"state_dict": {"conv1.weight": torch.ones(2)}, "args": beside})
    with pytest.raises(
        ValueError, match=f"contains [a-z._]*{name} besides tensors, .*; if you trust the file"
    ) as caught:
        models.from_checkpoint(path, "resnet50")
    assert "damaged" not in str(caught.value)


def test_archives_of_torchscript_are_not_called_damaged(tmp_path):
    torch = pytest.importorskip("torch")
    with zipfile.ZipFile(saved(torch, tmp_path, {"conv1.weight": torch.ones(2)}), "a") as archive:
        archive.writestr("model/constants.pkl", b"")
    with pytest.raises(
        ValueError, match="is a TorchScript archive; if you trust the file, load it with torch.jit.load"
    ):
        models.from_checkpoint(tmp_path / "model.pth", "resnet50")


def test_text_of_python_2_is_decoded(tiny, tmp_path):
    torch = pytest.importorskip("torch")
    path = saved(torch, tmp_path, {"state_dict": state(), "note": "XYZ"})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = parts["model/data.pkl"]
    text = b"X\x03\x00\x00\x00XYZ"
    assert text in pickled
    parts["model/data.pkl"] = pickled.replace(text, b"U\x03\xe9YZ")  # SHORT_BINSTRING, no UTF-8
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    same(models.from_checkpoint(path, "resnet50").network, network("resnet50"))
    parts["model/data.pkl"] = pickled.replace(text, b"X\x03\x00\x00\x00\x80YZ")  # BINUNICODE, no UTF-8 either way
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="is damaged and was not read"):
        convert.read_checkpoint(path)


def test_damaged_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = saved(torch, tmp_path, {"conv1.weight": torch.ones(1000)})
    whole = path.read_bytes()
    for data in (whole[:300], whole[:-20], b"", b"no file of PyTorch"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="model.pth is damaged (or not a PyTorch file, )?and was not read"):
            models.from_checkpoint(path, "resnet50")
    flipped = bytearray(whole)
    flipped[whole.index(np.ones(4, np.float32).tobytes())] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="model.pth is damaged: .*data/0 differs from its checksum"):
        models.from_checkpoint(path, "resnet50")
    (tmp_path / "m.safetensors").write_bytes(whole)
    with pytest.raises(ValueError, match="m.safetensors"):
        models.from_checkpoint(tmp_path / "m.safetensors", "resnet50")
    for absent in ("nowhere.pth", "nowhere.index"):
        with pytest.raises(FileNotFoundError, match=f"{absent} does not exist"):
            models.from_checkpoint(tmp_path / absent, "resnet50")


def test_without_pytorch_the_way_out_is_told(tmp_path, monkeypatch, capsys):
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="model.pth needs PyTorch: pip install torch, or convert it there with"):
        models.from_checkpoint(tmp_path / "model.pth", "resnet50")
    argv = ["convert", str(tmp_path / "model.pth"), "--network", "resnet50", "--out", str(tmp_path / "o.safetensors")]
    assert main(argv) == 2
    assert "pip install torch" in capsys.readouterr().err


def test_converting_other_formats_does_not_import_pytorch():
    code = "import sys; from jaxsim.vision.models import convert; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False"]


# The command


@pytest.fixture
def checkpoint(tiny, tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = exported(network("resnet50-taskonomy"), VISUAL_PRIOR)
    safetensors_numpy.save_file(arrays | {"bn1.num_batches_tracked": np.array(3)}, path)
    return path


def test_the_command_writes_an_encoder_and_shows_what_it_did(checkpoint, tmp_path, capsys):
    out = tmp_path / "deep" / "depth.safetensors"
    argv = ["convert", str(checkpoint), "--network", "resnet50-taskonomy", "--out", str(out), "--name", "rgb2depth"]
    assert main(argv) == 0
    read = models.from_safetensors(out)
    same(read["rgb2depth"], network("resnet50-taskonomy"))
    assert models.safetensors_metadata(out) == {
        "network": "resnet50-taskonomy",
        "checkpoint": "model.safetensors",
        "names_of": "visual-prior",
    }
    printed = capsys.readouterr()
    assert "block1" in printed.out
    assert "counts of training batches" in printed.out
    assert f"wrote {out}" in printed.err
    before = out.read_bytes()
    assert main(argv) == 2
    assert "already exists; give --overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert out.read_bytes() == before
    assert values["layers"]["stem"] == {"tensors": 5, "numbers": 7 * 7 * 3 * 4 + 4 * 4}
    assert list(values["layers"]) == ["stem", "block1", "block2", "block3", "block4", "code"]
    assert values["left_out"] == {"counts of training batches": ["bn1.num_batches_tracked"]}
    assert values["taken"]["code/norm/mean"] == "compress_bn.running_mean"
    assert (values["command"], values["encoder"], values["file"]) == ("convert", "rgb2depth", str(out))


@pytest.mark.slow
def test_the_command_refuses_in_one_sentence_and_writes_nothing(checkpoint, tmp_path, capsys):
    out = tmp_path / "o.safetensors"
    argv = ["convert", str(checkpoint), "--network", "resnet50", "--out"]
    for rest, words in (
        ([str(out)], "unknown compress1.weight, compress_bn.bias"),
        ([str(tmp_path / "o.npz")], "must be a file that ends in .safetensors"),
        ([str(out), "--name", "a/b"], "unknown compress1"),
        ([str(out), "--leave-out", "compress*", "--name", "a/b"], "'a/b' cannot be the name of an encoder"),
        ([str(checkpoint / "o.safetensors")], "is a file."),
    ):
        assert main([*argv, *rest]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert main([*argv, str(out), "--entry", "ema"]) == 2
    assert "has no entry 'ema'; it has ''" in capsys.readouterr().err
    assert main(["convert", "x", "--network", "resnet18", "--out", str(out)]) == 2
    assert main(["convert", "x", "--network", "resnet50"]) == 2
    assert not out.exists()
    assert main([*argv, str(out), "--leave-out", "compress*", "--quiet"]) == 0
    assert list(models.from_safetensors(out)) == ["resnet50"]


@pytest.mark.slow
@pytest.mark.parametrize("name", resnet.NETWORKS)
def test_resnet50_itself_through_the_command(tmp_path, capsys, name):
    torch = pytest.importorskip("torch")
    from benchmarks.torch_resnet import TorchResNet, TorchTaskonomy, randomize

    peer = randomize(TorchTaskonomy() if name == "resnet50-taskonomy" else TorchResNet(classes=1000))
    out = tmp_path / "o.safetensors"
    argv = ["convert", str(saved(torch, tmp_path, peer.state_dict())), "--network", name]
    assert main([*argv, "--out", str(out)]) == 0
    plain = "23561152" in capsys.readouterr().out  # without a code and the classifier
    assert plain == (name == "resnet50")
    graph, state = nnx.split(models.from_safetensors(out)[name])
    x = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = np.moveaxis(peer(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy(), 1, -1)
    ours = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.max(expected))
