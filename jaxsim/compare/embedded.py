"""Shared parts of comparators that are an inner product of embedded maps: means, lengths and the score of two maps."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsim.compare.triangles import reordered, shares_of_images
from jaxsim.linalg import power_of_two, sum_of_squares
from jaxsim.protocols import ComparatorCapabilities, declared


def compare_embedded(self, a: Float[Array, "n n"], b: Float[Array, "n n"]) -> Float[Array, ""]:
    """`(n, n), (n, n) -> ()`."""
    return declared(self, ComparatorCapabilities).finish(jnp.sum(self.embed(a) * self.embed(b)))


def normalize(pooled):
    """Scale a mean of embedded maps to length 1."""
    return unit(pooled, pooled)


class OfTriangles:
    """Declarations of comparators whose embedded maps are upper triangles of length 1."""

    min_images: ClassVar[int] = 3
    __call__ = compare_embedded
    permuted = staticmethod(reordered)
    shares = staticmethod(shares_of_images)
    embed_pooled = staticmethod(normalize)


def unit(v, scale):
    """Scale `v` to length 1; NaN if it is zero within the rounding of numbers as large as `scale`."""
    v, length, _ = sized(v, scale)
    return v / length


def sized(v, scale):
    """`v` divided by a power of two near the largest of `scale`, its length after that, and the power.

    The length is NaN if it is zero within the rounding of numbers as large as `scale`.
    """
    largest = power_of_two(jnp.max(jnp.abs(scale)))
    v, scale = v / largest, scale / largest
    length = jnp.sqrt(sum_of_squares(v))
    tolerance = 8 * jnp.finfo(v.dtype).eps * jnp.sqrt(sum_of_squares(scale))
    return v, jnp.where(length > tolerance, length, jnp.nan), largest


def centered_unit(v, where=None):
    """Scale `v` to mean 0 and length 1 over the entries that count."""
    centered = v - mean_of(v, where)
    return unit(kept(centered - mean_of(centered, where), where), kept(v, where))


def mean_of(v, where):
    """Mean of the entries that count."""
    return jnp.mean(v) if where is None else jnp.sum(kept(v, where)) / jnp.sum(where)


def kept(v, where):
    """`v` with zeros where it does not count."""
    return v if where is None else jnp.where(where, v, 0)
