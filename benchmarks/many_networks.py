"""A thousand networks in one call: debiased linear CKA against its matrix products, RSA against rsatoolbox.

    python -m benchmarks.many_networks                              # ten minutes and 6 GB on two cores
    python -m benchmarks.many_networks --networks 100 --images 200  # a quick look

Contenders take turns in one process. The products alone are those that linear CKA can't do without: a Gram matrix per
network, 2 T n^2 d operations, and the products of all pairs of maps, 2 T^2 n (n - 1) / 2.
"""

import argparse
import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxsim as js
from benchmarks import peers, timing
from jaxsim.linalg import dot

OUT = Path(__file__).parent / "results" / "many_networks.json"


def features(networks: int, images: int, width: int) -> np.ndarray:
    """Features of which half the variance is shared, `(T, n, d)`."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((networks, images, width), np.float32)
    x += rng.standard_normal((images, width), np.float32)
    return x


def products(x: jax.Array):
    """The matrix products of a linear CKA and nothing else, as XLA does them best."""
    n = x.shape[1]
    gram = jax.jit(lambda x: jax.vmap(lambda one: dot(one, one.T))(x))
    pairs = jax.jit(lambda z: dot(z, z.T))
    maps = jnp.ones((len(x), n * (n - 1) // 2), x.dtype)

    def run():
        for k in range(0, len(x), 20):
            gram(x[k : k + 20]).block_until_ready()
        return pairs(maps).block_until_ready()

    return run


def rsa_of_features(x: np.ndarray):
    """Maps and scores by rsatoolbox."""
    from rsatoolbox.rdm import compare

    maps = peers.rsatoolbox_maps(x - x.mean(1, keepdims=True))
    return compare(maps, maps, method="spearman")


def rows(x: np.ndarray, rounds: int):
    """Names of the rows, and what makes the sides of each; the other side of RSA takes minutes and has one turn."""
    from rsatoolbox.rdm import compare

    here = jax.device_put(x)
    warnings.filterwarnings("ignore", "an array of shape")  # as many networks as images, or more, are doubted

    def of_features(measure):
        return timing.Side(lambda: np.asarray(js.affinity(here, measure).values), repeats=rounds)

    def from_maps():
        maps = peers.rsatoolbox_maps(x - x.mean(1, keepdims=True))
        ready = jax.device_put(maps.dissimilarities.astype(np.float32))
        return {
            "jaxsim": timing.Side(lambda: np.asarray(js.compare_maps(ready, "spearman").values), repeats=rounds),
            "rsatoolbox": timing.Side(lambda: compare(maps, maps, method="spearman"), repeats=0),
        }

    return {
        "linear-cka": lambda: {
            "jaxsim": of_features("cka"),
            "products": timing.Side(products(here), repeats=rounds),
        },
        "rsa-from-maps": from_maps,
        "rsa-from-features": lambda: {
            "jaxsim": of_features("rsa"),
            "rsatoolbox": timing.Side(lambda: rsa_of_features(x), repeats=0),
        },
    }


def main() -> None:
    """Measure, print and write after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="rows by name; the others in the file stay")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    size = {"networks": options.networks, "images": options.images, "features": options.width}
    kept = json.loads(options.out.read_text())["rows"] if options.only and options.out.exists() else {}
    record = {"machine": timing.machine(), **size, "rows": kept}
    for name, make in rows(features(*size.values()), options.rounds).items():
        if options.only and name not in options.only:
            continue
        sides = make()
        found, scores = timing.interleave(sides, options.rounds, pause=1)
        ours, other = sides
        kept[name] = {"sides": found, "ratio": found[other]["seconds"] / found[ours]["seconds"]}
        if other == "rsatoolbox":
            kept[name]["difference"] = float(np.abs(scores[ours] - scores[other]).max())
        print(name, json.dumps(kept[name]), flush=True)
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
