"""Rank the networks to start from for a new task.

Trains a small network on the task, ranks all initializations by their similarity to it, fine-tunes from each, and
correlates the two (the Pascal experiment of RSA 2019 and DDS 2020). Initializations are the encoders of --bank, or
the built-in ones; one more network starts from random weights. Tasks and training are those of `jaxsim branch`. An
encoder that was trained on the task itself is fine-tuned and marked, but left out of the correlations.
Correlations that include it are shown next to them.

Writes to DIR:
  transfer.csv      one row per initialization: its metric after fine-tuning, its similarity, its ranks; the
                    metrics from random weights and of the small network have no ranks
  runs.csv          the metric of every run
  correlation.csv   rank and linear correlation of similarity with the metric; p value for no relation
  transfer.png      metric against similarity

Examples:
  jaxsim transfer VOCdevkit --task semantic --quick --out transfer
  jaxsim transfer NYUD_MT --task depth --bank encoders.safetensors --epochs 200 --work work --out transfer
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras
from jaxsim.cli.arguments import add_dataset, add_measures, add_output, add_training
from jaxsim.cli.banks import plan_of, probe_of, read_bank, select
from jaxsim.cli.inputs import read_measures
from jaxsim.cli.output import note, progress, records, report, save_figure, staged, table, write_rows
from jaxsim.io.files import finite

FILES = ("transfer.csv", "runs.csv", "correlation.csv", "transfer.png")
SCRATCH, SELF = "random weights", "small network"
CORRELATIONS = ("spearman", "pearson", "p")
WITH_OWN = tuple(f"{name}_with_own" for name in CORRELATIONS)


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_dataset(command)
    command.add_argument("--task", default="semantic", metavar="NAME", help="the new task; default: %(default)s")
    text = "use only this encoder of the bank; repeatable"
    command.add_argument("--init", metavar="NAME", action="append", help=text)
    text = "size of the small network; an unknown name lists all sizes; default: %(default)s"
    command.add_argument("--small", default="small", metavar="NAME", help=text)
    add_measures(command, "rsa", "dds-laplacian")
    add_training(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Rank the initializations by similarity and by fine-tuning."""
    chosen = read_measures(arguments)
    with staged(arguments, FILES) as out:
        found = _train(arguments, chosen, out.parent)
        metric = found.task.kind.measured
        header, rows = _rows(found)
        write_rows(out / "transfer.csv", header, rows)
        runs = [[s, found.names[i], float(value)] for (s, i), value in np.ndenumerate(found.values)]
        write_rows(out / "runs.csv", ["run", "initialization", metric], runs)
        columns = (*CORRELATIONS, *WITH_OWN)
        both = {label: [found.correlation(label, own=own) for own in (False, True)] for label in found.scores}
        correlations = {label: [finite(value) for one in pair for value in one] for label, pair in both.items()}
        agreement = [[label, *numbers] for label, numbers in correlations.items()]
        write_rows(out / "correlation.csv", ["measure", *columns], agreement)
        save_figure(arguments, found.plot(), out / "transfer.png")
    values: dict[str, Any] = {"task": arguments.task, "metric": metric, "small": found.small}
    values |= {"rows": records(header, rows)}
    values["scratch"] = finite(found.scratch)
    values["correlation"] = {label: dict(zip(columns, row, strict=True)) for label, row in correlations.items()}
    lines = [
        f"{found.task.kind.label}, from {len(found.names)} initializations; {found.scratch:.3f} from random weights, "
        f"{found.small:.3f} for the small network",
        "",
        table(header, rows),
        "",
        table(["similarity with the small network", *columns], agreement),
    ]
    if own := [name for name, is_own in zip(found.names, found.own, strict=True) if is_own]:
        lines += ["", f"trained on the task itself, counted only in columns 'with_own': {', '.join(own)}"]
    report(arguments, "\n".join(lines), values, FILES)


def _train(arguments: Namespace, chosen: Mapping[str, Any], scratch: Path) -> Any:
    """The initializations with their similarities and metrics."""
    with extras.needed("branches need"):
        from jaxsim.studies import branching
        from jaxsim.vision import models

    models.check_size(arguments.small)
    bank = select(read_bank(arguments), arguments.init)
    folder = branching.open_folder(
        arguments.data, [arguments.task], layout=arguments.layout, complete_only=arguments.complete_only
    )
    plan = plan_of(arguments, folder, next(iter(bank.values())))
    folder, probe = plan.limit(folder), probe_of(arguments, next(iter(chosen.values())))
    recipe = branching.recipe("transfer", folder, probe, bank, plan, task=arguments.task, small=arguments.small)
    note(arguments, f"{len(folder.train)} pictures for training, {len(folder.val)} held out ({folder.layout})")
    how = {"size": arguments.small, "seeds": arguments.seeds, "progress": progress(arguments, "networks")}
    with branching.working(arguments.work, recipe, scratch=scratch) as work:
        return branching.compare_initializations(bank, folder, plan, chosen, probe, work, **how)


def _rows(found: Any) -> tuple[list[str], list[list[Any]]]:
    """One row per initialization, best first, then random weights and the small network."""
    header = ["initialization", found.task.kind.measured, "rank", "own_task"]
    columns = [found.names, found.mean.astype(float).tolist(), found.ranks.tolist(), found.own.tolist()]
    for label, scores in found.scores.items():
        header += [label, f"{label} rank"]
        columns += [scores.astype(float).tolist(), found.predicted_ranks(label).tolist()]
    rows = sorted(map(list, zip(*columns, strict=True)), key=lambda row: row[2])
    apart = {SCRATCH: found.scratch, SELF: found.small}
    return header, rows + [[name, value, *[None] * (len(header) - 2)] for name, value in apart.items()]
