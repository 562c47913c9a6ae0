"""Average ranks from NumPy, between two device programs: on a CPU it sorts several times as fast as XLA."""

import functools
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import ranks
from jaxsim.compare import condensed
from jaxsim.engine import program
from jaxsim.engine.program import Embedded
from jaxsim.foreign_arrays import traced
from jaxsim.linalg import on_cpu, over
from jaxsim.measures import Measure
from jaxsim.meshes import automatic
from jaxsim.protocols import ComparatorCapabilities, declared

FEWEST = 150
"""Images from which on two programs and NumPy take less time than one program."""


def applies(measure: Measure, images: int) -> bool:
    """Whether the pairs of so many images are ranked on the host, in calls that are not traced."""
    return on_cpu() and images >= FEWEST and declared(measure.compare, ComparatorCapabilities).embed_ranks is not None


def affinity_call(measures, x, y, rows, columns, mesh=None, cheaper=None):
    """As `program.affinity_call`, with pairs ranked on the host where that is faster."""
    images, alone = x[0].shape[0], mesh is None and not traced(*jax.tree.leaves((measures, x, y)))
    ranked = [alone and applies(m, images) for m in measures]
    if not any(ranked):
        return program.affinity_call(measures, x, y, rows, columns, mesh, cheaper)
    found = iter(_ranked(tuple(itertools.compress(measures, ranked)), x, y, rows, columns))
    if all(ranked):
        return [*found]
    others = [not own for own in ranked]
    cheaper = cheaper and tuple(itertools.compress(cheaper, others))
    rest = tuple(itertools.compress(measures, others))
    rest = iter(program.affinity_call(rest, x, y, rows, columns, None, cheaper))
    return [next(found if own else rest) for own in ranked]


def _ranked(measures, x, y, rows, columns):
    sides = embedded(measures, x), None if y is None else embedded(measures, y)
    return _scores_call(measures, *sides, rows, columns)


def embedded(measures: Sequence[Measure], parts: Any) -> Embedded:
    """Embedded maps of all networks, whose pairs NumPy ranks."""
    z, undefined = _maps_call(measures, parts)
    for k in range(len(z)):  # maps of one measure after another make way for ranks, and these for what is made of them
        z[k] = jax.device_put(_ranks(np.asarray(z[k])))
    return _embed_call(measures, z, undefined)


@jax.jit
@automatic
def _maps_call(measures, parts):
    return program.read_maps(measures, parts, lambda _, m: condensed(m))


def _ranks(maps):
    """Average ranks of every map `(T, p)`, on all cores."""
    found = np.empty_like(maps)
    with ThreadPoolExecutor(min(len(maps), os.cpu_count() or 1)) as pool:
        list(pool.map(average, maps, found))
    return found


@functools.partial(jax.jit, donate_argnums=1)
@automatic
def _embed_call(measures, ranked, undefined):
    embed: Any = [declared(m.compare, ComparatorCapabilities).embed_ranks for m in measures]
    z = [over(own, r) for own, r in zip(embed, ranked, strict=True)]
    # a map of equal values has ranks and no embedding
    broken = [jnp.isnan(jnp.sum(one, 1)) for one in z]
    return Embedded(z, [jnp.where(own & (old == -1), 0, old) for own, old in zip(broken, undefined, strict=True)])


@jax.jit
@automatic
def _scores_call(measures, a, b, rows, columns):
    b = a if b is None else b
    found = []
    for k, m in enumerate(measures):
        scores = program.all_scores(m, a.z[k], b.z[k], None)
        found.append((program.ordered(scores, rows, columns), a.undefined[k][rows], b.undefined[k][columns]))
    return found


def average(v: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """`ranks.average` by NumPy, to the last bit.

    >>> import numpy as np
    >>> from jaxsim.engine import host_ranks
    >>> host_ranks.average(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    out = np.empty_like(v) if out is None else out
    order = np.argsort(v)
    ordered = v[order]
    if np.isnan(ordered[-1]):
        out[:] = np.nan
        return out
    starts = _ties(ordered)
    first = np.flatnonzero(starts)
    count = np.diff(first, append=v.size)
    out[order] = np.repeat((first.astype(v.dtype) + (first + count - 1).astype(v.dtype)) / 2 + 1, count)
    return out


@np.errstate(invalid="ignore", divide="ignore")  # of infinities, and of maps of zeros
def _ties(ordered):
    """Whether each of some sorted numbers begins a tie, or stands alone; ties are those of `ranks.tie_bounds`."""
    p, eps = ordered.size, ordered.dtype.type(ranks.rounding(ordered.dtype))
    finite = np.isfinite(ordered)
    size = np.where(finite, np.abs(ordered), 0)
    unit = ranks.unit_of_ties(np, size.max(), max(size[p // 4], size[p + -p // 4]), eps)
    starts = np.append(True, ordered[1:] - ordered[:-1] > ranks.ROUNDING * unit)
    first = np.flatnonzero(starts)
    count = np.diff(first, append=p)
    spread = unit / eps - (ordered[0] if finite[0] else -unit / eps)
    has_ties = ranks.more_than_chance(np.sum(~starts & finite), unit / spread, ordered.dtype.type(p))
    width = ranks.width_of_ties(np, count == 2, has_ties) * unit
    chain = np.repeat(ordered[first + count - 1] - ordered[first] > width, count)
    return starts | (chain & np.append(True, ordered[1:] != ordered[:-1]))
