"""Mini-batch CKA against its exact value: `python -m benchmarks.minibatches [--table] [--only WIDTH IMAGES]`.

Two networks have Gaussian features with variances that fall as 1 / direction. They share a quarter of their variance in
every direction, so the population's linear CKA is 0.25. Each repetition draws new images and computes

* the ratio of sums over batches from `js.Minibatches`;
* the exact debiased value for all images, `js.affinity`;
* for contrast the biased forms: the ratio of mean biased HSIC over batches, and biased CKA of all images. To save time,
  these are skipped for the largest features.

Bias and standard deviation are over repetitions. The standard error of the bias is sd / sqrt(repetitions). For 1,024
images, the last lines give the standard deviation with equal numbers of batches of 16 and of 256 images, summed as in
`js.Minibatches`, by pairs of images, and as means of HSIC weighted by images. Results are written as they come in, with
the number of repetitions behind each. `--only 512 8192` reruns one setting and leaves the others.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxsim as js
from benchmarks import timing

WIDTHS, IMAGES, SIZES = (64, 512), (1024, 8192), (16, 64, 256)
SHARED = 0.5
"""Correlation of the two networks in every direction; its square is the population's CKA."""
TRUTH = SHARED**2
EXACT, BATCHES, BIASED, BIASED_BATCHES = "exact", "mini-batch", "biased", "biased mini-batch"
MIXED = (16, 256)
EVERY = 25
"""Repetitions after which results are written."""
MOST_OF_BIASED = 2**19
"""Most features for which the biased forms are computed."""


def features(rng, images, width):
    """Two networks `(2, n, d)`."""
    scale = np.arange(1, width + 1, dtype=np.float32) ** -0.5
    z = rng.standard_normal((2, images, width), np.float32)
    z[1] = SHARED * z[0] + np.float32((1 - SHARED**2) ** 0.5) * z[1]
    return z * scale


def added(stacks):
    """Sums over batches `(B, 2, b, d)`."""
    start = js.Minibatches.of(["x", "y"], "cka-linear")
    return jax.lax.scan(lambda found, x: (found.add(x), None), start, stacks)[0]


def stacks_of(x, size):
    """Batches `(B, 2, b, d)`."""
    return jnp.moveaxis(x.reshape(2, -1, size, x.shape[2]), 1, 0)


@functools.partial(jax.jit, static_argnames="size")
def by_batches(x, size):
    """Debiased score from batches of that many images."""
    return added(stacks_of(x, size)).affinity().values[0, 1]


@functools.partial(jax.jit, static_argnames="size")
def biased_by_batches(x, size):
    """Score from mean biased HSIC."""

    def biased(sums, one):
        one = one - one.mean(1, keepdims=True)
        maps = jnp.einsum("tnd,tmd->tnm", one, one, precision="highest")
        return sums + jnp.einsum("snm,tnm->st", maps, maps, precision="highest"), None

    sums = jax.lax.scan(biased, jnp.zeros((2, 2)), stacks_of(x, size))[0]
    return sums[0, 1] / jnp.sqrt(sums[0, 0] * sums[1, 1])


