"""Score the similarity of every pair of networks.

If the measure is a comparator (pearson, spearman, rho-a, cosine, ...), the arrays must be precomputed maps (RDMs):
(images, images), or only the entries above the diagonal. For a MATLAB struct with a field RDM, that field is used.

Writes to DIR, or with several measures to DIR/MEASURE:
  affinity.npz   the scores with their names and provenance; jaxsim.load reads it
  affinity.csv   the scores, with names in the first row and column
  affinity.png   a heat map, with networks in the order of the tree that clusters them
  report.html    with --report, everything on one page for a browser

Examples:
  jaxsim affinity features.npz --measure rsa --out results
  jaxsim affinity resnet.npy vgg.csv --measure cka-linear --out results
  jaxsim affinity layers.pt --channels first --measure cka-linear --out results
  jaxsim affinity layer3.npy layer4.npy --channels first --measure dds:instance-norm,cosine --out results
  jaxsim affinity rdms.npz --measure spearman --out results
  jaxsim affinity rdms_with_gaps.npz --measure spearman --missing pairwise --out results
  jaxsim affinity features/ --measure cka-linear --measure dds:zscore,laplacian --out results
  jaxsim affinity layers.npz --against regions.npz --measure rsa --out layers_by_regions
  jaxsim affinity large/ --measure cka-linear --tile 4096 --out results
  jaxsim affinity large/ --measure rsa --devices 4 --explain
"""

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import engine, explanations, io, taxonomy
from jaxsim.cli.arguments import (
    add_computing,
    add_features,
    add_measures,
    add_missing,
    add_output,
    add_report,
    only_explains,
    refuse,
)
from jaxsim.cli.inputs import ROWS, read_measures, read_sets
from jaxsim.cli.output import (
    REPORT,
    report,
    report_files,
    report_plan,
    save_figure,
    save_report,
    staged,
    subfolders,
    table,
)
from jaxsim.measures import Measure
from jaxsim.results import Affinity, Calibration, Resamples

FILES = ("affinity.npz", "affinity.csv", "affinity.png")
COLUMNS = 12
"""Most columns of a matrix to print."""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_features(command)
    add_measures(command, "rsa")
    add_missing(command)
    add_computing(command, tile=True, explain=True)
    add_output(command, required=False)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Score the networks with each measure."""
    chosen = read_measures(arguments, maps=True)
    if only_explains(arguments):
        _explain(arguments, chosen)
        return
    folders = subfolders(chosen)
    names = [folder + name for folder in folders.values() for name in (*FILES, *report_files(arguments))]
    with staged(arguments, names) as out:
        found = score(arguments, arguments.features, chosen, arguments.against)
        for label, affinity in found.items():
            save_affinity(arguments, affinity, out / folders[label])
            if arguments.report:
                save_report(arguments, out / folders[label] / REPORT, affinity, tree_of(affinity))
    text = "\n\n".join(f"{label}\n{describe(affinity)}" for label, affinity in found.items())
    values = [{"measure": label} | affinity.to_json() for label, affinity in found.items()]
    report(arguments, text, {"affinities": values}, names)


def _explain(arguments: Namespace, chosen: Mapping[str, Any]) -> None:
    """Print the plan.

    Raises:
        ValueError: the arrays are precomputed maps.
    """
    if not all(isinstance(measure, Measure) for measure in chosen.values()):
        refuse(arguments, "on precomputed maps", "explain")
    features, options = read_sets(arguments, arguments.features, arguments.against, maps=False)
    options |= {"missing": arguments.missing or "shared", "tile": arguments.tile}
    report_plan(arguments, explanations.explain(features, list(chosen.values()), **options))


def score(
    arguments: Namespace, paths: Sequence[str], chosen: Mapping[str, Any], against: Sequence[str] | None = None
) -> dict[str, Affinity]:
    """One matrix per measure for the features or maps at `paths`, with themselves or with those at `against`."""
    maps = not any(isinstance(measure, Measure) for measure in chosen.values())
    if not maps and not arguments.align:
        refuse(arguments, "on features without --align", "missing")
    features, options = read_sets(arguments, paths, against, maps)
    if maps and "tile" in arguments:
        refuse(arguments, "on precomputed maps", "tile")
    options |= {"missing": arguments.missing or "shared"} | ({} if maps else {"tile": vars(arguments).get("tile")})
    compare = engine.compare_maps if maps else engine.affinity
    found = compare(features, list(chosen.values()), **options)
    return dict(zip(chosen, found, strict=True))


def save_affinity(arguments: Namespace, affinity: Affinity, folder: Path) -> None:
    """Write the record, the table and the heat map."""
    folder.mkdir(exist_ok=True)
    affinity.save(folder / "affinity.npz")
    io.write_csv_matrix(folder / "affinity.csv", affinity.values, affinity.names, affinity.targets)
    save_figure(arguments, heatmap(arguments, affinity), folder / "affinity.png")


def heatmap(arguments: Namespace, scores: Affinity | Resamples | Calibration, **options: Any) -> Any:
    """A heat map in the order of the tree, or for two sets with their file names on the axes."""
    if not scores.square:
        sides = {"xlabel": _stems(arguments.against), "ylabel": _stems(arguments.features)}
        return scores.plot(**sides, **options)
    if isinstance(scores, Calibration):
        return scores.plot(tree_of(scores.scores()), **options)
    return scores.plot(tree_of(scores), **options)


def tree_of(scores: Affinity | Resamples) -> Any:
    """The tree of a square matrix of several networks that all have scores, else None."""
    if isinstance(scores, Resamples):
        given = Affinity.from_array(scores.estimate, scores.names, scores.targets, measure="", against=scores.against)
        scores = dataclasses.replace(given, provenance=scores.provenance)
    known = scores.square and len(scores.names) > 1 and np.isfinite(scores.values).all()
    return taxonomy.tree(scores) if known else None


def _stems(given: str | list[str]) -> str:
    return ", ".join(Path(path).stem for path in ([given] if isinstance(given, str) else given))


def describe(affinity: Affinity) -> str:
    """A small matrix in full, or for a larger one the most similar network of each target and the pairs behind it."""
    shown = _describe(affinity)
    return shown if affinity.pairs is None else f"{shown}\non {affinity.counts()[-1]} of images"


def _describe(affinity: Affinity) -> str:
    if max(np.shape(affinity.values)) > COLUMNS:
        best = [(t, *next(iter(affinity.ranking(t)), ("", float("nan")))) for t in affinity.targets]
        return table(["target", "most similar", "score"], best, limit=ROWS)
    cells = np.asarray(affinity.values, dtype=float).tolist()
    marks = [str(i + 1) for i in range(len(affinity.targets))]
    tags = [f"{i + 1:>{len(marks[-1])}} {n}" if affinity.square else n for i, n in enumerate(affinity.names)]
    shown = table(["", *marks], [[tag, *line] for tag, line in zip(tags, cells, strict=True)])
    columns = ", ".join(f"{m} {t}" for m, t in zip(marks, affinity.targets, strict=True))
    return shown if affinity.square else f"{shown}\ncolumns: {columns}"
