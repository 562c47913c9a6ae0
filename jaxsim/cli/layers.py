"""Recommend the layer of an encoder to branch from, for each task.

Compares every layer with encoders of tasks, on a folder of pictures (DDS 2020, figures 3 and 4). The encoder comes
from a file of `jaxsim convert` or `jaxsim rooms`; by default it is the built-in encoder of object classes.

Writes to DIR:
  layers.csv           similarity of every layer with every task, its interval, how often the layer ranks first
  recommendation.csv   the most similar layer for each task, and the layers that cannot be told apart from it
  layers.npz           the scores; jaxsim.load reads it
  layers.png           the scores as a heat map with intervals; ★ marks the recommended layers, and scores whose
                       interval contains zero are faded

Examples:
  jaxsim layers pictures --out layers
  jaxsim layers VOCdevkit/VOC2012 --encoder resnet50.safetensors --bank taskonomy.safetensors --out layers
"""

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras, plotting
from jaxsim.cli.arguments import add_dataset, add_layers, add_measures, add_output, count
from jaxsim.cli.banks import QUICK, probe_of, read_bank, read_encoder, select
from jaxsim.cli.inputs import read_measure
from jaxsim.cli.output import note, report, save_figure, staged, table, write_rows

FILES = ("layers.csv", "recommendation.csv", "layers.npz", "layers.png")
HEADER = ("task", "group", "layer", "score", "low", "high", "first_share")
BEST = (*HEADER, "not_told_from")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_dataset(command)
    text = "file of the encoder; default: the built-in encoder of object classes"
    command.add_argument("--encoder", metavar="FILE", help=text)
    add_layers(command)
    text = "use only this encoder of the bank; repeatable"
    command.add_argument("--task", metavar="NAME", action="append", help=text)
    add_measures(command, "dds-laplacian", several=False)
    command.add_argument(
        "--resamples", type=count, metavar="B", help="number of half-samples for the intervals; default: 100"
    )
    add_output(command)


def run(arguments: Namespace) -> None:
    """Score every layer with every task, and choose the best one for each."""
    label, measure = read_measure(arguments)
    with staged(arguments, FILES) as out:
        with extras.needed("branches need"):
            from jaxsim.studies.rooms.tasks import TASKS
        name, images, found = _score(arguments, measure, out.parent)
        groups = {task: TASKS[task].group if task in TASKS else "" for task in found.affinity.targets}
        rows = _rows(found, groups)
        best = [[*row, " ".join(found.contenders[row[0]][1:])] for row in rows if found.best.get(row[0]) == row[2]]
        write_rows(out / "layers.csv", HEADER, rows)
        write_rows(out / "recommendation.csv", BEST, best)
        found.affinity.save(out / "layers.npz")
        save_figure(arguments, _figure(name, found), out / "layers.png")
    if none := [task for task in found.affinity.targets if task not in found.best]:
        note(arguments, f"no layer is recommended for {', '.join(none)}, whose scores are undefined")
    layers, means = found.affinity.names, _group_means(found, groups)
    values = {"encoder": name, "measure": label, "equal_view": arguments.equal_view, "images": images, "layers": layers}
    values |= {"scores": found.affinity.to_json(), "recommended": found.best, "contenders": found.contenders}
    values["groups"] = {group: dict(zip(layers, row, strict=True)) for group, *row in means}
    lines = [
        f"{label}: layers of {name} with encoders of tasks, {images} pictures",
        "",
        table((*HEADER, "cannot be told from"), best),
    ]
    if means:
        lines += ["", "mean by group of tasks:", table(["group", *layers], means)]
    report(arguments, "\n".join(lines), values, FILES)


def _figure(name: str, found: Any) -> Any:
    """The scores with their intervals, tasks across."""
    return plotting.affinity_heatmap(
        found.affinity,
        interval=found.resamples.interval(),
        stars=found.best,
        title=f"{np.max(np.asarray(found.affinity.images))} images",
        xlabel="encoder of a task",
        ylabel=f"layer of {name}",
    )


def _score(arguments: Namespace, measure: Any, scratch: Path) -> tuple[str, int, Any]:
    """The encoder's name, the number of pictures, and the scores of its layers."""
    from jaxsim.studies import branching
    from jaxsim.studies.branching import networks, similarity
    from jaxsim.vision.models.weights import digest

    encoder, name = read_encoder(arguments, arguments.encoder)
    own = digest(encoder)
    every = read_bank(arguments)
    bank = {task: one for task, one in every.items() if digest(one) != own}
    if itself := [task for task in every if task not in bank]:
        note(arguments, f"left out of the bank because it is the encoder itself: {', '.join(itself)}")
    bank, layers = select(bank, arguments.task), list(networks.layers(encoder, arguments.layer or ()))
    folder = branching.open_folder(arguments.data, layout=arguments.layout, complete_only=arguments.complete_only)
    resamples = arguments.resamples or (QUICK["resamples"] if arguments.quick else 100)
    probe = dataclasses.replace(probe_of(arguments, measure), resamples=resamples)
    pictures = probe.pictures(folder.train)
    recipe = branching.recipe("layers", folder, probe, {name: encoder} | bank)
    note(arguments, f"{len(pictures)} pictures ({folder.layout}); layers of {name}, {len(bank)} encoders of tasks")
    with branching.working(arguments.work, recipe, scratch=scratch) as work:
        coded = similarity.codes(bank, pictures, work)
        found = similarity.score_layers(encoder, coded, pictures, probe, work, name=name, wanted=layers)
    return name, len(pictures), found


def _rows(found: Any, groups: dict[str, str]) -> list[list[Any]]:
    """One row per task and layer."""
    low, high = found.resamples.interval()
    parts = np.stack([found.scores, low, high, found.resamples.first_share()], -1).astype(float)
    names = found.affinity.names
    return [
        [task, groups[task], layer, *parts[i, t].tolist()]
        for t, task in enumerate(found.affinity.targets)
        for i, layer in enumerate(names)
    ]


def _group_means(found: Any, groups: dict[str, str]) -> list[list[Any]]:
    """One row per group of tasks: the mean score of each layer."""
    of = np.array(list(groups.values()))
    return [
        [group, *found.scores[:, of == group].mean(1).tolist()] for group in dict.fromkeys(groups.values()) if group
    ]
