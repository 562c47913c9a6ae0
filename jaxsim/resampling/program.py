"""Device programs of resampling: maps are built and sorted once, then one pass runs over the resamples."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim.compare import condensed
from jaxsim.engine.devices import SHARES, WHOLE, divided, whole
from jaxsim.engine.padding import Bucket
from jaxsim.engine.program import all_scores, embed, read_maps, score
from jaxsim.engine.program import at_once as together
from jaxsim.linalg import mirrored
from jaxsim.measures import Measure
from jaxsim.meshes import automatic
from jaxsim.protocols import ComparatorCapabilities, Draws, declared


class Ready(NamedTuple):
    """Maps and scores that all resamples share, one entry per measure.

    Attributes:
        x: prepared maps of the rows' networks, stacked.
        y: prepared maps of the columns' networks, or None to use those of x.
        estimate: `(S, T)` full-sample scores.
        bad_x: undefined images of the rows' networks.
        bad_y: undefined images of the columns' networks.
        effective_x: effective numbers of images, or of groups, of the rows' maps.
        effective_y: effective numbers of images, or of groups, of the columns' maps.
    """

    x: list[Any]
    y: list[Any] | None
    estimate: list[jax.Array]
    bad_x: list[jax.Array]
    bad_y: list[jax.Array]
    effective_x: list[jax.Array]
    effective_y: list[jax.Array]

    @property
    def full_sample(self):
        """Everything except the maps."""
        return self[2:]


class Scored(NamedTuple):
    """Scores of a measure, on the full sample and on resamples.

    Attributes:
        values: `(B, S, T)` resampled scores.
        estimate: `(S, T)` full-sample scores, or NaN.
        undefined: networks without scores, and the number of images that cause it.
        effective: effective numbers of images of the networks of rows and of columns.
        notes: notes for the record.
    """

    values: jax.Array
    estimate: jax.Array
    undefined: dict[str, int]
    effective: Sequence[Any]
    notes: tuple[str, ...] = ()


def _effective(measure, z, n, groups):
    """Effective number of images or groups of a map: (sum e)^2 / sum e^2 of their shares e of its squared length.

    It equals their number if all shares are equal, or if the comparator declares no shares of images.
    """
    shares = declared(measure.compare, ComparatorCapabilities).shares
    if shares is None and groups is None:
        return jnp.asarray(float(n))
    e = jnp.ones(n) if shares is None else shares(z)
    if groups is not None:
        e = jax.ops.segment_sum(e, groups.code, groups.size.shape[0])
    return jnp.sum(e) ** 2 / jnp.sum(e * e)


def prepare(measures: Sequence[Measure], x, y, rows, columns, groups, read, axis=None) -> Ready:
    """Maps of all networks read by `read(measure, map)`, in the callers' order, with the full-sample scores.

    Devices that share the buckets along `axis` each make the maps of their own part; afterwards each device has all
    maps.
    """
    embed_map = embed if groups is None else embed_between(groups.code, groups.size.shape[0])

    def one(measure, m):
        z = embed_map(measure, m)
        return z, read(measure, m), _effective(measure, z, len(m), groups)

    def both(parts, order):
        made = read_maps(measures, parts, one)
        if axis is None:
            made = _ordered(made, order)
            return made, [z for z, *_ in made.z]
        rest = made._replace(z=[(None, *more) for _, *more in made.z])
        return _ordered(whole(rest, axis), order), [z for z, *_ in made.z]

    def estimated(m, u, v):
        found = all_scores(m, u, v, axis)
        return found if axis is None else found[rows, :][:, columns]

    a, embedded = both(x, rows)
    b, others = (a, embedded) if y is None else both(y, columns)
    estimate = [estimated(m, u, v) for m, u, v in zip(measures, embedded, others, strict=True)]
    second = None if y is None else [v[1] for v in b.z]
    effective = [[u[2] for u in side.z] for side in (a, b)]
    return Ready([u[1] for u in a.z], second, estimate, a.undefined, b.undefined, *effective)


def _ordered(tree, order):
    return jax.tree.map(lambda a: a[order], tree)


def embed_between(code, count) -> Callable:
    """Embedding of pairs of images from different groups, or of all pairs if the comparator cannot leave any out.

    Two images of the same group say nothing about new groups: with infinitely many groups, no pair would share one.
    """

    def read(measure, m):
        own = declared(measure.compare, ComparatorCapabilities)
        if own.embed_between is not None:
            return own.embed_between(m, code, count)
        if own.embed_pairs is not None:
            return own.embed_pairs(condensed(m), condensed(code[:, None] != code[None, :]))
        return embed(measure, m)

    return read


def leaves_out_pairs(measure) -> bool:
    """Whether scores of the measure can leave out pairs of images within a group."""
    own = declared(measure.compare, ComparatorCapabilities)
    return own.embed_between is not None or own.embed_pairs is not None


def weighted_scores(measures, ready, given, weights, at_once):
    """Scores `(B, S, T)` of each measure under image weights `(B, n)`, `at_once` resamples at a time."""
    weights = weights.astype(ready.estimate[0].dtype)
    columns = ready.y or [None] * len(measures)

    def some(w):
        return [m.compare.weighted(a, b, w.T) for m, a, b in zip(measures, ready.x, columns, strict=True)]

    return in_blocks(some, weights, at_once)


def in_blocks(function, rows, size):
    """Apply a function with one entry per row to `size` rows at a time; the last block repeats its last row."""
    short = ((0, -len(rows) % size), *((0, 0) for _ in rows.shape[1:]))
    blocks = jnp.pad(rows, short, mode="edge").reshape(-1, size, *rows.shape[1:])
    return jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:])[: len(rows)], lax.map(function, blocks))


def permuted_scores(measures, ready, given, orders, at_once):
    """Scores `(B, S, T)` with the images of the columns' networks in the orders `(B, n)`."""

    def one(order):
        found = []
        for k, m in enumerate(measures):
            x = ready.x[k]
            y = x if ready.y is None else ready.y[k]
            s = score(m, x, y[:, m.compare.permuted(order)])
            found.append(mirrored(s) if ready.y is None else s)
        return found

    networks = max(len(z) for z in [*ready.x, *(ready.y or ())])
    return lax.map(one, orders, batch_size=together(networks, orders.shape[1], ()))


