"""Output of commands: files written completely or not at all, and text on the two streams."""

import contextlib
import csv
import dataclasses
import errno
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsim import extras, plotting, reports
from jaxsim.engine.plans import Plan
from jaxsim.io import file_sets, files

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Error numbers for a full disk."""


@contextlib.contextmanager
def staged(arguments: Any, names: Sequence[str], folder: Path | None = None) -> Iterator[Path]:
    """Provide a hidden temporary folder, and move its files to --out after the block: all of them or none.

    Existing files are detected before the block runs. Whatever is raised, including KeyboardInterrupt, --out is left
    unchanged; `arguments.written` says whether the files are there.

    Args:
        arguments: with `out`, and `overwrite` to replace existing files.
        names: the files, relative to the folder; for figures the PNG, which stands for every --format.
        folder: the folder, if --out is a file in it.

    Raises:
        FileExistsError: a file exists and `overwrite` is False.
        MissingExtra: there are figures, and matplotlib is not installed.
        OSError: the folder is a file or cannot be written to, or the disk is full.
        ValueError: it is a folder of features.
    """
    if any(name.endswith(".png") for name in names):
        plotting.require_matplotlib()
    folder, what, names = folder or Path(arguments.out), f"--out {arguments.out}", in_formats(arguments, names)
    for given in getattr(arguments, "features", None) or ():
        if folder.is_dir() and Path(given).is_dir() and folder.samefile(given):
            raise ValueError(
                f"{what} is the folder of the features, where results would be read as features: give another."
            )
    file_sets.clear(folder)
    check(folder, names, arguments.overwrite, what)
    arguments.written = False
    try:
        with file_sets.staged(folder, names, overwrite=arguments.overwrite) as new:
            try:
                yield new
            except KeyboardInterrupt as stop:  # it may be about a folder that the work is done in
                raise KeyboardInterrupt from stop
            for name in names if arguments.spreadsheet else ():
                if name.endswith(".csv"):
                    _neutralize(new / name)
        arguments.written = True
    except OSError as error:
        nameless = error.strerror is not None and error.filename is None  # raised by the system, about no file
        hidden = error.errno is not None and file_sets.HIDDEN.search(f"{error.filename} {error}")
        if hidden or (nameless and error.errno in FULL):
            raise files.unwritable(what, error) from error
        raise


def check(folder: Path, names: Sequence[str], overwrite: bool, what: str | None = None) -> Path:
    """Reject an output folder that is a file, cannot be written to, or already has one of the files.

    Returns:
        The folder, or its nearest parent that exists.
    """
    near = files.check(folder, what or f"--out {folder}")
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise FileExistsError(f"{folder / there[0]} already exists; give --overwrite to replace it.")
    for name in there:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{folder / name} is a directory and cannot be replaced by a file.")
    return near


def report(arguments: Any, text: str, values: dict[str, Any], names: Sequence[str]) -> None:
    """Print the results, and name the files written to --out."""
    names = in_formats(arguments, names)
    emit(arguments, text, values | {"files": [str(Path(arguments.out) / name) for name in names]})
    if names:
        note(arguments, f"wrote {', '.join(names)} to {arguments.out}")


def report_plan(arguments: Any, plan: Plan) -> None:
    """Print a plan with its time."""
    report(arguments, str(plan), {"plan": dataclasses.asdict(plan) | {"seconds": plan.seconds()}}, [])


def emit(arguments: Any, text: str, values: dict[str, Any]) -> None:
    """Print the text, or with --json the values, on standard output."""
    if arguments.json:
        whole = files.finite({"command": arguments.command} | values)
        sys.stdout.write(json.dumps(whole, allow_nan=False, default=_plain) + "\n")
    else:
        sys.stdout.write(lines(text.rstrip("\n")) + "\n")
        arguments.printed = text
    sys.stdout.flush()


def lines(text: str) -> str:
    """Text made safe for a terminal: only its line breaks have an effect."""
    return "\n".join(map(files.printable, text.split("\n")))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value.tolist()


def note(arguments: Any, text: str) -> None:
    """Print a line on standard error unless --quiet."""
    if not arguments.quiet:
        sys.stderr.write(lines(text) + "\n")
        sys.stderr.flush()


def progress(arguments: Any, what: str) -> Callable[[int, int], None] | None:
    """A function of (done, total) that shows both with the rate and the time left; None with --quiet."""
    if arguments.quiet:
        return None
    show = one_line(arguments)
    first: tuple[int, float] | None = None
    last = 0

    def tell(done: int, total: int) -> None:
        nonlocal first, last
        now = time.monotonic()
        if first is None or done < last:
            first = done, now  # compilation comes first; the rate is that of what follows
        last = done
        rate = (done - first[0]) / max(now - first[1], 1e-9)
        parts = [f"{what}: {done} of {total}", *files.pace(rate, (total - done) / rate if rate else None)]
        show(", ".join(parts), done >= total)

    return tell


def one_line(arguments: Any) -> Callable[[str, bool], None]:
    """A function of (text, ended) that updates one line on a terminal, or prints one every ten seconds."""
    terminal, last = sys.stderr.isatty(), time.monotonic()

    def show(text: str, ended: bool) -> None:
        nonlocal last
        now = time.monotonic()
        arguments.progress_shows()
        if terminal or ended or now - last >= 10:
            last = now
            start, end = "\r\x1b[K" * terminal, "\n" * (ended or not terminal)
            sys.stderr.write(f"{start}{lines(text)}{end}")
            sys.stderr.flush()

    return show


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, limit: int | None = None) -> str:
    """Align columns: text left, numbers right, nothing for None; rows beyond `limit` are only counted."""
    shown = [[_cell(c) for c in row] for row in rows[:limit]]
    right = [all(isinstance(row[i], int | float | None) or row[i] == "" for row in rows) for i in range(len(header))]
    widths = [max(len(line[i]) for line in [list(header), *shown]) for i in range(len(header))]
    lines = []
    for line in [list(header), *shown]:
        cells = zip(line, widths, right, strict=True)
        lines.append("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in cells).rstrip())
    if limit is not None and len(rows) > limit:
        lines.append(f"... and {len(rows) - limit} more")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else files.printable(str(value))


def with_notes(tables: Mapping[str, str], notes: Mapping[str, Sequence[str]]) -> str:
    """Tables by name, each with its notes below; notes that several tables all have come once, at the end."""
    first, *others = notes.values()
    common = [one for one in first if others and all(one in some for some in others)]
    own = {name: [one for one in some if one not in common] for name, some in notes.items()}
    return "\n\n".join(["\n".join([name, text, *own[name]]) for name, text in tables.items()] + common)


def records(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a table as dicts, for --json."""
    return [dict(zip(header, row, strict=True)) for row in rows]


