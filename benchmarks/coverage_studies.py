"""Simulations of whether each procedure keeps its level, in addition to the coverage of the schemes.

A study is a set of settings. Each setting makes one batch of data sets from a seed. For every procedure, it reports
whether its interval contained the truth or its test rejected, or gives its p-values. Counts are in
`results/coverage/STUDY.json`, which is written after every batch so that an interrupted run can continue.
"""

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

RESULTS = Path(__file__).parent / "results" / "coverage"
MODULES = (
    "coverage_each_scheme",
    "coverage_groups",
    "coverage_group_tests",
    "coverage_assumptions",
    "coverage_relabelings",
    "coverage_calibration",
    "coverage_tests",
    "coverage_power",
    "coverage_models",
)
"""Modules of this package with a `STUDY`; `coverage_groups` holds the study `groups`."""


class Study(NamedTuple):
    """Simulations of one kind of procedure.

    Attributes:
        title: the question, one line.
        nominal: percent that should be seen: 95 for the coverage of intervals, 5 for rejections of a true hypothesis.
        within: lowest and highest percent that count as held.
        settings: from the name of a setting to a function of a seed that gives `(data sets,)` outcomes per procedure:
            booleans for covered or rejected, numbers for p-values.
    """

    title: str
    nominal: float
    within: tuple[float, float]
    settings: Mapping[str, Callable[[int], dict[str, np.ndarray]]]


def studies() -> dict[str, Study]:
    """Every study by name."""
    return {m.removeprefix("coverage_"): importlib.import_module(f"benchmarks.{m}").STUDY for m in MODULES}


def add(cell: dict, outcomes: dict[str, np.ndarray]) -> None:
    """Add a batch of outcomes to the counts of a setting."""
    cell["datasets"] = cell["datasets"] + len(next(iter(outcomes.values())))
    rows = cell.setdefault("procedures", {})
    for name, values in outcomes.items():
        values = np.asarray(values)
        if values.dtype == bool:
            rows[name] = rows.get(name, 0) + int(values.sum())
        else:
            rows[name] = [*rows.get(name, []), *(round(float(p), 5) for p in values)]


def extend(name: str, datasets: int, only: str, write: Callable[[dict, Path], None], folder: Path = RESULTS) -> None:
    """Bring every setting of a study whose name holds `only` to that many data sets."""
    path = folder / f"{name}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for setting, once in studies()[name].settings.items():
        if only not in setting:
            continue
        cell = found.setdefault(setting, {"datasets": 0})
        while cell["datasets"] < datasets:
            start = time.perf_counter()
            add(cell, once(cell["datasets"]))
            write(found, path)
            took = time.perf_counter() - start
            print(f"{name}, {setting}: {cell['datasets']} data sets, {took:.0f} s", file=sys.stderr, flush=True)


def share(row: int | list, datasets: int, nominal: float) -> tuple[float, float, float | None]:
    """Percent counted or of p-values at most `nominal`, its Monte Carlo error, and KS p of the p-values."""
    ks = None
    if isinstance(row, list):
        from scipy.stats import kstest

        ks = float(kstest(row, "uniform").pvalue)
        row = int(sum(p <= nominal / 100 for p in row))
    rate = row / datasets
    return 100 * rate, 100 * math.sqrt(rate * (1 - rate) / datasets), ks


def render(name: str, folder: Path = RESULTS) -> str:
    """Realized levels of a study as a Markdown table; bold where the level is not held."""
    study, found = studies()[name], json.loads((folder / f"{name}.json").read_text())
    low, high = study.within
    lines = [f"{study.title} Nominal {study.nominal:g} %; bold: outside {low:g} to {high:g}.", ""]
    lines += ["| setting | procedure | realized, % | data sets |", "|---|---|---|---|"]
    for setting, cell in found.items():
        for procedure, row in cell["procedures"].items():
            rate, error, ks = share(row, cell["datasets"], study.nominal)
            text = f"{rate:.1f}" if low <= rate <= high else f"**{rate:.1f}**"
            uniform = "" if ks is None else f"; KS p {ks:.2g}"
            lines.append(f"| {setting} | {procedure} | {text} ± {error:.1f}{uniform} | {cell['datasets']} |")
    return "\n".join(lines)