def refitted_scores(measures, ready, given, subsets, at_once):
    """Scores `(B, S, T)` on the images `subsets (B, m)`, with transforms and bandwidths fitted again."""
    x, y, rows, columns, groups = given

    def one(images):
        read = embed if groups is None else embed_between(groups.code[images], groups.size.shape[0])
        a = read_maps(measures, _take(x, images), read)
        b = a if y is None else read_maps(measures, _take(y, images), read)
        pairs = zip(measures, a.z, b.z, strict=True)
        return [score(m, u, v)[rows, :][:, columns] for m, u, v in pairs]

    parts = [*x, *(y or ())]
    networks, widest = sum(len(b.x) for b in parts), max((b.shape[1:] for b in parts), key=math.prod)
    return lax.map(one, subsets, batch_size=together(networks, subsets.shape[1], widest))


def _take(parts, images):
    return tuple(Bucket(jnp.take(b.stack(), images, axis=1), b.where) for b in parts)


def prepared(measure, m):
    """The map in the form that the comparator needs for all weightings."""
    own = declared(measure.compare, ComparatorCapabilities)
    read = own.prepare or own.embed
    return m if read is None else read(m)


class Form(NamedTuple):
    """Program for one form of resamples.

    Attributes:
        read: what to keep of each map, from `(measure, map)`.
        scores: resampled scores from `(measures, ready, given, resamples, at_once)`.
        needs: comparator capabilities that it calls.
    """

    read: Callable
    scores: Callable
    needs: tuple[str, ...] = ()


FORMS = {
    Draws.WEIGHTS: Form(prepared, weighted_scores, ("weighted",)),
    Draws.SUBSETS: Form(embed, refitted_scores),
    Draws.ORDERS: Form(embed, permuted_scores, ("permuted", "embed")),
}


class Source(NamedTuple):
    """Source of the resamples: drawn by number, or given in full.

    Attributes:
        key: typed random key, or None.
        numbers: numbers of the resamples to draw, `(B,)`, or None.
        layout: what the scheme's `draw` needs to know about the images.
        given: the resamples `(B, ...)`, or None.
    """

    key: Any = None
    numbers: Any = None
    layout: Any = None
    given: Any = None


