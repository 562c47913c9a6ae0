"""Do p values for agreement with transfer keep their level, and do the intervals?

Each p value is tested under its own null hypothesis, in worlds where matrices are symmetric or have main effects, along
with the interval over targets there. The procedures that prompted this study are kept as rows "before".
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxsim as js
from benchmarks.coverage_studies import Study
from jaxsim import evaluation, statistics

BATCH, COUNT = 100, 199
"""Data sets of a batch; relabelings."""


def _rng(seed: int, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, *more])


def _record(values: np.ndarray) -> js.Affinity:
    names = [f"task{i}" for i in range(max(values.shape))]
    return js.Affinity.from_array(values, names[: values.shape[0]], names[: values.shape[1]], measure="made")


def _symmetric(m: np.ndarray) -> np.ndarray:
    return (m + m.T) / 2**0.5


# Worlds: a matrix of scores of `shape`, from a generator


def plain(rng, shape):
    return rng.normal(size=shape)


def symmetric(rng, shape):
    return _symmetric(rng.normal(size=shape))


def with_sources(rng, shape):
    """Main effects of sources as large as everything else."""
    return rng.normal(size=shape) + rng.normal(size=(shape[0], 1))


def of_networks(rng, shape):
    """Linear CKA of random networks, half of whose features are shared by neighbors: the second world."""
    shared = rng.normal(size=(shape[0] // 4 + 1, 40, 6))
    maps = []
    for i in range(shape[0]):
        x = np.concatenate([shared[i // 4], rng.normal(size=(40, 6)) * np.exp(rng.normal())], axis=1)
        x = np.maximum(x @ rng.normal(size=(12, 20)), 0)
        k = (x - x.mean(0)) @ (x - x.mean(0)).T
        maps.append(k.ravel() / np.linalg.norm(k))
    order = rng.permutation(shape[0])
    return (np.array(maps) @ np.array(maps).T)[order][:, order]


def _excludes_zero(per_target: np.ndarray) -> bool:
    """Whether the interval over targets, as it was before, leaves out zero."""
    low, high = _before(per_target[None], np.random.default_rng(0))[:, 0]
    return bool(low > 0 or high < 0)


def _before(per_target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The former interval over targets `(2, M)` of agreements `(M, T)`: stretched percentiles of the bootstrap."""
    count = per_target.shape[1]
    draws = per_target @ rng.multinomial(count, np.full(count, 1 / count), size=500).T / count
    mean, ends = per_target.mean(axis=1), np.quantile(draws, [0.025, 0.975], axis=1)
    wide = np.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975)
    return mean + wide * (ends - mean)


def unrelated(make, shape, gaps=None):
    """P values of affinity and truth that were drawn apart."""

    def once(seed):
        p, partial, before, diagonal = [], [], [], []
        for k in range(BATCH):
            rng = _rng(seed, k, *shape)
            a, g = make(rng, shape), make(rng, shape)
            if gaps:
                gaps(rng, a, g)
            found = js.evaluate(_record(a), _record(g), diagonal=False, relabelings=COUNT, key=seed + k)
            p.append(found.p)
            partial.append(found.partial_p)
            before.append(_excludes_zero(found.per_target))
            for m in (a, g):
                np.fill_diagonal(m, m.max() + 1)
            if not gaps:
                diagonal.append(_excludes_zero(js.evaluate(_record(a), _record(g), diagonal=True).per_target))
        out = {"p by relabelings": p, "p without sources' effects": partial}
        out["interval over targets, before, leaves out zero"] = before
        out |= {"the same with the diagonal": diagonal} if diagonal else {}
        return {name: np.array(values) for name, values in out.items()}

    return once


def _truth_gaps(rng, a, g):
    g[rng.random(g.shape) < 0.2] = np.nan


def _same_gaps(rng, a, g):
    gone = rng.random(g.shape) < 0.2
    a[gone] = g[gone] = np.nan


