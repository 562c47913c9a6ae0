"""A variance study against loops over its resamples: `python -m benchmarks.variance [--measure NAME] [--out FILE]`.

20 networks, 500 images, five sizes, four schemes, 1000 resamples each: 20,000 resamples in one call of
`js.variance_study`. The contenders take turns with the study and do a few resamples of every size and scheme on the
study's own draws. Their times are extrapolated, and their scores are compared with jaxsim's.

* NumPy: a map for every resample and network (rebuilt on subsets if the measure refits, otherwise gathered from maps
  made once), with weights on the images drawn, and one matrix product over networks.
* rsatoolbox, for RSA: `compare` on precomputed maps of the images drawn. It has no Dirichlet weights.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

import jaxsim as js
from benchmarks import data, peers, timing
from jaxsim import layouts
from jaxsim.variance.draws import DRAWINGS

NETWORKS, IMAGES, RESAMPLES, WIDTH = 20, 500, 1000, 256
SIZES = (32, 62, 125, 250, 400)
TARGET = 40


def weights(kind, size, count, seed=0):
    """The study's own draws as weights of the images, `(count, n)`."""
    units = jax.tree.map(jnp.asarray, layouts.layout(None, IMAGES))
    quota = layouts.in_proportion(np.array([IMAGES]), size)[units.code]
    draw = jax.vmap(lambda b: DRAWINGS[kind].draw(jax.random.key(seed), b, units, jnp.asarray(quota)))
    return np.asarray(draw(jnp.arange(count)))


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def cka(kernels, w):
    """Unbiased linear CKA of all pairs of networks under weights of the images, from their kernels."""
    at = np.flatnonzero(w)
    w = w[at]
    i, j = np.triu_indices(at.size, 1)
    root, rows = np.sqrt(w[i] * w[j]), []
    for kernel in kernels:
        k = kernel[np.ix_(at, at)]
        np.fill_diagonal(k, 0)
        left = w.sum() - 2 * w
        r = k @ w
        q = (w * r / left).sum() / (1 + (w / left).sum())
        a = (r - q) / left
        rows.append((k - a[:, None] - a)[i, j] * root)
    z = unit(np.stack(rows))
    return z @ z.T


