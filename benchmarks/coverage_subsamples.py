"""Coverage of `agreement_intervals` over images for one new target, from subsets and from halves of the images.

    python -m benchmarks.coverage_subsamples

Sources and target are random mixtures of shared factors, and the transfer of each source is given. The true agreement
is that of the similarities in 20000 images. Each data set has 500 images and 100 resamples, as in `image-sets`.
"""

import argparse
import json
import warnings
from pathlib import Path

import jax
import numpy as np

import jaxsim as js
from jaxsim.results import Affinity, Provenance

SOURCES, FACTORS, WIDTH, IMAGES, MANY, RESAMPLES = 20, 6, 24, 500, 20000, 100
SCHEMES = {"subsets of 200": js.Subsample(size=200), "halves": js.HalfSamples()}
OUT = Path(__file__).parent / "results" / "coverage" / "subsamples.json"


def world(rng):
    """Weights of the sources and the target, and the transfer of each source."""
    share = rng.uniform(0.1, 0.9, SOURCES)
    target = rng.normal(size=(FACTORS, WIDTH))
    other = rng.normal(size=(SOURCES, FACTORS, WIDTH))
    weights = share[:, None, None] * target + (1 - share)[:, None, None] * other
    return weights, target, share + 0.15 * rng.normal(size=SOURCES)


def features(rng, weights, target, images):
    """Features of the sources, `(images, WIDTH)` each, and of the target."""
    factors = rng.normal(size=(images, FACTORS))
    noisy = lambda w: (np.tanh(factors @ w) + 0.5 * rng.normal(size=(images, WIDTH))).astype(np.float32)  # noqa: E731
    return {str(i): noisy(w) for i, w in enumerate(weights)}, {"t": noisy(target)}


def linear_cka(x, y):
    """Linear CKA by covariances, whose bias vanishes with this many images."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.sum((x.T @ y) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def covered(seed, scheme):
    """Whether the interval holds the agreement of many images, and its width and side of a miss."""
    rng = np.random.default_rng(seed)
    weights, target, transfer = world(rng)
    sources, new = features(rng, weights, target, MANY)
    true = js.evaluation.spearman(np.array([linear_cka(x, new["t"]) for x in sources.values()]), transfer)
    sources, new = features(rng, weights, target, IMAGES)
    made = js.resample(sources, js.CKA_LINEAR, scheme, against=new, n_resamples=RESAMPLES, key=seed)
    given = Provenance("transfer", "float64", "cpu")
    truth = Affinity(transfer[:, None], None, made.names, made.targets, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = js.agreement_intervals(made, truth, diagonal=True, key=jax.random.key(seed))
    low, high = np.asarray(found.interval)[0]
    return bool(low <= true <= high), bool(true > high), float(high - low)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=300, help="data sets; default: %(default)s")
    sets = parser.parse_args().sets
    results = {}
    for name, scheme in SCHEMES.items():
        held, above, width = np.mean([covered(seed, scheme) for seed in range(sets)], 0)
        error = float(np.sqrt(held * (1 - held) / sets))
        results[name] = {"coverage": held, "error": error, "truth_above": above, "width": width, "data_sets": sets}
        print(f"{name}: 95 % intervals cover the truth in {held:.1%} +- {error:.1%}; width {width:.3f}", flush=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