def confounded(shape, scale, units=False, both=False):
    """The same main effects of sources in both, and nothing else: the null of the partial test."""

    def once(seed):
        plainly, partial, pearson = [], [], []
        for k in range(BATCH):
            rng = _rng(seed, k, *shape, 1)
            effect = scale * rng.normal(size=(shape[0], 1))
            make = symmetric if both else plain
            a, g = (effect + (effect[: shape[1]].T if both else 0) + make(rng, shape) for _ in range(2))
            if units:
                a, g = (m * np.exp(rng.normal(size=shape[1])) for m in (a, g))
            how = {"diagonal": False, "relabelings": COUNT, "key": seed + k}
            found = js.evaluate(_record(a), _record(g), **how)
            plainly.append(found.p <= 0.05)
            partial.append(found.partial_p)
            pearson.append(js.evaluate(_record(a), _record(g), correlation=evaluation.pearson, **how).partial_p)
        return {
            "p without sources' effects": np.array(partial),
            "the same, Pearson": np.array(pearson),
            "plain p (its null is false)": np.array(plainly),
        }

    return once


def several(related: int, count: int = 5, tasks: int = 12):
    """`count` measures that resemble each other, the first `related` of which are related to the truth."""

    def once(seed):
        least, any_adjusted, best = [], [], []
        for k in range(BATCH):
            rng = _rng(seed, k, related)
            shape = (tasks, tasks)
            g, common = with_sources(rng, shape), symmetric(rng, shape)
            made = {f"m{i}": common + symmetric(rng, shape) + 0.7 * g * (i < related) for i in range(count)}
            records = {name: _record(m) for name, m in made.items()}
            found = js.compare_agreements(records, _record(g), relabelings=COUNT, key=seed + k)
            least.append(float(found.adjusted[related:].min()))
            best.append(bool(found.p[related:].min() <= 0.05))
            any_adjusted.append(bool(found.adjusted[related:].min() <= 0.05))
        rows = {"any adjusted p of an unrelated measure": np.array(any_adjusted)}
        rows |= {"the smallest adjusted p": np.array(least)} if not related else {}
        return rows | {"any p that is not adjusted": np.array(best)}

    return once


# Two measures that agree equally well with a truth


def _pairs_noise(rng, n):
    g = rng.normal(size=(n, n))
    return g, *(0.7 * g + 0.7 * rng.normal(size=(n, n)) for _ in range(2))


def _symmetric_noise(rng, n):
    g = symmetric(rng, (n, n))
    return g, *(0.7 * g + 0.7 * symmetric(rng, (n, n)) for _ in range(2))


def _task_noise(rng, n):
    """Places of tasks in a space: transfer falls with distance, and each measure errs in the places."""
    v = rng.normal(size=(n, 4))
    places = v, *(v + 0.5 * rng.normal(size=(n, 4)) for _ in range(2))
    g, a, b = (-((z[:, None] - z[None]) ** 2).sum(-1) for z in places)
    return g + rng.normal(size=(n, n)), a, b


def _source_noise(rng, n):
    g = rng.normal(size=(n, n)) + rng.normal(size=(n, 1))
    return g, *(g + rng.normal(size=(n, 1)) + 0.5 * rng.normal(size=(n, n)) for _ in range(2))


def _network_noise(rng, n):
    """The second world: similarity of networks as truth, and each measure with noise of its own tasks and pairs."""
    g = of_networks(rng, (n, n))
    noise = [rng.gamma(1, size=(n, 1)) * symmetric(rng, (n, n)) for _ in range(2)]
    return g, *(np.exp(2 * g) + 0.3 * e + 0.2 * e.T for e in noise)


