"""The command `transfer`: rank initializations for a new task by similarity, fine-tune from each, correlate."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import plotting
from jaxsim.cli.arguments import DATA, SIZES, TASKS, add_folder, add_measure, add_output, add_training
from jaxsim.cli.banks import parts, plan_of, probe_of, read_bank, some
from jaxsim.cli.inputs import read_measures
from jaxsim.cli.output import check, emit, note, progress, staged, table, write_rows

SUMMARY = "which network to start from"
HELP = f"""Choose the network to start from for a new task: train a small network on it, rank all initializations by
similarity with that, fine-tune from each, and correlate (the Pascal experiment of RSA 2019 and DDS 2020).

{DATA}
Initializations are the encoders of --bank, or the built-in ones; training is as in `jaxsim branch`.

Writes in DIR:
  transfer.csv      a row an initialization: its metric after fine-tuning, its similarity, its ranks
  runs.csv          the metric of every run
  correlation.csv   rank and linear correlation of similarity with the metric; p of no relation
  transfer.png      metric over similarity

examples:
  jaxsim transfer VOCdevkit --task semantic --quick --out transfer
  jaxsim transfer NYUD_MT --task depth --bank encoders.safetensors --epochs 200 --work work --out transfer"""

FILES = ("transfer.csv", "runs.csv", "correlation.csv", "transfer.png")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_folder(command)
    command.add_argument("--task", choices=TASKS, default="semantic", help="the new task; default: semantic")
    command.add_argument("--init", metavar="NAME", action="append", help="only this encoder of the bank; repeatable")
    command.add_argument("--small", choices=SIZES, default="small", help="the small network; default: small")
    add_measure(command, default="rsa and dds-laplacian")
    add_training(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """The Pascal experiment of the papers on any folder."""
    check(Path(arguments.out), FILES, arguments.overwrite)
    branching, _ = parts()
    chosen = read_measures(arguments.measure or ["rsa", "dds-laplacian"])
    bank = some(read_bank(arguments), arguments.init)
    folder = branching.open_folder(arguments.data, [arguments.task], layout=arguments.layout)
    plan = plan_of(arguments, folder, next(iter(bank.values())))
    folder, probe = plan.limit(folder), probe_of(arguments, next(iter(chosen.values())))
    recipe = branching.recipe("transfer", folder, probe, bank, plan, task=arguments.task, small=arguments.small)
    note(arguments, f"{len(folder.train)} pictures to learn from, {len(folder.val)} to be judged on ({folder.layout})")
    with staged(arguments.out, FILES, overwrite=arguments.overwrite) as out:
        with branching.working(arguments.work, recipe) as work:
            found = branching.compare_initializations(
                bank,
                folder,
                plan,
                chosen,
                probe,
                work,
                size=arguments.small,
                seeds=arguments.seeds,
                progress=progress(arguments, "networks"),
            )
        header, rows = _rows(found)
        write_rows(out / "transfer.csv", header, rows)
        runs = [[s, found.names[i], float(value)] for (s, i), value in np.ndenumerate(found.values)]
        write_rows(out / "runs.csv", ["run", "initialization", found.task.kind.measured], runs)
        agreement = [[label, *found.correlation(label)] for label in found.scores]
        write_rows(out / "correlation.csv", ["measure", "spearman", "pearson", "p"], agreement)
        plotting.save_figure(found.plot(), out / "transfer.png")
    paths = [str(Path(arguments.out) / file) for file in FILES]
    values: dict[str, Any] = {"task": arguments.task, "metric": found.task.kind.measured, "small": found.small}
    values |= {"rows": [dict(zip(header, row, strict=True)) for row in rows], "files": paths}
    values["correlation"] = {row[0]: dict(zip(("spearman", "pearson", "p"), row[1:], strict=True)) for row in agreement}
    text = [
        f"{found.task.kind.label}, from {len(found.names)} initializations; {found.small:.3f} the small network",
        "",
        table(header, rows),
        "",
        table(["similarity with the small network", "spearman", "pearson", "p"], agreement),
    ]
    emit(arguments, "\n".join(text), values)
    note(arguments, f"wrote {', '.join(FILES)} in {arguments.out}")


def _rows(found: Any) -> tuple[list[str], list[list[Any]]]:
    """A row an initialization, the best first."""
    measured = found.task.kind.measured
    header = ["initialization", measured, "rank"]
    for label in found.scores:
        header += [label, f"{label} rank"]
    rows = []
    for i, name in enumerate(found.names):
        row: list[Any] = [name, float(found.mean[i]), int(found.ranks[i])]
        for label, scores in found.scores.items():
            row += [float(scores[i]), int(found.predicted_ranks(label)[i])]
        rows.append(row)
    return header, sorted(rows, key=lambda row: row[2])