DRAWN_AT_ONCE = 1024
"""Resamples to draw together; with their random bits, they take more memory than their scores."""


def drawn(draw, source):
    """Resamples with the given numbers; number b does not depend on the chunking."""
    if source.given is not None:
        return source.given
    return jax.vmap(lambda b: draw(source.key, b, source.layout))(source.numbers)


def of_drawn(scores, draw, source):
    """Compute `scores` for all resamples of a source, however many there are."""
    if source.given is not None or len(source.numbers) <= DRAWN_AT_ONCE:
        return scores(drawn(draw, source))

    def some(numbers):
        return scores(drawn(draw, source._replace(numbers=numbers)))

    return in_blocks(some, source.numbers, DRAWN_AT_ONCE)


NETWORKS = (WHOLE, SHARES, SHARES, WHOLE, WHOLE, WHOLE)
"""Device placement of measures, buckets of rows and columns, positions and groups."""
SOURCE = Source(WHOLE, SHARES, WHOLE, SHARES)


@functools.partial(jax.jit, static_argnames=("draws", "mesh"))
@automatic
def prepare_call(measures, x, y, rows, columns, groups, draws, mesh=None):
    """Maps and full-sample scores, if the resamples take several calls."""

    def core(axis, measures, x, y, rows, columns, groups):
        return prepare(measures, x, y, rows, columns, groups, FORMS[draws].read, axis)

    return divided(core, mesh, NETWORKS)(measures, x, y, rows, columns, groups)


@functools.partial(jax.jit, static_argnames=("draws", "draw", "at_once", "mesh"))
@automatic
def resampled_call(measures, ready, x, y, rows, columns, groups, draws, draw, source, at_once, mesh=None):
    """Resampled scores from prepared maps."""

    def core(axis, ready, source, *networks):
        return _resampled(axis, ready, networks, draws, draw, source, at_once)

    return divided(core, mesh, (WHOLE, SOURCE, *NETWORKS))(ready, source, measures, x, y, rows, columns, groups)


def _resampled(axis, ready, networks, draws, draw, source, at_once):
    measures, *given = networks
    if draws is Draws.SUBSETS and axis is not None:
        given = _all_networks(axis, *given)
    scores = FORMS[draws].scores
    return whole(of_drawn(lambda some: scores(measures, ready, given, some, at_once), draw, source), axis)


def _all_networks(axis, x, y, rows, columns, groups):
    """Buckets of all devices gathered on each, and the positions of the networks in them."""

    def places(parts, order):
        each, shares = [len(b.x) for b in parts], lax.axis_size(axis)
        starts = np.concatenate([[0], np.cumsum(each)])
        device, own = np.divmod(np.arange(shares * starts[-1]), starts[-1])
        part = np.searchsorted(starts, own, "right") - 1
        return jnp.asarray(shares * starts[part] + device * np.asarray(each)[part] + own - starts[part])[order]

    x_rows = places(x, rows)
    return whole(x, axis), whole(y, axis), x_rows, x_rows if y is None else places(y, columns), groups


def without_estimate(measures, networks: int, others: int, dtype) -> Ready:
    """NaN scores in place of full-sample scores, if only refitted resamples are wanted."""
    blank = [jnp.full((networks, others), jnp.nan, dtype) for _ in measures]
    good, even = ([[jnp.full(k, v)] * len(measures) for k in (networks, others)] for v in (-1, jnp.inf))
    return Ready([], None, blank, *good, *even)


@functools.partial(jax.jit, static_argnames=("draws", "draw", "at_once", "mesh"))
@automatic
def whole_call(measures, x, y, rows, columns, groups, draws, draw, source, at_once, mesh=None):
    """The single device call of `resample`: maps, full-sample scores and all resamples."""

    def core(axis, source, measures, *given):
        x, y, rows, columns, groups = given
        ready = prepare(measures, x, y, rows, columns, groups, FORMS[draws].read, axis)
        return _resampled(axis, ready, (measures, *given), draws, draw, source, at_once), ready.full_sample

    return divided(core, mesh, (SOURCE, *NETWORKS))(source, measures, x, y, rows, columns, groups)
