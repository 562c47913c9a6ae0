"""`jaxsim layers`, `branch` and `transfer` end to end on folders made from the built-in world."""

import csv
import json

import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
pytest.importorskip("grain")
pytest.importorskip("skimage")
pytest.importorskip("orbax.checkpoint")
pytest.importorskip("matplotlib")

import jaxsim
from jaxsim.cli import main
from jaxsim.studies.branching import training_runs
from jaxsim.studies.rooms import export
from jaxsim.vision import models, training
from jaxsim.vision.models import resnet
from jaxsim.vision.models.convert import assignment

BANK = ("edge2d", "rgb2depth", "segmentsemantic")
SMALL = ["--size", "32", "--images", "8"]
SHORT = ["--epochs", "1", "--batch", "4"]
TRANSFERS = [("voc", "semantic"), ("nyud_mt", "depth"), ("taskonomy", "edge")]
LAYOUTS = ("voc", "nyud_mt", "taskonomy", "nyu", "pascal_mt")


def small(seed):
    return models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(seed))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in each layout, 16 pictures of 32 pixels; a bank of encoders; two seeds of another encoder."""
    root = tmp_path_factory.mktemp("branching")
    for layout in LAYOUTS:
        export.write_world(root / layout, layout, 16, resolution=32)
    models.to_safetensors({name: small(i) for i, name in enumerate(BANK)}, root / "bank.safetensors")
    for seed in (8, 9):
        models.to_safetensors({"mine": small(seed)}, root / f"{seed}.safetensors")
    return root


def run(capsys, *arguments):
    """Exit code, what --json prints, and what is said on standard error."""
    code = main([str(part) for part in (*arguments, "--json", "--quiet")])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def layers(place, data, out, *more):
    mine, bank = place / "9.safetensors", place / "bank.safetensors"
    some = ["--encoder", mine, "--bank", bank, "--resamples", "4"]
    return ["layers", place / data, *(SMALL[:2] if "--images" in more else SMALL), *some, "--out", out, *more]


def branch(place, data, out, *more):
    mine, bank = place / "9.safetensors", place / "bank.safetensors"
    short = SHORT[2:] if "--epochs" in more else SHORT
    return ["branch", place / data, *SMALL, *short, "--encoder", mine, "--bank", bank, "--out", out, *more]


def transfer(place, data, out, *more):
    bank = place / "bank.safetensors"
    return ["transfer", place / data, *SMALL, *SHORT, "--small", "tiny", "--bank", bank, "--out", out, *more]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layers_of_an_encoder_on_every_layout(place, capsys, tmp_path, layout):
    out = tmp_path / "out"
    code, found, err = run(capsys, *layers(place, layout, out))
    assert code == 0, err
    table = rows(out / "layers.csv")
    assert [(row["task"], row["layer"]) for row in table] == [(t, c) for t in BANK for c in ("conv1", "conv2")]
    affinity = jaxsim.load(out / "layers.npz")
    for row in table:
        i, t = affinity.names.index(row["layer"]), affinity.targets.index(row["task"])
        assert float(row["score"]) == pytest.approx(float(np.asarray(affinity.values)[i, t]), abs=1e-6)
    best = {row["task"]: row["layer"] for row in rows(out / "recommendation.csv")}
    assert best == found["recommended"]
    told = {row["task"]: [row["layer"], *row["not_told_from"].split()] for row in rows(out / "recommendation.csv")}
    assert told == found["contenders"]
    for task, layer in best.items():
        scores = {row["layer"]: float(row["score"]) for row in table if row["task"] == task}
        assert scores[layer] == max(scores.values())
    assert found["images"] == 8
    assert (out / "layers.png").stat().st_size > 1000
    code, _, err = run(capsys, *layers(place, layout, out))
    assert code == 2
    assert "already exists; give --overwrite" in err


TASKS = {
    "voc": ("semantic",),
    "nyud_mt": ("edge", "depth"),
    "taskonomy": ("scene", "normals"),
    "nyu": ("depth",),
    "pascal_mt": ("normals",),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_branches_of_an_encoder_on_every_layout(place, capsys, tmp_path, layout):
    out, wanted = tmp_path / "out", [part for task in TASKS[layout] for part in ("--task", task)]
    code, found, err = run(capsys, *branch(place, layout, out, "--layer", "conv2", *wanted))
    assert code == 0, err
    runs = rows(out / "runs.csv")
    assert [(row["layer"], row["task"]) for row in runs] == [("conv2", task) for task in TASKS[layout]]
    assert all(np.isfinite(float(row["value"])) for row in runs)
    assert found["layout"] == layout
    assert set(found["best"]) == set(TASKS[layout])
    known = {task for task in TASKS[layout] if task not in ("scene", "normals")}
    assert set(found["recommended"]) == known


@pytest.mark.slow
def test_seeds_are_averaged_work_is_taken_up_and_the_table_is_that_of_the_paper(place, capsys, tmp_path, monkeypatch):
    out, work, calls = tmp_path / "out", tmp_path / "work", []
    train = training_runs.train

    def counted(*arguments, **keywords):
        calls.append(keywords["seed"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*arguments, **keywords)

    more = ["--encoder", place / "8.safetensors", "--task", "edge", "--work", work]
    monkeypatch.setattr(training_runs, "train", counted)
    assert run(capsys, *branch(place, "nyud_mt", out, *more))[0] == 130
    assert not out.exists()
    code, found, err = run(capsys, *branch(place, "nyud_mt", out, *more))
    assert code == 0, err
    assert calls == [0, 0, 1, 1, 1]
    values = np.array([float(row["value"]) for row in rows(out / "runs.csv")]).reshape(2, 2)
    table = rows(out / "branches.csv")
    np.testing.assert_allclose([float(row["edge mae"]) for row in table], values.mean(0), rtol=1e-6)
    np.testing.assert_allclose([float(row["edge sd"]) for row in table], values.std(0, ddof=1), rtol=1e-6)
    assert found["best"]["edge"] == ("conv1", "conv2")[int(np.argmin(values.mean(0)))]
    scores = [float(row["edge similarity"]) for row in table]
    assert found["recommended"]["edge"] == ("conv1", "conv2")[int(np.argmax(scores))]
    assert not list(work.glob("results/*.part"))
    assert main([str(a) for a in branch(place, "nyud_mt", out, *more, "--overwrite", "--quiet")]) == 0
    text = capsys.readouterr().out
    assert len(calls) == 5
    first, *others = found["contenders"]["edge"]
    assert first == found["recommended"]["edge"]
    means = dict(zip(("conv1", "conv2"), values.mean(0), strict=True))
    assert found["contenders"]["edge"] == pytest.approx(
        {layer: means[layer] - min(means.values()) for layer in (first, *others)}
    )
    assert (f"recommended {first}, though these pictures cannot tell it apart from" in text) == bool(others)
    assert "edges, MAE" in text
    assert "* best by the mean of 2 runs; < recommended by dds-laplacian" in text
    assert f"agrees for {len(found['agreeing'])} of 1 tasks" in text
    code, _, err = run(capsys, *branch(place, "nyud_mt", tmp_path / "other", *more, "--learning-rate", "0.1"))
    assert code == 2
    assert "was made with other settings: plan." in err


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "task"), TRANSFERS)
def test_transfer_to_a_new_task(place, capsys, tmp_path, layout, task):
    out = tmp_path / "out"
    code, found, err = run(capsys, *transfer(place, layout, out, "--task", task, "--init", "edge2d", "--init", BANK[1]))
    assert code == 0, err
    *table, scratch, own = rows(out / "transfer.csv")
    assert {row["initialization"] for row in table} == {"edge2d", "rgb2depth"}
    assert (scratch["initialization"], own["initialization"]) == ("random weights", "small network")
    assert float(scratch[found["metric"]]) == found["scratch"]
    assert (scratch["rank"], scratch["rsa"]) == ("", "")
    trained = {"edge2d": task == "edge", "rgb2depth": task == "depth"}
    assert {row["initialization"]: row["own_task"] == "True" for row in table} == trained
    assert [row["rank"] for row in table] in (["1", "2"], ["1", "1"])
    measured = [float(row[found["metric"]]) for row in table]
    assert measured == sorted(measured, reverse=task == "semantic")
    assert set(found["correlation"]) == {"rsa", "dds-laplacian"}
    assert (out / "transfer.png").stat().st_size > 1000
    assert len(rows(out / "runs.csv")) == 2


@pytest.mark.slow
def test_a_resnet_branches_through_deeplab_with_running_statistics(place, capsys, tmp_path):
    network = models.ResNet((1, 1), 4, rngs=nnx.Rngs(0))
    models.to_safetensors({"mine": network}, tmp_path / "resnet.safetensors")
    seen = []
    fit = training.fit_stream

    def watched(*arguments, **keywords):
        seen.append(fit(*arguments, **keywords))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit_stream", watched)
        more = ["--encoder", tmp_path / "resnet.safetensors", "--task", "semantic", "--layer", "block2"]
        bank = ["--bank", place / "bank.safetensors", "--out", tmp_path / "out"]
        code, _, err = run(capsys, "branch", place / "voc", *SMALL, *SHORT, *more, *bank)
    assert code == 0, err
    network = seen[0].network.network
    assert np.abs(network.encoder.stem.norm.mean[...]).max() > 0
    assert np.abs(network.decoder.project.norm.var[...] - 1).max() > 0


@pytest.mark.slow
def test_a_resnet_from_pytorchs_file_to_branches(place, capsys, tmp_path, monkeypatch):
    """A path test: random weights, two blocks of a unit, two pictures a step; the numbers mean nothing."""
    torch = pytest.importorskip("torch")
    from benchmarks.torch_resnet import TorchResNet, randomize

    small = {"depths": (1, 1), "width": 8}
    for module in (assignment, resnet):
        monkeypatch.setattr(module, "NETWORKS", {"resnet50": {"variant": "torchvision", **small}})
    torch.save(randomize(TorchResNet(**small, classes=1000)).state_dict(), tmp_path / "resnet50.pth")
    weights, data = tmp_path / "resnet50.safetensors", place / "voc"
    code, _, err = run(capsys, "convert", tmp_path / "resnet50.pth", "--network", "resnet50", "--out", weights)
    assert code == 0, err
    code, _, err = run(
        *(capsys, "features", next(data.rglob("JPEGImages")), "--encoder", weights, "--layer", "block*"),
        *("--size", "32", "--batch", "4", "--out", tmp_path / "features"),
    )
    assert code == 0, err
    shapes = {name: x.shape for name, x in jaxsim.read_features(tmp_path / "features")[0].items()}
    sides, widths = (8, 4), (32, 64)
    assert sorted(shapes.values()) == sorted((16, s, s, w) for s, w in zip(sides, widths, strict=True))
    known = [*SMALL, "--encoder", weights, "--bank", place / "bank.safetensors"]
    code, found, err = run(capsys, "layers", data, *known, "--resamples", "4", "--out", tmp_path / "layers")
    assert code == 0, err
    assert {row["layer"] for row in rows(tmp_path / "layers" / "layers.csv")} == {"block1", "block2"}
    more = ["--task", "semantic", "--layer", "block1", "--epochs", "1", "--batch", "2"]
    code, found, err = run(capsys, "branch", data, *known, *more, "--out", tmp_path / "branches")
    assert code == 0, err
    assert found["best"]["semantic"] == "block1"
    values = [float(row["value"]) for row in rows(tmp_path / "branches" / "runs.csv")]
    assert len(values) == 1
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["layers", "nowhere"], "nowhere does not exist or is not a folder"),
        (["branch", "voc", "--task", "depth"], "the voc layout has no task 'depth'; it has edge, semantic"),
        (["layers", "voc", "--task", "sounds"], "the bank has no encoder 'sounds'; it has edge2d"),
        (["layers", "voc", "--bank", "BANK"], "has an encoder 'edge2d', and so does another file"),
        (["layers", "voc", "--name", "other"], "has no encoder 'other'"),
        (["layers", "voc", "--layer", "conv7"], "no feature map 'conv7'; it has conv1, conv2"),
        (["layers", "voc", "--images", "3"], "similarity needs at least 8 training pictures, but there are only 3"),
        (["branch", "voc", "--task", "color"], "no task 'color'; choose from edge, depth"),
        (
            ["transfer", "voc", "--init", "edge2d"],
            "at least two initializations and exactly one task are needed, not 1 and 1",
        ),
        (["layers", "voc", "--measure", "rsa", "--measure", "rv"], "takes one --measure, not 2"),
        (["branch", "voc", "--task", "edge", "--epochs", "0"], "'0' is not a whole number above zero"),
        (["transfer", "voc", "--learning-rate", "-1"], "'-1' is not a number above zero"),
        (["layers", "broken"], ".jpg is damaged, truncated or of another format"),
    ],
    ids=[
        "folder",
        "task",
        "bank",
        "twice",
        "name",
        "layer",
        "few",
        "choice",
        "alone",
        "measures",
        "none",
        "rate",
        "broken",
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(bare, capsys, tmp_path, arguments, words):
    command, data, *more = arguments
    out = tmp_path / "out"
    more = [bare / "bank.safetensors" if word == "BANK" else word for word in more]
    known = {"layers": layers, "branch": branch, "transfer": transfer}[command](bare, data, out, *more)
    assert main([str(part) for part in known]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not out.exists()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """As `place`, with VOC's layout alone, of pictures that are not rendered."""
    from test_branching import labeled

    root = tmp_path_factory.mktemp("bare")
    for name in ("voc", "broken"):
        export.voc(root / name, labeled(12))
    for picture in (root / "broken").rglob("*.jpg"):
        picture.write_bytes(picture.read_bytes()[:200])
    models.to_safetensors({name: small(i) for i, name in enumerate(BANK)}, root / "bank.safetensors")
    models.to_safetensors({"mine": small(9)}, root / "9.safetensors")
    return root