def alike(make, tasks):
    """P values of the difference of two measures that are exchangeable."""

    def once(seed):
        p, paired = [], []
        for k in range(BATCH):
            g, a, b = make(_rng(seed, k, tasks), tasks)
            own = np.eye(tasks, dtype=bool)
            p.append(evaluation.differences.difference(a, b, g, own, True).p)
            r, s = (js.evaluate(_record(m), _record(g), diagonal=False).per_target for m in (a, b))
            paired.append(bool(stats.ttest_rel(r, s).pvalue <= 0.05))
        return {"p of the difference": np.array(p), "paired t over targets": np.array(paired)}

    return once


# Intervals


def _correlations(rng, count, sources, rho, deviation=0.0):
    """Rank correlations `(count,)` of targets with their truth, over their sources."""
    g = rng.normal(size=(count, sources))
    r = np.tanh(np.arctanh(rho) + deviation * rng.normal(size=(count, 1)))
    x, y = (stats.rankdata(m, axis=1) for m in (r * g + np.sqrt(1 - r * r) * rng.normal(size=g.shape), g))
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum(1) / (x * x).sum(1)


def over_targets(tasks, rho, deviation, sources=16):
    """Targets drawn from one population, sources fixed."""

    @functools.cache
    def truth():
        return _correlations(_rng(9, sources), 400_000, sources, rho, deviation).mean()

    one = jax.jit(
        jax.vmap(
            lambda r, key: (
                statistics.agreement_over_targets(r, key=key, n_resamples=20, sources=jnp.full(tasks, sources)).interval
            )
        )
    )

    def once(seed):
        r = _correlations(_rng(seed, tasks), 10 * BATCH * tasks, sources, rho, deviation).reshape(-1, tasks)
        low, high = np.asarray(one(r, jax.random.split(jax.random.key(seed), len(r)))).T
        before = _before(r, _rng(seed))
        return {
            "interval over targets": ~((low <= truth()) & (truth() <= high)),
            "the same before": ~((before[0] <= truth()) & (truth() <= before[1])),
            "before, left [-1, 1]": (np.abs(before) > 1).any(axis=0),
        }

    return once


@functools.partial(jax.jit, static_argnames=("tasks",))
def _images(keys, noise, related, tasks):
    def one(key):
        a, b, c, d = jax.random.split(key, 4)
        normal, shape = jax.random.normal, (tasks, tasks)
        true = normal(a, shape)
        truth = related * true + jnp.sqrt(1 - related**2) * normal(b, shape)
        estimate = true + noise * normal(c, shape)
        values = estimate + noise * normal(d, (200, *shape))
        used = ~jnp.eye(tasks, dtype=bool)
        target = statistics.column_agreement(true, truth, statistics.masked_spearman, used)
        found = statistics.agreement_over_images(values, estimate, truth, statistics.masked_spearman, used)
        center = 2 * found.estimate - found.values.mean()
        before = center + stats.norm.ppf(0.975) * found.error * jnp.array([-1, 1])
        return target, found.interval, before, found.percentile

    return jax.lax.map(one, keys)


def over_images(noise, related, tasks=17):
    """Scores with noise, whose agreement without noise is wanted."""

    def once(seed):
        found = _images(jax.random.split(jax.random.key(seed), BATCH), noise, related, tasks=tasks)
        target, interval, before, percentile = map(np.asarray, found)
        ends = {"interval over images": interval, "the same before": np.clip(before, -1, 1)}
        ends["percentile interval"] = percentile
        missed = {name: ~((e[:, 0] <= target) & (target <= e[:, 1])) for name, e in ends.items()}
        return missed | {"before, left [-1, 1]": (np.abs(before) > 1).any(axis=1)}

    return once


@functools.partial(jax.jit, static_argnames=("tasks",))
def _both(keys, noise, related, tasks):
    def one(key):
        a, b, c, d, e = jax.random.split(key, 5)
        normal, shape = jax.random.normal, (tasks, tasks)
        true = normal(a, shape)
        truth = related * true + jnp.sqrt(1 - related**2) * normal(b, shape)
        estimate = true + noise * normal(c, shape)
        values, used = estimate + noise * normal(d, (200, *shape)), ~jnp.eye(tasks, dtype=bool)
        rest = (values, estimate, truth, statistics.masked_spearman, used)
        return statistics.agreement_over_both(*rest, key=e, level=0.95).interval

    return jax.lax.map(one, keys)


