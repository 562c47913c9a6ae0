"""The benchmark for a GPU: its rows on a CPU, its guards, its oracle, its peer in PyTorch and its reading of traces."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK as QUICKLY_COMPILED

pytest.importorskip("sklearn")

from benchmarks import accelerator, accelerator_checks, accelerator_trace, data, published  # noqa: E402
from benchmarks.accelerator_bench import QUICK, Bench, SkippedError  # noqa: E402

ROOT = Path(__file__).parents[1]
SHAPE = (4, 4, 8)


def command(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICKLY_COMPILED}
    run = [sys.executable, "-m", "benchmarks.accelerator", "--cpu", "--quick", *arguments]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)


def has_value_or_reason(row):
    """Times, errors, counts or rates; or a text that says why not."""
    reasons = [row[word] for word in ("failed", "skipped") if word in row]
    return any(key in row for key in ("seconds", "cells", "counts", "tflops")) != (reasons != []) and all(reasons)


@pytest.mark.slow
def test_rows_on_a_cpu(tmp_path):
    done = command("--only", "ceilings", "cka_200", "torch_cka_*00", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "accelerator-quick.json").read_text())
    assert list(result["rows"]) == ["ceilings", "cka_200", "torch_cka_200", "torch_cka_500", "torch_cka_2000"]
    assert all(map(has_value_or_reason, result["rows"].values()))
    ours = result["rows"]["cka_200"]
    assert ours["programs"] > 0
    assert ours["share"] == pytest.approx(ours["limit_seconds"] / ours["seconds"])
    assert result["device"] == "cpu"
    assert "HIGHEST" in result["precision"]


@pytest.mark.slow
def test_all_rows_on_a_cpu(tmp_path):
    done = command("--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "accelerator-quick.json").read_text())
    assert list(result["rows"]) == list(accelerator.all_rows())
    assert all(map(has_value_or_reason, result["rows"].values()))
    assert result["largest_error"]["error"] < 1e-4
    parts = [row.get("torch", {}) for row in result["rows"].values()]
    assert not [text for part in parts if (text := part.get("failed"))]


@pytest.mark.slow
def test_list_and_unknown_rows():
    assert command("--list").stdout.split() == list(accelerator.all_rows())
    with pytest.raises(SystemExit, match="no row matches nonsense"):
        accelerator.chosen(["grid", "nonsense"], accelerator.all_rows())


# Guards
def run(rows, path, seconds=100.0):
    bench = Bench(QUICK, cpu=True, seconds=seconds)
    accelerator.Run(bench, rows, path, {"device": "none"}).all()
    return json.loads(path.read_text())["rows"]


def broken(bench):
    raise MemoryError("RESOURCE_EXHAUSTED: no memory left")


def absent(bench):
    raise SkippedError("nothing to compare with")


def test_a_failing_case_does_not_lose_the_others(tmp_path):
    path = tmp_path / "rows.json"
    seen = []

    def last(bench):
        seen.append(json.loads(path.read_text())["rows"])
        return {"seconds": 2.0}

    found = run({"first": lambda bench: {"seconds": 1.0}, "broken": broken, "absent": absent, "last": last}, path)
    assert all(map(has_value_or_reason, found.values()))
    assert found["first"]["seconds"] == 1.0
    assert found["broken"]["failed"] == "MemoryError: RESOURCE_EXHAUSTED: no memory left"
    assert found["absent"]["skipped"] == "nothing to compare with"
    assert found["last"]["seconds"] == 2.0
    assert seen[0]["broken"] == found["broken"]  # written before the next began
    assert seen[0]["last"] == {"failed": "the process ended while this ran"}


def test_cases_after_the_deadline_are_skipped(tmp_path):
    def slow(bench):
        time.sleep(0.2)
        return {"seconds": 0.2}

    found = run({"slow": slow, "late": slow}, tmp_path / "rows.json", seconds=0.1)
    assert found["slow"]["seconds"] == 0.2
    assert found["late"] == {"skipped": "out of time"}


@pytest.mark.slow
def test_a_case_that_does_not_return_is_ended(tmp_path):
    program = """
