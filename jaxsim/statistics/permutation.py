"""p-values of scores against resamples in which the images of one network are permuted."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxsim.statistics import checks


def permutation_p(values: ArrayLike, estimate: ArrayLike) -> jax.Array:
    """One-sided permutation p-value: are scores as high as the estimate rare when rows do not correspond?

    `p = (1 + #{v >= s}) / (B + 1)` (Phipson & Smyth 2010), shape `(...)`. Scores within 100 rounding units of
    the estimate count as ties, so that a permutation which changes nothing is counted.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(permutation_p(jnp.array([0.0, 0.1, 0.2]), jnp.array(0.15))), 6)
        0.5
    """
    return _permutation_tail(*checks.pair(values, estimate))


def permutation_p_two_sided(values: ArrayLike, estimate: ArrayLike) -> jax.Array:
    """Two-sided permutation p-value: twice the smaller of the two one-sided ones, at most 1.

    It does not suppose that the null distribution is symmetric about zero, which for biased scores it is not.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(permutation_p_two_sided(jnp.array([-1.0, 0.1, 0.2, 0.3]), jnp.array(-2.0))), 6)
        0.4
    """
    values, estimate = checks.pair(values, estimate)
    smaller = jnp.minimum(_permutation_tail(values, estimate), _permutation_tail(-values, -estimate))
    return jnp.minimum(2 * smaller, 1)


def _permutation_tail(values: jax.Array, estimate: jax.Array) -> jax.Array:
    slack = 100 * jnp.finfo(values.dtype).eps * jnp.abs(estimate)
    count = jnp.sum(values >= (estimate - slack)[None], axis=0, dtype=values.dtype)
    missing = jnp.isnan(estimate) | jnp.isnan(values).any(axis=0)
    return jnp.where(missing, jnp.nan, (1 + count) / (values.shape[0] + 1))
