"""Images sorted by their labels (strata, and groups that are drawn whole), and random draws of them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int


class Layout(NamedTuple):
    """Images sorted by stratum, or in a single stratum if no strata are given.

    Attributes:
        code: stratum of each image, `(n,)`.
        order: images in the order of their strata.
        start: where the stratum of each image begins in `order`.
        size: number of images in that stratum.
        kept: for subsets, the positions kept of an order that is shuffled within strata, `(m,)`; else None.
        other: for half-samples, the positions of the other half, `(m,)`; else None.
        groups: the groups of the images; None if images are drawn one by one.
    """

    code: Any
    order: Any
    start: Any
    size: Any
    kept: Any = None
    other: Any = None
    groups: Any = None


class Groups(NamedTuple):
    """Groups of images that are drawn whole.

    Attributes:
        code: group of each image, `(n,)`.
        place: position of each image within its group, `(n,)`.
        order: images in the order of their groups.
        first: where each group begins in `order`, `(K,)`.
        size: number of images in each group, `(K,)`.
        units: layout of the groups themselves: their strata and, for subsets and halves, the positions kept.
    """

    code: Any
    place: Any
    order: Any
    first: Any
    size: Any
    units: Layout


def layout(strata: Any, images: int, groups: Any = None) -> Layout:
    """Sort n images by stratum, and by group if they come in groups.

    Raises:
        TypeError: JAX is tracing the labels.
        ValueError: the number of labels is not n, a label is missing, there is only one group, or a group has images in
            two strata.
    """
    code = np.zeros(images, np.int32) if strata is None else codes(strata, images, "strata")
    found = _sorted(code)
    if groups is None:
        return found
    group, names = codes(groups, images, "groups"), np.asarray(groups)
    order = np.argsort(group, kind="stable").astype(np.int32)
    size = np.bincount(group).astype(np.int32)
    first = (np.cumsum(size) - size).astype(np.int32)
    if size.size < 2:
        raise ValueError(f"groups has one label for all {images} images; drawing whole groups takes at least two.")
    stratum = code[order[first]]
    crossing = np.flatnonzero(stratum[group] != code)
    if crossing.size:
        i = crossing[0]
        raise ValueError(
            f"group {names[i]!s} has images in two strata (images {order[first[group[i]]]} and {i}); a group must lie "
            "in one stratum: leave out strata=, or give each part of the group its own label."
        )
    place = np.empty(images, np.int32)
    place[order] = np.arange(images) - np.repeat(first, size)
    return found._replace(groups=Groups(group, place, order, first, size, _sorted(stratum)))


def strata_sizes(found: Layout) -> list[int]:
    """Number of images in each stratum, or number of whole groups if there are any."""
    return np.bincount((found if found.groups is None else found.groups.units).code).tolist()


def labels_of(labels: Any, images: int, name: str) -> np.ndarray:
    """Labels as an array with one label per image, `(n,)`.

    Raises:
        TypeError: JAX is tracing the labels.
        ValueError: the number of labels is not n, or one is missing.
    """
    if isinstance(labels, Tracer):
        raise TypeError(f"{name} must not be traced by jit, because labels are read on the host.")
    if isinstance(labels, Iterable) and not isinstance(labels, str | bytes | Mapping | set | frozenset):
        labels = labels if hasattr(labels, "dtype") else list(labels)
    try:
        found = np.asarray(labels)
    except ValueError:
        raise ValueError(f"{name} must hold one label for each of the {images} images, not lists.") from None
    if found.shape != (images,):
        heading = ", without a header" * (found.shape == (images + 1,))
        text = f"{name} of shape {found.shape} must hold one label for each of the {images} images"
        raise ValueError(f"{text}{heading}.")
    # NumPy turns NaN among strings into the string "nan"
    each = labels if found.dtype.kind in "US" and isinstance(labels, list) else found.tolist()
    blank = next((i for i, label in enumerate(each) if is_blank(label)), None)
    if blank is not None:
        raise ValueError(f"there is no label for image {blank} in {name}; give one for every image.")
    return found


def codes(labels: Any, images: int, name: str) -> np.ndarray:
    """Number each label in sorted order, `(n,)`.

    Raises:
        TypeError: JAX is tracing the labels.
        ValueError: the number of labels is not n, or one is missing.
    """
    labels = labels_of(labels, images, name)
    # labels of mixed types cannot be sorted
    _, code = np.unique([repr(label) for label in labels] if labels.dtype == object else labels, return_inverse=True)
    return code.astype(np.int32)


def is_blank(label: Any) -> bool:
    """Whether a label is missing: None, an empty string, NaN, or pandas' NA, which compares neither true nor false."""
    same = label == label
    return label is None or not isinstance(same, bool | np.bool_) or not same or label == ""