def distances(x):
    """Correlation distances of centered features, float32."""
    x = x - x.mean(0)
    x -= x.mean(1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return 1 - x @ x.T


def rsa(maps, features, w, refit):
    """Spearman RSA of all pairs of networks under weights of the images."""
    at = np.flatnonzero(w)
    w = w[at]
    i, j = np.triu_indices(at.size, 1)
    pairs, rows = w[i] * w[j], []
    for m, x in zip(maps, features, strict=True):
        v = (distances(x[at]) if refit else m[np.ix_(at, at)])[i, j]
        if refit:
            ranks = rankdata(v)
        else:
            order = np.argsort(v)
            upto = np.cumsum(pairs[order])
            ranks = np.empty_like(v)
            ranks[order] = upto - pairs[order] / 2
        ranks -= np.average(ranks, weights=pairs)
        rows.append(ranks * np.sqrt(pairs))
    z = unit(np.stack(rows))
    return z @ z.T


class Cost(NamedTuple):
    """Seconds on the clock, and of processor over all threads, which others on the machine hardly change."""

    wall: float
    processor: float

    @classmethod
    def least(cls, some):
        """The least of each."""
        return cls(*map(min, zip(*some, strict=True)))

    @classmethod
    def total(cls, some, factor):
        """Their sums, times a factor."""
        return cls(*(sum(each) * factor for each in zip(*some, strict=True)))


def once(run):
    start, used = time.perf_counter(), time.process_time()
    found = run()
    return Cost(time.perf_counter() - start, time.process_time() - used), found


def toolbox_cost(maps, draws):
    """Cost of rsatoolbox for one resample of each scheme and size it knows, `{case: cost}`."""
    from rsatoolbox.rdm import compare

    found = {}
    for case, w in draws.items():
        if case[0] == js.BayesianBootstrap.kind:
            continue
        drawn = np.repeat(np.arange(IMAGES), w[0].astype(int))
        found[case] = once(lambda d=drawn: compare(*[maps.subsample_pattern("index", d)] * 2, method="spearman"))[0]
    return found


def study(x, measure, count):
    return js.variance_study(x, measure, sizes=SIZES, n_resamples=count, key=0)


def compared(measure, count, loops, rounds):
    """Costs of the study and of the loops, interleaved, the least of the rounds."""
    x = data.networks(NETWORKS, IMAGES, (WIDTH,))
    flat = [a.astype(np.float32) for a in x]
    draws = {(kind, m): weights(kind, m, loops * rounds) for kind in DRAWINGS for m in SIZES}
    maps = [a @ a.T for a in flat] if measure == "cka-linear" else [distances(a) for a in flat]

    def score(case, w):
        if measure == "cka-linear":
            return cka(maps, w)
        return rsa(maps, flat, w, DRAWINGS[case[0]].subsets)

    toolbox = peers.rsatoolbox_maps(x) if measure == "rsa" and peers.installed("rsatoolbox") else None
    first, found = once(lambda: study(x, measure, count))
    ours, theirs, others = [], [], []
    for r in range(rounds):
        ours.append(once(lambda: jax.block_until_ready(study(x, measure, count).error))[0])
        part = slice(r * loops, (r + 1) * loops)
        theirs.append({case: once(lambda c=case, p=part: [score(c, w) for w in draws[c][p]])[0] for case in draws})
        if toolbox is not None:
            others.append(toolbox_cost(toolbox, draws))
    whole = RESAMPLES / count
    mine = Cost.total([Cost.least(ours)], whole)
    each = {case: Cost.least([one[case] for one in theirs]) for case in draws}
    loop = Cost.total(each.values(), RESAMPLES / loops)
    out = {
        "measure": measure,
        "resamples": count,
        "first_call": first.wall,
        "jaxsim": mine._asdict(),
        "numpy": loop._asdict(),
        "numpy_resamples_timed": rounds * loops * len(draws),
        "numpy_processor_ms": {f"{kind} {m}": round(1e3 * c.processor / loops, 2) for (kind, m), c in each.items()},
        "times_numpy": {name: a / b for name, a, b in zip(Cost._fields, loop, mine, strict=True)},
    }
    if others:
        box = Cost.total([Cost.least([one[case] for one in others]) for case in others[0]], RESAMPLES)
        out["rsatoolbox_without_dirichlet"] = box._asdict()
        out["times_rsatoolbox"] = {name: a / b for name, a, b in zip(Cost._fields, box, mine, strict=True)}
    out["largest_difference"] = agreement(found, score)
    return out


def agreement(found, score):
    """Largest difference of mean scores of the first resamples at one size, which the biases hold, from the loop's."""
    worst, j, count = 0.0, 1, found.counts[0]
    for k, kind in enumerate(found.kinds):
        mean = np.mean([score((kind, SIZES[j]), w) for w in weights(kind, SIZES[j], count)], 0)
        factor = DRAWINGS[kind].correction(SIZES[j], IMAGES, DRAWINGS[kind].drawn(np.array([SIZES[j]]))).bias
        made = np.asarray(found.estimate) + np.asarray(found.bias)[k, j, 0] / factor
        worst = max(worst, float(np.abs(made - mean).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="append", choices=("cka-linear", "rsa"))
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="resamples of each size and scheme; time is scaled"
    )
    parser.add_argument("--loops", type=int, default=1, help="resamples of each size and scheme in a loop's turn")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file; measures are added to it")
    arguments = parser.parse_args()
    made = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    for measure in arguments.measure or ("cka-linear", "rsa"):
        found = compared(measure, arguments.resamples, arguments.loops, arguments.rounds)
        print(json.dumps(found, indent=1))
        made |= {"machine": timing.machine(), "networks": NETWORKS, "images": IMAGES, "sizes": SIZES, measure: found}
    if arguments.out:
        arguments.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
