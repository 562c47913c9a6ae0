"""The command `demo`: the whole pipeline, from rendered pictures through the shipped encoders to a report."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import demo, engine, evaluation, extras, io, plotting, resampling, schemes, taxonomy
from jaxsim.cli.affinity import save_affinity
from jaxsim.cli.arguments import add_measure, add_output, add_resampling, count
from jaxsim.cli.bootstrap import pairs
from jaxsim.cli.inputs import read_measure
from jaxsim.cli.output import emit, note, progress, staged, table, write_rows

SUMMARY = "the whole pipeline on the built-in world"
HELP = """Run the whole pipeline on the built-in world: render pictures of furnished rooms, take the features of
the twenty shipped encoders, one trained on each task of the RSA paper, and compute their affinity with intervals,
the task tree with branch support, the ranking of sources for depth, plots and a short report. With --made-up it
uses 12 generated networks, none trained, in four known groups.

Writes in DIR:
  pictures.png   the first pictures
  features.npz   the features, to try the other commands on
  affinity.npz, affinity.csv, affinity.png, resamples.npz, intervals.csv, ranking.png,
  taxonomy.npz, taxonomy.png   as the other commands do
  report.txt     what came out, also printed

examples:
  jaxsim demo --out demo
  jaxsim demo --measure dds-laplacian --images 1000 --out demo_dds"""

_FILES = (
    "features.npz",
    "affinity.npz",
    "affinity.csv",
    "affinity.png",
    "resamples.npz",
    "intervals.csv",
    "ranking.png",
    "taxonomy.npz",
    "taxonomy.png",
    "report.txt",
)


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("--images", type=count, default=500, metavar="N", help="pictures rendered; default: 500")
    command.add_argument("--made-up", action="store_true", help="use generated features, none trained, instead")
    add_measure(command, several=False)
    add_resampling(command, 100, "100, in pairs of halves")
    command.add_argument("--x64", action="store_true", help="compute in float64")
    add_output(command)


def run(arguments: Namespace) -> None:
    """Affinity with intervals, tree with support, ranking, plots and a report."""
    import jax

    label, measure = read_measure(arguments.measure)
    made_up = arguments.made_up
    files = _FILES if made_up else (*_FILES, "pictures.png")
    with staged(arguments.out, files, overwrite=arguments.overwrite) as folder:
        features, groups, target = _made_up(arguments) if made_up else _rooms(arguments, folder)
        io.write_npz(folder / "features.npz", features)
        if arguments.x64:
            features = {name: x.astype(np.float64) for name, x in features.items()}
        affinity = engine.affinity(features, measure)
        resamples = resampling.resample(
            features,
            measure,
            schemes.HalfSamples(),
            n_resamples=arguments.resamples,
            key=jax.random.key(arguments.seed),
            progress=progress(arguments, "resamples"),
        )
        tree = taxonomy.branch_support(taxonomy.tree(affinity), resamples)
        _save(folder, affinity, resamples, tree, target, arguments.level)
        text = _report(arguments, label, affinity, resamples, tree, groups, target)
        (folder / "report.txt").write_text(text, encoding="utf-8")
    paths = [str(Path(arguments.out) / name) for name in files]
    values = {"measure": label, "affinity": affinity.to_json(), "tree": tree.to_json(), "files": paths}
    clusters = tree.clusters(len(set(groups.values())))
    emit(arguments, text, values | {"clusters": clusters, "agreement": _agreement(tree, groups)})
    note(arguments, f"wrote {', '.join(files)} in {arguments.out}")


def _made_up(arguments: Namespace) -> tuple[dict[str, np.ndarray], dict[str, str], str]:
    note(arguments, "features are made by jaxsim itself from known factors; nothing here was trained")
    groups = {name: group for group, members in demo.groups().items() for name in members}
    return demo.features(arguments.seed), groups, "amber_1"


def _rooms(arguments: Namespace, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, str], str]:
    """Features that the shipped encoders have of fresh pictures; the first pictures as one PNG."""
    with extras.needed("the built-in world needs", install=f"{extras.NN}, or give --made-up"):
        from jaxsim.studies.reproduce.settings import SEED
        from jaxsim.studies.rooms import encoders, pictures, tasks
    shipped = encoders.shipped()
    made = pictures.make(arguments.images, seed=SEED + arguments.seed, progress=progress(arguments, "pictures"))
    plotting.save_figure(plotting.contact_sheet(made.rgb[:48]), folder / "pictures.png")
    groups = {name: tasks.named(name).group for name in shipped}
    return encoders.features(shipped, made.rgb), groups, "rgb2depth"


def _save(folder: Path, affinity: Any, resamples: Any, tree: Any, target: str, level: float) -> None:
    save_affinity(affinity, folder)
    resamples.save(folder / "resamples.npz")
    write_rows(folder / "intervals.csv", *pairs(resamples, level))
    plotting.save_figure(plotting.ranking(resamples, target, level), folder / "ranking.png")
    tree.save(folder / "taxonomy.npz")
    plotting.save_figure(plotting.dendrogram(tree), folder / "taxonomy.png")


def _agreement(tree: Any, groups: dict[str, str]) -> float:
    return taxonomy.cluster_agreement(tree, groups, len(set(groups.values())))


def _transfer(affinity: Any) -> list[str]:
    """Lines about agreement with measured transfer."""
    from jaxsim.studies.rooms import world

    agreement = evaluation.evaluate(affinity, world.load_truth().matrix(), diagonal=False)
    most, hits = agreement.top[-1], np.asarray(agreement.top_k_hits)[:, -1]
    return [
        "",
        f"Against measured transfer, self left out: mean Spearman correlation over targets {agreement.mean:.2f};",
        f"the first choice is among the {most} best sources for {hits.sum():g} of {len(hits)} targets.",
    ]


def _report(
    arguments: Namespace, label: str, affinity: Any, resamples: Any, tree: Any, groups: dict[str, str], target: str
) -> str:
    low, high = (np.asarray(v, dtype=float) for v in resamples.interval(arguments.level))
    column = affinity.targets.index(target)
    rows = []
    for name, value in affinity.ranking(target):
        i = affinity.names.index(name)
        rows.append([name, value, float(low[i, column]), float(high[i, column])])
    count = len(set(groups.values()))
    clusters = [f"  {', '.join(members)}" for members in tree.clusters(count)]
    networks = len(affinity.names)
    if arguments.made_up:
        what = (
            f"{networks} networks that jaxsim made itself (seed {arguments.seed}), none trained; {demo.IMAGES} images"
        )
    else:
        what = f"{networks} encoders trained on {networks} tasks of the built-in world, {arguments.images} new pictures"
    lines = [
        f"jaxsim demo: {label} of {what}, {arguments.resamples} half-samples.",
        "",
        f"Sources for {target}, with {100 * arguments.level:g} % intervals:",
        table(["source", "score", "low", "high"], rows),
        "",
        f"Tree ({tree.convention}), with the share of resamples that hold each branch:",
        tree.to_text(),
        "",
        f"Cut into {count} clusters (adjusted Rand index with the known groups {_agreement(tree, groups):.2f}):",
        *clusters,
        *([] if arguments.made_up else _transfer(affinity)),
    ]
    return "\n".join(lines) + "\n"
