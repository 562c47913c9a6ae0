"""The commands `layers` and `branch`: which layer to branch from, and branches trained to check it."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras, plotting
from jaxsim.cli.loading import read_encoders, read_measure
from jaxsim.cli.output import check, emit, note, progress, staged, table
from jaxsim.cli.scoring import write_rows

LAYERS_FILES = ("layers.csv", "recommendation.csv", "layers.npz", "layers.png")
BRANCH_FILES = ("branches.csv", "runs.csv", "similarity.csv")
ENCODER = "class_object"
"""Whose layers are compared where none is named: the shipped one of object classes, as in DDS 2020."""
QUICK = {"images": 48, "resamples": 20, "epochs": 2, "pictures": 64}


def run_layers(arguments: Namespace) -> None:
    """Similarity of every layer of one encoder with encoders of tasks, and the layer to branch from for each."""
    check(Path(arguments.out), LAYERS_FILES, arguments.overwrite)
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
    with staged(arguments.out, LAYERS_FILES, overwrite=arguments.overwrite) as out:
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
    paths = [str(Path(arguments.out) / file) for file in LAYERS_FILES]
    values = {"encoder": name, "measure": label, "images": len(pictures), "layers": found.affinity.names}
    values |= {"scores": found.affinity.to_json(), "recommended": found.best, "groups": kinds, "files": paths}
    text = [f"{label}: layers of {name} with encoders of tasks, {len(pictures)} pictures", "", table(header, chosen)]
    if kinds:
        means = [[group, *(row[layer] for layer in found.affinity.names)] for group, row in kinds.items()]
        text += ["", "mean by group of tasks:", table(["group", *found.affinity.names], means)]
    emit(arguments, "\n".join(text), values)
    note(arguments, f"wrote {', '.join(LAYERS_FILES)} in {arguments.out}")


def run_branch(arguments: Namespace) -> None:
    """Train a branch from every layer for every task, beside the recommendation."""
    check(Path(arguments.out), BRANCH_FILES, arguments.overwrite)
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
    with staged(arguments.out, BRANCH_FILES, overwrite=arguments.overwrite) as out:
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
    paths = [str(Path(arguments.out) / file) for file in BRANCH_FILES]
    values = {"layout": folder.layout, "measure": label, "rows": [dict(zip(header, row, strict=True)) for row in rows]}
    values |= {"best": found.best, "recommended": found.recommended, "agreeing": list(found.agreeing), "files": paths}
    values |= {"likenesses": like, "images": [len(folder.train), len(folder.val)]}
    emit(arguments, _branch_text(found, label), values)
    note(arguments, f"wrote {', '.join(BRANCH_FILES)} in {arguments.out}")


def parts() -> tuple[Any, Any]:
    """The packages that need the `nn` extra.

    Raises:
        MissingExtra: it is not installed.
    """
    with extras.needed("branches need"):
        from jaxsim.studies import branching
        from jaxsim.studies.branching import similarity
    return branching, similarity


def read_bank(arguments: Namespace) -> dict[str, Any]:
    """Encoders of tasks by name: those of all --bank files, or those that come with the package.

    Raises:
        ValueError: two encoders have one name, or a file is damaged.
    """
    from jaxsim.studies.rooms import encoders

    if arguments.bank is not None:
        return {name: one for file in read_encoders(arguments.bank, "--bank").values() for name, one in file.items()}
    note(arguments, "no --bank: compared with the twenty small encoders of the built-in world")
    return encoders.shipped()


def some(bank: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    """Those named, or all.

    Raises:
        ValueError: there is no encoder of some name, or none at all.
    """
    unknown = [name for name in names or () if name not in bank]
    if unknown:
        raise ValueError(f"the bank has no encoder {unknown[0]!r}; it has {', '.join(bank)}.")
    if not bank:
        raise ValueError("the bank has no other encoder to compare with.")
    return {name: encoder for name, encoder in bank.items() if not names or name in names}


def encoder_of(arguments: Namespace, path: str | None) -> tuple[Any, str]:
    """The encoder whose layers are compared, with its name; the bank's own of object classes without a file.

    Raises:
        ValueError: the file holds several and --name does not say which, or none of that name.
    """
    from jaxsim.studies.rooms import encoders
    from jaxsim.vision import models

    found = encoders.shipped() if path is None else models.from_safetensors(path)
    name = arguments.name or (ENCODER if path is None else next(iter(found)) if len(found) == 1 else None)
    if name is None:
        raise ValueError(f"{path} holds {len(found)} encoders; say which with --name: {', '.join(found)}.")
    if name not in found:
        raise ValueError(f"there is no encoder {name!r} in {path or 'the package'}; there are {', '.join(found)}.")
    return found[name], name


def probe_of(arguments: Namespace, measure: Any) -> Any:
    """Which pictures similarity is computed on."""
    from jaxsim.studies.branching import Probe

    count = arguments.images or (QUICK["images"] if arguments.quick else 200)
    resamples = getattr(arguments, "resamples", None) or (QUICK["resamples"] if arguments.quick else 100)
    return Probe(measure, count, resamples, arguments.seed, arguments.size)


def plan_of(arguments: Namespace, folder: Any, encoder: Any) -> Any:
    """How branches are trained, as long as in DDS 2020 where nothing else is asked for."""
    from jaxsim.studies.branching import Plan
    from jaxsim.vision.datasets import LAYOUTS

    return Plan(
        size=arguments.size or encoder.side,
        epochs=arguments.epochs or (QUICK["epochs"] if arguments.quick else LAYOUTS[folder.layout].epochs),
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        optimizer=arguments.optimizer,
        max_pictures=QUICK["pictures"] if arguments.quick else None,
    )


def groups() -> dict[str, str]:
    """Group of each of Taskonomy's tasks."""
    from jaxsim.studies.rooms import tasks

    return {name: task.group for name, task in tasks.TASKS.items()}


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
