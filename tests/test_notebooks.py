"""Notebooks are kept as they were run, and still run."""

import json
import os
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_as_run_from_top_to_bottom(path):
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}  # warnings would be on stderr
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    for package in ("matplotlib", "torch") if path.stem == "torch_layers" else ("matplotlib",):
        pytest.importorskip(package)
    if path.stem == "brain_rdms" and "JAXSIM_DATA" not in os.environ:
        pytest.skip("JAXSIM_DATA is not set")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for k, cell in enumerate(code(path)):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {k}", "exec"), names)
    assert not list(tmp_path.iterdir())
