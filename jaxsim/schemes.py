"""Resampling schemes of the images as values: how a scheme draws, and what its resamples say about the estimate."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsim import layouts, statistics
from jaxsim.foreign_arrays import numeric
from jaxsim.protocols import Draws, Plan, Scheme
from jaxsim.statistics.checks import as_count, is_whole, shown


def _drawn(n_resamples, default, layout) -> Plan:
    """Plan of random resamples.

    Raises:
        ValueError: the number of resamples is not a positive whole number.
    """
    count = as_count(default if n_resamples is None else n_resamples, "n_resamples")
    if layout.groups is None:
        return Plan(count, layout=layout)
    groups, strata = layout.groups.size.size, len(set(layout.groups.units.code.tolist()))
    return Plan(count, layout=layout, groups=groups, degrees=float(groups - strata))


def _explicit(scheme, n_resamples, resamples) -> Plan:
    """Plan of resamples chosen by the caller.

    Raises:
        ValueError: strata or groups are given as well, or as for `_given`.
    """
    for name in ("strata", "groups"):
        if getattr(scheme, name, None) is not None:
            raise ValueError(
                f"{describe(scheme)}: {name} only affect random draws, and these are explicit; leave {name} out."
            )
    return _given(scheme, n_resamples, resamples)


def _given(scheme, n_resamples, resamples) -> Plan:
    """Plan of explicit resamples.

    Raises:
        ValueError: there are none, or their number differs from the requested number.
    """
    if not len(resamples):
        raise ValueError(f"{describe(scheme)} holds no resamples; give at least one row.")
    if n_resamples is not None and as_count(n_resamples, "n_resamples") != len(resamples):
        raise ValueError(f"{describe(scheme)} gives {len(resamples)} resamples, not the {n_resamples} in n_resamples.")
    return Plan(len(resamples), given=resamples)


def _normal_interval(self, values, estimate, level, size, images, *, bounded=True, degrees=None):
    """Normal interval from the scaled error `(2, ...)`; Student's t for few groups."""
    stretch = 1 if degrees is None else statistics.student_stretch(degrees, level)
    return statistics.normal_interval(estimate, self.standard_error(values, size, images) * stretch, level)


def _percentile_interval(self, values, estimate, level, size, images, *, bounded=True, degrees=None):
    """Percentile interval `(2, ...)`."""
    return statistics.percentile_interval(values, level)


def _spread(self, values, size, images):
    """Spread of the resamples."""
    return statistics.spread(values)


