"""Lists of files and split files, and errors that name missing files."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxsim.io.files import few, repeated


def folder_of(path: str | Path) -> Path:
    """Check that a path is a folder.

    Raises:
        FileNotFoundError: it is not.
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"{path} does not exist or is not a folder.")
    return Path(path)


def names_in(folder: Path) -> set[str]:
    """Names of the files in a folder, without hidden ones, such as those that macOS adds.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    with os.scandir(folder_of(folder)) as entries:
        return {entry.name for entry in entries if not entry.name.startswith(".")}


def read_split(path: str | Path) -> tuple[str, ...]:
    """Read picture ids from a split file, one per line; text after a blank is ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names no pictures, names one twice, or is not text.
    """
    ids = tuple(line.split()[0] for line in _text(path).splitlines() if line.strip())
    if not ids:
        raise ValueError(f"{path} names no pictures.")
    if twice := repeated(ids):
        raise ValueError(f"{path} names {twice[0]!r} twice.")
    return ids


def _text(path: str | Path) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file.") from error


def require(folder: Path, ids: Sequence[str], suffix: str, source: str | Path) -> None:
    """Check that a folder contains `id + suffix` for every id that `source` names.

    Raises:
        FileNotFoundError: the folder does not exist, or files are missing; the message names the first few and their
            number.
    """
    found = names_in(folder)
    absent = [name + suffix for name in ids if name + suffix not in found]
    if absent:
        raise absent_files(folder, absent, len(ids), source)


def absent_files(folder: Path, absent: Sequence[str], count: int, source: str | Path) -> FileNotFoundError:
    """The error for files that `source` names but the folder lacks."""
    return FileNotFoundError(f"{folder} lacks {len(absent)} of the {count} files that {source} names: {few(absent)}.")


def read_buildings(path: str | Path, split: str) -> tuple[str, ...]:
    r"""Read the buildings of one split from a Taskonomy csv: columns id, train, val and test of zeros and ones.

    The published files end lines with a lone carriage return; any line ending is accepted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no such split, the split is empty, or it is not such a file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "train_val_test_tiny.csv"
    >>> _ = file.write_bytes(b"id,train,val,test\rhanson,1,0,0\rihlen,0,0,1")
    >>> read_buildings(file, "train")
    ('hanson',)
    """
    try:
        rows = list(csv.DictReader(_text(path).splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path} is not a list of splits: {error}.") from error
    columns = [] if not rows else [name for name in rows[0] if name is not None]
    if "id" not in columns:
        raise ValueError(f"{path} is not a list of splits: it has no column 'id'.")
    if split not in columns or split == "id":
        raise ValueError(f"{path} has no split {split!r}; it has {_words(columns)}.")
    strange = [row["id"] for row in rows if row[split] not in ("0", "1")]
    if strange:
        raise ValueError(f"{path} has neither 0 nor 1 in column {split!r} for {few(strange)}.")
    found = tuple(row["id"] for row in rows if row[split] == "1")
    if not found:
        raise ValueError(f"{path} names no buildings of split {split!r}.")
    return found


def _words(columns: Iterable[str]) -> str:
    return ", ".join(name for name in columns if name != "id")
