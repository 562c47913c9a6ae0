"""Losses of dense prediction with unknown pixels, as used to train the branches of DDS 2020.

Source: Maninis et al., Attentive single-tasking of multiple tasks (2019), whose released code DDS 2020 uses for
training. That code marks unknown pixels by the value 255; here a mask `(b, h, w)` is True where the target is known.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(
    prediction: Float[Array, "*a c"], target: Int[Array, "*a"], mask: Bool[Array, "*a"]
) -> Float[Array, ""]:
    """Cross-entropy of logits in nats, mean over the known pixels; 0 if there are none.

    >>> round(float(cross_entropy(jnp.zeros((1, 2, 4)), jnp.array([[2, 255]]), jnp.array([[True, False]]))), 4)
    1.3863
    """
    known = jnp.where(mask, target, 0).astype(jnp.int32)
    logs = jnp.take_along_axis(jax.nn.log_softmax(prediction), known[..., None], -1)[..., 0]
    return -jnp.sum(jnp.where(mask, logs, 0)) / jnp.maximum(jnp.sum(mask), 1)


def normals(
    prediction: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"], mask: Bool[Array, "b h w"]
) -> Float[Array, ""]:
    """Absolute error between vectors scaled to unit length, mean over the components of known pixels.

    >>> true = jnp.array([[[[0.0, 0.0, 1.0]]]])
    >>> float(normals(5 * true, true, jnp.ones((1, 1, 1), bool)))
    0.0
    """
    known = mask[..., None]
    prediction, target = (_unit(jnp.where(known, vectors, 0)) for vectors in (prediction, target))
    return jnp.sum(jnp.abs(prediction - target)) / jnp.maximum(3 * jnp.sum(mask), 1)


def _unit(vectors: Array) -> Array:
    """Scale vectors to unit length; zero vectors stay zero, with zero gradient."""
    squares = jnp.sum(vectors**2, -1, keepdims=True)
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return vectors / (length + 1e-12)


def depth(
    prediction: Float[Array, "b h w"], target: Float[Array, "b h w"], mask: Bool[Array, "b h w"]
) -> Float[Array, ""]:
    """Absolute error of depth and of its two Sobel derivatives, summed, over the number of known pixels.

    As in the released code, the derivatives count everywhere: unknown true depth is 0 there and the prediction is kept.
    Borders are padded with zeros.

    >>> flat = jnp.zeros((1, 3, 3))
    >>> round(float(depth(flat, flat + 1, jnp.ones((1, 3, 3), bool))), 4)
    5.4444
    """
    target = jnp.where(mask, target, 0)
    error = jnp.sum(jnp.where(mask, jnp.abs(prediction - target), 0))
    slopes = sum(jnp.sum(jnp.abs(_sobel(prediction - target, axis))) for axis in (1, 2))
    return (error + slopes) / jnp.maximum(jnp.sum(mask), 1)


def _sobel(x: Array, axis: int) -> Array:
    """Sobel derivative along one axis of `(b, h, w)`, zero-padded."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
    x = jnp.moveaxis(x, axis, 1)
    smooth = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    return jnp.moveaxis(smooth[:, :-2] - smooth[:, 2:], 1, axis)


def edges(
    prediction: Float[Array, "b h w"], target: Float[Array, "b h w"], mask: Bool[Array, "b h w"], weight: float = 0.95
) -> Float[Array, ""]:
    """Binary cross-entropy of logits in nats, edges weighted by `weight` and other pixels by 1 - `weight`.

    The weight is 0.95 for Pascal and 0.8 for NYUv2. A pixel is an edge if its target is at least one half.

    >>> x = jnp.zeros((1, 1, 2))
    >>> round(float(edges(x, jnp.array([[[1.0, 0.0]]]), jnp.ones((1, 1, 2), bool))), 4)
    0.3466
    """
    on = target >= 0.5
    each = jnp.where(on, weight * jax.nn.softplus(-prediction), (1 - weight) * jax.nn.softplus(prediction))
    return jnp.sum(jnp.where(mask, each, 0)) / jnp.maximum(jnp.sum(mask), 1)