@dataclasses.dataclass(frozen=True, eq=False)
class HalfSamples:
    """Random halves of the images, each followed by the other half, with everything refitted on each.

    The two halves share no images, so half the root mean square difference of their scores is a standard error of the
    full-sample score (McCarthy 1969, balanced half-samples). It includes the effect of refitting transforms and
    bandwidths. Its intervals are the ones that held their level in the coverage study.

    Attributes:
        strata: `(n,)` labels; every half then has half of each label.
        groups: `(n,)` labels of classes, scenes or runs that would be new in a new set of images; each half then
            consists of whole groups, half of them.
    """

    strata: Any = None
    groups: Any = None
    kind: ClassVar[str] = "half-samples"
    draws: ClassVar[Draws] = Draws.SUBSETS
    default_resamples: ClassVar[int] = 100
    fewest: ClassVar[int] = 4
    enough: ClassVar[int] = 20
    draw = staticmethod(layouts.half)

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan the resamples of n images.

        Raises:
            ValueError: the halves are too small for the measure, or the number of resamples is odd.
        """
        layout = layouts.halves(layouts.layout(self.strata, images, self.groups))
        size, whole = layout.kept.size, layout.groups
        drawn, of = size, f"{images} images"
        if whole is not None:  # a group is to new groups what an image is to new images
            drawn, of = whole.units.kept.size, f"{whole.size.size} groups"
        if min(drawn, size) < min_images:
            strata = "" if self.strata is None else f" in {len(layouts.strata_sizes(layout))} strata"
            why = "; each half takes half of every stratum, so merge small ones" * bool(strata)
            text = f"halves of {of}{strata} hold {drawn} each, and the measure needs {min_images} in each half{why}."
            raise ValueError(text)
        plan = _drawn(n_resamples, self.default_resamples, layout)
        if plan.count % 2:
            raise ValueError(f"half-samples come in pairs: n_resamples must be even, not {plan.count}.")
        if whole is None:
            return plan._replace(size=size)
        return plan._replace(size=size, groups_drawn=drawn, degrees=layouts.degrees(layout))

    def standard_error(self, values, size, images):
        """Standard error from the differences of two halves."""
        return statistics.half_sample_error(values, size, images)

    def errors(self, values, estimate, size, images):
        """Half the differences of two halves, with either sign."""
        errors = statistics.half_sample_errors(values, size, images)
        return jnp.concatenate([errors, -errors])

    def tests(self, values, estimate, null, size, images, *, bounded=True, degrees=None):
        """Tests by rotation of the differences of two halves.

        Bounded scores are tested on Fisher's scale. Some of the variance of differences is counted twice. Half of that
        part is subtracted, since differences of equal scores have little first-order variance.
        """
        errors = statistics.half_sample_errors(values, size, images)
        if bounded:
            errors, estimate, null = errors / (1 - estimate**2), jnp.arctanh(estimate), jnp.arctanh(null)
        else:
            errors *= jnp.sqrt(1 - statistics.second_order(values) / 2)
        return statistics.rotation_tests(errors, estimate, null, units=images if degrees is None else degrees + 1)

    def interval(self, values, estimate, level, size, images, *, bounded=True, degrees=None):
        """Student's t interval, on Fisher's scale if bounded; a score of 1 has no error.

        Each pair gives one degree of freedom, minus one in total. If groups were drawn, they limit the degrees of
        freedom.
        """
        error = self.standard_error(values, size, images)
        certain = (statistics.gap(jnp.abs(estimate), 1.0) == 0) | (error == 0)
        certain &= ~jnp.isnan(values).any(0)
        pairs = values.shape[0] // 2 - 1
        if degrees is not None and pairs:
            pairs = 1 / (1 / pairs + 1 / degrees)
        error = error * statistics.student_stretch(pairs, level)
        if not bounded:
            return statistics.normal_interval(estimate, error, level)
        return jnp.where(certain, estimate, statistics.fisher_interval(estimate, error, level))


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
    """Images drawn with replacement, as integer weights on the images (Efron 1979).

    In comparators that read pairs of different images, two copies of the same image get weight zero, as in rsatoolbox.
    Maps, transforms and bandwidths stay those of the full sample.

    Attributes:
        strata: `(n,)` labels; images are then drawn within each label.
        groups: `(n,)` labels; whole groups of images are then drawn, as many as there are.
        weights: `(B, n)` weights to use instead of random ones, such as counts drawn elsewhere. Rows of whole numbers
            are counts; other rows are scaled to sum to n.
    """

    strata: Any = None
    weights: Any = None
    groups: Any = None
    kind: ClassVar[str] = "bootstrap"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    default_resamples: ClassVar[int] = 1000
    bootstraps: ClassVar[bool] = True
    draw = staticmethod(layouts.bootstrap_counts)
    standard_error = _spread
    interval = _percentile_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan the resamples of n images."""
        if self.weights is None:
            return _drawn(n_resamples, self.default_resamples, layouts.layout(self.strata, images, self.groups))
        return _explicit(self, n_resamples, _check_weights(self.weights, images))


@dataclasses.dataclass(frozen=True, eq=False)
class BayesianBootstrap:
    """Dirichlet weights with mean 1 on the images (Rubin 1981), so that hardly any image has weight zero.

    Attributes:
        strata: `(n,)` labels; weights then sum to the number of images within each label.
        groups: `(n,)` labels; all images of a group then have the same weight.
    """

    strata: Any = None
    groups: Any = None
    kind: ClassVar[str] = "bayesian-bootstrap"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    default_resamples: ClassVar[int] = 1000
    bootstraps: ClassVar[bool] = True
    draw = staticmethod(layouts.dirichlet_weights)
    standard_error = _spread
    interval = _percentile_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan the resamples of n images."""
        return _drawn(n_resamples, self.default_resamples, layouts.layout(self.strata, images, self.groups))


@dataclasses.dataclass(frozen=True, eq=False)
class Subsample:
    """Images drawn without replacement, with everything refitted on each subset: the protocol of DDS 2020, Table 4.

    The raw spread is the number in that table; `Resamples.standard_error` scales it to a standard error.

    Attributes:
        size: number of images in a subset.
        indices: `(B, m)` subsets to use instead of random ones; a row may not repeat an image.
        strata: `(n,)` labels; subsets then contain each label in proportion.
        groups: `(n,)` labels; a subset then consists of whole groups, except for the last one, of which a random part
            fills the remaining places.
    """

    size: int | None = None
    indices: Any = None
    strata: Any = None
    groups: Any = None
    kind: ClassVar[str] = "subsample"
    draws: ClassVar[Draws] = Draws.SUBSETS
    default_resamples: ClassVar[int] = 100
    estimate_optional: ClassVar[bool] = True
    draw = staticmethod(layouts.subset)
    interval = _normal_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan the resamples of n images.

        Raises:
            ValueError: a subset is too small for the measure, or may fall in too few groups for it.
        """
        given = _check_subsets(self, images, min_images)
        if given is not None:
            return _explicit(self, n_resamples, given)._replace(size=given.shape[1])
        assert self.size is not None
        found = layouts.layout(self.strata, images, self.groups)
        if found.groups is not None:
            _check_spread(self.size, found, min_images)
        layout = layouts.subsets(found, self.size)
        return _drawn(n_resamples, self.default_resamples, layout)._replace(size=self.size)

    def standard_error(self, values, size, images):
        """Spread scaled by sqrt(m / (n - m))."""
        return statistics.subsample_error(values, size, images)

    def errors(self, values, estimate, size, images):
        """Deviations from the mean, scaled by sqrt(m / (n - m))."""
        return statistics.subsample_errors(values, size, images)


