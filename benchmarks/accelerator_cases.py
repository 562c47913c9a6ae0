"""The library calls that `accelerator` times.

Limits count all pairs of images, both triangles, as a general product does. There are T networks, n images, d features.
The copy limit assumes that every feature is read once and that every triangle of a map is written and read.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

from benchmarks import data, published
from benchmarks.accelerator_bench import Bench, Case, features
from benchmarks.cases import blocked, measures

MEASURES = {"rsa": "RSA", "cka": "CKA_LINEAR", "dds": "DDS_LAPLACIAN"}
Call = Callable[[], list[Any]]


def work(measure: str, networks: int, n: int, d: int) -> tuple[float, float]:
    """Least operations and bytes of one matrix of scores.

    Maps: 2 T n^2 d for a matrix product; twice that for L1, whose subtraction and addition of an absolute value take
    two instructions where a product and its sum take one. Scores: T^2 n^2 (2 for each of n^2 / 2 pairs). Linear CKA can
    do with products of features instead: 2 n (T d)^2. Bytes: 4 (T n d + 2 T n^2 / 2). Ranking is not counted.
    """
    operations = 2.0 * networks * n**2 * d * (2 if measure == "dds" else 1) + networks**2 * n**2
    if measure == "cka":
        operations = min(operations, 2.0 * n * (networks * d) ** 2)
    return operations, 4.0 * networks * n * (d + n)


def affinity(bench: Bench, measure: str, name: str, networks: int, n: int, shape: tuple[int, ...]) -> Case:
    """One matrix of scores of a stack on the device."""
    import jax.numpy as jnp

    import jaxsim as js

    x, d = jnp.asarray(features(networks, n, shape)), math.prod(shape)
    title = f"{MEASURES[measure]}, T={networks}, n={n}, d={d}"
    run = functools.partial(_affinity, x, getattr(js, MEASURES[measure]))
    return bench.timed(title, run, *work(measure, networks, n, d), keep=name)


def _affinity(x: Any, measure: Any) -> list[Any]:
    import jaxsim as js

    return blocked(js.affinity(x, measure))


def by_images(bench: Bench, measure: str, place: int) -> Case:
    """T = 20 at the number of images in that place of the amounts."""
    a = bench.amounts
    return affinity(bench, measure, f"{measure}_{type(a)().images[place]}", a.networks, a.images[place], a.shape)


def many(bench: Bench, measure: str) -> Case:
    """A thousand networks."""
    a = bench.amounts
    return affinity(bench, measure, f"many_{measure}", a.many, a.many_images, a.many_shape)


def large(bench: Bench, measure: str) -> Case:
    """Twenty thousand images."""
    a = bench.amounts
    return affinity(bench, measure, f"large_{measure}", a.large, a.large_images, a.shape)


def grid_call(bench: Bench) -> Call:
    """All 42 cells of a stack on the device."""
    import jax.numpy as jnp

    a = bench.amounts
    return functools.partial(_affinity, jnp.asarray(features(a.networks, a.images[0], a.shape)), measures())


def grid(bench: Bench) -> Case:
    """The DDS grid."""
    a = bench.amounts
    t, n, d = a.networks, a.images[0], math.prod(a.shape)
    # 7 Gram matrices at 2 T n^2 d, 6 L1 maps at 4 T n^2 d (a shift changes none), 42 matrices of scores at T^2 n^2;
    # features once, 42 triangles of maps written and read
    operations = (7 * 2 + 6 * 4) * t * n**2 * d + 42 * t**2 * n**2
    moved = 4 * t * n * (d + 42 * n)
    title = f"DDS grid: 42 cells (7 transforms x 6 functions), T={t}, n={n}, d={d}"
    return bench.timed(title, grid_call(bench), operations, moved, keep="grid")


def table4_call(bench: Bench) -> Call:
    """Refitted subsets of twenty sources against one target, six functions."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    a = bench.amounts
    x, indices = features(a.networks + 1, a.pool, a.shape), data.subsets(a.subsets, a.subset, a.pool)
    sources, target = jnp.asarray(x[:-1]), jnp.asarray(x[-1:])
    wanted, scheme = measures([("zscore", f) for f in published.FUNCTIONS]), js.Subsample(indices=indices)
    key = jax.random.key(0)
    return lambda: blocked(
        js.resample(sources, wanted, scheme, n_resamples=len(indices), estimate=False, key=key, against=target)
    )


