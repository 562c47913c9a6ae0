"""Memory and time predicted by `js.explain` against measurements: twenty calls of `affinity`, twelve of `resample`.

    python -m benchmarks.plans --out benchmarks/results/plans.json

Every problem runs in its own process. Memory is the process's peak minus what it used before the features were made.
This includes programs that XLA compiles, which are not in the plan. Time is the mean of two calls after the first. The
rates that predict it are measured before each call. Each row is written as soon as it is ready. With `--only`, the rows
for other problems stay in the file unchanged.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.timing import forget_peak

PROBLEMS = [
    {"measure": "rsa", "networks": 20, "images": 1000, "width": 256},
    {"measure": "rsa", "networks": 40, "images": 700, "width": 64},
    {"measure": "rsa", "networks": 6, "images": 2000, "width": 128},
    {"measure": "rsa-uncentered", "networks": 10, "images": 1000, "width": 1024},
    {"measure": "rsa", "networks": 40, "images": 1000, "width": 64, "memory": 60e6},
    {"measure": "cka", "networks": 20, "images": 2000, "width": 64},
    {"measure": "cka", "networks": 30, "images": 1500, "width": 512},
    {"measure": "cka", "networks": 10, "images": 20000, "width": 64},
    {"measure": "cka", "networks": 100, "images": 500, "width": 128},
    {"measure": "cka-rbf", "networks": 6, "images": 1500, "width": 128},
    {"measure": "cka-rbf", "networks": 20, "images": 700, "width": 512},
    {"measure": "cka-rbf-biased", "networks": 10, "images": 1000, "width": 64},
    {"measure": "dds-laplacian", "networks": 10, "images": 1000, "width": 128},
    {"measure": "dds-laplacian", "networks": 20, "images": 500, "width": 256},
    {"measure": "dds-laplacian", "networks": 4, "images": 2000, "width": 64, "tile": 512},
    {"measure": "dds-cosine", "networks": 20, "images": 1500, "width": 256},
    {"measure": "dds-cosine", "networks": 8, "images": 4000, "width": 128, "tile": 1024},
    {"measure": "distance-correlation", "networks": 10, "images": 1500, "width": 128},
    {"measure": ["rsa", "cka", "dds-cosine"], "networks": 10, "images": 1000, "width": 256},
    {"measure": "cca", "networks": 10, "images": 1000, "width": 50},
    {"measure": "rsa", "networks": 12, "images": 500, "width": 128, "scheme": "Bootstrap", "resamples": 100},
    {"measure": "cka", "networks": 20, "images": 400, "width": 64, "scheme": "Bootstrap", "resamples": 400},
    {"measure": "dds-laplacian", "networks": 6, "images": 500, "width": 64, "scheme": "Jackknife"},
    {"measure": "rsa", "networks": 8, "images": 800, "width": 64, "scheme": "HalfSamples", "resamples": 20},
    {"measure": "cka", "networks": 12, "images": 1000, "width": 64, "scheme": "HalfSamples", "resamples": 40},
    {"measure": "cka-rbf", "networks": 8, "images": 600, "width": 64, "scheme": "HalfSamples", "resamples": 40},
    {"measure": "rsa", "networks": 8, "images": 600, "width": 64, "scheme": "Permutation", "resamples": 100},
    {"measure": "dds-cosine", "networks": 10, "images": 1000, "width": 128, "scheme": "Permutation", "resamples": 40},
    {
        "measure": "dds-laplacian",
        "networks": 4,
        "images": 2000,
        "width": 64,
        "scheme": "HalfSamples",
        "resamples": 8,
        "memory": 60e6,
    },
    {
        "measure": "cka",
        "networks": 6,
        "images": 4000,
        "width": 64,
        "scheme": "HalfSamples",
        "resamples": 20,
        "memory": 60e6,
    },
    {
        "measure": "dds-cosine",
        "networks": 4,
        "images": 3000,
        "width": 128,
        "scheme": "Permutation",
        "resamples": 6,
        "memory": 60e6,
    },
    {
        "measure": "rsa",
        "networks": 2,
        "images": 7000,
        "width": 32,
        "scheme": "Permutation",
        "resamples": 2,
        "memory": 1.3e9,
    },
]
MEMORY, TIME = 0.25, 2.0
"""Largest error of the memory, as a share of what is measured, and largest ratio of times, either way."""


def held(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far; unlike ru_maxrss, without those of the parent."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def measured(problem: dict) -> dict:
    """Predicted and measured bytes and seconds of one problem, in this process."""
    import numpy as np

    import jaxsim as js
    from jaxsim.engine.plans import rates

    rng, options = np.random.default_rng(0), {k: problem[k] for k in ("memory", "tile") if k in problem}
    verb, given = js.affinity, (problem["measure"],)
    if "scheme" in problem:
        options["n_resamples"] = problem.get("resamples")
        verb, given = js.resample, (problem["measure"], getattr(js, problem["scheme"])())
    js.affinity(rng.normal(size=(3, 20, 4)), problem["measure"])
    rates()
    trim = ctypes.CDLL("libc.so.6").malloc_trim
    trim(0)
    before = held("VmRSS")
    shape = (problem["images"], problem["width"])
    x = {f"n{k}": rng.standard_normal(shape, np.float32) for k in range(problem["networks"])}
    features, plan = held("VmRSS") - before, js.explain(x, *given, **options)
    taken, said, most = [], [], []
    for _ in range(3):
        trim(0)
        forget_peak()
        start_at = before if not most else held("VmRSS") - features
        rates.cache_clear()
        said.append(plan.seconds())
        start = time.perf_counter()
        verb(x, *given, **options)
        taken.append(time.perf_counter() - start)
        most.append(held("VmHWM") - start_at)
    found = {
        "first_bytes": most[0],
        "bytes": max(most[1:]),
        "seconds": statistics.mean(taken[1:]),
        "first_call": taken[0],
    }
    predicted = {"bytes": plan.bytes, "seconds": statistics.mean(said[1:]), "work": dict(plan.work), "rates": rates()}
    return {"problem": problem, "routes": plan.routes, "calls": plan.calls, "measured": found, "predicted": predicted}


def write(path: Path | None, row: dict, rows: list[dict]) -> dict:
    """Put a row in its place among those of the file, and count what is right of all."""
    rows[:] = [one for one in rows if one["problem"] != row["problem"]] + [row]
    rows.sort(key=lambda one: PROBLEMS.index(one["problem"]))
    right = {}
    for verb in ("affinity", "resample"):
        own = [one["ratios"] for one in rows if ("scheme" in one["problem"]) == (verb == "resample")]
        memory = sum(abs(ratios["bytes"] - 1) <= MEMORY for ratios in own)
        right[verb] = {"of": len(own), "bytes": memory, "seconds": sum(1 / TIME <= r["seconds"] <= TIME for r in own)}
    if path:
        path.write_text(json.dumps({"cores": os.cpu_count(), "right": right, "rows": rows}, indent=1))
    return right


def main() -> None:
    """Run all problems, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=("tiles", "resample"), help="some of the problems")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measured(PROBLEMS[arguments.one])))
        return
    rows, right = [], {}
    if arguments.only and arguments.out and arguments.out.is_file():
        rows = [row for row in json.loads(arguments.out.read_text())["rows"] if row["problem"] in PROBLEMS]
    print(f"{'problem':52} {'MB':>6} {'plan':>6} {'ratio':>6}   {'s':>6} {'plan':>6} {'ratio':>6}")
    kinds = {"tiles": lambda problem: "tile" in problem, "resample": lambda problem: "scheme" in problem}
    for k, problem in enumerate(PROBLEMS):
        if arguments.only and not kinds[arguments.only](problem):
            continue
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plans", "--one", str(k)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        if done.returncode:
            raise RuntimeError(f"{problem} failed: {done.stderr[-2000:]}")
        row = json.loads(done.stdout.splitlines()[-1])
        found, said = row["measured"], row["predicted"]
        row["ratios"] = {key: said[key] / found[key] for key in ("bytes", "seconds")}
        row["load"] = os.getloadavg()[0]
        right = write(arguments.out, row, rows)
        name = " ".join(str(v) for v in problem.values())
        print(
            f"{name:52} {found['bytes'] / 1e6:6.0f} {said['bytes'] / 1e6:6.0f} {row['ratios']['bytes']:6.2f}   "
            f"{found['seconds']:6.2f} {said['seconds']:6.2f} {row['ratios']['seconds']:6.2f}",
            flush=True,
        )
    print(f"memory within 25 % and time within a factor of 2: {right}")


if __name__ == "__main__":
    main()
