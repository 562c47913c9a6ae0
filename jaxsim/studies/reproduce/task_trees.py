"""Experiments on trees of tasks: RSA's tree against the papers' groups and the tree of measured transfer."""

import functools

import numpy as np

from jaxsim import engine, evaluation, measures, taxonomy
from jaxsim.statistics.checks import as_key
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Outcome, Setting


def rsa_matrix(setting: Setting) -> Outcome:
    """Cluster RSA of all encoders' codes and compare the tree with the papers' groups (RSA 2019, fig. 4).

    Raises:
        ValueError: features and truth are of different networks, a task has no group, or there are too few groups or as
            many as tasks.
    """
    affinity = engine.affinity(setting.code, measures.RSA)
    tree = taxonomy.tree(affinity)
    groups = setting.grouped
    k = len(set(groups.values()))
    if not 1 < k < len(groups):
        raise ValueError("rsa-matrix needs tasks of at least two groups, with two tasks in one of them.")
    index = taxonomy.cluster_agreement(tree, groups, k)
    p = taxonomy.cluster_agreement_p(
        tree, groups, k, key=as_key(setting.seed), permutations=rankings.permutations(setting)
    )
    values, cut = np.asarray(affinity.values, dtype=float), tree.cut(k)
    labels = np.array([groups[name] for name in affinity.names])
    same, off = labels[:, None] == labels[None, :], ~np.eye(len(labels), dtype=bool)
    within, between = values[same & off].mean(), values[~same].mean()
    rows = [(name, groups[name], cut[i] + 1, *affinity.ranking(name)[0]) for i, name in enumerate(affinity.names)]
    return Outcome(
        source="RSA 2019, figure 4",
        claim="Clustering tasks by RSA of their encoders groups them into 2D, 3D, geometric and semantic tasks.",
        criterion=f"adjusted Rand index of the cut into {k} above chance, permutation p < {rankings.LEVEL}",
        paper="2D, 3D and semantic clusters by eye, room layout and vanishing point among the 3D tasks; no index given",
        here=f"adjusted Rand index {index:.2f} (p = {p:.3g}); similarity {within:.2f} within groups, {between:.2f} "
        "between",
        holds=p < rankings.LEVEL,
        header=("task", "group", "cluster", "most_similar", "similarity"),
        rows=tuple(rows),
        draw=functools.partial(figures.grouped_heatmap, affinity, tree, groups),
    )


def trees(setting: Setting) -> Outcome:
    """Compare the tree by RSA with the tree by measured transfer (RSA 2019, fig. 6).

    The p value of the cophenetic agreement is from relabeling the networks of one tree.
    """
    affinity, truth = engine.affinity(setting.code, measures.RSA), setting.truth.matrix()
    mine = taxonomy.tree(affinity)
    theirs = taxonomy.tree(truth, linkage=taxonomy.transfer_linkage)
    groups = setting.grouped
    k, key = len(set(groups.values())), as_key(setting.seed)
    count = rankings.permutations(setting)
    cophenetic, p = _cophenetic(mine, theirs, setting)
    index = taxonomy.cluster_agreement(mine, theirs, k)
    index_p = taxonomy.cluster_agreement_p(mine, theirs, k, key=key, permutations=count)
    columns = [affinity.names.index(name) for name in truth.targets]
    others = np.asarray(truth.names)[:, None] != np.asarray(truth.targets)[None, :]
    rho, rank = rankings.matrix_correlation(np.asarray(affinity.values)[:, columns], truth.values, others)
    rows = (
        ("cophenetic correlation of the trees", None, cophenetic, p),
        (f"adjusted Rand index of cuts into {k}", None, index, index_p),
        ("Pearson correlation of the matrices, without self", 0.62, rho, None),
        ("Spearman correlation of the matrices, without self", 0.65, rank, None),
        ("adjusted Rand index of RSA's cut with the groups", None, taxonomy.cluster_agreement(mine, groups, k), None),
        (
            "adjusted Rand index of transfer's cut with the groups",
            None,
            taxonomy.cluster_agreement(theirs, groups, k),
            None,
        ),
    )
    return Outcome(
        source="RSA 2019, figure 6",
        claim="RSA and measured transfer group the tasks into similar clusters.",
        criterion=f"cophenetic correlation of the two trees above chance, permutation p < {rankings.LEVEL}",
        paper="similar clusters with few exceptions by eye; matrices correlate .62 (Spearman .65)",
        here=f"cophenetic correlation {cophenetic:.2f} (p = {p:.3g}), adjusted Rand index {index:.2f} (p = "
        f"{index_p:.3g}); matrices correlate {rho:.2f} (Spearman {rank:.2f})",
        holds=p < rankings.LEVEL,
        header=("agreement", "paper", "here", "p"),
        rows=rows,
        draw=functools.partial(figures.two_trees, (mine, theirs), ("RSA of codes", "measured transfer"), groups),
    )


def _cophenetic(mine: taxonomy.Tree, theirs: taxonomy.Tree, setting: Setting) -> tuple[float, float]:
    """Correlation of cophenetic distances and its p value."""
    found = taxonomy.cophenetic_agreement(mine, theirs)
    a, b = mine.cophenetic(), theirs.cophenetic()
    place = [theirs.names.index(name) for name in mine.names]
    b, pairs = b[np.ix_(place, place)], np.triu_indices(len(place), 1)
    orders = rankings.relabelings(setting, len(place))
    null = np.array([evaluation.pearson(a[pairs], b[np.ix_(o, o)][pairs]) for o in orders])
    return found, rankings.p_value(found, null)
