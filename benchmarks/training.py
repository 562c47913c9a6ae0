"""Training the twenty task networks against PyTorch: `python -m benchmarks.training [--rounds N] [--out FILE]`.

Every contender is a separate process with two threads, started once. They take turns doing some steps of one task while
the others wait idle. All have the same data and initial weights. They first take the same steps, and their losses are
compared. Then every side draws its own batches of 32 from arrays in memory. jaxsim runs the step that `training.fit`
compiles, on its batches. PyTorch runs eagerly in both memory layouts, and the better one counts, with fused Adam.
`even` is PyTorch with its usual padding on all sides, which saves it the copies for SAME padding: a different network
with the same cost. Targets are random numbers of the right shape, type and range, because their values don't affect
timing.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import turns
from benchmarks.turns import THREADS, Turn

SIDES = ("jaxsim", "torch", "torch last", "torch even", "torch even last")
"""Contenders; `last` is channels_last."""
PEERS = {"same network": ("torch", "torch last"), "even padding": ("torch even", "torch even last")}
"""With whose better one jaxsim is compared; the first is the target's."""
TARGET = 1.0
"""Images/s of jaxsim over PyTorch's better layout, all tasks together."""
SIDE, BATCH = 64, 32
LEARNING_RATE, TOTAL = 3e-3, 10_000
"""Learning rate and steps of the run that the timed steps are the beginning of."""
DECODERS = {"image": "SmallDecoder", "embedding": "SmallDecoder", "segmentation": "AsppDecoder"}
"""By the task's kind; VectorHead for all others."""


# Data, the same for all


def prepare(folder: Path, names: Sequence[str], pictures: int, steps: int) -> None:
    """Write pictures and the rows of the first steps; and of each task targets, loss and initial weights."""
    import jax
    import jax.numpy as jnp
    from safetensors.numpy import save_file

    from jaxsim.studies.rooms import encoders, losses, tasks
    from jaxsim.vision.training import sources

    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (pictures, SIDE, SIDE, 3), np.uint8))
    rows = sources.rows_of_steps(jax.random.key(0), jnp.arange(steps), rows=pictures, batch=BATCH)
    np.save(folder / "rows.npy", np.asarray(rows, np.int64))
    for name in names:
        task = tasks.named(name)
        target = random_targets(task, pictures, rng)
        np.save(folder / f"{name}.npy", target)
        save_file(weights_of(encoders.network(task)), folder / f"{name}.safetensors")
        if isinstance(task.loss, losses.Pairs):
            np.save(folder / f"{name} pairs.npy", np.stack(task.loss.draw(SIDE, SIDE)))
        loss = encoders.TaskLoss.of(task, target)
        told = {"loss": loss_name(task), "weights": loss.weights, "mean": loss.mean, "sd": loss.sd}
        (folder / f"{name}.json").write_text(json.dumps({"kind": task.kind, "channels": task.channels} | told))


