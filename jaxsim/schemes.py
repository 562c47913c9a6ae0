"""Resampling schemes of the images as values: how one draws, and what its resamples say of the estimate."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jaxsim import statistics
from jaxsim.protocols import Draws, Plan, Scheme


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


def _layout(strata: Any, images: int, subset: int | None = None, *, halves: bool = False) -> Layout:
    """Sort n images by their labels, for subsets of size `subset` or for `halves`.

    Raises:
        TypeError: JAX is tracing the labels.
        ValueError: there is not one label an image, or one is missing.
    """
    if isinstance(strata, Tracer):
        raise TypeError("strata must be known outside jit, where images are sorted by them; make the scheme there.")
    labels = np.zeros(images, int) if strata is None else np.asarray(strata)
    if labels.shape != (images,):
        raise ValueError(f"strata has shape {labels.shape}; it must hold one label for each of the {images} images.")
    blank = next((i for i, label in enumerate(labels.tolist()) if label is None or label != label), None)
    if blank is not None:
        raise ValueError(f"strata has no label for image {blank}; give every image one, such as 'other'.")
    # labels of several types have no order
    _, code = np.unique([repr(label) for label in labels] if labels.dtype == object else labels, return_inverse=True)
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


def _bootstrap_counts(key: jax.Array, b: jax.Array, layout: Layout) -> Float[Array, " n"]:
    """Counts of images drawn with replacement within their strata, in resample b."""
    key = jax.random.fold_in(key, b)
    n = layout.code.shape[0]
    pick = layout.start + jax.random.randint(key, (n,), 0, layout.size)
    return jnp.zeros(n).at[layout.order[pick]].add(1)


def _dirichlet_weights(key: jax.Array, b: jax.Array, layout: Layout) -> Float[Array, " n"]:
    """Exponential weights scaled to sum to the size of each stratum, in resample b."""
    n = layout.code.shape[0]
    share = jax.random.exponential(jax.random.fold_in(key, b), (n,))
    return share * layout.size / jax.ops.segment_sum(share, layout.code, n)[layout.code]


def _shuffle(key: jax.Array, b: jax.Array, layout: Layout) -> Int[Array, " n"]:
    """A permutation of the images that stays within strata."""
    return jnp.zeros_like(layout.order).at[layout.order].set(_shuffled(key, b, layout))


def _subset(key: jax.Array, b: jax.Array, layout: Layout) -> Int[Array, " m"]:
    """Images drawn without replacement, each stratum in proportion, in ascending order."""
    return jnp.sort(_shuffled(key, b, layout)[layout.kept])


def _half(key: jax.Array, b: jax.Array, layout: Layout) -> Int[Array, " m"]:
    """A random half of the images for even b, and what it leaves for the odd b that follows."""
    shuffled = _shuffled(key, b // 2, layout)
    return jnp.sort(jnp.where(b % 2 == 0, shuffled[layout.kept], shuffled[layout.other]))


def _shuffled(key, b, layout):
    """Images sorted by stratum, in random order within each."""
    draw = jax.random.uniform(jax.random.fold_in(key, b), layout.code.shape)
    return jnp.lexsort((draw, layout.code)).astype(layout.order.dtype)


def _drawn(scheme, n_resamples, layout) -> Plan:
    """Plan of random resamples.

    Raises:
        ValueError: the number of resamples is no positive whole number.
    """
    count = DEFAULT_RESAMPLES if n_resamples is None else n_resamples
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f"n_resamples must be a positive whole number for {describe(scheme)}, not {count!r}.")
    return Plan(int(count), layout=layout)


def _given(scheme, n_resamples, resamples) -> Plan:
    """Plan of explicit resamples.

    Raises:
        ValueError: there are none, another number is asked for, or strata stand beside them.
    """
    if not len(resamples):
        raise ValueError(f"{describe(scheme)} holds no resamples; give at least one row.")
    if getattr(scheme, "strata", None) is not None:
        raise ValueError(f"{describe(scheme)}: strata guide random draws and do nothing beside explicit ones.")
    if n_resamples not in (None, len(resamples)):
        raise ValueError(f"{describe(scheme)} gives {len(resamples)} resamples, not the {n_resamples} asked for.")
    return Plan(len(resamples), given=resamples)


WITH_INTERVALS = "use js.HalfSamples(), or js.Bootstrap() for ready-made maps"
"""Advice for who asks a scheme for what it does not say."""


def _normal_interval(self, values, estimate, level, size, images, *, bounded=True):
    """Normal interval on the scaled error `(2, ...)`."""
    return statistics.normal_interval(estimate, self.standard_error(values, size, images), level)


def _percentile_interval(self, values, estimate, level, size, images, *, bounded=True):
    """Percentile interval `(2, ...)`."""
    return statistics.percentile_interval(values, level)


def _spread(self, values, size, images):
    """Spread of the resamples."""
    return statistics.spread(values)


@dataclasses.dataclass(frozen=True, eq=False)
class HalfSamples:
    """Random halves of the images, each followed by the other half, everything refitted on each.

    Halves share no image, so that half the root mean square difference of two halves' scores is a standard error of the
    full sample's (McCarthy 1969, balanced half-samples). It counts the refitting of transforms and
    bandwidths, and its intervals are the ones that held their level in the coverage study.

    Attributes:
        strata: `(n,)` labels; every half then holds half of each label.
    """

    strata: Any = None
    kind: ClassVar[str] = "half-samples"
    draws: ClassVar[Draws] = Draws.SUBSETS
    fewest: ClassVar[int] = 4
    draw = staticmethod(_half)

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Resamples to make of n images.

        Raises:
            ValueError: the halves are too small for the measure, or the resamples come in no pairs.
        """
        layout = _layout(self.strata, images, halves=True)
        size = layout.kept.size
        if size < min_images:
            raise ValueError(
                f"halves of {images} images hold {size} each, and the measure needs {min_images} in each half."
            )
        plan = _drawn(self, n_resamples, layout)
        if plan.count % 2:
            raise ValueError(f"half-samples come in pairs: n_resamples must be even, not {plan.count}.")
        return plan._replace(size=size)

    def standard_error(self, values, size, images):
        """From the differences of two halves."""
        return statistics.half_sample_error(values, size, images)

    def interval(self, values, estimate, level, size, images, *, bounded=True):
        """Student's t interval, on Fisher's scale if bounded; a score of 1 is certain."""
        stretch = statistics.student_stretch(values.shape[0] // 2 - 1, level)
        error = self.standard_error(values, size, images) * stretch
        if not bounded:
            return statistics.normal_interval(estimate, error, level)
        certain = (jnp.abs(estimate) >= 1 - 8 * jnp.finfo(estimate.dtype).eps) & ~jnp.isnan(values).any(0)
        return jnp.where(certain, estimate, statistics.fisher_interval(estimate, error, level))


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
    """Images drawn with replacement, as integer weights on the images (Efron 1979).

    A pair of copies of one image has weight zero in comparators that read pairs of different images, as in
    rsatoolbox. Maps, transforms and bandwidths stay those of the full sample.

    Attributes:
        strata: `(n,)` labels; images are then drawn within each label.
        weights: `(B, n)` to use instead of random ones, such as counts drawn elsewhere. Rows of whole numbers are
            counts; other rows are scaled to sum to n.
    """

    strata: Any = None
    weights: Any = None
    kind: ClassVar[str] = "bootstrap"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    bootstraps: ClassVar[bool] = True
    draw = staticmethod(_bootstrap_counts)
    standard_error = _spread
    interval = _percentile_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Resamples to make of n images."""
        if self.weights is None:
            return _drawn(self, n_resamples, _layout(self.strata, images))
        return _given(self, n_resamples, _check_weights(self.weights, images))


@dataclasses.dataclass(frozen=True, eq=False)
class BayesianBootstrap:
    """Dirichlet weights with mean 1 on the images (Rubin 1981), so that hardly any image has weight zero.

    Attributes:
        strata: `(n,)` labels; weights then sum to the number of images within each label.
    """

    strata: Any = None
    kind: ClassVar[str] = "bayesian-bootstrap"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    bootstraps: ClassVar[bool] = True
    draw = staticmethod(_dirichlet_weights)
    standard_error = _spread
    interval = _percentile_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Resamples to make of n images."""
        return _drawn(self, n_resamples, _layout(self.strata, images))


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
    kind: ClassVar[str] = "subsample"
    draws: ClassVar[Draws] = Draws.SUBSETS
    estimate_optional: ClassVar[bool] = True
    draw = staticmethod(_subset)
    interval = _normal_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Resamples to make of n images."""
        given = _check_subsets(self, images, min_images)
        if given is not None:
            return _given(self, n_resamples, given)._replace(size=given.shape[1])
        return _drawn(self, n_resamples, _layout(self.strata, images, self.size))._replace(size=self.size)

    def standard_error(self, values, size, images):
        """Spread scaled by sqrt(m / (n - m))."""
        return statistics.subsample_error(values, size, images)


@dataclasses.dataclass(frozen=True)
class Jackknife:
    """Every image left out once (Quenouille 1949, Tukey 1958): n resamples, nothing random, nothing refitted."""

    kind: ClassVar[str] = "jackknife"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    accelerates: ClassVar[bool] = True
    draw: ClassVar[None] = None
    interval = _normal_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """One resample an image: weights of one, and zero for the image left out.

        Raises:
            ValueError: too few images are left for the measure.
        """
        if images - 1 < min_images:
            raise ValueError(f"a jackknife of {images} images keeps {images - 1}, and the measure needs {min_images}.")
        return _given(self, n_resamples, 1 - np.eye(images, dtype=np.float32))

    def standard_error(self, values, size, images):
        """Spread scaled by n - 1."""
        return statistics.jackknife_error(values)


@dataclasses.dataclass(frozen=True, eq=False)
class Permutation:
    """Images of one network shuffled against those of the other: scores if the networks had nothing in common.

    Attributes:
        strata: `(n,)` labels; images are then shuffled within each label.
    """

    strata: Any = None
    kind: ClassVar[str] = "permutation"
    draws: ClassVar[Draws] = Draws.ORDERS
    null: ClassVar[bool] = True
    fewest: ClassVar[int] = 1
    draw = staticmethod(_shuffle)

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Resamples to make of n images."""
        return _drawn(self, n_resamples, _layout(self.strata, images))

    def standard_error(self, values, size, images):
        """None: resamples of the null hypothesis say nothing of the estimate's error."""
        raise ValueError(f"there is no standard error for the scheme permutation; {WITH_INTERVALS}.")

    def interval(self, values, estimate, level, size, images, *, bounded=True):
        """None, as for the standard error."""
        raise ValueError(f"there is no interval for the scheme permutation; {WITH_INTERVALS}.")


_KINDS = {s.kind: s for s in (HalfSamples, Bootstrap, BayesianBootstrap, Subsample, Jackknife, Permutation)}
NAMED: Mapping[str, Any] = MappingProxyType(_KINDS)
"""Read-only view of every scheme by its kind; results, saved ones too, find their scheme here."""
DEFAULT_RESAMPLES = 100


def register(scheme: type) -> type:
    """Add your own class of `protocols.Scheme` to NAMED; usable as a decorator.

    Raises:
        ValueError: another class has its kind.
        TypeError: it cannot be made without arguments, as results make it for its errors and intervals.

    >>> register(Bootstrap) is NAMED["bootstrap"]  # known already, which is no error
    True
    """
    if _KINDS.get(scheme.kind, scheme) is not scheme:
        raise ValueError(f"there is a scheme of kind {scheme.kind!r} already: {_KINDS[scheme.kind].__name__}.")
    scheme()
    _KINDS[scheme.kind] = scheme
    return scheme


def describe(scheme: Scheme) -> str:
    """The scheme as text for the record, labels and arrays left out."""
    given = [
        f"{name}={value if isinstance(value, (int, float, str)) else 'given'}"
        for name, value in vars(scheme).items()
        if value is not None
    ]
    return f"{scheme.kind}({', '.join(given)})"


def _check_subsets(scheme: Subsample, images: int, min_images: int) -> Any:
    """The explicit subsets as an integer array, or None; those that JAX is tracing go unread.

    Raises:
        ValueError: neither or both of size and indices are given, or they do not fit the images.
    """
    if (scheme.size is None) == (scheme.indices is None):
        raise ValueError("Subsample takes either size or indices.")
    if scheme.indices is None:
        _check_size(scheme.size, images, min_images)
        return None
    rows = scheme.indices if isinstance(scheme.indices, Tracer) else np.asarray(scheme.indices)
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise ValueError(f"Subsample indices must be integers (B, m), not {rows.dtype} of shape {rows.shape}.")
    _check_size(rows.shape[1], images, min_images)
    if isinstance(rows, Tracer):
        return rows.astype(np.int32)
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


def _check_size(size, images, min_images):
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise ValueError(f"the size of a subset must be a whole number, not {size!r}.")
    if not min_images <= size <= images:
        raise ValueError(
            f"a subset of {size} images is impossible: the measure needs {min_images} and there are {images}."
        )


def _check_weights(weights: Any, images: int) -> Any:
    """Explicit bootstrap weights as floats `(B, n)`; those that JAX is tracing go unread.

    Raises:
        ValueError: they have another shape, are negative or not finite, or a row counts no image.
    """
    weights = weights if isinstance(weights, Tracer) else np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"bootstrap weights must be numbers, not {weights.dtype}.")
    weights = weights.astype(np.float32 if weights.dtype.itemsize <= 4 else float)
    if weights.ndim != 2 or weights.shape[1] != images:
        raise ValueError(f"bootstrap weights have shape {weights.shape}; they must be (B, {images}).")
    if isinstance(weights, Tracer):
        return _scaled(weights)
    bad = np.flatnonzero(~np.isfinite(weights).all(1) | (weights < 0).any(1) | (weights.sum(1) == 0))
    if bad.size:
        raise ValueError(f"row {bad[0]} of the bootstrap weights is negative, not finite, or all zero.")
    return _scaled(weights)


def _scaled(weights):
    """Rows of whole numbers as they are, which count images; other rows scaled to sum to n."""
    library = jnp if isinstance(weights, Tracer) else np
    counts = (weights == library.round(weights)).all(1, keepdims=True)
    return library.where(counts, weights, weights * (weights.shape[1] / weights.sum(1, keepdims=True)))