def table4(bench: Bench) -> Case:
    """DDS Table 4."""
    a = bench.amounts
    b, t, m, d = a.subsets, a.networks + 1, a.subset, math.prod(a.shape)
    # per subset and network one Gram matrix and one L1 map, (2 + 4) m^2 d, and six scores of m^2;
    # features of the subset once, six triangles written and read
    operations = b * t * (6 * m**2 * d + 6 * m**2)
    moved = 4 * b * t * m * (d + 6 * m)
    title = f"DDS Table 4: {b} subsets of {m} of {a.pool} images, {a.networks} sources x 1 target, 6 functions, d={d}"
    return bench.timed(title, table4_call(bench), operations, moved, keep="table4")


def bootstrap(bench: Bench, measure: str) -> Case:
    """Bootstraps of the whole matrix."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    a = bench.amounts
    b, t, n, d = a.bootstraps, a.networks, a.resampled_images, math.prod(a.shape)
    x, key, pairs = jnp.asarray(features(t, n, a.shape)), jax.random.key(0), n * (n - 1) / 2
    operations, moved = work(measure, t, n, d)
    if measure == "rsa":  # the order of all pairs read, ranks written and read by one product for each bootstrap
        operations, moved = operations + 2 * b * t**2 * pairs, moved + 12 * b * t * pairs
    else:  # products of all pairs of maps times the weights of all bootstraps, and the margins
        operations += 2 * b * (t * (t + 1) / 2 * pairs + t * n**2)
    wanted = getattr(js, MEASURES[measure])
    title = f"{MEASURES[measure]}, {b} bootstraps of the images, T={t}, n={n}, d={d}"
    run = lambda: blocked(js.resample(x, wanted, js.Bootstrap(), n_resamples=b, key=key))  # noqa: E731
    return bench.timed(title, run, operations, moved)


def half_samples(bench: Bench) -> Case:
    """Half-samples, which refit everything, of RSA and linear CKA in one call."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    a = bench.amounts
    b, t, n, d = a.halves, a.networks, a.resampled_images, math.prod(a.shape)
    x, key = jnp.asarray(features(t, n, a.shape)), jax.random.key(0)
    # both measures' matrices on b halves of n / 2 images and on the full sample
    whole, half = ([2 * v for v in work("rsa", t, m, d)] for m in (n, n // 2))
    title = f"RSA and linear CKA, {b} half-samples, T={t}, n={n}, d={d}"
    both = [js.RSA, js.CKA_LINEAR]
    run = lambda: blocked(js.resample(x, both, js.HalfSamples(), n_resamples=b, key=key))  # noqa: E731
    return bench.timed(title, run, whole[0] + b * half[0], whole[1] + b * half[1])


def gradient(bench: Bench) -> Case:
    """Value and gradient of 1 - CKA by the features of one network."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    a = bench.amounts
    n, d = a.gradient_images, math.prod(a.shape)
    x, y = (jnp.asarray(v.reshape(n, d)) for v in features(2, n, a.shape))
    call = jax.jit(jax.value_and_grad(lambda x, y: 1 - js.CKA_LINEAR(x, y)))

    def run() -> list[Any]:
        slope = jax.block_until_ready(call(x, y))[1]
        return [slope]

    # two Gram matrices, and the gradient of one as a product with the features: 3 of 2 n^2 d;
    # two sets of features read, one gradient written; two maps and the gradient of one written and read
    title = f"value and gradient of 1 - CKA_LINEAR, n={n}, d={d}"
    return bench.timed(title, run, 6 * n**2 * d, 4 * n * (3 * d + 6 * n), keep="gradient")
