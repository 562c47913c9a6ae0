"""Realized family-wise error and false-discovery rates of tests on T = 20 sources of one target.

All 190 differences between the sources' scores with the target are tested at 0.05. Sources are the same network on
causes of their own, drawn independently, so that their true scores are equal by symmetry: in `all equal` every
hypothesis is true; in `two groups` ten sources have a higher true score, and 90 of the 190 hypotheses are true.
"""

import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.coverage_data import causes, mix, world
from benchmarks.coverage_schemes import scores, weighted
from jaxsim import measures, schemes, statistics

SOURCES, RESAMPLES, LEVEL, AT_ONCE = 20, 1000, 0.05, 20
ANGLES = {"all equal": (0.85,) * SOURCES, "two groups": (0.80,) * 10 + (0.88,) * 10}
CASES = tuple((m, n) for n in (100, 200) for m in ("cka-linear", "dds-cosine"))
RULES = ("single step", "step down", "Benjamini-Hochberg", "Benjamini-Yekutieli")


def _networks(key, n, thetas):
    """Features `(1 + SOURCES, n, WIDTH)`, every source with causes of its own."""
    w = world()
    keys = jax.random.split(key, SOURCES + 1)
    shared = causes(keys[0], w.centers, n)
    own = jax.vmap(lambda k: causes(k, w.other_centers, n))(keys[1:])
    return mix(shared, own, thetas, w)


@functools.partial(jax.jit, static_argnames=("m", "n"))
def _family(m, n, keys, thetas):
    layout = jax.tree.map(jnp.asarray, schemes.Bootstrap().plan(n, 2, RESAMPLES).layout)

    def one(key):
        a, b = jax.random.split(key)
        features = _networks(a, n, thetas)
        maps = lax.map(lambda x: m.pairwise(m.transform(x)), features)
        w = jax.vmap(lambda k: schemes.Bootstrap.draw(k, 0, layout))(jax.random.split(b, RESAMPLES)).T
        values = statistics.pair_differences(weighted(m, maps, w))
        tests = statistics.family_wise(values, statistics.pair_differences(scores(m, features)))
        found = [statistics.false_discovery(tests.unadjusted, any_dependence=a) for a in (False, True)]
        return jnp.stack([tests.single_step, tests.step_down, *found]) <= LEVEL

    return lax.map(one, keys)


def extend(families: dict, datasets: int, only: str, save) -> None:
    """Bring every case whose name holds `only` to that many data sets."""
    for name, n in CASES:
        for case, angles in ANGLES.items():
            text, thetas = f"{name} n={n} {case}", np.array(angles)
            true = thetas[np.triu_indices(SOURCES, 1)[0]] == thetas[np.triu_indices(SOURCES, 1)[1]]
            while only in text and families.get(text, {"datasets": 0})["datasets"] < datasets:
                old = families.setdefault(text, {"datasets": 0, "rules": {r: [0.0, 0.0, 0.0] for r in RULES}})
                start = time.perf_counter()
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(11), n), old["datasets"])
                rejected = np.asarray(
                    _family(measures.NAMED[name], n, jax.random.split(key, AT_ONCE), jnp.array(thetas))
                )
                _count(old, rejected, true)
                save()
                print(f"{text}: {old['datasets']}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _count(old, rejected, true):
    """Sums over data sets of: any false rejection, the share of false ones, the share of false hypotheses found."""
    old["datasets"] += len(rejected)
    for rule, r in zip(RULES, np.moveaxis(rejected, 1, 0), strict=True):
        wrong = (r & true).sum(1)
        power = (r & ~true).sum(1) / max(1, (~true).sum())
        sums = [(wrong > 0).sum(), (wrong / np.maximum(1, r.sum(1))).sum(), power.sum()]
        old["rules"][rule] = [a + float(b) for a, b in zip(old["rules"][rule], sums, strict=True)]
