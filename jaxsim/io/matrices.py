"""Matrices of sources by targets with their names: reads transfer ground truth, writes labeled CSV."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io.arrays import naming, read_npz, texts
from jaxsim.io.files import parse_json, printable, repeated, warn, write_text
from jaxsim.io.pickles import load_pickle
from jaxsim.io.tables import read_rows, warn_of_rounded

TASKONOMY_17 = (
    "autoencoder",
    "curvature",
    "denoise",
    "edge2d",
    "edge3d",
    "keypoint2d",
    "keypoint3d",
    "reshade",
    "rgb2depth",
    "rgb2mist",
    "rgb2sfnorm",
    "room_layout",
    "segment25d",
    "segment2d",
    "vanishing_point_well_defined",
    "segmentsemantic_rb",
    "class_1000",
)
"""The 17 Taskonomy tasks that DDS compares, in the order of its code (Dwivedi et al. 2020)."""

_TABLES = (".csv", ".tsv", ".txt")
Labeled = tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]
Named = tuple[np.ndarray, list[str], list[str]]


def write_csv_matrix(
    path: str | Path, values: Any, names: Sequence[str], targets: Sequence[str], *, overwrite: bool = False
) -> Path:
    """Write a matrix as CSV, with targets in the first row, names in the first column and an empty top-left cell.

    Numbers have enough digits to read back the same float64. Control characters in names are escaped, so that
    displaying the file is safe.

    Raises:
        ValueError: `values` does not have shape `(len(names), len(targets))`.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.csv"
        >>> print(write_csv_matrix(path, [[1.0, 0.1]], ["a"], ["b", "c"]).read_text(), end="")
        ,b,c
        a,1.0,0.1
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(names), len(targets)):
        raise ValueError(
            f"{path} was not written: the matrix has shape {values.shape}, but {len(names)} names "
            f"and {len(targets)} targets were given."
        )
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["", *map(printable, targets)])
    rows.writerows([printable(name), *map(repr, row)] for name, row in zip(names, values.tolist(), strict=True))
    return write_text(path, text.getvalue(), overwrite=overwrite)


