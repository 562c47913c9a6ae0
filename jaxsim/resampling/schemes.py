"""Resampling schemes of the images, as values; each draws one resample from one key."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Layout(NamedTuple):
    """Images sorted by stratum; one stratum where none are given.

    Attributes:
        code: stratum of each image, `(n,)`.
        order: images in the order of their strata.
        start: where the stratum of each image begins in `order`.
        size: how many images that stratum has.
        kept: for subsets, the places kept of an order that is shuffled within strata, `(m,)`; else None.
        other: for half-samples, the places of the other half, `(m,)`; else None.
    """

    code: Any
    order: Any
    start: Any
    size: Any
    kept: Any = None
    other: Any = None


def layout(strata: Any, images: int, subset: int | None = None, *, halves: bool = False) -> Layout:
    """Sort n images by their labels, for subsets of size `subset` or for `halves`.

    Raises:
        ValueError: there is not one label an image.
    """
    labels = np.zeros(images, int) if strata is None else np.asarray(strata)
    if labels.shape != (images,):
        raise ValueError(f"strata has shape {labels.shape}; it must hold one label for each of the {images} images.")
    _, code = np.unique(labels, return_inverse=True)
    size = np.bincount(code)
    start = np.cumsum(size) - size
    code = code.astype(np.int32)
    kept = None if subset is None else _kept(size, start, subset)
    other = None
    if halves:
        kept, other = (_places(start + shift, size // 2) for shift in (0, size // 2))
    return Layout(code, np.argsort(code, kind="stable").astype(np.int32), start[code], size[code], kept, other)


def _kept(size, start, subset):
    """The first images of each stratum after shuffling, in number proportional to its size."""
    exact = subset * size / size.sum()
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: subset - quota.sum()]] += 1
    return _places(start, quota)


def _places(start, number):
    return np.concatenate([s + np.arange(k) for s, k in zip(start, number, strict=True)]).astype(np.int32)


def bootstrap_counts(key: jax.Array, b: jax.Array, plan: Layout) -> Float[Array, " n"]:
    """How often each image is drawn with replacement within its stratum, in resample b."""
    key = jax.random.fold_in(key, b)
    n = plan.code.shape[0]
    pick = plan.start + jax.random.randint(key, (n,), 0, plan.size)
    return jnp.zeros(n).at[plan.order[pick]].add(1)


def dirichlet_weights(key: jax.Array, b: jax.Array, plan: Layout) -> Float[Array, " n"]:
    """Exponential weights scaled to sum to the size of each stratum, in resample b."""
    n = plan.code.shape[0]
    share = jax.random.exponential(jax.random.fold_in(key, b), (n,))
    return share * plan.size / jax.ops.segment_sum(share, plan.code, n)[plan.code]


def shuffle(key: jax.Array, b: jax.Array, plan: Layout) -> Int[Array, " n"]:
    """A permutation of the images that stays within strata."""
    return jnp.zeros_like(plan.order).at[plan.order].set(_shuffled(key, b, plan))


def subset(key: jax.Array, b: jax.Array, plan: Layout) -> Int[Array, " m"]:
    """Images drawn without replacement, each stratum in proportion, in ascending order."""
    return jnp.sort(_shuffled(key, b, plan)[plan.kept])


def half(key: jax.Array, b: jax.Array, plan: Layout) -> Int[Array, " m"]:
    """A random half of the images for even b, and what it leaves for the odd b that follows."""
    shuffled = _shuffled(key, b // 2, plan)
    return jnp.sort(jnp.where(b % 2 == 0, shuffled[plan.kept], shuffled[plan.other]))


def _shuffled(key, b, plan):
    """Images sorted by stratum, in random order within each."""
    draw = jax.random.uniform(jax.random.fold_in(key, b), plan.code.shape)
    return jnp.lexsort((draw, plan.code)).astype(plan.order.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
    """Images drawn with replacement, as integer weights on the images (Efron 1979).

    A pair of copies of one image has weight zero in comparators that read pairs of different images, as in
    rsatoolbox. Maps, transforms and bandwidths stay those of the full sample.

    Attributes:
        strata: `(n,)` labels; images are then drawn within each label.
        weights: `(B, n)` to use instead of random ones, such as counts drawn elsewhere.
    """

    strata: Any = None
    weights: Any = None
    kind = "bootstrap"


@dataclasses.dataclass(frozen=True, eq=False)
class BayesianBootstrap:
    """Dirichlet weights with mean 1 on the images (Rubin 1981); no image ever has weight zero.

    Attributes:
        strata: `(n,)` labels; weights then sum to the number of images within each label.
    """

    strata: Any = None
    kind = "bayesian bootstrap"


@dataclasses.dataclass(frozen=True)
class Jackknife:
    """Every image left out once (Quenouille 1949, Tukey 1958): n resamples, nothing random, nothing refitted."""

    kind = "jackknife"

    def weights(self, images: int) -> np.ndarray:
        """Ones, and zero for the image left out."""
        return 1 - np.eye(images, dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Permutation:
    """Images of one network shuffled against those of the other: scores if the networks had nothing in common.

    Attributes:
        strata: `(n,)` labels; images are then shuffled within each label.
    """

    strata: Any = None
    kind = "permutation"


@dataclasses.dataclass(frozen=True, eq=False)
class Subsample:
    """Images drawn without replacement, everything refitted on each subset: the protocol of DDS 2020, Table 4.

    The raw spread is that table's number; `Resamples.standard_error` scales it to a standard error.

    Attributes:
        size: images in a subset.
        indices: `(B, m)` subsets to use instead of random ones; a row may not repeat an image.
        strata: `(n,)` labels; subsets then hold each label in proportion.
    """

    size: int | None = None
    indices: Any = None
    strata: Any = None
    kind = "subsample"


@dataclasses.dataclass(frozen=True, eq=False)
class HalfSamples:
    """Random halves of the images, each followed by the other half, everything refitted on each.

    Halves share no image, so that half the root mean square difference of two halves' scores is a standard error of the
    full sample's (McCarthy 1969, balanced half-samples). It counts the refitting of transforms and
    bandwidths, and its intervals were the ones to hold their level in the coverage study; see the README.

    Attributes:
        strata: `(n,)` labels; every half then holds half of each label.
    """

    strata: Any = None
    kind = "half-samples"


Scheme = HalfSamples | Bootstrap | BayesianBootstrap | Jackknife | Permutation | Subsample


def text(scheme: Scheme) -> str:
    """The scheme in words for the record, labels and arrays left out."""
    given = [
        f"{f.name}={v if isinstance(v, int) else 'given'}"
        for f in dataclasses.fields(scheme)
        if (v := getattr(scheme, f.name)) is not None
    ]
    return f"{scheme.kind}({', '.join(given)})"


def check_subsets(scheme: Subsample, images: int, fewest: int) -> np.ndarray | None:
    """The explicit subsets as an integer array, or None.

    Raises:
        ValueError: neither or both of size and indices are given, or they do not fit the images.
    """
    if (scheme.size is None) == (scheme.indices is None):
        raise ValueError("Subsample takes either size or indices.")
    if scheme.indices is None:
        _check_size(scheme.size, images, fewest)
        return None
    rows = np.asarray(scheme.indices)
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise ValueError(f"Subsample indices must be integers (B, m), not {rows.dtype} of shape {rows.shape}.")
    _check_size(rows.shape[1], images, fewest)
    outside = np.flatnonzero((rows < 0).any(1) | (rows >= images).any(1))
    if outside.size:
        raise ValueError(f"row {outside[0]} of the subsample indices names an image outside 0 ... {images - 1}.")
    ordered = np.sort(rows, 1)
    twice = np.argwhere(ordered[:, 1:] == ordered[:, :-1])
    if twice.size:
        b, k = twice[0]
        raise ValueError(
            f"row {b} of the subsample indices has image {ordered[b, k]} more than once; to draw with replacement use "
            "Bootstrap, which gives repeated images weights."
        )
    return rows.astype(np.int32)


def _check_size(size, images, fewest):
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise ValueError(f"the size of a subset must be a whole number, not {size!r}.")
    if not fewest <= size <= images:
        raise ValueError(f"a subset of {size} images is impossible: the measure needs {fewest} and there are {images}.")


def check_weights(weights: Any, images: int) -> np.ndarray:
    """Explicit bootstrap weights as floats `(B, n)`.

    Raises:
        ValueError: they have another shape, are negative or not finite, or a row counts no image.
    """
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"bootstrap weights must be numbers, not {weights.dtype}.")
    weights = weights.astype(np.float32 if weights.dtype.itemsize <= 4 else float)
    if weights.ndim != 2 or weights.shape[1] != images:
        raise ValueError(f"bootstrap weights have shape {weights.shape}; they must be (B, {images}).")
    bad = np.flatnonzero(~np.isfinite(weights).all(1) | (weights < 0).any(1) | (weights.sum(1) == 0))
    if bad.size:
        raise ValueError(f"row {bad[0]} of the bootstrap weights is negative, not finite, or all zero.")
    return weights
