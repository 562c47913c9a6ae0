"""Bring networks to the type of scores, and pad them to a few shapes to limit recompilation."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from jaxsim.casts import score_type
from jaxsim.engine import devices
from jaxsim.inputs import Elsewhere, Networks, traced
from jaxsim.measures import Measure
from jaxsim.protocols import PairwiseCapabilities, TransformCapabilities, declared

BUCKETS = 3
"""Most shapes that networks of many shapes are padded to."""
MOST_CUTS = 64
"""Places where groups of networks of many shapes may be cut."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bucket:
    """Networks of one shape, padded with zeros where they had another.

    Attributes:
        x: `(T', n, ..., c)`, or a tuple of T' arrays `(n, ..., c)` on the device.
        where: `(T', ..., c)`, true where an entry is real; None without padding.
        stacked: whether to stack a tuple before networks are taken from it. Inside JAX it is, since the gradient of
            reading one of T' arrays would be T' arrays.
    """

    x: Any
    where: Any
    stacked: bool = dataclasses.field(default=True, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one network's features, read without touching the device."""
        return self.x[0].shape if isinstance(self.x, tuple) else self.x.shape[1:]

    def stack(self) -> jax.Array:
        """The features as one array."""
        return jnp.stack(self.x) if isinstance(self.x, tuple) else self.x

    def map(self, one: Callable, batch_size: int | None = None) -> Any:
        """Results of `one((x, where))` stacked over networks, `batch_size` of them at once.

        Arrays that are taken one by one are not stacked first: on a CPU that copy took a quarter of linear CKA's time.
        """
        if self.stacked or not isinstance(self.x, tuple) or batch_size is not None:
            return lax.map(one, (self.stack(), self.where), batch_size=batch_size)
        arrays, where = self.x, self.where

        def network(k):
            x = lax.switch(k, [lambda x=x: x for x in arrays])
            return one((x, None if where is None else where[k]))

        return lax.map(network, jnp.arange(len(arrays)))


def by_freedom(measures: Sequence[Measure], groups: Sequence[Networks | None], run: Callable) -> list[Any]:
    """Results of `run(measures, *groups)`, one a measure, with the networks cast as each measure leaves them free.

    Few inputs need such care; the others go through one run.
    """
    if not any(nets.careful for nets in groups if nets):
        return run(measures, *groups)
    places: dict[Any, list[int]] = {}
    for k, measure in enumerate(measures):
        places.setdefault(measure.freedom._replace(weighs=False), []).append(k)
    found = {}
    for free, chosen in places.items():
        cast = [None if nets is None else nets.cast(free) for nets in groups]
        found |= zip(chosen, run(tuple(measures[k] for k in chosen), *cast), strict=True)
    return [found[k] for k in range(len(measures))]


class Group(NamedTuple):
    """Networks of one shape, or padded to one.

    Attributes:
        networks: their numbers.
        padded: shape `(s, c)` of each before padding, or None without.
        flat: whether there is one position.
    """

    networks: list[int]
    padded: list[tuple[int, int]] | None = None
    flat: bool = False


def grouped(nets: Networks, measures: Sequence[Measure]) -> list[Group]:
    """Groups of the networks by shape.

    A stack stays as it is, and networks of few shapes keep them. Networks of many are padded to at most BUCKETS shapes;
    a measure with a transform or distance that takes no padding gets the features as they are.
    """
    if not isinstance(nets.arrays, tuple):
        return [Group([*range(len(nets.names))])]
    shapes = [shape[1:] for shape in nets.shapes]
    parts = [
        (declared(m.transform, TransformCapabilities), declared(m.pairwise, PairwiseCapabilities)) for m in measures
    ]
    padding = all(own.accepts_padding for pair in parts for own in pair) and not nets.traced
    if len(set(shapes)) <= BUCKETS or not padding:
        return [Group([k for k, s in enumerate(shapes) if s == shape]) for shape in dict.fromkeys(shapes)]
    flat = all(transform.ignores_positions for transform, _ in parts)
    canonical = [(1, math.prod(s)) if flat else (math.prod(s[:-1]), s[-1]) for s in shapes]
    return [Group(g, [canonical[k] for k in g], flat) for g in _split_by_size(canonical)]


def buckets(nets: Networks, measures: Sequence[Measure], mesh: Mesh | None = None) -> tuple[tuple[Bucket, ...], Any]:
    """The groups of the networks as buckets, and the place of every network in all of them one after another.

    On a mesh, every device has its share of each bucket, and places count all shares of one device, then the next.
    """
    groups = grouped(nets, measures)
    if mesh is not None:
        return _shared(nets, groups, mesh)
    if not isinstance(nets.arrays, tuple):
        stack = nets.arrays if nets.traced else jax.device_put(_canonical(nets.arrays))
        return (Bucket(stack, None),), _on_device(nets, np.arange(len(nets.names)))
    made = []
    for own, padded, flat in groups:
        arrays = [nets.arrays[k] for k in own]
        made.append(Bucket(_together(arrays), None, nets.traced) if padded is None else _pad(arrays, padded, flat))
    return tuple(made), _on_device(nets, np.argsort([*itertools.chain(*(g.networks for g in groups))]))


def _shared(nets, groups, mesh):
    """`buckets` of a mesh; a network is on devices of the process that holds it."""
    holders = np.asarray([d.process_index for d in mesh.devices.flat])
    owners = np.asarray([_process(nets.arrays[k]) for k in range(len(nets.names))])
    slots = [_slots(owners[g.networks], holders) for g in groups]
    each = sum(s.shape[1] for s in slots)
    made, places, first = [], np.zeros(len(nets.names), np.int32), 0
    for (own, padded, flat), slot in zip(groups, slots, strict=True):
        numbers = np.append(own, -1)[slot]  # (devices, networks of each)
        for d, p in np.argwhere(numbers >= 0).tolist():
            places[numbers[d, p]] = d * each + first + p
        first += numbers.shape[1]
        made.append(_bucket_of(nets, numbers, own, padded, flat, mesh))
    return tuple(made), devices.put(places, mesh)


def _process(array):
    return array.process if isinstance(array, Elsewhere) else jax.process_index()


def _slots(owners, holders):
    """Number of the network in every place of every device: the last of a process again where it has no more.

    -1 on devices of processes without any.
    """
    each = max(-(-np.sum(owners == p) // np.sum(holders == p)) for p in set(owners.tolist()))
    slots = np.full((len(holders), each), -1)
    for p in set(owners.tolist()):
        own = np.flatnonzero(owners == p)
        places = np.sum(holders == p) * each
        slots[holders == p] = own[np.minimum(np.arange(places), len(own) - 1)].reshape(-1, each)
    return slots


def _bucket_of(nets, numbers, own, padded, flat, mesh):
    shapes = dict(zip(own, padded or (), strict=False))
    shape = tuple(np.max(padded, 0).tolist()[flat:]) if padded else nets.shapes[own[0]][1:]
    n, total = nets.images, numbers.size
    dtype = np.result_type(*(score_type(nets.arrays[k].dtype) for k in own))

    def features(d):
        x = np.zeros((numbers.shape[1], n, *shape), dtype)
        real = [p for p, k in enumerate(numbers[d]) if k >= 0]
        arrays = [_canonical(np.asarray(nets.arrays[numbers[d, p]])) for p in real]
        if real and padded:
            x[real] = _padded(arrays, [shapes[numbers[d, p]] for p in real], shape, flat)[0]
        elif real:
            x[real] = np.stack(arrays)
        return x

    def where(d):
        sizes = [shapes.get(k, (1, 1)) for k in numbers[d].tolist()]
        return _padded([np.zeros((0, 0))] * len(sizes), sizes, shape, flat)[1]

    x = devices.put_shares((total, n, *shape), features, mesh)
    return Bucket(x, devices.put_shares((total, *shape), where, mesh) if padded else None)


def lone_bucket(nets: Networks, measure: Measure) -> Bucket:
    """One network as a bucket whose shape follows from its own, so that its map does not depend on its company.

    Where measures take padding, widths are padded to one of four an octave, so that few programs are compiled.
    """
    own = declared(measure.transform, TransformCapabilities), declared(measure.pairwise, PairwiseCapabilities)
    if not (all(one.accepts_padding for one in own) and own[0].ignores_positions):
        return buckets(nets, [measure])[0][0]
    width = math.prod(nets.shapes[0][1:])
    return _pad([nets.arrays[0]], [(1, width)], True, padded_width(width))


def padded_width(width: int) -> int:
    """The least of 1, 1.25, 1.5 and 1.75 times a power of two that is no less.

    >>> [padded_width(d) for d in (1, 8, 9, 1000, 1025)]
    [1, 8, 10, 1024, 1280]
    """
    step = max(1, 2 ** ((width - 1).bit_length() - 3))
    return -(-width // step) * step


def both_buckets(
    x: Networks, y: Networks | None, measures: Sequence[Measure], mesh: Mesh | None = None
) -> tuple[Any, Any, Any, Any]:
    """Buckets of the rows' and columns' networks, and the places of the networks in them."""
    parts_x, rows = buckets(x, measures, mesh)
    parts_y, columns = (None, rows) if y is None else buckets(y, measures, mesh)
    return parts_x, parts_y, rows, columns


def joined_buckets(x: Networks, y: Networks, measures: Sequence[Measure]) -> tuple[tuple[Bucket, ...], Any]:
    """Buckets of the rows' and the columns' networks together, which one loop reads, and the places of all in them."""
    arrays = (*x.arrays, *y.arrays)
    return buckets(dataclasses.replace(x, names=x.names + y.names, arrays=arrays, ids=None), measures)


def _on_device(nets, order):
    order = order.astype(np.int32)
    return order if nets.traced else jax.device_put(order)


def _together(arrays):
    if all(isinstance(a, np.ndarray) for a in arrays):
        return jax.device_put(_canonical(np.stack(arrays)))
    return tuple(a if traced(a) else jax.device_put(_canonical(a)) for a in arrays)


def _canonical(array):
    """The array in the type of scores; unlike `jnp.asarray`, `device_put` compiles nothing."""
    with np.errstate(over="ignore"):
        return array.astype(score_type(array.dtype), copy=False)


def _split_by_size(shapes):
    """At most BUCKETS groups of networks, cut where the padded features take the least memory.

    Cuts are tried between networks of different shapes, at MOST_CUTS places where there are more.
    """
    order = sorted(range(len(shapes)), key=lambda k: math.prod(shapes[k]))
    sizes = np.asarray([shapes[k] for k in order])
    places = np.flatnonzero((sizes[1:] != sizes[:-1]).any(1)) + 1
    places = places[np.unique(np.linspace(0, len(places) - 1, MOST_CUTS).astype(int))].tolist()
    ends = [0, *places, len(order)]
    cost = {(a, b): (b - a) * math.prod(sizes[a:b].max(0).tolist()) for a, b in itertools.combinations(ends, 2)}
    cuts = itertools.chain(*(itertools.combinations(places, count) for count in range(BUCKETS)))
    spans = min(([*itertools.pairwise((0, *c, len(order)))] for c in cuts), key=lambda s: sum(cost[span] for span in s))
    return [order[a:b] for a, b in spans]


def _pad(arrays, shapes: list[tuple[int, int]], flat, width: int = 0):
    s, c = max(s for s, _ in shapes), max(width, *(c for _, c in shapes))
    x, where = _padded(arrays, shapes, (c,) if flat else (s, c), flat)
    return Bucket(jax.device_put(_canonical(x)), jax.device_put(where))


def _padded(arrays, shapes, shape, flat):
    """Features `(T', n, ..., c)` with zeros around, and where they are real, `(T', ..., c)`."""
    s, c = (1, *shape) if flat else shape
    n = len(arrays[0])
    x = np.zeros((len(arrays), n, s, c), np.result_type(*(a.dtype for a in arrays)))
    where = np.zeros((len(arrays), s, c), bool)
    for k, (array, (own_s, own_c)) in enumerate(zip(arrays, shapes, strict=True)):
        x[k, :, :own_s, :own_c] = np.asarray(array).reshape(n, own_s, own_c)
        where[k, :own_s, :own_c] = True
    return (x[:, :, 0], where[:, 0]) if flat else (x, where)
