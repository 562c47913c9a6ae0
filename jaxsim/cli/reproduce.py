"""Run the papers' experiments on the built-in world.

Tests whether each claim of RSA 2019 and DDS 2020 holds for other networks, tasks and pictures.

Experiments:
  rsa-matrix depth labels trees display              of RSA, on the existing encoders
  selection images
  small large new-task stages sizes                  of RSA; they train networks: hours for all twenty tasks,
                                                     minutes with --quick; --work continues a stopped run
  grid comparators methods targets precision-recall  of DDS, on the existing encoders
  subsets image-count layers
  baselines                                          of DDS, against simple predictors and attribution maps
  image-sets costs branches                          of DDS; they train networks or measure transfer

Writes to DIR:
  NAME.csv, NAME.png         table and figure of each experiment
  summary.csv, summary.md    claim, result of the paper, result here, whether the claim holds

Examples:
  jaxsim reproduce --quick --out reproduced
  jaxsim reproduce grid methods --out reproduced
  jaxsim reproduce stages sizes --work work --out reproduced
  jaxsim reproduce large --large resnet50 --work work --out reproduced
"""

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsim import extras, io
from jaxsim.cli.arguments import add_output, add_seed
from jaxsim.cli.output import note, progress, report, save_figure, staged, table, write_rows


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument(
        "experiments", nargs="*", metavar="EXPERIMENT", help="names of experiments, see above; default: all"
    )
    text = "use fewer pictures and resamples, and train briefly for four tasks"
    command.add_argument("--quick", action="store_true", help=text)
    text = "folder made by `jaxsim rooms`; default: the shipped world"
    command.add_argument("--world", metavar="DIR", help=text)
    text = (
        "larger networks for `large`: a size to train (also resnet50), or a folder made by `jaxsim rooms`; default: "
        "wide"
    )
    command.add_argument("--large", default="wide", metavar="SIZE|DIR", help=text)
    add_seed(command, " of pictures, resampling and training")
    text = "keep pictures and trained networks here, so that a killed run can continue"
    command.add_argument("--work", metavar="DIR", help=text)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Run the chosen experiments, with a table and a figure for each and a summary."""
    with extras.needed("the experiments need"):
        from jaxsim.studies import reproduce
        from jaxsim.studies.reproduce.catalog import SUMMARY, chosen
        from jaxsim.studies.rooms import encoders  # noqa: F401
    wanted = chosen(arguments.experiments)
    names = [f"{name}.{ending}" for name in wanted for ending in ("csv", "png")] + ["summary.csv", "summary.md"]
    with staged(arguments, names) as out:
        setting = _setting(arguments, {part for one in wanted.values() for part in one.parts}, out.parent)
        outcomes = reproduce.run(setting, list(wanted), lambda name: note(arguments, f"experiment {name}"))
        for name, outcome in outcomes.items():
            write_rows(out / f"{name}.csv", outcome.header, outcome.rows)
            save_figure(arguments, outcome.draw(), out / f"{name}.png")
        rows = reproduce.summary(outcomes)
        write_rows(out / "summary.csv", SUMMARY, rows)
        heading = _caveat() if arguments.quick else ""
        io.write_text(out / "summary.md", heading + _markdown(SUMMARY, rows))
    values = {
        "experiments": [{"name": name} | outcome.to_json() for name, outcome in outcomes.items()],
        "quick": arguments.quick,
    }
    report(arguments, heading + _text(outcomes), values | {"seed": arguments.seed}, names)


def _setting(arguments: Namespace, parts: set[str], scratch: Path) -> Any:
    """The shipped world, or that of --world.

    Raises:
        FileNotFoundError: the folder lacks its files.
        ValueError: it was made for another version of the world, or its files are damaged.
    """
    from jaxsim.studies import reproduce
    from jaxsim.studies.rooms import encoders, world

    given: dict[str, Any] = {"parts": parts, "seed": arguments.seed, "work": arguments.work, "scratch": scratch}
    given["large"] = arguments.large
    if arguments.world is not None:
        path = Path(arguments.world) / "encoders.safetensors"
        given |= {"encoders": encoders.load(path), "recipe": reproduce.recipe_of(path)}
        given["truth"] = world.load_truth(path.with_name("transfer.npz"))
    return reproduce.setting(arguments.quick, progress=functools.partial(progress, arguments), **given)


def _text(outcomes: dict[str, Any]) -> str:
    lines = []
    for name, one in outcomes.items():
        verdict = "holds" if one.holds else "DOES NOT HOLD"
        lines += [
            f"{name} ({one.source}): {verdict}",
            f"  {one.claim}",
            f"  paper: {one.paper}",
            f"  here:  {one.here}",
        ]
        lines.append("")
    count = sum(one.holds for one in outcomes.values())
    overview = [[name, "yes" if one.holds else "no"] for name, one in outcomes.items()]
    return "\n".join([*lines, f"{count} of {len(outcomes)} claims hold.", table(["experiment", "holds"], overview)])


def _markdown(names: Sequence[str], rows: list[list[str]]) -> str:
    header = ["experiment", "claim", "source", "paper", "here", "criterion", "holds"]
    columns = [names.index(name) for name in header]
    lines = [[row[i].replace("|", "\\|") for i in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *lines])


def _caveat() -> str:
    """The limits of --quick, as a paragraph."""
    from jaxsim.studies.reproduce import settings

    return (
        f"With --quick: {settings.PICTURES_QUICK} pictures, few resamples, networks of {len(settings.TARGETS_QUICK)} "
        f"tasks and {settings.QUICK['steps']} steps. A first look, not a verdict.\n\n"
    )
