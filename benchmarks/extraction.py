"""Cost of the input pipeline: features of picture files against those of arrays in memory, with the same encoder.

`python -m benchmarks.extraction [--network NAME] [--quick] [--out FILE.json]`.

Both sides take turns in one process. A rate is the number of pictures after the first batch over the time after the
first batch, so it doesn't include either side's startup. The job's startup (weights folded and hashed, programs
compiled or found) is in `seconds_to_first_batch`. The files side decodes, frames, computes and writes. The memory
side has the framed pictures as one array, computes, and copies the features to the host.
"""

import argparse
import functools
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import timing
from benchmarks.run import HERE, write

TARGET = 0.10
"""Largest share of time that reading, framing and writing may add."""
SEED = 0


def pictures(folder: Path, count: int, pixels: int, kind: str) -> Path:
    """Files of smooth color with some grain, about as large as photographs are."""
    from PIL import Image

    rng = np.random.default_rng(SEED)
    folder.mkdir()
    for k in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        smooth = np.asarray(coarse.resize((pixels, pixels), Image.Resampling.BICUBIC), np.int16)
        grainy = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(folder / f"{k:05d}.{kind}", quality=90)
    return folder


def encoder(network: str):
    """The network with NumPy's random weights, and its name."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxsim.vision import models

    def make():
        if network in models.SIZES:
            return models.SmallEncoder.named(network, rngs=nnx.Rngs(0))
        return models.ResNet.named(network, rngs=nnx.Rngs(0))

    graph, state = nnx.split(nnx.eval_shape(make))
    rng = np.random.default_rng(SEED)
    return nnx.merge(graph, jax.tree.map(lambda v: jnp.asarray(rng.uniform(0.01, 0.03, v.shape), v.dtype), state))


def from_files(folder: Path, network, shown, batch: int, starts: list[float]) -> tuple[float, np.ndarray]:
    """Seconds after the first batch, and the features, of the whole job."""
    from jaxsim import io
    from jaxsim.vision import extraction

    times = []
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        out = extraction.extract(
            folder,
            {"network": network},
            Path(place) / "features",
            preprocessing={"network": shown},
            batch=batch,
            progress=lambda done, total: times.append(time.perf_counter()),
        )
        starts.append(times[0] - start)
        return times[-1] - times[0], np.array(io.read_features(out)[0]["network"])


def from_memory(views: np.ndarray, ready, batch: int) -> tuple[float, np.ndarray]:
    """The same of pictures in memory, one batch behind the device too."""
    import jax

    from jaxsim.vision.extraction import forward

    found, waiting, times = [], None, []
    for start in [*range(0, len(views), batch), None]:
        started = None
        if start is not None:
            seen = jax.device_put(views[start : start + batch], forward.over_devices()[0])
            started = ready.run(forward.prepare(ready.preprocessing, seen))
        if waiting is not None:
            found += [np.asarray(values) for values in waiting.values()]
            times.append(time.perf_counter())
        waiting = started
    return times[-1] - times[0], np.concatenate(found)


def measure(network: str, count: int, pixels: int, side: int | None, batch: int, kind: str, repeats: int) -> dict:
    """Rates of both sides, their agreement, and the memory that the job takes."""
    from jaxsim.vision import datasets, extraction
    from jaxsim.vision.extraction import forward

    with tempfile.TemporaryDirectory() as place:
        folder = pictures(Path(place) / "pictures", count, pixels, kind)
        own = encoder(network)
        shown = extraction.preprocessing_of("rgb2depth", own).at(side)
        views = np.stack([shown.frame(example.image) for example in datasets.folder(folder)])
        ready = forward.ready("network", own, shown, views[0], batch, (), False)
        starts: list[float] = []
        held = timing.resident_mb()
        timing.forget_peak()
        _, features = from_files(folder, own, shown, batch, starts)
        peak = timing.peak_mb() - held
        sides = {
            "files": timing.Side(functools.partial(from_files, folder, own, shown, batch, starts), clock=True),
            "memory": timing.Side(functools.partial(from_memory, views, ready, batch), clock=True),
        }
        summary, found = timing.interleave(sides, repeats)
    counted = count - batch
    rates = {name: counted / one["seconds"] for name, one in summary.items()}
    overhead = summary["files"]["seconds"] / summary["memory"]["seconds"] - 1
    scale = np.abs(found["memory"]).max()
    return {
        "network": network,
        "pictures": count,
        "file_pixels": pixels,
        "file_kind": kind,
        "shown_pixels": views.shape[1],
        "batch": batch,
        "sides": summary,
        "images_per_second": rates,
        "overhead": overhead,
        "target": TARGET,
        "met": bool(overhead <= TARGET),
        "seconds_to_first_batch": statistics.median(starts),
        "difference": float(np.abs(found["files"] - found["memory"]).max() / scale),
        "feature_mb": features.nbytes / 1e6,
        "peak_mb": peak,
    }


def main() -> int:
    """Run, write the JSON and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50-taskonomy", help="in models.NETWORKS or models.SIZES")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--pixels", type=int, default=512, help="side of the files; default: 512, like Taskonomy's")
    parser.add_argument("--side", type=int, help="side of the network's input; default: its own")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--kind", choices=("png", "jpg"), default="png")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers don't mean much")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/extraction-PLATFORM.json")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    options = parser.parse_args()
    if options.quick:
        options.network, options.pictures, options.pixels, options.side = "tiny", 12, 48, 32
        options.batch, options.repeats = 4, 1
    import jax

    suffix = "-quick" if options.quick else ""
    path = options.out or HERE / "results" / f"extraction-{jax.default_backend()}{suffix}.json"
    if path.exists() and not options.overwrite:
        print(f"{path} already exists; use --overwrite to replace it, or choose another --out", file=sys.stderr)
        return 2
    names = ("network", "pictures", "pixels", "side", "batch", "kind", "repeats")
    found = measure(*(getattr(options, name) for name in names))
    write({"machine": timing.machine(), "quick": options.quick, "extraction": found}, path)
    rates = found["images_per_second"]
    print(
        f"{found['network']}, {found['shown_pixels']} px, batches of {found['batch']}: "
        f"{rates['files']:.2f} images/s from files, {rates['memory']:.2f} from memory, "
        f"overhead {100 * found['overhead']:.1f} % (target {100 * TARGET:g} %, {'met' if found['met'] else 'missed'}); "
        f"peak {found['peak_mb']:.0f} MB; difference {found['difference']:.1e}"
    )
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
