"""Output of commands: files written whole or not at all, and text on the two streams."""

import contextlib
import csv
import errno
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxsim.io import files
from jaxsim.io.files import finite

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Error numbers of a full disk."""


@contextlib.contextmanager
def staged(folder: str | Path, names: Sequence[str], *, overwrite: bool) -> Iterator[Path]:
    """Give a hidden temporary folder, and move what was written there to `folder` when the block has ended.

    What is in the way is found before the block runs. If the block raises anything, KeyboardInterrupt
    included, `folder` stays as it was.

    Args:
        folder: where the files are to be.
        names: the files, relative to `folder`.
        overwrite: replace files that are there already.

    Raises:
        FileExistsError: a file is there and `overwrite` is False.
        OSError: `folder` is a file, or cannot be written, or the disk is full.
    """
    folder, what = Path(folder), f"--out {folder}"
    near = check(folder, names, overwrite)
    with files.one_sentence(what):
        temporary = Path(tempfile.mkdtemp(prefix=".jaxsim-", dir=near))
    try:
        yield temporary
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / name, folder / name)
    except OSError as error:
        nameless = error.strerror is not None and error.filename is None  # the system's own, of no file
        if str(temporary) in f"{error.filename} {error}" or (nameless and error.errno in FULL):
            raise files.unwritable(what, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check(folder: Path, names: Sequence[str], overwrite: bool) -> Path:
    """Refuse an output folder that is a file, cannot be written, or holds one of the files already.

    Gives the nearest folder on the way to it that is there.
    """
    near = files.check(folder, f"--out {folder}")
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise FileExistsError(f"{folder / there[0]} already exists; give --overwrite to replace it.")
    for name in there:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{folder / name} is a directory and cannot be replaced by a file.")
    return near


def emit(arguments: Any, text: str, values: dict[str, Any]) -> None:
    """Print the table for people, or with --json the values for machines, on standard output."""
    if arguments.json:
        whole = {"command": arguments.command} | values
        sys.stdout.write(json.dumps(finite(whole), allow_nan=False, default=_plain) + "\n")
    else:
        sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value.tolist()


def note(arguments: Any, text: str) -> None:
    """Print a line on standard error unless --quiet."""
    if not arguments.quiet:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def progress(arguments: Any, what: str) -> Callable[[int, int], None] | None:
    """A function of (done, total) that keeps one line on a terminal, or prints a line every ten seconds."""
    if arguments.quiet:
        return None
    terminal, state = sys.stderr.isatty(), {"last": time.monotonic()}

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if terminal:
            sys.stderr.write(f"\r{what}: {done} of {total}" + ("\n" if done >= total else ""))
        elif now - state["last"] >= 10 or done >= total:
            state["last"] = now
            sys.stderr.write(f"{what}: {done} of {total}\n")
        sys.stderr.flush()

    return show


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, limit: int | None = None) -> str:
    """Columns of text: words on the left, numbers on the right; past `limit` rows, how many more."""
    shown = [[_cell(c) for c in row] for row in rows[:limit]]
    right = [all(isinstance(row[i], int | float) or row[i] == "" for row in rows) for i in range(len(header))]
    widths = [max(len(line[i]) for line in [list(header), *shown]) for i in range(len(header))]
    lines = []
    for line in [list(header), *shown]:
        cells = zip(line, widths, right, strict=True)
        lines.append("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in cells).rstrip())
    if limit is not None and len(rows) > limit:
        lines.append(f"... and {len(rows) - limit} more")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_rows(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """Write a table as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
