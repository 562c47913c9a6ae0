"""Compare an affinity matrix with measured transfer.

For each target, shows the Spearman correlation with measured transfer, with and without the target itself as a
source, and whether the source predicted to be best is among the best.

AFFINITY and TRUTH are matrices with sources in rows, targets in columns, and higher meaning better (otherwise
give --distance or --loss): a file of `jaxsim affinity`, a matrix with names in csv, tsv, txt or npz, or a
pickle released with Taskonomy. TRUTH may also be `rooms`, the transfer measured in the built-in world. The
matrices are aligned by name, and networks missing from one of them are listed.

With --resamples, made by `jaxsim bootstrap --scheme bootstrap`, the mean gets intervals over images (with the
bias shown and corrected), over targets, and over both, and each says what it conditions on.

With --relabelings, the mean without the diagonal gets a p value against no relation at all: the tasks of AFFINITY
are relabeled, rows and columns together, and relabelings that agree at least as well are counted. A second p value
leaves out the main effects of sources (some transfer well to everything). With --compare, other predictions are
tested too: p values are adjusted for all of them, and every two are tested for a difference.

Writes to DIR, if --out is given:
  agreement.csv             the table
  agreement.npz             the result without the diagonal; jaxsim.load reads it
  agreement.png             the correlation for each target, over all sources and without the target's own network
  agreement_intervals.csv   the intervals, with --resamples
  agreement_curves.csv      precision and recall of the first k sources, with --curves; also for each --compare
  agreement_curves.png      the same, drawn
  agreement_comparison.csv  means and p values of AFFINITY and the others, with --compare
  agreement_comparison.npz  the same with their differences; jaxsim.load reads it

Examples:
  jaxsim evaluate results/affinity.npz transfer.csv
  jaxsim evaluate demo/affinity.npz rooms
  jaxsim evaluate results/affinity.npz transfer.csv --resamples results/resamples.npz --out agreement
  jaxsim evaluate results/affinity.npz transfer.csv --relabelings 9999
  jaxsim evaluate rsa.csv transfer.csv --compare cka.csv --curves --out agreement
  jaxsim evaluate rsa.csv transfer.csv --compare cka.csv --compare dds.csv --out agreement
  jaxsim evaluate results/affinity.npz matrices.npz --key affinity --subset --out agreement
  jaxsim evaluate results/affinity.csv all_affinities.pkl --json
"""

import contextlib
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import evaluation, measures, plotting
from jaxsim.cli.arguments import add_draws, add_output, count, refuse
from jaxsim.cli.inputs import describe_matrix, read_affinity, read_resamples
from jaxsim.cli.output import note, report, save_figure, staged, table, write_rows
from jaxsim.evaluation.prediction import hit
from jaxsim.io.files import few
from jaxsim.results import Affinity

FILES, INTERVALS = ("agreement.csv", "agreement.npz", "agreement.png"), "agreement_intervals.csv"
CURVES = ("agreement_curves.csv", "agreement_curves.png")
COMPARISON = ("agreement_comparison.csv", "agreement_comparison.npz")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("affinity", metavar="AFFINITY", help="the prediction")
    command.add_argument("truth", metavar="TRUTH", help="measured transfer")
    command.add_argument("--key", metavar="NAME", help="array of TRUTH to use, if it is an npz file with several")
    command.add_argument(
        "--affinity-key", metavar="NAME", help="array of AFFINITY to use, if it is an npz file with several"
    )
    command.add_argument("--distance", action="store_true", help="AFFINITY holds distances: lower is more similar")
    command.add_argument("--loss", action="store_true", help="TRUTH holds losses: lower is better")
    command.add_argument("--subset", action="store_true", help="use only the networks in both")
    text = "resamples.npz of `jaxsim bootstrap --scheme bootstrap`, for intervals"
    command.add_argument("--resamples", metavar="NPZ", help=text)
    text = "add p values from N relabelings of the tasks, such as 999; if there are no more than N, all are used"
    command.add_argument("--relabelings", type=count, default=0, metavar="N", help=text)
    text = (
        "another prediction to test along with AFFINITY, by 999 relabelings unless --relabelings is given; repeatable"
    )
    command.add_argument("--compare", metavar="FILE", action="append", default=[], help=text)
    text = "print how many of the five best sources are among the first k predicted, as precision and recall"
    command.add_argument("--curves", action="store_true", help=text)
    add_draws(command)
    add_output(command, required=False)


