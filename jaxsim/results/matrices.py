"""Records of matrices: scores of networks with networks, and maps of images."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsim.extras import needed
from jaxsim.foreign_arrays import numeric
from jaxsim.io.files import repeated
from jaxsim.layouts import labels_of
from jaxsim.results import tables
from jaxsim.results.saved import Provenance, Saved, on_host, record
from jaxsim.statistics.intervals import gap


class UndefinedScores(RuntimeWarning):
    """Some scores are NaN because a network's map has no value."""


def _numbers(values: Any, what: str) -> np.ndarray:
    """Convert numbers made elsewhere to a real NumPy array of a floating-point type that files can store.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: the values are lists of different lengths.
    """
    found = np.asarray(numeric(values, what, cast=False))
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def _frame(values, rows, columns):
    import pandas as pd

    return pd.DataFrame(on_host(values), index=list(rows), columns=list(columns))


class Scores(Saved):
    """Labels of rows (sources) and columns (targets), for every record of scores."""

    names: tuple[str, ...]
    targets: tuple[str, ...]
    against: bool
    distance: bool = False
    _full_sample = "values"
    """Name of the array `(S, T)` of full-sample scores."""

    @property
    def square(self) -> bool:
        """Whether rows and columns are the same networks."""
        return self.names == self.targets and not self.against

    @property
    def own(self) -> np.ndarray:
        """Whether row and column are the same network, `(S, T)`.

        In two sets, networks with equal names are the same where the score is 1 up to rounding. The result is a JAX
        array while JAX is tracing such scores.
        """
        same = np.asarray(self.names, dtype=object)[:, None] == np.asarray(self.targets, dtype=object)[None, :]
        if not self.against or not same.any():
            return same
        one = gap(getattr(self, self._full_sample), 1.0) == 0
        return same & (one if isinstance(one, Tracer) else np.asarray(one)) & (not self.distance)

    def ranking(self, target: str) -> list[tuple[str, float]]:
        """Rank sources by similarity to `target` in the full sample, best first, leaving out the target itself.

        In a matrix of two sets, a source with the same name as the target stays.

        Raises:
            ValueError: there is no column of that name.
        """
        column = on_host(getattr(self, self._full_sample))[:, self._place(target, self.targets, "target")]
        pairs = [(n, float(v)) for n, v in zip(self.names, column, strict=True) if n != target or self.against]
        sign = 1 if self.distance else -1
        return sorted(pairs, key=lambda p: (np.isnan(p[1]), sign * p[1]))

    def _place(self, name: str, names: Sequence[str], what: str = "network") -> int:
        if name not in names:
            raise ValueError(f"no {what} is named {name!r}; there are {', '.join(names)}.")
        return names.index(name)


def family(matrix: Any, square: bool) -> Any:
    """Entries as hypotheses, with each pair of a square matrix once: `(..., S, T) -> (..., H)`."""
    if not square:
        return matrix.reshape(*matrix.shape[:-2], -1)
    return matrix[(..., *np.triu_indices(matrix.shape[-1], 1))]


def unfolded(flat: jax.Array, shape: tuple[int, ...], square: bool) -> jax.Array:
    """Invert `family`, with NaN on the diagonal of a square matrix."""
    if not square:
        return flat.reshape(shape)
    return pairs_in_matrix(flat, shape[0])


def pairs_in_matrix(flat: jax.Array, count: int, sign: int = 1, diagonal: float = jnp.nan) -> jax.Array:
    """Matrix of pair values, with `sign` times each value below the diagonal."""
    i, j = np.triu_indices(count, 1)
    return jnp.full((count, count), diagonal, flat.dtype).at[i, j].set(flat).at[j, i].set(sign * flat)


def wrong_labels(found: Any) -> str | None:
    """Find a name that appears twice in a record of scores or maps."""
    for what in ("names", "targets", "ids"):
        if twice := repeated(getattr(found, what, None) or ()):
            return f"it has two {what} {twice[0]!r}"
    return None


