"""Features and maps of named networks over labeled images, checked once at the public verb."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsim.results import Maps

MISSING = ("shared", "pairwise")


@dataclasses.dataclass(frozen=True)
class Networks:
    """Arrays of T networks with their names and, where given, the labels of their images.

    Attributes:
        names: one a network.
        arrays: a tuple of `(n, ..., c)`, NumPy or JAX, floating point, or one stack of them `(T, n, ..., c)`; n may
            differ only where `ids` do.
        ids: labels of the images of each network, or None.
        maps: whether the arrays are maps `(n, n)`, images along both axes.
        condensed: whether any of the maps came without its diagonal.
    """

    names: tuple[str, ...]
    arrays: Any
    ids: tuple[tuple[str, ...], ...] | None
    maps: bool = False
    condensed: bool = False

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape `(n, ..., c)` of each network."""
        if isinstance(self.arrays, tuple):
            return tuple(tuple(a.shape) for a in self.arrays)
        return (tuple(self.arrays.shape[1:]),) * len(self.names)

    @property
    def images(self) -> int:
        """Number of images, the same for all."""
        return self.shapes[0][0]

    @property
    def dtype(self) -> np.dtype:
        """Floating-point type that scores are computed in."""
        types = [a.dtype for a in self.arrays] if isinstance(self.arrays, tuple) else [self.arrays.dtype]
        return jax.dtypes.canonicalize_dtype(np.result_type(*types))

    @property
    def traced(self) -> bool:
        """Whether JAX is tracing, so that values cannot be looked at."""
        return traced(self.arrays)

    def select(self, networks: Sequence[int], images: Sequence[str] | None = None) -> "Networks":
        """Some networks, their rows in the order of the labels `images` if those are given."""
        names = tuple(self.names[k] for k in networks)
        if images is None or self.ids is None:
            ids = None if self.ids is None else tuple(self.ids[k] for k in networks)
            every = len(networks) == len(self.names)
            arrays = self.arrays if every else tuple(self.arrays[k] for k in networks)
            return dataclasses.replace(self, names=names, arrays=arrays, ids=ids)
        arrays = tuple(self._reorder(self.arrays[k], self.ids[k], images) for k in networks)
        return dataclasses.replace(self, names=names, arrays=arrays, ids=(tuple(images),) * len(names))

    def _reorder(self, array, ids, images):
        if tuple(ids) == tuple(images):
            return array
        where = {label: row for row, label in enumerate(ids)}
        rows = np.asarray([where[label] for label in images])
        return array[rows][:, rows] if self.maps else array[rows]


def traced(*values: Any) -> bool:
    """Whether any array in these is a tracer of JAX."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def networks(features: Any, ids: Any = None, what: str = "features") -> Networks:
    """Names, checks and labels of features as the user gave them.

    Args:
        features: mapping of name to `(n, ..., c)`, a stack `(T, n, ..., c)`, or a sequence of `(n, ..., c)`.
        ids: labels of the images, `(n,)` for all networks or a mapping of name to labels; or None.
        what: word for the error messages.

    Raises:
        TypeError: an array is not numeric.
        ValueError: an array has a wrong shape, or names or labels do not fit.
    """
    if isinstance(features, Networks):
        return features
    return _checked(*_named(features, what), ids, what)


def _checked(names, arrays, ids, what) -> Networks:
    if not names:
        raise ValueError(f"there are no networks: {what} is empty.")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two networks in {what} have the name {twice[0]!r}.")
    nets = Networks(names, arrays, None)
    for name, shape in zip(names, nets.shapes, strict=True):
        if len(shape) < 2:
            raise ValueError(f"network {name!r} has features of shape {shape}; they must be (n, ..., c).")
        if 0 in shape:
            raise ValueError(f"network {name!r} has features of shape {shape}, which hold nothing.")
    return dataclasses.replace(nets, ids=_labels(ids, names, nets.shapes))


def _named(features, what) -> tuple[tuple[str, ...], Any]:
    """Names of the networks, and their arrays as a tuple or as the stack they came in."""
    if isinstance(features, Mapping):
        arrays = tuple(_numeric(array, f"network {str(name)!r}") for name, array in features.items())
        return tuple(str(name) for name in features), arrays
    if isinstance(features, (str, bytes, set, frozenset)) or not hasattr(features, "__len__"):
        raise TypeError(f"{what} must map names to arrays or be a stack (T, n, d), not {type(features).__name__}.")
    if not hasattr(features, "ndim"):
        arrays = tuple(_numeric(array, f"network 'network_{k}'") for k, array in enumerate(features))
    elif features.ndim < 3:
        raise ValueError(f"{what} of shape {tuple(features.shape)} is no stack of networks (T, n, ..., c).")
    else:
        arrays = _numeric(features, what)
    return tuple(f"network_{k}" for k in range(len(features))), arrays


def _numeric(array: Any, who: str):
    """The array as NumPy or JAX floating point; DLPack arrays are taken without a copy."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{who} is a masked array; leave its missing images out and give ids.")
    if not isinstance(array, (jax.Array, np.ndarray)):
        array = _from_dlpack(array, who) if hasattr(array, "__dlpack__") else _from_lists(array, who)
    kind = "f" if jnp.issubdtype(array.dtype, jnp.floating) else array.dtype.kind
    if kind in "biu":
        return array.astype(jax.dtypes.canonicalize_dtype(float))
    if kind != "f":
        raise TypeError(f"{who} has elements of type {array.dtype}; features must be real numbers.")
    if array.dtype.itemsize < 4:
        return array.astype(np.float32)
    return array


