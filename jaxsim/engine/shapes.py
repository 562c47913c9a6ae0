"""Networks of any shapes brought to few, so that compiled programs do not multiply."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import pairwise, transforms
from jaxsim.inputs import Networks
from jaxsim.measures import Measure

BUCKETS = 3
"""Shapes at most, after padding, that networks of many shapes are brought to."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bucket:
    """Networks brought to one shape by padding with zeros.

    Attributes:
        x: `(T', n, ..., c)`, or a tuple of T' arrays `(n, ..., c)` to be stacked on the device.
        where: `(T', ..., c)`, true where an entry is real; None without padding.
    """

    x: Any
    where: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one network's features, read without touching the device."""
        return self.x[0].shape if isinstance(self.x, tuple) else self.x.shape[1:]

    def stack(self) -> jax.Array:
        """The features as one array."""
        return jnp.stack(self.x) if isinstance(self.x, tuple) else self.x


def buckets(nets: Networks, measures: Sequence[Measure]) -> tuple[tuple[Bucket, ...], jax.Array]:
    """Networks grouped by shape, and the place of every network in the concatenated groups.

    Networks of few shapes keep them. Networks of many are padded to at most BUCKETS shapes, so that compiled programs
    do not multiply; a measure with a transform or map of your own gets the features as they are.
    """
    shapes = [a.shape[1:] for a in nets.arrays]
    padding = all(transforms.accepts_padding(m.transform) and pairwise.accepts_padding(m.pairwise) for m in measures)
    if len(set(shapes)) <= BUCKETS or not padding:
        groups = [[k for k, s in enumerate(shapes) if s == shape] for shape in dict.fromkeys(shapes)]
        made = tuple(Bucket(_together([nets.arrays[k] for k in g]), None) for g in groups)
    else:
        flat = all(transforms.ignores_positions(m.transform) for m in measures)
        canonical = [(1, math.prod(s)) if flat else (math.prod(s[:-1]), s[-1]) for s in shapes]
        groups = _split_by_size(canonical)
        made = tuple(_pad([nets.arrays[k] for k in g], [canonical[k] for k in g], flat) for g in groups)
    order = np.argsort([*itertools.chain(*groups)]).astype(np.int32)
    return made, jax.device_put(order)


def _together(arrays):
    if all(isinstance(a, np.ndarray) for a in arrays):
        return jax.device_put(_canonical(np.stack(arrays)))
    return tuple(jax.device_put(_canonical(a)) for a in arrays)


def _canonical(array):
    """The array in the dtype that JAX would give it; unlike `jnp.asarray`, `device_put` compiles nothing."""
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def _split_by_size(shapes):
    """At most BUCKETS groups of networks, cut where the padded features take the least memory."""
    order = sorted(range(len(shapes)), key=lambda k: math.prod(shapes[k]))

    def cost(group):
        return len(group) * max(shapes[k][0] for k in group) * max(shapes[k][1] for k in group)

    best: dict[tuple[int, int], tuple[int, tuple]] = {(0, 0): (0, ())}
    for count, end in itertools.product(range(1, BUCKETS + 1), range(1, len(order) + 1)):
        options = [
            (best[count - 1, start][0] + cost(order[start:end]), (*best[count - 1, start][1], order[start:end]))
            for start in range(end)
            if (count - 1, start) in best
        ]
        if options:
            best[count, end] = min(options, key=lambda o: o[0])
    return list(min((best[c, len(order)] for c in range(1, BUCKETS + 1)), key=lambda o: o[0])[1])


def _pad(arrays, shapes: list[tuple[int, int]], flat):
    n, s, c = arrays[0].shape[0], max(s for s, _ in shapes), max(c for _, c in shapes)
    x = np.zeros((len(arrays), n, s, c), np.result_type(*(a.dtype for a in arrays)))
    where = np.zeros((len(arrays), s, c), bool)
    for k, (array, (own_s, own_c)) in enumerate(zip(arrays, shapes, strict=True)):
        x[k, :, :own_s, :own_c] = np.asarray(array).reshape(n, own_s, own_c)
        where[k, :own_s, :own_c] = True
    if flat:
        x, where = x[:, :, 0], where[:, 0]
    return Bucket(jax.device_put(_canonical(x)), jax.device_put(where))
