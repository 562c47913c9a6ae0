"""Run the whole pipeline on the built-in world.

Renders pictures of furnished rooms, extracts features with the twenty shipped encoders (one for each task of
the RSA paper), and computes their affinity with intervals, the task tree with branch support, the ranking of
sources for depth, plots and a short report. With --made-up it uses 12 generated networks in four known
groups; none of them is trained.

Writes to DIR:
  pictures.png   the first pictures
  features.npz   the features, to try the other commands on
  affinity.npz, affinity.csv, affinity.png, resamples.npz, intervals.csv, ranking.png,
  taxonomy.npz, taxonomy.png   as from the other commands
  report.txt     the results, also printed
  report.html    with --report, everything on one page for a browser

Examples:
  jaxsim demo --out demo
  jaxsim demo --measure dds-laplacian --images 1000 --out demo_dds
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsim import demo, engine, evaluation, extras, io, measures, plotting, resampling, schemes, taxonomy
from jaxsim.cli.affinity import FILES as AFFINITY_FILES
from jaxsim.cli.affinity import save_affinity
from jaxsim.cli.arguments import add_draws, add_measures, add_output, add_report, count, refuse
from jaxsim.cli.bootstrap import pairs
from jaxsim.cli.inputs import as_asked, read_measure
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
from jaxsim.results.tables import flagged

FILES = (
    *("features.npz", *AFFINITY_FILES, "resamples.npz", "intervals.csv", "ranking.png"),
    *("taxonomy.npz", "taxonomy.png", "report.txt"),
)


class Networks(NamedTuple):
    """Networks to compare.

    Attributes:
        features: features by name.
        groups: known group of each network.
        target: target of the ranking.
        title: a phrase about them, for the report.
        shipped: whether they are the shipped encoders, whose transfer is measured.
    """

    features: dict[str, np.ndarray]
    groups: dict[str, str]
    target: str
    title: str
    shipped: bool


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    text = "pictures to render; default: %(default)s"
    command.add_argument("--images", type=count, default=500, metavar="N", help=text)
    command.add_argument(
        "--made-up", action="store_true", help="use generated features instead of pictures and encoders"
    )
    add_measures(command, "rsa", several=False)
    text = "number of half-samples, must be even; default: %(default)s"
    command.add_argument("--resamples", type=count, default=100, metavar="B", help=text)
    add_draws(command)
    command.add_argument("--x64", action="store_true", help="compute in float64")
    add_output(command)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Make affinity with intervals, tree with support, ranking, plots and a report."""
    label, measure = read_measure(arguments)
    if arguments.made_up:
        refuse(arguments, "with --made-up, whose images are not rendered", "images")
    names = [*FILES, *["pictures.png"] * (not arguments.made_up), *report_files(arguments)]
    with staged(arguments, names) as out:
        networks = _made_up(arguments) if arguments.made_up else _rooms(arguments, out)
        io.write_npz(out / "features.npz", networks.features)
        features = as_asked(arguments, networks.features)
        affinity = engine.affinity(features, measure)
        resamples = resampling.resample(
            features,
            measure,
            schemes.HalfSamples(),
            n_resamples=arguments.resamples,
            key=arguments.seed,
            progress=progress(arguments, "resamples"),
        )
        tree = taxonomy.branch_support(taxonomy.tree(affinity), resamples)
        _save(arguments, out, affinity, resamples, tree, networks.target)
        n_groups = len(set(networks.groups.values()))
        clusters, agreement = tree.clusters(n_groups), taxonomy.cluster_agreement(tree, networks.groups, n_groups)
        lines = [f"jaxsim demo: {label} of {networks.title}, {arguments.resamples} half-samples.", ""]
        lines += _ranking(affinity, resamples, networks.target, arguments.level)
        lines += _tree(tree, clusters, agreement)
        lines += _transfer(affinity) if networks.shipped else []
        lines += flagged(resamples.flags)
        text = "\n".join(lines) + "\n"
        (out / "report.txt").write_text(text, encoding="utf-8")
        if arguments.report:
            title = f"{measures.title_of(label)} of {networks.title}"
            save_report(arguments, out / REPORT, affinity, resamples, tree, level=arguments.level, title=title)
    values = {"measure": label, "affinity": affinity.to_json(), "tree": tree.to_json()}
    report(arguments, text, values | {"clusters": clusters, "agreement": agreement}, names)


