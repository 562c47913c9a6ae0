"""The command `evaluate`: agreement with measured transfer."""

import contextlib
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import evaluation, plotting
from jaxsim.cli.arguments import add_draws, add_output
from jaxsim.cli.inputs import read_affinity, read_resamples
from jaxsim.cli.output import emit, note, staged, table, write_rows
from jaxsim.results import Affinity

SUMMARY = "agreement with measured transfer"
HELP = """Agreement of an affinity matrix with measured transfer, target by target: Spearman correlation
with and without the target itself as a source, and whether the source predicted best is among the truly best.

AFFINITY and TRUTH are matrices with sources as rows, targets as columns and higher meaning better: a file of
`jaxsim affinity`, a CSV or npz matrix with names, or a pickle released with Taskonomy; TRUTH may be `rooms`, the
transfer measured in the built-in world. Names align the two.

With --resamples, from `jaxsim bootstrap --scheme bootstrap`, it adds intervals of the mean: over images (bias
shown and corrected), over targets, and over both; each says what it conditions on.

With --out DIR it writes agreement.csv (the table), agreement.npz (the record without the diagonal),
agreement.png (the correlations per target) and with --resamples intervals.csv.

examples:
  jaxsim evaluate results/affinity.npz transfer.csv
  jaxsim evaluate demo/affinity.npz rooms
  jaxsim evaluate results/affinity.npz transfer.csv --resamples results/resamples.npz --out agreement
  jaxsim evaluate results/affinity.npz matrices.npz --key affinity --subset --out agreement
  jaxsim evaluate results/affinity.csv all_affinities.pkl --json"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("affinity", metavar="AFFINITY", help="the prediction")
    command.add_argument("truth", metavar="TRUTH", help="measured transfer")
    command.add_argument("--key", metavar="NAME", help="array of TRUTH, where it is an npz file of several")
    command.add_argument("--affinity-key", metavar="NAME", help="the same for AFFINITY")
    command.add_argument("--subset", action="store_true", help="use the networks that both have")
    text = "resamples.npz of `jaxsim bootstrap --scheme bootstrap`: intervals over images, over targets and over both"
    command.add_argument("--resamples", metavar="NPZ", help=text)
    add_draws(command)
    add_output(command, required=False)


def run(arguments: Namespace) -> None:
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
