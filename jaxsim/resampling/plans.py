"""Plans of `resample`, which the verb follows: full maps or tiles, how many resamples at once, and the cost."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from jaxsim import advice, protocols, schemes
from jaxsim.engine import plans, tiles
from jaxsim.engine.checks import check
from jaxsim.engine.devices import count as device_count
from jaxsim.engine.devices import local_count
from jaxsim.engine.memory import budget_of, held_bytes, map_bytes, require_maps, require_resamples, widest
from jaxsim.engine.plans import MAPS, Plan
from jaxsim.engine.processes import least
from jaxsim.inputs import Networks
from jaxsim.io.files import in_words, warn
from jaxsim.linalg import on_cpu
from jaxsim.measures import Measure, name_of
from jaxsim.protocols import ComparatorCapabilities, Draws, Scheme, SchemeCapabilities, declared
from jaxsim.resampling import tiled
from jaxsim.resampling.program import FORMS, prepared

WEIGHTINGS_AT_ONCE = 8, 256
"""Most weightings that pass through memory side by side, on a CPU and elsewhere. On a CPU, 8 floats fill a vector
register; 16 and 32 were slower."""
LONG = 60.0
"""Seconds in tiles above which a message says how long they take."""
SHORT = 1e10
"""Total operations and bytes that take less than that on any machine, so that no rates are measured."""
GATHERED, REWEIGHTED, PASSES = 65, 0.053, 13
"""Work in the units of the rates: bytes moved per reordered entry, ranking a pair under new weights, and the number of
times an entry is read for other comparators. Fitted to `benchmarks/plans.py`."""
HOW = {
    Draws.WEIGHTS: "images weighted, maps as they are",
    Draws.SUBSETS: "everything recomputed from some of the images",
    Draws.ORDERS: "images of the columns in a different order",
}


def plan(
    measures: Sequence[Measure],
    x: Networks,
    y: Networks | None,
    scheme: Scheme,
    drawn: protocols.Plan,
    memory: float | None,
    mesh: Mesh | None,
    *,
    estimate: bool,
    asked: bool,
) -> Plan:
    """The plan for networks that were read, which is the one that runs.

    Args:
        measures: what to compute.
        x: networks of the rows.
        y: networks of the columns, or None.
        scheme: scheme of the resamples.
        drawn: what the scheme plans for this number of images.
        memory: budget in bytes for one device.
        mesh: devices, or None for one.
        estimate: whether to score the full sample too.
        asked: whether the caller named the devices, which tiles do not use.

    Raises:
        TypeError: a measure does not support the scheme.
        ValueError: networks, scheme or the budget do not fit; the message says which.
    """
    require_resamples(drawn.count, measures, x, y)
    sides, images = (x,) if y is None else (x, y), x.images if estimate else drawn.size or x.images
    tile = None
    if drawn.groups is None and (mesh is None or not asked):
        tile = tiled.tile_of(measures, x, y, scheme, images, memory, drawn.size)
    check_networks(measures, x, y, whole=not tile)
    _check_form(measures, scheme, x, estimate)
    networks, size = sum(len(nets.names) for nets in sides), x.dtype.itemsize
    shares, at_once, calls = 1 if tile else device_count(mesh), 1, 1
    if tile:
        routes, again = [plans.tiled_route(m, x, y) for m in measures], scheme.draws is Draws.ORDERS
        calls = sum(plans.tiled_calls(x.images, tile, *pair) for pair in zip(measures, routes, strict=True)) * estimate
        each = [(m, plans.tiled_route(m, x, y, drawn.size)) for m in measures]
        calls += drawn.count * sum(plans.tiled_calls(drawn.size or x.images, tile, *pair, again) for pair in each)
    else:
        routes, width = [MAPS] * len(measures), widest(tuple(measures), *sides)
        tiles_help = scheme.draws is Draws.WEIGHTS and not x.maps and not any(map(tiles.why_not, measures))
        remedy = f"; {advice.written(schemes.HalfSamples())} takes them in tiles" * tiles_help
        each = map_bytes(tuple(measures), images, size, width)
        require_maps(networks, each, images, size, width, remedy)
        if scheme.draws is Draws.WEIGHTS:
            at_once = weightings_at_once(x, y, -(-drawn.count // shares), memory, mesh)
        else:
            _budget(memory, mesh, held_bytes(networks, each, images, size, width))
    return plans.of_problem(
        measures,
        routes,
        x,
        y,
        block=networks,
        tile=tile,
        calls=calls,
        devices=shares,
        budget=budget_of(memory, shares),
        scheme=scheme.kind,
        how=HOW[scheme.draws],
        resamples=drawn.count,
        at_once=at_once,
    )


def check_networks(measures: Sequence[Measure], x: Networks, y: Networks | None, *, whole: bool = True) -> None:
    """Run `check` on the networks of rows and columns."""
    for nets in (x,) if y is None else (x, y):
        check(measures, nets, whole=whole)


def with_costs(
    made: Plan,
    measures: Sequence[Measure],
    x: Networks,
    y: Networks | None,
    scheme: Scheme,
    drawn: protocols.Plan,
    estimate: bool,
) -> Plan:
    """Add memory and work to the plan."""
    sides, count = [nets for nets in (x, y) if nets], drawn.count
    part = dataclasses.replace(made, images=drawn.size or x.images)
    once = plans.passes if made.tile else _one_pass
    maps = plans.work_of_maps(made, measures, sides, once)
    scores = plans.work_of_scores(made, measures, sides)
    terms = [(int(estimate), maps), (int(estimate), scores)]
    if scheme.draws is Draws.SUBSETS:
        shares = plans.work_of_maps(made, measures, sides, _has_shares)
        terms += [(int(estimate and bool(made.tile)), shares)]
        terms += [(count, plans.work_of_maps(part, measures, sides, once))]
        terms += [(count, plans.work_of_scores(part, measures, sides))]
    elif made.tile:
        terms += [(count, plans.work_of_maps(made, measures, sides if y else sides * 2, _one_pass)), (count, scores)]
    elif scheme.draws is Draws.ORDERS:
        terms += [(count, _permuted(made, measures, sides)), (count, scores)]
    else:
        terms += [(1, maps), (count, _weighted(made, measures, sides))]
    held = _bytes(made, part, measures, sides, scheme, estimate)
    return dataclasses.replace(made, bytes=held, work=plans.on_each(made, *terms))


def _one_pass(_):
    return 1


def _has_shares(measure):
    """Whether effective numbers of images require a pass over the blocks."""
    return declared(measure.compare, ComparatorCapabilities).shares is not None


def _permuted(made, measures, sides):
    """Number of operations to reorder the maps of the columns' networks."""
    entries = sum(plans.entries(m, made.images) for m in measures)
    return {"bytes": GATHERED * made.networks[1] * entries * sides[0].dtype.itemsize}


