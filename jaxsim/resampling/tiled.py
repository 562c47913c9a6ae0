"""Resampling of images whose maps do not fit in memory together: tiles of pairs, recomputed for each resample."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import inputs, protocols
from jaxsim.engine import tiles
from jaxsim.engine.memory import budget_of, held_bytes, map_bytes
from jaxsim.engine.plans import FEATURES, Plan, tiled_route
from jaxsim.engine.row_blocks import Chosen
from jaxsim.inputs import Networks
from jaxsim.linalg import on_cpu
from jaxsim.measures import Measure
from jaxsim.protocols import Draws, Scheme
from jaxsim.resampling.program import Scored, Source, drawn


def tile_of(
    measures: Sequence[Measure],
    x: Networks,
    y: Networks | None,
    scheme: Scheme,
    images: int,
    memory: float | None,
    size: int | None = None,
) -> int | None:
    """Tile size in images if the maps of all networks together exceed the budget; None if they fit.

    Tiles are also used if subsets of `size` images are scored from products of features, which is faster on a CPU above
    a certain size. The result is None if tiles are impossible: precomputed maps, image weights, or parts that need all
    images together.
    """
    sides = (x,) if y is None else (x, y)
    if x.maps or scheme.draws is Draws.WEIGHTS or inputs.traced(*(nets.arrays for nets in sides)):
        return None
    if any(map(tiles.why_not, measures)):
        return None
    many = scheme.draws is Draws.SUBSETS and (size or 0) >= tiles.FEATURES_FROM and on_cpu()
    saves_time = many and all(tiles.in_feature_space(m, x, y, size, clearly=True) for m in measures)
    networks, budget = sum(len(nets.names) for nets in sides), budget_of(memory)
    each = map_bytes(tuple(measures), images, x.dtype.itemsize)
    if held_bytes(networks, each, images, x.dtype.itemsize) <= budget and not saves_time:
        return None
    return tiles.largest(measures, networks, images, x.dtype, budget)


def resampled(
    measures: Sequence[Measure],
    x: Networks,
    y: Networks | None,
    scheme: Scheme,
    source: Source,
    planned: protocols.Plan,
    made: Plan,
    progress: Callable[[int, int], None] | None,
    estimate: bool,
) -> list[Scored]:
    """Scores of each measure from tiles, with the same resamples that full maps would get."""
    x, y = _on_host(x), y and _on_host(y)

    def one(k, m):
        def tell(b):
            if progress is not None:
                progress((k * planned.count + b + 1) // len(measures), planned.count)

        return _scored(m, x, y, scheme, source, planned, made.tile, made.routes[k][1], tell, estimate)

    return [one(k, m) for k, m in enumerate(measures)]


def _scored(m, x, y, scheme, source, planned, tile, route, tell, estimate) -> Scored:
    """Scores of one measure; `tell(b)` is called after resample b."""
    sides, shape = (x,) if y is None else (x, y), (len(x.names), len((y or x).names))
    full, undefined, effective = np.full(shape, np.nan, x.dtype), {}, [np.full(size, np.inf) for size in shape]
    error, reordered = 0.0, None
    if estimate:
        found = tiles.scores(m, x, y, tile, route == FEATURES)
        full, error, undefined = found.values, found.error, tiles.undefined(m, found, x, y, tile)
        if scheme.draws is Draws.ORDERS:
            reordered = found.reordered  # keeps what is known about the maps
        del found
        if scheme.draws is Draws.SUBSETS:
            numbers = [tiles.effective(m, nets, tile, route == FEATURES) for nets in sides]
            effective = [numbers[0], numbers[-1]]
    else:
        tiles.warn_of_digits(m, sides, tile)
    values, of_subsets = np.empty((planned.count, *shape), x.dtype), tiled_route(m, x, y, planned.size) == FEATURES
    for b in range(planned.count):
        order = np.asarray(_one(scheme.draw, source, b))
        if reordered is not None:
            values[b] = reordered(order)
        else:
            order = np.sort(order)  # read in file order
            found = tiles.scores(m, _chosen(x, order), y and _chosen(y, order), tile, of_subsets)
            values[b], error = found.values, max(error, found.error)
        tell(b)
    return Scored(jnp.asarray(values), jnp.asarray(full), undefined, effective, tiles.notes(m, tile, error))


def _on_host(nets):
    """The networks with their features where blocks are read from; files stay files."""
    arrays = tuple(np.asarray(a) if isinstance(a, jax.Array) else a for a in nets.arrays)
    return dataclasses.replace(nets, arrays=arrays)


def _one(draw, source, b):
    """Draw resample b."""
    if source.given is not None:
        return source.given[b]
    return _drawn(draw, source._replace(numbers=np.array([b])))[0]


@functools.partial(jax.jit, static_argnums=0)
def _drawn(draw, source):
    return drawn(draw, source)


def _chosen(nets, order):
    return dataclasses.replace(nets, arrays=tuple(Chosen(a, order) for a in nets.arrays), ids=None)
