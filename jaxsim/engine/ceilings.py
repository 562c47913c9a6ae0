"""Noise ceilings: how well the best possible map could do for a group of networks."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsim import inputs
from jaxsim.engine.checks import as_comparators, as_measures, as_one, check, means_maps, undefined_networks
from jaxsim.engine.memory import map_bytes, require_maps
from jaxsim.engine.padding import buckets
from jaxsim.engine.program import read_maps
from jaxsim.linalg import long_dot
from jaxsim.meshes import automatic
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.statistics import NoiseCeiling


def noise_ceiling(
    group: Any, measure: Any, *, ids: Any = None, align: bool = False, channels: Any = None
) -> NoiseCeiling:
    """Range of the mean score that the best possible network could have with the members of a group.

    Upper bound: every member against the mean of all maps, itself included; lower bound: against the mean of the others
    (Nili et al. 2014). Maps are averaged after the comparator's normalization: ranks for rank correlations, maps at
    mean 0 and length 1 for Pearson, at length 1 for the cosine.

    Args:
        group: features of U members (subjects, seeds) as for `js.affinity`, or maps as for `js.compare_maps`.
        measure: measure of features, or comparator of maps, or the name of one.
        ids: as for `js.affinity`.
        align: as for `js.affinity`.
        channels: as for `js.affinity`.

    Returns:
        `NoiseCeiling(lower, upper)`.

    Raises:
        TypeError: the comparator is a function of your own, which says nothing of how maps are averaged.
        ValueError: there are fewer than two members, or their images do not fit.

    >>> import jax, jaxsim as js
    >>> shared, own = jax.random.normal(jax.random.key(0), (2, 4, 30, 10))
    >>> ceiling = js.noise_ceiling(shared[:1] + own, js.RSA)
    >>> bool(ceiling.lower < ceiling.upper)
    True
    """
    ready = means_maps(group, measure)
    measure = as_one((as_comparators if ready else as_measures)(measure), "noise_ceiling")
    own = declared(measure.compare, ComparatorCapabilities)
    if own.embed is None or own.embed_pooled is None:
        raise TypeError(
            f"{measure} compares maps with a function that does not declare embed_pooled; use one from js.compare."
        )
    nets, _ = inputs.both(group, None, ids, None, channels, maps=ready)
    nets = inputs.same_images(nets, align=align)[0]
    if len(nets.names) < 2:
        raise ValueError(f"a noise ceiling needs at least two members; there is only {''.join(nets.names)!r}.")
    check([measure], nets)
    size = nets.dtype.itemsize
    require_maps(len(nets.names), 2 * map_bytes((measure,), nets.images, size), nets.images, size)
    found, bad = ceiling_call(measure, *buckets(nets.cast(measure.freedom), [measure]))
    undefined_networks(measure, nets, None, bad, bad)
    return found


@jax.jit
@automatic
def ceiling_call(measure, parts, rows) -> tuple[NoiseCeiling, jax.Array]:
    """The one device call of `noise_ceiling`: the bounds, and the undefined images of the members."""
    (z, pools), undefined = _read_members(measure, parts)
    return NoiseCeiling(*jnp.mean(_of_members(measure, z, pools), 1)), undefined[rows]


def member_ceilings(measure, z, pools) -> tuple[jax.Array, jax.Array]:
    """Ceilings of every member, and of the group without each, from embedded and pooled maps.

    Returns:
        Scores `(2, U)` of every member with the best map of the others, and of all; and those of member v in the group
        without u, `(2, U, U)`, zero for v = u, or all zero for fewer than three members.
    """
    count = len(z)
    if count < 3:
        return _of_members(measure, z, pools), jnp.zeros((2, count, count), z.dtype)
    own: Any = declared(measure.compare, ComparatorCapabilities)
    total, numbers = jnp.sum(pools, 0), jnp.arange(count)

    def without(u):
        rest = total - pools[u]
        upper = _scores(own, z, own.embed_pooled(rest / (count - 1))[None])[:, 0]

        def one(v):
            return _score(own, z[v], own.embed_pooled((rest - pools[v]) / (count - 2)))

        # v = u would take itself off twice
        lower = lax.map(lambda v: lax.cond(v == u, lambda: jnp.zeros((), z.dtype), lambda: one(v)), numbers)
        return jnp.where(numbers == u, 0, jnp.stack([lower, upper]))

    return _of_members(measure, z, pools), jnp.moveaxis(lax.map(without, numbers), 0, 1)


def _read_members(measure, parts):
    """Embedded and pooled maps, and the members' undefined images, in the order of the buckets."""
    read = read_maps([measure], parts, member)
    return read.z[0], read.undefined[0]


def member(measure, m) -> tuple[jax.Array, jax.Array]:
    """A map embedded, and as it enters the mean of several."""
    own: Any = declared(measure.compare, ComparatorCapabilities)
    return own.embed(m), (own.pooled or own.embed)(m)


def _of_members(measure, z, pools):
    """Scores `(2, U)` of the members with the best map of the others, and of all."""
    own: Any = declared(measure.compare, ComparatorCapabilities)
    total, count = jnp.sum(pools, 0), pools.shape[0]
    upper = _scores(own, z, own.embed_pooled(total / count)[None])[:, 0]
    lower = lax.map(lambda one: _score(own, one[0], own.embed_pooled((total - one[1]) / (count - 1))), (z, pools))
    return jnp.stack([lower, upper])


def _score(own, z, best):
    """Score `()` of two embedded maps."""
    return own.finish(jnp.sum(z * best)) if own.scores is None else own.scores(z[None], best[None])[0, 0]


def _scores(own, a, b):
    """Scores `(S, T)` of embedded maps."""
    return own.finish(long_dot(a, b)) if own.scores is None else own.scores(a, b)