def in_formats(arguments: Any, names: Iterable[str]) -> list[str]:
    """Names of files, with each NAME.png once per --format."""
    ends = [f".{one}" for one in getattr(arguments, "format", ("png",))]
    return [name.removesuffix(".png") + end for name in names for end in (ends if name.endswith(".png") else [""])]


REPORT = "report.html"


def report_files(arguments: Any) -> list[str]:
    """The report's file, if a report is requested.

    Raises:
        MissingExtra: Jinja is not installed.
    """
    if not arguments.report:
        return []
    with extras.needed("reports need", install=extras.REPORT):
        import jinja2  # noqa: F401
    return [REPORT]


def save_report(arguments: Any, path: Path, *records: Any, **options: Any) -> None:
    """Write the report of the given records, with the command that made them."""
    given = vars(arguments).get("argv")
    command = None if given is None else shlex.join(["jaxsim", *given])
    shown = [one for one in records if one is not None]
    path.write_text(reports.page(*shown, command=command, **options), encoding="utf-8")


def save_figure(arguments: Any, figure: Any, path: Path) -> None:
    """Write a figure in each --format; `path` is that of its PNG."""
    for name in in_formats(arguments, [str(path)]):
        plotting.save_figure(figure, name)


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        safe = [[files.printable(c) if isinstance(c, str) else c for c in row] for row in [header, *rows]]
        csv.writer(file, lineterminator="\n").writerows(safe)


def _neutralize(path: Path) -> None:
    """Put an apostrophe before CSV text that a spreadsheet would interpret as a formula."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [[f"'{cell}" if _is_formula(cell) else cell for cell in row] for row in csv.reader(file)]
    write_rows(path, rows[0], rows[1:])


def _is_formula(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.startswith(("=", "+", "-", "@"))
    return False


def subfolders(labels: Iterable[str]) -> dict[str, str]:
    """Folder of each measure within --out; a single measure needs none.

    Raises:
        ValueError: two measures would share a folder.
    """
    folders = {label: re.sub(r"[^a-z0-9.]+", "-", label).strip("-") + "/" for label in labels}
    if len(set(folders.values())) < len(folders):
        raise ValueError(f"the measures {', '.join(folders)} need folders with different names.")
    return folders if len(folders) > 1 else dict.fromkeys(folders, "")
