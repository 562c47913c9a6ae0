"""Errors of depth, image by image."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxsim.vision.training.metrics.totals import check, summed, wide

NOTHING = 1e-9
"""Meters that the released evaluation puts in place of zero."""


class Depths(NamedTuple):
    """Errors of single images, NaN where not yet known, and how many have come."""

    images: jax.Array
    errors: jax.Array


@dataclasses.dataclass(frozen=True)
class DepthError:
    """Errors of depth, image by image: the mean of their RMSE, the median of their RMSE of natural logarithms.

    'rmse' and 'log_rmse' count the pixels of the mask, by default those of positive true depth; an image without
    any is left out. 'rmse_released' and 'log_rmse_released' are what the code of Maninis et al. 2019 (ASTMT) computes:
    it puts true depths of zero to 1e-9 m before it asks which are not zero, so every pixel counts, and one of unknown
    depth adds some 20 to the logarithms. Both logarithms take a prediction that is not positive for 1e-9 m, and so does
    'rmse_released'.

    Attributes:
        images: of the dataset; more cannot be counted.

    >>> metric = DepthError(images=1)
    >>> state = metric.update(metric.start(), jnp.full((1, 2, 2), 3.0), jnp.full((1, 2, 2), 2.0))
    >>> metric.result(state)["rmse"]
    1.0
    """

    images: int

    def start(self) -> Depths:
        """The state before the first batch."""
        return Depths(jnp.zeros((), jnp.int32), jnp.full((self.images, 4), jnp.nan, jnp.float32))

    def update(
        self,
        state: Depths,
        predicted: Float[Array, "b h w"],
        actual: Float[Array, "b h w"],
        mask: Bool[Array, "b h w"] | None = None,
    ) -> Depths:
        """Add a batch of images: depths in meters, and where they count.

        Raises:
            ValueError: the shapes differ.
        """
        predicted, actual = wide(predicted), wide(actual)
        check(predicted, actual, mask, actual.shape)
        counted = actual > 0 if mask is None else (actual > 0) & mask
        floor = jnp.where(predicted > 0, predicted, NOTHING)
        filled, all_pixels = jnp.where(actual == 0, NOTHING, actual), jnp.ones_like(counted)
        errors = [
            _root_mean_square(predicted - actual, counted),
            _root_mean_square(_log_ratio(jnp.where(counted, actual, 1), jnp.where(counted, floor, 1)), counted),
            _root_mean_square(floor - filled, all_pixels),
            _root_mean_square(_log_ratio(filled, floor), all_pixels),
        ]
        rows = state.images + jnp.arange(len(actual))
        return Depths(state.images + len(actual), state.errors.at[rows].set(jnp.stack(errors, -1), mode="drop"))

    def result(self, state: Depths) -> dict[str, float]:
        """The metrics so far; NaN if no image had a known depth.

        Raises:
            ValueError: more images have come than were announced.
        """
        if int(state.images) > self.images:
            raise ValueError(f"{int(state.images)} images have come where {self.images} were announced.")
        each = np.asarray(state.errors, np.float64).T
        kept = [column[~np.isnan(column)] for column in each]
        found = [
            float(average(column)) if len(column) else float("nan")
            for average, column in zip((np.mean, np.median) * 2, kept, strict=True)
        ]
        return dict(zip(("rmse", "log_rmse", "rmse_released", "log_rmse_released"), found, strict=True))


def _log_ratio(a, b):
    """ln(a / b), with all digits where the two are close."""
    near = jnp.abs(a - b) < 0.5 * b
    return jnp.where(near, jnp.log1p(jnp.where(near, (a - b) / b, 0)), jnp.log(a / b))


def _root_mean_square(errors, counted):
    """Root mean square of each image `(b, h, w)`; NaN of no pixels."""
    squares = summed(jnp.where(counted, errors, 0).reshape(len(errors), -1) ** 2)
    return jnp.sqrt((squares.high + squares.low) / jnp.sum(counted, (1, 2)))
