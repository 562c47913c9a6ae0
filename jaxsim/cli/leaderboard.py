"""Score all predictors of transfer on measured transfer.

Ranks similarity measures, attributions, Taskonomy's tournament and labels next to static baselines by how well
they predict which network transfers well to which task. The transfer can be that of the built-in world, of other
worlds made by `jaxsim rooms`, or your own, with features of the same networks.

For every method: mean Spearman correlation of the targets' columns with measured transfer, with and without
the target's own network; weighted Kendall correlation; how often the first choice is among the 1, 3 and 5 best
sources; regret, the skill of the best source minus that of the first choice; intervals over images, over targets,
over both and, with several worlds, over worlds; p values by relabeling, adjusted for all methods; the difference
from the best method, with p values adjusted for all pairs; and seconds from pictures to the matrix.

In a world of rooms, the truth is the transfer to half of the held-out images; the tournament uses the other half.
For your own transfer, methods that need encoders or per-image losses are left out. Static baselines stay in the
table, which says what they lack.

Writes to DIR:
  leaderboard.csv    one row per method and world
  leaderboard.md     the report
  leaderboard.json   everything, with the scores of each target
  leaderboard.png    the picture; with several worlds leaderboard_2.png and so on for the others
  report.html        with --report, the tables on one page for a browser

Examples:
  jaxsim leaderboard --out leaderboard
  jaxsim leaderboard --quick --method "DDS, cosine" --method RSA --out leaderboard
  jaxsim leaderboard --world rooms --world world100 --world world200 --out leaderboard
  jaxsim leaderboard --truth transfer.csv --features features.npz --out leaderboard
"""

import functools
from argparse import ArgumentParser, Namespace
from typing import Any

import numpy as np

from jaxsim import extras, io
from jaxsim.cli.arguments import add_draws, add_output, add_report, count, refuse
from jaxsim.cli.inputs import describe_matrix, read_affinity
from jaxsim.cli.output import (
    REPORT,
    note,
    progress,
    report,
    report_files,
    save_figure,
    save_report,
    staged,
    table,
    write_rows,
)
from jaxsim.io.files import nearest, repeated
from jaxsim.reports import Section

