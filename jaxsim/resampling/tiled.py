"""Resamples of images whose maps do not fit in memory together: tiles of pairs, anew for every resample."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import inputs
from jaxsim.engine import tiles
from jaxsim.engine.memory import budget_of, held_bytes, map_bytes
from jaxsim.inputs import Networks
from jaxsim.measures import Measure
from jaxsim.protocols import Draws, Scheme
from jaxsim.resampling.program import Scored, Source, drawn


class Chosen(NamedTuple):
    """Some rows of a network's features, taken from it where a block is read.

    Attributes:
        x: array or memory-mapped array `(n, ..., c)`.
        images: numbers of the rows, `(m,)`.
    """

    x: Any
    images: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """`(m, ..., c)`."""
        return (len(self.images), *self.x.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the features."""
        return self.x.dtype

    def __getitem__(self, rows: Any) -> Any:
        """Features of these of the rows."""
        return self.x[self.images[rows]]


def tile_of(
    measures: Sequence[Measure], x: Networks, y: Networks | None, scheme: Scheme, images: int, memory: float | None
) -> int | None:
    """Images in a tile where the maps of all networks, held together, are above the budget; None where they are not.

    None also where no tile can do it: maps that were given, weights of images, parts that take all images at once.
    """
    sides = (x,) if y is None else (x, y)
    if x.maps or scheme.draws is Draws.WEIGHTS or inputs.traced(*(nets.arrays for nets in sides)):
        return None
    if any(map(tiles.why_not, measures)):
        return None
    networks, budget = sum(len(nets.names) for nets in sides), budget_of(memory)
    if held_bytes(networks, map_bytes(tuple(measures), images, x.dtype.itemsize), images, x.dtype.itemsize) <= budget:
        return None
    return tiles.largest(measures, networks, images, x.dtype, budget)


def resampled(
    measures: Sequence[Measure],
    x: Networks,
    y: Networks | None,
    scheme: Scheme,
    source: Source,
    count: int,
    tile: int,
    progress: Callable[[int, int], None] | None,
    estimate: bool,
) -> list[Scored]:
    """Scores of each measure from tiles; the resamples are those that maps held whole would get."""
    x, y = _on_host(x), y and _on_host(y)
    sides, shape, made = (x,) if y is None else (x, y), (len(x.names), len((y or x).names)), []
    values, errors = [np.empty((count, *shape), x.dtype) for _ in measures], np.zeros(len(measures))
    for k, m in enumerate(measures):
        full, undefined, effective = jnp.full(shape, jnp.nan, x.dtype), {}, [np.full(size, np.inf) for size in shape]
        if estimate:
            found = tiles.scores(m, x, y, tile)
            full, errors[k], undefined = jnp.asarray(found.values), found.error, tiles.undefined(m, found, x, y, tile)
            if scheme.draws is Draws.SUBSETS:
                numbers = [tiles.effective(m, nets, tile) for nets in sides]
                effective = [numbers[0], numbers[-1]]
        else:
            tiles.warn_of_digits(m, sides, tile)
        made.append((full, undefined, effective))
    for b in range(count):
        networks = _rearranged(scheme.draws, x, y, np.asarray(_one(scheme.draw, source, b)))
        for k, m in enumerate(measures):
            found = tiles.scores(m, *networks, tile)
            values[k][b] = found.values
            errors[k] = max(errors[k], found.error)
        if progress is not None:
            progress(b + 1, count)
    if scheme.draws is Draws.ORDERS and y is None:
        values = [np.triu(v) + np.swapaxes(np.triu(v, 1), 1, 2) for v in values]
    return [
        Scored(jnp.asarray(v), full, undefined, effective, tiles.notes(m, tile, error))
        for m, (full, undefined, effective), v, error in zip(measures, made, values, errors, strict=True)
    ]


def _on_host(nets):
    """The networks with their features where blocks are taken from: files stay files."""
    arrays = tuple(np.asarray(a) if isinstance(a, jax.Array) else a for a in nets.arrays)
    return dataclasses.replace(nets, arrays=arrays)


def _one(draw, source, b):
    """Resample b."""
    if source.given is not None:
        return source.given[b]
    return _drawn(draw, source._replace(numbers=np.array([b])))[0]


@functools.partial(jax.jit, static_argnums=0)
def _drawn(draw, source):
    return drawn(draw, source)


def _rearranged(draws, x, y, order):
    """Networks of rows and columns: the chosen images, or the columns' images in another order."""
    if draws is Draws.SUBSETS:
        order = np.sort(order)  # read in the order of the file
        return _chosen(x, order), y and _chosen(y, order)
    return x, _chosen(y or x, order)


def _chosen(nets, order):
    return dataclasses.replace(nets, arrays=tuple(Chosen(a, order) for a in nets.arrays), ids=None)
