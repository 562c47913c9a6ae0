"""An encoder and a decoder as one network."""

from typing import Any

from flax import nnx


class Network(nnx.Module):
    """`decoder(encoder(x))`; the parts stay reachable by those names.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim import models
        >>> rngs = nnx.Rngs(0)
        >>> network = models.Network(models.SmallEncoder(rngs=rngs), models.VectorHead(3, rngs=rngs))
        >>> network(jnp.zeros((1, 64, 64, 3))).shape
        (1, 3)
    """

    def __init__(self, encoder: Any, decoder: Any):
        self.encoder, self.decoder = encoder, decoder

    def __call__(self, x: Any) -> Any:
        """The decoder's values for the images' code."""
        return self.decoder(self.encoder(x))
