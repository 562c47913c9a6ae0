"""What the cases of `accelerator` share: sizes, features, timing, and the device's limits."""

import dataclasses
import functools
import gc
import statistics
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.strongest import over_cores

Case = dict[str, Any]
"""A row of the result: values, or `failed` or `skipped` with the reason."""
GRACE = 15.0
"""Seconds that a case may run past the deadline before the whole run is ended."""
LONGEST_TEXT = 4000
COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass(frozen=True)
class Amounts:
    """How much work. Rows are named after these numbers, also where `QUICK` takes smaller ones."""

    shape: tuple[int, ...] = data.SHAPE
    networks: int = 20
    images: tuple[int, int, int] = (200, 500, 2000)
    exact_networks: int = 5
    exact_l1: int = 2
    pool: int = 5000
    subsets: int = 100
    subset: int = 200
    resampled_images: int = 500
    bootstraps: int = 1000
    halves: int = 100
    gradient_images: int = 1024
    many: int = 1000
    many_images: int = 500
    many_shape: tuple[int, ...] = (8, 8, 8)
    large: int = 8
    large_images: int = 20_000
    products: tuple[int, ...] = (1024, 2048, 4096, 8192)
    copied: int = 2**28
    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    side: int = 224
    batches: tuple[int, int] = (32, 256)
    encoders: int = 20
    encoder_images: int = 256
    training_images: int = 32
    training_steps: int = 5
    repeat_for: float = 1.0
    tests: tuple[str, ...] = ()


QUICK = Amounts(
    shape=(4, 4, 8),
    networks=4,
    images=(40, 40, 40),
    exact_networks=4,
    pool=60,
    subsets=3,
    subset=40,
    resampled_images=40,
    bootstraps=16,
    halves=4,
    gradient_images=40,
    many=4,
    many_images=40,
    many_shape=(4, 4, 8),
    large=4,
    large_images=40,
    products=(256, 512),
    copied=2**20,
    depths=(1, 1, 1, 1),
    width=8,
    side=64,
    batches=(2, 2),
    encoders=3,
    encoder_images=4,
    training_images=4,
    training_steps=1,
    repeat_for=0.02,
    tests=("-k", "test_transforms or test_centering or test_u_center"),
)
"""A smoke test; its numbers mean nothing. One number of images throughout, so that little is compiled."""


class SkippedError(Exception):
    """The case cannot run here; the text says why."""


def guarded(case: Callable[[], Case]) -> Case:
    """What the case returns; `skipped` or `failed` with the text where it does not."""
    try:
        return case()
    except SkippedError as reason:
        return {"skipped": str(reason)}
    except Exception as error:  # noqa: BLE001 - one failed case must not lose the others
        last = traceback.format_tb(error.__traceback__)[-3:]
        text = f"{type(error).__name__}: {error}"
        return {"failed": text[:LONGEST_TEXT], "where": "".join(last)[-LONGEST_TEXT:]}


