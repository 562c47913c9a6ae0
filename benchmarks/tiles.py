"""Scores of maps that don't fit in memory, next to the matrix products alone that their blocks need.

    python -m benchmarks.tiles                                # n = 50,000 and 100,000: an hour on two cores
    python -m benchmarks.tiles --images 8000 --networks 4     # a quick look

For each measure: seconds, their ratio to the blocks' products (or city-block sums) alone, timed in turn in the same
process, and the peak memory of a fresh process beyond the features. The last row is debiased linear CKA from features
on disk, which has no blocks of maps, next to the matrix product X'X of all features.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxsim as js
from jaxsim.engine.row_blocks import RowBlocks
from jaxsim.linalg import dot
from jaxsim.pairwise import _cityblock_between

MEASURES = {
    "linear": "identity:linear:pearson",
    "cosine": "dds:identity,cosine",
    "correlation": "dds:identity,correlation",
    "euclidean": "distance-correlation-unbiased",
    "laplacian": "dds-laplacian",
    "rbf": "cka-rbf",
    "ranks": "rsa",
}
OUT = Path(__file__).parent / "results" / "tiles.json"


def write_features(folder, networks, images, width):
    """Files of correlated float32 features, `(images, width)` each."""
    for k in range(networks):
        rng = np.random.default_rng(k)
        file = np.lib.format.open_memmap(folder / f"{k}.npy", "w+", np.float32, (images, width))
        mix = rng.normal(size=(16, width)).astype(np.float32)
        for first in range(0, images, 4096):
            rows = slice(first, min(first + 4096, images))
            shared = np.random.default_rng([99, first]).normal(size=(rows.stop - first, 16))
            file[rows] = shared.astype(np.float32) @ mix + rng.normal(size=(rows.stop - first, width))


def read(folder, mapped):
    files = sorted(folder.glob("*.npy"))
    return {file.stem: np.load(file, mmap_mode="r" if mapped else None) for file in files}


def products_alone(features, tile, between):
    """Seconds of one contraction for each block on and above the diagonal, for all networks."""
    call = jax.jit(between)
    blocks = [RowBlocks(x, js.CKA_LINEAR, tile) for x in features.values()]
    ready = [[one[k] for k in range(one.count)] for one in blocks]
    for one in ready:
        jax.block_until_ready([call(one[0], one[-1]), call(one[-1], one[-1]), call(one[0], one[0])])
    start = time.perf_counter()
    for one in ready:
        for i in range(len(one)):
            for j in range(i, len(one)):
                call(one[i], one[j]).block_until_ready()
    return time.perf_counter() - start


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def most_held():
    """Most bytes of memory that this process ever held; `getrusage` counts the process it came from too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def peak(folder, measure, tile):
    """Most bytes of a fresh process that scores these files, beyond what it held once the features were read."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.tiles import read; import jaxsim as js;"
        "x = read(Path(sys.argv[1]), False); js.affinity({k: v[:64] for k, v in x.items()}, sys.argv[2], tile=32);"
        "from benchmarks.tiles import most_held; before = most_held();"
        "js.affinity(x, sys.argv[2], tile=int(sys.argv[3])); print(most_held() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), measure, str(tile)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--only", nargs="+", choices=[*MEASURES, "linear-cka"], default=[*MEASURES, "linear-cka"])
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = []

    def keep(**row):
        rows.append(row)
        print(json.dumps(row), flush=True)
        record = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "tile": options.tile, "rows": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n")

    size = {"images": options.images, "networks": options.networks, "width": options.width}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_features(folder, options.networks, options.images, options.width)
        features = read(folder, mapped=False)
        for kind in (k for k in MEASURES if k in options.only):
            between = _cityblock_between if kind == "laplacian" else lambda a, b: dot(a, b.T)
            few = {key: x[: 2 * options.tile + 7] for key, x in features.items()}
            js.affinity(few, MEASURES[kind], tile=options.tile)
            alone = [products_alone(features, options.tile, between)]
            ours = timed(lambda kind=kind: js.affinity(features, MEASURES[kind], tile=options.tile))
            alone.append(products_alone(features, options.tile, between))
            memory = peak(folder, MEASURES[kind], options.tile)
            ratio = ours / np.mean(alone)
            keep(kind=kind, **size, seconds=ours, products=alone, ratio=ratio, peak_bytes=memory)
    if "linear-cka" in options.only:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            images, width = 2 * options.images, 2 * options.width
            write_features(folder, options.networks, images, width)
            mapped = read(folder, mapped=True)
            js.affinity({key: x[:9000] for key, x in mapped.items()}, "cka", tile=4096)
            found = []
            ours = timed(lambda: found.append(js.affinity(mapped, "cka", tile=4096).values))
            x = jnp.concatenate([jnp.asarray(one[:4096]) for one in mapped.values()], 1)
            square = jax.jit(lambda x: dot(x.T, x))
            square(x).block_until_ready()
            alone = np.median([timed(lambda: square(x).block_until_ready()) for _ in range(5)]) * images / 4096
            wide = [
                np.asarray(one, np.float64) - np.mean(one, 0, dtype=np.float64) for one in list(mapped.values())[:2]
            ]
            error = abs(float(found[0][0, 1]) - exact_linear_cka(*wide))
            size = {"images": images, "networks": options.networks, "width": width}
            keep(kind="linear-cka", **size, seconds=ours, products=[alone], share=alone / ours, error=error)
    print(f"peak of this process: {most_held() / 2**30:.2f} GiB")


def exact_linear_cka(x, y):
    """Debiased linear CKA in float64, of features with centered columns (Song et al. 2012)."""
    n = len(x)

    def product(x, y):
        k, h = (x**2).sum(1), (y**2).sum(1)
        return ((x.T @ y) ** 2).sum() - n / (n - 2) * k @ h + k.sum() * h.sum() / ((n - 1) * (n - 2))

    return product(x, y) / np.sqrt(product(x, x) * product(y, y))


if __name__ == "__main__":
    main()
