"""Device program of calibration: all scores under every permutation, kept only as running summaries.

Maps are embedded once and laid out with the pairs of images along their first axis. Reordering the images then gathers
whole rows, and the scores of several permutations are one matrix product.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsim.engine.devices import SHARES, WHOLE, divided, total
from jaxsim.engine.program import embed
from jaxsim.linalg import on_cpu
from jaxsim.measures import Measure
from jaxsim.meshes import automatic
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.resampling.program import prepare

BLOCK = 1024
"""Image pairs multiplied together on a CPU, few enough to stay in cache; 8 times as many on other devices."""
TOGETHER = 8
"""Permutations in one matrix product on a CPU; more were not faster."""
PILOTS = 128
"""Permutations that no p-value counts; they set a common scale for network pairs before the counted ones."""


class Sides(NamedTuple):
    """The networks that the maps are layers of.

    Attributes:
        rows: network of each map of the rows, `(S,)`.
        columns: network of each map of the columns, `(T,)`.
        row_layers: maps of each network of the rows, padded by repeating the first one, `(N, L)`.
        column_layers: the same for the columns, `(M, K)`.
        family: network pairs that are hypotheses, each once, `(N, M)`.
    """

    rows: Any
    columns: Any
    row_layers: Any
    column_layers: Any
    family: Any


class Null(NamedTuple):
    """Running summary of permuted scores of some shape, including the observed ones.

    Attributes:
        seen: number of permutations so far.
        at_least: number of permutations that score at least as high as observed, including the observed order.
        mean: mean of the permuted scores so far.
        squares: sum of their squared deviations from the mean.
        lost: whether any permutation has no score.
        top: the highest scores, including the observed one, `(..., m)`.
    """

    seen: jax.Array
    at_least: jax.Array
    mean: jax.Array
    squares: jax.Array
    lost: jax.Array
    top: jax.Array


class Calibrated(NamedTuple):
    """Scores of layer pairs `(S, T)` and of the best layers of network pairs `(N, M)`, with their nulls.

    Attributes:
        layers: `Summary` of each pair of layers.
        networks: `Summary` of the highest score of each pair of networks.
        source: the layer of the row's network with that score.
        target: the layer of the column's network with that score.
        single_step: p-value adjusted by the maximum over all network pairs.
        step_down: the same over pairs that are no more extreme.
    """

    layers: "Summary"
    networks: "Summary"
    source: jax.Array
    target: jax.Array
    single_step: jax.Array
    step_down: jax.Array


class Summary(NamedTuple):
    """Observed scores with the mean, deviation, threshold and p-value from their permutations."""

    score: jax.Array
    mean: jax.Array
    deviation: jax.Array
    threshold: jax.Array
    p: jax.Array


@functools.partial(jax.jit, static_argnames=("draw", "count", "kept", "at_once", "mesh"))
@automatic
def calibrated_call(
    measures: Sequence[Measure], x, y, rows, columns, sides, key, layout, draw, count, kept, at_once, mesh=None
):
    """The single device call of `calibrate`: maps, scores and the summaries of `count` permutations, for each measure.

    Args:
        measures: as for `prepare`, like the next four.
        x: buckets of the rows' maps.
        y: buckets of the columns' maps, or None.
        rows: position of each map of the rows.
        columns: position of each map of the columns.
        sides: the networks of the maps.
        key: typed random key.
        layout: layout of a permutation scheme.
        draw: draw function of the scheme.
        count: number of permutations that count.
        kept: number of highest scores to keep; the last one is the threshold.
        at_once: permutations summarized together; a divisor of PILOTS and a multiple of TOGETHER.
        mesh: devices that share the buckets and the permutations, or None.
    """

    def core(axis, measures, x, y, rows, columns, sides, key, layout):
        def orders(first):
            return jax.vmap(lambda b: draw(key, b, layout))(first + jnp.arange(at_once))

        ready = prepare(measures, x, y, rows, columns, None, embed, axis)
        found = []
        for k, measure in enumerate(measures):
            scored = _permuted(measure, ready.x[k], None if ready.y is None else ready.y[k], sides)
            found.append(_calibrated(scored, ready.estimate[k], sides, orders, count, kept, axis))
        return [*zip(found, ready.bad_x, ready.bad_y, strict=True)]

    specs = (WHOLE, SHARES, SHARES, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE)
    return divided(core, mesh, specs)(measures, x, y, rows, columns, sides, key, layout)


def _permuted(measure: Measure, x, y, sides: Sides) -> Callable:
    """Function from orders `(B, n)` of the columns' images to scores `(B, S, T)`.

    In a square matrix (`y` is None) all layers of the later network are permuted, and the other half mirrors the
    scores.
    """
    own: Any = declared(measure.compare, ComparatorCapabilities)  # the verb rejects comparators without `permuted`
    mirrored, y = y is None, x if y is None else y
    apart = sides.rows[:, None] - sides.columns[None, :]

    def mirror(scores):
        if not mirrored:
            return scores
        other = (apart > 0) | ((apart == 0) & jnp.tri(apart.shape[0], k=-1, dtype=bool))
        return jnp.where(other, jnp.swapaxes(scores, 1, 2), scores)

    if own.scores is not None:
        return lambda orders: mirror(lax.map(lambda order: own.scores(x, y[:, own.permuted(order)]), orders))
    pairs = x.shape[1]
    block = min(pairs_at_once(), pairs)
    short = -pairs % block
    x, y = (jnp.pad(z.T, ((0, short), (0, 0))) for z in (x, y))
    blocks = x.reshape(-1, block, x.shape[1])

    def some(orders):
        places = jnp.pad(jax.vmap(own.permuted)(orders), ((0, 0), (0, short)), constant_values=pairs)

        def add(total, part):
            rows, at = part
            product = jnp.einsum("ps,pk->sk", rows, y[at].reshape(block, -1), precision=lax.Precision.HIGHEST)
            return total + product, None

        start = jnp.zeros((x.shape[1], orders.shape[0] * y.shape[1]), x.dtype)
        total = lax.scan(add, start, (blocks, places.T.reshape(-1, block, orders.shape[0])))[0]
        return mirror(own.finish(jnp.moveaxis(total.reshape(x.shape[1], orders.shape[0], -1), 1, 0)))

    def scored(orders):
        scores = lax.map(some, orders.reshape(-1, _together(len(orders)), orders.shape[1]))
        return scores.reshape(-1, *scores.shape[2:])

    return scored


def pairs_at_once() -> int:
    """Number of image pairs that are gathered and multiplied together."""
    return BLOCK if on_cpu() else 8 * BLOCK


def _together(orders):
    """How many of these orders to multiply together: all of them on an accelerator."""
    return TOGETHER if on_cpu() else orders


def _calibrated(scored, estimate, sides: Sides, orders, count, kept, axis) -> Calibrated:
    """All results for one measure, from a function that scores orders."""
    some = orders(0)
    identity = jnp.broadcast_to(jnp.arange(some.shape[1], dtype=some.dtype), (_together(len(some)), some.shape[1]))
    observed = scored(identity)[0]  # computed like the permuted ones, so that ties are exact
    usable = ~jnp.isnan(estimate)
    highest = _best(observed, usable, sides)
    family = sides.family & jnp.isfinite(highest)
    scale = _scale(lambda first: _best(scored(orders(first)), usable, sides), highest, count, some.shape[0], axis)

    def standardized(tops):
        z = jnp.where(family & ~jnp.isnan(tops), (tops - scale[0]) / scale[1], -jnp.inf)
        return z.reshape(*z.shape[:-2], -1)

    least = jnp.where(family, highest - _slack(highest), jnp.inf)
    least = jnp.where(family, (least - scale[0]) / scale[1], jnp.inf).ravel()
    order = jnp.argsort(-standardized(highest), stable=True)

    def step(state, first):
        layers, networks, single, down = state
        real = first + jnp.arange(some.shape[0]) < count
        scores = scored(orders(first))
        tops = _best(scores, usable, sides)
        stars = jnp.where(real[:, None], standardized(tops), -jnp.inf)
        beyond = lax.cummax(stars[:, order], axis=1, reverse=True) >= least[order]
        single = single + jnp.sum(jnp.max(stars, 1, keepdims=True) >= least, 0)
        down = down + jnp.sum(beyond, 0)
        return (_added(layers, observed, scores, real), _added(networks, highest, tops, real), single, down), None

    ones = jnp.ones(family.size, int) * _first(axis)
    start = (_start(observed, kept, axis), _start(highest, kept, axis), ones, ones)
    (layers, networks, *counts), _ = lax.scan(step, start, _own_numbers(count, some.shape[0], axis))
    layers, networks, (single, down) = _merged(layers, axis), _merged(networks, axis), total(counts, axis)
    asked = sides.family | sides.family.T if sides.family.shape[0] == sides.family.shape[1] else sides.family
    networks = _summary(networks, jnp.where(asked, _best(estimate, usable, sides), jnp.nan), count)
    down = jnp.zeros_like(down).at[order].set(lax.cummax(down))
    adjusted = [_shaped(c, family, networks.p, count) for c in (single, down)]
    return Calibrated(_summary(layers, estimate, count), networks, *_places(estimate, sides), *adjusted)


def _best(scores, usable, sides: Sides):
    """Highest score of each network pair, `(..., S, T) -> (..., N, M)`; -inf if no layers have a score."""
    scores = jnp.where(usable, scores, -jnp.inf)
    each = scores[..., sides.row_layers, :][..., sides.column_layers]
    return jnp.max(each, (-3, -1))


def _places(estimate, sides: Sides):
    """Positions of the layers with the highest scores, in the rows and in the columns, each `(N, M)`."""
    each = jnp.where(jnp.isnan(estimate), -jnp.inf, estimate)[sides.row_layers, :][..., sides.column_layers]
    n, first, m, second = each.shape
    at = jnp.argmax(jnp.swapaxes(each, 1, 2).reshape(n, m, -1), 2)
    row, column = at // second, at % second
    return (
        jnp.take_along_axis(sides.row_layers, row, 1),
        jnp.take_along_axis(sides.column_layers.T, column, 0),
    )


def _scale(tops, highest, count, at_once, axis):
    """Mean and deviation of the best scores of network pairs over PILOTS permutations, used for nothing else."""

    def step(null, first):
        return _added(null, highest, tops(count + first), first + jnp.arange(at_once) < PILOTS), None

    null, _ = lax.scan(step, _start(highest, 1, axis), _own_numbers(PILOTS, at_once, axis))
    null = _merged(null, axis)
    deviation = jnp.sqrt(null.squares / (PILOTS - 1))
    real = jnp.isfinite(null.mean) & (deviation > 8 * jnp.finfo(deviation.dtype).eps * jnp.abs(null.mean))
    return jnp.where(real, null.mean, 0), jnp.where(real, deviation, 1)


def _own_numbers(count, at_once, axis):
    """First permutation number of each step on this device, in turns with the others; may exceed `count`."""
    me, devices = (0, 1) if axis is None else (lax.axis_index(axis), lax.axis_size(axis))
    return at_once * (me + devices * jnp.arange(-(-count // (at_once * devices))))


def _first(axis):
    """Whether this is the first device, which counts the observed order."""
    return axis is None or lax.axis_index(axis) == 0


def _slack(observed):
    """Tolerance below the observed score within which scores count as ties, as in `statistics.permutation_p`."""
    return jnp.where(jnp.isfinite(observed), 100 * jnp.finfo(observed.dtype).eps * jnp.abs(observed), 0)


def _start(observed, kept, axis) -> Null:
    """The summary before any permutation: the observed score counts as one, on the first device."""
    zeros, top = jnp.zeros_like(observed), jnp.full((*observed.shape, kept), -jnp.inf, observed.dtype)
    seen, first = jnp.zeros((), observed.dtype), _first(axis)
    top = top.at[..., 0].set(jnp.where(first, observed, -jnp.inf))
    return Null(seen, jnp.ones(observed.shape, int) * first, zeros, zeros, zeros > 0, top)


def _merged(null: Null, axis) -> Null:
    """Merge the summaries of all devices."""
    if axis is None:
        return null
    seen = total(null.seen, axis)
    mean = total(null.mean * null.seen, axis) / seen
    squares = total(null.squares + (null.mean - mean) ** 2 * null.seen, axis)
    tops = lax.all_gather(null.top, axis, axis=null.top.ndim - 1, tiled=True)
    at_least, lost = total(null.at_least, axis), total(null.lost.astype(int), axis) > 0
    return Null(seen, at_least, mean, squares, lost, lax.top_k(tops, null.top.shape[-1])[0])


def _added(null: Null, observed, scores, real) -> Null:
    """Add the scores `(C, ...)` of more permutations, counting those that are `real`."""
    where = real.reshape(-1, *(1,) * observed.ndim)
    seen = jnp.sum(real, dtype=observed.dtype)
    together = null.seen + seen
    mean = jnp.sum(jnp.where(where, scores, 0), 0) / jnp.maximum(seen, 1)
    squares = jnp.sum(jnp.where(where, (scores - mean) ** 2, 0), 0)
    apart = mean - null.mean
    scores = jnp.where(where, scores, -jnp.inf)
    return Null(
        together,
        null.at_least + jnp.sum(scores >= observed - _slack(observed), 0),
        null.mean + apart * seen / jnp.maximum(together, 1),
        null.squares + squares + apart**2 * null.seen * seen / jnp.maximum(together, 1),
        null.lost | jnp.isnan(scores).any(0),
        lax.top_k(jnp.concatenate([null.top, jnp.moveaxis(scores, 0, -1)], -1), null.top.shape[-1])[0],
    )


def _summary(null: Null, score, count) -> Summary:
    """Mean, deviation, threshold and p-value; NaN if the score, or that of any permutation, is NaN."""
    score = jnp.where(jnp.isfinite(score), score, jnp.nan)
    known = ~jnp.isnan(score) & ~null.lost
    deviation = jnp.sqrt(null.squares / max(count - 1, 1))
    threshold, kept = null.top[..., -1], null.top.shape[-1]
    threshold = jnp.where(null.at_least >= kept, jnp.maximum(threshold, score), threshold)  # ties, its own too
    found = (null.mean, deviation, threshold, null.at_least / (count + 1))
    return Summary(score, *(jnp.where(known, v, jnp.nan).astype(score.dtype) for v in found))


def _shaped(counts, family, p, count):
    """Adjusted p-values of the family, mirrored if the matrix is square; NaN for a pair without a p-value."""
    made = jnp.where(family, counts.reshape(family.shape) / (count + 1), jnp.nan).astype(p.dtype)
    if family.shape[0] == family.shape[1]:
        made = jnp.where(family, made, jnp.where(family.T, made.T, jnp.nan))
    return jnp.where(jnp.isnan(p), jnp.nan, made)
