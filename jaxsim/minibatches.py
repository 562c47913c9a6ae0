"""Debiased scores of networks from running sums over batches of images, without keeping features or maps.

For every pair of networks, the unbiased HSIC of each batch is summed, times b (b - 3) for a batch of b images, and the
score is a ratio of such sums (Nguyen, Raghu and Kornblith 2021, section 2). A batch then counts by its number of image
pairs. Pairs across batches are not seen.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import inputs
from jaxsim.compare.embedded import sized
from jaxsim.compare.triangles import condensed
from jaxsim.engine import reasons, tiles
from jaxsim.engine.checks import as_measures, as_one, check, min_images, warn_of_lost_digits
from jaxsim.engine.padding import buckets
from jaxsim.engine.program import read_maps
from jaxsim.inputs import traced
from jaxsim.io.files import counted, warn
from jaxsim.linalg import compensated_add, long_dot, mirrored, remove_mean
from jaxsim.measures import Measure, name_of
from jaxsim.meshes import automatic
from jaxsim.protocols import (
    MARGINS,
    ComparatorCapabilities,
    PairwiseCapabilities,
    TransformCapabilities,
    declared,
    holds_arrays,
)
from jaxsim.results import Affinity, Provenance, UndefinedScores
from jaxsim.statistics.checks import flag


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Minibatches:
    """Running sums over batches of images, and the similarity of networks computed from them.

    An immutable pytree: `add` and `merge` return a new one, and work inside `jax.jit` and `scan`. Its size depends only
    on the number T of networks.

    With `u` the U-centered map of a batch, `found.affinity()` is sum(u_x . u_y) / sqrt(sum(u_x . u_x) sum(u_y . u_y)).
    Each sum is unbiased whatever the batch sizes, and a single batch of all images gives `js.affinity`. The ratio of
    the sums has a bias of order 1 / (total number of images). Smaller batches see fewer pairs of images, so the score
    varies more. If all features fit in memory, or can be read from files in tiles, `js.affinity` is the better
    estimate.

    Attributes:
        names: names of the T networks.
        measure: the measure that compares them.
        total: sums over batches of inner products of centered maps, divided by `scale` of both networks, `(T, T)`.
        lost: rounding error accumulated in the sums, `(T, T)`.
        scale: powers of two near the largest entries of each network's maps so far, `(T,)`; zero if there are none.
        batches: number of batches, `()`.
        images: number of images in the batches, `()`.
        dropped: number of images in batches that were too small, `()`.

    >>> import jax, jaxsim as js
    >>> found = js.Minibatches.of(["a", "b"], "cka")
    >>> for key in jax.random.split(jax.random.key(0), 20):
    ...     x = jax.random.normal(key, (32, 8))  # features of 32 images
    ...     found = found.add({"a": x, "b": x[:, :5]})
    >>> found
    Minibatches(cka-linear, 2 networks, 20 batches of 640 images in all)
    >>> print(found.affinity())
    cka-linear, 2 x 2, 640 images
           a      b
    a  1.000  0.811
    b  0.811  1.000
    """

    measure: Measure
    total: jax.Array
    lost: jax.Array
    scale: jax.Array
    batches: jax.Array
    images: jax.Array
    dropped: jax.Array
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, names: Iterable[str], measure: str | Measure) -> "Minibatches":
        """Start with no batches, for these networks.

        Sums have JAX's default floating-point type, which is float64 if the user enabled it.

        Args:
            names: names of two or more networks.
            measure: a measure or its name. It must use `u_centered_cosine`, as `js.CKA_LINEAR` does, and its transform
                and map of two images must not depend on other images.

        Raises:
            TypeError: names are not a list of names, or the measure is not a measure.
            ValueError: there are too few names, one appears twice, or the measure has no sums over batches (biased
                measures, ranks, subspaces, median bandwidths, z-scores). The message says what to use instead.
        """
        names = _as_names(names, "names")
        if len(names) < 2:
            raise ValueError(f"Minibatches compares networks with each other; names has {counted(len(names), 'name')}.")
        measure = as_one(as_measures(measure), "Minibatches")
        _refuse_whole_sample(measure)
        square, none = jnp.zeros((len(names),) * 2), jnp.zeros((), jnp.int32)
        return cls(measure, square, square, square[0], none, none, none, names)

    def add(self, features: Any, *, channels: Any = None, drop_small: bool = False) -> "Minibatches":
        """Return these sums with one more batch added.

        Args:
            features: features of the same b images in the same order: a mapping of all names to `(b, ..., c)`, a list
                in the order of the names, or a stack `(T, b, ..., c)`. Widths may differ, also from batch to batch.
            channels: as for `js.affinity`.
            drop_small: leave out a batch with too few images and count it in `dropped`, instead of raising an error.

        Raises:
            TypeError: an array is not numeric.
            ValueError: networks or shapes do not match, there are fewer than 4 images, or a network has no map of the
                batch, because its features are NaN. While JAX is tracing this cannot be raised; scores are then NaN.
        """
        self._refuse_stack("add")
        drop_small = flag(drop_small, "drop_small")
        nets = self._networks(features, channels)
        fewest = min_images(self.measure)
        if nets.images < fewest:
            if drop_small:
                return dataclasses.replace(self, dropped=self.dropped + nets.images)
            text = f"{self.measure} needs at least {fewest} images in a batch; this one has {nets.images}"
            raise ValueError(f"{text}: add them to another batch, or leave them out with drop_small=True.")
        check([self.measure], nets)
        # a separate scale for each batch would weight the batches
        free = self.measure.freedom._replace(scale=False, each=False)
        warn_of_lost_digits(f"its {self.measure} scores", free, nets)
        found, broken = _added(self, *buckets(nets.cast(free), [self.measure]))
        if not traced(broken) and np.any(broken):
            k = int(np.argmax(broken))
            why = _overflow(nets, k) or f"{reasons.why(self.measure, nets, k)}; leave such images out of all networks"
            raise ValueError(f"network {nets.names[k]!r} has no {self.measure} map of this batch: {why}.")
        return found

    def merge(self, other: "Minibatches") -> "Minibatches":
        """Add two sets of sums, such as those of two workers that saw different batches.

        Raises:
            TypeError: `other` is not a `Minibatches`.
            ValueError: it has other networks or another measure.
        """
        if not isinstance(other, Minibatches):
            raise TypeError(f"merge takes other Minibatches, not {type(other).__name__}.")
        for one in (self, other):
            one._refuse_stack("merge")
        for what, own, others in (
            ("networks", ", ".join(self.names), ", ".join(other.names)),
            ("measure", str(self.measure), str(other.measure)),
        ):
            if own != others:
                raise ValueError(f"these Minibatches have the {what} {own}, and the others {others}: make them alike.")
        return _merged(self, other)

    def affinity(self, against: Iterable[str] | None = None) -> Affinity:
        """Scores of all networks with each other, from the batches so far.

        Args:
            against: names of the networks of the columns; the rows are then all others.

        Raises:
            TypeError: `against` is not a list of names.
            ValueError: no batch was added, or `against` leaves no rows or contains an unknown name.
        """
        self._refuse_stack("affinity")
        known = not traced(self.total)
        if known and not self.batches:
            raise ValueError("there are no scores yet: no batch was added.")
        columns = self.names if against is None else _as_names(against, "against")
        if strange := [name for name in columns if name not in self.names]:
            raise ValueError(f"against names {strange[0]!r}; the networks are {', '.join(self.names)}.")
        rows = self.names if against is None else tuple(name for name in self.names if name not in columns)
        if not rows or not columns:
            raise ValueError("against must name some of the networks and leave some for the rows.")
        places = [np.asarray([self.names.index(name) for name in side]) for side in (rows, columns)]
        values = _ratios(self.measure, self.total - self.lost)[places[0]][:, places[1]]
        notes = [f"a ratio of sums over {self._seen()}: pairs of images in different batches are not seen"]
        if known and self.dropped:
            notes.append(f"left out: {counted(int(self.dropped), 'image')} in batches that were too small")
        images = np.full(values.shape, int(self.images)) if known else jnp.full(values.shape, self.images)
        provenance = Provenance.now(str(self.measure), values, notes=tuple(notes))
        undefined = self._warn_of_undefined(rows + columns) if known else ()
        return Affinity(values, images, rows, columns, provenance, undefined, against is not None)

    def __repr__(self) -> str:
        return f"Minibatches({self.measure}, {len(self.names)} networks, {self._seen()})"

    def _seen(self) -> str:
        """Text with the number of batches and images; without numbers while JAX is tracing, or after `vmap`."""
        if traced(self.batches) or jnp.ndim(self.batches):
            return "batches"
        count = int(self.batches)
        return f"{count} batch{'es' * (count != 1)} of {counted(int(self.images), 'image')} in all"

    def _refuse_stack(self, verb: str) -> None:
        """Reject an object stacked by `vmap`.

        Raises:
            ValueError: it has an extra axis.
        """
        if jnp.ndim(self.batches):
            text = f"these are {len(self.batches)} Minibatches that vmap stacked"
            raise ValueError(f"{text}; call {verb} inside vmap too.")

    def _networks(self, features, channels) -> inputs.Networks:
        """One batch of all networks, in the order of the names."""
        if isinstance(features, Mapping):
            given = {str(name): x for name, x in features.items()}
            wrong = [n for n in self.names if n not in given] or [n for n in given if n not in self.names]
            if wrong:
                there = "lacks" if wrong[0] in self.names else "has"
                raise ValueError(f"this batch {there} network {wrong[0]!r}; the networks are {', '.join(self.names)}.")
            features = {name: given[name] for name in self.names}
        elif hasattr(features, "__len__") and len(features) != len(self.names):
            text = f"this batch has features of {len(features)} networks, without names"
            raise ValueError(f"{text}; there are {len(self.names)}: {', '.join(self.names)}.")
        elif isinstance(features, list | tuple):
            features = dict(zip(self.names, features, strict=True))
        if isinstance(features, Mapping):
            rows = {name: x.shape[0] for name, x in features.items() if getattr(x, "shape", ())}
            first = next(iter(rows), "")
            if odd := [name for name in rows if rows[name] != rows[first]]:
                text = f"networks {first!r} and {odd[0]!r} have {rows[first]} and {rows[odd[0]]} images"
                raise ValueError(f"{text}; all networks in a batch need the same images.")
        nets = inputs.networks(features, channels=channels)
        return dataclasses.replace(inputs.same_images(nets)[0], names=self.names)

    def _warn_of_undefined(self, among) -> tuple[tuple[str, int], ...]:
        """Networks without scores, with a warning and a reason for each."""
        sizes = np.asarray(jnp.diagonal(self.total))
        found = {name: size for name, size in zip(self.names, sizes, strict=True) if name in among and not size > 0}
        for name, size in found.items():
            why = "its map is only rounding error in every batch: its images have the same features, or tiny ones"
            why = "its features were NaN or infinite in a batch, inside jit" if np.isnan(size) else why
            warn(f"network {name!r} has no {self.measure} scores (NaN): {why}.", UndefinedScores)
        return tuple((name, 0) for name in found)


def _as_names(names: Any, what: str) -> tuple[str, ...]:
    """Distinct names of networks.

    Raises:
        TypeError: they are not a list of names.
        ValueError: a name appears twice.
    """
    listed = isinstance(names, Iterable) and not isinstance(names, str)
    found: tuple[str, ...] = tuple(names) if listed else ()
    if not listed or not all(isinstance(name, str) for name in found):
        raise TypeError(f'{what} must be a list of names of networks, such as ["a", "b"], not {names!r}.')
    inputs.refuse_repeated_names(found, what)
    return found


def _overflow(nets: inputs.Networks, k: int) -> str:
    """Text about features of network `k` whose products are too large; empty if they are not."""
    x, dtype = np.asarray(nets.arrays[k]), nets.dtype
    largest = float(np.max(np.abs(x)))
    if not np.isfinite(largest) or largest**2 * x[0].size <= float(np.finfo(dtype).max):
        return ""
    return f"products of its features, up to {largest:.3g}, are beyond the range of {dtype}; scale those of all batches"


def _why_not(measure: Measure) -> str:
    """Text on why the score is not a ratio of sums over batches; empty if it is."""
    transform = declared(measure.transform, TransformCapabilities)
    pairwise = declared(measure.pairwise, PairwiseCapabilities)
    compare = declared(measure.compare, ComparatorCapabilities)
    shifts = pairwise.ignores_shift or (pairwise.inner_product and compare.invariance >= MARGINS)
    if compare.summable is None:
        biased = f"{name_of(measure.compare)} has a bias that depends on the size of the batch"
        return biased if compare.debiased else f"{name_of(measure.compare)} of all images is not a sum over batches"
    if not pairwise.by_pair:
        return f"{name_of(measure.pairwise)} needs all images together, as it does not declare by_pair"
    if not (transform.by_image or (transform.only_shifts and shifts)):
        return f"the transform {name_of(measure.transform)} needs all images together, as it does not declare by_image"
    return ""


def _refuse_whole_sample(measure: Measure) -> None:
    """Reject a measure whose score is not a ratio of sums over batches.

    Raises:
        ValueError: it is not; the message names the part that needs all images, and an alternative.
    """
    words, debiased = _why_not(measure), declared(measure.compare, ComparatorCapabilities).debiased
    if not words:
        return
    remedy = f"js.affinity computes it{'' if tiles.why_not(measure) else ', in tiles (tile=) if memory is short'}"
    if debiased is not None and not _why_not(better := dataclasses.replace(measure, compare=debiased)):
        remedy = f"{better} has none"
    raise ValueError(f"{measure} cannot be summed over batches: {words}; {remedy}.")


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class _OneScale:
    """A distance or kernel whose maps have the same scale in all batches, with the precision that a comparator needs.

    What is subtracted from the features of a batch changes its map only by terms a_i + a_j.
    """

    pairwise: Any
    invariance: int

    def __call__(self, x, where=None):
        own = declared(self.pairwise, PairwiseCapabilities)
        if own.inner_product and self.invariance >= MARGINS:
            x = remove_mean(x, 0)
        if own.stable is None or own.keeps_scale:
            return self.pairwise(x) if where is None else self.pairwise(x, where)
        product, finish = own.stable(self.invariance)
        return finish(product(x, where), jnp.asarray(x.shape[1] if where is None else jnp.sum(where), x.dtype))

    @property
    def accepts_padding(self) -> bool:
        """Whether the distance or kernel does so."""
        return declared(self.pairwise, PairwiseCapabilities).accepts_padding

    def tree_flatten(self):
        """Arrays are traced; everything else is static."""
        if holds_arrays(self.pairwise):
            return (self.pairwise,), (None, self.invariance)
        return (), (self.pairwise, self.invariance)

    @classmethod
    def tree_unflatten(cls, static, children):
        """Put a pairwise function with arrays back."""
        pairwise, invariance = static
        return cls(children[0] if children else pairwise, invariance)


@jax.jit
@automatic
def _added(state, parts, places):
    """The state with one more batch, and the networks `(T,)` whose maps of the batch have no value."""
    own = declared(state.measure.compare, ComparatorCapabilities)
    summable: Any = own.summable

    def read(_, m):
        v, length, power = sized(summable(m), condensed(m))
        # rounding alone is set to zero, and NaN is kept
        there = length > 0
        return jnp.where(there, v, 0 * v), jnp.where(there, power, 0)

    at_one_scale = dataclasses.replace(state.measure, pairwise=_OneScale(state.measure.pairwise, own.invariance))
    z, power = (a[places].astype(state.total.dtype) for a in read_maps([at_one_scale], parts, read).z[0])
    total, lost, scale = _rescaled(state, power)
    z = z * (power / jnp.where(scale > 0, scale, 1))[:, None]
    total, lost = compensated_add(total, lost, long_dot(z, z))
    images = state.images + parts[0].shape[0]
    found = dataclasses.replace(state, total=total, lost=lost, scale=scale, batches=state.batches + 1, images=images)
    return found, ~jnp.isfinite(jnp.sum(z, 1))


@jax.jit
def _merged(one, other):
    total, lost, scale = _rescaled(one, other.scale)
    more, more_lost, _ = _rescaled(other, one.scale)
    total, lost = compensated_add(total, lost + more_lost, more)
    counts = {name: getattr(one, name) + getattr(other, name) for name in ("batches", "images", "dropped")}
    return dataclasses.replace(one, total=total, lost=lost, scale=scale, **counts)


def _rescaled(state, power):
    """Sums at the larger of two powers of two for each network, and these powers."""
    scale = jnp.maximum(state.scale, power)
    kept = state.scale / jnp.where(scale > 0, scale, 1)
    both = kept[:, None] * kept[None]
    return state.total * both, state.lost * both, scale


@jax.jit
def _ratios(measure, sums):
    """Scores `(T, T)` from sums of inner products."""
    length = jnp.sqrt(jnp.diagonal(sums))
    length = jnp.where(length > 0, length, jnp.nan)
    found = declared(measure.compare, ComparatorCapabilities).finish(sums / length[:, None] / length[None])
    return mirrored(found)
