"""The command `demo`: the whole pipeline on features that the project makes itself."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import demo, engine, io, plotting, resampling, taxonomy
from jaxsim.cli.loading import read_measure
from jaxsim.cli.output import emit, note, progress, staged, table
from jaxsim.cli.scoring import pairs, save_affinity, write_rows

_TARGET = "amber_1"
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


def run_demo(arguments: Namespace) -> None:
    """Affinity with intervals, tree with support, ranking, plots and a report."""
    import jax

    label, measure = read_measure(arguments.measure)
    with staged(arguments.out, _FILES, overwrite=arguments.overwrite) as folder:
        note(arguments, "features are made by jaxsim itself from known factors; nothing here was trained")
        features = demo.features(arguments.seed)
        io.write_npz(folder / "features.npz", features)
        if arguments.x64:
            features = {name: x.astype(np.float64) for name, x in features.items()}
        affinity = engine.affinity(features, measure)
        resamples = resampling.resample(
            features,
            measure,
            resampling.HalfSamples(),
            resamples=arguments.resamples,
            key=jax.random.key(arguments.seed),
            progress=progress(arguments, "resamples"),
        )
        tree = taxonomy.branch_support(taxonomy.tree(affinity), resamples)
        _save(folder, affinity, resamples, tree, arguments.level)
        text = _report(arguments, label, affinity, resamples, tree)
        (folder / "report.txt").write_text(text, encoding="utf-8")
    files = [str(Path(arguments.out) / name) for name in _FILES]
    values = {"measure": label, "affinity": affinity.to_json(), "tree": tree.to_json(), "files": files}
    emit(arguments, text, values | {"clusters": tree.clusters(4), "agreement": _agreement(tree)})
    note(arguments, f"wrote {', '.join(_FILES)} in {arguments.out}")


def _save(folder: Path, affinity: Any, resamples: Any, tree: Any, level: float) -> None:
    save_affinity(affinity, folder)
    resamples.save(folder / "resamples.npz")
    write_rows(folder / "intervals.csv", *pairs(resamples, level))
    plotting.save_figure(plotting.ranking(resamples, _TARGET, level), folder / "ranking.png")
    tree.save(folder / "taxonomy.npz")
    plotting.save_figure(plotting.dendrogram(tree), folder / "taxonomy.png")


def _agreement(tree: Any) -> float:
    groups = {name: group for group, members in demo.groups().items() for name in members}
    return taxonomy.cluster_agreement(tree, groups, len(demo.groups()))


def _report(arguments: Namespace, label: str, affinity: Any, resamples: Any, tree: Any) -> str:
    low, high = (np.asarray(v, dtype=float) for v in resamples.interval(arguments.level))
    column = affinity.targets.index(_TARGET)
    rows = []
    for name, value in affinity.ranking(_TARGET):
        i = affinity.names.index(name)
        rows.append([name, value, float(low[i, column]), float(high[i, column])])
    count = len(demo.groups())
    clusters = [f"  {', '.join(members)}" for members in tree.clusters(count)]
    lines = [
        f"jaxsim demo: {label} on features that jaxsim made itself (seed {arguments.seed}), none trained.",
        f"{len(affinity.names)} networks, {demo.IMAGES} images, {arguments.resamples} half-samples.",
        "",
        f"Sources for {_TARGET}, with {100 * arguments.level:g} % intervals:",
        table(["source", "score", "low", "high"], rows),
        "",
        f"Tree ({tree.convention}), with the share of resamples that hold each branch:",
        tree.to_text(),
        "",
        f"Cut into {count} clusters (adjusted Rand index with the true groups {_agreement(tree):.2f}):",
        *clusters,
    ]
    return "\n".join(lines) + "\n"