def run(arguments: Namespace) -> None:
    """Compare with and without the diagonal, with intervals if resamples are given."""
    if not arguments.resamples:
        refuse(arguments, "without --resamples, which gives intervals", "level")
        if not arguments.relabelings and not arguments.compare:
            refuse(arguments, "without --resamples, --relabelings or --compare", "seed")
    if not arguments.out:
        refuse(arguments, "without --out", "overwrite", "spreadsheet", "format")
    made = [*FILES, *([INTERVALS] if arguments.resamples else []), *(COMPARISON if arguments.compare else [])]
    made += CURVES if arguments.curves else ()
    names = made if arguments.out else []
    with staged(arguments, names) if arguments.out else contextlib.nullcontext() as out:
        affinity = read_affinity(arguments.affinity, arguments.affinity_key, distance=arguments.distance)
        truth = read_affinity(arguments.truth, arguments.key, distance=arguments.loss)
        _say(arguments, affinity, truth)
        how = {"subset": arguments.subset, "key": arguments.seed}
        whole = evaluation.evaluate(affinity, truth, diagonal=True, subset=arguments.subset)
        without = evaluation.evaluate(affinity, truth, diagonal=False, relabelings=arguments.relabelings, **how)
        named = _named(arguments, affinity)
        comparison = _compare(arguments, named, truth) if arguments.compare else None
        intervals = _intervals(arguments, affinity, truth) if arguments.resamples else []
        curves = _curves(arguments, without, named, truth) if arguments.curves else {}
        if out is not None:
            title = f"{measures.title_of(affinity.provenance.measure)}: does it predict transfer?"
            _write(arguments, out, whole, without, intervals, title)
            if curves:
                write_rows(out / CURVES[0], *_curve_rows(curves))
                save_figure(arguments, plotting.precision_recall(curves), out / CURVES[1])
            if comparison is not None:
                write_rows(out / COMPARISON[0], *_comparison_rows(comparison))
                comparison.save(out / COMPARISON[1])
    header, rows = _rows(whole, without)
    lists = [{k: v for k, v in one.to_json().items() if k != "draws"} for one in intervals]
    values = {"with_diagonal": whole.to_json(), "without_diagonal": without.to_json(), "intervals": lists}
    lines = [table(header, [*rows, _mean_row(whole, without)]), _caption(without)]
    if without.tests():
        lines += ["", f"Without the diagonal: {without.tests()}."]
    if curves:
        header, rows = _curve_rows(curves)
        values["curves"] = [dict(zip(header, row, strict=True)) for row in rows]
        lines += ["", "Precision and recall of the first k sources predicted:", table(header, rows)]
    if comparison is not None:
        values["comparison"] = comparison.to_json()
        lines += ["", str(comparison)]
    report(arguments, "\n".join([*lines, *_interval_lines(intervals)]), values, names)


def _named(arguments: Namespace, affinity: Affinity) -> dict[str, Affinity]:
    """AFFINITY and the files of --compare, named by their files, or by their paths if those names are equal."""
    paths = [arguments.affinity, *arguments.compare]
    if len(set(paths)) < len(paths):
        raise ValueError("--compare names a file twice, or AFFINITY itself; give other predictions.")
    others = [read_affinity(p, arguments.affinity_key, distance=arguments.distance) for p in arguments.compare]
    stems = [Path(p).stem for p in paths]
    return dict(zip(stems if len(set(stems)) == len(stems) else paths, [affinity, *others], strict=True))


def _curves(arguments: Namespace, without: Any, named: dict[str, Affinity], truth: Affinity) -> dict[str, Any]:
    """Agreement of AFFINITY, which is `without`, and of the others, whose curves are defined.

    Raises:
        ValueError: no target has more sources than are relevant.
    """
    first, *others = named
    how = {"diagonal": False, "subset": arguments.subset}
    found = {first: without} | {name: evaluation.evaluate(named[name], truth, **how) for name in others}
    for name, one in found.items():
        if not np.isfinite(one.precision_at_k).any():
            raise ValueError(
                f"--curves needs a target with more than {one.relevant} sources besides its own, and {name} has none; "
                "leave out --curves."
            )
    return found


