"""Coverage of the 95 % intervals: `python -m benchmarks.coverage [--cell TEXT] [--datasets N] [--out FILE]`.

For every measure and n = 100, 200, 500, data sets of n images are drawn from one population (coverage_data.py) in which
the measure's true values are about 0.2, 0.5 and 0.8. We count how often each scheme's interval contains the true value.
Results are written after every hundred data sets, and an interrupted run continues where it stopped. `--table FILE`
prints the tables of a finished run. `--study NAME` simulates other procedures (coverage_studies.py).
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import coverage_numpy, coverage_schemes, coverage_studies, coverage_table
from jaxsim import measures

MEASURES = (
    "rsa",
    "rsa-uncentered",
    "cka-linear",
    "cka-rbf",
    "dds-laplacian",
    "dds-cosine",
    "distance-correlation-unbiased",
    "cka-linear-biased",
    "cka-rbf-biased",
    "distance-correlation",
)
SIZES = (100, 200, 500)
LEVELS = (0.2, 0.5, 0.8)
GROUPS = {"halves": coverage_schemes.halves, "weights": coverage_schemes.weights}
INTERVALS = {"halves": coverage_schemes.half_intervals, "weights": coverage_schemes.weight_intervals}
RESAMPLES = {"halves": 50, "weights": 200}
"""Pairs of half-samples; resamples of each bootstrap."""
AT_ONCE = 100
TRUTH_IMAGES, TRUTH_DRAWS = 1000, 250


def solve(name: str) -> dict:
    """Angles at which the measure is about LEVELS, and its value there at infinitely many images.

    Per draw, 2 s(n) - (s(first half) + s(second half)) / 2 takes the bias of order 1 / n out; the mean over the draws
    is the value, with its standard error. All measures see the same 250,000 images.
    """
    m = measures.NAMED[name]
    grid = jnp.linspace(0.05, 1.5, 16)
    curve = np.mean([coverage_schemes.large(m, jax.random.key(k), TRUTH_IMAGES, grid) for k in range(4)], 0)
    thetas = jnp.asarray(coverage_numpy.angles(curve, np.asarray(grid), LEVELS))
    keys = jax.random.split(jax.random.key(1000), TRUTH_DRAWS)
    draws = np.array([coverage_schemes.large(m, k, TRUTH_IMAGES, thetas) for k in keys])
    error = draws.std(0, ddof=1) / np.sqrt(TRUTH_DRAWS)
    return {"theta": thetas.tolist(), "value": draws.mean(0).tolist(), "error": error.tolist()}


def count(cell: dict, found: dict, group: str, truth: np.ndarray) -> None:
    """Add data sets to a cell's counts."""
    intervals, errors = INTERVALS[group](found)
    s = np.asarray(found["estimate"], float)
    cell["datasets"] += len(s)
    for name, values in {
        "sum": s,
        "squares": s**2,
        **{f"error {k}": np.asarray(e) ** 2 for k, e in errors.items()},
    }.items():
        cell["sums"][name] = (np.array(cell["sums"].get(name, 0)) + values.sum(0)).tolist()
    for name, (low, high) in intervals.items():
        low, high = np.asarray(low), np.asarray(high)
        here = {"covered": (low <= truth) & (truth <= high), "below": truth < low, "above": truth > high}
        old = cell["schemes"].setdefault(name, dict.fromkeys([*here, "width"], 0))
        here["width"] = high - low
        cell["schemes"][name] = {k: (np.array(old[k]) + v.sum(0)).tolist() for k, v in here.items()}


def extend(results: dict, name: str, n: int, group: str, save) -> None:
    """One more batch of data sets of a cell, with keys that follow from how many it has."""
    truth = results["truth"][name]
    fresh = {"datasets": 0, "resamples": RESAMPLES[group], "sums": {}, "schemes": {}}
    cell = results["cells"].setdefault(f"{name} n={n} {group}", fresh)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), n), cell["datasets"])
    start = time.perf_counter()
    found = GROUPS[group](
        measures.NAMED[name], n, cell["resamples"], jax.random.split(key, AT_ONCE), jnp.array(truth["theta"])
    )
    count(cell, found, group, np.array(truth["value"]))
    save()
    print(
        f"{name} n={n} {group}: {cell['datasets']} data sets, {time.perf_counter() - start:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def write(results: dict, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    # lists of numbers on one line each
    text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(results, indent=1))
    part.write_text(text + "\n")
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cell", default="", help="only cells whose name contains this, such as 'cka-linear n=100 halves'"
    )
    parser.add_argument("--datasets", type=int, default=1000, help="data sets per cell")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    parser.add_argument("--table", type=Path, help="print the tables of this file and do nothing else")
    parser.add_argument("--study", choices=coverage_studies.studies(), help="run this study, and print its table")
    given = parser.parse_args()
    if given.study:
        coverage_studies.extend(given.study, given.datasets, given.cell, write)
        print(coverage_studies.render(given.study))
        return
    if given.table:
        print(coverage_table.render(json.loads(given.table.read_text())))
        return
    results = json.loads(given.out.read_text()) if given.out.exists() else {"truth": {}, "cells": {}}
    results["versions"] = {"jax": jax.__version__, "numpy": np.__version__}

    def save():
        write(results, given.out)

    for group in GROUPS:
        for n in SIZES:
            for name in MEASURES:
                text = f"{name} n={n} {group}"
                while given.cell in text and results["cells"].get(text, {"datasets": 0})["datasets"] < given.datasets:
                    if name not in results["truth"]:
                        results["truth"][name] = solve(name)
                    extend(results, name, n, group, save)


if __name__ == "__main__":
    main()
