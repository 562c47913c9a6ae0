"""All benchmarks in one command: `python -m benchmarks.run [--quick] [--only NAME] [--out FILE.json]`."""

import argparse
import datetime
import functools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks import accuracy, data, peers, table, timing
from benchmarks.cases import QUICK, Case, Sizes
from benchmarks.cases_rsa import CASES, torch_cka

PROBES = ("startup", "compilations", "accuracy")
HERE = Path(__file__).parent


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def probe(*arguments: str, quick: bool = False) -> tuple[dict, float]:
    """A measurement in a fresh process: what it printed and the wall time of the whole process."""
    command = [sys.executable, "-m", "benchmarks.probes", *arguments, *(["--quick"] if quick else [])]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": last}, wall
    return json.loads(done.stdout.strip().splitlines()[-1]), wall


def startup(quick: bool) -> dict:
    """Cold start, and what `import jaxsim` adds to `import jax`; medians over fresh processes in turn."""
    rounds = 2 if quick else 7
    added, cold = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/features.npy"
        np.save(path, data.networks(20, 200))
        for _ in range(rounds):
            jax, jaxsim = probe("imports", "jax")[0], probe("imports", "jaxsim")[0]
            added.append(jaxsim.get("seconds", float("nan")) - jax.get("seconds", float("nan")))
        for _ in range(1 + rounds // 3):
            phases, wall = probe("cold", path)
            cold.append({"wall": wall, **phases})
    middle = sorted(cold, key=lambda c: c["wall"])[len(cold) // 2]
    extra = statistics.median(added)
    return {
        "cold_start": middle,
        "cold_start_target": 6.0,
        "cold_start_met": "failed" not in middle and middle["wall"] <= 6.0,
        "import_added": extra,
        "import_added_runs": added,
        "import_target": 0.2,
        "import_met": extra <= 0.2,
    }


def compilations() -> dict:
    """Programs compiled for fifty networks of fifty widths, a fresh process per measure; four at most are wanted."""
    found = {m: probe("compilations", m)[0] for m in ("RSA", "CKA_LINEAR", "DDS_LAPLACIAN")}
    worst = max(m.get("programs", np.inf) for m in found.values())
    return {"measures": found, "target": 4, "met": bool(worst <= 4)}


def timed(name: str, case: Case, repeats: int, quick: bool) -> dict:
    """Time one case and put ratios, agreement, memory and matmul rates beside the seconds."""
    summary, scores = timing.interleave(case.sides, repeats)
    mine = summary["ours"]["seconds"]
    ratios = {side: s["seconds"] / mine for side, s in summary.items() if side != "ours"}
    wanted = {s: t for s, t in case.targets.items() if s in ratios}
    out = {
        "title": case.title,
        "sides": summary,
        "compile_seconds": max(summary["ours"]["first_call"] - mine, 0.0),
        "ratios": ratios,
        "targets": {side: {"ratio": t, "met": ratios[side] >= t} for side, t in wanted.items()},
        "difference": case.same(scores),
        "transfer_seconds": _transfer(case),
        "memory": {},
    }
    if case.flops:
        out["matmul"] = _rates(case, summary)
    if name != "torch_cka":
        for side in ("ours", "strongest"):
            out["memory"][side] = probe("memory", name, side, quick=quick)[0]
    return out


def _rates(case: Case, summary: dict) -> dict:
    """Share of the best general matrix product's rate, at 2 T n^2 d operations."""
    rate = {side: case.flops / s["seconds"] / 1e9 for side, s in summary.items()}
    best = max(rate["matmul XLA"], rate["matmul NumPy"])
    share = rate["ours"] / best
    return {"gflops": rate, "best_matmul": best, "share": share, "target": 0.8, "met": share >= 0.8}


def _transfer(case: Case) -> float:
    """Seconds to bring the case's host arrays to the device (not part of any other number)."""
    import jax

    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready([jax.numpy.array(a, copy=True) for a in case.inputs])
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def run(names: list[str], quick: bool) -> dict:
    """Run the named cases and probes; a case that fails is recorded as failed and the others go on."""
    sizes = QUICK if quick else Sizes()
    missing = [p for p in ("rsatoolbox", "cka", "torch_cka") if not peers.installed(p)]
    results: dict = {"machine": timing.machine(), "quick": quick, "skipped": missing, "cases": {}}
    results["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for package in missing:
        say(f"{package} is not installed: its comparison is skipped")
    for name in (n for n in CASES if n in names):
        say(CASES[name].__doc__.splitlines()[0])
        try:
            results["cases"][name] = _case(name, sizes, quick)
        except Exception as error:  # noqa: BLE001 - one failed case must not lose the others
            results["cases"][name] = {"failed": f"{type(error).__name__}: {error}"}
            say(f"FAILED: {error}")
    if "startup" in names:
        say("cold start and import")
        results["startup"] = startup(quick)
    if "compilations" in names:
        say("compilations for fifty widths")
        results["compilations"] = compilations()
    if "accuracy" in names:
        results["accuracy"] = accuracy.report(quick, say)
    return results


def _case(name: str, sizes: Sizes, quick: bool) -> dict:
    if name != "torch_cka":
        return timed(name, CASES[name](sizes), sizes.repeats, quick)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as worker, tempfile.TemporaryDirectory() as folder:
        case = functools.partial(torch_cka, worker=worker, folder=Path(folder))
        return timed(name, case(sizes), sizes.repeats, quick)


def write(results: dict, path: Path) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(temporary, path)


def main() -> int:
    """Run, write the JSON and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers don't mean much")
    parser.add_argument("--only", action="append", choices=(*CASES, *PROBES), help="may be repeated")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/PLATFORM.json")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    options = parser.parse_args()
    import jax

    suffix = "-quick" if options.quick else ""
    path = options.out or HERE / "results" / f"{jax.default_backend()}{suffix}.json"
    if path.exists() and not options.overwrite:
        print(f"{path} already exists; use --overwrite to replace it, or choose another --out", file=sys.stderr)
        return 2
    results = run(options.only or [*CASES, *PROBES], options.quick)
    write(results, path)
    print(table.render(results))
    say(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
