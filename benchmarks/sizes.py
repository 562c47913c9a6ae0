"""Memory kept by programs compiled for many numbers of images, and what releases it.

    python -m benchmarks.sizes cka-linear       # a line for each row of the table in docs/how_to.md

Run each measure in a fresh process.
"""

import argparse
import ctypes
import gc
import sys
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

import jaxsim as js

SIZES = range(50, 80)


def resident() -> float:
    """Memory of this process in megabytes; Linux only."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def sweep(measure: str, sizes: Iterable[int] = SIZES) -> None:
    """Compare three networks of every number of images."""
    rng = np.random.default_rng(0)
    for n in sizes:
        np.asarray(js.affinity(rng.normal(size=(3, n, 16)).astype(np.float32), measure).values)


def cleared() -> None:
    jax.clear_caches()
    gc.collect()


def rows(measure: str, sizes: range = SIZES) -> dict[str, float]:
    """Megabytes after each step."""
    sweep(measure, [40])
    found = {"before": resident()}
    sweep(measure, sizes)
    found[f"after {len(sizes)} sizes"] = resident()
    cleared()
    sweep(measure, sizes)
    found[f"after jax.clear_caches() and {len(sizes)} sizes again"] = resident()
    cleared()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return found | {"after jax.clear_caches() and malloc_trim": resident()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=js.measures.NAMED, metavar="MEASURE")
    for name, megabytes in rows(parser.parse_args(arguments).measure).items():
        print(f"{name:50} {megabytes:5.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