PICTURES, RESAMPLES = 500, 200
QUICK = {"pictures": 200, "resamples": 50}


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    text = "folder made by `jaxsim rooms`, or rooms for the shipped world; repeatable; default: rooms"
    command.add_argument("--world", metavar="DIR", action="append", help=text)
    text = "measured transfer instead of a world: a matrix with names, as for `jaxsim evaluate`"
    command.add_argument("--truth", metavar="FILE", help=text)
    text = "features of the networks in --truth by name, as for `jaxsim affinity`"
    command.add_argument("--features", metavar="FILE", nargs="+", help=text)
    command.add_argument("--key", metavar="NAME", help="array of --truth to use, if it is an npz file with several")
    command.add_argument("--loss", action="store_true", help="--truth holds losses: lower is better")
    text = "matrix of performance after transfer, used to measure regret; default: --truth"
    command.add_argument("--skill", metavar="FILE", help=text)
    text = "labels of the same images for each task, by name; read like features"
    command.add_argument("--labels", metavar="FILE", nargs="+", help=text)
    command.add_argument("--subset", action="store_true", help="leave out networks of --truth without features")
    text = "score only this method and the static ones; an unknown name lists all; repeatable"
    command.add_argument("--method", metavar="NAME", action="append", help=text)
    text = f"pictures of a world; default: {PICTURES}, or {QUICK['pictures']} with --quick"
    command.add_argument("--images", type=count, metavar="N", help=text)
    command.add_argument("--quick", action="store_true", help="use fewer pictures and resamples, for a first look")
    text = "relabelings of the tasks for p values; default: %(default)s"
    command.add_argument("--relabelings", type=count, default=999, metavar="N", help=text)
    add_draws(command)
    add_output(command)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Score the methods in every world, and over all worlds."""
    from jaxsim.studies import leaderboard

    methods, worlds = _methods(arguments.method), _worlds(arguments)
    if arguments.truth is None:
        with extras.needed("worlds of rooms need"):
            from jaxsim.studies.rooms import encoders  # noqa: F401
    pictures = ["leaderboard.png", *(f"leaderboard_{k + 1}.png" for k in range(1, len(worlds)))]
    names = ["leaderboard.csv", "leaderboard.md", "leaderboard.json", *pictures, *report_files(arguments)]
    with staged(arguments, names) as out:
        several = []
        for world in worlds:
            how: dict[str, Any] = {"resamples": QUICK["resamples"] if arguments.quick else RESAMPLES}
            how |= {"level": arguments.level, "key": arguments.seed, "relabelings": arguments.relabelings}
            evidence = _evidence(arguments, world)
            tell = functools.partial(_tell, arguments, world)
            several.append(leaderboard.score(evidence, methods, world=world, tell=tell, **how))
        over = leaderboard.overall(several) if len(several) > 1 else []
        tables = [leaderboard.table_rows(one) for one in several]
        write_rows(out / "leaderboard.csv", tables[0][0], [row for _, rows in tables for row in rows])
        text = (_CAVEAT if arguments.quick else "") + leaderboard.markdown(several, over)
        io.write_text(out / "leaderboard.md", text)
        values = leaderboard.to_json(several, over) | {"seed": arguments.seed, "quick": arguments.quick}
        io.write_text(out / "leaderboard.json", leaderboard.as_text(values))
        for one, name in zip(several, pictures, strict=True):
            save_figure(arguments, leaderboard.draw(one), out / name)
        if arguments.report:
            title = f"jaxsim leaderboard: {', '.join(one.world for one in several)}"
            save_report(
                arguments, out / REPORT, *_sections(arguments, several, over), level=arguments.level, title=title
            )
    report(arguments, _text(several, over), values, names)


_CAVEAT = f"With --quick: {QUICK['resamples']} resamples. A first look, not a verdict.\n\n"


def _tell(arguments: Namespace, world: str, method: str) -> None:
    note(arguments, f"{world}: {method}")


def _methods(wanted: list[str] | None) -> list[Any]:
    """The static methods and the requested ones; all by default.

    Raises:
        ValueError: a name is unknown or given twice.
    """
    from jaxsim.studies.reproduce.predictors import METHODS

    known = {one.name: one for one in METHODS}
    for name in wanted or ():
        if name not in known:
            raise ValueError(f"there is no method {name!r}; {nearest(name, known)}")
    if twice := repeated(wanted or ()):
        raise ValueError(f"--method {twice[0]} is given twice.")
    return [one for one in METHODS if wanted is None or one.static or one.name in wanted]


def _worlds(arguments: Namespace) -> list[str]:
    """Names of the truths.

    Raises:
        ValueError: options cannot be combined, or a world is given twice.
    """
    from jaxsim.studies.leaderboard import SHIPPED

    if arguments.truth is None:
        refuse(arguments, "without --truth", "features", "key", "loss", "skill", "labels", "subset")
        worlds = arguments.world or [SHIPPED]
        if twice := repeated(worlds):
            raise ValueError(f"--world {twice[0]} is given twice; give each world once.")
        return worlds
    if arguments.world:
        raise ValueError("--truth takes the place of a world: give --truth with --features, or --world.")
    if not arguments.features:
        raise ValueError("--truth needs the features of its networks; give --features with a file of their features.")
    refuse(arguments, "with --truth, whose images are those of --features", "images")
    return [arguments.truth]


def _evidence(arguments: Namespace, world: str) -> Any:
    """Evidence from a world, or from --truth and --features."""
    from jaxsim.studies import leaderboard

    if arguments.truth is None:
        images = arguments.images or (QUICK["pictures"] if arguments.quick else PICTURES)
        show = progress(arguments, f"{world}: pictures")
        return leaderboard.evidence_of(world, images, seed=arguments.seed, progress=show)
    truth = read_affinity(arguments.truth, arguments.key, distance=arguments.loss)
    note(arguments, f"{arguments.truth}: {describe_matrix(truth).replace('more similar', 'better')}")
    skill = None if arguments.skill is None else read_affinity(arguments.skill)
    labels = None if arguments.labels is None else _read(arguments, arguments.labels)
    features = _read(arguments, arguments.features)
    return leaderboard.given_evidence(truth, features, skill=skill, labels=labels, subset=arguments.subset)


def _read(arguments: Namespace, paths: list[str]) -> dict[str, np.ndarray]:
    features, _ = io.read_features(paths)
    note(arguments, f"{', '.join(paths)}: {io.describe_shapes(features)}")
    return features


def _sections(arguments: Namespace, several: list[Any], over: list[Any]) -> list[Section]:
    """A section for each world, and one over all of them."""
    from jaxsim.studies import leaderboard

    def shown(title, text, header, rows):
        rows = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
        flags = (_CAVEAT.strip(),) if arguments.quick else ()
        return Section(title, "table", tuple(text), flags, content={"header": list(header), "rows": rows})

    found = [
        shown(
            one.world, [*leaderboard.sentences(one), leaderboard.KEY], leaderboard.HEADER, leaderboard.short_rows(one)
        )
        for one in several
    ]
    if over:
        rows = leaderboard.overall_rows(over)
        found.append(shown(f"Over {len(several)} worlds", [], leaderboard.OVERALL_HEADER, rows))
    return found


def _text(several: list[Any], over: list[Any]) -> str:
    from jaxsim.studies import leaderboard

    lines = []
    for one in several:
        lines += [one.world, table(leaderboard.HEADER, leaderboard.short_rows(one)), ""]
        lines += [*leaderboard.sentences(one), ""]
    if over:
        lines += [f"over {len(several)} worlds", table(leaderboard.OVERALL_HEADER, leaderboard.overall_rows(over)), ""]
    return "\n".join([*lines, leaderboard.KEY])
