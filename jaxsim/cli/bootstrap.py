"""The command `bootstrap`: intervals by resampling images."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import plotting, resampling, schemes
from jaxsim.cli.affinity import ROWS, memory
from jaxsim.cli.arguments import FEATURES, add_computing, add_measure, add_output, add_resampling, count
from jaxsim.cli.inputs import places, read_measures, read_set
from jaxsim.cli.output import emit, note, progress, staged, table, write_rows

SUMMARY = "intervals by resampling images"
HELP = f"""Intervals of an affinity matrix: resample the images and score each resample.

{FEATURES}

schemes (--scheme):
  half-samples        random halves of the images, each with its complement, everything refitted; the default,
                      whose intervals hold their level (Fisher's scale, Student's t)
  bootstrap           images drawn with replacement; percentile intervals, too narrow at high scores
  bayesian-bootstrap  continuous random weights on the images; percentile intervals
  subsample           --size images without replacement, transform and bandwidth refitted (the DDS protocol)
  jackknife           each image left out once; normal intervals
  permutation         images of one network shuffled: p values for "no similarity", no intervals

Writes in DIR (with several measures in DIR/MEASURE):
  resamples.npz  all resampled matrices; jaxsim.load reads it, `jaxsim taxonomy --support` uses it
  intervals.csv  per pair: estimate, standard error, low, high (p_values.csv for permutation)
  ranking.png    sources of one target with intervals and how often each ranks first (not for permutation)

examples:
  jaxsim bootstrap features.npz --measure rsa --seed 0 --out results
  jaxsim bootstrap features.npz --measure rsa --scheme bootstrap --resamples 1000 --out results
  jaxsim bootstrap features.npz --measure dds-laplacian --scheme subsample --size 50 --out subsets
  jaxsim bootstrap features.npz --target depth --level 0.9 --out results"""


DEFAULT = schemes.HalfSamples.kind


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("features", metavar="FEATURES", help="directory or file of features")
    command.add_argument("--against", metavar="FEATURES", help="score against these networks instead")
    add_measure(command)
    command.add_argument("--scheme", choices=tuple(schemes.NAMED), default=DEFAULT, help=f"default: {DEFAULT}")
    command.add_argument("--size", type=count, metavar="M", help="images per subset, for subsample")
    add_resampling(command, None, f"100 for {DEFAULT}, else 1000")
    command.add_argument("--target", metavar="NAME", help="target of ranking.png; default: the first column")
    add_computing(command)
    add_output(command)


def run(arguments: Namespace) -> None:
    """Resampled matrices with intervals, or p values."""
    chosen = read_measures(arguments.measure)
    where, permuted = places(list(chosen)), arguments.scheme == schemes.Permutation.kind
    each = ["resamples.npz", "p_values.csv"] if permuted else ["resamples.npz", "intervals.csv", "ranking.png"]
    names = [w + n for w in where.values() for n in each]
    scheme = scheme_of(arguments)
    with staged(arguments.out, names, overwrite=arguments.overwrite) as folder:
        found = resampled(arguments, chosen, scheme)
        target = arguments.target or found[0].targets[0]
        tables = []
        for resamples, place in zip(found, where.values(), strict=True):
            (folder / place).mkdir(exist_ok=True)
            resamples.save(folder / place / "resamples.npz")
            header, rows = pairs(resamples, arguments.level, permuted)
            write_rows(folder / place / each[1], header, rows)
            tables.append((header, rows))
            if not permuted:
                shown = plotting.ranking(resamples, target, arguments.level)
                plotting.save_figure(shown, folder / place / "ranking.png")
    files = [str(Path(arguments.out) / name) for name in names]
    parts = [f"{label}\n{table(h, r, limit=ROWS)}" for label, (h, r) in zip(chosen, tables, strict=True)]
    lists = [[dict(zip(h, line, strict=True)) for line in r] for h, r in tables]
    values = [{"measure": label, "pairs": rows} for label, rows in zip(chosen, lists, strict=True)]
    settings = {"scheme": scheme.kind, "level": arguments.level, "seed": arguments.seed}
    emit(arguments, "\n\n".join(parts), settings | {"resamples": values, "files": files})
    note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def scheme_of(arguments: Namespace) -> Any:
    """The resampling scheme that the arguments name.

    Raises:
        ValueError: a subset size is missing, or given for another scheme.
    """
    if (arguments.size is not None) != (arguments.scheme == schemes.Subsample.kind):
        raise ValueError("--size goes with --scheme subsample, which needs it.")
    if arguments.scheme == schemes.Subsample.kind:
        return schemes.Subsample(size=arguments.size)
    return schemes.NAMED[arguments.scheme]()


def _count(arguments: Namespace) -> int | None:
    """Resamples asked for, or those that the scheme makes do with; the jackknife has its own number."""
    if arguments.scheme == schemes.Jackknife.kind:
        return None
    return arguments.resamples or (100 if arguments.scheme == DEFAULT else 1000)


def resampled(arguments: Namespace, chosen: Mapping[str, Any], scheme: Any) -> list[Any]:
    """Resamples of each measure.

    Raises:
        ValueError: `--target` is no target.
    """
    import jax

    features, ids = read_set(arguments.features, arguments.ids, x64=arguments.x64)
    others, other_ids = read_set(arguments.against, x64=arguments.x64) if arguments.against else (None, None)
    targets = list(others or features)
    if arguments.target is not None and arguments.target not in targets:
        raise ValueError(f"--target {arguments.target} is no target; there are {', '.join(targets)}.")
    note(arguments, f"{len(features)} networks from {arguments.features}; {', '.join(chosen)}")
    return resampling.resample(
        features,
        list(chosen.values()),
        scheme,
        n_resamples=_count(arguments),
        key=jax.random.key(arguments.seed),
        against=others,
        ids=ids,
        against_ids=other_ids,
        align=arguments.align,
        memory=memory(arguments),
        progress=progress(arguments, "resamples"),
    )


def pairs(resamples: Any, level: float, permuted: bool = False) -> tuple[list[str], list[list[Any]]]:
    """One row per pair of different networks; each pair once where both orders give the same score."""
    estimate = np.asarray(resamples.estimate, dtype=float)
    if permuted:
        columns = {"estimate": estimate, "p": np.asarray(resamples.p_value(), dtype=float)}
    else:
        low, high = (np.asarray(v, dtype=float) for v in resamples.interval(level))
        error = np.asarray(resamples.standard_error(), dtype=float)
        columns = {"estimate": estimate, "standard error": error, "low": low, "high": high}
    square = resamples.square
    rows = []
    for (i, j), _ in np.ndenumerate(estimate):
        if not square or i < j:
            scores = [float(c[i, j]) for c in columns.values()]
            rows.append([resamples.names[i], resamples.targets[j], *scores])
    return ["source", "target", *columns], rows
