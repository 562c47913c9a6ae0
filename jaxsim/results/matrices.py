"""Records of matrices: scores of networks with networks, and maps of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsim.results import tables
from jaxsim.results.saved import Provenance, Saved, on_host, record


class UndefinedScores(RuntimeWarning):
    """Some scores are NaN because a network's map has no value."""


def _frame(values, rows, columns):
    import pandas as pd

    return pd.DataFrame(on_host(values), index=list(rows), columns=list(columns))


class Scores(Saved):
    """Labels of rows (sources) and columns (targets), for every record of scores."""

    names: tuple[str, ...]
    targets: tuple[str, ...]
    against: bool
    _full_sample = "values"
    """Name of the array `(S, T)` of full-sample scores."""

    @property
    def square(self) -> bool:
        """Whether rows and columns are the same networks."""
        return self.names == self.targets and not self.against

    @property
    def own(self) -> np.ndarray:
        """Whether row and column are the same network, `(S, T)`; equal names in two sets are not."""
        same = np.asarray(self.names, dtype=object)[:, None] == np.asarray(self.targets, dtype=object)[None, :]
        return same & (not self.against)

    def ranking(self, target: str) -> list[tuple[str, float]]:
        """Sources by similarity to `target` in the full sample, best first, the target itself left out.

        Raises:
            KeyError: no column has that name.
        """
        if target not in self.targets:
            raise KeyError(f"no target is named {target!r}; there are {', '.join(self.targets)}")
        column = on_host(getattr(self, self._full_sample))[:, self.targets.index(target)]
        pairs = [(n, float(v)) for n, v in zip(self.names, column, strict=True) if n != target or self.against]
        return sorted(pairs, key=lambda p: (np.isnan(p[1]), -p[1]))


@record(arrays=("values", "images"))
class Affinity(Scores):
    """Similarity scores of networks with networks.

    Attributes:
        values: `(T, T)`, or `(S, T)` for two sets; higher is more similar; NaN where undefined.
        images: number of images behind each score, an integer array of the same shape; None where a file does not say.
        names: names of the rows (sources).
        targets: names of the columns; the same tuple as `names` for a square matrix.
        undefined: pairs of network and the number of its images whose map has no value.
        provenance: measure, dtype, device and versions.
    """

    values: Any
    images: Any
    names: tuple[str, ...]
    targets: tuple[str, ...]
    provenance: Provenance
    undefined: tuple[tuple[str, int], ...] = ()
    against: bool = False
    """Whether the columns are another set of networks, even if their names are the same."""
    _optional = ("images",)

    @classmethod
    def from_array(
        cls,
        values: Any,
        names: Sequence[str],
        targets: Sequence[str] | None = None,
        *,
        measure: str,
        against: bool = False,
    ) -> "Affinity":
        """Numbers that were made elsewhere, such as measured transfer, as a record on the host.

        Args:
            values: `(S, T)`, higher is more similar.
            names: of the rows.
            targets: names of the columns; those of the rows by default.
            measure: what the numbers are.
            against: whether the columns are another set of networks, even if their names are the same.

        Raises:
            ValueError: the values are not one for each name and target.

        Example:
            >>> import jaxsim as js
            >>> wins = js.Affinity.from_array([[0.5, 0.8], [0.2, 0.5]], ["edges", "depth"], measure="win rate")
            >>> wins.ranking("depth")
            [('edges', 0.8)]
        """
        values, names = np.asarray(values), tuple(names)
        targets = names if targets is None else tuple(targets)
        if values.shape != (len(names), len(targets)):
            raise ValueError(f"values of shape {values.shape} are not {len(names)} names by {len(targets)} targets.")
        notes = ("given, not computed here: the number of images is not known",)
        given = Provenance(measure=measure, dtype=str(values.dtype), device="host", notes=notes)
        return cls(values, None, names, targets, given, against=against)

    def table(self) -> tables.Table:
        """Scores of sources (rows) with targets (columns)."""
        images = ""
        if self.images is not None:
            fewest, most = np.min(np.asarray(self.images)), np.max(np.asarray(self.images))
            images = f", {most} images" if fewest == most else f", {fewest} to {most} images"
        title = f"{self.provenance.measure}, {len(self.names)} x {len(self.targets)}{images}"
        return tables.matrix(title, on_host(self.values), self.names, self.targets)

    def to_pandas(self):
        """A DataFrame with sources as rows and targets as columns."""
        return _frame(self.values, self.names, self.targets)

    def to_xarray(self):
        """A DataArray with dimensions `source` and `target`."""
        import xarray as xr

        coords = {"source": list(self.names), "target": list(self.targets)}
        return xr.DataArray(on_host(self.values), coords, ("source", "target"), self.provenance.measure)


@record(arrays=("values",))
class Maps(Saved):
    """Pairwise maps (dissimilarity or kernel matrices) of networks over the same images.

    Attributes:
        values: `(T, n, n)`.
        names: the networks.
        ids: labels of the images, or None.
        provenance: measure, dtype, device and versions.
    """

    values: Any
    names: tuple[str, ...]
    provenance: Provenance
    ids: tuple[str, ...] | None = None

    def table(self) -> tables.Table:
        """Mean and range of the entries between different images, a row a network."""
        i, j = np.triu_indices(np.shape(self.values)[1], 1)
        entries = on_host(self.values)[:, i, j]
        columns = [entries.mean(1), entries.min(1), entries.max(1)]
        rows = [[name, *map(tables.number, row)] for name, row in zip(self.names, np.stack(columns, 1), strict=True)]
        title = f"maps of {self.provenance.measure}, {len(self.names)} networks, {np.shape(self.values)[1]} images"
        return tables.Table(title, ["", "mean", "least", "largest"], rows)

    def to_xarray(self):
        """A DataArray with dimensions `network`, `image`, `other_image`."""
        import xarray as xr

        images = list(self.ids) if self.ids else np.arange(self.values.shape[1])
        coords = {"network": list(self.names), "image": images, "other_image": images}
        return xr.DataArray(on_host(self.values), coords, ("network", "image", "other_image"))