def _made_up(arguments: Namespace) -> Networks:
    """Networks generated from known factors."""
    note(arguments, "jaxsim generated the features from known factors; nothing was trained")
    groups = {name: group for group, members in demo.groups().items() for name in members}
    title = f"{len(groups)} networks that jaxsim generated (seed {arguments.seed}), none trained; {demo.IMAGES} images"
    return Networks(demo.features(arguments.seed), groups, "amber_1", title, shipped=False)


def _rooms(arguments: Namespace, out: Path) -> Networks:
    """The shipped encoders on new pictures; writes the first pictures as one PNG."""
    with extras.needed("the built-in world needs", install=f"{extras.NN}, or give --made-up"):
        from jaxsim.studies.reproduce.settings import SEED
        from jaxsim.studies.rooms import encoders, pictures, tasks
    shipped = encoders.shipped()
    made = pictures.make(arguments.images, seed=SEED + arguments.seed, progress=progress(arguments, "pictures"))
    save_figure(arguments, plotting.contact_sheet(made.rgb[:48]), out / "pictures.png")
    groups = {name: tasks.named(name).group for name in shipped}
    count = len(shipped)
    title = f"{count} encoders trained on {count} tasks of the built-in world, {arguments.images} new pictures"
    return Networks(encoders.features(shipped, made.rgb), groups, "rgb2depth", title, shipped=True)


def _save(arguments: Namespace, out: Path, affinity: Any, resamples: Any, tree: Any, target: str) -> None:
    level = arguments.level
    save_affinity(arguments, affinity, out)
    resamples.save(out / "resamples.npz")
    write_rows(out / "intervals.csv", *pairs(resamples, level))
    save_figure(arguments, plotting.ranking(resamples, target, level), out / "ranking.png")
    tree.save(out / "taxonomy.npz")
    save_figure(arguments, plotting.dendrogram(tree), out / "taxonomy.png")


def _ranking(affinity: Any, resamples: Any, target: str, level: float) -> list[str]:
    """Sources for the target, in lines."""
    low, high = (np.asarray(ends, dtype=float)[:, affinity.targets.index(target)] for ends in resamples.interval(level))
    rows = []
    for name, value in affinity.ranking(target):
        i = affinity.names.index(name)
        rows.append([name, value, float(low[i]), float(high[i])])
    title = f"Sources for {target}, with {100 * level:g} % intervals:"
    return [title, table(["source", "score", "low", "high"], rows), ""]


def _tree(tree: Any, clusters: Any, agreement: float) -> list[str]:
    """The tree and its clusters, in lines."""
    return [
        f"Tree ({tree.convention}), with the share of resamples that have each branch:",
        tree.to_text(),
        "",
        f"Cut into {len(clusters)} clusters (adjusted Rand index with the known groups {agreement:.2f}):",
        *(f"  {', '.join(members)}" for members in clusters),
    ]


def _transfer(affinity: Any) -> list[str]:
    """Agreement with measured transfer, in lines."""
    from jaxsim.studies.rooms import world

    agreement = evaluation.evaluate(affinity, world.load_truth().matrix(), diagonal=False)
    most, hits = agreement.top[-1], np.asarray(agreement.top_k_hits)[:, -1]
    return [
        "",
        "Against measured transfer, without each target's own network: mean Spearman correlation over targets "
        f"{agreement.mean:.2f};",
        f"the first choice is among the {most} best sources for {hits.sum():g} of {len(hits)} targets.",
    ]
