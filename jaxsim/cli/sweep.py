"""Score hundreds of networks, block by block, on many machines.

Computes the same scores as `jaxsim affinity`, for any number of networks. Pairs of networks are divided into
blocks, and workers write a file for each block. To continue a run that was stopped or killed, run the same command
again, with any engine. After you add networks or change files, use --overwrite: it replaces the matrix, keeps the
blocks and computes only the pairs that need it.

Engines (--engine):
  processes   processes on this machine, one per GPU, or half as many as cores
  dask        Dask distributed: the scheduler at --address, or a cluster on this machine
  submitit    jobs on Slurm if there is one, else processes on this machine; --option is passed on to it
  serial      only this process
dask and submitit need: pip install "jaxsim-similarity[cluster]". All workers must see FEATURES and DIR under the
same paths.

Writes to DIR:
  affinity.npz   the scores with their names and provenance; jaxsim.load reads it
  affinity.csv   the scores, with names in the first row and column
  blocks/        the blocks of the matrix, with checksums; missing or damaged ones are computed again

Examples:
  jaxsim sweep features/ --measure rsa --out sweep
  jaxsim sweep features/ --measure cka-linear --workers 8 --out sweep
  jaxsim sweep features/ --measure rsa --engine dask --address tcp://head:8786 --out sweep
  jaxsim sweep features/ --engine submitit --workers 50 --option slurm_partition=gpu --out sweep
  jaxsim sweep --status --out sweep
"""

import dataclasses
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable

from jaxsim import sweeps
from jaxsim.cli.affinity import describe
from jaxsim.cli.arguments import add_channels, add_measures, add_output, count
from jaxsim.cli.inputs import read_measure
from jaxsim.cli.output import emit, one_line, report
from jaxsim.sweeps.engines import NAMES
from jaxsim.sweeps.progress import RESULT


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    text = "folder with one file per network, or files, as for `jaxsim affinity`; the same images in the same order"
    command.add_argument("features", metavar="FEATURES", nargs="*", help=text)
    add_measures(command, "rsa", several=False)
    text = "print the progress of the sweep in DIR, and whether it is running"
    command.add_argument("--status", action="store_true", help=text)
    group = command.add_argument_group("feature files")
    text = (
        "read each npy file or single tensor as several networks, or with --no-stack as one, as for `jaxsim affinity`"
    )
    group.add_argument("--stack", action=BooleanOptionalAction, help=text)
    add_channels(group)
    group = command.add_argument_group("engines and computing")
    group.add_argument("--engine", choices=NAMES, default="processes", help="default: %(default)s")
    group.add_argument("--workers", type=count, metavar="N", help="number of processes, or of jobs at a time")
    text = "number of networks in a group; a block has the pairs of two groups; default: %(default)s"
    group.add_argument("--block", type=count, default=16, metavar="N", help=text)
    group.add_argument("--address", metavar="URL", help="address of the Dask scheduler")
    text = "parameter of submitit, such as slurm_partition=gpu or timeout_min=60; repeatable"
    group.add_argument("--option", type=_option, action="append", metavar="NAME=VALUE", help=text)
    group.add_argument("--x64", action="store_true", help="compute in float64")
    add_output(command, figures=False, tables=False)


def run(arguments: Namespace) -> None:
    """Run or continue a sweep, or report on one."""
    if arguments.status:
        given = vars(arguments).get("given", set()) - {"out", "features"}
        odd = sorted(given | {name for name in ("x64", "overwrite") if getattr(arguments, name)})
        if odd or arguments.features:
            what = f"--{odd[0]}" if odd else "FEATURES"
            raise ValueError(f"{what} has no effect with --status; leave it out.")
        found = sweeps.sweep_status(arguments.out)
        emit(arguments, str(found), dataclasses.asdict(found))
        return
    if not arguments.features:
        raise ValueError("FEATURES is missing; give a folder with one file per network, or files.")
    label, measure = read_measure(arguments)
    matrix = sweeps.sweep(
        arguments.features,
        measure,
        out=arguments.out,
        executor=arguments.engine,
        workers=arguments.workers,
        block=arguments.block,
        stack=arguments.stack,
        channels=arguments.channels,
        address=arguments.address,
        options=dict(arguments.option or ()),
        overwrite=arguments.overwrite,
        progress=_progress(arguments),
    )
    report(arguments, f"{label}\n{describe(matrix)}", {"measure": label} | matrix.to_json(), RESULT)


def _progress(arguments: Namespace) -> Callable[[sweeps.SweepStatus], None] | None:
    """Show the progress of the sweep; None with --quiet."""
    if arguments.quiet:
        return None
    show = one_line(arguments)
    return lambda status: show(status.progress(), status.done >= status.total)


def _option(text: str) -> tuple[str, str | int]:
    """A name and a value, which becomes a number if it looks like one."""
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as slurm_partition=gpu")
    return name, int(value) if value.lstrip("-").isdecimal() else value
