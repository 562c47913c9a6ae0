"""DDS cases to time: each one makes its data, lists its contenders, and says how far apart their scores are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import data, published, strongest
from benchmarks.timing import Side

CELLS = published.CELLS
PAIRS = ((0, 1), (3, 11), (7, 7), (15, 19))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work; `quick` is a smoke test whose numbers mean nothing."""

    networks: int = 20
    subset_pool: int = 5000
    subsets: int = 100
    subset_size: int = 200
    subsets_published: int = 1
    bootstrap_images: int = 500
    bootstraps: int = 1000
    bootstraps_peer: int = 6
    bootstraps_numpy: int = 40
    cka_images: int = 2000
    repeats: int = 7


QUICK = Sizes(
    subset_pool=600,
    subsets=4,
    bootstrap_images=120,
    bootstraps=40,
    bootstraps_peer=2,
    cka_images=300,
    repeats=2,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """Contenders of one benchmark.

    Attributes:
        title: the work in words.
        sides: contenders; "ours" is one of them.
        same: from all scores by name, the largest absolute difference of ours to each other contender.
        targets: least ratio (their seconds / ours) wanted against a contender.
        flops: nominal floating-point operations of the matrix products in it.
        inputs: host arrays that `ours` needs on the device.
    """

    title: str
    sides: dict[str, Side]
    same: Callable[[dict[str, Any]], dict[str, float]]
    targets: dict[str, float]
    flops: float = 0.0
    inputs: tuple[np.ndarray, ...] = ()


def largest(a: Any, b: Any) -> float:
    """Largest absolute difference; NaN on either side counts as NaN."""
    return float(np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))))


def blocked(results: Any) -> list[Any]:
    """Values of one result or a list of them, waited for, still on the device."""
    import jax

    several = results if isinstance(results, (list, tuple)) else [results]
    return jax.block_until_ready([r.values for r in several])


def measures(cells=CELLS) -> list[Any]:
    """The library's measure of each cell `(norm, function)`."""
    import jaxsim as js

    return [js.dds(getattr(js.transforms, norm), getattr(js.pairwise, f)) for norm, f in cells]


def grid(sizes: Sizes) -> Case:
    """All 42 cells for 20 networks and 200 images."""
    import jax.numpy as jnp

    import jaxsim as js

    x = data.networks(sizes.networks, 200)
    on_device, cells = jnp.asarray(x), measures()
    pairs = sizes.networks * (sizes.networks + 1) // 2

    def by_pairs():
        return np.array([[published.dds(x[i], x[j], *cell) for i, j in PAIRS] for cell in CELLS])

    def same(scores):
        ours = np.stack([np.asarray(v) for v in scores["ours"]])
        rows, columns = np.array(PAIRS).T
        strong = np.stack([scores["strongest"][cell] for cell in CELLS])
        pairwise = largest(ours[:, rows, columns], scores["published"])
        return {"strongest": largest(ours, strong), "published": pairwise}

    sides = {
        "ours": Side(lambda: blocked(js.affinity(on_device, cells)), repeats=sizes.repeats),
        "strongest": Side(lambda: strongest.grid(x, published.NORMS), repeats=sizes.repeats),
        "published": Side(by_pairs, fraction=len(PAIRS) / pairs, repeats=2),
    }
    title = f"DDS grid: 42 cells (7 norms x 6 functions), T={sizes.networks}, n=200, d=2048"
    return Case(title, sides, same, {"published": 250, "strongest": 4}, inputs=(x,))


def table4(sizes: Sizes) -> Case:
    """DDS Table 4: subsets without replacement, z-score refitted, 20 sources against 1 target."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    x = data.networks(sizes.networks + 1, sizes.subset_pool)
    target, sources = x[-1], x[:-1]
    indices = data.subsets(sizes.subsets, sizes.subset_size, sizes.subset_pool)
    some = indices[: sizes.subsets_published]
    share = len(some) / len(indices)
    xs, ys = jnp.asarray(sources), jnp.asarray(target[None])
    wanted = measures([("zscore", f) for f in published.FUNCTIONS])
    scheme = js.Subsample(indices=indices)

    def ours():
        key = jax.random.key(0)
        return blocked(js.resample(xs, wanted, scheme, n_resamples=len(indices), estimate=False, key=key, against=ys))

    def same(scores):
        mine = np.stack([np.asarray(v)[..., 0] for v in scores["ours"]])
        pairwise = largest(mine[:, : len(some)], scores["published"])
        return {"strongest": largest(mine, scores["strongest"]), "published": pairwise}

    sides = {
        "ours": Side(ours, repeats=3),
        "strongest": Side(lambda: strongest.subset_protocol(sources, target, indices), repeats=3),
        "published": Side(lambda: published.subset_protocol(sources, target, some), share, repeats=1),
    }
    title = f"DDS Table 4: {sizes.subsets} subsets of {sizes.subset_size} of {sizes.subset_pool} images, "
    title += f"{sizes.networks} sources x 1 target, 6 functions, z-score refitted"
    return Case(title, sides, same, {"published": 40, "strongest": 5}, inputs=(sources, target))
