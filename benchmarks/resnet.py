"""Feature extraction with ResNet-50 against PyTorch: `python -m benchmarks.resnet [--rounds N] [--out FILE]`.

Every contender is a separate process with two threads, started once. They take turns, one batch at a time, while the
others wait idle (`OMP_WAIT_POLICY=PASSIVE`). All use the same random weights and images. PyTorch runs eagerly in both
memory layouts, and the better one counts. It runs with normalization as is, and with it fused into the convolutions.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import turns

NETWORKS = {"resnet50": 224, "resnet50-taskonomy": 256}
"""Networks with the side of their images."""
SIDES = ("jaxsim", "jaxsim folded", "jaxsim for inference", "torch", "torch last", "torch folded", "torch folded last")
"""Contenders; `for inference` is as `extraction` runs it, folded and more; `last` is channels_last."""
TARGETS = {"folded": 1.0, "plain": 1.1}
"""Images/s of jaxsim for inference over PyTorch's better layout: folded there too, and as it is."""


# A contender's process


def prepare(folder: Path, network: str, batch: int, side: int) -> None:
    """Write the weights, with PyTorch's names, and the images."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.torch_resnet import TorchResNet, TorchTaskonomy, randomize

    torch.set_num_threads(1)
    peer = randomize(TorchResNet() if network == "resnet50" else TorchTaskonomy())
    save_file(peer.state_dict(), folder / "weights.safetensors")
    np.save(folder / "images.npy", np.random.default_rng(0).uniform(-1, 1, (batch, side, side, 3)).astype(np.float32))


def worker(name: str, folder: Path, network: str) -> None:
    """Build, warm up, write the features, and then time one batch whenever asked."""
    turns.limit()
    images = np.load(folder / "images.npy")
    run = (_jaxsim if name.startswith("jaxsim") else _torch)(name, folder, network, images)
    np.save(folder / f"{name}.npy", run())
    run()

    def prepare(_: str) -> Callable[[], Any]:
        return run

    turns.serve(prepare)


def _jaxsim(name: str, folder: Path, network: str, images: np.ndarray) -> Callable[[], np.ndarray]:
    import jax
    from flax import nnx

    from jaxsim.vision import models

    encoder = models.from_checkpoint(folder / "weights.safetensors", network).network
    if name != "jaxsim":
        encoder = (models.fold if "folded" in name else models.for_inference)(encoder)
    graph, state = nnx.split(encoder)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
    return lambda: np.asarray(run(state, images))


def _torch(name: str, folder: Path, network: str, images: np.ndarray) -> Callable[[], np.ndarray]:
    import torch
    from safetensors.torch import load_file

    from benchmarks.torch_resnet import TorchResNet, TorchTaskonomy, folded

    torch.set_num_threads(turns.THREADS)
    peer = TorchResNet() if network == "resnet50" else TorchTaskonomy()
    peer.load_state_dict(load_file(folder / "weights.safetensors"))
    peer.eval()
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    if "folded" in name:
        peer = folded(peer)
    if "last" in name:
        peer, x = peer.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return np.moveaxis(peer(x).numpy(), 1, -1)

    return run


# The process that asks them in turn


def compare(network: str, batch: int, side: int, rounds: int) -> dict[str, Any]:
    """Images/s of every contender, their ratios, and how far their features are apart."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*_command(network), "--prepare", name, "--batch", str(batch), "--side", str(side)], check=True)
        command = _command(network)

        def tell(what: str) -> None:
            print(f"{network}: {what}", file=sys.stderr, flush=True)

        with turns.started({side: [*command, "--worker", side, "--folder", name] for side in SIDES}) as contenders:
            times = {side: found["go"] for side, found in turns.in_turn(contenders, rounds=rounds, tell=tell).items()}
        features = {side: np.load(folder / f"{side}.npy") for side in SIDES}
    return _summary(times, features, batch) | {"batch": batch, "side": side, "rounds": rounds}


def _command(network: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.resnet", "--network", network]


def _summary(times: dict[str, list[turns.Turn]], features: dict[str, np.ndarray], batch: int) -> dict[str, Any]:
    sides = {name: turns.rates(each, batch) for name, each in times.items()}

    def ratio(ours: str, *theirs: str, what: str = "images_per_second") -> float:
        return sides[ours][what] / max(sides[name][what] for name in theirs)

    ratios = {}
    for label, what in (("", "images_per_second"), (" per processor second", "images_per_processor_second")):
        ratios[f"folded{label}"] = ratio("jaxsim for inference", "torch folded", "torch folded last", what=what)
        ratios[f"plain{label}"] = ratio("jaxsim for inference", "torch", "torch last", what=what)
        ratios[f"folded alone{label}"] = ratio("jaxsim folded", "torch folded", "torch folded last", what=what)
        ratios[f"neither folded{label}"] = ratio("jaxsim", "torch", "torch last", what=what)
    scale = np.max(np.abs(features["torch"]))
    apart = {name: float(np.max(np.abs(values - features["torch"])) / scale) for name, values in features.items()}
    return {"contenders": sides, "ratios": ratios, "difference_from_torch": apart}


def show(network: str, found: dict[str, Any]) -> str:
    """The result of one network as a Markdown table."""
    lines = [f"{network}, {found['batch']} images of {found['side']} x {found['side']}, {found['rounds']} rounds", ""]
    lines += ["| contender | images/s | slowest to fastest | per processor second | apart |", "| --- " * 5 + "|"]
    for name, row in found["contenders"].items():
        lines.append(
            f"| {name} | {row['images_per_second']:.2f} | {row['slowest']:.2f} to {row['fastest']:.2f} "
            f"| {row['images_per_processor_second']:.2f} | {found['difference_from_torch'][name]:.0e} |"
        )
    lines += ["", *(f"{name}: {value:.2f}x" for name, value in found["ratios"].items())]
    return "\n".join([*lines, *(f"target, {name}: {value}x" for name, value in TARGETS.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, help="only this one")
    parser.add_argument("--batch", type=int, default=8, help="images at a time")
    parser.add_argument("--side", type=int, help="side of the images; default: the network's own")
    parser.add_argument("--rounds", type=int, default=15, help="timed batches of each contender")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "resnet.json")
    for hidden in ("--worker", "--prepare", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        prepare(Path(given.prepare), given.network, given.batch, given.side)
        return
    if given.worker:
        worker(given.worker, Path(given.folder), given.network)
        return
    from benchmarks.timing import machine

    results: dict[str, Any] = {"machine": machine(), "threads": turns.THREADS, "targets": TARGETS, "networks": {}}
    for network in [given.network] if given.network else NETWORKS:
        found = compare(network, given.batch, given.side or NETWORKS[network], given.rounds)
        results["networks"][network] = found
        print(show(network, found), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
