"""Which NumPy or SciPy form is fastest: `python -m benchmarks.numpy_forms`. `strongest` uses the winners.

Single-core forms are timed by thread CPU time, which a busy machine disturbs least. The rest use wall time.
"""

import time

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist, pdist
from threadpoolctl import threadpool_limits

from benchmarks import data, strongest, strongest_rsa


def l1(n: int = 200, d: int = 2048) -> dict:
    """Ways to the L1 distances of one network."""
    x = np.random.default_rng(0).random((n, d), np.float32)

    def difference():
        buffer, ones = np.empty_like(x), np.ones(d, x.dtype)
        for i in range(n - 1):
            rest = np.subtract(x[i + 1 :], x[i], out=buffer[: n - 1 - i])
            np.matmul(np.abs(rest, out=rest), ones)

    def minimum_sum():
        buffer = np.empty_like(x)
        for i in range(n - 1):
            np.minimum(x[i + 1 :], x[i], out=buffer[: n - 1 - i]).sum(axis=1)

    def blocks(rows: int, columns: int):
        for i in range(0, n, rows):
            for j in range(i, n, columns):
                np.abs(x[i : i + rows, None] - x[None, j : j + columns]).sum(-1)

    return {
        "SciPy pdist (float64 inside)": lambda: pdist(x, "cityblock"),
        "SciPy cdist": lambda: cdist(x, x, "cityblock"),
        "rows: |x-y|, GEMV": difference,
        "rows: min(x,y), sum": minimum_sum,
        "rows: min(x,y), GEMV [used]": lambda: strongest.cityblock(x),
        "blocks 8 x 25 of |x-y|, sum": lambda: blocks(8, 25),
    }


def gram(n: int = 200, d: int = 2048) -> dict:
    """Ways to one Gram matrix."""
    x = np.random.default_rng(0).random((n, d), np.float32)
    other, wide = x.copy(), x.astype(np.float64)
    return {
        "SYRK float32 [used]": lambda: np.matmul(x, x.T),
        "GEMM float32": lambda: np.matmul(x, other.T),
        "SYRK float64": lambda: np.matmul(wide, wide.T),
    }


def medians_and_ranks(pairs: int = 19900) -> dict:
    """Ways to a median and to ranks of one condensed map."""
    v = np.random.default_rng(0).random(pairs, np.float32)
    wide = v.astype(np.float64)
    return {
        "np.median of the condensed map": lambda: np.median(v),
        "np.partition of it [used]": lambda: np.partition(v, (pairs // 2 - 1, pairs // 2)),
        "np.sort of it": lambda: np.sort(v),
        "ranks: SciPy rankdata": lambda: stats.rankdata(v),
        "ranks: argsort float32 [used]": lambda: strongest_rsa.average_ranks(v),
        "ranks: argsort float64": lambda: strongest_rsa.average_ranks(wide),
    }


def _cpu_ms(work, repeats: int = 8) -> float:
    best = np.inf
    with threadpool_limits(1):
        for _ in range(repeats):
            start = time.thread_time()
            work()
            best = min(best, time.thread_time() - start)
    return 1e3 * best


def _threads() -> None:
    """Twenty networks: threads over networks against threads inside BLAS."""
    x = data.networks(20, 200).reshape(20, 200, -1)

    def best(work):
        return 1e3 * min(_wall(work) for _ in range(5))

    print(f"{'20 x SYRK, threads in BLAS':32s} {best(lambda: [np.matmul(v, v.T) for v in x]):8.2f} ms wall")
    pooled = best(lambda: strongest.over_cores(lambda v: np.matmul(v, v.T), x))
    print(f"{'20 x SYRK, over networks [used]':32s} {pooled:8.2f} ms wall")
    ways = {"pdist": lambda v: pdist(v, "cityblock"), "min rows [used]": strongest.cityblock}
    for name, way in ways.items():
        for label, run in {"one core": map, "over networks": strongest.over_cores}.items():
            print(f"{f'20 x L1 {name}, {label}':32s} {best(lambda r=run, w=way: list(r(w, x))):8.2f} ms wall")


def _wall(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    for ways in (l1(), gram(), medians_and_ranks(), medians_and_ranks(124750)):
        for name, way in ways.items():
            print(f"{name:32s} {_cpu_ms(way):8.2f} ms of one core")
    _threads()
