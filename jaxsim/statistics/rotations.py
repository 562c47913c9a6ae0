"""Tests of many hypotheses from draws of the estimates' errors, by rotation."""

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc
from jax.typing import ArrayLike

from jaxsim.statistics import checks
from jaxsim.statistics.hypotheses import FamilyWise
from jaxsim.statistics.intervals import gap

ROTATIONS, _AT_ONCE = 10_000, 500


def rotation_tests(
    errors: ArrayLike,
    estimate: ArrayLike,
    null: ArrayLike = 0.0,
    *,
    units: float | None = None,
    key: jax.Array | int = 0,
) -> FamilyWise:
    """Test a family of estimates against `null`, adjusting for their number by rotations.

    Each hypothesis has a column of R + 1 numbers: `estimate - null`, and R draws of the estimate's error. If the null
    values are true and errors are normal, all rows have the same distribution, and so does any rotation of them
    (Langsrud 2005). The adjusted p-values are based on the share of the first row in its column's squared length. Its
    maximum over columns is compared with 10,000 random rotations applied to all columns together. This keeps the
    dependence of the hypotheses, and even few rows can give p-values of any size. A single hypothesis is tested by
    Student's t with R degrees of freedom.

    The draws come from a sample of `units` images, whose variance is itself an estimate. With `units`, t has
    `1 / (1 / R + 1 / (units - 1))` degrees of freedom, and maxima are those of R degrees at the same probability.

    A hypothesis with a NaN gets NaN and is not counted. The same applies if all its errors are zero, unless the
    estimate equals the null value up to rounding: then t is 0 and p is 1.

    Args:
        errors: `(R, ...)`, such as `half_sample_errors`.
        estimate: `(...)`.
        null: value under the hypothesis, a number or `(...)`.
        units: number of images, or of groups; None treats the draws as coming from the population.
        key: typed random key for the rotations, or a seed.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax
        >>> errors = jax.random.normal(jax.random.key(0), (99, 3))
        >>> tests = rotation_tests(errors, jax.numpy.array([0.0, 0.0, 9.0]))
        >>> [round(float(p), 2) for p in tests.step_down]
        [1.0, 1.0, 0.0]
    """
    errors, estimate = checks.pair(errors, estimate)
    null = jnp.broadcast_to(jnp.asarray(null, estimate.dtype), estimate.shape)
    count = errors.shape[0]
    degrees = count if units is None else 1 / (1 / count + 1 / max(units - 1, 1))
    return FamilyWise(*_tests(errors, estimate, null, checks.as_key(key), float(degrees)))


@jax.jit
def _tests(errors, estimate, null, key, degrees):
    """The four arrays of `FamilyWise`."""
    count, shape = errors.shape[0], estimate.shape
    first = gap(estimate, null).ravel()
    rows = jnp.concatenate([first[None], errors.reshape(count, -1)])
    squares = jnp.sum(rows[1:] ** 2, 0)
    statistic = jnp.where((squares == 0) & (first == 0), 0, first / jnp.sqrt(squares / count))
    valid = jnp.isfinite(statistic)
    size = jnp.where(valid, statistic**2, -1)
    share = jnp.where(valid, -jnp.expm1(-_log_ratio(jnp.maximum(size, 0), degrees, count)), -1)
    columns = jnp.where(valid, rows, 0)
    lengths = jnp.sqrt(jnp.sum(columns**2, 0))
    single, stepped = _maxima(columns / jnp.where(lengths > 0, lengths, 1), share, key)
    alone = betainc(degrees / 2, jnp.asarray(0.5, size.dtype), degrees / (degrees + jnp.maximum(size, 0)))

    def shaped(p: jax.Array) -> jax.Array:
        return jnp.where(valid, p, jnp.nan).reshape(shape)

    return [*map(shaped, (statistic, alone, single, stepped))]


def _log_ratio(size: jax.Array, degrees: jax.Array, count: int) -> jax.Array:
    """`log(1 + u^2 / R)` for the quantile u of R degrees that is as extreme as t is with `degrees`: Wallace 1959."""

    def per_degree(nu):
        return nu * ((8 * nu + 1) / (8 * nu + 3)) ** 2

    return per_degree(degrees) / per_degree(count) * jnp.log1p(size / degrees)


def _maxima(columns: jax.Array, share: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Single-step and step-down adjusted p-values of columns `(R + 1, H)` of length 1."""
    order = jnp.argsort(-share, stable=True)
    columns, share = columns[:, order], share[order]

    def add(total, k):
        u = jax.random.normal(jax.random.fold_in(key, k), (_AT_ONCE, columns.shape[0]), columns.dtype)
        u = u / jnp.sqrt(jnp.sum(u * u, 1, keepdims=True))
        stars = jnp.matmul(u, columns, precision=jax.lax.Precision.HIGHEST) ** 2
        down = jax.lax.cummax(stars, axis=1, reverse=True)
        return total + jnp.stack([jnp.sum(m >= share, 0, dtype=share.dtype) for m in (down[:, :1], down)]), None

    blocks = ROTATIONS // _AT_ONCE
    total, _ = jax.lax.scan(add, jnp.zeros((2, *share.shape), share.dtype), jnp.arange(blocks))
    single, stepped = (1 + total) / (blocks * _AT_ONCE + 1)
    back = jnp.zeros_like(share).at[order]
    return back.set(single), back.set(jax.lax.cummax(stepped))