def _curve_rows(curves: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """One row per measure and k."""
    rows = [
        [name, k, float(precision), float(recall)]
        for name, one in curves.items()
        for k, (precision, recall) in enumerate(zip(one.precision_at_k, one.recall_at_k, strict=True), 1)
    ]
    return ["measure", "k", "precision", "recall"], rows


def _compare(arguments: Namespace, named: dict[str, Affinity], truth: Affinity) -> Any:
    """Compare AFFINITY and the files of --compare."""
    how = {"relabelings": arguments.relabelings or 999, "key": arguments.seed, "subset": arguments.subset}
    return evaluation.compare_agreements(named, truth, **how)


def _comparison_rows(comparison: Any) -> tuple[list[str], list[list[Any]]]:
    """One row per measure: mean, p values, and differences from each other measure with their adjusted p."""
    frame = {name: np.asarray(getattr(comparison, name)) for name in ("means", "p", "adjusted", "partial", "partial_p")}
    others = [f"{what} {name}" for name in comparison.names for what in ("minus", "p of minus")]
    differences = np.stack([comparison.difference, comparison.difference_adjusted], axis=2).reshape(len(frame["p"]), -1)
    each = np.stack(list(frame.values()), axis=1)
    rows = [[name, *map(float, (*a, *b))] for name, a, b in zip(comparison.names, each, differences, strict=True)]
    return ["measure", *frame, *others], rows


def _write(arguments: Namespace, out: Path, whole: Any, without: Any, intervals: list[Any], title: str) -> None:
    write_rows(out / "agreement.csv", *_rows(whole, without))
    without.save(out / "agreement.npz")
    shown = {"all sources": whole, "without the target itself": without}
    save_figure(arguments, plotting.column_correlations(shown, title=title), out / "agreement.png")
    if intervals:
        write_rows(out / INTERVALS, *_interval_rows(intervals))


def _say(arguments: Namespace, affinity: Affinity, truth: Affinity) -> None:
    """Print how the matrices were read, and which networks are in only one of them."""
    note(arguments, f"{arguments.affinity}: {describe_matrix(affinity)}")
    note(arguments, f"{arguments.truth}: {describe_matrix(truth).replace('more similar', 'better')}")
    both = ((arguments.affinity, affinity, truth), (arguments.truth, truth, affinity))
    for path, one, other in both if arguments.subset or set(affinity.names) <= set(truth.names) else ():
        only = [n for n in dict.fromkeys([*one.names, *one.targets]) if n not in {*other.names, *other.targets}]
        if only:
            note(arguments, f"left out because they are only in {path}: {few(only)}")


def _intervals(arguments: Namespace, affinity: Any, truth: Any) -> list[Any]:
    """Intervals with and without the diagonal."""
    resamples = read_resamples(arguments.resamples, affinity)
    how = {"key": arguments.seed, "level": arguments.level, "subset": arguments.subset}
    return [evaluation.agreement_intervals(resamples, truth, diagonal=diagonal, **how) for diagonal in (True, False)]


def _interval_rows(intervals: list[Any]) -> tuple[list[str], list[list[Any]]]:
    rows = []
    for one in intervals:
        for i, over in enumerate(one.over):
            scores = [one.estimate, one.bias[i], one.corrected[i], *one.interval[i]]
            rows.append(["with" if one.diagonal else "without", over, *map(float, scores)])
    return ["diagonal", "over", "mean", "bias", "corrected", "low", "high"], rows


def _interval_lines(intervals: list[Any]) -> list[str]:
    if not intervals:
        return []
    first = intervals[0]
    title = f"{100 * first.level:g} % intervals of the mean over targets, by what is resampled:"
    meanings = [f"{over}: {condition}" for over, condition in zip(first.over, first.conditions, strict=True)]
    return ["", title, table(*_interval_rows(intervals)), *meanings]


def _rows(whole: Any, without: Any) -> tuple[list[str], list[list[Any]]]:
    """One row per target."""
    header = ["target", "with diagonal", "without", "sources", *(f"top {k}" for k in without.top)]
    rows = []
    for i, target in enumerate(without.targets):
        hits = map(hit, np.asarray(without.top_k_hits)[i])
        scores = [float(whole.per_target[i]), float(without.per_target[i])]
        rows.append([target, *scores, int(without.sources[i]), *hits])
    return header, rows


def _mean_row(whole: Any, without: Any) -> list[Any]:
    """Means over targets, and shares of targets with a hit."""
    known = np.asarray(without.top_k_hits, dtype=float)
    known = known[~np.isnan(known).any(axis=1)]
    shares = [f"{100 * share:.0f}%" for share in known.mean(0)] if len(known) else ["n/a"] * len(without.top)
    return ["mean", whole.mean, without.mean, "", *shares]


def _caption(without: Any) -> str:
    return (
        f"{without.correlation.capitalize()} correlation of each target's column with {without.truth}; "
        "top k: whether the source predicted to be best is among the k best, without the target itself."
    )
