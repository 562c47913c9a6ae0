"""The study `tests`: p-values and adjusted tests when their hypotheses are true.

Each source is the same network on its own independent causes, so by symmetry their true scores with the target are
equal. This applies to all sources in `equal`. In `two groups`, half of them have a higher score, and differences within
a group are true nulls. For false-discovery rates, we count how often a randomly drawn discovery is false.
"""

import functools
import json
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.coverage_data import causes, mix, world
from benchmarks.coverage_schemes import image_weights, in_halves, orders, scores, weighted
from benchmarks.coverage_studies import RESULTS, Study
from jaxsim import measures, schemes, statistics

LEVEL, AT_ONCE = 0.05, 50
PAIRS, WEIGHTS, PERMUTATIONS = 50, 500, 999
"""Pairs of half-samples, resamples of the bootstrap, and permutations."""


class Sources(NamedTuple):
    """Sources of one target.

    Attributes:
        measure: its name.
        images: their number n.
        thetas: angle of each source to the target.
        null: value that every score is tested against; None tests differences of the sources.
    """

    measure: str
    images: int
    thetas: tuple[float, ...]
    null: float | None = None


def at_truth(measure: str, n: int) -> Sources:
    """Sources whose scores are all the value that `benchmarks.coverage` found at infinitely many images, about 0.5."""
    truth = json.loads((RESULTS.parent / "coverage.json").read_text())["truth"][measure]
    return Sources(measure, n, (truth["theta"][1],) * 12, truth["value"][1])


def networks(key: jax.Array, n: int, thetas: jax.Array) -> jax.Array:
    """Features `(1 + S, n, WIDTH)` of the target and of sources that each have causes of their own."""
    w = world()
    keys = jax.random.split(key, len(thetas) + 1)
    own = jax.vmap(lambda k: causes(k, w.other_centers, n))(keys[1:])
    return mix(causes(keys[0], w.centers, n), own, thetas, w)


