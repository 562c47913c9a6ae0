"""What comes in: features and maps of named networks over labeled images, checked once at the public verb."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MISSING = ("shared", "pairwise")


@dataclasses.dataclass(frozen=True)
class Networks:
    """Arrays of T networks with their names and, where given, the labels of their images.

    Attributes:
        names: one a network.
        arrays: `(n, ..., c)` each, NumPy or JAX, floating point; n may differ only where `ids` do.
        ids: labels of the images of each network, or None.
    """

    names: tuple[str, ...]
    arrays: tuple[Any, ...]
    ids: tuple[tuple[str, ...], ...] | None
    maps: bool = False
    """Whether the arrays are maps `(n, n)`, images along both axes."""
    condensed: bool = False
    """Whether any of the maps came without its diagonal."""

    @property
    def images(self) -> int:
        """Number of images, the same for all."""
        return self.arrays[0].shape[0]

    def select(self, networks: Sequence[int], images: Sequence[str] | None = None) -> "Networks":
        """Some networks, their rows in the order of the labels `images` if those are given."""
        names = tuple(self.names[k] for k in networks)
        if images is None or self.ids is None:
            ids = None if self.ids is None else tuple(self.ids[k] for k in networks)
            return dataclasses.replace(self, names=names, arrays=tuple(self.arrays[k] for k in networks), ids=ids)
        arrays = tuple(self._reorder(self.arrays[k], self.ids[k], images) for k in networks)
        return dataclasses.replace(self, names=names, arrays=arrays, ids=(tuple(images),) * len(names))

    def _reorder(self, array, ids, images):
        if tuple(ids) == tuple(images):
            return array
        where = {label: row for row, label in enumerate(ids)}
        rows = np.asarray([where[label] for label in images])
        return array[rows][:, rows] if self.maps else array[rows]


def networks(features: Any, ids: Any = None, what: str = "features") -> Networks:
    """Name, check and label what the user gave.

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
    pairs = _named(features, what)
    names = tuple(name for name, _ in pairs)
    if not pairs:
        raise ValueError(f"there are no networks: {what} is empty.")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two networks in {what} have the name {twice[0]!r}.")
    arrays = tuple(_numeric(array, f"network {name!r}") for name, array in pairs)
    for name, array in zip(names, arrays, strict=True):
        if array.ndim < 2:
            raise ValueError(f"network {name!r} has features of shape {array.shape}; they must be (n, ..., c).")
        if 0 in array.shape:
            raise ValueError(f"network {name!r} has features of shape {array.shape}, which hold nothing.")
    return Networks(names, arrays, _labels(ids, names, arrays))


def _named(features, what):
    if isinstance(features, Mapping):
        return [(str(name), array) for name, array in features.items()]
    if isinstance(features, (str, bytes, set, frozenset)) or not hasattr(features, "__len__"):
        raise TypeError(f"{what} must map names to arrays or be a stack (T, n, d), not {type(features).__name__}.")
    if hasattr(features, "ndim") and features.ndim < 3:
        raise ValueError(f"{what} of shape {tuple(features.shape)} is no stack of networks (T, n, ..., c).")
    return [(f"network_{k}", array) for k, array in enumerate(features)]


def _numeric(array: Any, who: str):
    """The array as NumPy or JAX floating point; anything with DLPack is taken without a copy."""
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


def _labels(ids, names, arrays):
    if ids is None:
        rows = [a.shape[0] for a in arrays]
        if len(set(rows)) > 1:
            k = next(k for k, n in enumerate(rows) if n != rows[0])
            raise ValueError(
                f"networks {names[0]!r} {tuple(arrays[0].shape)} and {names[k]!r} {tuple(arrays[k].shape)} have "
                f"{rows[0]} and {rows[k]} images; give ids to say which images are which."
            )
        return None
    if not isinstance(ids, Mapping):
        ids = dict.fromkeys(names, ids)
    missing = [n for n in names if n not in ids]
    if missing:
        raise ValueError(f"ids has no labels for network {missing[0]!r}.")
    labels = tuple(tuple(str(label) for label in np.asarray(ids[n]).tolist()) for n in names)
    for name, array, own in zip(names, arrays, labels, strict=True):
        if len(own) != array.shape[0]:
            raise ValueError(f"network {name!r} has {array.shape[0]} images and {len(own)} ids.")
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
    if hasattr(maps, "names") and hasattr(maps, "values") and not isinstance(maps, Mapping):
        ids = maps.ids if ids is None else ids
        maps = dict(zip(maps.names, maps.values, strict=True))
    if not isinstance(maps, Mapping) and getattr(maps, "ndim", 3) == 2:
        maps = {f"network_{k}": row for k, row in enumerate(maps)}
    pairs = _named(maps, "maps")
    given = {n: _numeric(m, f"map {n!r}") for n, m in pairs}
    nets = networks({n: _square(n, m) for n, m in given.items()}, ids, "maps")
    return dataclasses.replace(nets, maps=True, condensed=any(m.ndim == 1 for m in given.values()))


def _square(name, m):
    if m.ndim == 1:
        n = round((1 + (1 + 8 * m.size) ** 0.5) / 2)
        if n * (n - 1) // 2 != m.size or n < 2:
            raise ValueError(f"map {name!r} has {m.size} entries, which is n (n - 1) / 2 for no n.")
        full = np.zeros((n, n), m.dtype)
        full[np.triu_indices(n, 1)] = np.asarray(m)
        return full + full.T
    if m.ndim != 2 or m.shape[0] != m.shape[1]:
        raise ValueError(f"map {name!r} has shape {m.shape}; it must be (n, n), or condensed to n (n - 1) / 2.")
    host = np.where(np.isfinite(m), m, 0)
    if np.max(np.abs(host - host.T), initial=0) > 1e-4 * np.max(np.abs(host), initial=0):
        raise ValueError(f"map {name!r} is not symmetric.")
    return m
