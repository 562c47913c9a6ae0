"""Compare models with the RDMs of subjects.

MODELS and SUBJECTS are files or folders of maps (RDMs): mat, npy, npz, h5, csv and others, square or condensed,
single or stacked, with images in the same order. Arrays in MODELS with any other shape are features (images, ...,
channels), and --measure turns them into maps. A model's score is its mean over subjects.

What errors, intervals and p values generalize to (--over):
  both      new subjects and new images; the default
  images    new images, with these subjects fixed
  subjects  new subjects, with these images fixed

Tests (--test):
  t          Student's t, with (subjects - 1) to four times as many degrees of freedom; the default
  bootstrap  shares of the resamples; rejects too often with few subjects
  rank       Wilcoxon's signed ranks over subjects, images fixed; needs six subjects to find a difference

p zero is one-sided, against a mean score of zero. p ceiling is for the difference from the lower noise ceiling
(each subject compared with the mean of the others). Adjusted p is for the difference of two models, adjusted for
all pairs.

Writes to DIR:
  comparison.npz  all scores, errors, p values and resamples; jaxsim.load reads it
  models.csv      per model: score, error, ends of the interval, p zero, p ceiling
  pairs.csv       per pair of models: difference, error, p, adjusted p
  comparison.png  models with intervals, noise ceiling and significance
  report.html     with --report, everything on one page for a browser

Examples:
  jaxsim rdm models.mat --against brains.mat --out results
  jaxsim rdm models.mat networks.npz --against brains.mat --subject-of " | Session" --measure rsa --out results
  jaxsim rdm models.npz --against brains.npz --compare spearman --squared --out results
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsim import inference, io, measures
from jaxsim.cli.arguments import add_channels, add_computing, add_draws, add_output, add_report, count, refuse
from jaxsim.cli.inputs import ROWS, as_asked, ids_of
from jaxsim.cli.output import (
    REPORT,
    note,
    records,
    report,
    report_files,
    save_figure,
    save_report,
    staged,
    table,
    write_rows,
)
from jaxsim.inference.verbs import COMPARATORS, holds_maps
from jaxsim.inputs import unfold_map
from jaxsim.io.files import few, repeated
from jaxsim.plotting import model_scores
from jaxsim.results import ModelComparison
from jaxsim.results.model_comparisons import TESTS
from jaxsim.results.tables import flagged, p_value
from jaxsim.statistics.mean_scores import OVER

FILES = ("comparison.npz", "models.csv", "pairs.csv", "comparison.png")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument(
        "models", metavar="MODELS", nargs="+", help="files or folders with the maps or features of the models"
    )
    text = "file or folder with the maps of subjects; repeatable"
    command.add_argument("--against", metavar="SUBJECTS", action="append", required=True, help=text)
    text = "comparator of maps: %(choices)s; default: %(default)s"
    command.add_argument("--compare", metavar="NAME", choices=COMPARATORS, default="rho-a", help=text)
    text = "name from `jaxsim measures`; makes maps of models that are features; default: rsa"
    command.add_argument("--measure", metavar="NAME", help=text)
    add_channels(command)
    text = (
        "average the maps of each subject; TEXT is what follows the subject's name in the names of maps, such as "
        "_session"
    )
    command.add_argument("--subject-of", metavar="TEXT", help=text)
    text = "what the results generalize to, see above: %(choices)s; default: %(default)s"
    command.add_argument("--over", metavar="WHAT", choices=OVER, default="both", help=text)
    command.add_argument(
        "--test", metavar="NAME", choices=TESTS, default="t", help="one of %(choices)s; default: %(default)s"
    )
    text = "square every subject's score, as Net2Brain and Algonauts do: the sign is lost, so there is no p zero"
    command.add_argument("--squared", action="store_true", help=text)
    command.add_argument(
        "--resamples", type=count, default=1000, metavar="B", help="number of resamples; default: %(default)s"
    )
    add_draws(command)
    add_computing(command, of="MODELS", devices=False)
    add_output(command)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Compare the models."""
    if arguments.measure is not None and measures.is_comparator(arguments.measure):
        raise ValueError(f"--measure makes maps of features; to compare maps, give --compare {arguments.measure}.")
    measure = None if arguments.measure is None else measures.by_name(arguments.measure)
    names = [*FILES, *report_files(arguments)]
    with staged(arguments, names) as out:
        found = _compare(arguments, measure)
        found.save(out / FILES[0])
        write_rows(out / FILES[1], *found.rows())
        write_rows(out / FILES[2], *found.pair_rows())
        save_figure(arguments, model_scores(found), out / FILES[3])
        if arguments.report:
            save_report(arguments, out / REPORT, found, level=arguments.level)
    values = {
        "models": records(*found.rows()),
        "pairs": records(*found.pair_rows()),
        "ceiling": {
            name: [float(v) for v in np.asarray(bound)]
            for name, bound in (("value", found.ceiling), ("low", found.ceiling_low), ("high", found.ceiling_high))
        },
    }
    settings = {name: getattr(arguments, name) for name in ("compare", "over", "test", "resamples", "seed", "level")}
    header, rows = found.rows()
    rows = [[*row[:-2], *map(p_value, row[-2:])] for row in rows]
    text = "\n".join([found.title, table(header, rows, limit=ROWS), found.note(), *flagged(found.flags)])
    report(arguments, text, settings | values, names)


