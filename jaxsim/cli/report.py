"""Write results as one HTML report that works offline.

RESULT is a file that another command wrote (affinity.npz, resamples.npz, calibration.npz, taxonomy.npz, ...), or a
folder of such files. The report shows each matrix as a sortable heat map, with score, interval and p value of
every pair, sources ranked for each target, histograms of resamples and the tree; a paragraph on methods with
citations; where the numbers come from; and the commands that reproduce them. A matrix is shown in the order of a
tree of its networks.

`jaxsim affinity`, bootstrap, calibrate, rdm, variance, taxonomy, leaderboard and demo write the same report with
--report.

Examples:
  jaxsim report results --out report.html
  jaxsim report results/resamples.npz tree/taxonomy.npz --title "Twenty encoders" --out report.html
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from jaxsim import results
from jaxsim.cli.arguments import share
from jaxsim.cli.output import emit, note, save_report, staged
from jaxsim.io.arrays import names_in_npz


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("results", metavar="RESULT", nargs="+", help="files of results, or folders of them")
    text = "level of the intervals; default: %(default)s"
    command.add_argument("--level", type=share, default=0.95, metavar="P", help=text)
    command.add_argument("--title", metavar="TEXT", help="title of the page; default: the names of the measures")
    group = command.add_argument_group("output")
    group.add_argument("--out", required=True, metavar="FILE", help="file to write, FILE.html")
    group.add_argument("--overwrite", action="store_true", help="replace an existing file")


def run(arguments: Namespace) -> None:
    """Load the results and write their report.

    Raises:
        ValueError: --out is not an HTML file, or there is no result.
    """
    out = Path(arguments.out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out {out} must be a file that ends in .html.")
    with staged(arguments, [out.name], folder=out.parent) as new:
        found = _load(arguments)
        save_report(arguments, new / out.name, *found.values(), level=arguments.level, title=arguments.title)
    kinds = {path: type(one).__name__ for path, one in found.items()}
    text = "\n".join([f"{out}, a report of:", *(f"  {path}: {kind}" for path, kind in kinds.items())])
    emit(arguments, text, {"file": str(out), "results": kinds})


def _load(arguments: Namespace) -> dict[str, Any]:
    """Records by their files, in the given order; those in a folder by name.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is given twice, is damaged or is not a record, or a folder has none.
    """
    found: dict[str, Any] = {}
    for given in map(Path, arguments.results):
        if not given.exists():
            raise FileNotFoundError(f"{given} does not exist.")
        files = sorted(given.glob("*.npz")) if given.is_dir() else [given]
        ours = [path for path in files if path == given or "record_json" in names_in_npz(path)]
        if others := [path.name for path in files if path not in ours]:
            note(arguments, f"{given}: left out {', '.join(others)}, not results of jaxsim")
        if not ours:
            raise ValueError(
                f"{given} has no results; give a folder with affinity.npz, resamples.npz or similar files."
            )
        for path in ours:
            if str(path) in found:
                raise ValueError(f"{path} is given twice.")
            found[str(path)] = results.load(path)
    return found
