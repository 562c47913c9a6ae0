"""Features and maps of named networks over labeled images, checked once at the public verb."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsim import casts
from jaxsim.foreign_arrays import numeric, traced
from jaxsim.io.feature_files import may_be_one_network
from jaxsim.io.files import counted, few, nearest, repeated, warn
from jaxsim.layouts import is_blank
from jaxsim.results import Maps
from jaxsim.results.matrices import ONE_MAP, check_square, image_count, image_labels, square_map
from jaxsim.statistics.checks import flag, one_of, shown

MISSING = ("shared", "pairwise")
PLACES = ("first", "last")
"""Allowed positions of channels."""
OwnersOf = Mapping[str, Any] | Sequence[Any] | Callable[[str], Any] | None
"""Network of each layer, or subject of each map: by name, in order, or as a function of the name."""


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Features of a network that are held by another process.

    Attributes:
        shape: `(n, ..., c)`.
        dtype: type of the features.
        process: number of that process.
        careful: whether their cast to the type of scores depends on the measure.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    process: int
    careful: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclasses.dataclass(frozen=True)
class Networks:
    """Arrays of T networks with their names and, if given, the labels of their images.

    Attributes:
        names: one name per network.
        arrays: a tuple of `(n, ..., c)`, or one stack of them `(T, n, ..., c)`; n may differ only if `ids` do. NumPy in
            its original type if the cast may lose digits, else floating point.
        ids: labels of the images of each network, or None.
        maps: whether the arrays are maps `(n, n)`, with images along both axes.
        condensed: whether any of the maps came without its diagonal.
        doubtful_channels: whether the caller did not say that channels come last.
    """

    names: tuple[str, ...]
    arrays: Any
    ids: tuple[tuple[str, ...], ...] | None
    maps: bool = False
    condensed: bool = False
    doubtful_channels: bool = False

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
        """Floating-point type for computing scores."""
        types = {a.dtype for a in self.arrays} if isinstance(self.arrays, tuple) else {self.arrays.dtype}
        return np.result_type(*map(casts.score_type, types))

    @property
    def traced(self) -> bool:
        """Whether JAX is tracing, so that values cannot be read."""
        return traced(self.arrays)

    @functools.cached_property
    def careful(self) -> tuple[int, ...]:
        """Networks whose cast to the type of scores depends on the measure."""
        if not isinstance(self.arrays, tuple):
            return casts.careful([*self.arrays], are_maps=self.maps) if isinstance(self.arrays, np.ndarray) else ()
        away = [k for k, a in enumerate(self.arrays) if isinstance(a, Elsewhere)]
        here = [k for k in range(len(self.arrays)) if k not in away]
        found = casts.careful([self.arrays[k] for k in here], are_maps=self.maps)
        return tuple(sorted([here[k] for k in found] + [k for k in away if self.arrays[k].careful]))

    def cast(self, free: casts.Freedom) -> "Networks":
        """The careful networks in the type of scores, for a measure that leaves these changes free."""
        if not self.careful:
            return self
        arrays = list(self.arrays)
        for k in self.careful:
            if isinstance(one := arrays[k], Elsewhere):
                arrays[k] = dataclasses.replace(one, dtype=casts.score_type(one.dtype), careful=False)
            else:
                arrays[k] = casts.carried(one, free, is_map=self.maps)[0]
        return dataclasses.replace(self, arrays=tuple(arrays) if isinstance(self.arrays, tuple) else np.stack(arrays))

    def select(self, networks: Sequence[int], images: Sequence[str] | None = None) -> "Networks":
        """Select some networks, with their rows in the order of the labels `images` if given."""
        names = tuple(self.names[k] for k in networks)
        if images is None or self.ids is None:
            ids = None if self.ids is None else tuple(self.ids[k] for k in networks)
            every = [*networks] == [*range(len(self.names))]
            arrays = self.arrays if every else tuple(self.arrays[k] for k in networks)
            return dataclasses.replace(self, names=names, arrays=arrays, ids=ids)
        arrays = tuple(self._reorder(self.arrays[k], self.ids[k], images) for k in networks)
        return dataclasses.replace(self, names=names, arrays=arrays, ids=(tuple(images),) * len(names))

    def _reorder(self, array, ids, images):
        if tuple(ids) == tuple(images):
            return array
        where = {label: row for row, label in enumerate(ids)}
        rows = np.asarray([where[label] for label in images], int)
        return array[rows][:, rows] if self.maps else array[rows]


def networks(
    features: Any, ids: Any = None, what: str = "features", channels: Any = None, *, cast: bool = True
) -> Networks:
    """Name, check and label features as the user gave them.

    Args:
        features: mapping of name to `(n, ..., c)`, a stack `(T, n, ..., c)`, or a sequence of `(n, ..., c)`.
        ids: labels of the images, `(n,)` for all networks or a mapping of name to labels; or None.
        what: noun for the error messages.
        channels: "last", or "first" for `(n, c, ...)`, or a mapping of name to these; None assumes "last" but keeps the
            doubt.
        cast: convert integers and half precision to floating point, which reads memory-mapped arrays in full.

    Raises:
        TypeError: an array is not numeric.
        ValueError: an array has a wrong shape or is a map, or names or labels do not match.
    """
    if isinstance(features, Networks):
        return features
    ids = _ids_of_frames(features) if ids is None else ids
    names, arrays = _named(features, what, cast)
    if not isinstance(arrays, tuple) and not traced(arrays):
        _warn_of_stack(arrays.shape)
    nets = _checked(names, arrays, ids, what)
    _refuse_maps(nets)
    return channels_last(channels, dataclasses.replace(nets, doubtful_channels=True))[0]


def _warn_of_stack(shape):
    if may_be_one_network(shape):
        text = f"an array of shape {tuple(shape)} was read as {shape[0]} networks of {shape[1]} images"
        remedy = "give a single network as {name: array}, and several as a list of arrays"
        warn(f"{text}; {remedy}.")


def both(
    features: Any,
    against: Any,
    ids: Any,
    against_ids: Any,
    channels: Any = None,
    *,
    maps: bool = False,
    cast: bool = True,
) -> tuple[Networks, Networks | None]:
    """Networks of the rows, and of the columns or None; as `maps` if they are precomputed, else as `networks`.

    The columns' images are labeled by `against_ids`, or by `ids` if that is None; `Maps` keep their own labels.

    Raises:
        ValueError: labels of columns are given without columns, or channels are given for maps.
    """
    if maps and channels is not None:
        raise ValueError("channels applies to features, and these are maps; leave channels out.")
    if against is None and against_ids is not None:
        raise ValueError("against_ids labels the images of against, which was not given.")
    labeled = isinstance(against, Maps) and against.ids is not None
    against_ids = ids if against_ids is None and not labeled else against_ids
    if maps:
        return square_maps(features, ids), None if against is None else square_maps(against, against_ids, "against")
    x = networks(features, ids, cast=cast)
    y = None if against is None else networks(against, against_ids, "against", cast=cast)
    x, y = channels_last(channels, x, y)
    return x, y


def channels_last(channels: Any, *groups: Networks | None) -> list[Any]:
    """The groups with arrays `(n, c, ...)` as `(n, ..., c)` if channels are declared to come first; None stays None.

    Raises:
        ValueError: channels are neither first nor last, or are given for an unknown network.
    """
    if channels is None:
        return list(groups)
    names = [name for g in groups if g is not None for name in g.names]
    said = by_text(channels) if isinstance(channels, Mapping) else dict.fromkeys(names, channels)
    if strange := [n for n in said if n not in names]:
        raise ValueError(f"channels names {strange[0]!r}, which is not a network; the networks are {', '.join(names)}.")
    first = {name for name, kind in said.items() if one_of(kind, PLACES, "channels") == "first"}
    return [g and _moved(g, [name in first for name in g.names]) for g in groups]


def _moved(nets, first):
    """Networks with their first-axis channels moved last."""
    arrays = nets.arrays
    if not isinstance(arrays, tuple) and all(first):
        arrays = _moveaxis(arrays, 2)
    elif any(first):
        arrays = tuple(_moveaxis(x, 1) if one else x for x, one in zip(arrays, first, strict=True))
    return dataclasses.replace(nets, arrays=arrays, doubtful_channels=False)


def _moveaxis(x: Any, axis: int) -> Any:
    order = [*range(axis), *range(axis + 1, x.ndim), axis]
    return x.transpose(order) if x.ndim > axis + 1 else x


def _checked(names, arrays, ids, what) -> Networks:
    if not names:
        raise ValueError(f"there are no networks: {what} is empty.")
    refuse_repeated_names(names, what)
    nets = Networks(names, arrays, None)
    for name, shape in zip(names, nets.shapes, strict=True):
        if len(shape) < 2:
            hint = " To compare condensed maps, use js.compare_maps." if shape and image_count(shape[0]) else ""
            raise ValueError(f"network {name!r} has features of shape {shape}; they must be (n, ..., c).{hint}")
        if 0 in shape:
            raise ValueError(f"network {name!r} has features of shape {shape}, which are empty.")
    return dataclasses.replace(nets, ids=_labels(ids, names, nets.shapes))


def by_text(given: Mapping[Any, Any]) -> dict[str, Any]:
    """The mapping with its keys as strings, like the names of networks.

    >>> by_text({1: "first"})
    {'1': 'first'}
    """
    return {str(name): value for name, value in given.items()}


def owners(given: Any, names: Sequence[str], option: str, owner: str, one: str) -> tuple[str, ...]:
    """The network of each layer, or the subject of each map, as `OwnersOf`; None makes each its own owner.

    Args:
        given: a mapping by name, a sequence in the order of the names, or a function of a name.
        names: names of the layers or maps.
        option: name of the option, for error messages.
        owner: what the option specifies, for error messages.
        one: what the names refer to, for error messages.

    Raises:
        TypeError: `given` is none of these.
        ValueError: a name has no owner, or is unknown.
    """
    if given is None:
        return tuple(names)
    if isinstance(given, str | bytes) or not (callable(given) or isinstance(given, Iterable)):
        how = f"lambda name: name.partition({given!r})[0]" if isinstance(given, str) else "a function of the name"
        text = f"{option} must give the {owner} of each {one}, not {shown(given)}"
        raise TypeError(f"{text}: a mapping, a list, or {how}.")
    if isinstance(given, Mapping):
        own = by_text(given)
        if odd := [name for name in own if name not in names]:
            raise ValueError(f"{option} names {odd[0]!r}, which is not a {one}; {nearest(odd[0], names)}")
        found = [own.get(name) for name in names]
    else:
        found = [given(name) for name in names] if callable(given) else [*given]
    if len(found) != len(names):
        raise ValueError(f"{option} holds {counted(len(found), owner)} for {len(names)} {one}s; give one per {one}.")
    nested = (list, tuple, set, Mapping, np.ndarray)
    if blank := [
        name for name, label in zip(names, found, strict=True) if isinstance(label, nested) or is_blank(label)
    ]:
        raise ValueError(f"{option} has no {owner} for {few(blank)}; give one for every {one}.")
    return tuple(map(str, found))


def refuse_repeated_names(names: Sequence[str], what: str) -> None:
    """Reject networks with the same name.

    Raises:
        ValueError: two networks have the same name; the message gives it.
    """
    if twice := repeated(names):
        raise ValueError(f"two networks in {what} have the name {twice[0]!r}.")


def _named(features, what, cast=True) -> tuple[tuple[str, ...], Any]:
    """Names of the networks, and their arrays as a tuple or as the stack they came in."""
    if is_rdms(features):
        raise TypeError(f"{what} are RDMs of rsatoolbox; give js.Maps.from_rsatoolbox(rdms).")
    if isinstance(features, Mapping):
        if blank := [name for name in features if is_blank(name)]:
            raise ValueError(f"a network in {what} has the name {blank[0]!r}; give it a name.")
        arrays = tuple(numeric(array, f"network {str(name)!r}", cast=cast) for name, array in features.items())
        return tuple(str(name) for name in features), arrays
    if isinstance(features, (str, bytes, set, frozenset)) or not hasattr(features, "__len__"):
        files = "; js.read_features reads files" * isinstance(features, str | os.PathLike)
        text = f"{what} must map names to arrays or be a stack (T, n, d), not {type(features).__name__}"
        raise TypeError(f"{text}{files}.")
    if not hasattr(features, "ndim"):
        if any(isinstance(array, Mapping) for array in features):
            raise TypeError(f"{what} hold a mapping among others: write features, ids = js.read_features(path).")
        arrays = tuple(numeric(array, f"network 'network_{k}'", cast=cast) for k, array in enumerate(features))
    elif features.ndim < 3:
        shape = tuple(features.shape)
        raise ValueError(f"{what} of shape {shape} is not a stack of networks (T, n, ..., c); give {{name: array}}.")
    else:
        arrays = numeric(features, what, cast=cast)
    return tuple(f"network_{k}" for k in range(len(features))), arrays


def is_rdms(x: Any) -> bool:
    """Whether this is an rsatoolbox `RDMs` object."""
    return hasattr(x, "dissimilarities") and hasattr(x, "pattern_descriptors")


def _ids_of_frames(features: Any) -> dict[str, list[str]] | None:
    """Row labels of DataFrames, if all have some.

    Raises:
        ValueError: only some have labels, and those differ.
    """
    if not isinstance(features, Mapping):
        return None
    labels = {str(name): _index(x) for name, x in features.items()}
    known = [own for own in labels.values() if own is not None]
    if len(known) == len(labels) and known:
        return labels  # type: ignore[return-value]
    if any(own != known[0] for own in known):
        name = next(name for name, own in labels.items() if own is None)
        raise ValueError(f"the DataFrames have different row names, and network {name!r} has none; give ids.")
    return None


def _index(frame: Any) -> list[str] | None:
    """Row labels of a DataFrame; None for an array, for numbers from 0 and for repeated labels."""
    if not (hasattr(frame, "columns") and hasattr(frame, "index")) or type(frame.index).__name__ == "RangeIndex":
        return None
    labels = [str(label) for label in frame.index]
    return labels if len(set(labels)) == len(labels) else None


def _labels(ids, names, shapes):
    if ids is None:
        rows = [shape[0] for shape in shapes]
        if len(set(rows)) > 1:
            k = next(k for k, n in enumerate(rows) if n != rows[0])
            turned = all(len(shape) == 2 for shape in shapes) and len({shape[1] for shape in shapes}) == 1
            remedy = f"; or give the transposes if the images are the {shapes[0][1]} columns" * turned
            raise ValueError(
                f"networks {names[0]!r} {shapes[0]} and {names[k]!r} {shapes[k]} have "
                f"{rows[0]} and {rows[k]} images; give ids to say which images are which{remedy}."
            )
        return None
    ids = by_text(ids) if isinstance(ids, Mapping) else dict.fromkeys(names, ids)
    missing = [n for n in names if ids.get(n) is None]
    if missing:
        raise ValueError(f"ids has no labels for network {missing[0]!r}.")
    made: dict[tuple[int, int], Any] = {}
    for name, (images, *_) in zip(names, shapes, strict=True):
        key = (id(ids[name]), images)
        made[key] = made.get(key) or image_labels(ids[name], images, f"ids of network {name!r}")
    return tuple(made[id(ids[name]), shape[0]] for name, shape in zip(names, shapes, strict=True))


def same_images(*groups: Networks | None, align: bool = False) -> list[Any]:
    """Put all networks of all groups on the same images in the same order.

    Args:
        groups: networks to be compared with each other; None stays None.
        align: reorder the rows by id and keep the images that all networks share.

    Raises:
        ValueError: ids differ or are in another order and `align` is False; no image is shared; only some groups have
            ids; unlabeled groups differ in n, or `align` is set for them.
    """
    align, given = flag(align, "align"), [g for g in groups if g is not None]
    labeled = [g.ids is not None for g in given]
    if any(labeled) and not all(labeled):
        raise ValueError("one set of networks has image ids and the other has none; give ids for both or neither.")
    if not all(labeled):
        if align:
            raise ValueError(
                "align=True matches images by their ids, and there are none; give ids, or leave align out."
            )
        if len({g.images for g in given}) > 1:
            raise ValueError(f"the two sets of networks have {given[0].images} and {given[1].images} images.")
        return list(groups)
    pairs = [(n, own) for g in given for n, own in zip(g.names, g.ids or (), strict=True)]
    (first, order), rest = pairs[0], pairs[1:]
    odd = next(((n, own) for n, own in rest if own != order), None)
    if odd is None:
        return list(groups)
    if not align:
        other, own = odd
        remedy = "match rows by id" if set(order) == set(own) else "use the images that all share"
        text = f"networks {first!r} and {other!r} {how_ids_differ(repr(first), order, repr(other), own)}"
        raise ValueError(f"{text}; pass align=True to {remedy}.")
    shared = set(order).intersection(*(own for _, own in rest))
    if not shared:
        raise ValueError("no image id is shared by all networks.")
    keep = [label for label in order if label in shared]
    if lost := {n: len(own) - len(keep) for n, own in pairs if len(own) > len(keep)}:
        name = max(lost, key=lambda n: lost[n])
        others = f", and some of {counted(len(lost) - 1, 'other network')}" if len(lost) > 1 else ""
        text = f"align=True leaves out {counted(lost[name], 'image')} of network {name!r}{others}"
        warn(f"{text}, because not all networks have them; {len(keep)} are left.")
    return [g and g.select(range(len(g.names)), keep) for g in groups]


def how_ids_differ(first: str, ours: Sequence[str], other: str, theirs: Sequence[str]) -> str:
    """Text on how the image ids of `first` and `other` differ or differ in order."""
    if set(ours) == set(theirs):
        k = next(k for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        return f"have the same image ids in another order (row {k}: {ours[k]!r} and {theirs[k]!r})"
    odd = min(set(ours) ^ set(theirs))
    return f"have different image ids ({odd!r} is only in {first if odd in set(ours) else other})"


def square_maps(maps: Any, ids: Any = None, what: str = "maps") -> Networks:
    """Convert precomputed maps to `(n, n)` matrices, from full maps or condensed rows in SciPy's order.

    Raises:
        ValueError: a map is neither square and symmetric nor of length n (n - 1) / 2.
    """
    if isinstance(maps, Networks):
        return maps
    names, condensed = None, False
    if isinstance(maps, Maps):
        ids, names, condensed, maps = maps.ids if ids is None else ids, maps.names, maps.condensed, maps.values
    maps = _one_map(maps)
    ids = _ids_of_frames(maps) if ids is None else ids
    own, arrays = _named(maps, what)
    if names is None and not traced(arrays):
        own, arrays, ids = unfolded(own, arrays, ids)
    names = own if names is None else names
    if isinstance(arrays, tuple):
        condensed = condensed or any(m.ndim == 1 for m in arrays)
        arrays = tuple(square_map(name, m) for name, m in zip(names, arrays, strict=True))
    elif traced(arrays):
        check_square(names[0], arrays.shape[1:])
    else:
        for name, m in zip(names, np.asarray(arrays), strict=True):
            square_map(name, m)
    return dataclasses.replace(_checked(names, arrays, ids, what), maps=True, condensed=condensed)


def unfold_map(name: str, x: Any) -> dict[str, Any]:
    """The map under its name; a stack becomes `name/0`, `name/1`, ...

    Stacks are `(K, n, n)`, `(n, n, K)` as MATLAB has them, or condensed rows `(K, n (n - 1) / 2)`.
    """
    if are_condensed(x) and not traced(x):
        return {name: x[0]} if len(x) == 1 else {f"{name}/{k}": row for k, row in enumerate(x)}
    if getattr(x, "ndim", 2) != 3 or traced(x):
        return {name: x}
    stack = _maps_first(np.asarray(x))
    if stack.shape[1] != stack.shape[2]:
        return {name: x}
    return {name: stack[0]} if len(stack) == 1 else {f"{name}/{k}": m for k, m in enumerate(stack)}


def are_condensed(x: Any) -> bool:
    """Whether an array, if it contains maps, has the shape of condensed rows `(K, n (n - 1) / 2)`."""
    shape = np.shape(x)
    return len(shape) == 2 and 0 < shape[0] != shape[1] and image_count(shape[1]) is not None


def _maps_first(stack):
    """Move the maps of a stack `(n, n, K)` to the first axis, `(K, n, n)`; other arrays are unchanged."""
    rows, columns, last = stack.shape
    if rows != columns or columns == last and np.array_equal(stack, stack.swapaxes(1, 2), equal_nan=True):
        return stack
    return np.moveaxis(np.asarray(stack), -1, 0)


def unfolded(names, arrays, ids):
    """Names, maps and ids, with stacks of maps split up."""
    if not isinstance(arrays, tuple):
        arrays = _maps_first(arrays) if arrays.ndim == 3 else arrays
        return tuple(f"network_{k}" for k in range(len(arrays))), arrays, ids
    each = [unfold_map(name, x) for name, x in zip(names, arrays, strict=True)]
    if isinstance(ids, Mapping):
        ids = by_text(ids)
        ids = {new: ids[old] for old, found in zip(names, each, strict=True) for new in found if old in ids}
    return tuple(name for found in each for name in found), tuple(m for found in each for m in found.values()), ids


def _one_map(maps):
    """A single map, square or condensed, under a name; condensed rows as a list; anything else unchanged."""
    if isinstance(maps, list | tuple):
        square = maps and all(np.ndim(row) == 1 and len(row) == len(maps) for row in maps) and not traced(maps)
        rows = np.asarray(maps) if square else None
        return {ONE_MAP: rows} if rows is not None and rows.dtype.kind in "biuf" and is_map(rows) else maps
    axes = getattr(maps, "ndim", 3)
    if axes == 1 or (axes == 2 and maps.shape[0] == maps.shape[1]):
        return {ONE_MAP: maps}
    return list(np.asarray(maps) if hasattr(maps, "columns") else maps) if axes == 2 else maps


def _refuse_maps(nets: Networks) -> None:
    """Reject maps given in place of features."""
    squares = [k for k, shape in enumerate(nets.shapes) if len(shape) == 2 and shape[0] == shape[1] > 2]
    squares = squares if isinstance(nets.arrays, tuple) else squares[:1]  # all arrays in a stack are of one kind
    for k in squares:
        if not traced(nets.arrays[k]) and is_map(nets.arrays[k]):
            raise ValueError(
                f"network {nets.names[k]!r} of shape {nets.shapes[k]} is a map (symmetric, with zeros or ones on its "
                'diagonal): give a comparator such as "spearman" (js.compare_maps, js.resample, js.noise_ceiling, '
                "--measure), or shape (n, n, 1) if these are features."
            )


def is_map(x: Any) -> bool:
    """Whether `(n, n)` is symmetric with zeros or ones on its diagonal, and neither constant nor one-hot."""
    diagonal = np.asarray(x.diagonal(), np.float64)
    ones = np.allclose(diagonal, 1, rtol=0, atol=1e-5)
    if not ones and np.max(np.abs(diagonal)) > 1e-3 * np.max(np.abs(np.asarray(x[0], np.float64))):
        return False
    host = np.asarray(x, np.float64)
    largest = np.max(np.abs(host))
    if not np.allclose(host, host.T, rtol=0, atol=1e-5 * largest):
        return False
    others = host[~np.eye(len(host), dtype=bool)]
    small = largest <= 1 + 1e-5 if ones else np.max(np.abs(diagonal)) <= 1e-5 * largest
    return bool(small and np.ptp(others) > 0)