def _from_dlpack(array, who):
    if getattr(array, "requires_grad", False):
        array = array.detach()
    for take in (jax.dlpack.from_dlpack, np.asarray):
        try:
            return take(array)
        except (TypeError, RuntimeError, BufferError, ValueError):
            continue
    raise TypeError(f"{who} could not be taken over from {type(array).__name__}; convert it to a NumPy array.")


def _from_lists(array, who):
    try:
        return np.asarray(array)
    except ValueError:
        raise ValueError(f"{who} is no array: its rows have different lengths.") from None


def _labels(ids, names, shapes):
    if ids is None:
        rows = [shape[0] for shape in shapes]
        if len(set(rows)) > 1:
            k = next(k for k, n in enumerate(rows) if n != rows[0])
            raise ValueError(
                f"networks {names[0]!r} {shapes[0]} and {names[k]!r} {shapes[k]} have "
                f"{rows[0]} and {rows[k]} images; give ids to say which images are which."
            )
        return None
    if not isinstance(ids, Mapping):
        ids = dict.fromkeys(names, ids)
    missing = [n for n in names if n not in ids]
    if missing:
        raise ValueError(f"ids has no labels for network {missing[0]!r}.")
    for name in names:
        if len(shape := np.asarray(ids[name]).shape) != 1:
            raise ValueError(f"the ids of network {name!r} have shape {shape}; give one label an image.")
    labels = tuple(tuple(str(label) for label in np.asarray(ids[n]).tolist()) for n in names)
    for name, shape, own in zip(names, shapes, labels, strict=True):
        if len(own) != shape[0]:
            raise ValueError(f"network {name!r} has {shape[0]} images and {len(own)} ids.")
        if len(set(own)) != len(own):
            twice = next(label for k, label in enumerate(own) if label in own[:k])
            raise ValueError(f"network {name!r} has the image id {twice!r} more than once.")
    return labels


def same_images(*groups: Networks, align: bool = False) -> list[Networks]:
    """All networks of all groups on the same images in the same order.

    Args:
        groups: networks to be compared with each other.
        align: reorder the rows by id and keep the images that all networks share.

    Raises:
        ValueError: ids differ or stand in another order and `align` is False; no image is shared; only some
            groups have ids; unlabeled groups differ in n.
    """
    labeled = [g.ids is not None for g in groups]
    if any(labeled) and not all(labeled):
        raise ValueError("one set of networks has image ids and the other has none; give ids for both or neither.")
    if not all(labeled):
        if len({g.images for g in groups}) > 1:
            raise ValueError(f"the two sets of networks have {groups[0].images} and {groups[1].images} images.")
        return list(groups)
    pairs = [(n, own) for g in groups for n, own in zip(g.names, g.ids or (), strict=True)]
    (first, order), rest = pairs[0], pairs[1:]
    odd = next(((n, own) for n, own in rest if own != order), None)
    if odd is None:
        return list(groups)
    if not align:
        raise ValueError(_difference(first, order, *odd))
    shared = set(order).intersection(*(own for _, own in rest))
    if not shared:
        raise ValueError("no image id is shared by all networks.")
    keep = [label for label in order if label in shared]
    return [g.select(range(len(g.names)), keep) for g in groups]


def _difference(first, order, other, own):
    if set(order) == set(own):
        k = next(k for k, (a, b) in enumerate(zip(order, own, strict=True)) if a != b)
        return (
            f"networks {first!r} and {other!r} have the same image ids in another order (row {k}: {order[k]!r} and "
            f"{own[k]!r}); pass align=True to match rows by id."
        )
    only = sorted(set(order) ^ set(own))[0]
    side = first if only in set(order) else other
    return (
        f"networks {first!r} and {other!r} have different image ids ({only!r} is in {side!r} alone); "
        "pass align=True to use the images that all share."
    )


def square_maps(maps: Any, ids: Any = None) -> Networks:
    """Ready-made maps as `(n, n)` matrices: full, or condensed rows in SciPy's order.

    Raises:
        ValueError: a map is neither square and symmetric nor of length n (n - 1) / 2.
    """
    if isinstance(maps, Networks):
        return maps
    names = None
    if isinstance(maps, Maps):
        ids, names, maps = maps.ids if ids is None else ids, maps.names, maps.values
    if getattr(maps, "ndim", 3) == 2:
        maps = list(maps)
    own, arrays = _named(maps, "maps")
    names = own if names is None else names
    condensed = False
    if isinstance(arrays, tuple):
        condensed = any(m.ndim == 1 for m in arrays)
        arrays = tuple(_square(name, m) for name, m in zip(names, arrays, strict=True))
    elif traced(arrays):
        _check_square(names[0], arrays.shape[1:])
    else:
        for name, m in zip(names, np.asarray(arrays), strict=True):
            _square(name, m)
    return dataclasses.replace(_checked(names, arrays, ids, "maps"), maps=True, condensed=condensed)


def _square(name, m):
    if m.ndim == 1:
        n = round((1 + (1 + 8 * m.size) ** 0.5) / 2)
        if n * (n - 1) // 2 != m.size or n < 2:
            raise ValueError(f"map {name!r} has {m.size} entries, which is n (n - 1) / 2 for no n.")
        i, j = np.triu_indices(n, 1)
        if traced(m):
            return jnp.zeros((n, n), m.dtype).at[i, j].set(m).at[j, i].set(m)
        full = np.zeros((n, n), m.dtype)
        full[i, j] = np.asarray(m)
        return full + full.T
    _check_square(name, m.shape)
    if not traced(m):
        host = np.where(np.isfinite(m), m, 0)
        if np.max(np.abs(host - host.T), initial=0) > 1e-4 * np.max(np.abs(host), initial=0):
            raise ValueError(f"map {name!r} is not symmetric.")
    return m


def _check_square(name, shape):
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"map {name!r} has shape {shape}; it must be (n, n), or condensed to n (n - 1) / 2.")
