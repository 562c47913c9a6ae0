"""Calibrated similarity and p values from relabeling: `python -m benchmarks.calibration [--rounds 3] [--out FILE]`.

20 networks of 4 layers, 200 images, linear CKA, 999 permutations: one call of `js.calibrate` takes turns with
`calibrate_layers` from calibrated-similarity (extra `peers`). The latter does one pair of networks and a tenth of the
permutations, and its time is extrapolated to all pairs. Next comes the p value of agreement with transfer, 20 tasks and
9999 relabelings. Both are compiled before they are timed.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import jaxsim as js
from benchmarks import timing
from jaxsim.results import Affinity

NETWORKS, LAYERS, IMAGES, WIDTH, PERMUTATIONS = 20, 4, 200, 64, 999
TIMED = 99
"""Permutations that the published package does."""
SECONDS, TIMES, MANTEL = 15, 50, 0.1
"""Targets: seconds of the call, times as fast as the package, seconds of the relabelings."""


def layers():
    """Features of every layer by name, with something in common."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(IMAGES, WIDTH))
    names = [f"{network}/{layer}" for network in range(NETWORKS) for layer in range(LAYERS)]
    return {name: (shared + 2 * rng.normal(size=(IMAGES, WIDTH))).astype(np.float32) for name in names}


def published(features):
    """A call of the package for one pair of networks."""
    import calibrated_similarity
    import torch

    rows, columns = ([torch.tensor(features[f"{k}/{layer}"]) for layer in range(LAYERS)] for k in (0, 1))

    def centered(x):
        k = x @ x.T
        k.fill_diagonal_(0)
        n = len(k)
        sums = k.sum(1)
        k = k - (sums[:, None] + sums[None]) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
        return k.fill_diagonal_(0)

    def cka(x, y):
        a, b = centered(x), centered(y)
        return (a * b).sum() / (a.norm() * b.norm())

    return lambda: calibrated_similarity.calibrate_layers(rows, columns, cka, K=TIMED, alpha=0.05)


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/calibration-cpu.json"))
    arguments = parser.parse_args()
    features, rng = layers(), np.random.default_rng(1)
    names = [str(k) for k in range(20)]
    made, truth = (Affinity.from_array(rng.normal(size=(20, 20)), names, measure="made up") for _ in range(2))
    runs = {
        "js.calibrate": lambda: js.calibrate(
            features, "cka", layers_of=lambda name: name.split("/")[0], n_permutations=PERMUTATIONS
        ),
        "calibrate_layers": published(features),
        "relabelings": lambda: js.evaluate(made, truth, diagonal=False, relabelings=9999),
    }
    for run in runs.values():
        run()
    times = {name: min(seconds(run) for _ in range(arguments.rounds)) for name, run in runs.items()}
    pairs, share = NETWORKS * (NETWORKS - 1) / 2, (TIMED + 1) / (PERMUTATIONS + 1)
    times["calibrate_layers"] *= pairs / share
    record = {
        "machine": timing.machine(),
        "seconds": times,
        "times as fast as calibrate_layers": times["calibrate_layers"] / times["js.calibrate"],
        "targets": {"js.calibrate": SECONDS, "times as fast": TIMES, "relabelings": MANTEL},
        "share of calibrate_layers timed": share / pairs,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: value for key, value in record.items() if key != "machine"}, indent=1))


if __name__ == "__main__":
    main()