class Bench:
    """A run: its amounts, deadline, rows so far, and the scores and ceilings that other rows compare with.

    Args:
        amounts: of work.
        cpu: whether the CPU was asked for, so that PyTorch takes it too.
        seconds: after which no case is begun.
    """

    def __init__(self, amounts: Amounts, *, cpu: bool, seconds: float):
        self.amounts, self.cpu, self.seconds = amounts, cpu, seconds
        self.begun = time.perf_counter()
        self.rows: dict[str, Case] = {}
        self.scores: dict[str, np.ndarray] = {}
        self.programs = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begun

    def count_programs(self) -> None:
        """Count from now on what XLA compiles."""
        import jax

        def note(event: str, duration: float, **about: Any) -> None:
            self.programs += event == COMPILED

        jax.monitoring.register_event_duration_secs_listener(note)

    @functools.cached_property
    def ceilings(self) -> Case:
        """See `ceilings`; measured once, by the first row that needs a limit."""
        return guarded(lambda: ceilings(self))

    def timed(
        self, title: str, run: Callable[[], Any], operations: float, moved: float, keep: str | None = None
    ) -> Case:
        """Times of a call of the library and its limit.

        Args:
            title: the work in words.
            run: does it, and returns the scores when they are there.
            operations: floating-point operations at least.
            moved: bytes read and written at least.
            keep: row's name under which to keep the scores for others to compare with.
        """
        times, value = self.clock(run)
        if keep:
            self.scores[keep] = np.stack([np.asarray(v) for v in value])
        return {"title": title, **times, **self.limit(times["seconds"], operations, moved), **memory()}

    def clock(self, run: Callable[[], Any], most: int = 15) -> tuple[Case, Any]:
        """Median and best of warm runs, as many as fit into `repeat_for`; compiling is the first call less the median.

        `programs` were compiled in the first call. Where another row has compiled the same, it is 0 or little.
        """
        before = self.programs
        start = time.perf_counter()
        value = run()
        first, programs = time.perf_counter() - start, self.programs - before
        times: list[float] = []
        while not times or (len(times) < most and sum(times) < self.amounts.repeat_for):
            start = time.perf_counter()
            value = run()
            times.append(time.perf_counter() - start)
        middle = statistics.median(times)
        out = {"seconds": middle, "best": min(times), "runs": len(times), "first_call": first}
        return out | {"compile_seconds": max(first - middle, 0.0), "programs": programs}, value

    def limit(self, seconds: float, operations: float, moved: float) -> Case:
        """The longer of operations / matmul rate and bytes / copy rate, and its share of the seconds taken."""
        flops, copied = self.ceilings.get("flops"), self.ceilings.get("bytes_per_second")
        if not flops or not copied:
            return {"limit_seconds": None, "limit_missing": "the ceilings could not be measured"}
        by = {"matmul": operations / flops, "copy": moved / copied}
        name = max(by, key=lambda k: by[k])
        out = {"operations": operations, "bytes": moved, "limited_by": name, "limit_seconds": by[name]}
        return out | {"share": by[name] / seconds}


def ceilings(bench: Bench) -> Case:
    """Rates of float32 products at `Precision.HIGHEST` by size, and of a copy, bytes read and written both counted."""
    import jax
    import jax.numpy as jnp

    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
    rng, rates = np.random.default_rng(0), {}
    for n in bench.amounts.products:
        a, b = (jnp.asarray(rng.random((n, n), np.float32)) for _ in range(2))
        times, _ = bench.clock(lambda a=a, b=b: jax.block_until_ready(product(a, b)))
        rates[n] = 2 * n**3 / times["best"]
    x = jnp.ones(bench.amounts.copied, jnp.float32)
    negative = jax.jit(jnp.negative)
    times, _ = bench.clock(lambda: jax.block_until_ready(negative(x)))
    copied = 2 * x.nbytes / times["best"]
    title = "float32 product of two square matrices at Precision.HIGHEST; copy of an array"
    shown = {"tflops": {str(n): rate / 1e12 for n, rate in rates.items()}, "copy_gb_per_second": copied / 1e9}
    return {"title": title, "flops": max(rates.values()), "bytes_per_second": copied, **shown}


def operations_of(lowered: Any) -> float:
    """Floating-point operations of a lowered program as XLA counts them; 0 where it does not say."""
    return float(guarded(lambda: lowered.cost_analysis() or {}).get("flops", 0.0))


def memory() -> Case:
    """Peak of the device's memory since the start, where the device says."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return {"peak_gb": stats["peak_bytes_in_use"] / 1e9} if "peak_bytes_in_use" in stats else {}


def tidy() -> None:
    """Give up what the last case held, PyTorch's cache of device memory too."""
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


@functools.lru_cache(maxsize=2)
def features(count: int, n: int, shape: tuple[int, ...]) -> np.ndarray:
    """`data.networks`, drawn on all cores: `(count, n, *shape)` float32."""
    return np.stack(over_cores(lambda k: data.network(k, n, count, shape), range(count)))
