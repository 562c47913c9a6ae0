"""Resampled scores and the intervals made from them, for the coverage table.

`weights` runs the weightings of the full-sample maps (bootstrap, Bayesian bootstrap, jackknife). `halves` runs the
complementary half-samples with everything refitted. Both return dictionaries of arrays with data sets first.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import stats

from benchmarks import coverage_numpy
from benchmarks.coverage_data import images, world
from jaxsim import centering, compare, schemes, statistics
from jaxsim.linalg import dot
from jaxsim.measures import Measure
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.resampling.program import prepared


def scores(m: Measure, features: jax.Array) -> jax.Array:
    """Scores `(K,)` of the first network with the K others; everything fitted on these images."""
    z = lax.map(lambda x: m.compare.embed(m.pairwise(m.transform(x))), features)
    return declared(m.compare, ComparatorCapabilities).finish(dot(z[1:], z[0]))


@functools.partial(jax.jit, static_argnames=("n",))
def _sample(key, n, thetas):
    return images(key, n, thetas, world())


_scores = jax.jit(scores, static_argnames=("m",))


def large(m: Measure, key: jax.Array, n: int, thetas: jax.Array) -> np.ndarray:
    """Scores of n images with the bias of order 1 / n removed by the scores of the two halves."""
    features = _sample(key, n, thetas)
    if str(m) not in coverage_numpy.RESTATED:
        return coverage_numpy.without_bias(lambda p: np.asarray(_scores(m, features[:, p])), n)
    features = np.asarray(features)
    return coverage_numpy.without_bias(lambda p: coverage_numpy.scores(str(m), features, p[None])[0], n)


def orders(key: jax.Array, n: int, count: int) -> jax.Array:
    """Orders `(count, n)` of the images."""
    return jax.vmap(lambda k: jax.random.permutation(k, n))(jax.random.split(key, count))


def in_halves(orders: jax.Array) -> jax.Array:
    """Images `(2 pairs, n // 2)` of orders `(pairs, n)`: each half followed by its complement."""
    pairs, n = orders.shape
    return orders[:, : n // 2 * 2].reshape(2 * pairs, n // 2)


def image_weights(scheme, key: jax.Array, n: int, count: int) -> jax.Array:
    """Weights `(n, count)` that a scheme draws."""
    layout = jax.tree.map(jnp.asarray, scheme.plan(n, 2, count).layout)
    return jax.vmap(lambda k: scheme.draw(k, 0, layout))(jax.random.split(key, count)).T


def weighted(m: Measure, maps: jax.Array, w: jax.Array, at_once: int = 16) -> jax.Array:
    """Scores `(B, K)` under image weights `(n, B)`."""
    if isinstance(m.compare, compare.UCenteredCosine):
        return _quadratic(m, maps, w)
    z = jax.vmap(lambda k: prepared(m, k))(maps)
    x, y = jax.tree.map(lambda a: a[:1], z), jax.tree.map(lambda a: a[1:], z)
    blocks = jnp.pad(w, ((0, 0), (0, -w.shape[1] % at_once)), mode="edge").reshape(w.shape[0], -1, at_once)
    found = lax.map(lambda v: m.compare.weighted(x, y, v)[:, 0], jnp.moveaxis(blocks, 1, 0))
    return found.reshape(-1, found.shape[-1])[: w.shape[1]]


def _quadratic(m, maps, w):
    """`compare.UCenteredCosine.weighted` as quadratic forms w' (K * L) w: faster for few networks."""
    z = jax.vmap(lambda k: prepared(m, k))(maps)
    rows = dot(z, w)
    fit = jax.vmap(centering.fit_margins, (0, None))(rows, w)

    def moment(a, b, fit_a, rows_b):
        return jnp.sum(w * dot(a * b, w), 0) / 2 - jnp.sum(w * fit_a * rows_b, 0)

    size = moment(z[0], z[0], fit[0], rows[0])

    def one(parts):
        a, fit_a, rows_a = parts
        return moment(z[0], a, fit[0], rows_a) / jnp.sqrt(size * moment(a, a, fit_a, rows_a))

    return lax.map(one, (z[1:], fit[1:], rows[1:])).T


@functools.partial(jax.jit, static_argnames=("m", "n", "count"))
def weights(m: Measure, n: int, count: int, keys: jax.Array, thetas: jax.Array) -> dict:
    """Bootstrap, Bayesian bootstrap (`count` resamples each) and jackknife of one data set a key."""

    def one(key):
        a, b, c = jax.random.split(key, 3)
        features = images(a, n, thetas, world())
        maps = lax.map(lambda x: m.pairwise(m.transform(x)), features)
        draws = {
            "bootstrap": image_weights(schemes.Bootstrap(), b, n, count),
            "bayesian": image_weights(schemes.BayesianBootstrap(), c, n, count),
            "jackknife": 1 - jnp.eye(n),
        }
        return {"estimate": scores(m, features)} | {k: weighted(m, maps, w) for k, w in draws.items()}

    return lax.map(one, keys)


