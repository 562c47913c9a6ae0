"""The record of per-image scores."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsim.io.files import repeated
from jaxsim.results import tables
from jaxsim.results.matrices import Affinity, wrong_labels
from jaxsim.results.saved import Provenance, Saved, on_host, record


@record(arrays={"values": ("ids", "names", "names")}, check=wrong_labels)
class ImageScores(Saved):
    """Scores of networks with networks on each image. Their mean is the affinity.

    `affinity()` computes that mean; `js.resample_scores` resamples the images.

    Attributes:
        values: `(n, T, T)`. Higher is more similar. NaN where a network's map of an image has no value.
        names: names of the networks.
        ids: labels of the images.
        provenance: measure, dtype, device and versions.
    """

    values: Any
    names: tuple[str, ...]
    ids: tuple[str, ...]
    provenance: Provenance

    @property
    def undefined(self) -> tuple[tuple[str, int], ...]:
        """Networks that lack scores on some images, with the number of those images."""
        own = (~np.isfinite(np.diagonal(on_host(self.values), axis1=1, axis2=2))).sum(0)
        return tuple((name, int(count)) for name, count in zip(self.names, own, strict=True) if count)

    def affinity(self) -> Affinity:
        """Mean over images; NaN for a pair that lacks a finite score on any image.

        Raises:
            ValueError: two networks have the same name, or two images the same id.
        """
        refuse_repeated(self.names, self.ids)
        values = jnp.asarray(self.values)
        values = jnp.mean(jnp.where(jnp.isfinite(values), values, jnp.nan), 0)
        images = np.full(values.shape, len(self.ids))
        return Affinity(values, images, self.names, self.names, self.provenance, self.undefined)

    def table(self) -> tables.Table:
        """Means over images."""
        return self.affinity().table()

    def to_xarray(self):
        """Convert to a DataArray with dimensions `image`, `source` and `target`."""
        import xarray as xr

        coords = {"image": list(self.ids), "source": list(self.names), "target": list(self.names)}
        return xr.DataArray(on_host(self.values), coords, tuple(coords), self.provenance.measure)


def refuse_repeated(names: Sequence[str], ids: Sequence[str]) -> None:
    """Raise an error on repeated labels, which would count a network or an image twice.

    Raises:
        ValueError: two networks have the same name, or two images the same id.
    """
    for what, labels in (("networks are both named", names), ("images both have the id", ids)):
        if twice := repeated(labels):
            raise ValueError(f"two {what} {twice[0]!r}; scores of images need labels that differ.")
