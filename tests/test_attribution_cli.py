"""The command `attribution`: what it writes and says, and how it fails."""

import json

import numpy as np
import pytest

pytest.importorskip("flax", reason="attribution needs the nn extra")
pytest.importorskip("grain", reason="datasets need the nn extra")
pytest.importorskip("matplotlib", reason="plots need the plot extra")

import test_attribution as whole

import jaxsim
from jaxsim.cli import main
from jaxsim.io import write_npz
from jaxsim.vision import attribution, models

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    root = tmp_path_factory.mktemp("bank")
    models.to_safetensors(whole.bank(), root / "bank.safetensors")
    return root / "bank.safetensors"


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for name, picture in zip("abcde", whole.PICTURES, strict=True):
        Image.fromarray(picture).save(root / f"{name}.png")
    return root


def run(*argv):
    return main(["attribution", *map(str, argv)])


def test_two_rules_have_folders_with_all_files(pictures, bank, out, capsys, recwarn):
    rules = ("--rule", "saliency", "--rule", "deeplift")
    assert run(pictures, "--bank", bank, *rules, "--batch", 2, "--resamples", 8, "--out", out, "--json") == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert [one["rule"] for one in told["attribution"]] == ["saliency", "deeplift"]
    assert any("5 images are few" in flag for flag in told["attribution"][0]["flags"])
    assert "5 pictures (folder); 3 encoders" in printed.err
    expected = dict(zip(attribution.RULES, whole.scored(), strict=True))
    for rule in ("saliency", "deeplift"):
        scores, affinity, resamples = (
            jaxsim.load(out / rule / f"{name}.npz") for name in ("image_scores", "affinity", "resamples")
        )
        np.testing.assert_allclose(scores.values, expected[rule].values, atol=1e-6)
        np.testing.assert_allclose(affinity.values, np.mean(scores.values, 0), atol=1e-6)
        assert resamples.values.shape == (8, 3, 3)
        assert scores.ids == tuple(f"{name}.png" for name in "abcde")
        assert len((out / rule / "intervals.csv").read_text().splitlines()) == 4
        assert (out / rule / "matrix.png").stat().st_size > 1000
    assert len(told["files"]) == 10


def test_what_is_refused_leaves_nothing(pictures, bank, out, tmp_path, capsys):
    write_npz(tmp_path / "features.npz", {"a": np.zeros((4, 9))})
    lone = tmp_path / "lone"
    lone.mkdir()
    Image.fromarray(whole.PICTURES[0]).save(lone / "a.png")
    cases = {
        "there is no attribution rule 'lrp'; choose from saliency": (pictures, "--rule", "lrp"),
        "features.npz": (tmp_path / "features.npz",),
        "1 pictures in batches of 32 by 1 rules cannot be compared; give at least two pictures": (lone,),
        "--bank": (pictures, "--bank", bank),
        "there is no encoder 'd'": (pictures, "--preprocessing", "d=unit"),
        "--rule saliency is given twice; give it once": (pictures, "--rule", "saliency", "--rule", "saliency"),
    }
    for message, argv in cases.items():
        assert run(*argv, "--bank", bank, "--out", out) == 2, message
        assert message in capsys.readouterr().err
        assert not out.exists()
    Image.fromarray(whole.PICTURES[0][:8]).save(pictures / "f.png")
    assert run(pictures, "--bank", bank, "--out", out) == 2
    assert "Picture 'f.png' has 8 x 16 pixels, but the first one has 16 x 16; give a size." in capsys.readouterr().err
    assert not out.exists()