def _compare(arguments: Namespace, measure: Any) -> ModelComparison:
    models, ids = _read(arguments, arguments.models, "models")
    subjects, others = _read(arguments, arguments.against, "maps of subjects")
    ids = ids if arguments.ids is None else ids_of(arguments.ids)
    if ids is None or others is None:
        refuse(arguments, "without image ids of both", "align")
        if ids is not others:
            note(
                arguments,
                "image ids are not used because one side has none; images are taken in the order of the files",
            )
        ids = others = None
    features = any(not holds_maps(x) for x in models.values())
    if not features:
        refuse(arguments, "on models that are all maps", "measure", "channels")
    return inference.compare_models(
        models,
        subjects,
        arguments.compare,
        measure=(measure or measures.by_name("rsa")) if features else None,
        over=arguments.over,
        test=arguments.test,
        n_resamples=arguments.resamples,
        key=arguments.seed,
        level=arguments.level,
        subject_of=_subject_of(arguments, list(subjects)),
        squared=arguments.squared,
        ids=ids,
        subject_ids=others,
        align=arguments.align,
        memory=arguments.memory,
        channels=arguments.channels,
    )


def _read(arguments: Namespace, paths: list[str], what: str) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays by name, with stacks of maps split up, and their image ids if all have some.

    Raises:
        ValueError: two have the same name, or images are to be matched by ids that some lack.
    """
    found: dict[str, np.ndarray] = {}
    ids: dict[str, Any] = {}
    for path in paths:
        read, own = io.read_features(path, stack=False)
        for name, x in read.items():
            each = unfold_map(name, x) if holds_maps(x, what != "models" or arguments.measure is None) else {name: x}
            if twice := repeated([*found, *each]):
                raise ValueError(f"two of the {what} have the name {twice[0]!r}, one of them in {path}; rename it.")
            found |= each
            if own is not None:
                ids |= dict.fromkeys(each, own[name] if isinstance(own, dict) else own)
    found = as_asked(arguments, found)
    shapes = sorted({str(x.shape) for x in found.values()})
    note(arguments, f"{', '.join(paths)}: {len(found)} {what} of shape {', '.join(shapes[:5])}")
    without = [name for name in found if name not in ids]
    if ids and without:
        if arguments.align:
            raise ValueError(f"--align matches images by ids, and {few(without, 3)} of the {what} have none.")
        note(
            arguments,
            f"image ids of {what} are not used because {few(without, 3)} have none; images are taken in the order of "
            "the files",
        )
    return found, None if without else ids


def _subject_of(arguments: Namespace, names: list[str]) -> Callable[[str], str] | None:
    text = arguments.subject_of
    if text is None:
        return None
    if not any(text in name for name in names):
        raise ValueError(f"no map of a subject has --subject-of {text!r} in its name; the first map is {names[0]!r}.")
    return lambda name: name.partition(text)[0]
