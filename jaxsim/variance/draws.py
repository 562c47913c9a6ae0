"""Resamples of m out of N images as weights, with corrections to the error and bias at m new images.

Weights have the same shape for every m. A unit is an image, or a whole group of images. Draws equal those of
`js.resample` where it has them: subsets of m, and halves and bootstraps of all images.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import layouts, schemes
from jaxsim.layouts import Layout


class Correction(NamedTuple):
    """Factors that turn resampled scores into the error and the bias at m images.

    Attributes:
        paired: whether resamples 2 r and 2 r + 1 share no image, so that errors come from their differences.
        error: factor for the spread of independent resamples.
        bias: factor for their mean minus the score on all images.
    """

    paired: Any
    error: Any
    bias: Any


class Drawing(NamedTuple):
    """How a scheme draws m out of N units.

    Attributes:
        draw: `(key, b, units, quota) -> weights` of the units, from the number of units to draw from each unit's
            stratum.
        correction: `(m, N, drawn) -> Correction`.
        drawn: number of units in one resample, from the quotas of the strata.
        subsets: whether the weights are 0 and 1, so that everything can be refitted on the images drawn.
        below_all: whether m must be less than N.
    """

    draw: Callable
    correction: Callable[[int, int, int], Correction]
    drawn: Callable[[np.ndarray], int]
    subsets: bool = False
    below_all: bool = False


def _place(key, b, units: Layout):
    """Position of each unit in a random order of its stratum."""
    order = layouts.shuffled(key, b, units._replace(groups=None))
    place = jnp.arange(order.size) - units.start[order]
    return jnp.zeros_like(place).at[order].set(place)


def _subset(key, b, units, quota):
    return (_place(key, b, units) < quota).astype(float)


def _half(key, b, units, quota):
    place, half = _place(key, b // 2, units), quota // 2
    return ((place >= b % 2 * half) & (place < (1 + b % 2) * half)).astype(float)


def _counts(key, b, units, quota):
    n = units.code.shape[0]
    pick = units.start + jax.random.randint(jax.random.fold_in(key, b), (n,), 0, units.size)
    slot = jnp.zeros(n, int).at[units.order].set(jnp.arange(n)) - units.start
    return jnp.zeros(n).at[units.order[pick]].add(slot < quota)


def _dirichlet(key, b, units, quota):
    n = units.code.shape[0]
    share = jax.random.loggamma(jax.random.fold_in(key, b), jnp.maximum(quota / units.size, 1e-3), (n,))
    share = jnp.exp(share - jax.ops.segment_max(share, units.code, n)[units.code])
    return share * quota / jax.ops.segment_sum(share, units.code, n)[units.code]


def _whole(quotas):
    return int(quotas.sum())


def _halves(quotas):
    return int((quotas // 2).sum())


def _of_subsets(m, n, drawn):
    return Correction(False, math.sqrt(n / (n - m)) if m < n else math.nan, 1.0)


def _of_halves(m, n, drawn):
    return Correction(True, math.sqrt(drawn / m), (1 / m - 1 / n) / (1 / drawn - 1 / n))


def _of_bootstraps(m, n, drawn):
    return Correction(False, 1.0, 1 - m / n)


DRAWINGS: Mapping[str, Drawing] = MappingProxyType(
    {
        schemes.HalfSamples.kind: Drawing(_half, _of_halves, _halves, subsets=True),
        schemes.Subsample.kind: Drawing(_subset, _of_subsets, _whole, subsets=True, below_all=True),
        schemes.Bootstrap.kind: Drawing(_counts, _of_bootstraps, _whole),
        schemes.BayesianBootstrap.kind: Drawing(_dirichlet, _of_bootstraps, _whole),
    }
)
"""Read-only view of the schemes that can draw fewer images than there are."""
