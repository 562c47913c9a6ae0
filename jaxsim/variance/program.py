"""Device programs of variance studies: one pass over sizes and schemes, with a summary of each."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim.meshes import automatic
from jaxsim.resampling.program import Source, of_drawn, prepare, prepared, refitted_scores, weighted_scores
from jaxsim.statistics import gap, order_agreement, spread
from jaxsim.variance.draws import DRAWINGS, Correction

DRAWS = tuple(drawing.draw for drawing in DRAWINGS.values())


class Case(NamedTuple):
    """One scheme at one size, or a stack of them.

    Attributes:
        draw: position of the scheme's draw in `DRAWS`.
        quota: number of units to draw from the stratum of each unit, `(units,)`.
        share: m / N.
        correction: `Correction` of the scheme.
    """

    draw: Any
    quota: Any
    share: Any
    correction: Correction


class Summary(NamedTuple):
    """Error and bias `(C, S, T)`, and rank agreement `(C, T)`, from the first resamples, for C numbers of resamples."""

    error: jax.Array
    bias: jax.Array
    stability: jax.Array


@functools.partial(jax.jit, static_argnames=("counts", "at_once"))
@automatic
def weighted_call(measures, x, y, rows, columns, key, layout, cases, same, counts, at_once):
    """Full-sample scores, and `Summary` of all cases, with resamples as image weights.

    Args:
        measures: as for `prepare`, like the next four.
        x: buckets of the rows' maps.
        y: buckets of the columns' maps, or None.
        rows: position of each map of the rows.
        columns: position of each map of the columns.
        key: typed random key.
        layout: layout of the images, with their groups if whole groups are drawn.
        cases: stack of `Case`.
        same: whether row and column have the same name, `(S, T)`.
        counts: numbers of resamples to summarize, ascending; the last is all of them.
        at_once: number of weightings side by side.
    """
    ready = prepare(measures, x, y, rows, columns, None, prepared)

    def one(case):
        source = Source(key, jnp.arange(counts[-1]), (case, layout))
        found = of_drawn(lambda w: weighted_scores(measures, ready, None, w, at_once), weights_of, source)
        pairs = zip(found, ready.estimate, strict=True)
        return [_summary(v, s, case, same if y is None else _own(same, s), counts) for v, s in pairs]

    return lax.map(one, cases), ready.full_sample


@functools.partial(jax.jit, static_argnames=("size",))
@automatic
def refitted_call(measures, x, y, rows, columns, key, layout, case, numbers, size):
    """Scores `(B, S, T)` of each measure on subsets of `size` images with these numbers, with everything refitted."""

    def scores(weights):
        subsets = jax.vmap(lambda w: jnp.nonzero(w, size=size)[0])(weights)
        return refitted_scores(measures, None, (x, y, rows, columns, None), subsets, 1)

    return of_drawn(scores, weights_of, Source(key, numbers, (case, layout)))


@functools.partial(jax.jit, static_argnames=("square", "counts"))
@automatic
def summary_call(values, estimate, case, same, square, counts):
    """`Summary` of each measure, from its scores at the size of a case; one program for all sizes."""
    pairs = zip(values, estimate, strict=True)
    return [_summary(v, s, case, same if square else _own(same, s), counts) for v, s in pairs]


def weights_of(key, b, case_and_layout):
    """Weights of the images in resample b, `(n,)`; they do not depend on the number of resamples."""
    case, layout = case_and_layout
    units = layout if layout.groups is None else layout.groups.units
    draws = [lambda draw=draw: draw(key, b, units, case.quota).astype(float) for draw in DRAWS]
    weights = lax.switch(case.draw, draws)
    return weights if layout.groups is None else weights[layout.groups.code]


def _own(same, estimate):
    """Entries of a network with itself in two sets: those with the same name and a score of 1."""
    return same & (gap(estimate, 1.0) == 0)


def _summary(values, estimate, case: Case, own, counts) -> Summary:
    """Errors, biases and rank agreement at the size of the case, from scores `(B, S, T)`."""
    paired, stretch, factor = case.correction
    apart = gap(values[0::2], values[1::2])
    errors, biases = [], []
    for count in counts:
        half = jnp.sqrt(jnp.mean(apart[: count // 2] ** 2, 0) / 2)
        errors.append(stretch * jnp.where(paired, half, spread(values[:count])))
        biases.append(factor * (jnp.mean(values[:count], 0) - estimate))
    center = estimate + biases[-1]
    usable = ~own & ~jnp.isnan(apart).any(0) & ~jnp.isnan(center)
    orders = order_agreement(apart * (stretch / np.sqrt(2)), center, usable, case.share)
    stability = [jnp.mean(orders[: count // 2], 0) for count in counts]
    stability = jnp.stack([jnp.where(r > 0, 2 * r / (1 + r), r) for r in stability])
    return Summary(jnp.stack(errors), jnp.stack(biases), stability)


def stacked(cases: list[Case]) -> Case:
    """Stack cases into one, for `lax.map`."""
    return jax.tree.map(lambda *a: np.asarray(a), *cases)
