"""Speed, accuracy and limits on one GPU in under five minutes: `python -m benchmarks.accelerator [--out DIR]`.

The most useful cases run first. The JSON file is rewritten after each one. If a case fails or doesn't get its turn, its
row gives the reason. `--cpu --quick` runs everything at tiny sizes on a CPU.
"""

import argparse
import datetime
import fnmatch
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

from benchmarks import accelerator_cases as cases  # noqa: E402
from benchmarks import accelerator_checks as checks  # noqa: E402
from benchmarks import accelerator_networks as networks  # noqa: E402
from benchmarks import accelerator_torch as peers  # noqa: E402
from benchmarks import accelerator_trace as trace  # noqa: E402
from benchmarks.accelerator_bench import GRACE, QUICK, Amounts, Bench, Case, guarded, tidy  # noqa: E402
from benchmarks.run import write  # noqa: E402

HERE = Path(__file__).parent
PRECISION = "float32; every product asks for Precision.HIGHEST, so no TF32; oracles in float64 on the device"
OUT_OF_TIME = "out of time"
Rows = dict[str, Callable[[Bench], Case]]


def all_rows() -> Rows:
    """The cases by name, in the order of their worth; accuracy after rows that time how its programs compile."""
    part, images = functools.partial, Amounts().images
    matrices = [(m, k, f"{m}_{n}") for k, n in enumerate(images) for m in cases.MEASURES]
    first, _, last = images
    small = {name: part(cases.by_images, measure=m, place=k) for m, k, name in matrices if k == 0}
    rows: Rows = {"ceilings": lambda bench: bench.ceilings, "grid": cases.grid} | small
    rows |= {f"accuracy_{first}": part(checks.exact, place=0, shifted=False)}
    rows |= {f"accuracy_{first}_offset": part(checks.exact, place=0, shifted=True)}
    rows |= {name: part(cases.by_images, measure=m, place=k) for m, k, name in matrices}
    rows |= {"table4": cases.table4}
    rows |= {f"bootstrap_{m}": part(cases.bootstrap, measure=m) for m in ("rsa", "cka")}
    rows |= {"half_samples": cases.half_samples, "gradient": cases.gradient}
    rows |= {f"torch_{name}": part(peers.by_images, measure=m, place=k) for m, k, name in matrices}
    rows |= {"torch_grid": peers.grid, "torch_table4": peers.table4, "torch_gradient": peers.gradient}
    rows |= {
        "kernels_grid": part(trace.longest, call=cases.grid_call, title="longest kernels of the DDS grid"),
        "kernels_table4": part(trace.longest, call=cases.table4_call, title="longest kernels of DDS Table 4"),
    }
    rows |= {f"accuracy_{last}": part(checks.exact, place=2, shifted=False)}
    rows |= {f"accuracy_{last}_offset": part(checks.exact, place=2, shifted=True)}
    rows |= {f"large_{m}": part(cases.large, measure=m) for m in cases.MEASURES}
    rows |= {f"many_{m}": part(cases.many, measure=m) for m in cases.MEASURES}
    rows |= {"encoders": networks.encoders, "training": networks.training}
    rows |= {f"resnet50_{n}": part(networks.resnet, place=k) for k, n in enumerate(Amounts().batches)}
    return rows | {"tests": checks.tests}


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def header(quick: bool) -> dict[str, Any]:
    """Device, versions, driver, precision, date and commit."""
    import jax

    from benchmarks.timing import machine

    device = jax.devices()[0]
    query = "--query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm"
    return {
        "device": device.device_kind,
        "platform_version": str(getattr(device.client, "platform_version", "")),
        "driver": _said("nvidia-smi", query, "--format=csv,noheader"),
        "precision": PRECISION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _said("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "quick": quick,
        "machine": machine(),
    }


def _said(*command: str) -> str | None:
    """What the command says, None where it cannot be run."""
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


class Run:
    """Runs cases in turn and keeps the file up to date.

    Args:
        bench: of the run.
        rows: cases by name.
        path: of the JSON file.
        head: what the file says beside the rows.
    """

    def __init__(self, bench: Bench, rows: Rows, path: Path, head: dict[str, Any]):
        self.bench, self.rows, self.path, self.head = bench, rows, path, head
        self.lock = threading.Lock()
        bench.rows |= {name: {"skipped": "not reached"} for name in rows}

    def save(self) -> None:
        """Write the file whole or not at all."""
        with self.lock:
            worst = {"largest_error": largest_error(self.bench.rows)}
            write({**self.head, **worst, "elapsed": self.bench.elapsed, "rows": self.bench.rows}, self.path)

    def all(self) -> None:
        """Each case, unless the time is up."""
        watch = threading.Timer(self.bench.seconds + GRACE - self.bench.elapsed, self._end)
        watch.daemon = True
        watch.start()
        for name, case in self.rows.items():
            if self.bench.elapsed >= self.bench.seconds:
                self.bench.rows[name] = {"skipped": OUT_OF_TIME}
                continue
            self.bench.rows[name] = {"failed": "the process ended while this ran"}
            self.save()
            start = self.bench.elapsed
            found = guarded(functools.partial(case, self.bench))
            self.bench.rows[name] = found | {"took": self.bench.elapsed - start}
            tidy()
            self.save()
            say(f"{self.bench.elapsed:5.0f} s  {name}: {brief(self.bench.rows[name])}")
        watch.cancel()
        self.save()
        late = [name for name, row in self.bench.rows.items() if row.get("skipped") == OUT_OF_TIME]
        if late:
            say(f"skipped, out of time: {', '.join(late)}")

    def _end(self) -> None:
        """Stop a case that does not return: keep what there is, and end the process."""
        for row in self.bench.rows.values():
            if row.get("skipped") == "not reached":
                row["skipped"] = OUT_OF_TIME
            elif "ended while" in row.get("failed", ""):
                row["failed"] = f"still running {GRACE:g} s after the deadline of {self.bench.seconds:g} s"
        self.save()
        say("stopped: a case ran past the deadline")
        os._exit(1)


def largest_error(rows: dict[str, Case]) -> Case | None:
    """The largest error of all accuracy rows; NaN counts as the largest."""
    exact = {name: row for name, row in rows.items() if "worst_error" in row}
    if not exact:
        return None
    name = max(exact, key=lambda n: np.nan_to_num(exact[n]["worst_error"], nan=np.inf))
    row = exact[name]
    return {"row": name, "cell": row["worst"], "error": row["worst_error"], "target": row["target"], "met": row["met"]}


def brief(row: Case) -> str:
    """A row in a few words."""
    for word in ("failed", "skipped"):
        if word in row:
            return f"{word.upper()}: {row[word].splitlines()[0][:200]}"
    parts = [f"{1e3 * row['seconds']:.4g} ms"] if "seconds" in row else []
    parts += [f"compiled in {row['compile_seconds']:.2g} s"] if row.get("programs") else []
    if row.get("share") is not None:
        parts.append(f"{100 * row['share']:.0f} % of the {row['limited_by']} limit")
    if "worst" in row:
        parts.append(f"{row['worst']} {row['worst_error']:.1e}, {'met' if row['met'] else 'missed'}")
    if row.get("kernels"):
        share = row["device_seconds"] / row["seconds"]
        parts.append(f"device at work {100 * share:.0f} %, longest {row['kernels'][0]['name'][:60]}")
    for key in ("ratio", "difference", "one_by_one_over_together", "counts", "tflops", "copy_gb_per_second"):
        parts += [f"{key.replace('_', ' ')} {_short(row[key])}"] if key in row else []
    peer = row.get("torch", {})
    parts += [f"torch {_short(peer['ratio'])}x" if "ratio" in peer else f"torch {brief(peer)}"] if peer else []
    return ", ".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k}: {_short(v)}" for k, v in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def chosen(patterns: Sequence[str], rows: Rows) -> Rows:
    """The rows that match any of the names or patterns, in their order; an error for one that matches none."""
    idle = [p for p in patterns if not fnmatch.filter(rows, p)]
    if idle:
        raise SystemExit(f"no row matches {', '.join(idle)}; --list shows them")
    return {name: case for name, case in rows.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)}


