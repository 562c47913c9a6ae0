"""Linear CKA from d x d products instead of n x n maps, where that is less work (Kornblith et al. 2019, section 3).

With centered columns, K = X X' and k_i = |x_i|^2, sum_ij K_ij L_ij = |X'Y|^2 (Frobenius); what a comparator's own
centering adds is its `from_features`. That subtraction cancels where one image is much longer than the others; scores
are then taken from maps, which lose nothing.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxsim.engine.devices import cross, whole
from jaxsim.engine.padding import Bucket
from jaxsim.linalg import mirrored, power_of_two, remove_mean, tall_dot
from jaxsim.measures import Measure
from jaxsim.protocols import ComparatorCapabilities, PairwiseCapabilities, TransformCapabilities, declared

CANCELED = 0.1
"""Share of a kernel's squared length that centering must leave; less costs digits that float32 lacks."""
LOST = -2
"""Stands in `Embedded.undefined` for a network whose centering left less."""
MAP_BYTES = 2**28
"""Most bytes of maps that are worth building to recover those digits."""


def applies(measure: Measure) -> bool:
    """Whether the measure has this form."""
    inner = declared(measure.pairwise, PairwiseCapabilities).inner_product
    return inner and declared(measure.compare, ComparatorCapabilities).from_features is not None


def is_cheaper(measure: Measure, x: Sequence[Bucket], y: Sequence[Bucket] | None) -> bool:
    """Whether the measure has this form and it takes fewer operations for these networks."""
    if not applies(measure):
        return False
    width = declared(measure.transform, TransformCapabilities).width
    parts = [*x, *(y or ())]
    networks = [len(b.x) for b in parts]
    total = sum(width(b.shape[1:]) * t for b, t in zip(parts, networks, strict=True))
    return takes_fewer_operations(total, sum(networks), x[0].shape[0])


def takes_fewer_operations(width: int, networks: int, images: int, times: float = 1) -> bool:
    """Whether X'Y of all networks, of that total width, so many times takes fewer operations than maps and theirs."""
    return times * width**2 < images * (width + networks**2 / 2)


def scores(
    measure: Measure, x: Sequence[Bucket], y: Sequence[Bucket] | None, axis: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scores `(S, T)` and `Embedded.undefined` of rows and columns, in the order of the buckets.

    On devices that have shares of the buckets along `axis`, of all networks.
    """
    a = [_centered(measure, b) for b in x]
    b = a if y is None else [_centered(measure, part) for part in y]
    own = declared(measure.compare, ComparatorCapabilities)
    products = cross(lambda a, b: jnp.block([[_products(own, u, v) for v in b] for u in a]), a, b, axis)
    length_x, undefined_x = whole(_lengths(own, x, a), axis)
    length_y, undefined_y = (length_x, undefined_x) if y is None else whole(_lengths(own, y, b), axis)
    there_x, there_y = length_x > 0, length_y > 0
    # NaN enters last: where maps replace these scores, it must not come back through their gradient
    safe_x, safe_y = jnp.where(there_x, length_x, 1), jnp.where(there_y, length_y, 1)
    found = own.finish(products / safe_x[:, None] / safe_y[None])
    found = jnp.where(there_x[:, None] & there_y[None], found, jnp.nan)
    return mirrored(found) if y is None else found, undefined_x, undefined_y


def scores_or_maps(
    measure: Measure, x: Sequence[Bucket], y: Sequence[Bucket] | None, from_maps: Callable, axis: str | None = None
):
    """`scores`, or those of `from_maps()` where digits were lost and the maps are small enough."""
    found = scores(measure, x, y, axis)
    parts = [*x, *(y or ())]
    if sum(len(b.x) for b in parts) * parts[0].shape[0] ** 2 * found[0].dtype.itemsize > MAP_BYTES:
        return found
    lost = jnp.any(found[1] == LOST) | jnp.any(found[2] == LOST)
    return lax.cond(lost, from_maps, lambda: found)


def _centered(measure, bucket):
    def one(x_where):
        x, where = x_where
        z = remove_mean(measure.transform(x) if where is None else measure.transform(x, where), 0)
        # the score does not depend on the scale, and squares of squares would leave the range of float32
        return z / power_of_two(jnp.max(jnp.abs(z)))

    return lax.map(one, (bucket.stack(), bucket.where))


def _products(own, u, v):
    """Centered inner products of the kernels of `(S, n, d)` and `(T, n, e)`: `(S, T)`."""
    side_by_side = [jnp.moveaxis(z, 0, 1).reshape(z.shape[1], -1) for z in (u, v)]
    blocks = tall_dot(*side_by_side).reshape(u.shape[0], u.shape[2], v.shape[0], v.shape[2])
    return own.from_features(jnp.sum(blocks**2, (1, 3)), jnp.sum(u**2, 2), jnp.sum(v**2, 2))


def _lengths(own, parts, centered):
    """Roots of the kernels' products with themselves, NaN if rounding is all of it; and `Embedded.undefined`."""

    def one(z):
        total = jnp.sum(tall_dot(z, z) ** 2)
        rows = jnp.sum(z**2, 1)[None]
        size = own.from_features(total[None, None], rows, rows)[0, 0]
        length = jnp.sqrt(jnp.where(size > 16 * jnp.finfo(z.dtype).eps * total, size, jnp.nan))
        return length, (size < CANCELED * total) & (total > 0)

    lengths, lost = zip(*(lax.map(one, u) for u in centered), strict=True)
    length = jnp.concatenate(lengths)
    return length, _undefined(parts, length, jnp.concatenate(lost))


def _undefined(parts, length, lost):
    """Images whose features are not finite, of the networks that have no scores; -1 for the others."""
    broken = ~(length > 0)
    count = lax.cond(jnp.any(broken), lambda: not_finite(parts), lambda: jnp.zeros(broken.shape, int))
    return jnp.where(lost, LOST, jnp.where(broken, count, -1))


def not_finite(parts: Sequence[Bucket]) -> jax.Array:
    """Number of images with NaN or infinite features of every network `(T,)`."""
    finite = [jnp.isfinite(b.stack()) for b in parts]
    return jnp.concatenate([jnp.sum(~jnp.all(f, tuple(range(2, f.ndim))), 1) for f in finite])
