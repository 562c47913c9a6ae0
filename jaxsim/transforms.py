"""Transforms of the features of n images, D X Q of the duality diagram (DDS 2020, section 3): (n, ..., c) -> (n, d).

Every value here takes `x` of shape `(n, ..., c)`, channels last, and returns `(n, d)` flattened in C order.
`where`, of shape `x.shape[1:]`, marks the real entries of an array padded with zeros: padding stays zero and
counts nowhere. Any function `(n, ..., c) -> (n, d)` is a transform too; its optional capabilities are
`protocols.TransformCapabilities`.
"""

import dataclasses
import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.tree_util import register_static
from jaxtyping import Array, Bool, Float

from jaxsim.linalg import center_and_range, dot, masked_mean, power_of_two, remove_mean, require_floating
from jaxsim.protocols import public_names

EPSILON = 1e-9


def _flatten(x: Float[Array, "n ..."]) -> Float[Array, "n d"]:
    """One row an image, in C order."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _spatial_axes(x: jax.Array) -> tuple[int, ...]:
    """Axes between the images and the channels."""
    return tuple(range(1, x.ndim - 1))


def _unit_variance(x, axis, where):
    """Mean 0 and variance 1 over `axis`, with EPSILON added to the variance."""
    x, spread = center_and_range(x, axis, where)
    scale = jnp.maximum(power_of_two(spread), 1)
    x = x / scale
    unit = x / jnp.sqrt(masked_mean(x * x, axis, where) + EPSILON / scale / scale)
    return jnp.where(spread == 0, 0, unit)  # what is constant has a gradient of 0 on purpose, not of 1 / sqrt(EPSILON)


@register_static
@dataclasses.dataclass(frozen=True)
class Identity:
    """Features as they are, Q = I and D = I.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> js.transforms.identity(jnp.ones((4, 2, 2, 3))).shape
    (4, 12)
    """

    accepts_padding: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    ignores_positions: ClassVar[bool] = True
    only_shifts: ClassVar[bool] = True
    keeps_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ..."], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        return _flatten(x)


@register_static
@dataclasses.dataclass(frozen=True)
class Center:
    """Subtract the mean over images from every feature: D = I - 11'/n, Q = I (RSA 2019; DDS 2020, section 3)."""

    accepts_padding: ClassVar[bool] = True
    ignores_positions: ClassVar[bool] = True
    only_shifts: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ..."], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        return _flatten(remove_mean(x, 0, where))

    def from_moments(self, x, mean, sd):
        """Features less their means."""
        return x - mean


@register_static
@dataclasses.dataclass(frozen=True)
class ZScore:
    """Every feature to mean 0 and variance 1 over images (ddof 0): D = I - 11'/n, Q = diag(1 / sd).

    A feature that is constant over images becomes zero.
    """

    accepts_padding: ClassVar[bool] = True
    ignores_positions: ClassVar[bool] = True
    ignores_shift: ClassVar[bool] = True
    ignores_scale: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ..."], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        centered, spread = center_and_range(x, 0, where)
        centered = centered / power_of_two(spread)
        variance = jnp.mean(centered**2, 0, keepdims=True)
        constant = variance == 0
        return _flatten(jnp.where(constant, 0, centered / jnp.sqrt(jnp.where(constant, 1, variance))))

    def from_moments(self, x, mean, sd):
        """Standardized features."""
        return (x - mean) / (sd + (sd == 0))


@register_static
@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """Every channel to mean 0 and variance 1 over images and positions (DDS 2020, section 3)."""

    accepts_padding: ClassVar[bool] = True
    ignores_number: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ... c"], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        return _flatten(_unit_variance(x, (0, *_spatial_axes(x)), where))

    def from_moments(self, x, mean, sd):
        """Channels at mean 0 and variance 1."""
        positions = tuple(range(mean.ndim - 1))
        middle = mean.mean(positions)
        variance = (sd**2 + (mean - middle) ** 2).mean(positions)
        return (x - middle) / (variance + EPSILON) ** 0.5


@register_static
@dataclasses.dataclass(frozen=True)
class InstanceNorm:
    """Every channel of every image to mean 0 and variance 1 over positions (DDS 2020, section 3).

    Raises:
        ValueError: x is `(n, d)`: there are no positions to average over.
    """

    accepts_padding: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    ignores_number: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ... c"], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        if x.ndim < 3:
            raise ValueError(f"instance_norm needs features of shape (n, ..., c) with positions, not {x.shape}.")
        return _flatten(_unit_variance(x, _spatial_axes(x), where))


