"""Attribution maps: four rules for the twenty shipped encoders, against encoder passes and a jitted loop.

`python -m benchmarks.attribution [--pictures N] [--quick] [--out FILE.json]`.

All sides take turns in one process. The shortest time counts, because others may be using the machine:

* ours: `image_scores` for all rules, from pictures as bytes in memory to the scores of every picture;
* pass: one forward and one backward pass of every encoder for every picture, jitted, in batches, no maps or scores;
* loop: a jitted function per rule, encoder and batch, with gradients modified by hand for these encoders. Its maps are
  kept, and compared at the end with one product per picture.

Peak memory is that of `image_scores` for this many pictures and for four times as many.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import timing
from benchmarks.run import HERE, write
from jaxsim.studies.rooms import encoders, pictures
from jaxsim.vision import attribution
from jaxsim.vision.extraction import UNIT

PASSES = 4.0
"""Passes that the four rules together may take."""
PUBLISHED = 1.0
"""Seconds a network and picture of the published procedure, by one rule: DDS 2020, Table 3."""
RULES = tuple(attribution.RULES)


def batches(x: np.ndarray, batch: int, dtype: Any = np.float32):
    """Pictures in [0, 1], the last batch filled up."""
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        yield np.concatenate([part, np.repeat(part[-1:], batch - len(part), 0)]).astype(dtype) / 255


def passes(bank: Sequence[Any], x: np.ndarray, batch: int) -> None:
    """One forward and backward pass of every encoder over the pictures."""
    jax.block_until_ready([_gradient(*parts, views) for views in batches(x, batch) for parts in bank])


@functools.partial(jax.jit, static_argnums=0)
def _gradient(graph, state, x):
    y, back = jax.vjp(lambda x: nnx.merge(graph, state)(x), x)
    return back(jnp.ones_like(y))[0]


def loop(bank: Sequence[Any], x: np.ndarray, batch: int, dtype: Any = np.float32) -> np.ndarray:
    """Scores `(rules, n, T, T)` from maps that are kept."""
    scores = []
    for rule in RULES:
        some = [np.stack([np.asarray(_map(rule, *parts, v)) for parts in bank], 1) for v in batches(x, batch, dtype)]
        flat = np.concatenate(some)[: len(x)].reshape(len(x), len(bank), -1)
        flat /= np.linalg.norm(flat, axis=-1, keepdims=True)
        scores.append(flat @ flat.swapaxes(1, 2))
    return np.stack(scores)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _map(rule, graph, state, x):
    network, act = nnx.merge(graph, state), ACTIVATIONS.get(rule, jax.nn.relu)
    whole = jnp.concatenate([x, 0 * x[:1]])  # the baseline is the last

    def encode(x):
        for name in network.names:
            x = network.convolutions[name](x)
            x = x if name == network.names[-1] else act(x)
        return x[:-1] if rule == "deeplift" else x

    given = whole if rule == "deeplift" else x
    y, back = jax.vjp(encode, given)
    m = back(jnp.ones_like(y))[0][: len(x)]
    return (jnp.abs(m) if rule == "saliency" else x * m).mean(-1)


def _with(slope):
    @jax.custom_jvp
    def activation(z):
        return jax.nn.relu(z)

    activation.defjvp(lambda z, t: (jax.nn.relu(z[0]), slope(z[0], jax.nn.relu(z[0])) * t[0]))
    return activation


def _differing(z, y):
    gap = z - z[-1:]
    near = jnp.abs(gap) <= 1e-5
    return jnp.where(near, (z + z[-1:] > 0) * 1.0, (y - y[-1:]) / jnp.where(near, 1, gap))


ACTIVATIONS = {
    "epsilon-lrp": _with(lambda z, y: y / (z + jnp.where(z >= 0, 1e-4, -1e-4))),
    "deeplift": _with(_differing),
}


def peak(run) -> float:
    """MB that a call takes beyond what is held."""
    held = timing.resident_mb()
    timing.forget_peak()
    run()
    return timing.peak_mb() - held


def measure(count: int, batch: int, repeats: int) -> dict:
    """Times of all sides, the agreement of their scores, and memory."""
    networks = encoders.shipped()
    bank = [nnx.split(one) for one in networks.values()]
    x = pictures.make(count).rgb
    shown = dict.fromkeys(networks, UNIT)

    def ours(x=x):
        found = attribution.image_scores(x, networks, RULES, preprocessing=shown, batch=batch)
        return np.stack([np.asarray(one.values) for one in found])

    sides = {
        "ours": timing.Side(ours),
        "pass": timing.Side(functools.partial(passes, bank, x, batch)),
        "loop": timing.Side(functools.partial(loop, bank, x, batch)),
    }
    summary, found = timing.interleave(sides, repeats)
    best = {name: one["best"] for name, one in summary.items()}
    memory = {str(len(some)): peak(functools.partial(ours, some)) for some in (x, np.tile(x, (4, 1, 1, 1)))}
    published = PUBLISHED * len(RULES) * len(networks) * count
    return {
        "pictures": count,
        "encoders": len(networks),
        "rules": RULES,
        "batch": batch,
        "sides": summary,
        "passes": best["ours"] / best["pass"],
        "target_passes": PASSES,
        "passes_met": bool(best["ours"] <= PASSES * best["pass"]),
        "loop_ratio": best["loop"] / best["ours"],
        "loop_met": bool(best["ours"] <= best["loop"]),
        "difference": float(np.nanmax(np.abs(found["ours"] - found["loop"]))),
        "peak_mb": memory,
        "published_seconds": published,
        "published_ratio": published / best["ours"],
    }


def main() -> int:
    """Run, write the JSON and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers don't mean much")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/attribution-PLATFORM.json")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    options = parser.parse_args()
    if options.quick:
        options.pictures, options.batch, options.repeats = 8, 4, 1
    suffix = "-quick" if options.quick else ""
    path = options.out or HERE / "results" / f"attribution-{jax.default_backend()}{suffix}.json"
    if path.exists() and not options.overwrite:
        print(f"{path} already exists; use --overwrite to replace it, or choose another --out", file=sys.stderr)
        return 2
    found = measure(options.pictures, options.batch, options.repeats)
    write({"machine": timing.machine(), "quick": options.quick, "attribution": found}, path)
    best = {name: one["best"] for name, one in found["sides"].items()}
    print(
        f"{found['encoders']} encoders x {found['pictures']} pictures, four rules: {best['ours']:.2f} s, "
        f"{found['passes']:.2f} passes of {best['pass']:.2f} s (target {PASSES:g}, "
        f"{'met' if found['passes_met'] else 'missed'}); loop {best['loop']:.2f} s, {found['loop_ratio']:.2f} times "
        f"ours ({'met' if found['loop_met'] else 'missed'}); difference {found['difference']:.1e}"
    )
    print(f"peak memory, MB by pictures: {found['peak_mb']}; published procedure: {found['published_seconds']:.0f} s")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
