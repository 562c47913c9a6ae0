"""Resample the images to put intervals on the scores.

If the measure is a comparator, such as spearman, the arrays must be precomputed maps (RDMs). This works with all
schemes except half-samples and subsample.

Schemes (--scheme):
  half-samples        random halves of the images, each with its complement, everything refitted; the default,
                      because its intervals have the stated coverage (Student's t on Fisher's scale)
  bootstrap           images drawn with replacement; percentile intervals, too narrow at high scores
  bayesian-bootstrap  continuous random weights on the images; percentile intervals
  subsample           --size images without replacement, transform and bandwidth refitted (the DDS protocol)
  jackknife           each image, or each of the --groups, left out once; normal intervals
  permutation         images of one network shuffled: p values for "no similarity", no intervals

An interval is for a new sample of images like these. If images come in classes, scenes or recording runs, say
whether new images would come from the same classes (--strata) or from new ones (--groups: at least ten, preferably
twenty).

Writes to DIR, or with several measures to DIR/MEASURE:
  resamples.npz  all resampled matrices; jaxsim.load and `jaxsim taxonomy --support` read it
  intervals.csv  per pair: estimate, standard error, low, high (p_values.csv for permutation). A pair
                 without a score in some resamples has no interval, and a column counts those resamples
  matrix.png     the matrix with its intervals; scores whose interval contains zero are faded
  ranking.png    sources of --target, or of each target, with intervals, and how often each ranks first (not for
                 jackknife). Not written for permutation. With more than 30 targets it shows only --target or the
                 first one, and a message says so
  report.html    with --report, everything on one page for a browser

Examples:
  jaxsim bootstrap features.npz --measure rsa --seed 0 --out results
  jaxsim bootstrap features.npz --measure rsa --scheme bootstrap --resamples 1000 --out results
  jaxsim bootstrap features.npz --measure dds-laplacian --scheme subsample --size 50 --out subsets
  jaxsim bootstrap features.npz --measure cka-linear --groups classes.txt --out results
  jaxsim bootstrap features.npz --target depth --level 0.9 --out results
  jaxsim bootstrap large/ --measure rsa --explain
"""

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsim import explanations, plotting, resampling, schemes
from jaxsim.cli.affinity import heatmap, tree_of
from jaxsim.cli.arguments import (
    add_computing,
    add_draws,
    add_features,
    add_labels,
    add_measures,
    add_output,
    add_report,
    count,
    only_explains,
    refuse,
)
from jaxsim.cli.inputs import ROWS, read_labels, read_measures, read_targeted
from jaxsim.cli.output import (
    REPORT,
    note,
    progress,
    records,
    report,
    report_files,
    report_plan,
    save_figure,
    save_report,
    staged,
    subfolders,
    table,
    with_notes,
    write_rows,
)
from jaxsim.protocols import SchemeCapabilities, declared
from jaxsim.results.resamples import BETWEEN, UNSCORED
from jaxsim.results.tables import flagged, p_value

DEFAULT = schemes.HalfSamples


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_features(command)
    add_measures(command, "rsa")
    text = "how to resample, see above; default: %(default)s"
    command.add_argument("--scheme", metavar="NAME", choices=schemes.NAMED, default=DEFAULT.kind, help=text)
    command.add_argument("--size", type=count, metavar="M", help="images per subset, for subsample")
    numbers = {kind: _default_resamples(scheme) for kind, scheme in schemes.NAMED.items()}
    text = "number of resamples; default: " + ", ".join(f"{b} for {kind}" for kind, b in numbers.items() if b)
    command.add_argument("--resamples", type=count, metavar="B", help=text)
    add_labels(command)
    add_draws(command)
    text = "show only this target in ranking.png, and test its two best sources for a difference; default: show all"
    command.add_argument("--target", metavar="NAME", help=text)
    add_computing(command, explain=True)
    add_output(command, required=False)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Resample each measure's matrix, with intervals or p values."""
    chosen, scheme = read_measures(arguments, maps=True), _scheme(arguments)
    if only_explains(arguments):
        report_plan(arguments, explanations.explain(**_given(arguments, chosen, scheme)))
        return
    folders, null = subfolders(chosen), declared(scheme, SchemeCapabilities).null
    if null:
        refuse(arguments, f"with --scheme {scheme.kind}, which has no intervals", "level", "target")
    each = ["resamples.npz", "p_values.csv" if null else "intervals.csv", "matrix.png"] + ["ranking.png"] * (not null)
    each += report_files(arguments)
    names = [folder + name for folder in folders.values() for name in each]
    tables, flags, notes, best = {}, {}, {}, {}
    with staged(arguments, names) as out:
        for label, resamples in _resample(arguments, chosen, scheme).items():
            folder = out / folders[label]
            folder.mkdir(exist_ok=True)
            resamples.save(folder / each[0])
            flags[label] = resamples.flags
            notes[label] = [f"{BETWEEN}, unlike those of `jaxsim affinity`"] * resamples.between
            best[label] = _first_two(resamples, arguments.target)
            notes[label] += _in_words(best[label])
            tables[label] = pairs(resamples, None if null else arguments.level)
            write_rows(folder / each[1], *tables[label])
            save_figure(arguments, heatmap(arguments, resamples, level=arguments.level), folder / "matrix.png")
            if not null:
                save_figure(arguments, _ranking(arguments, resamples), folder / "ranking.png")
            if arguments.report:
                save_report(arguments, folder / REPORT, resamples, tree_of(resamples), level=arguments.level)
    shown = {label: table(*found, limit=ROWS) for label, found in tables.items()}
    text = with_notes(shown, {label: [*notes[label], *flagged(flags[label])] for label in tables})
    values = [
        {"measure": label, "pairs": records(*found), "flags": flags[label], "best_source": best[label] or None}
        for label, found in tables.items()
    ]
    settings = {"scheme": scheme.kind, "level": arguments.level, "seed": arguments.seed}
    report(arguments, text, settings | {"resamples": values}, names)