def _wrong_affinity(found: "Affinity") -> str | None:
    for what, counts in (("images", found.images), ("pairs", found.pairs)):
        if counts is not None and (counts.dtype.kind not in "iu" or (counts < 0).any()):
            return f"its numbers of {what} are not whole numbers from 0"
    if found.images is not None and found.pairs is not None:
        images = found.images.astype(float)
        if (found.pairs > images * (images - 1) / 2).any():
            return "it has more pairs of images than its images make"
    return wrong_labels(found)


@record(arrays=dict.fromkeys(("values", "images", "pairs"), ("names", "targets")), check=_wrong_affinity)
class Affinity(Scores):
    """Similarity scores of networks with networks.

    Attributes:
        values: `(T, T)`, or `(S, T)` for two sets. Higher is more similar unless `distance`. NaN where undefined.
        images: number of images behind each score, an integer array of the same shape, or None if a file does not say.
        names: names of the rows (sources).
        targets: names of the columns; the same tuple as `names` for a square matrix.
        undefined: pairs of network name and number of images for which its map has no value.
        provenance: measure, dtype, device and versions.
        pairs: number of image pairs behind each score if maps were compared with `missing="pairwise"`, else None.
    """

    values: Any
    images: Any
    names: tuple[str, ...]
    targets: tuple[str, ...]
    provenance: Provenance
    undefined: tuple[tuple[str, int], ...] = ()
    against: bool = False
    """Whether the columns are a second set of networks, even if their names are the same."""
    distance: bool = False
    """Whether lower is more similar (distances, losses)."""
    pairs: Any = None
    _optional = ("images", "pairs")

    @classmethod
    def from_array(
        cls,
        values: Any,
        names: Sequence[str],
        targets: Sequence[str] | None = None,
        *,
        measure: str,
        against: bool = False,
        distance: bool = False,
    ) -> "Affinity":
        """Make a record on the host from numbers made elsewhere, such as measured transfer.

        Args:
            values: `(S, T)`, higher is more similar unless `distance`.
            names: names of the rows.
            targets: names of the columns; the row names by default.
            measure: what the numbers are.
            against: whether the columns are a second set of networks, even if their names are the same.
            distance: whether lower is more similar, as for distances and losses.

        Raises:
            TypeError: the values are not real numbers.
            ValueError: the shape does not match the names and targets, or a name appears twice.

        Example:
            >>> import jaxsim as js
            >>> wins = js.Affinity.from_array([[0.5, 0.8], [0.2, 0.5]], ["edges", "depth"], measure="win rate")
            >>> wins.ranking("depth")
            [('edges', 0.8)]
        """
        values, names = _numbers(values, measure), tuple(map(str, names))
        targets = names if targets is None else tuple(map(str, targets))
        if values.shape != (len(names), len(targets)):
            raise ValueError(f"values of shape {values.shape} are not {len(names)} names by {len(targets)} targets.")
        if twice := repeated(names) or repeated(targets):
            raise ValueError(f"{measure} has more than one row or column named {', '.join(twice)}.")
        notes = ("given, not computed here: the number of images is not known",)
        given = Provenance(measure=measure, dtype=str(values.dtype), device="host", notes=notes)
        return cls(values, None, names, targets, given, against=against, distance=distance)

    def table(self) -> tables.Table:
        """Scores of sources (rows) with targets (columns)."""
        title = ", ".join([self.provenance.measure, f"{len(self.names)} x {len(self.targets)}", *self.counts()])
        title += ", lower is more similar" if self.distance else ""
        return tables.matrix(title, on_host(self.values), self.names, self.targets)

    def counts(self) -> list[str]:
        """Text with the number of images, and of image pairs if maps lack some."""
        said = []
        for what, counts in (("images", self.images), ("pairs", self.pairs)):
            if counts is not None:
                fewest, most = np.min(np.asarray(counts)), np.max(np.asarray(counts))
                said.append(f"{most} {what}" if fewest == most else f"{fewest} to {most} {what}")
        return said

    def to_pandas(self):
        """Convert to a DataFrame with sources as rows and targets as columns."""
        return _frame(self.values, self.names, self.targets)

    def to_xarray(self):
        """Convert to a DataArray with dimensions `source` and `target`."""
        import xarray as xr

        coords = {"source": list(self.names), "target": list(self.targets)}
        return xr.DataArray(on_host(self.values), coords, ("source", "target"), self.provenance.measure)