@jax.jit
def mixed(x):
    """Scores where batches of two sizes alternate: summed by pairs, and as means of HSIC weighted by images."""
    each = x.shape[1] // sum(MIXED)
    cuts = np.cumsum([0, *(each * size for size in MIXED)])
    parts = [x[:, a:b].reshape(2, each, -1, x.shape[2]) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    found = [added(jnp.moveaxis(part, 1, 0)) for part in parts]
    sums = [f.total * f.scale[:, None] * f.scale for f in found]
    by_images = sum(s / (size - 3) for s, size in zip(sums, MIXED, strict=True))
    score = by_images[0, 1] / jnp.sqrt(by_images[0, 0] * by_images[1, 1])
    return found[0].merge(found[1]).affinity().values[0, 1], score


def summary(scores, exact):
    """Bias, standard deviation, and distance from the exact value of the same images."""
    return {
        "bias": float(scores.mean() - TRUTH),
        "sd": float(scores.std(ddof=1)),
        "rms difference from exact": float(np.sqrt(np.mean((scores - exact) ** 2))),
    }


def measured(width, images, repetitions):
    """All estimates for one width and number of images, every few repetitions."""
    rng = np.random.default_rng([width, images])
    scores = {}
    for done in range(1, repetitions + 1):
        x = jnp.asarray(features(rng, images, width))
        row = {EXACT: js.affinity(x, "cka-linear").values[0, 1]}
        row |= {f"{BATCHES} {size}": by_batches(x, size) for size in SIZES}
        if images * width <= MOST_OF_BIASED:
            row[BIASED] = js.affinity(x, "cka-linear-biased").values[0, 1]
            row |= {f"{BIASED_BATCHES} {size}": biased_by_batches(x, size) for size in SIZES}
        if images == IMAGES[0]:
            used = images // sum(MIXED) * sum(MIXED)
            row |= zip(("mixed, by pairs", "mixed, by images"), mixed(x[:, :used]), strict=True)
        for name, score in row.items():
            scores.setdefault(name, []).append(float(score))
        if done % EVERY == 0 or done == repetitions:
            arrays = {name: np.asarray(some) for name, some in scores.items()}
            yield done, {name: summary(some, arrays[EXACT]) for name, some in arrays.items()}


def table(record):
    """Lines of the table in `docs/scale.md`."""
    head = "| features | images | batch | bias | standard deviation | from exact (rms) | bias of the biased form |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for one in record["results"]:
        found = one["estimates"]
        for size in ("all", *SIZES[::-1]):
            own = found[EXACT if size == "all" else f"{BATCHES} {size}"]
            biased = found.get(BIASED if size == "all" else f"{BIASED_BATCHES} {size}")
            cells = [f"{own['bias']:+.4f}", f"{own['sd']:.4f}", f"{own['rms difference from exact']:.4f}"]
            cells[2] = "" if size == "all" else cells[2]
            cells.append(f"{biased['bias']:+.4f}" if biased else "")
            lines.append("| " + " | ".join([str(one["width"]), f"{one['images']:,}", str(size), *cells]) + " |")
    for one in record["results"]:
        by = {kind: found["sd"] for kind, found in one["estimates"].items() if kind.startswith("mixed")}
        if by:
            said = ", ".join(f"{kind.removeprefix('mixed, ')} {sd:.4f}" for kind, sd in by.items())
            lines.append(f"batches of 16 and 256, {one['width']} features, {one['images']:,} images: sd {said}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/minibatches.json"))
    parser.add_argument("--only", nargs=2, type=int, metavar=("WIDTH", "IMAGES"))
    parser.add_argument("--table", action="store_true", help="print the table for earlier measurements")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.out.read_text())))
        return
    record = {"machine": timing.machine(), "population": TRUTH, "results": []}
    if arguments.only and arguments.out.exists():
        record["results"] = json.loads(arguments.out.read_text())["results"]
    settings = [(width, images) for images in IMAGES for width in WIDTHS]
    for width, images in [tuple(arguments.only)] if arguments.only else settings:
        others = [one for one in record["results"] if (one["width"], one["images"]) != (width, images)]
        start = time.process_time()
        for done, found in measured(width, images, arguments.repetitions):
            seconds = time.process_time() - start
            own = {"width": width, "images": images, "repetitions": done, "seconds of processor": seconds}
            results = [*others, {**own, "estimates": found}]
            record["results"] = sorted(results, key=lambda one: settings.index((one["width"], one["images"])))
            arguments.out.write_text(json.dumps(record, indent=1) + "\n")
            print(f"width {width}, {images} images, {done} repetitions: {seconds:.0f} s of CPU", flush=True)
    print(table(record))


if __name__ == "__main__":
    main()
