"""Records of matrices: scores of networks with networks, and maps of images."""

from typing import Any

import numpy as np

from jaxsim.results.saved import Provenance, Saved, record


class UndefinedScores(RuntimeWarning):
    """Some scores are NaN because a network's map has no value."""


def _frame(values, rows, columns):
    import pandas as pd

    return pd.DataFrame(np.asarray(values), index=list(rows), columns=list(columns))


@record(arrays=("values", "images"))
class Affinity(Saved):
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

    @property
    def square(self) -> bool:
        """Whether rows and columns are the same networks."""
        return self.names == self.targets and not self.against

    def ranking(self, target: str) -> list[tuple[str, float]]:
        """Sources by similarity to `target`, best first, the target itself left out.

        Raises:
            KeyError: no column has that name.
        """
        if target not in self.targets:
            raise KeyError(f"no target is named {target!r}; there are {', '.join(self.targets)}")
        column = np.asarray(self.values)[:, self.targets.index(target)]
        pairs = [(n, float(v)) for n, v in zip(self.names, column, strict=True) if n != target or self.against]
        return sorted(pairs, key=lambda p: (np.isnan(p[1]), -p[1]))

    def to_pandas(self):
        """A DataFrame with sources as rows and targets as columns."""
        return _frame(self.values, self.names, self.targets)

    def to_xarray(self):
        """A DataArray with dimensions `source` and `target`."""
        import xarray as xr

        coords = {"source": list(self.names), "target": list(self.targets)}
        return xr.DataArray(np.asarray(self.values), coords, ("source", "target"), self.provenance.measure)


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

    def to_xarray(self):
        """A DataArray with dimensions `network`, `image`, `other_image`."""
        import xarray as xr

        images = list(self.ids) if self.ids else np.arange(self.values.shape[1])
        coords = {"network": list(self.names), "image": images, "other_image": images}
        return xr.DataArray(np.asarray(self.values), coords, ("network", "image", "other_image"))