def _ranking(arguments: Namespace, resamples: Any) -> Any:
    """The ranking for --target or for each target; if there are too many, for the first."""
    target, many = arguments.target, len(resamples.targets) > plotting.MOST_PANELS
    if target is None and many:
        target = resamples.targets[0]
        note(
            arguments,
            f"ranking.png shows only {target}, 1 of {len(resamples.targets)} targets; choose another with --target",
        )
    return plotting.ranking(resamples, target, arguments.level)


def _first_two(resamples: Any, target: str | None) -> dict[str, Any]:
    """The paired test of the two best sources of --target; empty without --target or if the scheme has no tests."""
    if target is None or not (resamples.can.bootstraps or resamples.can.tests):
        return {}
    first, second, *_ = [name for name, _ in resamples.ranking(target)] + ["", ""]
    if not second:
        return {}
    found, tests = resamples.difference((first, target), (second, target)), resamples.compare_sources(target)
    p = float(tests.step_down[resamples.names.index(first), resamples.names.index(second)])
    contenders = list(resamples.contenders(target))
    return {"target": target, "first": first, "second": second, **found, "p": p, "contenders": contenders}


def _in_words(test: dict[str, Any]) -> list[str]:
    """A line for the paired test of the two best sources; none if there is no test."""
    if not test:
        return []
    line = (
        f"best source for {test['target']}: {test['first']}, {test['difference']:.3f} +- {test['error']:.3f} above "
        f"{test['second']}; p = {p_value(test['p'])}, adjusted for all pairs of sources".replace("= <", "< ")
    )
    others = test["contenders"][1:]
    return [line + f"; cannot be told apart from {', '.join(others)}" * bool(others)]


def _default_resamples(scheme: Any) -> int | None:
    return declared(scheme, SchemeCapabilities).default_resamples


def _scheme(arguments: Namespace) -> Any:
    """The resampling scheme.

    Raises:
        ValueError: a subset size is missing, or given for another scheme.
    """
    scheme = schemes.NAMED[arguments.scheme]
    sized = [kind for kind, one in schemes.NAMED.items() if "size" in inspect.signature(one).parameters]
    if (arguments.size is not None) != (scheme.kind in sized):
        raise ValueError(f"--size and --scheme {' or '.join(sized)} must be given together.")
    if _default_resamples(scheme) is None:
        refuse(arguments, f"with --scheme {scheme.kind}, which leaves out every image once", "resamples", "seed")
    if "strata" not in inspect.signature(scheme).parameters:
        refuse(arguments, f"with --scheme {scheme.kind}, which leaves out every image or group once", "strata")
    labels = read_labels(arguments)
    return scheme(**labels) if arguments.size is None else scheme(size=arguments.size, **labels)


def _resample(arguments: Namespace, chosen: Mapping[str, Any], scheme: Any) -> dict[str, Any]:
    """Resamples of each measure.

    Raises:
        ValueError: there is no such --target.
    """
    given = _given(arguments, chosen, scheme)
    found = resampling.resample(**given, key=arguments.seed, progress=progress(arguments, "resamples"))
    return dict(zip(chosen, found, strict=True))


def _given(arguments: Namespace, chosen: Mapping[str, Any], scheme: Any) -> dict[str, Any]:
    """Arguments of resamples and of their plan.

    Raises:
        ValueError: there is no such --target.
    """
    features, options = read_targeted(arguments, chosen)
    options |= {"scheme": scheme, "n_resamples": arguments.resamples or _default_resamples(scheme)}
    return {"features": features, "measure": list(chosen.values())} | options


def pairs(resamples: Any, level: float | None) -> tuple[list[str], list[list[Any]]]:
    """One row per pair of different networks, once if both orders score the same; p values if there is no level."""
    columns = {"estimate": resamples.estimate}
    if level is None:
        columns["p"] = resamples.p_value()
    else:
        columns["standard error"] = resamples.standard_error()
        columns["low"], columns["high"] = resamples.interval(level)
    scores, unscored = np.stack([np.asarray(v, dtype=float) for v in columns.values()], -1), resamples.unscored()
    more = [UNSCORED] * bool(unscored.any())
    rows = [
        [resamples.names[i], resamples.targets[j], *scores[i, j].tolist(), *(int(unscored[i, j]) for _ in more)]
        for i, j in np.ndindex(scores.shape[:2])
        if not resamples.square or i < j
    ]
    return ["source", "target", *columns, *more], rows
