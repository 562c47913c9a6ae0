"""Timing, memory and a description of the machine."""

import dataclasses
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Side:
    """One contender of a benchmark.

    Attributes:
        run: does the work and returns the scores; must not return before they are there.
        fraction: share of the whole work that `run` does; its time is divided by it.
        repeats: timed runs at most (a slow baseline gets fewer).
        clock: `run` returns `(seconds, scores)` timed elsewhere (another process).
    """

    run: Callable[[], Any]
    fraction: float = 1.0
    repeats: int = 7
    clock: bool = False


def interleave(sides: dict[str, Side], repeats: int, pause: float = 0.05) -> tuple[dict, dict]:
    """Time the sides in turn, so that drift of the machine falls on all alike.

    Each side runs once first, untimed for the summary: that call compiles and warms caches.

    Args:
        sides: contenders by name.
        repeats: rounds; a side with fewer repeats sits out the later ones.
        pause: idle seconds before each run, so that another library's spinning threads have gone to sleep.

    Returns:
        summaries by name (`seconds`, `best` and `worst` are for the whole work) and the last scores by name.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    first, scores = {}, {}
    for name, side in sides.items():
        first[name], _, scores[name] = _once(side, pause)
    for r in range(repeats):
        for name, side in sides.items():
            if r < side.repeats:
                seconds, used, scores[name] = _once(side, pause)
                times[name].append(seconds)
                cpu[name].append(used)
    return {name: _summary(side, first[name], times[name], cpu[name]) for name, side in sides.items()}, scores


def _once(side: Side, pause: float) -> tuple[float, float, Any]:
    time.sleep(pause)
    start, cpu = time.perf_counter(), time.process_time()
    out = side.run()
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    return (out[0], float("nan"), out[1]) if side.clock else (seconds, used, out)


def _summary(side: Side, first: float, times: list[float], cpu: list[float]) -> dict:
    whole = [t / side.fraction for t in times] or [first / side.fraction]
    return {
        "seconds": statistics.median(whole),
        "best": min(whole),
        "worst": max(whole),
        "processor_seconds": statistics.median(cpu) / side.fraction if cpu else None,
        "first_call": first,
        "fraction_timed": side.fraction,
        "runs": len(whole),
    }


def resident_mb() -> float:
    """Memory that this process holds now, in MB (Linux; NaN elsewhere)."""
    return _status("VmRSS:")


def peak_mb() -> float:
    """Peak resident memory since `forget_peak`, in MB; since the start where that had no effect."""
    peak = _status("VmHWM:")
    if np.isnan(peak):
        import resource

        scale = 2**20 if platform.system() == "Darwin" else 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    return peak


def forget_peak() -> None:
    """Start counting peak memory from now (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _status(field: str) -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(text for text in status.read_text().splitlines() if text.startswith(field))
    return int(line.split()[1]) / 1024


def machine() -> dict:
    """Device, processor and versions, for the record."""
    import jax
    from threadpoolctl import threadpool_info

    from benchmarks.strongest import CORES

    device = jax.devices()[0]
    packages = ("jaxsim-similarity", "jax", "jaxlib", "numpy", "scipy", "scikit-learn", "torch")
    packages += ("rsatoolbox", "pytorch-cka", "torch-cka")
    blas = [f"{i['internal_api']} {i['version']} {i.get('architecture', '')}" for i in threadpool_info()]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": CORES,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {p: version(p) for p in packages},
        "blas": sorted(set(blas)),
    }


def version(package: str) -> str | None:
    """Installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text().splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    vector = [flag for flag in ("avx512f", "avx2") if any(flag in line.split() for line in lines)]
    return f"{next(names, platform.processor())} ({', '.join(vector) or 'no AVX2'})"
