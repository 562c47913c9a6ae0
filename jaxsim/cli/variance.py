"""Find how many images you need: how errors of scores depend on their number.

Scores are resampled with several numbers of images (--sizes), by several schemes (--scheme), all in one call. Each
standard error is that of a new sample of that size. A bias is the expected score at that size minus the score on
all images. Rank stability is the expected correlation between the source rankings of two samples of that size.

Schemes (--scheme, repeatable; default: all):
  half-samples        disjoint halves of m images, everything refitted
  subsample           m images without replacement, everything refitted; corrected for the finite number of images
  bootstrap           m images drawn with replacement
  bayesian-bootstrap  continuous random weights, as uneven as those of m images

With --error E or --stability S, also says how many images are needed, by the first scheme. It fits the curve
a / n + b / n^2 to the sizes, for E^2 or (1 - S) / S of the pair or target that needs the most. The answer says if
the numbers do not follow that curve, and if more images are needed than you have.

Writes to DIR, or with several measures to DIR/MEASURE:
  variance.npz  all errors, biases and stabilities; jaxsim.load reads it
  variance.csv  the same: one row per scheme, size, number of resamples and pair
  variance.png  the three against the number of images
  report.html   with --report, the answers on one page for a browser

Examples:
  jaxsim variance features.npz --measure cka-linear --out results
  jaxsim variance features.npz --sizes 25,50,100,200 --error 0.02 --stability 0.9 --out results
  jaxsim variance features.npz --measure rsa --measure cka-linear --groups classes.txt --out results
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import Any

from jaxsim import variance
from jaxsim.cli.arguments import (
    add_computing,
    add_features,
    add_labels,
    add_measures,
    add_output,
    add_report,
    add_seed,
    count,
    positive,
    refuse,
    share,
)
from jaxsim.cli.inputs import read_labels, read_measures, read_targeted
from jaxsim.cli.output import (
    REPORT,
    progress,
    records,
    report,
    report_files,
    save_figure,
    save_report,
    staged,
    subfolders,
    write_rows,
)
from jaxsim.results import VarianceStudy

FILES = ("variance.npz", "variance.csv", "variance.png")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_features(command)
    add_measures(command, "rsa")
    text = "numbers of images, or of --groups, ascending; default: 1/16, 1/8, 1/4 and 1/2 of all"
    command.add_argument("--sizes", type=_sizes, metavar="LIST", help=text)
    text = "how to resample, see above; repeatable; default: all four"
    command.add_argument("--scheme", metavar="NAME", action="append", help=text)
    text = "number of resamples of each size and scheme, must be even; default: %(default)s"
    command.add_argument("--resamples", type=count, default=200, metavar="B", help=text)
    command.add_argument("--error", type=positive, metavar="E", help="standard error you want, such as 0.02")
    command.add_argument("--stability", type=share, metavar="S", help="rank stability you want, such as 0.9")
    command.add_argument("--target", metavar="NAME", help="answer for this target only; default: the worst of all")
    add_labels(command)
    add_seed(command)
    add_computing(command, devices=False)
    add_output(command)
    add_report(command)


def run(arguments: Namespace) -> None:
    """Study each measure."""
    if arguments.error is None and arguments.stability is None:
        refuse(arguments, "without --error or --stability", "target")
    chosen = read_measures(arguments, maps=True)
    folders = subfolders(chosen)
    names = [folder + name for folder in folders.values() for name in (*FILES, *report_files(arguments))]
    texts, values = [], []
    with staged(arguments, names) as out:
        for label, found in _studies(arguments, chosen).items():
            folder = out / folders[label]
            folder.mkdir(exist_ok=True)
            answers = _answers(arguments, found)
            found.save(folder / FILES[0])
            table = found.rows()
            write_rows(folder / FILES[1], *table)
            figure = found.plot(error=arguments.error, stability=arguments.stability)
            save_figure(arguments, figure, folder / FILES[2])
            if arguments.report:
                save_report(arguments, folder / REPORT, found)
            texts.append("\n".join([str(found), *map(str, answers.values())]))
            said = {name: answer._asdict() for name, answer in answers.items()}
            values.append({"measure": label, "pairs": records(*table), "answers": said})
    report(arguments, "\n\n".join(texts), {"seed": arguments.seed, "studies": values}, names)


def _studies(arguments: Namespace, chosen: Mapping[str, Any]) -> dict[str, VarianceStudy]:
    """A study of each measure.

    Raises:
        ValueError: there is no such --target.
    """
    features, options = read_targeted(arguments, chosen)
    options |= {**read_labels(arguments), **({"schemes": arguments.scheme} if arguments.scheme else {})}
    found = variance.variance_study(
        features,
        list(chosen.values()),
        sizes=arguments.sizes,
        n_resamples=arguments.resamples,
        key=arguments.seed,
        progress=progress(arguments, "resamples"),
        **options,
    )
    return dict(zip(chosen, found, strict=True))


def _answers(arguments: Namespace, found: VarianceStudy) -> dict[str, Any]:
    """Answers on the numbers of images needed."""
    answers = {}
    if arguments.error is not None:
        answers["error"] = found.images_for(arguments.error, target=arguments.target)
    if arguments.stability is not None:
        answers["stability"] = found.images_for_stability(arguments.stability, arguments.target)
    return answers


def _sizes(text: str) -> tuple[int, ...]:
    """Comma-separated whole numbers."""
    parts = [part.strip() for part in text.split(",")]
    if odd := [part for part in parts if not part.isdecimal()]:
        raise ArgumentTypeError(f"{odd[0]!r} is not a whole number; give numbers of images such as 25,50,100")
    return tuple(map(int, parts))