@register_static
@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """All features of every image to mean 0 and variance 1 (DDS 2020, section 3)."""

    accepts_padding: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    ignores_positions: ClassVar[bool] = True
    ignores_number: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ..."], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        return _flatten(_unit_variance(x, tuple(range(1, x.ndim)), where))


@register_static
@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """Every group of consecutive channels of every image to mean 0 and variance 1 (DDS 2020, section 3).

    Raises:
        ValueError: `groups` is no whole number from 1, or the channels do not divide into so many.
    """

    groups: int = 2
    accepts_padding: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    ignores_number: ClassVar[bool] = True

    def __post_init__(self):
        if self.groups < 1 or self.groups % 1:
            raise ValueError(f"groups of channels must be a whole number from 1, not {self.groups!r}.")

    def __call__(self, x: Float[Array, "n ... c"], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, d)`."""
        channels = x.shape[-1]
        if where is None and channels % self.groups:
            raise ValueError(f"group_norm cannot divide {channels} channels into {self.groups} equal groups.")
        if where is None:
            grouped = x.reshape(*x.shape[:-1], self.groups, channels // self.groups)
            axes = (*range(1, x.ndim - 1), grouped.ndim - 1)
            return _flatten(_unit_variance(grouped, axes, None))
        channels = jnp.sum(jnp.any(where, axis=tuple(range(where.ndim - 1))))
        group = jnp.arange(x.shape[-1]) // (channels // self.groups)
        axes = tuple(range(1, x.ndim))
        parts = [_unit_variance(x, axes, where & (group == g)) for g in range(self.groups)]
        return _flatten(functools.reduce(jnp.add, parts))


@register_static
@dataclasses.dataclass(frozen=True)
class MeanPool:
    """Mean over positions, one value a channel: `(n, ..., c) -> (n, c)`; `(n, d)` stays as it is."""

    accepts_padding: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    keeps_shift: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "n ... c"], where: Bool[Array, "..."] | None = None):
        """`(n, ..., c) -> (n, c)`."""
        axes = _spatial_axes(x)
        return _flatten(masked_mean(x, axes, where)) if axes else x

    def padding_after(self, where: Bool[Array, "... c"]) -> Bool[Array, " c"]:
        """Real channels."""
        return jnp.any(where, axis=tuple(range(where.ndim - 1)))

    def width(self, shape: tuple[int, ...]) -> int:
        """One column a channel."""
        return shape[-1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Duality:
    """The general matrix form D X Q for any Q `(d, d')` and D `(n, n)`; None stands for the identity.

    Escoufier's duality diagram (DDS 2020, section 3): Q relates the features, D weights the images.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> x = jnp.arange(8.0).reshape(4, 2)
    >>> centering = jnp.eye(4) - 1 / 4
    >>> bool(jnp.allclose(js.transforms.Duality(d=centering)(x), js.transforms.center(x)))
    True
    """

    q: Float[Array, "d e"] | None = None
    d: Float[Array, "n n"] | None = None

    def __call__(self, x: Float[Array, "n ..."]) -> Float[Array, "n e"]:
        """`(n, ..., c) -> (n, e)`."""
        require_floating(x)
        x = _flatten(x)
        if self.q is not None and self.q.shape[0] != x.shape[1]:
            raise ValueError(f"Duality has Q of shape {self.q.shape} for features of width {x.shape[1]}.")
        if self.d is not None and self.d.shape[1] != x.shape[0]:
            raise ValueError(f"Duality has D of shape {self.d.shape} for {x.shape[0]} images.")
        x = x if self.d is None else dot(jnp.asarray(self.d, x.dtype), x)
        return x if self.q is None else dot(x, jnp.asarray(self.q, x.dtype))


identity = Identity()
center = Center()
zscore = ZScore()
batch_norm = BatchNorm()
instance_norm = InstanceNorm()
layer_norm = LayerNorm()
group_norm = GroupNorm()
mean_pool = MeanPool()

__all__ = public_names(globals())


def __dir__():
    return __all__
