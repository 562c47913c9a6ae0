"""Maps that lack pairs of images (NaN off the diagonal), compared on the pairs that both have."""

from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim.compare import condensed
from jaxsim.inputs import Networks, traced
from jaxsim.io.files import few, warn
from jaxsim.linalg import mirrored
from jaxsim.measures import PARTS, Measure
from jaxsim.meshes import automatic
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.results import Affinity, UndefinedScores

FEWEST = 3
"""Pairs of images that a score takes."""
TRACED = 'missing="pairwise" does not work inside jit; call it outside, or use missing="shared".'


class Gaps(NamedTuple):
    """Pairs of images that maps lack.

    Attributes:
        pairs: number of pairs of images that two maps both have, `(S, T)`.
        rows: whether a map of the rows lacks any, `(S,)`.
        columns: the same of the columns, `(T,)`.
    """

    pairs: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @property
    def exist(self) -> bool:
        """Whether any map lacks any."""
        return bool(self.rows.any() or self.columns.any())


def find(measures: Sequence[Measure], x: Networks, y: Networks | None) -> Gaps:
    """The pairs of images that maps lack: NaN off the diagonal.

    Raises:
        TypeError: JAX is tracing the maps, or a map lacks pairs and a measure needs them all.
    """
    if traced(x.arrays, y and y.arrays):
        raise TypeError(TRACED)
    rows = [_missing(m) for m in x.arrays]
    columns = rows if y is None else [_missing(m) for m in y.arrays]
    pairs = np.full((len(rows), len(columns)), x.images * (x.images - 1) // 2)
    for s, t in np.ndindex(*pairs.shape):
        both = [m for m in (rows[s], columns[t]) if m is not None]
        if both:
            pairs[s, t] -= np.count_nonzero(both[0] | both[-1]) // 2
    masks = [np.array([m is not None for m in side]) for side in (rows, columns)]
    _refuse_whole(measures, [*compress(x.names, masks[0]), *compress((y or x).names, masks[1])])
    return Gaps(pairs, *masks)


def _missing(m) -> np.ndarray | None:
    """Mask `(n, n)` of the pairs that a map lacks, NaN off the diagonal; None without any."""
    nan = np.isnan(np.asarray(m))
    np.fill_diagonal(nan, False)
    return nan if nan.any() else None


def _refuse_whole(measures, lacking):
    """Refuse comparators that need every pair of images."""
    odd = [m for m in measures if _own(m).embed_pairs is None]
    if odd and lacking:
        fine = [n for n, part in PARTS["compare"].items() if declared(part, ComparatorCapabilities).embed_pairs]
        raise TypeError(
            f"map {lacking[0]!r} lacks pairs of images, and {odd[0]} needs them all; with gaps, use "
            f"{', '.join(fine)}, to compare the pairs that both maps have."
        )


def _own(measure) -> Any:
    return declared(measure.compare, ComparatorCapabilities)


@jax.jit
@automatic
def shared_call(measures, x, y, rows, columns):
    """Scores `(S, T)` of each measure where one of two maps lacks pairs, NaN elsewhere; as `affinity_call`."""
    a = jax.vmap(condensed)(x[0].stack()[rows])
    b = a if y is None else jax.vmap(condensed)(y[0].stack()[columns])
    gaps_a, gaps_b = (jnp.any(jnp.isnan(m), 1) for m in (a, b))
    blank = [jnp.asarray(jnp.nan, a.dtype)] * len(measures)

    def scores(u, v):
        where = ~(jnp.isnan(u) | jnp.isnan(v))
        parts = [_own(m) for m in measures]
        found = [p.finish(jnp.sum(p.embed_pairs(u, where) * p.embed_pairs(v, where))) for p in parts]
        return [jnp.where(jnp.sum(where) >= FEWEST, s, jnp.nan) for s in found]

    def cell(place):
        s, t = place
        wanted = (gaps_a[s] | gaps_b[t]) & ((s <= t) | (y is not None))
        return lax.cond(wanted, lambda: scores(a[s], b[t]), lambda: blank)

    shape = len(a), len(b)
    found = [v.reshape(shape) for v in lax.map(cell, tuple(place.ravel() for place in jnp.indices(shape)))]
    found = [mirrored(v) if y is None else v for v in found]
    return [(v, jnp.full(shape[0], -1), jnp.full(shape[1], -1)) for v in found]


def filled(found, shared, gaps: Gaps) -> list[tuple[Any, Any, Any]]:
    """Scores of `affinity_call`, those of `shared_call` where a map lacks pairs, which leaves no map undefined."""
    made, either = [], gaps.rows[:, None] | gaps.columns
    for (values, bad_x, bad_y), (partial, *_) in zip(found, shared, strict=True):
        bad = np.where(gaps.rows, -1, bad_x), np.where(gaps.columns, -1, bad_y)
        made.append((jnp.where(either, partial, values), *bad))
    return made


def warn_of_unscored(found: Affinity) -> None:
    """Name the pairs of maps without a score on the pairs of images that both have, and why."""
    if found.pairs is None:
        return
    bad = np.isnan(np.asarray(found.values)) & (found.pairs < found.images * (found.images - 1) // 2)
    explained = [name for name, _ in found.undefined]
    places = [
        (s, t)
        for s, t in np.argwhere(np.triu(bad) if found.square else bad)
        if found.names[s] not in explained and found.targets[t] not in explained
    ]
    reasons = (f"share fewer than {FEWEST} pairs of images", "are constant or infinite on the pairs that both have")
    for short, why in zip((True, False), reasons, strict=True):
        named = [f"{found.names[s]} - {found.targets[t]}" for s, t in places if (found.pairs[s, t] < FEWEST) == short]
        if named:
            text = f"maps without a {found.provenance.measure} score (NaN), because they {why}: {few(named, 5)}."
            warn(text, UndefinedScores)
