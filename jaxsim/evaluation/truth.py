"""Measured transfer as a labeled matrix, and its alignment with a prediction by name."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxsim import io
from jaxsim.io.files import warn
from jaxsim.results import Affinity, on_host
from jaxsim.statistics.checks import flag

if TYPE_CHECKING:
    import pandas as pd


def as_affinity(table: "Affinity | pd.DataFrame", what: str) -> Affinity:
    """Convert a DataFrame to an `Affinity`; return an `Affinity` unchanged.

    Args:
        table: an `Affinity`, or a pandas DataFrame with sources as rows and targets as columns.
        what: name of the matrix in error messages, and the measure of a converted DataFrame.

    Raises:
        TypeError: the table is neither.
        ValueError: two rows or two columns have the same name.

    Example:
        >>> import pandas as pd
        >>> as_affinity(pd.DataFrame([[1.0, 0.2]], ["edges"], ["edges", "depth"]), "the truth").targets
        ('edges', 'depth')
    """
    if not isinstance(table, Affinity):
        if not all(hasattr(table, name) for name in ("index", "columns", "to_numpy")):
            kind = type(table).__name__
            known = f"{what} must be an Affinity or a pandas DataFrame with names, not {kind}"
            raise TypeError(known + ("; give its matrix()." if hasattr(table, "matrix") else "."))
        names, targets = tuple(map(str, table.index)), tuple(map(str, table.columns))
        return Affinity.from_array(table.to_numpy(dtype=np.float64), names, targets, measure=what)
    return table


def load_truth(path: str | Path, key: str | None = None) -> Affinity:
    r"""Read a matrix of transfer performance.

    Sources are rows, targets are columns, and higher is better.

    Args:
        path: CSV or npz matrix with names, or one of the pickles released with Taskonomy.
        key: name of the array in an npz file.

    Returns:
        A record whose measure is the file's name (and the key) and whose `images` is None, because such files do not
        give the number of images. Pairs missing from the file are NaN.

    Raises:
        ValueError: the file does not contain one matrix with names.

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


class Aligned(NamedTuple):
    """Prediction and truth over their shared networks, in the prediction's order.

    Attributes:
        scores: `(S, T)` float64 prediction, higher is more similar.
        truth: `(S, T)` float64 measured transfer, higher is better.
        finite: `(S, T)` whether both are finite.
        others: `(S, T)` whether, in addition, source and target are different networks.
        rows: `(S,)` positions of the sources in the prediction.
        columns: `(T,)` positions of the targets in the prediction.
        targets: names of the targets.
        own: `(S, T)` whether source and target have the same name.
    """

    scores: np.ndarray
    truth: np.ndarray
    finite: np.ndarray
    others: np.ndarray
    rows: list[int]
    columns: list[int]
    targets: tuple[str, ...]
    own: np.ndarray

    def used(self, diagonal: bool) -> np.ndarray:
        """Entries `(S, T)` that enter the correlations."""
        return self.finite if diagonal else self.others

    def pairs(self, used: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, bool]]:
        """Used scores and truth of each target, and whether a correlation is defined.

        A correlation needs 3 sources and two columns that are not constant.
        """
        pairs = ((self.scores[u, t], self.truth[u, t]) for t, u in enumerate(used.T))
        return [(a, g, bool(a.size >= 3 and np.ptp(a) > 0 and np.ptp(g) > 0)) for a, g in pairs]


def rising(affinity: Affinity) -> np.ndarray:
    """Float64 scores where higher is more similar: the sign of distances and losses is flipped."""
    values = on_host(affinity.values).astype(np.float64)
    return -values if affinity.distance else values


def reordered(matrix: Affinity, names: Sequence[str], targets: Sequence[str]) -> Affinity:
    """Select the rows and columns with these names, in this order."""
    rows, columns = [matrix.names.index(n) for n in names], [matrix.targets.index(t) for t in targets]
    values = on_host(matrix.values)[np.ix_(rows, columns)]
    return Affinity(values, None, tuple(names), tuple(targets), matrix.provenance, distance=matrix.distance)


def warn_of_distances(affinity: Affinity, falls: float | None = None) -> None:
    """Warn about a matrix that contains distances without saying so.

    Args:
        affinity: the matrix.
        falls: mean correlation with the truth, if that is clearly negative.
    """
    values = rising(affinity)
    smallest = False
    if falls is None and affinity.square and len(values) > 2 and np.isfinite(values).all():
        others = np.where(np.eye(len(values), dtype=bool), np.inf, values)
        smallest = bool((np.diag(values) < others.min(0)).all())
    if falls is None and not smallest:
        return
    why = "has its least similar values on the diagonal" if smallest else f"falls where the truth rises ({falls:.2f})"
    held, flag = ("similarities", False) if affinity.distance else ("distances", True)
    remedy = f"if it contains {held}, give js.Affinity.from_array(..., distance={flag})"
    warn(f"the affinity ({affinity.provenance.measure}) {why}; {remedy}.", RuntimeWarning)


def align(affinity: Affinity, truth: Affinity, *, subset: bool) -> Aligned:
    """Select and order the truth's networks to match the affinity.

    Raises:
        ValueError: the truth lacks some networks and `subset` is False, or the two share none.
    """
    subset = flag(subset, "subset")
    names = _shared("sources", affinity.names, truth, truth.names, subset)
    targets = _shared("targets", affinity.targets, truth, truth.targets, subset)
    rows, columns = [affinity.names.index(n) for n in names], [affinity.targets.index(t) for t in targets]
    there = [truth.names.index(n) for n in names], [truth.targets.index(t) for t in targets]
    a, g = rising(affinity)[np.ix_(rows, columns)], rising(truth)[np.ix_(*there)]
    finite = np.isfinite(a) & np.isfinite(g)
    own = np.asarray(names)[:, None] == np.asarray(targets)[None, :]
    return Aligned(a, g, finite, finite & ~own, rows, columns, targets, own)


def _shared(kind, mine, truth, theirs, subset) -> tuple[str, ...]:
    known = set(theirs)
    lacking = [n for n in mine if n not in known]
    if lacking and not subset:
        which = f"the truth ({truth.provenance.measure}) lacks the {kind} {', '.join(lacking)}"
        near = difflib.get_close_matches(str(lacking[0]), [str(n) for n in theirs if n not in mine], 1)
        which += f" (is {lacking[0]} its {near[0]}?)" if near else ""
        raise ValueError(f"{which}; pass subset=True to evaluate only the shared ones.")
    if len(lacking) == len(mine):
        raise ValueError(f"the affinity and the truth ({truth.provenance.measure}) share no {kind}.")
    return tuple(n for n in mine if n in known)


def warn_undefined(targets: tuple[str, ...], defined: list[bool]) -> tuple[str, ...]:
    """Warn about targets whose correlation is undefined, and return the warning as a note."""
    lost = [t for t, fine in zip(targets, defined, strict=True) if not fine]
    if not lost:
        return ()
    note = f"The correlation is undefined for {len(lost)} of {len(targets)} targets: {', '.join(lost)}; "
    note += "a correlation needs at least three sources that are not all equal."
    warn(note, RuntimeWarning)
    return (note,)
