"""All pairs of networks with SVCCA and CCA: `python -m benchmarks.svcca [--rounds 5] [--out FILE]`.

20 networks of 512 features on 1000 images. The contenders take turns in one run, and the shortest time of each counts:

* jaxsim, one call of `js.affinity`, compiled beforehand;
* NumPy with one decomposition per network in float32, and singular values of the kept columns' products for each pair;
* NumPy's loop that decomposes both networks of every pair. A few pairs are timed, and the time is extrapolated.

Both wall-clock time and CPU time over all threads are given. Other work on the machine hardly changes the latter.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import jax
import numpy as np

import jaxsim as js
from benchmarks import timing

NETWORKS, IMAGES, WIDTH = 20, 1000, 512
TIMED = 4
"""Pairs of the loop that are timed."""
LOOP, ONCE = 8.0, 1.0
"""Targets: as many times as fast as the loop, and as NumPy's one decomposition."""
FRACTIONS = {"svcca": 0.99, "cca": 1.0}


def networks(seed=0):
    """Features whose variances fall with the square root of the direction, half of them shared."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, WIDTH + 1) ** -0.5
    causes = rng.normal(size=(IMAGES, WIDTH))

    def one():
        own = (causes + rng.normal(size=causes.shape)) * scale
        return (own @ rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)

    return [one() for _ in range(NETWORKS)]


def basis(x, fraction):
    """Leading principal directions."""
    x = x - x.mean(0)
    if fraction == 1:
        x = x / x.std(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    kept = int((s > max(x.shape) * np.finfo(x.dtype).eps * s[0]).sum())
    if fraction < 1:
        kept = int((np.cumsum(s**2) < fraction * np.sum(s**2)).sum()) + 1
    return u[:, :kept]


def compare(a, b):
    """Mean canonical correlation."""
    return np.linalg.svd(a.T @ b, compute_uv=False).mean()


def once(features, fraction):
    """All pairs from one decomposition a network."""
    bases = [basis(x, fraction) for x in features]
    found = np.eye(len(bases))
    for i, j in itertools.combinations(range(len(bases)), 2):
        found[i, j] = found[j, i] = compare(bases[i], bases[j])
    return found


def loop(features, fraction):
    """A few pairs, both networks decomposed for each."""
    pairs = list(itertools.combinations(range(len(features)), 2))[:TIMED]
    return [compare(basis(features[i], fraction), basis(features[j], fraction)) for i, j in pairs]


def cost(run):
    """Seconds on the clock and of processor."""
    start, used = time.perf_counter(), time.process_time()
    found = run()
    return (time.perf_counter() - start, time.process_time() - used), found


def measured(name, rounds):
    """Times and ratios of one measure."""
    fraction, features = FRACTIONS[name], networks()
    stack = jax.device_put(np.stack(features))
    pairs = NETWORKS * (NETWORKS - 1) / 2
    runs = {
        "jaxsim": lambda: np.asarray(js.affinity(stack, name).values),
        "numpy, one decomposition": lambda: once(features, fraction),
        "numpy, loop over pairs": lambda: loop(features, fraction),
    }
    runs["jaxsim"]()
    times, found = {label: [] for label in runs}, {}
    for _ in range(rounds):
        for label, run in runs.items():
            taken, found[label] = cost(run)
            print(f"{name}, {label}: {taken[0]:.1f} s, {taken[1]:.1f} s of CPU", flush=True)
            times[label].append(taken)
    factor = {"numpy, loop over pairs": pairs / TIMED}
    least = {label: [min(t) * factor.get(label, 1) for t in zip(*some, strict=True)] for label, some in times.items()}
    ours = least["jaxsim"]
    ratios = {label: [theirs / own for theirs, own in zip(some, ours, strict=True)] for label, some in least.items()}
    return {
        "dimensions": sorted(basis(x, fraction).shape[1] for x in features),
        "largest difference": float(np.abs(found["jaxsim"] - found["numpy, one decomposition"]).max()),
        "seconds (clock, processor)": least,
        "times as fast (clock, processor)": {label: r for label, r in ratios.items() if label != "jaxsim"},
        "targets": {"numpy, loop over pairs": LOOP, "numpy, one decomposition": ONCE},
        "share of the loop timed": TIMED / pairs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/svcca.json"))
    arguments = parser.parse_args()
    found = {name: measured(name, arguments.rounds) for name in FRACTIONS}
    record = {
        "machine": timing.machine(),
        "networks": NETWORKS,
        "images": IMAGES,
        "features": WIDTH,
        "rounds": arguments.rounds,
        **found,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for name, one in found.items():
        print(name, json.dumps({k: v for k, v in one.items() if k != "dimensions"}, indent=1))


if __name__ == "__main__":
    main()