def read_matrix(path: str | Path, key: str | None = None) -> Labeled:
    """Read a matrix of sources (rows) by targets (columns), such as measured transfer.

    `path` may be

    * `.pkl`, `.pickle`: a dict of `source__target` -> number, as Taskonomy releases its affinities and win rates, read
      through an allow-list. Keys of higher order (`source1__source2__target`) are left out, and a warning says how
      many; a pair without a key is NaN. Tasks are in the order of `TASKONOMY_17`, followed by the others by name;
    * `.csv`, `.tsv`, `.txt`: as written by `write_csv_matrix`, separated by commas, semicolons, tabs or spaces; an
      empty cell is NaN;
    * `.npz`: a two-axis entry with its names in `KEY__sources` and `KEY__targets`, in `names` (and `targets` if the
      columns differ), in `tasks`, or in a saved record. `key` selects the entry; by default it is `values`, or the only
      two-axis entry.

    Returns:
        values: `(S, T)` float64, in the file's unit and sign.
        names: the S sources.
        targets: the T targets.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the suffix is unknown, the file is damaged, `key` is missing or ambiguous (the message lists the
            entries), names are missing, repeated or of the wrong number, or cells are not numbers.

    Example:
        >>> import tempfile
        >>> path = write_csv_matrix(Path(tempfile.mkdtemp()) / "scores.csv", [[1.0, 0.1]], ["a"], ["b", "c"])
        >>> read_matrix(path)
        (array([[1. , 0.1]]), ('a',), ('b', 'c'))
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    if suffix == ".npz":
        return _checked(path, *_from_npz(path, read_npz(path), key))
    if suffix not in (*_TABLES, ".pkl", ".pickle"):
        known = ", ".join((".npz", *_TABLES, ".pkl"))
        raise ValueError(f"{path} has the unknown suffix {suffix!r}: matrices are read from {known}.")
    if key is not None:
        raise ValueError(f"{path} has only one matrix, so there is no entry {key!r} to choose.")
    return _checked(path, *(_from_csv(path) if suffix in _TABLES else _from_pickle(path)))


def _checked(path: Path, values: np.ndarray, names: Iterable[str], targets: Iterable[str]) -> Labeled:
    names, targets = tuple(names), tuple(targets)
    for axis, labels in (("rows", names), ("columns", targets)):
        twice = repeated(labels)
        if twice:
            raise ValueError(f"{path} has two {axis} named {twice[0]!r}.")
    if values.shape != (len(names), len(targets)):
        raise ValueError(
            f"{path} has a matrix of shape {values.shape} with {len(names)} row names and {len(targets)} column names."
        )
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path} has a matrix of dtype {values.dtype}; real numbers are needed.")
    return values.astype(np.float64), names, targets


def read_transfers(path: str | Path) -> dict[tuple[tuple[str, ...], str], float]:
    """Read transfers of any order from a pickle released with Taskonomy, for `taxonomy.choose_sources`.

    Returns:
        The score of each `(sources, target)`, with targets in the order of `read_matrix`. The file's source `self`, the
        network trained on the target with all its labels, is the target's own network. If the file also has transfer
        from that network to its own task, the better of the two is used.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has no numbers under `source1__source2__target`.
    """
    scores: dict[tuple[tuple[str, ...], str], float] = {}
    for (used, target), score in _pickled(Path(path)).items():
        key = (tuple(target if name == "self" else name for name in used), target)
        scores[key] = max(score, scores.get(key, score))
    order = _task_order({target for _, target in scores})
    return dict(sorted(scores.items(), key=lambda item: order.index(item[0][1])))


def _pickled(path: Path) -> dict[tuple[tuple[str, ...], str], float]:
    table = load_pickle(path)
    if not isinstance(table, dict) or not table:
        raise ValueError(f"{path} contains a pickled {type(table).__name__}, not a dict of 'source__target' keys.")
    scores: dict[tuple[tuple[str, ...], str], float] = {}
    for key, value in table.items():
        parts = key.split("__") if isinstance(key, str) else []
        if len(parts) < 2 or not all(parts) or not isinstance(value, float | int | np.floating | np.integer):
            raise ValueError(
                f"{path} has the key {key!r}; every key must be 'source__target' with a number as its value."
            )
        scores[tuple(parts[:-1]), parts[-1]] = float(value)
    return scores


def _from_pickle(path: Path) -> Named:
    table = _pickled(path)
    scores = {(used[0], target): score for (used, target), score in table.items() if len(used) == 1}
    if not scores:
        raise ValueError(f"{path} has only keys with several sources, and none of the form 'source__target'.")
    if more := len(table) - len(scores):
        warn(f"{path}: left out {more} of {len(table)} scores, which are for several sources together.")
    names, targets = (_task_order({pair[axis] for pair in scores}) for axis in (0, 1))
    return np.array([[scores.get((s, t), np.nan) for t in targets] for s in names]), names, targets


def _task_order(tasks: set[str]) -> list[str]:
    return [t for t in TASKONOMY_17 if t in tasks] + sorted(tasks.difference(TASKONOMY_17))


def _from_csv(path: Path) -> Named:
    rows = read_rows(path)
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ValueError(f"{path} has no table with names in its first row and first column.")
    targets, names = rows[0][1:], [row[0] for row in rows[1:]]
    for row in rows[1:]:
        if len(row) != len(rows[0]):
            raise ValueError(f"{path} has {len(row)} cells in row {row[0]!r} and {len(rows[0])} in its first row.")
    cells = [[_number(path, c, row[0], t) for c, t in zip(row[1:], targets, strict=True)] for row in rows[1:]]
    warn_of_rounded(path, cells, [row[1:] for row in rows[1:]])
    return np.array(cells, dtype=np.float64), names, targets


def _number(path: Path, cell: str, name: str, target: str) -> float:
    try:
        return float(cell) if cell.strip() else float("nan")
    except ValueError:
        raise ValueError(f"{path} has {cell!r} instead of a number in row {name!r}, column {target!r}.") from None


def _from_npz(path: Path, arrays: Mapping[str, np.ndarray], key: str | None) -> Named:
    matrices = [name for name, values in arrays.items() if values.ndim == 2 and values.dtype.kind in "biuf"]
    listed = ", ".join(matrices) or "none"
    if key is None and "values" in matrices:
        key = "values"
    if key is None and len(matrices) != 1:
        raise ValueError(f"{path} needs a key to choose one of its matrices: {listed}.")
    key = matrices[0] if key is None else key
    if key not in matrices:
        raise ValueError(f"{path} has no matrix {key!r}; its matrices are: {listed}.")
    return arrays[key], *_axes(path, arrays, key)


def _axes(path: Path, arrays: Mapping[str, np.ndarray], key: str) -> tuple[list[str], list[str]]:
    """The row and column names of entry `key`, from the first of the known places that has them."""
    if f"{key}__sources" in arrays and f"{key}__targets" in arrays:
        rows, columns = arrays[f"{key}__sources"], arrays[f"{key}__targets"]
    elif "record_json" in arrays:
        with naming(path):
            record = parse_json(str(arrays["record_json"]))
            rows, columns = record["names"], record.get("targets", record["names"])
    elif "sources" in arrays and "targets" in arrays:
        rows, columns = arrays["sources"], arrays["targets"]
    else:
        rows = arrays.get("names", arrays.get("tasks"))
        columns = arrays.get("targets", rows)
    if rows is None:
        raise ValueError(f"{path} has no names for {key!r}: no 'names', 'tasks' or '{key}__sources' entry.")
    return texts(rows, f"{path}, row names,"), texts(columns, f"{path}, column names,")
