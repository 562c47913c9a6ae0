"""RSA and CKA cases to time, in the same form as `cases`. `CASES` lists all of them."""

from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from benchmarks import data, peers, published, strongest, strongest_rsa
from benchmarks.cases import PAIRS, Case, Sizes, blocked, grid, largest, table4
from benchmarks.timing import Side


def rsa(sizes: Sizes) -> Case:
    """One RSA matrix."""
    import jax.numpy as jnp

    import jaxsim as js

    x = data.networks(sizes.networks, sizes.bootstrap_images)
    on_device = jnp.asarray(x)
    pairs = sizes.networks * (sizes.networks + 1) // 2
    rows, columns = np.array(PAIRS).T

    def same(scores):
        mine = np.asarray(scores["ours"][0])
        pairwise = largest(mine[rows, columns], scores["published"])
        return {"strongest": largest(mine, scores["strongest"]), "published": pairwise}

    def by_pairs():
        return [published.rsa(x[i], x[j]) for i, j in PAIRS]

    sides = {
        "ours": Side(lambda: blocked(js.affinity(on_device, js.RSA)), repeats=sizes.repeats),
        "strongest": Side(lambda: strongest_rsa.rsa(x), repeats=sizes.repeats),
        "published": Side(by_pairs, fraction=len(PAIRS) / pairs, repeats=2),
    }
    return Case(f"RSA matrix, T={len(x)}, n={x.shape[1]}, d=2048", sides, same, {}, inputs=(x,))


def rsa_bootstrap(sizes: Sizes) -> Case:
    """Bootstrap of the whole Spearman matrix, on the very draws of rsatoolbox."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    n, resamples = sizes.bootstrap_images, sizes.bootstraps
    x = data.networks(sizes.networks, n)
    on_device, sides = jnp.asarray(x), {}
    rng = np.random.default_rng(11)
    weights = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples)])
    reference = None
    if sizes.bootstraps_peer and peers.installed("rsatoolbox"):
        maps = peers.rsatoolbox_maps(x)
        reference, drawn = peers.rsatoolbox_bootstrap(maps, sizes.bootstraps_peer)
        weights[: len(drawn)] = drawn
        count = sizes.bootstraps_peer
        run = lambda: peers.rsatoolbox_bootstrap(maps, count)  # noqa: E731
        sides["rsatoolbox"] = Side(run, fraction=count / resamples, repeats=2)
    some = weights[: sizes.bootstraps_numpy]
    scheme = js.Bootstrap(weights=jnp.asarray(weights))

    def ours():
        key = jax.random.key(0)
        return blocked(js.resample(on_device, js.RSA_UNCENTERED, scheme, n_resamples=resamples, key=key))

    def same(scores):
        mine = np.asarray(scores["ours"][0])
        out = {"strongest": largest(mine[: len(some)], scores["strongest"])}
        if reference is not None:
            out["rsatoolbox"] = largest(mine[: len(reference)], reference)
        return out

    fraction = len(some) / resamples
    sides["ours"] = Side(ours, repeats=3)
    sides["strongest"] = Side(lambda: strongest_rsa.rsa_bootstrap(x, some), fraction=fraction, repeats=3)
    title = f"Spearman RSA, n={n}, T={len(x)}, {resamples} bootstraps of the whole matrix"
    return Case(title, sides, same, {"rsatoolbox": 60}, inputs=(x,))


def cka(sizes: Sizes) -> Case:
    """Linear CKA beside the bare matrix products of the same shapes."""
    import jax
    import jax.numpy as jnp

    import jaxsim as js

    x = data.networks(sizes.networks, sizes.cka_images)
    flat = x.reshape(*x.shape[:2], -1)
    on_device, flat_on_device = jnp.asarray(x), jnp.asarray(flat)
    other = flat.copy()
    contract = (((2,), (2,)), ((0,), (0,)))
    product = jax.jit(lambda a: jax.lax.dot_general(a, a, contract, precision=jax.lax.Precision.HIGHEST))

    def gemm():
        for a, b in zip(flat, other, strict=True):
            np.matmul(a, b.T)

    def syrk():
        strongest.over_cores(lambda a: np.matmul(a, a.T) is None, flat)

    sides = {
        "ours": Side(lambda: blocked(js.affinity(on_device, js.CKA_LINEAR)), repeats=5),
        "strongest": Side(lambda: strongest_rsa.cka_linear(x), repeats=5),
        "matmul XLA": Side(lambda: jax.block_until_ready(product(flat_on_device)), repeats=5),
        "matmul NumPy": Side(gemm, repeats=5),
        "SYRK NumPy": Side(syrk, repeats=5),
    }
    flops = 2.0 * len(x) * x.shape[1] ** 2 * flat.shape[2]
    title = f"linear CKA, T={len(x)}, n={x.shape[1]}, d=2048"
    same = lambda scores: {"strongest": largest(scores["ours"][0], scores["strongest"])}  # noqa: E731
    return Case(title, sides, same, {}, flops=flops, inputs=(x,))


def torch_cka(sizes: Sizes, worker: Executor | None = None, folder: Path | None = None) -> Case:
    """Linear CKA of all pairs against torch packages, which run in a process of their own."""
    import jax.numpy as jnp

    import jaxsim as js

    x = data.networks(sizes.networks, sizes.bootstrap_images)
    on_device = jnp.asarray(x)
    sides = {"ours": Side(lambda: blocked(js.affinity(on_device, js.CKA_LINEAR)), repeats=sizes.repeats)}
    names = [n for n in ("cka", "torch_cka") if peers.installed(n) and peers.installed("torch")]
    if worker and folder:
        np.save(folder / "torch.npy", x)
        worker.submit(peers.start_torch, str(folder / "torch.npy"), strongest.CORES).result()
        for name in names:
            run = lambda name=name: worker.submit(peers.timed_torch, name).result()  # noqa: E731
            sides[{"cka": "pytorch-cka", "torch_cka": "torch-cka"}[name]] = Side(run, repeats=3, clock=True)

    def same(scores):
        return {k: largest(scores["ours"][0], v) for k, v in scores.items() if k != "ours"}

    return Case(f"linear CKA, T={len(x)}, n={x.shape[1]}, d=2048", sides, same, {}, inputs=(x,))


CASES = {
    "grid": grid,
    "table4": table4,
    "rsa": rsa,
    "rsa_bootstrap": rsa_bootstrap,
    "cka": cka,
    "torch_cka": torch_cka,
}