import pathlib, sys, time
from benchmarks import accelerator
from benchmarks.accelerator_bench import QUICK, Bench
accelerator.GRACE = 0.2
rows = {"hangs": lambda bench: time.sleep(60), "late": lambda bench: {}}
accelerator.Run(Bench(QUICK, cpu=True, seconds=0.1), rows, pathlib.Path(sys.argv[1]), {}).all()
"""
    path = tmp_path / "rows.json"
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, timeout=50)
    rows = json.loads(path.read_text())["rows"]
    assert done.returncode == 1
    assert "still running" in rows["hangs"]["failed"]
    assert rows["late"] == {"skipped": "out of time"}


def test_a_file_is_not_replaced(tmp_path):
    for name in ("rows.json", "rows-2.json"):
        assert accelerator.unused(tmp_path, "rows").name == name
        (tmp_path / name).touch()
    assert accelerator.unused(tmp_path, "rows").name == "rows-3.json"


# Parts
def test_the_oracle_on_the_device():
    x = data.networks(3, 24, SHAPE)
    found = accelerator_checks.scores(x, l1=2)
    for norm, f in published.CELLS:
        k = 2 if f == "laplacian" else 3
        expected = published.oracle(x, norm, f)[:k, :k]
        np.testing.assert_allclose(found[f"{norm}/{f}"], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["RSA"], published.rsa_oracle(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", published.NORMS)
def test_the_grid_in_pytorch(norm):
    torch = pytest.importorskip("torch")
    from benchmarks import accelerator_torch

    x = data.networks(3, 24, SHAPE)
    maps = accelerator_torch.six_maps(accelerator_torch.normalized(torch.from_numpy(x).double(), norm))
    for f in published.FUNCTIONS:
        z = accelerator_torch.unit(maps[f])
        np.testing.assert_allclose((z @ z.T).numpy(), published.oracle(x, norm, f), rtol=0, atol=1e-6)


def test_measures_in_pytorch():
    torch = pytest.importorskip("torch")
    from benchmarks import accelerator_torch

    x = data.networks(3, 24, SHAPE)
    flat = torch.from_numpy(x).flatten(2).double()
    found = {name: f(flat).numpy() for name, f in accelerator_torch.MEASURES.items()}
    np.testing.assert_allclose(found["rsa"], published.rsa_oracle(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["cka"], published.oracle(x, "identity", "linear"), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["dds"], published.oracle(x, "zscore", "laplacian"), rtol=0, atol=1e-6)


def named(what, pid, name, **more):
    return {"ph": "M", "name": what, "pid": pid, "args": {"name": name}, **more}


def test_kernels_are_added_up_by_name():
    def span(name, dur, pid, tid, **args):
        return {"ph": "X", "name": name, "dur": dur, "pid": pid, "tid": tid, "args": args}

    events = [
        named("process_name", 1, "/device:GPU:0"),
        named("process_name", 2, "/host:CPU"),
        named("thread_name", 1, "Stream #7(Compute)", tid=7),
        named("thread_name", 1, "XLA Modules", tid=8),
        *(span("gemm", 3e6, 1, 7), span("sort", 4e6, 1, 7), span("gemm", 2e6, 1, 7)),
        *(span("jit_f", 9e6, 1, 8), span("wait", 8e6, 2, 5)),
    ]
    found = accelerator_trace.summary(events, count=1)
    assert found["kernels"] == [{"name": "gemm", "seconds": 5.0, "calls": 2, "share": pytest.approx(5 / 9)}]
    assert (found["launches"], found["device_seconds"]) == (3, 9.0)
    on_cpu = accelerator_trace.summary([events[1], span("dot", 1e6, 2, 5, hlo_op="dot")])
    assert on_cpu["events"] == "operations on the CPU"
    with pytest.raises(ValueError, match="no events of the device"):
        accelerator_trace.summary(events[:4])


PROGRAM = """HloModule jit_f, is_scheduled=true

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]{0}) parameter(0)
  %k = s32[] get-tuple-element(%p), index=0
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %next = s32[] fusion(%k), kind=kLoop, calls=%add
  %twice = f32[4]{0} fusion(%x), kind=kLoop, calls=%double
  ROOT %both = (s32[], f32[4]{0}) tuple(%next, %twice)
}

ENTRY %main.1 (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4]{0}) tuple(%zero, %a)
  %loop = (s32[], f32[4]{0}) while(%start), body=%body, metadata={op_name="while"}, c={"known_trip_count":{"n":"5"}}
  %found = f32[4]{0} get-tuple-element(%loop), index=1
  ROOT %sorted = f32[4]{0} sort(%found), dimensions={0}, to_apply=%less
}
"""


def test_launches_of_a_loop_count_as_often_as_it_runs():
    from benchmarks.launches import counted

    found = counted(PROGRAM)
    assert found["launches"] == 5 * 2 + 1
    assert found["bytes"] == 5 * (8 + 32) + 32
    assert found["loops"] == {"while x 5": 10}