@dataclasses.dataclass(frozen=True, eq=False)
class Jackknife:
    """Leave out each image once (Quenouille 1949, Tukey 1958): n resamples, nothing random, nothing refitted.

    Attributes:
        groups: `(n,)` labels; each group of images is then left out once.
    """

    groups: Any = None
    kind: ClassVar[str] = "jackknife"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    default_resamples: ClassVar[int | None] = None
    accelerates: ClassVar[bool] = True
    draw: ClassVar[None] = None
    interval = _normal_interval

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan one resample per image or group: weight zero for what is left out, one for the rest.

        Raises:
            ValueError: too few images remain for the measure.
        """
        whole = layouts.layout(None, images, self.groups).groups
        units, of = (images, "images") if whole is None else (whole.size.size, "groups")
        if units - 1 < min_images:
            raise ValueError(f"a jackknife of {units} {of} keeps {units - 1}, and the measure needs {min_images}.")
        out = np.arange(images) if whole is None else whole.code
        plan = _given(self, n_resamples, (np.arange(units)[:, None] != out).astype(np.float32))
        return plan if whole is None else plan._replace(groups=units, degrees=float(units - 1))

    def standard_error(self, values, size, images):
        """Spread scaled by n - 1."""
        return statistics.jackknife_error(values)


@dataclasses.dataclass(frozen=True, eq=False)
class Permutation:
    """Images of one network shuffled relative to those of the other, for scores of unrelated networks.

    Attributes:
        strata: `(n,)` labels; images are then shuffled within each label.
        groups: `(n,)` labels; whole groups then swap places with groups of the same size, keeping the order of their
            images.
    """

    strata: Any = None
    groups: Any = None
    kind: ClassVar[str] = "permutation"
    draws: ClassVar[Draws] = Draws.ORDERS
    default_resamples: ClassVar[int] = 1000
    null: ClassVar[bool] = True
    fewest: ClassVar[int] = statistics.resamples_needed(0.05)
    draw = staticmethod(layouts.shuffle)

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan the resamples of n images."""
        layout = layouts.interchangeable(layouts.layout(self.strata, images, self.groups))
        return _drawn(n_resamples, self.default_resamples, layout)._replace(distinct=layouts.rearrangements(layout))

    def _refuse(self, *_, **__):
        """Reject errors and intervals: resamples of the null hypothesis say nothing about the estimate's error."""
        raise ValueError(
            "the scheme permutation gives no error and no interval; js.recommend_scheme names one that does."
        )

    standard_error = interval = _refuse


_KINDS = {s.kind: s for s in (HalfSamples, Bootstrap, BayesianBootstrap, Subsample, Jackknife, Permutation)}
NAMED: Mapping[str, Any] = MappingProxyType(_KINDS)
"""Read-only view of all schemes by kind; results, including saved ones, look up their scheme here."""
MOST_COPIES = 2**20
"""Number of copies of an image above which explicit weights are not treated as counts."""


def register(scheme: type) -> type:
    """Add your own `protocols.Scheme` class to NAMED; can be used as a decorator.

    Raises:
        ValueError: another class has the same kind.
        TypeError: it cannot be created without arguments, which results need for errors and intervals.

    >>> register(Bootstrap) is NAMED["bootstrap"]  # known already, which is no error
    True
    """
    if _KINDS.get(scheme.kind, scheme) is not scheme:
        raise ValueError(f"there is already a scheme of kind {scheme.kind!r}: {_KINDS[scheme.kind].__name__}.")
    scheme()
    _KINDS[scheme.kind] = scheme
    return scheme