def unused(folder: Path, name: str) -> Path:
    """A file of that name in the folder, numbered where there is one: nothing measured is replaced."""
    names = (f"{name}{'' if k == 1 else f'-{k}'}.json" for k in range(1, 1000))
    return next(folder / n for n in names if not (folder / n).exists())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status says whether any row failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("OUT") or HERE / "results")
    parser.add_argument("--out", type=Path, default=default, help="folder; default: $OUT, or benchmarks/results")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="ROWS", help="names or patterns such as 'torch_*'")
    parser.add_argument("--seconds", type=float, default=280.0, help="start no case after this; default: 280")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU, PyTorch too")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a smoke test whose numbers mean nothing")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    given = parser.parse_args(arguments)
    rows = chosen(given.only, all_rows())
    if given.list:
        print("\n".join(rows))
        return 0
    if given.cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    bench = Bench(QUICK if given.quick else Amounts(), cpu=given.cpu, seconds=given.seconds)
    path = unused(given.out, "accelerator-quick" if given.quick else "accelerator")
    head = guarded(lambda: header(given.quick))
    say(f"{head.get('device', head.get('failed'))}; results in {path}")
    bench.count_programs()
    Run(bench, rows, path, head).all()
    print(path)
    return int(any("failed" in row for row in bench.rows.values()))


if __name__ == "__main__":
    raise SystemExit(main())