def random_targets(task: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Targets of a task as `rooms.pictures` keeps them, `(count, ...)`: float16, or uint8 of classes and segments."""
    space = (SIDE, SIDE) if task.kind in ("image", "segmentation", "embedding") else ()
    if task.kind in ("classes", "segmentation", "embedding"):
        return rng.integers(0, task.channels, (count, *space), np.uint8)
    if task.kind == "distribution":
        return rng.dirichlet(np.ones(task.channels), count).astype(np.float16)
    return rng.standard_normal((count, *space, task.channels), np.float32).astype(np.float16)


def loss_name(task: Any) -> str:
    """What the task's loss is called in `rooms.losses`."""
    return getattr(task.loss, "__name__", type(task.loss).__name__)


def weights_of(network: Any) -> dict[str, np.ndarray]:
    """A network's arrays by name, such as `encoder/conv1/kernel`."""
    from jaxsim.vision.models.weights import variables

    return {name: np.asarray(variable[...]) for name, variable in variables(network).items()}


# A contender's process


def worker(side: str, folder: Path) -> None:
    """Serve turns of some steps of the task that is named."""
    turns.limit()
    turns.serve(functools.partial(_jaxsim if side == "jaxsim" else _torch, side, folder))


def _jaxsim(side: str, folder: Path, name: str) -> Callable[[], np.ndarray]:
    import jax

    from jaxsim.studies.rooms import encoders, tasks
    from jaxsim.vision.training import sources, steps

    images, target, count = np.load(folder / "images.npy"), np.load(folder / f"{name}.npy"), _count(folder)
    task = tasks.named(name)
    loss = encoders.TaskLoss.of(task, target)
    feed = sources.ArraySource({name: {"images": images, "target": target}}, BATCH, jax.random.key(0))
    graph, state = steps.initial(encoders.network(task), LEARNING_RATE, TOTAL)
    step, done = steps.compiled(graph, (loss,), feed.inputs(name), LEARNING_RATE, TOTAL), 0

    def run() -> np.ndarray:
        nonlocal state, done
        losses = []
        for cut in feed.block(done, done + count):
            state, value = step(state, cut((name,), None))
            losses.append(value)
        done += count
        return np.array(jax.device_get(losses))

    np.save(folder / f"{name} {side}.npy", run())
    return run


def _torch(side: str, folder: Path, name: str) -> Callable[[], np.ndarray]:
    import torch
    from safetensors.numpy import load_file

    from benchmarks import torch_small

    torch.set_num_threads(THREADS)
    rows = torch.from_numpy(np.load(folder / "rows.npy"))
    told = json.loads((folder / f"{name}.json").read_text())
    network = torch_small.Network(told["kind"], told["channels"], load_file(folder / f"{name}.safetensors"))
    if "even" in side:
        network = torch_small.evenly_padded(network)
    pairs = np.load(folder / f"{name} pairs.npy") if told["loss"] == "Pairs" else None
    target = np.load(folder / f"{name}.npy")
    if told["mean"]:
        target = (target.astype(np.float32) - np.float32(told["mean"])) / np.float32(told["sd"])
    training = torch_small.Training(
        network,
        torch_small.loss_named(told["loss"], told["weights"], pairs),
        np.load(folder / "images.npy"),
        target,
        last=side.endswith("last"),
        steps=TOTAL,
        learning_rate=LEARNING_RATE,
    )

    def steps(batches: Any) -> np.ndarray:
        return torch.stack([training.step(batch) for batch in batches]).numpy()

    def run() -> np.ndarray:
        return steps(torch.randperm(len(training.images))[:BATCH] for _ in rows)

    np.save(folder / f"{name} {side}.npy", steps(rows))
    return run


def _count(folder: Path) -> int:
    return len(np.load(folder / "rows.npy", mmap_mode="r"))


# The process that asks them in turn


def compare(names: Sequence[str], pictures: int, steps: int, rounds: int) -> dict[str, Any]:
    """Images/s of every contender at every task, their ratios, and how far their first losses are apart."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, names, pictures, steps)
        command = [sys.executable, "-m", "benchmarks.training", "--folder", place, "--worker"]
        with turns.started({side: [*command, side] for side in SIDES}) as contenders:
            taken = turns.in_turn(contenders, names, rounds, functools.partial(print, file=sys.stderr, flush=True))
        kinds = {name: json.loads((folder / f"{name}.json").read_text())["kind"] for name in names}
        apart = {name: _apart(folder, name) for name in names}
    sizes = {"batch": BATCH, "steps": steps, "rounds": rounds, "pictures": pictures, "tasks": list(names)}
    return sizes | summary(taken, kinds, BATCH * steps) | {"difference": apart}


def _apart(folder: Path, name: str) -> float:
    """Largest difference of the first steps' losses between jaxsim and PyTorch, relative to the loss."""
    ours = np.load(folder / f"{name} jaxsim.npy")
    return max(float(np.max(np.abs(np.load(folder / f"{name} {s}.npy") / ours - 1))) for s in PEERS["same network"])


def summary(taken: Mapping[str, Mapping[str, list[Turn]]], kinds: Mapping[str, str], images: int) -> dict[str, Any]:
    """Images/s by task and in total, that is all images over all tasks' median times; ratios by decoder and in total.

    Args:
        taken: turns by contender and task.
        kinds: of the tasks.
        images: of one turn.
    """
    rates = {task: {side: turns.rates(taken[side][task], images) for side in taken} for task in kinds}
    decoders = {task: DECODERS.get(kind, "VectorHead") for task, kind in kinds.items()}
    groups = {"all": list(kinds)} | {d: [t for t in kinds if decoders[t] == d] for d in sorted(set(decoders.values()))}
    totals = {group: {side: _total(rates, tasks, side) for side in taken} for group, tasks in groups.items()}
    ratios = {
        what: {group: total["jaxsim"] / max(total[s] for s in peers) for group, total in totals.items()}
        for what, peers in PEERS.items()
    }
    return {"decoders": decoders, "by_task": rates, "images_per_second": totals, "ratios": ratios}


def _total(rates: Mapping[str, Any], tasks: Sequence[str], side: str) -> float:
    """Images/s over tasks that all have equally many images: the harmonic mean."""
    return statistics.harmonic_mean([rates[task][side]["images_per_second"] for task in tasks])


def show(found: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = [
        f"batches of {found['batch']} of {found['pictures']} pictures, {found['steps']} steps a turn, "
        f"{found['rounds']} rounds; images/s",
        "",
        f"| task | decoder | {' | '.join(SIDES)} | same network | even padding | apart |",
        "| --- " * (len(SIDES) + 5) + "|",
    ]
    rows = {task: {s: one["images_per_second"] for s, one in found["by_task"][task].items()} for task in found["tasks"]}
    for name, row in (rows | found["images_per_second"]).items():
        ratios = (row["jaxsim"] / max(row[s] for s in peers) for peers in PEERS.values())
        apart = f"{found['difference'][name]:.0e}" if name in found["difference"] else ""
        cells = [
            name,
            found["decoders"].get(name, ""),
            *(f"{row[s]:.0f}" for s in SIDES),
            *(f"{r:.2f}x" for r in ratios),
        ]
        lines.append(f"| {' | '.join([*cells, apart])} |")
    return "\n".join([*lines, "", f"target, all tasks, same network: {TARGET:g}x"])


def main() -> int:
    """Run, write the JSON and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="only these; default: all twenty")
    parser.add_argument("--pictures", type=int, default=1024, help="number of pictures to draw batches from")
    parser.add_argument("--steps", type=int, default=20, help="steps of one task at a time")
    parser.add_argument("--rounds", type=int, default=7, help="timed turns of each contender at each task")
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers don't mean much")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/training.json")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    for hidden in ("--worker", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, Path(given.folder))
        return 0
    path = given.out or Path(__file__).parent / "results" / ("training-quick.json" if given.quick else "training.json")
    if path.exists() and not given.overwrite:
        print(f"{path} already exists; use --overwrite to replace it, or choose another --out", file=sys.stderr)
        return 2
    if given.quick:
        given.pictures, given.steps, given.rounds = 64, 3, 1
    os.environ["JAX_PLATFORMS"] = "cpu"
    from benchmarks.run import write
    from benchmarks.timing import machine
    from jaxsim.studies.rooms import tasks

    names = [tasks.named(name).name for name in given.tasks or tasks.TASKS]
    found = compare(names, given.pictures, given.steps, given.rounds)
    ratio = found["ratios"]["same network"]["all"]
    verdict = {"target": TARGET, "met": bool(ratio >= TARGET)}
    write({"machine": machine(), "threads": THREADS, "quick": given.quick} | verdict | found, path)
    print(show(found))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
