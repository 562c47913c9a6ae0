"""Random inputs for the verbs and the readers: `python -m benchmarks.fuzz` tries 20,000 and writes the outcomes.

    python -m benchmarks.fuzz                       # benchmarks/results/fuzz.json, half an hour on two cores
    python -m benchmarks.fuzz --examples 500 --only affinity --seed 3 --out fuzz.json

`fuzz_scores` and `fuzz_files` define what is tried and what is correct. tests/test_fuzz.py tries part of it.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis

from benchmarks import fuzz_files, fuzz_scores

SHARES = {
    "read_features": 0.4,
    "checkpoints": 0.1,
    "bundles": 0.1,
    "pictures": 0.2,
    "compare_maps": 0.12,
    "resample": 0.03,
    "affinity": 0.05,
}
"""Of the examples; those of the verbs take a hundred times as long as those of the readers."""
VERBS = fuzz_scores.VERBS | fuzz_files.VERBS


def run(verb: str, examples: int, seed: int, seconds: float = math.inf) -> dict[str, Any]:
    """Counts of outcomes, the faults, and the largest error of each measure; none is begun after so many seconds."""
    check, strategy = VERBS[verb]
    kinds, faults, errors = Counter(), [], {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def each(sample):
        if time.perf_counter() - start > seconds:
            return
        try:
            found = check(sample)
        except Exception as error:  # noqa: BLE001
            kinds["fault"] += 1
            faults.append({"sample": repr(sample), "fault": f"{type(error).__name__}: {error}"[:1000]})
            return
        kinds[found.kind] += 1
        for name, error in found.errors.items():
            errors[name] = max(errors.get(name, 0.0), error)

    start = time.perf_counter()
    each()
    took = round(time.perf_counter() - start, 1)
    return {"tried": kinds.total(), "outcomes": dict(kinds), "seconds": took, "faults": faults, "largest_error": errors}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    text = "for each verb: none is begun after these"
    parser.add_argument("--seconds", type=float, default=math.inf, help=text)
    parser.add_argument("--only", choices=SHARES, action="append")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fuzz.json")
    given = parser.parse_args(arguments)
    chosen = {verb: share for verb, share in SHARES.items() if verb in (given.only or SHARES)}
    packages = ("jax", "numpy", "scipy", "hypothesis", "pillow", "h5py", "torch")
    versions = {"python": platform.python_version()} | {p: version(p) for p in packages}
    verbs: dict[str, Any] = {}
    made = {"examples": given.examples, "seed": given.seed, "versions": versions, "verbs": verbs}
    for verb, share in chosen.items():
        verbs[verb] = run(verb, round(given.examples * share / sum(chosen.values())), given.seed, given.seconds)
        print(verb, verbs[verb]["outcomes"], f"{verbs[verb]['seconds']} s", flush=True)
        given.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    faults = sum(len(v["faults"]) for v in verbs.values())
    print(f"{faults} faults; {given.out}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
