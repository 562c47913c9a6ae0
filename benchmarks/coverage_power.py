"""The study `power`: true differences found by each scheme, and certainty about the best of equal sources.

"Found" is how often a randomly drawn true difference is rejected, for two groups of sources as in the study `tests`.
"Certain" is how often one of several equal sources has a share of first ranks above 0.95. With two equal sources, this
happens in about a tenth of data sets under any scheme, because the share is uniform between 0 and 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.coverage_schemes import image_weights, in_halves, orders, scores, weighted
from benchmarks.coverage_studies import Study
from benchmarks.coverage_tests import (
    AT_ONCE,
    PAIRS,
    TESTS,
    Sources,
    networks,
    rejected,
    resampled,
    true_nulls,
)
from jaxsim import measures, schemes, statistics


def found(setting: Sources, seed: int) -> dict[str, np.ndarray]:
    """Whether a false hypothesis drawn at random is rejected."""
    made, false = {}, ~true_nulls(setting)
    scored = resampled(setting, seed)
    drawn = np.random.default_rng(seed).integers(false.sum(), size=AT_ONCE)
    for kind in TESTS:
        for name, r in rejected(kind, setting, scored).items():
            if r.dtype == bool:
                made[name] = r[:, false][np.arange(len(r)), drawn]
    return made


def certain(setting: Sources, seed: int) -> dict[str, np.ndarray]:
    """Whether any of the equal sources ranks first in more than 95 % of the draws."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(37), seed), AT_ONCE)
    return {name: np.asarray(share > 0.95) for name, share in _first(setting, keys).items()}


@functools.partial(jax.jit, static_argnames="setting")
def _first(setting, keys):
    m, n = measures.NAMED[setting.measure], setting.images
    large = 9 * n // 10

    def one(key):
        a, b, c = jax.random.split(key, 3)
        features = networks(a, n, jnp.array(setting.thetas))
        shuffled = orders(b, n, 2 * PAIRS)
        subsets = in_halves(shuffled[:PAIRS]), shuffled[:, :large]
        half, most = (lax.map(lambda i: scores(m, features[:, i]), some) for some in subsets)
        maps = lax.map(lambda x: m.pairwise(m.transform(x)), features)
        w = image_weights(schemes.Bootstrap(), c, n, 2 * PAIRS)
        s = scores(m, features)
        draws = {
            "half-samples": s + schemes.HalfSamples().errors(half, s, n // 2, n),
            "bootstrap": weighted(m, maps, w),
            "subsamples of 9/10, scaled": s + schemes.Subsample().errors(most, s, large, n),
            "subsamples of 9/10, not scaled (before)": most,
            "jackknife (refused now)": weighted(m, maps, 1 - jnp.eye(n)),
        }
        return {name: statistics.first_share(v[:, :, None]).max() for name, v in draws.items()}

    return lax.map(one, keys)


APART, CASES = (0.75,) * 6 + (0.92,) * 6, (("cka-linear", 50), ("cka-linear", 100), ("dds-cosine", 50))
STUDY = Study(
    "How often are true differences found, and how often is one of several equal sources picked with certainty?",
    100,
    (0, 100),
    {f"two groups of 6, {m}, n = {n}": functools.partial(found, Sources(m, n, APART)) for m, n in CASES}
    | {
        f"share of first ranks above 0.95, {k} equal sources, cka-linear, n = 100": functools.partial(
            certain, Sources("cka-linear", 100, (0.85,) * k)
        )
        for k in (2, 4, 12)
    },
)