def describe(scheme: Scheme) -> str:
    """The scheme as text for the record, without labels and arrays."""
    given = {name: value for name, value in vars(scheme).items() if value is not None}
    shown = [f"{k}={v if isinstance(v, (int, float, str, np.integer)) else 'given'}" for k, v in given.items()]
    return f"{scheme.kind}({', '.join(shown)})"


def _check_subsets(scheme: Subsample, images: int, min_images: int) -> Any:
    """The explicit subsets as an integer array, or None; subsets that JAX is tracing are not checked.

    Raises:
        ValueError: neither or both of size and indices are given, or they do not match the images.
    """
    if (scheme.size is None) == (scheme.indices is None):
        raise ValueError("Subsample takes either size or indices.")
    if scheme.indices is None:
        _check_size(scheme.size, images, min_images)
        return None
    rows = numeric(scheme.indices, "indices", cast=False)
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise ValueError(f"Subsample indices must be integers (B, m), not {rows.dtype} of shape {rows.shape}.")
    _check_size(rows.shape[1], images, min_images)
    if isinstance(rows, Tracer):
        return rows.astype(np.int32)
    rows = np.asarray(rows)
    outside = np.flatnonzero((rows < 0).any(1) | (rows >= images).any(1))
    if outside.size:
        raise ValueError(f"row {outside[0]} of the subsample indices names an image outside 0 ... {images - 1}.")
    ordered = np.sort(rows, 1)
    twice = np.argwhere(ordered[:, 1:] == ordered[:, :-1])
    if twice.size:
        b, k = twice[0]
        raise ValueError(
            f"row {b} of the subsample indices has image {ordered[b, k]} more than once; to draw with replacement, use "
            "Bootstrap, which weights repeated images."
        )
    return rows.astype(np.int32)


def _check_size(size, images, min_images):
    if not is_whole(size):
        raise ValueError(f"the size of a subset must be a whole number, not {shown(size)}.")
    if not min_images <= size <= images:
        text = f"a subset of {size} images is impossible"
        raise ValueError(f"{text}: the measure needs {min_images} and there are {images}.")


def _check_spread(size: int, found: layouts.Layout, min_images: int) -> None:
    """Reject subsets that may fall in fewer groups than the measure needs, with each stratum giving its share."""
    assert found.groups is not None
    images, stratum = np.bincount(found.code), found.groups.units.code
    filled = [np.cumsum(np.sort(found.groups.size[stratum == s])[::-1]) for s in range(images.size)]

    def fewest(m):
        quotas = layouts.in_proportion(images, m)
        return sum(int(np.searchsorted(sums, quota)) + (quota > 0) for sums, quota in zip(filled, quotas, strict=True))

    if (count := fewest(size)) < min_images:
        enough = next((m for m in range(size + 1, images.sum()) if fewest(m) >= min_images), None)
        remedy = "give more groups" if enough is None else f"draw at least {enough} images"
        raise ValueError(
            f"a subset of {size} images may fall in only {count} of the {stratum.size} groups, and the measure needs "
            f"{min_images}; {remedy}."
        )


def _check_weights(weights: Any, images: int) -> Any:
    """Explicit bootstrap weights as floats `(B, n)` that sum to n unless they are counts; traced ones are not checked.

    Raises:
        ValueError: they have the wrong shape, are negative or not finite, or a row has no positive weight.
    """
    weights = numeric(weights, "bootstrap weights", cast=False)
    weights = (weights if isinstance(weights, Tracer) else np.asarray(weights)).astype(
        np.float32 if weights.dtype.itemsize <= 4 else float
    )
    if weights.ndim != 2 or weights.shape[1] != images:
        raise ValueError(f"bootstrap weights have shape {weights.shape}; they must be (B, {images}).")
    library: Any = jnp if isinstance(weights, Tracer) else np
    if library is np:
        bad = np.flatnonzero(~np.isfinite(weights).all(1) | (weights < 0).any(1) | (weights.sum(1) == 0))
        if bad.size:
            raise ValueError(f"row {bad[0]} of the bootstrap weights is negative, not finite, or all zero.")
    # floats above a certain size are all whole numbers, which does not make them counts
    counts = ((weights == library.round(weights)) & (weights < MOST_COPIES)).all(1, keepdims=True)
    return library.where(counts, weights, weights * (images / weights.sum(1, keepdims=True)))
