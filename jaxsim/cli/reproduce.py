"""The command `reproduce`: the papers' experiments on the built-in world."""

import functools
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from jaxsim import extras, io, plotting
from jaxsim.cli.arguments import add_output, seed
from jaxsim.cli.output import check, emit, note, progress, staged, table, write_rows

SUMMARY = "the papers' experiments"
HELP = """The experiments of RSA 2019 and DDS 2020 on the built-in world: does each claim hold on other networks,
tasks and pictures? Experiments, or all:
  rsa-matrix depth trees selection images            of RSA, on the encoders at hand
  small new-task stages sizes                        of RSA; they train networks: hours for all twenty tasks,
                                                     minutes with --quick; --work goes on with a stopped run
  grid methods subsets layers                        of DDS, on the encoders at hand

Writes in DIR:
  NAME.csv, NAME.png         table and figure of each experiment
  summary.csv, summary.md    claim, paper, here, whether it holds

examples:
  jaxsim reproduce --quick --out reproduced
  jaxsim reproduce grid methods --out reproduced
  jaxsim reproduce stages sizes --work work --out reproduced"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="names, or all (default)")
    command.add_argument(
        "--quick", action="store_true", help="fewer pictures and resamples; four tasks trained for, briefly"
    )
    command.add_argument(
        "--world", metavar="DIR", help="folder of `jaxsim rooms`; default: what ships with the package"
    )
    command.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="of pictures, resampling and training; default: 0"
    )
    command.add_argument(
        "--work", metavar="DIR", help="keep pictures and trained networks here; a killed run goes on there"
    )
    add_output(command)


def run(arguments: Namespace) -> None:
    """Run the experiments chosen, with a table and a figure each and a summary of all."""
    with extras.needed("the experiments need"):
        from jaxsim.studies import reproduce
        from jaxsim.studies.reproduce.catalog import SUMMARY, chosen
        from jaxsim.studies.rooms import encoders, world  # noqa: F401
    wanted = chosen(arguments.experiments)
    names = [f"{name}.{ending}" for name in wanted for ending in ("csv", "png")] + ["summary.csv", "summary.md"]
    check(Path(arguments.out), names, arguments.overwrite)
    with staged(arguments.out, names, overwrite=arguments.overwrite) as folder:
        setting = _setting(arguments, {part for one in wanted.values() for part in one.parts})
        outcomes = reproduce.run(setting, list(wanted), lambda name: note(arguments, f"experiment {name}"))
        for name, outcome in outcomes.items():
            write_rows(folder / f"{name}.csv", list(outcome.header), [list(row) for row in outcome.rows])
            plotting.save_figure(outcome.draw(), folder / f"{name}.png")
        rows = reproduce.summary(list(outcomes.values()))
        write_rows(folder / "summary.csv", list(SUMMARY), [list(row) for row in rows])
        heading = f"{_first_look()}\n\n" if arguments.quick else ""
        io.write_text(folder / "summary.md", heading + _markdown(list(SUMMARY), rows))
    files = [str(Path(arguments.out) / name) for name in names]
    values = {"experiments": [outcome.to_json() for outcome in outcomes.values()], "quick": arguments.quick}
    emit(
        arguments,
        heading + _text(outcomes),
        values | {"seed": arguments.seed, "files": files},
    )
    note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def _setting(arguments: Namespace, parts: set[str]) -> Any:
    """The built-in world, or that of a folder made elsewhere.

    Raises:
        FileNotFoundError: the folder lacks its files.
        ValueError: it was made for another version of the world, or its files are damaged.
    """
    from jaxsim.studies import reproduce
    from jaxsim.studies.rooms import encoders, world

    given: dict[str, Any] = {}
    if arguments.world is not None:
        folder = Path(arguments.world)
        path = folder / "encoders.safetensors"
        given["encoders"] = encoders.load(path)
        given["truth"] = world.load_truth(folder / "transfer.npz")
        given["recipe"] = reproduce.recipe_of(path)
    given |= {"parts": parts, "seed": arguments.seed, "work": arguments.work}
    return reproduce.setting(arguments.quick, progress=functools.partial(progress, arguments), **given)


def _text(outcomes: dict[str, Any]) -> str:
    lines = []
    for name, one in outcomes.items():
        lines += [
            f"{name} ({one.source}): {'holds' if one.holds else 'DOES NOT HOLD'}",
            f"  {one.claim}",
            f"  paper: {one.paper}",
            f"  here:  {one.here}",
            "",
        ]
    count = sum(one.holds for one in outcomes.values())
    overview = [[name, "yes" if one.holds else "no"] for name, one in outcomes.items()]
    return "\n".join([*lines, f"{count} of {len(outcomes)} claims hold.", table(["experiment", "holds"], overview)])


def _markdown(names: list[str], rows: list[list[str]]) -> str:
    header = ["experiment", "claim", "source", "paper", "here", "criterion", "holds"]
    columns = [names.index(name) for name in header]
    lines = [[row[i].replace("|", "\\|") for i in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *lines])


def _first_look() -> str:
    """Two sentences on what --quick leaves out."""
    from jaxsim.studies.reproduce import settings

    return (
        f"With --quick: {settings.PICTURES_QUICK} pictures, few resamples, networks of {len(settings.TARGETS_QUICK)} "
        f"tasks and {settings.QUICK['steps']} steps. A first look, not a verdict."
    )
