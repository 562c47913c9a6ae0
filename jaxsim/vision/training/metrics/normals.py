"""Angles between predicted and true normals, over all pixels of a dataset."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxsim.vision.training.metrics.totals import Total, added, check, counted_up, share, summed, value, wide, zero

BINS = 18000
"""Bins of the histogram of angles, for the median: 0.01 degree each."""
WITHIN = (11.25, 22.5, 30.0)


def angles(predicted: Float[Array, "*a 3"], actual: Float[Array, "*a 3"]) -> Float[Array, "*a"]:
    """Degrees between vectors of any length, atan2(|p x a|, p . a); 90 where the prediction has none.

    Equal to the arc cosine of the unit vectors' product, without its loss of digits at small angles.

    >>> round(float(angles(jnp.array([1.0, 0, 0]), jnp.array([1.0, 1.0, 0]))), 4)
    45.0
    """
    across = jnp.linalg.norm(jnp.cross(predicted, actual), axis=-1)
    found = jnp.rad2deg(jnp.arctan2(across, jnp.sum(predicted * actual, -1)))
    return jnp.where(jnp.any(predicted != 0, -1), found, 90.0)


class Turned(NamedTuple):
    """Pixels, their angles' sum and sum of squares, how many are within each limit, and the histogram."""

    pixels: Total
    angles: Total
    squares: Total
    within: Total
    histogram: Total


@dataclasses.dataclass(frozen=True)
class AngularError:
    """Angles between predicted and true normals over all known pixels of a dataset together.

    'mean', 'median' and 'rmse' in degrees, and 'within_11.25', 'within_22.5' and 'within_30' in percent (less than
    that), as Maninis et al. 2019 (ASTMT) evaluate. The median is read off a histogram, to 0.005 degree; `angles` gives
    every pixel's. NaN if there were no pixels.

    >>> metric = AngularError()
    >>> true = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    >>> state = metric.update(metric.start(), jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), true)
    >>> round(metric.result(state)["mean"], 4)
    45.0
    """

    def start(self) -> Turned:
        """The state before the first batch."""
        return Turned(zero(), zero(), zero(), zero(len(WITHIN)), zero(BINS))

    def update(
        self,
        state: Turned,
        predicted: Float[Array, "*a 3"],
        actual: Float[Array, "*a 3"],
        mask: Bool[Array, "*a"] | None = None,
    ) -> Turned:
        """Count a batch: vectors, and where they count besides where the true one is not zero.

        Raises:
            ValueError: the shapes differ.
        """
        predicted, actual = wide(predicted), wide(actual)
        check(predicted, actual, mask, actual.shape[:-1])
        counted = jnp.any(actual != 0, -1) if mask is None else jnp.any(actual != 0, -1) & mask
        off = jnp.where(counted, angles(predicted, actual), 0).ravel()
        counted = counted.ravel()
        bins = jnp.where(counted, jnp.clip((off * (BINS / 180)).astype(jnp.int32), 0, BINS - 1), BINS)
        limits = jnp.array(WITHIN, off.dtype)[:, None]
        return Turned(
            added(state.pixels, counted_up(jnp.sum(counted))),
            added(state.angles, summed(off)),
            added(state.squares, summed(off**2)),
            added(state.within, counted_up(jnp.sum((off < limits) & counted, -1))),
            added(state.histogram, counted_up(jnp.bincount(bins, length=BINS + 1)[:-1])),
        )

    def result(self, state: Turned) -> dict[str, float]:
        """The metrics so far."""
        within = {
            f"within_{limit:g}": float(v) * 100
            for limit, v in zip(WITHIN, share(state.within, state.pixels), strict=True)
        }
        upto, pixels = np.cumsum(value(state.histogram)), int(value(state.pixels))
        middle = [np.searchsorted(upto, k, side="right") for k in ((pixels - 1) // 2, pixels // 2)]
        return {
            "mean": float(share(state.angles, state.pixels)),
            "median": float(np.mean(middle) + 0.5) * 180 / BINS if pixels else float("nan"),
            "rmse": float(np.sqrt(share(state.squares, state.pixels))),
            **within,
        }
