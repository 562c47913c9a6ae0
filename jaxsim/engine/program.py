"""Device programs: every map is built once, measures share products, and scores are one matrix product."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsim.engine import feature_space
from jaxsim.engine.devices import SHARES, WHOLE, cross, divided, whole
from jaxsim.engine.padding import Bucket
from jaxsim.linalg import long_dot, mirrored, on_cpu
from jaxsim.measures import Measure
from jaxsim.meshes import automatic
from jaxsim.protocols import (
    ComparatorCapabilities,
    PairwiseCapabilities,
    TransformCapabilities,
    declared,
    holds_arrays,
    product_and_finish,
)

DIMENSIONS = -3
"""Stands in `Embedded.undefined` for a subspace of no dimension."""
WORKING_BYTES = 2e9
"""Bytes for networks worked on at once on an accelerator."""


class Embedded(NamedTuple):
    """Networks ready to be compared.

    Attributes:
        z: one entry a measure, the embedded maps `(T, k)`, or the maps `(T, n, n)` where there is no embedding.
        undefined: one entry a measure, `(T,)`: -1 for a network that has scores, or `DIMENSIONS` less those of its
            subspace; else the number of its images whose features are not finite or that have no distances, 0 if the
            fault lies in the map as a whole.
    """

    z: list[Any]
    undefined: list[jax.Array]


class _Shared:
    """Features of one network and what the measures have already computed from them."""

    def __init__(self, x, where):
        self.x, self.where = x, where
        self.transformed: list[tuple[Any, Any, Any]] = []
        self.products: dict[tuple[int, Any], Any] = {}

    def features(self, transform) -> tuple[int, Any, Any]:
        for k, (known, x, where) in enumerate(self.transformed):
            if known is transform or (not holds_arrays(transform) and known == transform):
                return k, x, where
        x = transform(self.x) if self.where is None else transform(self.x, self.where)
        after = declared(transform, TransformCapabilities).padding_after
        where = None if self.where is None else after(self.where)
        self.transformed.append((transform, x, where))
        return len(self.transformed) - 1, x, where

    def map(self, measure: Measure):
        k, x, where = self.features(measure.transform)
        product, finish = product_and_finish(measure.pairwise, measure.compare)
        if product is None or finish is None:
            return measure.pairwise(*((x,) if where is None else (x, where)))
        if declared(measure.pairwise, PairwiseCapabilities).ignores_shift and self._only_shifts(k):
            # a shift of all images changes no difference between them
            k = next((j for j, known in self.products if known is product and self._only_shifts(j)), k)
        if (k, product) not in self.products:
            self.products[k, product] = product(x, where)
        return finish(self.products[k, product], jnp.asarray(x.shape[1] if where is None else jnp.sum(where), x.dtype))

    def _only_shifts(self, k):
        return declared(self.transformed[k][0], TransformCapabilities).only_shifts


def read_maps(measures: Sequence[Measure], parts: Sequence[Bucket], read: Callable) -> Embedded:
    """`read(measure, map)` for every network and measure, stacked over networks in the order of the buckets.

    Networks are mapped over: one at a time on a CPU, where each uses all cores, and several at once elsewhere.
    """

    def one(x_where):
        shared = _Shared(*x_where)
        maps = [shared.map(m) for m in measures]
        found = [read(m, k) for m, k in zip(measures, maps, strict=True)]
        return Embedded(found, [_without_distances(*each) for each in zip(measures, maps, found, strict=True)])

    if not measures:
        return Embedded([], [])
    stacks = [b.map(one, at_once(1, b.shape[0], b.shape[1:])) for b in parts]
    made = jax.tree.map(_joined, *stacks)
    return made._replace(undefined=_blame_features(parts, made.undefined))


def _joined(*stacks):
    """Stacks in one; coordinates of fewer columns than others get columns of zeros."""
    if stacks[0].ndim == 3:
        widest = max(s.shape[2] for s in stacks)
        stacks = [jnp.pad(s, ((0, 0), (0, 0), (0, widest - s.shape[2]))) for s in stacks]
    return jnp.concatenate(stacks)


def _without_distances(measure, m, found):
    """Images without distances to most others, if anything read from the map is NaN; else -1, or dimensions."""
    # the sum of an embedding is NaN if any entry is; looking at every entry costs ten times as much on a CPU
    leaves = [a for a in jax.tree.leaves(found) if jnp.issubdtype(a.dtype, jnp.floating)]
    broken = jnp.isnan(sum(jnp.sum(a) for a in leaves))
    own = declared(measure.compare, ComparatorCapabilities).dimensions
    fine = jnp.asarray(-1) if own is None else DIMENSIONS - own(m)
    return lax.cond(broken, lambda: jnp.sum(jnp.sum(jnp.isnan(m), 1) > m.shape[1] // 2), lambda: fine)


def _blame_features(parts, undefined):
    """Images with features that are not finite, where a network without scores has any.

    The features are looked at only if some network has no scores.
    """
    broken = jnp.any(jnp.stack(undefined) >= 0)
    found = lax.cond(broken, lambda: feature_space.not_finite(parts), lambda: jnp.zeros(undefined[0].shape, int))
    return [jnp.where((count >= 0) & (found > 0), found, count) for count in undefined]


def at_once(networks: int, images: int, shape: Sequence[int]) -> int | None:
    """Networks, or groups of so many, that are worked on together; None on a CPU, where each uses all cores."""
    if on_cpu():
        return None
    return max(1, int(WORKING_BYTES // (8 * networks * images * (images + math.prod(shape)))))


def embed(measure: Measure, m: jax.Array) -> jax.Array:
    """The map as the comparator compares it."""
    own = declared(measure.compare, ComparatorCapabilities).embed
    return m if own is None else own(m)


def is_embedded(measure: Measure) -> bool:
    """Whether scores come from embedded maps, and are symmetric therefore; others are a function of two maps."""
    own = declared(measure.compare, ComparatorCapabilities)
    return own.embed is not None or own.scores is not None


def score(measure: Measure, a: jax.Array, b: jax.Array) -> jax.Array:
    """`(S, T)` scores of embedded maps: one matrix product, or a loop over pairs for a comparator without embedding."""
    own = declared(measure.compare, ComparatorCapabilities)
    if own.scores is not None:
        return own.scores(a, None if b is a else b)
    if own.embed is not None:
        return own.finish(long_dot(a, b))
    return lax.map(lambda u: lax.map(lambda v: measure.compare(u, v), b), a)


def all_scores(measure: Measure, a: jax.Array, b: jax.Array, axis: str | None) -> jax.Array:
    """`score` of all networks, of which each device has a share along `axis`."""
    if axis is None:
        return score(measure, a, b)
    found = cross(functools.partial(score, measure), a, b, axis)
    return mirrored(found) if b is a and is_embedded(measure) else found


@functools.partial(jax.jit, static_argnames=("mesh", "cheaper"))
@automatic
def affinity_call(measures, x, y, rows, columns, mesh=None, cheaper=None):
    """The one device call of `affinity` and `compare_maps`.

    Args:
        measures: tuple of S measures.
        x: buckets of the rows' networks.
        y: buckets of the columns' networks, or None for those of `x`.
        rows: place of each network of `x` in its buckets.
        columns: the same for `y`.
        mesh: devices that have shares of the buckets, or None.
        cheaper: of each measure, whether it takes products of features; if None, where that is cheaper here.

    Returns:
        For each measure the scores `(S, T)` and the undefined images of rows and of columns.
    """
    cheaper = [feature_space.is_cheaper(m, x, y) for m in measures] if cheaper is None else cheaper

    def core(axis, measures, x, y, rows, columns):
        def from_maps(chosen):
            a = read_maps(chosen, x, embed)
            b = a if y is None else read_maps(chosen, y, embed)
            pairs = zip(chosen, a.z, b.z, whole(a.undefined, axis), whole(b.undefined, axis), strict=True)
            return [(all_scores(m, u, v, axis), p, q) for m, u, v, p, q in pairs]

        by_maps = iter(from_maps([m for m, own in zip(measures, cheaper, strict=True) if not own]))
        found = [
            feature_space.scores_or_maps(m, x, y, lambda m=m: from_maps([m])[0], axis) if own else next(by_maps)
            for m, own in zip(measures, cheaper, strict=True)
        ]
        return [(ordered(s, rows, columns), p[rows], q[columns]) for s, p, q in found]

    return divided(core, mesh, (WHOLE, SHARES, SHARES, WHOLE, WHOLE))(measures, x, y, rows, columns)


def ordered(scores: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Scores of networks in buckets, in the order in which they were given."""
    return scores[..., rows, :][..., columns]


def _sees_everything(a, b):
    """Comparator for maps as they are defined: it declares no invariance, and is not called."""
    raise NotImplementedError


def defined(measure: Measure) -> Measure:
    """The measure whose maps are as the `pairwise` of this one defines them."""
    return Measure(measure.transform, measure.pairwise, _sees_everything)


@jax.jit
@automatic
def maps_call(measure, x, rows):
    """Maps `(T, n, n)` of a measure that `defined` returned."""
    return read_maps([measure], x, lambda _, m: m).z[0][rows]