def resampled(setting: Sources, seed: int) -> dict:
    """Scores of some data sets, and those of every scheme's resamples, data sets first."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(29), seed), AT_ONCE)
    return _resampled(measures.NAMED[setting.measure], setting.images, keys, jnp.array(setting.thetas))


@functools.partial(jax.jit, static_argnames=("m", "n"))
def _resampled(m, n, keys, thetas):
    def one(key):
        a, b, c = jax.random.split(key, 3)
        features = networks(a, n, thetas)
        halves = in_halves(orders(b, n, PAIRS))
        maps = lax.map(lambda x: m.pairwise(m.transform(x)), features)
        w = image_weights(schemes.Bootstrap(), c, n, WEIGHTS)
        return {
            "estimate": scores(m, features),
            "half-samples": lax.map(lambda half: scores(m, features[:, half]), halves),
            "bootstrap": weighted(m, maps, w),
        }

    return lax.map(one, keys)


def _rotated(values, estimate, null, n, bounded):
    return schemes.HalfSamples().tests(values, estimate, null, n // 2, n, bounded=bounded)


def _largest_t(values, estimate, null, n, bounded):
    return statistics.family_wise(values, estimate, null)


TESTS = {"half-samples": _rotated, "bootstrap": _largest_t}
"""The tests of `Resamples.family_wise` and `compare_sources` by scheme."""


@functools.partial(jax.jit, static_argnames=("kind", "n"))
def tested(kind: str, n: int, values: jax.Array, estimate: jax.Array, null: float | None) -> statistics.FamilyWise:
    """Tests by one scheme, a data set a row: of scores against `null`, or else of their differences."""

    def one(pair):
        if null is not None:
            return TESTS[kind](*pair, null, n, bounded=True)
        return TESTS[kind](*map(statistics.pair_differences, pair), 0.0, n, bounded=False)

    return lax.map(one, (values, estimate))


def rejected(kind: str, setting: Sources, found: dict) -> dict[str, np.ndarray]:
    """Whether each rule rejects each hypothesis, `(data sets, H)`, and the p-values alone."""
    tests = tested(kind, setting.images, found[kind], found["estimate"], setting.null)
    p = tests.unadjusted
    rules = {"single step": tests.single_step, "step down": tests.step_down}
    rules["Benjamini-Hochberg"] = jax.vmap(statistics.false_discovery)(p)
    return {f"{kind}, {rule}": np.asarray(q) <= LEVEL for rule, q in rules.items()} | {f"{kind}, alone": np.asarray(p)}


def true_nulls(setting: Sources) -> np.ndarray:
    """Which hypotheses are true."""
    thetas = np.array(setting.thetas)
    i, j = np.triu_indices(len(thetas), 1)
    return thetas[i] == thetas[j] if setting.null is None else np.ones(len(thetas), bool)


def levels(setting: Sources, seed: int) -> dict[str, np.ndarray]:
    """Any false rejection, or a discovery that is false; and p-values of one true hypothesis."""
    found = resampled(setting, seed)
    true, rng, made = true_nulls(setting), np.random.default_rng(seed), {}
    for kind in TESTS:
        for name, r in rejected(kind, setting, found).items():
            wrong = (r & true).sum(1) if r.dtype == bool else None
            if wrong is None:
                made[name] = r[:, 0].astype(float)
            elif "Hochberg" in name:
                made[name] = rng.uniform(size=len(r)) < wrong / np.maximum(r.sum(1), 1)
            else:
                made[name] = wrong > 0
    return made


def unrelated(n: int, seed: int) -> dict[str, np.ndarray]:
    """Permutation tests of six unrelated networks against themselves: 30 true hypotheses, and 6 that are none."""
    p = np.asarray(_permuted(n, jax.random.split(jax.random.fold_in(jax.random.key(31), seed), AT_ONCE)))
    own = np.eye(p.shape[1], dtype=bool)
    rng, made = np.random.default_rng(seed), {"permutation, alone": p[:, 0, 1].astype(float)}
    for name, left in {"without": np.where(own, np.nan, p), "with": p}.items():
        q = np.stack([np.asarray(statistics.false_discovery(one)) for one in left]) <= LEVEL
        wrong, all_of_them = (q & ~own).sum((1, 2)), q.sum((1, 2))
        share = wrong / np.maximum(all_of_them, 1) if name == "without" else wrong / np.maximum(wrong, 1)
        made[f"permutation, Benjamini-Hochberg, {name} networks against themselves"] = rng.uniform(size=len(p)) < share
    return made


@functools.partial(jax.jit, static_argnames="n")
def _permuted(n, keys):
    m = measures.CKA_LINEAR

    def one(key):
        a, b = jax.random.split(key)
        z = lax.map(lambda x: m.compare.embed(m.pairwise(x)), jax.random.normal(a, (6, n, 24)))

        def crossed(order):
            return jnp.matmul(z, z[:, m.compare.permuted(order)].T, precision="highest")

        null = lax.map(crossed, orders(b, n, PERMUTATIONS))
        return statistics.permutation_p(null, jnp.matmul(z, z.T, precision="highest"))

    return lax.map(one, keys)


EQUAL, TWO = (0.85,) * 12, (0.80,) * 6 + (0.88,) * 6
SOURCES: Mapping[str, Sources] = {
    f"{case}, {measure}, n = {n}": Sources(measure, n, thetas)
    for measure, n in (("cka-linear", 50), ("cka-linear", 100), ("dds-cosine", 50))
    for case, thetas in (("12 equal sources", EQUAL), ("two groups of 6", TWO))
}
STUDY = Study(
    "Do tests of true hypotheses reject at their nominal rate?",
    5,
    (3, 7),
    {name: functools.partial(levels, setting) for name, setting in SOURCES.items()}
    | {
        f"12 scores against their value, cka-linear, n = {n}": functools.partial(levels, at_truth("cka-linear", n))
        for n in (50, 100)
    }
    | {"6 unrelated networks against themselves, n = 60": functools.partial(unrelated, 60)},
)
