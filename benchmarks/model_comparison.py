"""Models compared with subjects, against rsatoolbox: `python -m benchmarks.model_comparison [--rounds 3] [--out FILE]`.

8 models, 4 subjects, 92 images, 1000 bootstraps of images and of subjects with corrected variances, noise ceilings and
tests: one call of `js.compare_models` takes turns with `eval_dual_bootstrap` and `all_tests` from rsatoolbox (extra
`peers`). The latter does a twentieth of the bootstraps, and its time is extrapolated. Ours is compiled before it is
timed.
"""

import argparse
import contextlib
import json
import os
import time
import warnings
from pathlib import Path

import jax
import numpy as np

import jaxsim as js
from benchmarks import timing

MODELS, SUBJECTS, IMAGES, RESAMPLES = 8, 4, 92, 1000
TIMED = 50
"""Bootstraps that rsatoolbox does."""
COMPARATORS = {"rho-a": "rho-a", "spearman": "spearman", "pearson": "corr", "cosine": "cosine"}
TARGET = 30


def maps():
    """Condensed maps of models and subjects with something in common."""
    rng = np.random.default_rng(0)
    shared = rng.random(IMAGES * (IMAGES - 1) // 2)
    return shared + rng.random((MODELS, shared.size)), shared + rng.random((SUBJECTS, shared.size))


def published(models, subjects, name):
    """A call of rsatoolbox."""
    from rsatoolbox.inference import eval_dual_bootstrap
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    fixed, data = [ModelFixed(str(k), m) for k, m in enumerate(models)], RDMs(subjects)

    def run():
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            eval_dual_bootstrap(fixed, data, method=name, N=TIMED).test_all()

    return run


def ours(models, subjects, name):
    """A call of the library, to the last array."""
    models, subjects = ({str(k): m.astype(np.float32) for k, m in enumerate(maps)} for maps in (models, subjects))
    return lambda: jax.block_until_ready(js.compare_models(models, subjects, name, n_resamples=RESAMPLES).p_adjusted)


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/model-comparison-cpu.json"))
    arguments = parser.parse_args()
    models, subjects = maps()
    rows = {}
    for name, theirs in COMPARATORS.items():
        runs = {"jaxsim": ours(models, subjects, name), "rsatoolbox": published(models, subjects, theirs)}
        for run in runs.values():
            run()
        times = {who: [] for who in runs}
        for _ in range(arguments.rounds):
            for who, run in runs.items():
                times[who].append(seconds(run))
        best = {who: min(taken) for who, taken in times.items()}
        best["rsatoolbox"] *= RESAMPLES / TIMED
        rows[name] = {"seconds": best, "times as fast": best["rsatoolbox"] / best["jaxsim"]}
    record = {"machine": timing.machine(), "comparators": rows, "target": TARGET, "share timed": TIMED / RESAMPLES}
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: value for key, value in record.items() if key != "machine"}, indent=1))


if __name__ == "__main__":
    main()
