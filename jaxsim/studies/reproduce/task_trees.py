"""Experiments on trees of tasks: RSA's tree against the papers' groups and the tree of measured transfer."""

import functools
import itertools

import numpy as np

from jaxsim import engine, evaluation, measures, taxonomy
from jaxsim.statistics.checks import as_key
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Outcome, Setting

BETA = 20.0
"""Scale of Taskonomy's figures."""


def rsa_matrix(setting: Setting) -> Outcome:
    """Cluster RSA of all encoders' codes and compare the tree with the papers' groups (RSA 2019, fig. 4).

    Raises:
        ValueError: features and truth are for different networks, a task has no group, or there are too few groups or
            as many groups as tasks.
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
    """Compare trees by RSA with the tree by measured transfer (RSA 2019, fig. 6 and S4).

    There are three: average linkage of RSA, the authors' own linkage of RSA, and Taskonomy's features of transfer. The
    criterion is about the first and the last. P values are from relabeling the networks of one tree.
    """
    affinity, truth = engine.affinity(setting.code, measures.RSA), setting.truth.matrix()
    made = {
        "RSA": taxonomy.tree(affinity),
        "RSA, authors' linkage": taxonomy.tree(affinity, linkage=taxonomy.authors_linkage),
        "transfer": taxonomy.tree(truth, linkage=taxonomy.transfer_linkage),
    }
    groups = setting.grouped
    k, key = len(set(groups.values())), as_key(setting.seed)
    rows, found = [], {}
    for one, other in itertools.combinations(made, 2):
        pair = made[one], made[other]
        cophenetic = _cophenetic(*pair, setting)
        p = taxonomy.cluster_agreement_p(*pair, k, key=key, permutations=rankings.permutations(setting))
        found[one, other] = cophenetic, (taxonomy.cluster_agreement(*pair, k), p)
        rows.append((f"{one} and {other}: cophenetic correlation", None, *cophenetic))
        rows.append((f"{one} and {other}: adjusted Rand index of cuts into {k}", None, *found[one, other][1]))
    for name, tree in made.items():
        p = taxonomy.cluster_agreement_p(tree, groups, k, key=key, permutations=rankings.permutations(setting))
        rows.append(
            (f"{name}: adjusted Rand index with the groups", None, taxonomy.cluster_agreement(tree, groups, k), p)
        )
    columns = [affinity.names.index(name) for name in truth.targets]
    others = np.asarray(truth.names)[:, None] != np.asarray(truth.targets)[None, :]
    rho, rank = rankings.matrix_correlation(np.asarray(affinity.values)[:, columns], truth.values, others)
    rows.append(("Pearson correlation of the matrices, without self", 0.62, rho, None))
    rows.append(("Spearman correlation of the matrices, without self", 0.65, rank, None))
    (cophenetic, p), (index, index_p) = found["RSA", "transfer"]
    (theirs, theirs_p), _ = found["RSA, authors' linkage", "transfer"]
    return Outcome(
        source="RSA 2019, figures 6 and S4",
        claim="RSA and measured transfer group the tasks into similar clusters.",
        criterion=f"cophenetic correlation of the two trees above chance, permutation p < {rankings.LEVEL}",
        paper="similar clusters with few exceptions by eye; matrices correlate .62 (Spearman .65)",
        here=f"cophenetic correlation {cophenetic:.2f} (p = {p:.3g}), with the authors' linkage {theirs:.2f} (p = "
        f"{theirs_p:.3g}), adjusted Rand index {index:.2f} (p = {index_p:.3g}); matrices correlate {rho:.2f} (Spearman "
        f"{rank:.2f})",
        holds=p < rankings.LEVEL,
        header=("agreement", "paper", "here", "p"),
        rows=tuple(rows),
        draw=functools.partial(figures.side_by_side_trees, made, groups),
    )


def display(setting: Setting) -> Outcome:
    """Compare how much of a color scale from 0 to 1 matrices use (RSA 2019, fig. S5).

    The part used is the distance from the 5th to the 95th percentile, without the diagonal.
    """
    affinity, truth = engine.affinity(setting.code, measures.RSA), setting.truth.matrix()
    scaled = taxonomy.transfer_distance(truth, BETA)
    columns = [affinity.names.index(name) for name in truth.targets]
    shown = {
        "RSA": np.asarray(affinity.values, dtype=float)[:, columns],
        "transfer, as it is": np.asarray(truth.values, dtype=float),
        f"transfer, 1 - exp(-{BETA:g} P)": 1 - np.asarray(scaled.values, dtype=float),
    }
    others = np.asarray(truth.names)[:, None] != np.asarray(truth.targets)[None, :]
    rows = [(name, *np.percentile(values[others], (5, 50, 95)).tolist()) for name, values in shown.items()]
    mine, raw, wide = (high - low for _, low, _, high in rows)
    groups = setting.grouped
    return Outcome(
        source="RSA 2019, figure S5",
        claim="RSA can be shown as it is; measured transfer needs exponential scaling to be visible.",
        criterion="transfer as it is takes less than half as much of the scale from 0 to 1 as RSA, and more when "
        "scaled",
        paper="similarities of RSA are easy to see; Taskonomy's are not without scaling (by eye)",
        here=f"from the 5th to the 95th percentile: RSA {mine:.2f}, transfer {raw:.2f}, scaled {wide:.2f}",
        holds=bool(raw < mine / 2 and wide > raw),
        header=("matrix", "percentile_5", "median", "percentile_95"),
        rows=tuple(rows),
        draw=functools.partial(figures.matrices, shown, list(groups), groups),
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
