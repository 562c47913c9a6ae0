"""Kernels that programs launch on an H200 and bytes that they move, compiled for that device without having one.

    pip install "jax[cuda12]"                    # the compiler; no GPU is needed
    python -m benchmarks.launches                # all programs, a minute each; benchmarks/results/launches.json
    python -m benchmarks.launches --only rsa

XLA compiles for the device that CONFIG describes. In the optimized program, every fusion, product, sort, copy and
library call of the schedule is one launch. Those in a loop count as often as the loop runs, and a branch counts as its
longest side. A sort may be dozens of kernels but counts as one. Bytes are those of the operands and results, which is
more than is read when a kernel takes a slice. The estimated time is the larger of launches at LAUNCH and bytes at
BANDWIDTH. Operations are not counted. Kernels are not tuned, because that takes a device, and nothing is run.
"""

import argparse
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # JAX reads them when it is imported
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "launches.json"
LAUNCH, BANDWIDTH = 3e-6, 4.8e12
"""Seconds of a launch, and bytes a second of an NVIDIA H200 by its data sheet."""
CONFIG = """
gpu_device_info {
  name: "NVIDIA H200" cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 device_memory_size: 151397597184
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0" cub_version: "3.1.2"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H200"
"""
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8}
"""Bytes of an entry; of the other types, four."""


def programs() -> dict[str, tuple[Callable, tuple[Any, ...]]]:
    """Functions of the library by name, each with the shapes that it takes."""
    import jaxsim as js
    from benchmarks.cases import measures

    def features(networks, n, d):
        return jax.ShapeDtypeStruct((networks, n, d), jnp.float32)

    def affinity(measure):
        return lambda x: js.affinity(x, measure).values

    def permutations(x):
        return js.resample(x, "rsa", js.Permutation(), n_resamples=1000, key=0, against=x).values

    def table4(x, y):
        functions = js.pairwise.linear, js.pairwise.laplacian, js.pairwise.rbf
        distances = js.pairwise.correlation, js.pairwise.euclidean, js.pairwise.cosine
        six = [js.dds(js.transforms.zscore, one) for one in (*distances, *functions)]
        return [r.values for r in js.resample(x, six, js.Subsample(200), n_resamples=100, key=0, against=y)]

    few, many = features(20, 500, 2048), features(20, 2000, 2048)
    positions = jax.ShapeDtypeStruct((20, 200, 4, 4, 128), jnp.float32)
    return {
        "rsa": (affinity("rsa"), (few,)),
        "cka": (affinity("cka"), (many,)),
        "cka-rbf": (affinity("cka-rbf"), (few,)),
        "dds-laplacian": (affinity("dds-laplacian"), (few,)),
        "grid": (lambda x: [a.values for a in js.affinity(x, measures())], (positions,)),
        "bootstraps": (lambda x: js.resample(x, "rsa", js.Bootstrap(), n_resamples=1000, key=0).values, (few,)),
        "bootstraps-cka": (lambda x: js.resample(x, "cka", js.Bootstrap(), n_resamples=1000, key=0).values, (few,)),
        "permutations": (permutations, (few,)),
        "table4": (table4, (features(20, 5000, 2048), features(1, 5000, 2048))),
        "calibration": (lambda x: js.calibrate(x, "cka", n_permutations=999, key=0).p, (features(20, 200, 512),)),
        "cca": (affinity("cca"), (features(20, 1000, 100),)),
    }


def compiled(function: Callable, shapes: tuple[Any, ...], device: Any) -> Any:
    """The function compiled for that device."""
    place = NamedSharding(Mesh(np.array([device]), ("x",)), PartitionSpec())
    backend = jax.default_backend
    jax.default_backend = lambda: "gpu"  # some programs are other ones there
    try:
        made = jax.jit(function, in_shardings=place, out_shardings=place).trace(*shapes)
        return made.lower(lowering_platforms=("cuda",)).compile()
    finally:
        jax.default_backend = backend


def counted(text: str) -> dict[str, Any]:
    """Launches and bytes of an optimized program, and the launches of every loop that has more than a tenth."""
    bodies: dict[str, list[str]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        if opened := re.match(r"(ENTRY )?%([\w.-]+) \(.*\{$", line):
            name = opened[2]
            entry, bodies[name] = (name if opened[1] else entry), []
        elif line.startswith("  "):
            bodies[name].append(line.strip().removeprefix("ROOT "))
    loops: dict[str, float] = {}

    def total(body: str, times: float) -> np.ndarray:
        found, shapes = np.zeros(2), {}
        for line in bodies[body]:
            parts = re.match(r"%([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)", line)
            if not parts:
                continue
            shapes[parts[1]] = _bytes(parts[2])
            kind, rest = parts[3], parts[4]
            if kind == "while":
                inner = re.search(r"body=%([\w.-]+)", rest)[1]
                trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', rest)
                runs = int(trips[1]) if trips else 1
                each = total(inner, times * runs)
                source = re.search(r'op_name="([^"]*)"', rest)
                place = (source[1] if source else inner) + ("" if trips else " (runs unknown)")
                loops[f"{place} x {runs}"] = loops.get(f"{place} x {runs}", 0) + times * runs * each[0]
                found += runs * each
            elif kind == "conditional":
                branches = re.findall(
                    r"%([\w.-]+)", re.search(r"(?:branch_computations=\{|true_computation=)(.*)", rest)[1]
                )
                found += max((total(one, times) for one in branches if one in bodies), key=lambda one: one[0])
            elif kind in ("call", "async-start"):
                found += total(re.search(r"(?:to_apply|calls)=%([\w.-]+)", rest)[1], times)
            elif kind not in FREE and not kind.endswith("-done"):
                operands = re.findall(r"%([\w.-]+)", rest.split("), ")[0])
                found += 1, shapes[parts[1]] + sum(shapes.get(one, 0) for one in operands)
        return found

    launches, passed = total(entry, 1)
    most = {place: int(count) for place, count in loops.items() if count > launches / 10}
    return {
        "launches": int(launches),
        "bytes": float(passed),
        "loops": dict(sorted(most.items(), key=lambda one: -one[1])),
    }


def _bytes(shape):
    return sum(
        SIZES.get(kind, 4) * math.prod(int(k) for k in sides.split(",") if k)
        for kind, sides in re.findall(r"(\w+)\[([\d,]*)\]", shape)
    )


def main() -> None:
    """Compile, count, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = programs()
    parser.add_argument("--only", nargs="+", choices=[*known], default=[*known])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--text", type=Path, help="folder for the optimized programs")
    options = parser.parse_args()
    device = topologies.get_topology_desc("", "cuda", target_config=CONFIG, topology="1x1x1").devices[0]
    record = json.loads(options.out.read_text()) if options.out.exists() else {"programs": {}}
    rows = record["programs"]
    for name in options.only:
        function, shapes = known[name]
        made = compiled(function, shapes, device)
        if options.text:
            options.text.mkdir(exist_ok=True)
            (options.text / f"{name}.hlo").write_text(made.as_text())
        found = counted(made.as_text())
        temporary = made.memory_analysis().temp_size_in_bytes
        found |= {
            "temporary_bytes": temporary,
            "estimated_ms": 1e3 * max(found["launches"] * LAUNCH, found["bytes"] / BANDWIDTH),
        }
        rows[name] = found
        print(name, json.dumps(found, indent=1), flush=True)
        record |= {"device": "NVIDIA H200", "jax": jax.__version__}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
