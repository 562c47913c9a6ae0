"""Features of one network read in blocks of images, never whole."""

import dataclasses
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import transforms
from jaxsim.casts import NO_SHIFT, NUMBER, ROW, score_type
from jaxsim.measures import Measure
from jaxsim.protocols import TransformCapabilities, declared

SAMPLE = -1
"""Number of the block that has images from all over."""
FEWEST_OF_SAMPLE = 8
"""Images in that block, if there are so many, whatever the size of the others."""
SMALL, LARGE = 1e-140, 1e140
"""Ranges of a feature below and above which float64 does not hold its squares."""


class Chosen(NamedTuple):
    """Some rows of a network's features, taken from it where a block is read.

    Attributes:
        x: array or memory-mapped array `(n, ..., c)`.
        images: numbers of the rows, `(m,)`.
    """

    x: Any
    images: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """`(m, ..., c)`."""
        return (len(self.images), *self.x.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the features."""
        return self.x.dtype

    def __getitem__(self, rows: Any) -> Any:
        """Features of these of the rows."""
        return self.x[self.images[rows]]


@dataclasses.dataclass(frozen=True)
class RowBlocks:
    """Transformed features of one network, block by block.

    Attributes:
        x: array or memory-mapped array `(n, ..., c)`.
        measure: whose transform is taken.
        size: images in a block; the last one may be shorter.
    """

    x: Any
    measure: Measure
    size: int

    @property
    def count(self) -> int:
        """Number of blocks."""
        return -(-self.x.shape[0] // self.size)

    @property
    def dtype(self) -> np.dtype:
        """Type of the transformed features."""
        return score_type(self.x.dtype)

    @property
    def width(self) -> int:
        """Columns of the transformed features."""
        return declared(self.measure.transform, TransformCapabilities).width(self.x.shape[1:])

    def reordered(self, order: np.ndarray) -> "RowBlocks":
        """The same features with the images in another order."""
        made = dataclasses.replace(self, x=Chosen(self.x, order))
        vars(made).update(first=self.first, moments=self.moments)
        return made

    def rows(self, k: int) -> slice:
        """Images of block `k`; of `SAMPLE`, about a block of images from all over."""
        if k == SAMPLE:
            n = self.x.shape[0]
            return slice(0, None, -(-n // max(self.size, FEWEST_OF_SAMPLE)))
        return slice(k * self.size, min((k + 1) * self.size, self.x.shape[0]))

    def __getitem__(self, k: int) -> jax.Array:
        """Transformed features of block `k`, `(m, d)`."""
        return self._made(self._wide(k))

    def blocks(self) -> Iterator[jax.Array]:
        """All blocks in order, each read while the one before is worked on.

        The other thread only reads: settings of JAX such as `jax.enable_x64(True)` hold in the thread that made them.
        """
        with ThreadPoolExecutor(1) as reader:
            upcoming = reader.submit(self._wide, 0)
            for k in range(self.count):
                x = upcoming.result()
                if k + 1 < self.count:
                    upcoming = reader.submit(self._wide, k + 1)
                yield self._made(x)

    @property
    def can_be_wide(self) -> bool:
        """Whether blocks can be had in float64: transforms that JAX computes have the features' own type."""
        own = declared(self.measure.transform, TransformCapabilities)
        return own.from_moments is not None or self.measure.transform == transforms.identity

    def wide(self, k: int) -> np.ndarray:
        """Block `k` in float64, where it `can_be_wide`."""
        x = self._scaled(self._wide(k))
        return x.reshape(len(x), -1)

    def _made(self, x):
        """Transformed features of images in float64."""
        x, transform = self._scaled(x).astype(self.dtype), self.measure.transform
        done = declared(transform, TransformCapabilities).from_moments is not None
        return jnp.asarray(x.reshape(len(x), -1)) if done else _transformed(transform, x)

    def _scaled(self, x):
        """Images in float64 shifted and scaled as scores allow, and transformed where moments are enough for that."""
        free, own = self.measure.freedom, declared(self.measure.transform, TransformCapabilities)
        m, scale = self.moments, 1.0
        if own.from_moments is not None:
            x, scale = own.from_moments(x, m.mean, m.sd), m.reach
        elif free.shift == ROW:
            x, scale = x - m.near, m.reach
        elif free.shift == NUMBER:
            step = _power_of_two(m.reach)
            x, scale = x - np.round(m.mean.mean() / step) * step, m.largest
        else:
            scale = m.largest
        if free.scale and own.keeps_scale:
            x = x / _power_of_two(scale)
        return x

    @functools.cached_property
    def first(self) -> Any:
        """An image that is subtracted from all where float64 lacks digits."""
        return np.asarray(self.x[0])

    @functools.cached_property
    def moments(self) -> "Moments":
        """Moments of the features, from one pass over them in float64."""
        first = self._wide(0)[0]
        total, squares = np.zeros_like(first), np.zeros_like(first)
        low, high, broken = first.copy(), first.copy(), 0
        with np.errstate(invalid="ignore", over="ignore"):
            for k in range(self.count):
                x = self._wide(k)
                broken += int((~np.isfinite(x)).any(tuple(range(1, x.ndim))).sum())
                low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
                x = x - first  # exactly zero for a constant feature
                total, squares = total + x.sum(0), squares + (x * x).sum(0)
            n = self.x.shape[0]
            mean, ranges = total / n, high - low
            variance = np.maximum(squares / n - mean**2, 0)
            # where the first image lies far from the mean, the difference of squares has lost its digits
            again = (variance < 1e-6 * mean**2) | ((ranges > 0) & ((ranges < SMALL) | (ranges > LARGE)))
            sd = np.sqrt(variance)
            if again.any():
                unit = np.where(ranges > 0, ranges, 1)
                around = sum((((self._wide(k) - first - mean) / unit) ** 2).sum(0) for k in range(self.count))
                sd = np.where(again, unit * np.sqrt(around / n), sd)
            sd = np.where(high > low, sd, 0)
            reach, largest = float(np.max(ranges)), float(np.max(np.maximum(np.abs(high), np.abs(low))))
            step = _power_of_two(ranges) / 8
            near = np.where(ranges == 0, first, np.round((first + mean) / step) * step)
        return Moments(first + mean, near, sd, reach, largest, broken)

    def _wide(self, k):
        """Images in float64, less the first one where that changes no score and float64 lacks the digits."""
        x = self.x[self.rows(k)]
        shift = self.measure.freedom.shift
        if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or shift == NO_SHIFT:
            return np.asarray(x, np.float64)
        x, base = np.asarray(x), self.first if shift == ROW else self.first.flat[0]
        about = x.astype(np.float64) - base.astype(np.float64)
        # differences wrap around, and those of less than 2^63 come out right
        exact = (x.astype(np.uint64) - base.astype(np.uint64)).view(np.int64)
        return np.where(np.abs(about) < 2.0**62, exact, about)


@dataclasses.dataclass(frozen=True)
class Moments:
    """What one pass over the features of a network finds.

    Attributes:
        mean: of every feature over the images, `(..., c)`.
        near: a number close to it, as `linalg.near_mean`.
        sd: standard deviation of every feature.
        reach: largest difference of two images in one feature.
        largest: largest magnitude of a feature.
        broken: images with features that are not finite.
    """

    mean: np.ndarray
    near: np.ndarray
    sd: np.ndarray
    reach: float
    largest: float
    broken: int


@np.errstate(divide="ignore", invalid="ignore")
def _power_of_two(v):
    return np.where((v > 0) & np.isfinite(v), 2.0 ** np.floor(np.log2(v)), 1.0)


@functools.partial(jax.jit, static_argnums=0)
def _transformed(transform, x):
    return transform(x)
