"""The README's code runs, and its tables name what there is."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import jaxsim as js
from jaxsim import measures
from jaxsim.cli.parser import build_parser

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_ten_lines_run(capsys):
    names = {}
    exec(BLOCKS[0], names)
    assert names["A"].values.shape == (12, 12)
    assert names["low"].shape == (12, 12)
    assert "estimate" in capsys.readouterr().out


def test_recipe_for_a_torch_network_runs(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        noise = np.random.default_rng(k).integers(0, 255, (32, 40, 3), np.uint8)
        image.fromarray(noise).save(tmp_path / "pictures" / f"{k}.png")
    network = torch.nn.Sequential()
    network.layer3 = torch.nn.Conv2d(3, 4, 3, stride=16)
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[1], {"network": network})
    features, ids = js.read_features(tmp_path / "features")
    assert features["resnet"].shape == (3, 14, 14, 4)
    assert len(ids) == 3


def test_the_built_in_world_in_a_few_lines_runs(capsys):
    pytest.importorskip("flax", reason="the nn extra is not installed")
    block = next(block for block in BLOCKS if "rooms import" in block)
    exec(block.replace("pictures.make(100", "pictures.make(40"), {})
    assert 0.5 < float(capsys.readouterr().out) < 0.9


def test_commands_are_valid_usage():
    commands = [line.partition("#")[0] for line in README.splitlines() if line.startswith("jaxsim ")]
    assert len(commands) >= 10
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:])


def test_table_of_measures_is_true():
    rows = re.findall(r"^\| `([A-Z_]+)`(?:, `([a-z-]+)`)? \| (\w+) \| (\w+) \| (\w+) \|", README, re.M)
    assert len(rows) >= 8
    for value, name, *parts in rows:
        measure = getattr(js, value)
        assert [
            measures.name_of(p).replace("-", "_") for p in (measure.transform, measure.pairwise, measure.compare)
        ] == parts
        if name:
            assert measures.by_name(name) == measure


def test_every_named_measure_has_a_source():
    assert measures.NAMED.keys() == measures.SOURCES.keys()