def share_between(x: np.ndarray, code: np.ndarray) -> float:
    """Share of the variance of features `(n, ...)` that lies between labels, minus chance; 0 if none.

    The share is the between-label sum of squares over the total, and e = (C - 1) / (n - 1) is its expectation for
    random labels: `(share - e) / (1 - e)`. At most 4096 features are read.
    """
    x = x.reshape(len(x), -1)
    x = x[:, :: -(-x.shape[1] // 4096)].astype(float)
    x, count = x - x.mean(0), np.bincount(code)
    total, chance = np.sum(x * x), (count.size - 1) / (len(x) - 1)
    if not total > 0 or chance >= 1:
        return 0.0
    sums = np.zeros((count.size, x.shape[1]))
    np.add.at(sums, code, x)
    return float((np.sum(sums**2 / count[:, None]) / total - chance) / (1 - chance))


def subsets(found: Layout, size: Any) -> Layout:
    """The layout for subsets of `size` images, with each stratum in proportion to its size."""
    total = np.bincount(found.code)
    return found._replace(kept=_places(np.cumsum(total) - total, in_proportion(total, size)))


def in_proportion(total: np.ndarray, size: Any) -> np.ndarray:
    """Number of units to draw from each stratum, out of `total (strata,)`, so that they sum to `size`."""
    exact = size * total / total.sum()
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: size - quota.sum()]] += 1
    return quota


