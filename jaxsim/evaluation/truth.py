"""Measured transfer as a labeled matrix: from a file, from a DataFrame."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import io
from jaxsim.results import Affinity

if TYPE_CHECKING:
    import pandas as pd


def as_affinity(table: "Affinity | pd.DataFrame", what: str) -> Affinity:
    """A labeled matrix as a record: an `Affinity` as it is, a DataFrame with its labels as names.

    Args:
        table: an `Affinity`, or a pandas DataFrame with sources as rows and targets as columns.
        what: how an error message is to call it.

    Raises:
        TypeError: it is neither.
        ValueError: two rows or two columns have the same name.
    """
    if not isinstance(table, Affinity):
        if not all(hasattr(table, name) for name in ("index", "columns", "to_numpy")):
            kind = type(table).__name__
            known = f"{what} must be an Affinity or a pandas DataFrame with names, not {kind}"
            raise TypeError(known + (": give its matrix()." if hasattr(table, "matrix") else "."))
        names, targets = tuple(map(str, table.index)), tuple(map(str, table.columns))
        table = Affinity.from_array(table.to_numpy(dtype=np.float64), names, targets, measure=what)
    for labels in (table.names, table.targets):
        twice = sorted({n for n in labels if labels.count(n) > 1})
        if twice:
            raise ValueError(f"{what} has more than one row or column named {', '.join(twice)}.")
    return table


def load_truth(path: str | Path, key: str | None = None) -> Affinity:
    r"""Read a matrix of transfer performance, sources as rows and targets as columns; higher is better.

    Args:
        path: CSV or npz matrix with names, or one of the pickles released with Taskonomy.
        key: which array of an npz file.

    Returns:
        A record whose measure is the file's name (and the key) and whose `images` is None: files of this kind
        do not say how many images they rest on. Pairs that the file does not hold are NaN.

    Raises:
        ValueError: the file does not hold one matrix with names.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "transfer.csv"
        >>> _ = path.write_text("source,depth,edges\ndepth,0.9,0.2\nedges,0.1,0.8\n")
        >>> load_truth(path).ranking("edges")
        [('depth', 0.2)]
    """
    values, names, targets = io.read_matrix(path, key)
    name = Path(path).name if key is None else f"{Path(path).name}: {key}"
    return as_affinity(Affinity.from_array(values, names, targets, measure=name), str(path))
