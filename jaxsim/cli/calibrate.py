"""Calibrate scores of layers and networks against permuted images.

Wide layers, and the best of many layers, score high even without any similarity. So the images of one network are
permuted relative to those of the other, in the same way for all layers. A score counts only to the extent that it
exceeds what the best layers reach under permutation.

With --layers-of, FEATURES are layers. For example, / means that resnet/block1 and resnet/block2 are layers of
resnet (everything up to the first /). Or give a csv file without a header, with a layer and its network in each
row. Without --layers-of, each array is its own network.

How p values are adjusted for the number of pairs of networks (--adjust):
  step-down        family-wise error rate, by the largest score of all pairs; the default
  single-step      the same in one step, with less power
  false-discovery  share of false findings among all (Benjamini-Hochberg)
  bonferroni       family-wise error rate; needs very many permutations
  none             no adjustment

Writes to DIR, or with several measures to DIR/MEASURE:
  calibration.npz  scores, nulls and p values of all layers and networks; jaxsim.load reads it
  calibration.csv  per pair of networks: best layers if any has several, score, mean, deviation and threshold of
                   its null, calibrated score, p, adjusted p
  layers.csv       with --layers-of, per pair of layers: the same, with unadjusted p values
  calibration.png  calibrated scores of networks; those that are not findings at --level are faded
  report.html      with --report, everything on one page for a browser

Examples:
  jaxsim calibrate features.npz --measure cka-linear --out results
  jaxsim calibrate layers.npz --measure rsa --layers-of / --permutations 9999 --out results
  jaxsim calibrate layers.npz --layers-of networks.csv --against regions.npz --strata classes.txt --out results
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import calibration
from jaxsim.cli.affinity import heatmap, tree_of
from jaxsim.cli.arguments import (
    add_computing,
    add_features,
    add_labels,
    add_measures,
    add_output,
    add_report,
    add_seed,
    count,
    share,
)
from jaxsim.cli.inputs import ROWS, read_labels, read_measures, read_sets
from jaxsim.cli.output import (
    REPORT,
    note,
    records,
    report,
    report_files,
    save_figure,
    save_report,
    staged,
    subfolders,
    table,
    write_rows,
)
from jaxsim.io.tables import read_rows
from jaxsim.measures import Measure
from jaxsim.results import Calibration
from jaxsim.results.calibrations import ADJUSTMENTS


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_features(command)
    add_measures(command, "rsa")
    text = (
        "how to find the network of each layer: the text that follows the network's name in layer names, such as /, "
        "or a csv file of layers and networks"
    )
    command.add_argument("--layers-of", metavar="TEXT", help=text)
    text = "number of permutations, in addition to the observed order; default: %(default)s"
    command.add_argument("--permutations", type=count, default=999, metavar="B", help=text)
    text = "how to adjust p values, see above; default: %(default)s"
    command.add_argument("--adjust", metavar="NAME", choices=ADJUSTMENTS, default="step-down", help=text)
    add_labels(command)
    add_seed(command)
    text = "accepted share of false findings; default: %(default)s"
    command.add_argument("--level", type=share, default=0.05, metavar="P", help=text)
    add_computing(command)
    add_output(command)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Calibrate the scores of each measure."""
    chosen = read_measures(arguments, maps=True)
    folders = subfolders(chosen)
    each = [
        "calibration.npz",
        "calibration.csv",
        *["layers.csv"] * (arguments.layers_of is not None),
        "calibration.png",
    ]
    names = [folder + name for folder in folders.values() for name in (*each, *report_files(arguments))]
    tables = {}
    with staged(arguments, names) as out:
        for label, found in _calibrate(arguments, chosen).items():
            folder = out / folders[label]
            folder.mkdir(exist_ok=True)
            found.save(folder / each[0])
            tables[label] = found.rows()
            write_rows(folder / each[1], *tables[label])
            if arguments.layers_of is not None:
                write_rows(folder / each[2], *found.rows(layers=True))
            save_figure(arguments, heatmap(arguments, found), folder / each[-1])
            if arguments.report:
                save_report(arguments, folder / REPORT, found, tree_of(found.scores()))
    text = "\n\n".join(f"{label}\n{table(*_ordered(*found), limit=ROWS)}" for label, found in tables.items())
    values = [{"measure": label, "pairs": records(*found)} for label, found in tables.items()]
    settings = {name: getattr(arguments, name) for name in ("permutations", "adjust", "level", "seed")}
    report(arguments, text, settings | {"calibrated": values}, names)


def _calibrate(arguments: Namespace, chosen: Mapping[str, Any]) -> dict[str, Calibration]:
    maps = not any(isinstance(measure, Measure) for measure in chosen.values())
    features, options = read_sets(arguments, arguments.features, arguments.against, maps)
    found = calibration.calibrate(
        features,
        list(chosen.values()),
        layers_of=_layers_of(arguments, [*features, *(options["against"] or ())]),
        **read_labels(arguments),
        n_permutations=arguments.permutations,
        key=arguments.seed,
        adjust=arguments.adjust,
        level=arguments.level,
        **options,
    )
    first = found[0]
    sides = {first.networks: first.network_of} | ({first.target_networks: first.target_of} if first.against else {})
    for networks, of in sides.items() if arguments.layers_of is not None else ():
        said = [f"{network} ({of.count(network)})" for network in networks[:ROWS]]
        more = f" and {len(networks) - ROWS} more" if len(networks) > ROWS else ""
        note(arguments, f"networks, with their number of layers: {', '.join(said)}{more}")
    return dict(zip(chosen, found, strict=True))


def _layers_of(arguments: Namespace, layers: list[str]) -> Mapping[str, str] | Callable[[str], str] | None:
    """Networks of the layers from --layers-of.

    Raises:
        FileNotFoundError: it looks like a file, and the file does not exist.
        ValueError: the file has no rows of two, or no name contains the text.
    """
    text = arguments.layers_of
    if text is None:
        return None
    if not Path(text).is_file():
        if text.endswith(".csv"):
            raise FileNotFoundError(f"--layers-of {text} does not exist or is not a file.")
        if not any(text in name for name in layers):
            raise ValueError(f"no layer has --layers-of {text} in its name; the first layer is {layers[0]}.")
        return lambda name: name.partition(text)[0]
    rows = read_rows(Path(text))
    if odd := [k for k, row in enumerate(rows, 1) if len(row) != 2]:
        raise ValueError(
            f"--layers-of {text} has {len(rows[odd[0] - 1])} cells in row {odd[0]}; each row must have two, layer and "
            "network."
        )
    if len(own := dict(rows)) < len(rows):
        raise ValueError(f"--layers-of {text} names a layer twice.")
    return own


def _ordered(header: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """The rows by adjusted p-value, with ties ordered by calibrated score."""
    score = header.index("calibrated")
    return header, sorted(rows, key=lambda row: (np.nan_to_num(row[-1], nan=2.0), -np.nan_to_num(row[score], nan=-1.0)))