ONE_MAP = "map"
"""Name of a single map that was given without one."""


def image_count(entries: int) -> int | None:
    """Number of images n of a condensed map with n (n - 1) / 2 entries, or None if there is no such n.

    >>> image_count(6), image_count(7)
    (4, None)
    """
    n = round((1 + (1 + 8 * entries) ** 0.5) / 2)
    return n if n * (n - 1) // 2 == entries and n >= 2 else None


def _labels(descriptors: Mapping[str, Any], count: int | None) -> list[str] | None:
    """The first rsatoolbox descriptor that has a different value for each item."""
    for name, values in descriptors.items():
        texts = [str(v) for v in np.asarray(values).ravel()]
        if name != "index" and len(texts) == count and not repeated(texts):
            return texts
    return None


def square_map(name: str, m: Any) -> Any:
    """Square map `(n, n)`, from a square map or a condensed one in SciPy's order.

    Raises:
        ValueError: the map is neither square and symmetric nor of length n (n - 1) / 2.
    """
    traced = isinstance(m, Tracer)
    if m.ndim == 1:
        n = image_count(m.size)
        if n is None:
            raise ValueError(f"map {name!r} has {m.size} entries, which is not n (n - 1) / 2 for any n.")
        i, j = np.triu_indices(n, 1)
        if traced:
            return jnp.zeros((n, n), m.dtype).at[i, j].set(m).at[j, i].set(m)
        full = np.zeros((n, n), m.dtype)
        full[i, j] = np.asarray(m)
        return full + full.T
    check_square(name, m.shape)
    if not traced:
        host = np.where(np.isfinite(m), m, 0)
        if np.max(np.abs(host - host.T), initial=0) > 1e-4 * np.max(np.abs(host), initial=0):
            raise ValueError(f"map {name!r} is not symmetric; condensed rows are given by name, {{name: row}}.")
    return m


def image_labels(ids: Any, images: int, who: str = "ids") -> tuple[str, ...] | None:
    """Image labels as strings, or None.

    Raises:
        TypeError: JAX is tracing them.
        ValueError: the number of labels is not the number of images, or a label appears twice. The message starts with
            `who`.
    """
    if ids is None:
        return None
    labels = tuple(map(str, labels_of(ids, images, who).tolist()))
    if twice := repeated(labels):
        raise ValueError(f"{who} must differ, and {twice[0]!r} appears more than once.")
    return labels


def check_square(name: str, shape: tuple[int, ...]) -> None:
    """Raise an error if a map is not `(n, n)`.

    Raises:
        ValueError: the map is not square.
    """
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"map {name!r} has shape {tuple(shape)}; it must be (n, n), or condensed to n (n - 1) / 2; features are "
            "compared by a measure such as js.RSA."
        )


