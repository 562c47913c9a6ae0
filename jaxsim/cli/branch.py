"""The command `branch`: train branches from every layer."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.cli.arguments import DATA, TASKS, add_folder, add_layers, add_measure, add_output, add_training
from jaxsim.cli.banks import encoder_of, parts, plan_of, probe_of, read_bank
from jaxsim.cli.inputs import read_measure
from jaxsim.cli.output import check, emit, note, progress, staged, table, write_rows

SUMMARY = "train branches from every layer"
HELP = f"""Train a branch from every layer of an encoder for every task, beside what similarity recommends (DDS 2020,
Table 5): each branch is the encoder up to that layer with a decoder, all of it trained.

{DATA}
Tasks: edge (Canny's), depth, normals, semantic, and of Taskonomy object and scene, where there are labels.
After a ResNet, run at output stride 16, the decoder is DeepLab's on channels tiled to one number; after a small
encoder it is a small pyramid. Training is DDS's: SGD, momentum 0.9, weight decay 1e-4, "poly" rate, flips,
rotations, scales and crops; 60 epochs, 200 for NYUv2. Pictures are brought to squares of the encoder's own size
(--size 512 is the papers'), at which the metrics are taken too, so they do not compare with the printed Table 5.
Several --encoder that differ in their seed alone are averaged over.

Writes in DIR:
  branches.csv     a row a layer: each task's metric, its deviation over runs, the layer's similarity
  runs.csv         the metric of every branch
  similarity.csv   the similarity of every layer of every encoder

examples:
  jaxsim branch NYUD_MT --task edge --task depth --task semantic --quick --out branches
  jaxsim branch rooms --task edge --task depth --task semantic --task scene --encoder a.safetensors
    --encoder b.safetensors --optimizer adam --learning-rate 3e-3 --epochs 10 --work work --out branches"""

FILES = ("branches.csv", "runs.csv", "similarity.csv")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_folder(command)
    text = "the encoder, default: the built-in one of object classes; repeat it for seeds of one encoder"
    command.add_argument("--encoder", metavar="FILE", action="append", help=text)
    add_layers(command)
    text = "to train branches for; repeat it for several"
    command.add_argument("--task", choices=TASKS, action="append", required=True, help=text)
    add_measure(command, several=False, default="dds-laplacian")
    add_training(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Train a branch from every layer for every task, beside the recommendation."""
    check(Path(arguments.out), FILES, arguments.overwrite)
    branching, _ = parts()
    from jaxsim.studies.branching import branches, networks

    label, measure = read_measure(arguments.measure or ["dds-laplacian"])
    pairs = [encoder_of(arguments, path) for path in (arguments.encoder or [None])]
    bank = read_bank(arguments)
    folder = branching.open_folder(arguments.data, arguments.task, layout=arguments.layout)
    plan = plan_of(arguments, folder, pairs[0][0])
    folder, probe = plan.limit(folder), probe_of(arguments, measure)
    like = branches.likenesses(folder.tasks, bank)
    used = {f"{name} {i}": encoder for i, (encoder, name) in enumerate(pairs)} | {n: bank[n] for n in like.values()}
    layers = list(networks.layers(pairs[0][0], arguments.layer or ()))
    recipe = branching.recipe("branch", folder, probe, used, plan, layers=layers)
    without = [task.name for task in folder.tasks if task.name not in like]
    if without:
        note(arguments, f"no encoder of a task like {', '.join(without)}: nothing is recommended for it")
    with staged(arguments.out, FILES, overwrite=arguments.overwrite) as out:
        with branching.working(arguments.work, recipe) as work:
            found = branching.compare_layers(
                [encoder for encoder, _ in pairs],
                bank,
                folder,
                plan,
                probe,
                work,
                name=pairs[0][1],
                layers=layers,
                seeds=arguments.seeds,
                progress=progress(arguments, "branches"),
            )
        header, rows = _branch_rows(found)
        write_rows(out / "branches.csv", header, rows)
        write_rows(out / "runs.csv", ["run", "layer", "task", "metric", "value"], _run_rows(found))
        write_rows(out / "similarity.csv", ["encoder", "layer", "task", "score"], _score_rows(found))
    paths = [str(Path(arguments.out) / file) for file in FILES]
    values = {"layout": folder.layout, "measure": label, "rows": [dict(zip(header, row, strict=True)) for row in rows]}
    values |= {"best": found.best, "recommended": found.recommended, "agreeing": list(found.agreeing), "files": paths}
    values |= {"likenesses": like, "images": [len(folder.train), len(folder.val)]}
    emit(arguments, _branch_text(found, label), values)
    note(arguments, f"wrote {', '.join(FILES)} in {arguments.out}")


def _branch_rows(found: Any) -> tuple[list[str], list[list[Any]]]:
    """A row a layer: mean and deviation of each task's metric, and its similarity."""
    header = ["layer"]
    for task in found.tasks:
        header += [f"{task.name} {task.kind.measured}", f"{task.name} sd", f"{task.name} similarity"]
    scores, rows = found.scores.mean(0), []
    for i, layer in enumerate(found.layers):
        row: list[Any] = [layer]
        for t in range(len(found.tasks)):
            row += [float(found.mean[i, t]), float(found.deviation[i, t]), float(scores[i, t])]
        rows.append(row)
    return header, rows


def _run_rows(found: Any) -> list[list[Any]]:
    return [
        [run, found.layers[i], found.tasks[t].name, found.tasks[t].kind.measured, float(value)]
        for (run, i, t), value in np.ndenumerate(found.values)
    ]


def _score_rows(found: Any) -> list[list[Any]]:
    return [
        [e, found.layers[i], found.tasks[t].name, float(score)] for (e, i, t), score in np.ndenumerate(found.scores)
    ]


def _branch_text(found: Any, label: str) -> str:
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
    for task, layer in found.recommended.items():
        best = found.best.get(task)
        lines.append(f"{task}: recommended {layer}, best {best}, {found.regret(task):.3f} worse" if best else task)
    count = len(found.recommended)
    return "\n".join([*lines, f"The recommendation agrees for {len(found.agreeing)} of {count} tasks."])
