"""The commands `taxonomy` and `evaluate`."""

import contextlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import evaluation, plotting, taxonomy
from jaxsim.cli.loading import is_matrix, read_affinity, read_measure, read_resamples
from jaxsim.cli.output import emit, note, staged, table
from jaxsim.cli.scoring import score, write_rows
from jaxsim.results import Affinity


def run_taxonomy(arguments: Namespace) -> None:
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


def run_evaluate(arguments: Namespace) -> None:
    """Agreement with transfer, with and without the diagonal, and its intervals where resamples are given."""
    names = ["agreement.csv", "agreement.npz", "agreement.png"]
    names += ["intervals.csv"] if arguments.resamples else []
    with _output(arguments, names) as folder:
        affinity = read_affinity(arguments.affinity, arguments.affinity_key)
        truth = read_affinity(arguments.truth, arguments.key)
        whole, without = (
            evaluation.evaluate(affinity, truth, diagonal=diagonal, subset=arguments.subset)
            for diagonal in (True, False)
        )
        intervals = _intervals(arguments, affinity, truth) if arguments.resamples else []
        if folder is not None:
            write_rows(folder / "agreement.csv", *_lines(whole, without))
            without.save(folder / "agreement.npz")
            shown = {"with the diagonal": whole, "without": without}
            plotting.save_figure(plotting.column_correlations(shown), folder / "agreement.png")
            if intervals:
                write_rows(folder / "intervals.csv", *_interval_lines(intervals))
    names = names if arguments.out else []
    files = [str(Path(arguments.out) / name) for name in names]
    values = {"with_diagonal": whole.to_json(), "without_diagonal": without.to_json(), "files": files}
    lists = [{k: v for k, v in i.to_json().items() if k != "draws"} for i in intervals]
    text = "\n\n".join([_table(whole, without), *_interval_text(intervals)])
    emit(arguments, text, values | {"intervals": lists})
    if names:
        note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def _output(arguments: Namespace, names: list[str]) -> contextlib.AbstractContextManager[Path | None]:
    if arguments.out is None:
        return contextlib.nullcontext()
    return staged(arguments.out, names, overwrite=arguments.overwrite)


def _intervals(arguments: Namespace, affinity: Affinity, truth: Affinity) -> list[Any]:
    """With and without the diagonal."""
    import jax

    resamples, key = read_resamples(arguments.resamples, affinity), jax.random.key(arguments.seed)
    how = {"key": key, "level": arguments.level, "subset": arguments.subset}
    return [evaluation.agreement_intervals(resamples, truth, diagonal=diagonal, **how) for diagonal in (True, False)]


def _interval_lines(intervals: list[Any]) -> tuple[list[str], list[list[Any]]]:
    rows = []
    for one in intervals:
        for i, over in enumerate(one.over):
            scores = [one.estimate, one.bias[i], one.corrected[i], *one.interval[i]]
            rows.append(["with" if one.diagonal else "without", over, *map(float, scores)])
    return ["diagonal", "over", "mean", "bias", "corrected", "low", "high"], rows


def _interval_text(intervals: list[Any]) -> list[str]:
    if not intervals:
        return []
    first = intervals[0]
    meanings = [f"{o}: {c}" for o, c in zip(first.over, first.conditions, strict=True)]
    title = f"{100 * first.level:g} % intervals of the mean over targets, by what is resampled:"
    return ["\n".join([title, table(*_interval_lines(intervals)), *meanings])]


def _lines(whole: Any, without: Any) -> tuple[list[str], list[list[Any]]]:
    header = ["target", "with diagonal", "without", "sources", *(f"top {k}" for k in without.top)]
    rows = []
    for i, target in enumerate(without.targets):
        hits = ["n/a" if np.isnan(h) else "yes" if h else "no" for h in np.asarray(without.top_k_hits)[i]]
        scores = [float(whole.per_target[i]), float(without.per_target[i])]
        rows.append([target, *scores, int(without.sources[i]), *hits])
    return header, rows


def _table(whole: Any, without: Any) -> str:
    header, rows = _lines(whole, without)
    known = np.asarray(without.top_k_hits, dtype=float)
    known = known[~np.isnan(known).any(axis=1)]
    shares = [f"{100 * known[:, i].mean():.0f}%" if len(known) else "n/a" for i in range(len(without.top))]
    rows.append(["mean", whole.mean, without.mean, "", *shares])
    text = f"{without.correlation.capitalize()} correlation of each target's column with {without.truth};"
    more = " top k: the source predicted best is among the k truly best, self left out."
    return f"{table(header, rows)}\n{text}{more}"
