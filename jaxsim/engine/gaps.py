"""Maps that lack pairs of images (NaN off the diagonal), compared on the pairs that both have."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim.compare import condensed
from jaxsim.engine.program import automatic
from jaxsim.inputs import Networks
from jaxsim.io.files import few
from jaxsim.measures import PARTS, Measure
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.results import Affinity

FEWEST = 3
"""Pairs of images that a score takes."""
TRACED = 'missing="pairwise" fills its matrix outside jit; call it there, or use missing="shared".'


def lacking(nets: Networks) -> dict[str, np.ndarray]:
    """Maps with NaN off the diagonal, by name: where it is, `(n, n)`.

    NaN on the diagonal is no gap: it stands between no two images.
    """
    found = {}
    for name, m in zip(nets.names, nets.arrays, strict=True):
        nan = np.isnan(np.asarray(m))
        np.fill_diagonal(nan, False)
        if nan.any():
            found[name] = nan
    return found


def every_pair(nets: Networks) -> int:
    """Number of pairs of images of a whole map."""
    return nets.images * (nets.images - 1) // 2


def shared_pairs(measures: Sequence[Measure], x: Networks, y: Networks | None) -> tuple[np.ndarray, set[str]]:
    """Number of pairs of images that two maps both have, `(S, T)`, and the maps that lack some.

    Raises:
        TypeError: JAX is tracing the maps, or a map lacks pairs and a measure needs them all.
    """
    if x.traced or (y is not None and y.traced):
        raise TypeError(TRACED)
    rows = lacking(x)
    columns = rows if y is None else lacking(y)
    names = x.names, (x if y is None else y).names
    pairs = np.full((len(names[0]), len(names[1])), every_pair(x))
    for place in np.ndindex(*pairs.shape):
        gaps = [side[own[k]] for side, own, k in zip((rows, columns), names, place, strict=True) if own[k] in side]
        if gaps:
            pairs[place] -= np.count_nonzero(gaps[0] | gaps[-1]) // 2
    _refuse_whole(measures, sorted({*rows, *columns}))
    return pairs, {*rows, *columns}


def _refuse_whole(measures, lacking):
    """Refuse comparators that need every pair of images."""
    odd = [m for m in measures if _own(m).embed_pairs is None]
    if odd and lacking:
        fine = [n for n, part in PARTS["compare"].items() if declared(part, ComparatorCapabilities).embed_pairs]
        raise TypeError(
            f"map {lacking[0]!r} lacks pairs of images, and {odd[0]} needs them all; of maps with gaps "
            f"{', '.join(fine)} compare the pairs that both have."
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
    found = [v if y is not None else jnp.triu(v) + jnp.triu(v, 1).T for v in found]
    return [(v, jnp.full(shape[0], -1), jnp.full(shape[1], -1)) for v in found]


def say_shared(found: Affinity) -> list[str]:
    """Sentences that name the pairs of maps without a score on the pairs of images that both have, and why."""
    if found.pairs is None:
        return []
    bad = np.isnan(np.asarray(found.values)) & (found.pairs < found.images * (found.images - 1) // 2)
    explained = [name for name, _ in found.undefined]
    places = [
        (s, t)
        for s, t in np.argwhere(np.triu(bad) if found.square else bad)
        if found.names[s] not in explained and found.targets[t] not in explained
    ]
    said = []
    reasons = (f"share fewer than {FEWEST} pairs of images", "are constant or infinite on the pairs that both have")
    for short, why in zip((True, False), reasons, strict=True):
        named = [f"{found.names[s]} - {found.targets[t]}" for s, t in places if (found.pairs[s, t] < FEWEST) == short]
        if named:
            said.append(f"maps without a {found.provenance.measure} score (NaN), since they {why}: {few(named, 5)}.")
    return said
