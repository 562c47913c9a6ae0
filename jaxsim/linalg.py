"""Dense linear algebra at full float32 precision, and means that survive large offsets."""

import jax
import jax.numpy as jnp
from jax import lax


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix product `a @ b` that never falls back to TF32 or bfloat16 passes."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def gram(x: jax.Array) -> jax.Array:
    """Inner products of the rows of `x`, exactly symmetric: (n, d) -> (n, n)."""
    g = dot(x, x.T)
    return (g + g.T) / 2


def masked_mean(x: jax.Array, axis, where: jax.Array | None) -> jax.Array:
    """Mean over `axis`, axes kept, of the entries where `where` (broadcast against x) is true."""
    if where is None:
        return jnp.mean(x, axis, keepdims=True)
    count = jnp.sum(jnp.broadcast_to(where, jnp.broadcast_shapes(x.shape, where.shape)), axis, keepdims=True)
    total = jnp.sum(jnp.where(where, x, 0), axis, keepdims=True)
    return total / jnp.maximum(count, 1).astype(x.dtype)


def remove_mean(x: jax.Array, axis, where: jax.Array | None = None) -> jax.Array:
    """`x` less its mean over `axis`; entries outside `where` become zero.

    The mean is removed twice: the second pass takes away the rounding error of the first, which for features
    of mean 1e3 and standard deviation 1 is 1e-4 in float32.
    """
    for _ in range(2):
        x = x - masked_mean(x, axis, where)
        x = x if where is None else jnp.where(where, x, 0)
    return x


def safe_sqrt(s: jax.Array) -> jax.Array:
    """Square root of non-negative `s` whose gradient at zero is zero instead of infinite."""
    positive = s > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, s, 1)), 0)
