"""Text tables: csv, tsv, semicolons and spaces, with or without column names and a column of image ids."""

import csv
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from io import StringIO
from pathlib import Path

import numpy as np

from jaxsim.io.arrays import naming
from jaxsim.io.files import counted, warn

_ID_COLUMNS = ("", "id", "ids", "image", "images", "image_id", "image_ids", "index", "name", "file", "filename")
_ID_COLUMNS += ("stimulus", "stimuli", "unnamed: 0")
_MISSING = ("", "na", "n/a", "nan")
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_WORD = re.compile(r'"([^"]*)"|(\S+)')


def read_rows(path: Path) -> list[list[str]]:
    """Rows of cells of a table; blank lines are left out, and decimal commas are converted to points.

    The separator is the first of tab, semicolon, spaces and comma that splits all rows into the same number of cells.
    With spaces, the first row may lack the name of the first column, and lines that start with # are left out.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a text table, or has decimal commas in some cells and points in others.
    """
    with naming(path):
        text = path.read_text(encoding="utf-8-sig")
    first = next((line for line in text.splitlines() if line.strip()), "")
    for separator in "\t;":
        if separator in first:
            rows = _split(text, separator)
            if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
                return _with_points(path, rows)
    if rows := _between_spaces(text):
        return _with_points(path, rows)
    try:
        return _split(text, ",")
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV table: {error}.") from error


def _split(text: str, separator: str) -> list[list[str]]:
    lines = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=separator == ",")
    return [row for row in lines if row and (len(row) > 1 or row[0].strip())]


def _between_spaces(text: str) -> list[list[str]]:
    """Rows of cells separated by spaces; none if the lines are not such a table."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[quoted or plain for quoted, plain in _WORD.findall(line)] for line in lines]
    if len(rows) < 2:
        return []
    if len(rows[0]) == len(rows[1]) - 1:
        rows[0] = ["", *rows[0]]
    alike = len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    numeric = alike and all(_COMMA.fullmatch(cell) or _number(cell) is not None for row in rows[1:] for cell in row[1:])
    return rows if numeric else []


def _with_points(path: Path, rows: list[list[str]]) -> list[list[str]]:
    commas = [cell for row in rows for cell in row if _COMMA.fullmatch(cell.strip())]
    points = [cell for row in rows for cell in row if _POINT.fullmatch(cell.strip())]
    if commas and points:
        raise ValueError(f"{path} has both {commas[0]!r} and {points[0]!r}; write all decimals with points.")
    return [[c.replace(",", ".") if commas and _COMMA.fullmatch(c.strip()) else c for c in row] for row in rows]


def read_table(path: Path) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Features `(n, d)` in float64, one row per image, and the image ids in the first column if it has any.

    The first row gives the column names if it contains text or counts from 0. The first column gives ids if it contains
    text or is named accordingly (`id`, `image`, `name`, ..., or nothing). Empty cells and NA are NaN.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: rows differ in length, or a cell is not a number.
    """
    rows = read_rows(path)
    odd = next((k for k, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if odd is not None:
        raise ValueError(f"{path} has {len(rows[odd])} cells in row {odd + 1} and {len(rows[0])} in its first row.")
    header = rows.pop(0) if rows and _is_header(rows) else None
    if not rows:
        raise ValueError(f"{path} has no rows of numbers.")
    named = header is not None and header[0].strip().lower() in _ID_COLUMNS
    labeled = len(rows[0]) > 1 and (named or any(_number(row[0]) is None for row in rows))
    if not labeled and len(rows[0]) > 1 and len(rows) > 2:
        _warn_of_counts(path, rows)
    names = header or [str(k + 1) for k in range(len(rows[0]))]
    columns = list(enumerate(names))[labeled:]
    cells = [[_cell(path, row[k], i, name) for k, name in columns] for i, row in enumerate(rows, 1)]
    warn_of_rounded(path, cells, [[row[k] for k, _ in columns] for row in rows])
    return np.array(cells, np.float64), tuple(row[0] for row in rows) if labeled else None


def _is_header(rows: list[list[str]]) -> bool:
    first = [cell.strip() for cell in rows[0]]
    counted = [str(k) for k in range(len(first))]
    if len(first) == 1:
        return _number(first[0]) is None
    if any(_number(cell) is None for cell in first[1:]):
        return True
    return first[0].lower() in _ID_COLUMNS or (first == counted and len(first) > 2)


def _number(cell: str) -> float | None:
    """The number in a cell, NaN if it is missing, None for text."""
    cell = cell.strip()
    if cell.lower() in _MISSING:
        return float("nan")
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _cell(path: Path, cell: str, row: int, column: str) -> float:
    value = _number(cell)
    if value is None:
        raise ValueError(f"{path} has {cell!r} instead of a number in row {row}, column {column!r}.")
    return value


def warn_of_rounded(path: Path, values: Sequence[Sequence[float]], cells: Sequence[Sequence[str]]) -> None:
    """Warn about whole numbers in cells that float64 cannot represent."""
    large = np.argwhere(np.abs(np.array(values, np.float64)) >= 2.0**53)
    found = [(cells[i][k].strip(), values[i][k]) for i, k in large.tolist()]
    lost = [(c, v) for c, v in found if _WHOLE.fullmatch(c) and math.isfinite(v) and Decimal(c) != Decimal(v)]
    if lost:
        count = f"{counted(len(lost), 'whole number')} beyond 2^53 that float64 cannot represent"
        warn(f"{path} has {count}: {lost[0][0]} is read as {lost[0][1]:.0f}; subtract an offset first.")


def _warn_of_counts(path: Path, rows: list[list[str]]) -> None:
    first = [_number(row[0]) for row in rows]
    if first in ([*range(len(rows))], [*range(1, len(rows) + 1)]):
        warn(f"{path}: the first column only counts the rows, but is read as a feature; name it id, or leave it out.")