def halves(found: Layout) -> Layout:
    """The layout for halves of every stratum, or of whole groups if there are any.

    Groups within a stratum are paired by size, so that halves have the same number of groups and nearly the same number
    of images. `kept` gives the number of images that every half has.
    """
    if found.groups is None:
        start = np.cumsum(size := np.bincount(found.code)) - size
        kept, other = (_places(start + shift, size // 2) for shift in (0, size // 2))
        return found._replace(kept=kept, other=other)
    units = found.groups.units
    start = np.cumsum(count := np.bincount(units.code)) - count
    kept, other = (
        np.concatenate([np.arange(s + shift, s + c - c % 2, 2) for s, c in zip(start, count, strict=True)])
        for shift in (0, 1)
    )
    units = units._replace(kept=kept.astype(np.int32), other=other.astype(np.int32))
    fewest = sum(_smallest_half(found.groups.size[units.code == stratum]) for stratum in range(count.size))
    return found._replace(groups=found.groups._replace(units=units), kept=np.arange(fewest, dtype=np.int32))


def _smallest_half(size):
    """Number of images in the smaller groups of all pairs, whichever group is left out of an odd number."""
    size = np.sort(size)
    left_out = range(size.size) if size.size % 2 else [size.size]
    return min(int(np.delete(size, k)[::2].sum()) if k < size.size else int(size[::2].sum()) for k in left_out)


def interchangeable(found: Layout) -> Layout:
    """The layout for permutations: groups with the same stratum and number of images are swapped.

    Raises:
        ValueError: no two groups in a stratum have the same number of images.
    """
    if found.groups is None:
        return found
    pairs = np.stack([found.groups.units.code, found.groups.size], 1)
    _, code = np.unique(pairs, axis=0, return_inverse=True)
    if np.bincount(code.ravel()).max() < 2:
        text = "no two groups of a stratum have" if len(set(pairs[:, 0])) > 1 else "no two groups have"
        raise ValueError(f"{text} the same number of images, so none can be swapped; use groups of equal size.")
    return found._replace(groups=found.groups._replace(units=_sorted(code.ravel().astype(np.int32))))


def rearrangements(found: Layout) -> float:
    """Number of distinct orders that permutations can produce; infinite if too large for a float."""
    units = found if found.groups is None else found.groups.units
    logarithm = sum(math.lgamma(1 + count) for count in np.bincount(units.code))
    return math.inf if logarithm > 700 else round(math.exp(logarithm))


def degrees(found: Layout, draws: int = 1000) -> float:
    """Degrees of freedom of a variance from many random halves of groups (Satterthwaite).

    A squared difference of halves is a quadratic form in E[s s'], where s are the signs that assign groups to halves.
    There are K - 1 degrees of freedom for groups of equal size, and K / 2 if their sizes determine which group is in
    the other half.
    """
    units, size = found.groups.units, found.groups.size
    if (size == size[0]).all():
        return float(sum(count - 1 for count in np.bincount(units.code)))
    rng, signs = np.random.default_rng(0), np.zeros((draws, size.size))
    for row in signs:
        order = pairing(rng.random(size.size), rng.random(size.size), found, np)
        flip = np.where(rng.random(units.kept.size) < 0.5, 1, -1)
        row[order[units.kept]], row[order[units.other]] = flip, -flip
    values = np.linalg.eigvalsh(signs.T @ signs / draws)
    return float(values.sum() ** 2 / (values**2).sum())


def pairing(lots: Any, ties: Any, found: Layout, library: Any) -> Any:
    """Groups by stratum and size, with ties in the order of `ties`; the odd one out is last, chosen by its lot.

    Two neighbors are a pair, one for each half.
    """
    units, size = found.groups.units, found.groups.size
    by_lot = library.lexsort((lots, units.code))
    last = (library.arange(size.size) == units.start[by_lot] + units.size[by_lot] - 1) & (units.size[by_lot] % 2 == 1)
    out = last[library.argsort(by_lot)]
    return library.lexsort((ties, size, out, units.code))


def _places(start, number):
    return np.concatenate([s + np.arange(k) for s, k in zip(start, number, strict=True)]).astype(np.int32)


def _sorted(code) -> Layout:
    size = np.bincount(code)
    start = np.cumsum(size) - size
    return Layout(code, np.argsort(code, kind="stable").astype(np.int32), start[code], size[code])


def _whole(weigh):
    """Extend weights of units to groups and all their images, if images come in groups."""

    def draw(key: jax.Array, b: jax.Array, layout: Layout) -> Float[Array, " n"]:
        groups = layout.groups
        return weigh(key, b, layout) if groups is None else weigh(key, b, groups.units)[groups.code]

    return draw


@_whole
def bootstrap_counts(key, b, layout):
    """Counts of units drawn with replacement within their strata, in resample b."""
    key = jax.random.fold_in(key, b)
    n = layout.code.shape[0]
    pick = layout.start + jax.random.randint(key, (n,), 0, layout.size)
    return jnp.zeros(n).at[layout.order[pick]].add(1)


@_whole
def dirichlet_weights(key, b, layout):
    """Exponential weights scaled to sum to the number of units in each stratum, in resample b."""
    n = layout.code.shape[0]
    share = jax.random.exponential(jax.random.fold_in(key, b), (n,))
    return share * layout.size / jax.ops.segment_sum(share, layout.code, n)[layout.code]


def shuffle(key: jax.Array, b: jax.Array, layout: Layout) -> Int[Array, " n"]:
    """A permutation of the images within strata, or of whole groups whose images keep their order."""
    if layout.groups is None:
        return jnp.zeros_like(layout.order).at[layout.order].set(shuffled(key, b, layout))
    g = layout.groups
    return g.order[g.first[shuffle(key, b, g.units)[g.code]] + g.place]


def subset(key: jax.Array, b: jax.Array, layout: Layout) -> Int[Array, " m"]:
    """Images drawn without replacement, each stratum in proportion, in ascending order."""
    return jnp.sort(shuffled(key, b, layout)[layout.kept])


def half(key: jax.Array, b: jax.Array, layout: Layout) -> Int[Array, " m"]:
    """A random half of the images for even b, and its complement for the odd b that follows."""
    if layout.groups is not None:
        return _half_of_groups(jax.random.fold_in(key, b // 2), b % 2, layout)
    order = shuffled(key, b // 2, layout)
    return jnp.sort(jnp.where(b % 2 == 0, order[layout.kept], order[layout.other]))


def _half_of_groups(key, second, layout):
    """Images of one group of each pair, or of the other, randomly thinned to the number that every half has."""
    lots, ties, sides, images = jax.random.split(key, 4)
    units, count = layout.groups.units, layout.groups.size.shape[0]
    order = pairing(jax.random.uniform(lots, (count,)), jax.random.uniform(ties, (count,)), layout, jnp)
    first = jax.random.bernoulli(sides, shape=units.kept.shape) ^ (second == 1)
    chosen = jnp.where(first, order[units.kept], order[units.other])
    inside = jnp.zeros(count, bool).at[chosen].set(True)[layout.groups.code]
    n = layout.code.shape[0]
    draw = jax.random.uniform(jax.random.fold_in(images, second), (n,))
    return jnp.sort(jnp.lexsort((draw, ~inside))[: layout.kept.shape[0]].astype(layout.order.dtype))


def shuffled(key, b, layout):
    """Images sorted by stratum, in random order within each; with groups, the groups are in random order."""
    key = jax.random.fold_in(key, b)
    draw, keys = jax.random.uniform(key, layout.code.shape), (layout.code,)
    if layout.groups is not None:
        g = layout.groups
        lots = jax.random.uniform(jax.random.fold_in(key, 0), g.size.shape)
        keys = (g.code, lots[g.code], *keys)
    return jnp.lexsort((draw, *keys)).astype(layout.order.dtype)