def _weighted(made, measures, sides):
    """Operations of one weighting: ranking again, or sums over pairs for the products of every two maps."""
    networks, found = sum(len(nets.names) for nets in sides), dict.fromkeys(plans.KINDS, 0.0)
    pairs = math.prod(made.networks) / (1 if len(sides) > 1 else 2)
    for m in measures:
        entries = plans.entries(m, made.images)
        if plans.orders_pairs(m):
            found["ordered"] += REWEIGHTED * networks * entries
            found["products"] += 2 * math.prod(made.networks) * entries
        else:
            found["products"] += 2 * pairs * entries
            found["bytes"] += (PASSES * networks + 3 * pairs / made.at_once) * entries * sides[0].dtype.itemsize
    return found


def _bytes(made, part, measures, sides, scheme, estimate):
    """Peak memory in bytes on one device."""
    ordered = any(map(plans.orders_pairs, measures))
    networks, n, size = made.block, made.images, sides[0].dtype.itemsize
    scores = 2 * made.resamples * math.prod(made.networks) * len(measures) * size
    if made.tile:
        held = plans.tiled_bytes(made, measures, sides, 2 if scheme.draws is Draws.ORDERS else 1)
        return held + scores
    width = widest(tuple(measures), *sides)
    each = map_bytes(tuple(measures), n, size, width)
    full = plans.maps_bytes(measures, sides, networks, n) if estimate else 0.0
    if scheme.draws is Draws.SUBSETS:
        held = plans.maps_bytes(measures, sides, networks, part.images) + part.images * made.width * size
    elif scheme.draws is Draws.ORDERS:
        held = full + made.networks[1] * each
    else:
        shape = jax.ShapeDtypeStruct((n, min(n, width or n)), sides[0].dtype)
        kept = sum(_size(functools.partial(prepared, m), shape) for m in measures) * networks
        arrays = 1.5 * networks if ordered else 4  # with one number per pair
        full, held = kept + full, kept + made.at_once * arrays * size * n**2 / 2
    return plans.whole_bytes(made, measures, sides, max(full, held)) + scores + plans.KEPT


