"""The command `affinity`: similarity of networks with each other or with others."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import engine, io, plotting, taxonomy
from jaxsim.cli.arguments import FEATURES, add_computing, add_measure, add_output
from jaxsim.cli.inputs import places, read_measures, read_set
from jaxsim.cli.output import emit, note, staged, table
from jaxsim.results import Affinity

SUMMARY = "similarity of every pair of networks"
HELP = f"""Similarity of every network with every other, or of two sets of networks.

{FEATURES}

Writes in DIR (with several measures in DIR/MEASURE):
  affinity.npz   scores, number of images, names and provenance; jaxsim.load reads it
  affinity.csv   the scores, names in the first row and column
  affinity.png   the matrix in the order of its tree

examples:
  jaxsim affinity features.npz --measure rsa --out results
  jaxsim affinity features/ --measure cka-linear --measure dds:zscore,laplacian --out results
  jaxsim affinity layers.npz --against regions.npz --measure rsa --out layers_by_regions"""

ROWS = 30


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("features", metavar="FEATURES", help="directory or file of features")
    command.add_argument("--against", metavar="FEATURES", help="score against these networks instead")
    add_measure(command)
    add_computing(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Affinity matrices, one or several, with their pictures."""
    chosen = read_measures(arguments.measure)
    where = places(list(chosen))
    names = [w + n for w in where.values() for n in ("affinity.npz", "affinity.csv", "affinity.png")]
    with staged(arguments.out, names, overwrite=arguments.overwrite) as folder:
        found = score(arguments, arguments.features, arguments.against, chosen)
        for affinity, place in zip(found, where.values(), strict=True):
            (folder / place).mkdir(exist_ok=True)
            save_affinity(affinity, folder / place)
    files = [str(Path(arguments.out) / name) for name in names]
    parts = [f"{label}\n{describe(a)}" for label, a in zip(chosen, found, strict=True)]
    values = [{"measure": label} | a.to_json() for label, a in zip(chosen, found, strict=True)]
    emit(arguments, "\n\n".join(parts), {"affinities": values, "files": files})
    note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def score(arguments: Namespace, path: str, against: str | None, chosen: Mapping[str, Any]) -> list[Affinity]:
    """One matrix per measure, of the features at `path` with themselves or with those at `against`."""
    features, ids = read_set(path, arguments.ids, x64=arguments.x64)
    options = {"align": arguments.align, "memory": memory(arguments)}
    wanted = list(chosen.values())
    note(arguments, f"{len(features)} networks from {path}; {', '.join(chosen)}")
    if against is None:
        return engine.affinity(features, wanted, ids=ids, **options)
    others, other_ids = read_set(against, x64=arguments.x64)
    return engine.affinity(features, wanted, against=others, ids=ids, against_ids=other_ids, **options)


def memory(arguments: Namespace) -> int | None:
    """The budget in bytes, or None."""
    return None if arguments.memory is None else int(arguments.memory * 2**30)


def save_affinity(affinity: Affinity, folder: Path) -> None:
    """Write the record, the table and the picture."""
    affinity.save(folder / "affinity.npz")
    io.write_csv_matrix(folder / "affinity.csv", affinity.values, affinity.names, affinity.targets)
    plotting.save_figure(plotting.affinity_heatmap(affinity, order_of(affinity)), folder / "affinity.png")


def order_of(affinity: Affinity) -> Any:
    """A tree to order a picture by, or None where the matrix has none: two sets, or undefined scores."""
    if not affinity.square or len(affinity.names) < 2 or not np.isfinite(np.asarray(affinity.values)).all():
        return None
    return taxonomy.tree(affinity)


def describe(affinity: Affinity) -> str:
    """Small matrices whole, larger ones as the most similar other network of each target."""
    if max(np.shape(affinity.values)) <= 12:
        cells = np.asarray(affinity.values, dtype=float).tolist()
        marks = [str(i + 1) for i in range(len(affinity.targets))]
        tags = [f"{i + 1:>{len(marks[-1])}} {n}" if affinity.square else n for i, n in enumerate(affinity.names)]
        shown = table(["", *marks], [[tag, *line] for tag, line in zip(tags, cells, strict=True)])
        columns = ", ".join(f"{m} {t}" for m, t in zip(marks, affinity.targets, strict=True))
        return shown if affinity.square else f"{shown}\ncolumns: {columns}"
    best = [(t, *next(iter(affinity.ranking(t)), ("", float("nan")))) for t in affinity.targets]
    return table(["target", "most similar", "score"], best, limit=ROWS)