@functools.partial(jax.jit, static_argnames=("n", "pairs"))
def draw_halves(n: int, pairs: int, key: jax.Array, thetas: jax.Array):
    """Features of one data set, and images `(2 pairs, n // 2)`: each half followed by its complement."""
    a, b = jax.random.split(key)
    return images(a, n, thetas, world()), in_halves(orders(b, n, pairs))


@functools.partial(jax.jit, static_argnames=("m", "n", "pairs"))
def _halves_on_device(m, n, pairs, keys, thetas):
    def one(key):
        features, subsets = draw_halves(n, pairs, key, thetas)
        halves = lax.map(lambda s: scores(m, features[:, s]), subsets)
        return {"estimate": scores(m, features), "halves": halves}

    return lax.map(one, keys)


def halves(m: Measure, n: int, pairs: int, keys: jax.Array, thetas: jax.Array) -> dict:
    """Scores of complementary half-samples, refitted: one data set a key."""
    if str(m) not in coverage_numpy.RESTATED:
        return jax.tree.map(np.asarray, _halves_on_device(m, n, pairs, keys, thetas))

    def one(key):
        features, subsets = map(np.asarray, draw_halves(n, pairs, key, thetas))
        whole = coverage_numpy.scores(str(m), features, np.arange(n)[None])[0]
        return whole, coverage_numpy.scores(str(m), features, subsets)

    with ThreadPoolExecutor() as pool:
        estimate, found = zip(*pool.map(one, list(keys)), strict=True)
    return {"estimate": np.array(estimate), "halves": np.array(found)}


def half_error(halves: np.ndarray, share: float = 0) -> np.ndarray:
    """Standard error `(M, K)` from scores `(M, 2 R, K)` of R half-samples, each followed by its complement.

    Of each pair, o = (s_h - s_h') / 2 and e = (s_h + s_h') / 2 - s. mean(o^2) holds the variance of the first order
    once and that of the second order twice, as the jackknife does (Efron and Stein 1981); var(e) is the second order.
    `share` of var(e) is taken off: 1 is unbiased to second order, but its intervals are too short. A fully degenerate
    statistic has var(e) = mean(o^2) / 2, so no more than that is taken.
    """
    first, second = halves[:, 0::2], halves[:, 1::2]
    odd = np.mean(((first - second) / 2) ** 2, 1)
    even = np.var((first + second) / 2, axis=1, ddof=1)
    return np.sqrt(odd - share * np.minimum(even, odd / 2))


def half_intervals(found: dict) -> tuple[dict, dict]:
    """Intervals `(low, high)`, each `(M, K)`, of one call of `halves`, and the standard errors."""
    estimate, values = found["estimate"], found["halves"]
    stretch = stats.t.ppf(0.975, values.shape[1] // 2 - 1) / stats.norm.ppf(0.975)
    none, quarter, half, full = (half_error(values, share) for share in (0, 0.25, 0.5, 1))
    plain = np.asarray(statistics.subsample_error(jnp.moveaxis(values, 1, 0), 1, 2))
    intervals = {
        "half-samples, Fisher t": statistics.fisher_interval(estimate, stretch * none),
        "half-samples, Fisher": statistics.fisher_interval(estimate, none),
        "half-samples, t": statistics.normal_interval(estimate, stretch * none),
        "half-samples less even / 4, Fisher t": statistics.fisher_interval(estimate, stretch * quarter),
        "half-samples less even / 2, Fisher t": statistics.fisher_interval(estimate, stretch * half),
        "half-samples less even, Fisher t": statistics.fisher_interval(estimate, stretch * full),
        "subsample n/2, normal": statistics.normal_interval(estimate, plain),
    }
    errors = {"half-samples": none, "half-samples less even": full, "subsample n/2": plain}
    return intervals, errors


def weight_intervals(found: dict) -> tuple[dict, dict]:
    """Intervals of one call of `weights`."""
    s = jnp.asarray(found["estimate"])
    boot, bayes, jack = (jnp.moveaxis(found[k], 1, 0) for k in ("bootstrap", "bayesian", "jackknife"))
    error = statistics.jackknife_error(jack)
    stretch = stats.t.ppf(0.975, jack.shape[0] - 1) / stats.norm.ppf(0.975)
    intervals = {
        "bootstrap, percentile": statistics.percentile_interval(boot),
        "bootstrap, basic": statistics.basic_interval(boot, s),
        "bootstrap, BCa": statistics.bca_interval(boot, s, jack),
        "bootstrap, normal": statistics.normal_interval(s, statistics.spread(boot)),
        "Bayesian bootstrap, percentile": statistics.percentile_interval(bayes),
        "jackknife, normal": statistics.normal_interval(s, error),
        "jackknife, Fisher": statistics.fisher_interval(s, error),
        "jackknife, t": statistics.normal_interval(s, stretch * error),
    }
    errors = {
        "bootstrap": statistics.spread(boot),
        "Bayesian bootstrap": statistics.spread(bayes),
        "jackknife": error,
    }
    return intervals, errors
