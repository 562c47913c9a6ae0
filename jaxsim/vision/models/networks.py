"""An encoder with a decoder as one network, and access to the layers of any network."""

import fnmatch
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Network(nnx.Module):
    """`decoder(encoder(x))`, with the parts as attributes.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> rngs = nnx.Rngs(0)
        >>> network = models.Network(models.SmallEncoder(rngs=rngs), models.VectorHead(3, rngs=rngs))
        >>> network(jnp.zeros((1, 64, 64, 3))).shape
        (1, 3)
    """

    def __init__(self, encoder: Any, decoder: Any):
        self.encoder, self.decoder = encoder, decoder

    def __call__(self, x: Any) -> Any:
        """Encode and decode."""
        return self.decoder(self.encoder(x))


def all_layers(network: Any, x: Any) -> OrderedDict[str, Any]:
    """Values of all layers by name, in order; JAX would sort the keys of a plain dict.

    Args:
        network: an object with `layers(x)`, or a function of `x`.
        x: inputs `(b, h, w, c)`.

    Raises:
        TypeError: it does not return arrays by name.
    """
    values = network.layers(x) if hasattr(network, "layers") else network(x)
    if not isinstance(values, Mapping):
        raise TypeError(f"it returns a {type(values).__name__}, not arrays by layer name.")
    return OrderedDict(values)


def layer_shapes(network: nnx.Module, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of all layers for float32 inputs of a shape, without computing them.

    Example:
        >>> from jaxsim.vision import models
        >>> layer_shapes(models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(0)), (1, 16, 16, 3))
        {'conv1': (1, 8, 8, 4), 'conv2': (1, 4, 4, 8)}
    """
    found = nnx.eval_shape(all_layers, network, jax.ShapeDtypeStruct(shape, jnp.float32))
    return {name: values.shape for name, values in found.items()}


def matching(names: Iterable[str], patterns: Iterable[str]) -> tuple[str, ...]:
    """The names that match any of the patterns, in order; `*` matches any text.

    >>> matching(["stem", "block1", "block2", "code"], ["code", "block*"])
    ('block1', 'block2', 'code')
    """
    patterns = tuple(patterns)
    return tuple(name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