def _size(function, *shapes):
    """Size of the result in bytes."""
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(jax.eval_shape(function, *shapes)))


def warn_if_long(made: Plan, *given: Any, progress: bool) -> None:
    """Say how long resamples in tiles take if that is long; `given` is as for `with_costs`."""
    costly = with_costs(made, *given)
    if sum(amount for _, amount in costly.work) < SHORT or (seconds := costly.seconds()) < LONG:
        return
    shown = "" if progress else "; progress= shows how far it has got"
    warn(
        f"maps of {made.images} images do not fit in memory together, and {made.resamples} resamples by {made.scheme} "
        f"in tiles take about {in_words(seconds)} here; fewer images, networks or resamples take less time{shown}."
    )


def _check_form(measures, scheme, x, estimate):
    """Reject a scheme that the measures or the input do not support."""
    if not estimate and not declared(scheme, SchemeCapabilities).estimate_optional:
        raise ValueError(f"{schemes.describe(scheme)} needs the full-sample scores: leave out estimate=False.")
    if x.maps and scheme.draws is Draws.SUBSETS:
        other = f"{advice.written(advice.FOR_MAPS)} (--scheme {advice.FOR_MAPS.kind})"
        remedy = f"for precomputed maps, give another scheme, such as {other}"
        raise ValueError(f"{schemes.describe(scheme)} recomputes maps from features; {remedy}.")
    for m in measures:
        own = declared(m.compare, ComparatorCapabilities)
        if own.of_these_images:
            raise TypeError(f"{m} cannot resample the images: {own.of_these_images}.")
        missing = [name for name in FORMS[scheme.draws].needs if getattr(own, name) is None]
        if missing:
            raise TypeError(
                f"{m} compares with {name_of(m.compare)}, which does not declare {missing[0]!r} (jaxsim.protocols) as "
                f"{scheme.kind} needs; {advice.written(schemes.HalfSamples())} works with any function of two maps."
            )


def weighting_bytes(x: Networks, y: Networks | None = None) -> float:
    """Bytes of weighted ranks, or of pair weights, for one resample."""
    networks = len(x.names) + (0 if y is None else len(y.names))
    return 4 * x.dtype.itemsize * (networks + 4) * x.images**2 / 2


def _budget(memory, mesh, need):
    """Bytes that each device may hold, the minimum over processes; rejects an explicit budget that is too small."""
    budget = least(budget_of(memory, local_count(mesh)), mesh)
    if memory is not None and need > budget:
        raise ValueError(
            f"a memory budget of {budget:.3g} bytes is too small for one resample, which needs {need:.3g}."
        )
    return budget


def weightings_at_once(
    x: Networks, y: Networks | None, count: int, memory: float | None, mesh: Mesh | None = None
) -> int:
    """Number of resamples whose weighted ranks or pair weights are held together.

    Raises:
        ValueError: the budget is too small for one.
    """
    each = weighting_bytes(x, y)
    budget = _budget(memory, mesh, each)
    return int(max(1, min(WEIGHTINGS_AT_ONCE[not on_cpu()], count, budget // each)))
