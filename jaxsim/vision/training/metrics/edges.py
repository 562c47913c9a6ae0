"""Absolute error of edges, over all pixels of a dataset."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxsim.vision.training.metrics.totals import Total, added, check, counted_up, share, summed, wide, zero


class Deviation(NamedTuple):
    """Pixels and their summed absolute error."""

    pixels: Total
    errors: Total


@dataclasses.dataclass(frozen=True)
class EdgeError:
    """'mae': mean of |p - e| over all counted pixels, p the predicted probability of an edge, e 1 on an edge, else 0.

    The definition is our own: DDS 2020 (Table 5) states neither its scale nor the settings of its Canny edges, and
    its numbers are not to be compared. Nothing is thresholded or balanced; with few edges, 0 everywhere scores well.

    >>> metric = EdgeError()
    >>> metric.result(metric.update(metric.start(), jnp.array([0.5, 0.0]), jnp.array([1.0, 0.0])))
    {'mae': 0.25}
    """

    def start(self) -> Deviation:
        """The state before the first batch."""
        return Deviation(zero(), zero())

    def update(
        self,
        state: Deviation,
        predicted: Float[Array, "*a"],
        actual: Float[Array, "*a"],
        mask: Bool[Array, "*a"] | None = None,
    ) -> Deviation:
        """Count a batch: probabilities, edges, and where they count.

        Raises:
            ValueError: the shapes differ.
        """
        predicted, actual = wide(predicted), wide(actual)
        check(predicted, actual, mask, actual.shape)
        counted = jnp.ones(actual.shape, bool) if mask is None else mask
        errors = jnp.where(counted, jnp.abs(predicted - actual), 0)
        return Deviation(added(state.pixels, counted_up(jnp.sum(counted))), added(state.errors, summed(errors.ravel())))

    def result(self, state: Deviation) -> dict[str, float]:
        """The metric so far; NaN if no pixel was counted."""
        return {"mae": float(share(state.errors, state.pixels))}
