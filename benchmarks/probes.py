"""Measurements that need a fresh process: `python -m benchmarks.probes NAME ...` prints one line of JSON."""

import argparse
import dataclasses
import json
import time


def cold(path: str) -> dict:
    """Import, compile and the first RSA matrix of features in a file; the caller times the whole process."""
    marks = [time.perf_counter()]
    import jax
    import numpy as np

    marks.append(time.perf_counter())
    import jaxsim as js

    marks.append(time.perf_counter())
    features = np.load(path)
    marks.append(time.perf_counter())
    jax.block_until_ready(js.affinity(features, js.RSA).values)
    marks.append(time.perf_counter())
    phases = ("import_jax", "import_jaxsim", "read_file", "first_matrix")
    return {p: b - a for p, a, b in zip(phases, marks[:-1], marks[1:], strict=True)}


def imports(module: str) -> dict:
    """Seconds to import a module in a fresh process."""
    start = time.perf_counter()
    __import__(module)
    return {"seconds": time.perf_counter() - start}


def compilations(measure: str, networks: int = 50, n: int = 200) -> dict:
    """Programs that XLA compiles for fifty networks of fifty widths, in this process and when asked again."""
    import jax

    names: list[str] = []

    def note(event: str, duration: float, **about) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about.get("fun_name", "?")))

    jax.monitoring.register_event_duration_secs_listener(note)
    import jaxsim as js
    from benchmarks import data

    features = data.of_widths([100 + 37 * i for i in range(networks)], n)
    jax.block_until_ready(js.affinity(features, getattr(js, measure)).values)
    first = list(names)
    jax.block_until_ready(js.affinity(features, getattr(js, measure)).values)
    return {"programs": len(first), "again": len(names) - len(first), "names": first}


def memory(case: str, side: str, quick: bool) -> dict:
    """Memory of one contender's run beyond what was held before it, host and device."""
    import jax

    from benchmarks import timing
    from benchmarks.cases import QUICK, Sizes
    from benchmarks.cases_rsa import CASES

    sizes = dataclasses.replace(QUICK if quick else Sizes(), bootstraps_peer=0)
    work = CASES[case](sizes).sides[side].run
    held = timing.resident_mb()
    timing.forget_peak()
    work()
    out = {"held_mb": held, "peak_mb": timing.peak_mb(), "added_mb": timing.peak_mb() - held}
    stats = jax.devices()[0].memory_stats() or {}
    if side == "ours" and "peak_bytes_in_use" in stats:
        out["device_peak_mb"] = stats["peak_bytes_in_use"] / 2**20
    return out


def main() -> None:
    """Run the probe named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("probe", choices=("cold", "imports", "compilations", "memory"))
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.probe == "memory":
        result = memory(*options.arguments, quick=options.quick)
    else:
        named = {"cold": cold, "imports": imports, "compilations": compilations}
        result = named[options.probe](*options.arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
