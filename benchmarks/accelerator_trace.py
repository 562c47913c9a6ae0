"""The longest kernels of a call, from the trace written by JAX's profiler."""

import collections
import gzip
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerator_bench import Bench, Case


def longest(bench: Bench, call: Callable[[Bench], Callable[[], Any]], title: str) -> Case:
    """The ten longest kernels of one warm call, and how much of its time the device was at work."""
    import jax

    run = call(bench)
    run()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return {"title": title, "seconds": seconds, **summary(events)}


def summary(events: Sequence[dict[str, Any]], count: int = 10) -> Case:
    """Kernels by their total time. On a CPU an operation's time has that of the operations inside it."""
    spans, kind = device_events(events)
    totals: dict[str, float] = collections.defaultdict(float)
    calls: collections.Counter[str] = collections.Counter()
    for event in spans:
        totals[event["name"]] += event.get("dur", 0) / 1e6
        calls[event["name"]] += 1
    whole = sum(totals.values())
    names = sorted(totals, key=lambda name: -totals[name])[:count]
    kernels = [{"name": n, "seconds": totals[n], "calls": calls[n], "share": totals[n] / whole} for n in names]
    return {"events": kind, "launches": len(spans), "device_seconds": whole, "kernels": kernels}


def device_events(events: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Events of the device's streams; where there are none, of XLA's operations; and which of them."""
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    spans = [e for e in events if e.get("ph") == "X"]
    device = [e for e in spans if str(processes.get(e["pid"], "")).startswith("/device:")]
    streams = [e for e in device if str(threads.get((e["pid"], e.get("tid")), "")).startswith("Stream")]
    if streams or device:
        return (streams, "streams of the device") if streams else (device, "all lines of the device")
    operations = [e for e in spans if "hlo_op" in e.get("args", {})]
    if not operations:
        raise ValueError("the trace has no events of the device")
    return operations, "operations on the CPU"
