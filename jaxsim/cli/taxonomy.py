"""The command `taxonomy`: cluster networks into a tree."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from jaxsim import plotting, taxonomy
from jaxsim.cli.affinity import score
from jaxsim.cli.arguments import add_computing, add_measure, add_output, count
from jaxsim.cli.inputs import is_matrix, read_affinity, read_measure, read_resamples
from jaxsim.cli.output import emit, note, staged
from jaxsim.results import Affinity

SUMMARY = "cluster networks into a tree"
HELP = """Cluster networks by their affinities into a tree.

INPUT is features (see `jaxsim affinity --help`), or a matrix: affinity.npz of `jaxsim affinity`, a CSV or npz
matrix with names (name its array with --key), or a pickle released with Taskonomy.

Writes in DIR:
  taxonomy.npz   the tree; jaxsim.load reads it
  taxonomy.txt   the tree in plain text, with the Newick format below it
  taxonomy.png   the dendrogram, with the support of each branch where it is known
  heatmap.png    the affinity matrix in the order of the tree (square matrices)

examples:
  jaxsim taxonomy results/affinity.npz --support results/resamples.npz --out tree
  jaxsim taxonomy features.npz --measure cka-linear --clusters 4 --out tree
  jaxsim taxonomy all_affinities.pkl --linkage transfer --out transfer_tree"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("input", metavar="INPUT", help="features, or a matrix")
    add_measure(command, several=False)
    command.add_argument("--key", metavar="NAME", help="INPUT is an npz file and this array is the matrix")
    command.add_argument("--support", metavar="NPZ", help="resamples.npz of `jaxsim bootstrap`")
    linkages = ("average", "authors", "transfer")
    text = (
        "average: average linkage on 1 - S (default); authors: single linkage, Euclidean distance of rows, "
        "as the code of RSA; transfer: average linkage, Euclidean distance of rows, as Taskonomy"
    )
    command.add_argument("--linkage", choices=linkages, default="average", help=text)
    command.add_argument("--symmetrize", action="store_true", help="use (S + S^T) / 2")
    command.add_argument("--clusters", type=count, metavar="K", help="also list K clusters")
    add_computing(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Tree of features or of a matrix, with support where resamples are given."""
    names = ["taxonomy.npz", "taxonomy.txt", "taxonomy.png", "heatmap.png"]
    with staged(arguments.out, names, overwrite=arguments.overwrite) as folder:
        affinity = _matrix(arguments)
        linkage = taxonomy.LINKAGES[arguments.linkage]
        tree = taxonomy.tree(affinity, linkage=linkage, symmetrize=arguments.symmetrize)
        if arguments.support:
            resamples = read_resamples(arguments.support, affinity)
            tree = taxonomy.branch_support(tree, resamples)
        text = tree.to_text()
        clusters = tree.clusters(arguments.clusters) if arguments.clusters else []
        lines = [f"cluster {i + 1}: {', '.join(members)}" for i, members in enumerate(clusters)]
        tree.save(folder / "taxonomy.npz")
        whole = [f"{tree.convention}; {tree.provenance.measure}", "", text, "", *lines, "", tree.to_newick()]
        (folder / "taxonomy.txt").write_text("\n".join(whole) + "\n", encoding="utf-8")
        plotting.save_figure(plotting.dendrogram(tree), folder / "taxonomy.png")
        shown = plotting.affinity_heatmap(affinity, tree if affinity.square else None)
        plotting.save_figure(shown, folder / "heatmap.png")
    files = [str(Path(arguments.out) / name) for name in names]
    emit(arguments, "\n".join([text, "", *lines]), _tree_json(tree, clusters) | {"files": files})
    note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def _matrix(arguments: Namespace) -> Affinity:
    if is_matrix(arguments.input, arguments.key):
        if arguments.measure:
            raise ValueError(f"{arguments.input} is a matrix of scores already: leave out --measure.")
        return read_affinity(arguments.input, arguments.key)
    return score(arguments, arguments.input, None, dict([read_measure(arguments.measure)]))[0]


def _tree_json(tree: Any, clusters: list[tuple[str, ...]]) -> dict[str, Any]:
    order = [tree.names[i] for i in tree.order]
    return {"tree": tree.to_json(), "order": order, "newick": tree.to_newick(), "clusters": clusters}
