"""The simulated world of the coverage table: images with latent causes, and networks that see them.

An image has shared causes z and separate causes u for the second network. Both are mixtures of eight clusters with
skewed spread, so that nothing is Gaussian. Network X is relu(z A + a) with unequal gains. Network Y(theta) is
relu((cos(theta) z A + sin(theta) u B) + b) with other gains, so its similarity to X falls from nearly 1 to that of
unrelated networks as theta goes from 0 to pi / 2. Weights are drawn once, so only the images are random.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsim.linalg import dot

CAUSES, WIDTH, CLUSTERS = 10, 48, 8


class World(NamedTuple):
    """Fixed weights of all networks: what the population is made of."""

    centers: jax.Array
    other_centers: jax.Array
    first: jax.Array
    second: jax.Array
    biases: jax.Array
    gains: jax.Array


def world(seed: int = 0) -> World:
    keys = jax.random.split(jax.random.key(seed), 6)
    normal = jax.random.normal
    scale = CAUSES**-0.5
    return World(
        normal(keys[0], (CLUSTERS, CAUSES)),
        normal(keys[1], (CLUSTERS, CAUSES)),
        scale * normal(keys[2], (CAUSES, WIDTH)),
        scale * normal(keys[3], (CAUSES, WIDTH)),
        0.3 * normal(keys[4], (2, WIDTH)),
        jnp.exp(0.5 * normal(keys[5], (2, WIDTH))),
    )


def causes(key: jax.Array, centers: jax.Array, n: int) -> jax.Array:
    """`(n, CAUSES)`: a cluster's center plus noise whose spread differs between images, skewed."""
    a, b, c = jax.random.split(key, 3)
    cluster = jax.random.randint(a, (n,), 0, CLUSTERS)
    spread = jnp.exp(0.3 * jax.random.normal(b, (n, 1)))
    return centers[cluster] + spread * jax.random.normal(c, (n, CAUSES))


def mix(shared: jax.Array, own: jax.Array, thetas: jax.Array, w: World) -> jax.Array:
    """Features `(1 + K, n, WIDTH)` of X, and of Y at K angles; `own` is `(n, CAUSES)`, or one each `(K, n, CAUSES)`."""
    common, apart = dot(shared, w.first), dot(own, w.second)
    mixed = jnp.cos(thetas)[:, None, None] * common + jnp.sin(thetas)[:, None, None] * apart
    x = w.gains[0] * jax.nn.relu(common + w.biases[0])
    y = w.gains[1] * jax.nn.relu(mixed + w.biases[1])
    return jnp.concatenate([x[None], y])


def images(key: jax.Array, n: int, thetas: jax.Array, w: World) -> jax.Array:
    """Features `(1 + K, n, WIDTH)` of network X and of Y at K angles, on n images."""
    a, b = jax.random.split(key)
    return mix(causes(a, w.centers, n), causes(b, w.other_centers, n), thetas, w)
