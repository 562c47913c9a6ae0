"""Cluster networks by their affinities into a tree.

INPUT is features, as for `jaxsim affinity`, or a matrix: affinity.npz of `jaxsim affinity`, a matrix with
names in csv, tsv, txt or npz (--key names its array), or a pickle released with Taskonomy. Several tables are
read as features.

Linkages (--linkage):
  average    average linkage on 1 - S; the default
  authors    single linkage on the Euclidean distance of rows, as in the code of RSA
  transfer   average linkage on the Euclidean distance of rows, as in Taskonomy

With --budget K, also finds the K sources that serve all targets best. Each target is served by one source, by
itself if it is one of the K, or by several together if a pickle released with Taskonomy has such transfers.

Writes to DIR:
  taxonomy.npz   the tree; jaxsim.load reads it
  taxonomy.txt   the tree in plain text, followed by its Newick format
  taxonomy.png   the dendrogram, with the support of each branch if --support is given
  heatmap.png    the affinity matrix, in the order of the tree if it is square
  sources.npz, sources.csv, sources.png  with --budget: the sources to keep, and the targets they serve
  report.html    with --report, matrix and tree on one page for a browser

Examples:
  jaxsim taxonomy results/affinity.npz --support results/resamples.npz --out tree
  jaxsim taxonomy features.npz --measure cka-linear --clusters 4 --out tree
  jaxsim taxonomy all_affinities.pkl --linkage transfer --out transfer_tree
  jaxsim taxonomy all_affinities.pkl --linkage transfer --budget 4 --free random --out four_sources
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from jaxsim import io, plotting, taxonomy
from jaxsim.cli.affinity import score
from jaxsim.cli.arguments import (
    add_computing,
    add_measures,
    add_missing,
    add_output,
    add_reading,
    add_report,
    count,
    refuse,
)
from jaxsim.cli.inputs import describe_matrix, is_matrix, read_affinity, read_measure, read_resamples
from jaxsim.cli.output import REPORT, note, report, report_files, save_figure, save_report, staged, write_rows
from jaxsim.results import Affinity

FILES = ("taxonomy.npz", "taxonomy.txt", "taxonomy.png", "heatmap.png")
SOURCES = ("sources.npz", "sources.csv", "sources.png")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    text = "features, in one or several files, or a matrix"
    command.add_argument("input", metavar="INPUT", nargs="+", help=text)
    add_measures(command, "rsa", several=False)
    command.add_argument(
        "--key", metavar="NAME", help="name of the matrix, if INPUT is an npz file with several arrays"
    )
    command.add_argument(
        "--support", metavar="NPZ", help="resamples.npz from `jaxsim bootstrap`, for the support of each branch"
    )
    command.add_argument("--linkage", choices=taxonomy.LINKAGES, default="average", help="default: %(default)s")
    text = "the matrix holds distances: lower is more similar"
    command.add_argument("--distance", action="store_true", help=text)
    command.add_argument("--symmetrize", action="store_true", help="use (S + S^T) / 2 in place of S")
    command.add_argument("--clusters", type=count, metavar="K", help="also cut the tree into K clusters and list them")
    text = "also choose the K sources that serve all targets best"
    command.add_argument("--budget", type=count, metavar="K", help=text)
    text = "a source that does not count against --budget, such as a random network; repeatable"
    command.add_argument("--free", metavar="NAME", action="append", help=text)
    add_missing(command)
    add_reading(command)
    add_computing(command)
    add_output(command, tables=False)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Cluster features or a matrix, with support if resamples are given."""
    if arguments.free and not arguments.budget:
        raise ValueError(
            "--free names sources that do not count against --budget; give --budget too, or leave out --free."
        )
    files = (*FILES, *SOURCES * bool(arguments.budget), *report_files(arguments))
    with staged(arguments, files) as out:
        affinity = _affinity(arguments)
        linkage = taxonomy.LINKAGES[arguments.linkage]
        tree = taxonomy.tree(affinity, linkage=linkage, symmetrize=arguments.symmetrize)
        resamples = [read_resamples(arguments.support, affinity)] if arguments.support else []
        for one in resamples:
            tree = taxonomy.branch_support(tree, one)
        text, newick = tree.to_text(), tree.to_newick()
        clusters = tree.clusters(arguments.clusters) if arguments.clusters else []
        lines = [f"cluster {i}: {', '.join(members)}" for i, members in enumerate(clusters, 1)]
        tree.save(out / "taxonomy.npz")
        title = tree.table().title
        whole = [title, "", text, "", *lines, "", newick]
        (out / "taxonomy.txt").write_text("\n".join(whole) + "\n", encoding="utf-8")
        save_figure(arguments, plotting.dendrogram(tree), out / "taxonomy.png")
        heatmap = plotting.affinity_heatmap(affinity, tree if affinity.square else None)
        save_figure(arguments, heatmap, out / "heatmap.png")
        if arguments.report:
            save_report(arguments, out / REPORT, affinity, *resamples, tree)
        if arguments.budget:
            lines += ["", _choose(arguments, affinity, out)]
    values = {"tree": tree.to_json(), "order": [tree.names[i] for i in tree.order], "newick": newick}
    report(arguments, "\n".join([title, text, "", *lines]), values | {"clusters": clusters}, files)


def _choose(arguments: Namespace, affinity: Affinity, out: Path) -> str:
    """Write the sources within the budget, and return their table."""
    released = Path(arguments.input[0]).suffix in (".pkl", ".pickle") and is_matrix(arguments.input[0], arguments.key)
    transfers = io.read_transfers(arguments.input[0]) if released else affinity
    choice = taxonomy.choose_sources(transfers, arguments.budget, free=arguments.free or ())
    choice.save(out / "sources.npz")
    rows = zip(choice.targets, map(" + ".join, choice.used), choice.scores.tolist(), strict=True)
    write_rows(out / "sources.csv", ("target", "from", "score"), list(rows))
    save_figure(arguments, plotting.source_graph(choice), out / "sources.png")
    return str(choice)


def _affinity(arguments: Namespace) -> Affinity:
    """The matrix in INPUT, or that of its features.

    Raises:
        ValueError: a measure is given for a matrix of scores.
    """
    first, several = arguments.input[0], len(arguments.input) > 1
    if (Path(first) / "affinity.npz").is_file():
        raise ValueError(f"{first} is a folder of results; give {first}/affinity.npz.")
    if several or not is_matrix(first, arguments.key):
        refuse(arguments, "on features; it is for a matrix", "distance", *["key"] * several)
        label, measure = read_measure(arguments, maps=True)
        return score(arguments, arguments.input, {label: measure})[label]
    if arguments.measure:
        raise ValueError(f"{first} is already a matrix of scores; leave out --measure.")
    how = ("ids", "align", "missing", "memory", "devices", "x64", "stack", "per_image", "channels")
    refuse(arguments, f"on {first}, a matrix of scores; it is for features", *how)
    found = read_affinity(first, arguments.key, distance=arguments.distance)
    note(arguments, f"{first}: {describe_matrix(found)}")
    return found
