"""The command `features`: what it writes and says, and how it fails."""

import json
import shutil

import numpy as np
import pytest
from machine import full_disk

pytest.importorskip("flax", reason="extraction needs the nn extra")
pytest.importorskip("grain", reason="datasets need the nn extra")

import test_datasets as layouts
import test_extraction as whole

import jaxsim
import jaxsim.cli.features
from jaxsim.cli import build_parser, main
from jaxsim.studies.rooms import export
from jaxsim.vision import datasets, extraction, models
from jaxsim.vision.extraction import forward, storage
from jaxsim.vision.models.weights import variables


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Encoders of several kinds and sources."""
    root, small = tmp_path_factory.mktemp("encoders"), whole.small
    models.to_safetensors({"a": small(1), "b": small(2)}, root / "two.safetensors")
    models.to_safetensors({"a": small(3)}, root / "same.safetensors")
    models.to_safetensors({"gray": small(1, channels_in=1)}, root / "gray.safetensors")
    models.to_safetensors({"depth": whole.resnet("taskonomy")}, root / "depth.safetensors")
    world = {"world_version": 1, "recipe": {"resolution": 12}}
    models.to_safetensors({"colorization": small(1), "edge2d": small(1)}, root / "world.safetensors", world)
    return root


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for name in "abcdefg":
        whole.Image.fromarray(whole.picture(name)).save(root / f"{name}.png")
    return root


def run(*argv):
    return main(["features", *map(str, argv)])


def test_features_of_a_folder(pictures, files, out, capsys):
    assert run(pictures, "--encoder", files / "two.safetensors", "--batch", 4, "--out", out) == 0
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["features", "layer", "shape", "of", "one", "MB"],
        ["a", "conv2", "4", "x", "4", "x", "6", "0.003"],
        ["b", "conv2", "4", "x", "4", "x", "6", "0.003"],
    ]
    assert "7 pictures (folder); 2 encoders" in printed.err
    assert "pictures: 7 of 7" in printed.err
    features, ids = jaxsim.read_features(out)
    assert ids == tuple(f"{name}.png" for name in "abcdefg")
    shown = np.stack([whole.picture(name) for name in "abcdefg"]).astype(np.float32) / 255
    np.testing.assert_allclose(features["b"], whole.small(2)(shown), rtol=1e-5)
    assert main(["affinity", str(out), "--out", str(out.parent / "affinity")]) == 0


def test_json_is_alone_on_standard_output_and_quiet_is_quiet(pictures, files, out, capsys):
    flags = ("--layer", "conv*", "--pool", "--size", 8, "--json", "--quiet")
    assert run(pictures, "--encoder", files / "two.safetensors", *flags, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    told = json.loads(printed.out)
    assert told["command"] == "features"
    assert told["pictures"] == 7
    assert {name: one["shape"] for name, one in told["features"].items()} == {
        "a.conv1": [4],
        "a.conv2": [6],
        "b.conv1": [4],
        "b.conv2": [6],
    }
    assert told["features"]["a.conv1"]["preprocessing"]["size"] == [8, 8]
    assert told["out"] == str(out)


@pytest.mark.parametrize(
    ("layout", "place", "flags", "count"),
    [
        ("voc", "", ["--split", "val"], 2),
        ("voc", "", [], 5),
        ("nyu", "nyu_depth_v2_labeled.mat", [], 9),
        ("taskonomy", "", [], 9),
        ("nyud_mt", "", ["--split", "val"], 2),
        ("pascal_mt", "", [], 7),
    ],
)
def test_datasets(tmp_path, files, out, layout, place, flags, count, capsys):
    root = export.WRITERS[layout].write(tmp_path / layout, layouts.SHOWN) / place
    encoder = ("--encoder", files / "two.safetensors", "--size", 8)
    assert run(root, *flags, *encoder, "--out", out) == 0
    assert f"{count} pictures" in capsys.readouterr().err
    features, ids = jaxsim.read_features(out)
    assert features["a"].shape == (count, 2, 2, 6)
    assert len(set(ids)) == count


def test_damaged_pictures_are_skipped_on_request_and_all_named(pictures, files, out, capsys):
    for name in ("b.png", "d.png"):
        (pictures / name).write_bytes(b"no picture")
    (pictures / "notes.heic").touch()
    argv = (pictures, "--encoder", files / "two.safetensors", "--batch", 4, "--out", out)
    assert run(*argv) == 2
    assert "b.png is damaged" in (told := capsys.readouterr().err)
    assert "--skip-damaged" in told
    assert run(*argv, "--skip-damaged") == 0
    told = capsys.readouterr().err
    assert "left out 1 of 8 files, because Pillow does not read their suffixes: notes.heic" in told
    assert "left out 2 of 7 pictures" in told
    assert told.count("is damaged") == 2
    assert jaxsim.read_features(out)[1] == ("a.png", "c.png", "e.png", "f.png", "g.png")


def test_shipped_encoders_by_name(pictures, out, capsys):
    assert run(pictures, "--encoder", "rooms", "--size", 32, "--out", out) == 0
    assert len([*out.glob("*.npy")]) == 20 + 1  # and the ids
    assert run(pictures, "--encoder", "room", "--out", out) == 2
    assert "or rooms for the shipped encoders" in capsys.readouterr().err


def test_an_empty_folder_of_pictures(tmp_path, files, out, capsys):
    (tmp_path / "none").mkdir()
    assert run(tmp_path / "none", "--encoder", files / "two.safetensors", "--out", out) == 2
    assert capsys.readouterr().err.endswith("none has no pictures; it is empty.\n")


def test_incomplete_taskonomy(tmp_path, files, out, capsys):
    root = export.WRITERS["taskonomy"].write(tmp_path / "taskonomy", layouts.SHOWN)
    (root / "normal" / "room000" / "point_0_view_0_domain_normal.png").unlink()
    argv = ("--encoder", files / "two.safetensors", "--size", 8, "--complete-only", "--out", out)
    assert run(root, *argv) == 0
    assert "left out 1 of 9 pictures" in capsys.readouterr().err
    assert run(tmp_path, "--layout", "folder", *argv) == 2
    assert "--complete-only works only with the layout taskonomy" in capsys.readouterr().err


def test_a_new_layout_is_read_as_its_record_says(pictures, files, out, tmp_path, monkeypatch):
    def read(root, split, targets):
        assert targets == ()
        return datasets.folder(root / split)

    mine = datasets.Layout(marks=(("pictures",),), targets={}, read=read, split="pictures")
    monkeypatch.setitem(datasets.LAYOUTS, "mine", mine)
    shutil.copytree(pictures, tmp_path / "val")
    (tmp_path / "val" / "a.png").unlink()
    few = (tmp_path, "--encoder", files / "two.safetensors", "--quiet", "--out")
    assert run(*few, out) == 0
    assert run(*few, tmp_path / "held out", "--split", "val") == 0
    assert [len(jaxsim.read_features(place)[1]) for place in (out, tmp_path / "held out")] == [7, 6]


def test_labels_are_pictures_only_where_that_is_asked_for(tmp_path, files, out, capsys):
    root = export.WRITERS["voc"].write(tmp_path / "voc", layouts.SHOWN)
    few = ("--encoder", files / "two.safetensors", "--size", 8, "--quiet", "--out")
    assert run(root, *few, out) == 0
    assert run(root, "--layout", "folder", *few, tmp_path / "all") == 0
    detected, every = (jaxsim.read_features(place)[1] for place in (out, tmp_path / "all"))
    assert not [name for name in detected if "Segmentation" in name]
    assert [name for name in every if "SegmentationClass" in name]


def test_preprocessing_by_encoder_and_for_all(pictures, files, out, capsys):
    two = ("--encoder", files / "two.safetensors", "--encoder", files / "depth.safetensors", "--size", 32)
    depth = "depth=depth_zbuffer"
    assert run(pictures, *two, "--out", out) == 2
    assert "encoder 'depth' is a network of Taskonomy" in capsys.readouterr().err
    assert run(pictures, *two, "--preprocessing", depth, "--out", out) == 0
    told = json.loads((out / "features.json").read_text())["features"]
    assert [told[name]["preprocessing"]["clip"] for name in ("a", "depth")] == [None, [0.1, 0.9]]
    assert run(pictures, *two, "--preprocessing", "inpainting", "--out", out, "--overwrite") == 0
    told = json.loads((out / "features.json").read_text())["features"]
    assert [told[name]["preprocessing"]["hides"] for name in ("a", "depth")] == [True, True]


def test_encoders_of_the_built_in_world(pictures, files, out):
    assert run(pictures, "--encoder", files / "world.safetensors", "--out", out, "--quiet") == 0
    features, _ = jaxsim.read_features(out)
    images = np.stack([extraction.UNIT.at(12).frame(whole.picture(name)) for name in "abcdefg"])
    for name, own in (("colorization", "gray"), ("edge2d", "unit")):
        expected = whole.small(1)(forward.prepare(extraction.NAMED[own], images))
        np.testing.assert_allclose(features[name], expected, rtol=1e-5)
    shutil.rmtree(out)
    assert run(pictures, "--encoder", files / "world.safetensors", "--out", out, "--quiet", "--size", 16) == 0
    assert jaxsim.read_features(out)[0]["edge2d"].shape == (7, 4, 4, 6)


# How it fails


def refused(capsys, out, *argv):
    """Code 2, one line on standard error, nothing written; the line."""
    assert run(*argv, "--out", out, "--quiet") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert not out.exists()
    assert not storage.part_of(out).exists()
    return printed.err


def test_bad_input_is_told_in_one_sentence(pictures, files, out, tmp_path, capsys):
    two = ("--encoder", files / "two.safetensors")
    (tmp_path / "empty").mkdir()
    assert "empty has no pictures" in refused(capsys, out, tmp_path / "empty", *two)
    assert "absent does not exist" in refused(capsys, out, tmp_path / "absent", *two)
    assert "'a' has no layer 'block1'; it has conv1, conv2" in refused(capsys, out, pictures, *two, "--layer", "block1")
    assert "'gray' does not accept pictures of 16 x 16 x 3" in refused(
        capsys, out, pictures, "--encoder", files / "gray.safetensors"
    )
    again = (*two, "--encoder", files / "same.safetensors")
    assert "has an encoder 'a', and so does another file" in refused(capsys, out, pictures, *again)
    assert "no preprocessing 'odd'" in refused(capsys, out, pictures, *two, "--preprocessing", "odd")
    assert "no encoder 'z'; choose from a, b" in refused(capsys, out, pictures, *two, "--preprocessing", "z=unit")
    assert "--split works only with --layout nyud_mt, pascal_mt, voc; folder has no splits" in refused(
        capsys, out, pictures, *two, "--split", "val"
    )
    assert "does not contain VOC2012" in refused(capsys, out, pictures, *two, "--layout", "voc")
    whole.Image.fromarray(whole.picture("h", 20, 16)).save(pictures / "h.png")
    assert "'h.png' has 20 x 16 pixels, but the first one has 16 x 16; give a size" in refused(
        capsys, out, pictures, *two
    )


def test_damaged_encoder_files_are_told(pictures, files, out, tmp_path, capsys):
    data = (files / "two.safetensors").read_bytes()
    path = tmp_path / "damaged.safetensors"
    for content in (data[:-40], data[:-40] + b"x" * 40, b"nothing", b""):
        path.write_bytes(content)
        assert "damaged.safetensors" in refused(capsys, out, pictures, "--encoder", path)
    assert "absent.safetensors does not exist" in refused(
        capsys, out, pictures, "--encoder", files / "absent.safetensors"
    )


def test_a_corrupt_picture_then_the_same_command_again(pictures, files, out, capsys):
    command = (pictures, "--encoder", files / "two.safetensors", "--batch", 2, "--out", out)
    good = (pictures / "f.png").read_bytes()
    (pictures / "f.png").write_bytes(good[:80])
    assert run(*command) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert "f.png is damaged" in printed
    assert "4 of 7 pictures are done and kept in" in printed
    assert not out.exists()
    (pictures / "f.png").write_bytes(good)
    assert run(*command) == 0
    assert jaxsim.read_features(out)[0]["a"].shape == (7, 4, 4, 6)


def test_ctrl_c_keeps_what_is_done(pictures, files, out, capsys, monkeypatch):
    def interrupt(done, total):
        raise KeyboardInterrupt

    command = (pictures, "--encoder", files / "two.safetensors", "--batch", 2, "--out", out)
    monkeypatch.setattr(jaxsim.cli.features, "progress", lambda *_: interrupt)
    assert run(*command) == 130
    printed = capsys.readouterr().err
    assert "out.part; run the same command again to continue" in printed
    assert not out.exists()
    monkeypatch.undo()
    assert run(*command) == 0


def test_a_full_disk(pictures, files, out, capsys):
    command = (pictures, "--encoder", files / "two.safetensors", "--batch", 2, "--out", out)
    with full_disk(1500):
        assert run(*command) == 2
    assert "could not be written: file too large. 2 of 7 pictures are done" in capsys.readouterr().err
    assert run(*command) == 0


def test_weights_and_features_that_are_not_finite(pictures, files, out, tmp_path, capsys):
    def infinite(x):
        return {"code": x[:, 0, 0] * np.inf}

    with pytest.warns(RuntimeWarning, match="Features 'odd' have numbers that are not finite") as told:
        extraction.extract(pictures, {"odd": infinite, "a": whole.small(1)}, tmp_path / "odd", batch=2)
    assert len(told) == 1
    encoder = whole.small(1)
    kernel = variables(encoder)["conv1/kernel"]
    kernel.set_value(kernel[...] * np.nan)
    models.to_safetensors({"a": encoder}, tmp_path / "nan.safetensors")
    said = refused(capsys, out, pictures, "--encoder", tmp_path / "nan.safetensors")
    assert "nan.safetensors: array 'a/conv1/kernel' has values that are not finite" in said
    assert "does not exist or is not a file" in refused(capsys, out, pictures, "--encoder", pictures)


def test_settings_that_choose_nothing(pictures, files, out, capsys):
    two = ("--encoder", files / "two.safetensors")
    for flag, value in (("--batch", "0"), ("--batch", "-1"), ("--size", "0"), ("--size", "-8")):
        assert f"argument {flag}: '{value}' is not a whole number above zero" in refused(
            capsys, out, pictures, *two, flag, value
        )
    assert "has no layer 'zzz*'; it has conv1, conv2" in refused(capsys, out, pictures, *two, "--layer", "zzz*")
    (pictures / "a.png").write_text("no picture at all")
    assert "a.png is damaged, truncated or of another format: its picture format" in refused(
        capsys, out, pictures, *two
    )


def test_output_that_is_there_or_cannot_be_written(pictures, files, out, tmp_path, capsys, monkeypatch):
    command = (pictures, "--encoder", files / "two.safetensors", "--out")
    (tmp_path / "file").write_text("x")
    assert run(*command, tmp_path / "file") == 2
    assert "file is a file" in capsys.readouterr().err
    assert run(*command, out) == 0
    capsys.readouterr()
    assert run(*command, out) == 2
    assert "out already exists; give --overwrite to replace it." in capsys.readouterr().err
    assert run(*command, out, "--overwrite", "--size", 8) == 0
    assert jaxsim.read_features(out)[0]["a"].shape == (7, 2, 2, 6)
    assert run(*command, pictures, "--overwrite") == 2
    assert "contains other things than features" in capsys.readouterr().err
    monkeypatch.setattr(storage.os, "access", lambda *_: False)
    assert run(*command, tmp_path / "new") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_help(capsys):
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert "  jaxsim features" in printed
    assert max(map(len, printed.splitlines())) <= 120
    for line in jaxsim.cli.features.__doc__.split("Examples:")[1].strip().splitlines():
        assert build_parser().parse_args(line.split()[1:]).command == "features"
    assert run("pictures", "--out", "x") == 2
    assert "--encoder" in capsys.readouterr().err