def over_both(noise, related, tasks=17):
    """Scores with noise, whose agreement without noise is wanted over all targets of the population."""

    @functools.cache
    def truth():
        return _correlations(_rng(9, tasks - 1), 400_000, tasks - 1, related).mean()

    def once(seed):
        interval = np.asarray(_both(jax.random.split(jax.random.key(seed), BATCH), noise, related, tasks=tasks))
        return {"interval over images and targets": ~((interval[:, 0] <= truth()) & (truth() <= interval[:, 1]))}

    return once


def _quiet(once):
    """Without the warnings of small cases, of which the setting is one."""

    def run(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return once(seed)

    return run


SETTINGS = {
    "unrelated, 5 tasks, exact": unrelated(plain, (5, 5)),
    "unrelated, 8 tasks": unrelated(plain, (8, 8)),
    "unrelated, 20 tasks": unrelated(plain, (20, 20)),
    "unrelated and symmetric, 8 tasks": unrelated(symmetric, (8, 8)),
    "unrelated and symmetric, 20 tasks": unrelated(symmetric, (20, 20)),
    "unrelated, main effects of sources, 8 tasks": unrelated(with_sources, (8, 8)),
    "unrelated, main effects of sources, 20 tasks": unrelated(with_sources, (20, 20)),
    "unrelated networks, 16 tasks": unrelated(of_networks, (16, 16)),
    "unrelated, main effects, 20 sources and 17 targets": unrelated(with_sources, (20, 17)),
    "unrelated, a fifth of the truth missing, 12 tasks": unrelated(with_sources, (12, 12), _truth_gaps),
    "unrelated, a fifth missing in both, 12 tasks": unrelated(with_sources, (12, 12), _same_gaps),
    "shared effects of sources, 8 tasks": confounded((8, 8), 1.0),
    "shared effects of sources, 12 tasks": confounded((12, 12), 2.0),
    "shared effects of sources, 20 tasks": confounded((20, 20), 2.0),
    "shared effects of sources, other units, 12 tasks": confounded((12, 12), 2.0, units=True),
    "shared effects, symmetric, 12 tasks": confounded((12, 12), 1.0, both=True),
    "shared effects, 20 sources and 17 targets": confounded((20, 17), 1.0),
    "five measures, none related": several(0),
    "five measures, one related": several(1),
    "five measures, three related": several(3),
    **{
        f"two measures agree equally, {name}, {tasks} tasks": alike(make, tasks)
        for name, make in (
            ("noise of pairs", _pairs_noise),
            ("symmetric noise", _symmetric_noise),
            ("noise of tasks", _task_noise),
            ("noise of sources", _source_noise),
            ("networks", _network_noise),
        )
        for tasks in (8, 12, 20)
    },
    **{
        f"targets, agreement {name}, {tasks} of them": over_targets(tasks, rho, deviation)
        for name, rho, deviation in ((".46", 0.5, 0.0), (".40 varied", 0.5, 0.5), (".86", 0.9, 0.0))
        for tasks in (4, 6, 10, 17)
    },
    **{
        f"images, agreement {name}, noise {noise}": over_images(noise, related)
        for name, related in ((".5", 0.5), (".9", 0.92))
        for noise in (0.15, 0.3, 0.6)
    },
    **{
        f"images and targets, agreement {name}, noise {noise}": over_both(noise, related)
        for name, related in ((".5", 0.5), (".9", 0.92))
        for noise in (0.15, 0.3, 0.6)
    },
}

STUDY = Study(
    "Agreement with transfer: share of p values up to .05, of tests that reject, and of intervals that miss the "
    "true value.",
    5,
    (3, 7),
    {name: _quiet(once) for name, once in SETTINGS.items()},
)
