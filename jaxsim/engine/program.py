"""The device programs: every map built once, products shared by the measures that use them, scores as one product."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim import compare, pairwise, transforms
from jaxsim.engine import feature_space
from jaxsim.engine.shapes import Bucket
from jaxsim.linalg import long_dot
from jaxsim.measures import Measure

WORKING_BYTES = 2e9
"""Memory for networks worked on at once on an accelerator."""


class Embedded(NamedTuple):
    """Networks ready to be compared.

    Attributes:
        z: one entry a measure, the embedded maps `(T, k)`, or the maps `(T, n, n)` where there is no embedding.
        undefined: one entry a measure, `(T,)`: -1 for a network that has scores; else the number of its images whose
            features are not finite or that have no distances, 0 if the fault lies in the map as a whole.
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
            if known is transform or (not jax.tree.leaves(transform) and known == transform):
                return k, x, where
        x = transform(self.x) if self.where is None else transform(self.x, self.where)
        where = None if self.where is None else transforms.padding_after(transform, self.where)
        self.transformed.append((transform, x, where))
        return len(self.transformed) - 1, x, where

    def map(self, measure: Measure):
        k, x, where = self.features(measure.transform)
        if not hasattr(measure.pairwise, "stable"):
            return measure.pairwise(x)
        product, finish = measure.pairwise.stable(compare.offer(measure.compare).invariance)
        if product is pairwise.cityblock_sums and measure.transform in (transforms.identity, transforms.center):
            k = -1  # a shift of all images changes no difference
        if (k, product) not in self.products:
            self.products[k, product] = product(x, where)
        return finish(self.products[k, product], pairwise.width(x, where))


def read_maps(measures: Sequence[Measure], parts: Sequence[Bucket], read: Callable) -> Embedded:
    """`read(measure, map)` for every network and measure, stacked over networks in the order of the buckets.

    Networks are mapped over: one at a time on a CPU, where each uses all cores, and several at once elsewhere.
    """

    def one(x_where):
        shared = _Shared(*x_where)
        maps = [shared.map(m) for m in measures]
        found = [read(m, k) for m, k in zip(measures, maps, strict=True)]
        return Embedded(found, [_undefined(x_where[0], k, f) for k, f in zip(maps, found, strict=True)])

    if not measures:
        return Embedded([], [])
    stacks = [lax.map(one, (b.stack(), b.where), batch_size=_at_once(b)) for b in parts]
    return jax.tree.map(lambda *s: jnp.concatenate(s), *stacks)


def _undefined(x, m, found):
    """What `Embedded.undefined` says of one network, from its features, its map and what was read from the map."""
    broken = [jnp.any(jnp.isnan(a)) for a in jax.tree.leaves(found) if jnp.issubdtype(a.dtype, jnp.floating)]
    not_finite = jnp.sum(jnp.any(~jnp.isfinite(x), tuple(range(1, x.ndim))))
    without_distances = jnp.sum(jnp.sum(jnp.isnan(m), 1) > m.shape[0] // 2)
    count = jnp.where(not_finite > 0, not_finite, without_distances)
    return jnp.where(jnp.any(jnp.asarray(broken)), count, -1)


def _at_once(bucket: Bucket) -> int | None:
    if jax.default_backend() == "cpu":
        return None
    n, *shape = bucket.shape
    return max(1, int(WORKING_BYTES // (8 * n * (n + np.prod(shape)))))


def embed(measure: Measure, m: jax.Array) -> jax.Array:
    """The map as the comparator compares it."""
    own = compare.offer(measure.compare).embed
    return m if own is None else own(m)


def score(measure: Measure, a: jax.Array, b: jax.Array) -> jax.Array:
    """`(S, T)` scores of embedded maps: one matrix product, or a loop over pairs for a comparator of your own."""
    own = compare.offer(measure.compare)
    if own.embed is not None:
        return own.finish(long_dot(a, b))
    return lax.map(lambda u: lax.map(lambda v: measure.compare(u, v), b), a)


@jax.jit
def affinity_call(measures, x, y, rows, columns):
    """The one device call of `affinity` and `cross_affinity`.

    Args:
        measures: tuple of S measures.
        x: buckets of the rows' networks.
        y: buckets of the columns' networks, or None for those of `x`.
        rows: place of each network of `x` in its buckets.
        columns: the same for `y`.

    Returns:
        For each measure the scores `(S, T)` and the undefined images of rows and of columns.
    """
    by_maps = [m for m in measures if not feature_space.is_cheaper(m, x, y)]
    a = read_maps(by_maps, x, embed)
    b = a if y is None else read_maps(by_maps, y, embed)
    pairs = zip(by_maps, a.z, b.z, strict=True)
    found = iter([(score(m, u, v), p, q) for (m, u, v), p, q in zip(pairs, a.undefined, b.undefined, strict=True)])
    by_features = [
        feature_space.scores(m, x, y) if feature_space.is_cheaper(m, x, y) else next(found) for m in measures
    ]
    return [(s[rows][:, columns], p[rows], q[columns]) for s, p, q in by_features]


@jax.jit
def maps_call(measure, x, rows):
    """Maps `(T, n, n)` as the measure's `pairwise` defines them."""
    plain = Measure(measure.transform, measure.pairwise, compare.cosine)
    return read_maps([plain], x, lambda _, m: m).z[0][rows]