@record(arrays={"values": ("names", "ids", "ids")}, check=wrong_labels)
class Maps(Saved):
    """Pairwise maps (dissimilarity or kernel matrices) of networks over the same images.

    Attributes:
        values: `(T, n, n)`.
        names: names of the networks.
        ids: labels of the images, or None.
        condensed: whether the maps were given without a diagonal, which is then zero.
        provenance: measure, dtype, device and versions.
    """

    values: Any
    names: tuple[str, ...]
    provenance: Provenance
    ids: tuple[str, ...] | None = None
    condensed: bool = False

    @classmethod
    def from_array(
        cls,
        values: Any,
        names: Sequence[str] | None = None,
        *,
        ids: Sequence[Any] | None = None,
        measure: str = "given",
    ) -> "Maps":
        """Make a record on the host from maps made elsewhere (RDMs, kernels).

        Args:
            values: one map `(n, n)`, or a stack of them `(T, n, n)`.
            names: one name per map; `network_0`, ... by default.
            ids: labels of the images.
            measure: what the numbers are.

        Raises:
            TypeError: the values are not real numbers.
            ValueError: a map is not square and symmetric, or the names or labels do not fit.

        Example:
            >>> import numpy as np, jaxsim as js
            >>> rdm = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
            >>> js.Maps.from_array(rdm, ["it"]).values.shape
            (1, 4, 4)
        """
        values = _numbers(values, "maps")
        if values.ndim not in (2, 3):
            raise ValueError(f"maps of shape {values.shape} are neither one map (n, n) nor a stack (T, n, n).")
        return cls._given(values[None] if values.ndim == 2 else values, names, ids, measure)

    @classmethod
    def from_condensed(
        cls,
        values: Any,
        names: Sequence[str] | None = None,
        *,
        ids: Sequence[Any] | None = None,
        measure: str = "given",
    ) -> "Maps":
        """Make maps from the entries above their diagonals in SciPy's order: `(n (n - 1) / 2,)`, or one row per map.

        Args:
            values: one row, or `(T, n (n - 1) / 2)`.
            names: as for `from_array`.
            ids: as for `from_array`.
            measure: as for `from_array`.

        Raises:
            ValueError: a row's length is not n (n - 1) / 2 for any n, or the names or labels do not fit.

        Example:
            >>> import jaxsim as js
            >>> js.Maps.from_condensed([[0.1, 0.5, 0.3], [1.0, 3.0, 2.0]], ["v1", "it"]).values.shape
            (2, 3, 3)
        """
        values = _numbers(values, "maps")
        if values.ndim not in (1, 2):
            raise ValueError(f"condensed maps of shape {values.shape} are neither one row nor one row per map.")
        return cls._given(np.atleast_2d(values), names, ids, measure)

    @classmethod
    def from_dict(cls, maps: Mapping[str, Any], *, ids: Sequence[Any] | None = None, measure: str = "given") -> "Maps":
        """Make maps from a dictionary by name, each `(n, n)` or condensed.

        Args:
            maps: one or more maps over the same images.
            ids: as for `from_array`.
            measure: as for `from_array`.

        Raises:
            ValueError: a map is neither square and symmetric nor condensed, or the maps or labels differ in n.

        Example:
            >>> import jaxsim as js
            >>> js.Maps.from_dict({"v1": [0.1, 0.5, 0.3], "it": [1.0, 3.0, 2.0]}).names
            ('v1', 'it')
        """
        return cls._given([_numbers(m, f"map {str(n)!r}") for n, m in maps.items()], list(maps), ids, measure)

    @classmethod
    def from_rsatoolbox(cls, rdms: Any) -> "Maps":
        """Convert an rsatoolbox `RDMs` object, or an object with the same attributes. No square roots are taken.

        The names come from the first RDM descriptor, and the ids from the first pattern descriptor, that is not `index`
        and has no repeated value. If no RDM descriptor qualifies, all descriptors of an RDM are joined, such as
        `anna 1` for a subject and a session, if that makes the names different. Otherwise the names are `network_0`,
        ... If no pattern descriptor qualifies, there are no ids.

        Args:
            rdms: one or more RDMs.

        Raises:
            ValueError: a row's length is not n (n - 1) / 2 for any n.

        Example:
            >>> import types, jaxsim as js
            >>> rdms = types.SimpleNamespace(
            ...     dissimilarities=[[0.1, 0.5, 0.3]], rdm_descriptors={"roi": ["it"]}, pattern_descriptors={}
            ... )
            >>> js.Maps.from_rsatoolbox(rdms).names
            ('it',)
            >>> rdms.dissimilarities, rdms.rdm_descriptors = 3 * [[1, 2, 3]], {"subject": "aab", "run": [1, 2, 1]}
            >>> js.Maps.from_rsatoolbox(rdms).names
            ('a 1', 'a 2', 'b 1')
        """
        rows = np.asarray(rdms.dissimilarities)
        each = [v for name, v in rdms.rdm_descriptors.items() if name != "index" and len(v) == len(rows)]
        joined = {"all": [" ".join(map(str, row)) for row in zip(*each, strict=True)]}
        names = _labels(rdms.rdm_descriptors, len(rows)) or _labels(joined, len(rows))
        ids = _labels(rdms.pattern_descriptors, image_count(rows.shape[-1]))
        return cls.from_condensed(rows, names, ids=ids, measure="rsatoolbox RDMs")

    @classmethod
    def _given(cls, arrays, names, ids, measure):
        if names is None:
            names = [ONE_MAP] if len(arrays) == 1 else [f"network_{k}" for k in range(len(arrays))]
        if isinstance(names, str) or len(names) != len(arrays):
            raise ValueError(
                f"there are {len(arrays)} maps and the names {names!r}; give a list with one name per map."
            )
        names = tuple(map(str, names))
        if twice := repeated(names):
            raise ValueError(f"two maps have the name {twice[0]!r}.")
        squares = [square_map(name, m) for name, m in zip(names, arrays, strict=True)]
        if not squares:
            raise ValueError("there are no maps.")
        if len(squares[0]) < 2:
            raise ValueError(f"maps of shape {squares[0].shape} hold no pairs of images.")
        if odd := [(name, len(m)) for name, m in zip(names, squares, strict=True) if len(m) != len(squares[0])]:
            raise ValueError(f"maps {names[0]!r} and {odd[0][0]!r} have {len(squares[0])} and {odd[0][1]} images.")
        ids = image_labels(ids, len(squares[0]))
        values = np.stack(squares)
        provenance = Provenance(measure, str(values.dtype), "host", notes=("given, not computed here",))
        return cls(values, names, provenance, ids, any(m.ndim == 1 for m in arrays))

    def table(self) -> tables.Table:
        """Mean and range of the entries between different images, one row per network."""
        i, j = np.triu_indices(np.shape(self.values)[1], 1)
        entries = on_host(self.values)[:, i, j]
        columns = [entries.mean(1), entries.min(1), entries.max(1)]
        rows = [[name, *map(tables.number, row)] for name, row in zip(self.names, np.stack(columns, 1), strict=True)]
        kind = "as given" if self.provenance.measure == "given" else f"of {self.provenance.measure}"
        title = f"maps {kind}, {len(self.names)} networks, {np.shape(self.values)[1]} images"
        return tables.Table(title, ["", "mean", "least", "largest"], rows)

    def to_xarray(self):
        """Convert to a DataArray with dimensions `network`, `image`, `other_image`."""
        import xarray as xr

        images = list(self.ids) if self.ids else np.arange(self.values.shape[1])
        coords = {"network": list(self.names), "image": images, "other_image": images}
        return xr.DataArray(on_host(self.values), coords, ("network", "image", "other_image"))

    def to_rsatoolbox(self):
        """Convert to an rsatoolbox `RDMs` object in float64, with descriptors `name` and `image` and no diagonals.

        Raises:
            MissingExtra: rsatoolbox is not installed.
        """
        with needed("Maps.to_rsatoolbox needs", "rsatoolbox", install="rsatoolbox"):
            from rsatoolbox.rdm.rdms import RDMs
        values = on_host(self.values)
        i, j = np.triu_indices(values.shape[1], 1)
        return RDMs(
            values[:, i, j].astype(float),
            dissimilarity_measure=self.provenance.measure,
            rdm_descriptors={"name": list(self.names)},
            pattern_descriptors={"image": list(self.ids)} if self.ids else None,
        )
