"""The command `layers`: which layer to branch from."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import plotting
from jaxsim.cli.arguments import DATA, add_folder, add_layers, add_measure, add_output, count
from jaxsim.cli.banks import encoder_of, groups, parts, probe_of, read_bank, some
from jaxsim.cli.inputs import read_measure
from jaxsim.cli.output import check, emit, note, staged, table, write_rows

SUMMARY = "which layer to branch from"
HELP = f"""Choose the layer of an encoder to branch from for each task: similarity of every layer with encoders of
tasks, on pictures of a folder (DDS 2020, figures 3 and 4).

{DATA}
The encoder is that of a file of `jaxsim convert` or `jaxsim rooms`, or the built-in one of object classes; the
encoders of tasks are those of --bank, or the built-in ones.

Writes in DIR:
  layers.csv           similarity of every layer with every task, its interval, how often the layer ranks first
  recommendation.csv   the most similar layer of each task
  layers.npz           the scores; jaxsim.load reads it
  layers.png           the scores as a heat map

examples:
  jaxsim layers pictures --out layers
  jaxsim layers VOCdevkit/VOC2012 --encoder resnet50.safetensors --bank taskonomy.safetensors --out layers"""

FILES = ("layers.csv", "recommendation.csv", "layers.npz", "layers.png")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_folder(command)
    command.add_argument("--encoder", metavar="FILE", help="the encoder; default: the built-in one of object classes")
    add_layers(command)
    command.add_argument("--task", metavar="NAME", action="append", help="only this encoder of the bank; repeatable")
    add_measure(command, several=False, default="dds-laplacian")
    command.add_argument("--resamples", type=count, metavar="B", help="half-samples for intervals; default: 100")
    add_output(command)


def run(arguments: Namespace) -> None:
    """Similarity of every layer of one encoder with encoders of tasks, and the layer to branch from for each."""
    check(Path(arguments.out), FILES, arguments.overwrite)
    branching, similarity = parts()
    from jaxsim.studies.branching import networks
    from jaxsim.vision.models.weights import digest

    label, measure = read_measure(arguments.measure or ["dds-laplacian"])
    encoder, name = encoder_of(arguments, arguments.encoder)
    own = digest(encoder)
    bank = {task: one for task, one in read_bank(arguments).items() if digest(one) != own}
    bank, layers = some(bank, arguments.task), list(networks.layers(encoder, arguments.layer or ()))
    folder = branching.open_folder(arguments.data, layout=arguments.layout)
    probe = probe_of(arguments, measure)
    pictures = probe.pictures(folder.train)
    recipe = branching.recipe("layers", folder, probe, {name: encoder} | bank)
    note(arguments, f"{len(pictures)} pictures ({folder.layout}); layers of {name}, {len(bank)} encoders of tasks")
    with staged(arguments.out, FILES, overwrite=arguments.overwrite) as out:
        with branching.working(arguments.work, recipe) as work:
            coded = similarity.codes(bank, pictures, work)
            found = similarity.score_layers(encoder, coded, pictures, probe, work, name=name, wanted=layers)
        rows = _layer_rows(found, groups())
        write_rows(out / "layers.csv", ["task", "group", "layer", "score", "low", "high", "first_share"], rows)
        chosen = [row for row in rows if found.best.get(row[0]) == row[2]]
        header = ["task", "group", "layer", "score", "low", "high", "first_share"]
        write_rows(out / "recommendation.csv", header, chosen)
        found.affinity.save(out / "layers.npz")
        plotting.save_figure(plotting.affinity_heatmap(found.affinity), out / "layers.png")
    kinds = _by_group(found, groups())
    paths = [str(Path(arguments.out) / file) for file in FILES]
    values = {"encoder": name, "measure": label, "images": len(pictures), "layers": found.affinity.names}
    values |= {"scores": found.affinity.to_json(), "recommended": found.best, "groups": kinds, "files": paths}
    text = [f"{label}: layers of {name} with encoders of tasks, {len(pictures)} pictures", "", table(header, chosen)]
    if kinds:
        means = [[group, *(row[layer] for layer in found.affinity.names)] for group, row in kinds.items()]
        text += ["", "mean by group of tasks:", table(["group", *found.affinity.names], means)]
    emit(arguments, "\n".join(text), values)
    note(arguments, f"wrote {', '.join(FILES)} in {arguments.out}")


def _layer_rows(found: Any, kinds: dict[str, str]) -> list[list[Any]]:
    rows = []
    for t, task in enumerate(found.affinity.targets):
        for i, layer in enumerate(found.affinity.names):
            more = [float(part[i, t]) for part in (found.low, found.high, found.first_share)]
            rows.append([task, kinds.get(task, ""), layer, float(found.scores[i, t]), *more])
    return rows


def _by_group(found: Any, kinds: dict[str, str]) -> dict[str, dict[str, float]]:
    """Mean score of each layer with the tasks of each group."""
    of = np.array([kinds.get(task, "") for task in found.affinity.targets])
    names = found.affinity.names
    return {
        group: dict(zip(names, found.scores[:, of == group].mean(1).tolist(), strict=True))
        for group in dict.fromkeys(of.tolist())
        if group
    }
