"""Train branches from every layer of an encoder, and compare them with the recommendation.

Each branch is the encoder up to a layer followed by a decoder, trained as a whole (DDS 2020, Table 5); with
--frozen, only the decoder is trained.
The layer most similar to a task's encoder is recommended for that task; with --equal-view, similarity is that of
maps averaged to one grid. Tasks are edge (Canny edges), depth, normals, semantic and, in Taskonomy, object and
scene. DATA must have their labels.

For a ResNet, run at output stride 16, the decoder is DeepLab's, on channels tiled to a common number; for
a small encoder it is a small pyramid. Training follows DDS: SGD with momentum 0.9, weight decay 1e-4, "poly"
learning rate, flips, rotations, scales and crops; 60 epochs, 200 for NYUv2. Pictures are resized to squares
of the encoder's own size (--size 512 matches the papers). Metrics are computed at that size and are not
comparable with the published Table 5. Repeat --encoder to average over encoders that differ only in their seed.

Writes to DIR:
  branches.csv     one row per layer: each task's metric, its standard deviation over runs, the layer's similarity
  runs.csv         the metric of every branch
  similarity.csv   the similarity of every layer of every encoder

Examples:
  jaxsim branch NYUD_MT --task edge --task depth --task semantic --quick --out branches
  jaxsim branch rooms --task edge --task depth --task semantic --task scene --encoder a.safetensors
    --encoder b.safetensors --optimizer adam --learning-rate 3e-3 --epochs 10 --work work --out branches
"""

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras
from jaxsim.cli.arguments import add_dataset, add_layers, add_measures, add_output, add_training
from jaxsim.cli.banks import plan_of, probe_of, read_bank, read_encoder
from jaxsim.cli.inputs import read_measure
from jaxsim.cli.output import note, progress, records, report, staged, table, write_rows

FILES = ("branches.csv", "runs.csv", "similarity.csv")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_dataset(command)
    text = (
        "file of the encoder; repeatable, for encoders that differ only in their seed; default: the built-in encoder "
        "of object classes"
    )
    command.add_argument("--encoder", metavar="FILE", action="append", help=text)
    add_layers(command)
    text = "task to train branches for; repeatable"
    command.add_argument("--task", metavar="NAME", action="append", required=True, help=text)
    add_measures(command, "dds-laplacian", several=False)
    add_training(command)
    text = "train only the decoders and keep the layers as they are; by default the whole branch is trained"
    command.add_argument("--frozen", action="store_true", help=text)
    add_output(command, figures=False)


def run(arguments: Namespace) -> None:
    """Train a branch from every layer for every task."""
    label, measure = read_measure(arguments)
    with staged(arguments, FILES) as out:
        folder, like, found = _train(arguments, measure, out.parent)
        header, rows = _rows(found)
        write_rows(out / "branches.csv", header, rows)
        write_rows(out / "runs.csv", ["run", "layer", "task", "metric", "value"], _long_rows(found, found.values, True))
        write_rows(out / "similarity.csv", ["encoder", "layer", "task", "score"], _long_rows(found, found.scores))
    values = {
        "layout": folder.layout,
        "measure": label,
        "equal_view": arguments.equal_view,
        "rows": records(header, rows),
    }
    values |= {"best": found.best, "recommended": found.recommended, "agreeing": list(found.agreeing)}
    values["contenders"] = {
        task: {layer: found.regret(task, layer) for layer in layers if task in found.best}
        for task, layers in found.contenders.items()
    }
    values |= {"likenesses": like, "images": [len(folder.train), len(folder.val)]}
    report(arguments, _text(found, label), values, FILES)


def _train(arguments: Namespace, measure: Any, scratch: Path) -> tuple[Any, dict[str, str], Any]:
    """The folder, the encoder in the bank for each task, and the branches."""
    with extras.needed("branches need"):
        from jaxsim.studies import branching
        from jaxsim.studies.branching import branches, networks

    pairs = [read_encoder(arguments, path) for path in arguments.encoder or [None]]
    encoders, name = [encoder for encoder, _ in pairs], pairs[0][1]
    bank = read_bank(arguments)
    folder = branching.open_folder(
        arguments.data, arguments.task, layout=arguments.layout, complete_only=arguments.complete_only
    )
    plan = dataclasses.replace(plan_of(arguments, folder, encoders[0]), frozen=arguments.frozen)
    probe = probe_of(arguments, measure)
    folder = plan.limit(folder)
    like = branches.likenesses(folder.tasks, bank)
    used = {f"{name} {i}": encoder for i, (encoder, name) in enumerate(pairs)} | {n: bank[n] for n in like.values()}
    layers = list(networks.layers(encoders[0], arguments.layer or ()))
    recipe = branching.recipe("branch", folder, probe, used, plan, layers=layers)
    without = [task.name for task in folder.tasks if task.name not in like]
    if without:
        note(arguments, f"no layer is recommended for {', '.join(without)}: the bank has no encoder for it")
    how = {"name": name, "layers": layers, "seeds": arguments.seeds, "progress": progress(arguments, "branches")}
    with branching.working(arguments.work, recipe, scratch=scratch) as work:
        return folder, like, branching.compare_layers(encoders, bank, folder, plan, probe, work, **how)


def _rows(found: Any) -> tuple[list[str], list[list[Any]]]:
    """One row per layer: mean and deviation of each task's metric, and its similarity."""
    header = ["layer"]
    for task in found.tasks:
        header += [f"{task.name} {task.kind.measured}", f"{task.name} sd", f"{task.name} similarity"]
    cells = np.stack([found.mean, found.deviation, found.scores.mean(0)], -1).astype(float)
    return header, [[layer, *row.ravel().tolist()] for layer, row in zip(found.layers, cells, strict=True)]


def _long_rows(found: Any, values: np.ndarray, metric: bool = False) -> list[list[Any]]:
    """One row per value, where `values` is (runs, layers, tasks), with the name of the metric if requested."""
    return [
        [run, found.layers[i], found.tasks[t].name, *([found.tasks[t].kind.measured] if metric else []), float(value)]
        for (run, i, t), value in np.ndenumerate(values)
    ]


def _text(found: Any, label: str) -> str:
    """The layout of DDS 2020, Table 5: layers down, tasks across, the best marked *, the recommended one <."""
    rows = []
    for i, layer in enumerate(found.layers):
        cells = []
        for t, task in enumerate(found.tasks):
            spread = found.deviation[i, t]
            more = f" ± {spread:.3f}" if np.isfinite(spread) else ""
            marks = "*" * (found.best.get(task.name) == layer) + "<" * (found.recommended.get(task.name) == layer)
            cells.append(f"{found.mean[i, t]:.3f}{more} {marks}".strip())
        rows.append([layer, *cells])
    lines = [table(["layer", *(task.kind.label for task in found.tasks)], rows), ""]
    lines += [f"* best by the mean of {len(found.values)} runs; < recommended by {label}", ""]
    lines += [_choice(found, task) for task in found.recommended]
    count = len(found.recommended)
    return "\n".join([*lines, f"The recommendation agrees for {len(found.agreeing)} of {count} tasks."])


def _choice(found: Any, task: str) -> str:
    """Text comparing the recommendation for a task with the best layer."""
    layer, *others = found.contenders[task]
    text = f"{task}: recommended {layer}"
    if others:
        text += f", though these pictures cannot tell it apart from {', '.join(others)}"
    if best := found.best.get(task):
        text += f"; best {best}, {found.regret(task):.3f} better" if best != layer else "; it is the best"
    return text
