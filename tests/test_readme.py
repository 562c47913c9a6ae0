"""The README is short and true: its code runs, its commands run, its table names what there is."""

import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import jaxsim as js
from jaxsim import cli, io, measures

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
FENCED = "\n".join(re.findall(r"```\n(.*?)```", re.sub(r"```python.*?```", "", README, flags=re.S), re.S))
COMMANDS = [line.partition("#")[0].strip() for line in FENCED.splitlines() if line.startswith("jaxsim ")]


def test_it_is_short():
    assert len(README.split()) <= 1000


MADE = {name: x[:24, :2, :2, :4] for name, x in js.demo.features().items()}
"""Fewer features of the networks of the README, whose programs compile sooner and serve its commands too."""


def test_ten_lines_run(capsys, monkeypatch):
    monkeypatch.setattr(js.demo, "features", lambda: MADE)
    names = {}
    (block,) = BLOCKS
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    exec(block, names)
    assert names["A"].values.shape == (12, 12)
    assert names["low"].shape == (12, 12)
    assert "amber_1" in capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FEATURES of twelve networks and the measured transfer between them, as released."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "FEATURES").mkdir()
    rng, tasks = np.random.default_rng(0), io.TASKONOMY_17[:12]
    for task, x in zip(tasks, MADE.values(), strict=True):
        np.save(folder / "FEATURES" / f"{task}.npy", x)
    transfer = {f"{a}__{b}": float(rng.uniform()) for a in tasks for b in tasks}
    (folder / "all_affinities.pkl").write_bytes(pickle.dumps(transfer))
    return folder


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=pytest.mark.slow if "calibrate" in c else ()) for c in COMMANDS]
)
def test_commands_run(command, folder, monkeypatch, capsys):
    """In the order of the README: later commands read what earlier ones wrote."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(folder)
    parts = shlex.split(command)[1:]
    before = set(folder.rglob("*"))
    earlier = {"affinity.npz": js.affinity, "resamples.npz": js.resample}
    for name, verb in earlier.items() if parts[0] in ("taxonomy", "evaluate") else ():
        if not (folder / "results" / name).exists():  # the command that writes it may run in another worker
            verb(js.read_features("FEATURES")[0], "rsa").save(folder / "results" / name)
    assert cli.main([*parts, *(["--overwrite"] if "--out" in parts else [])]) in (0, None)
    assert capsys.readouterr().out or set(folder.rglob("*")) > before


def test_commands_are_there():
    assert {shlex.split(command)[1] for command in COMMANDS} >= {"affinity", "bootstrap", "taxonomy", "evaluate"}


def test_table_of_measures_is_true():
    rows = re.findall(r"^\| `([a-z-]+)`(?:, `[a-z]+`)? \| ([\w-]+) \| ([\w-]+) \| ([\w-]+) \|", README, re.M)
    assert [row[0] for row in rows] == list(measures.NAMED)
    for name, *parts in rows:
        measure = measures.by_name(name)
        assert [measures.name_of(p) for p in (measure.transform, measure.pairwise, measure.compare)] == parts


def test_files_that_it_links_to_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
