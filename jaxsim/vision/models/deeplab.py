"""DeepLabV3's decoder, and a decoder that branches off any layer of an encoder."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxsim.vision.models.batchnorm import Normed, normed_convolution
from jaxsim.vision.models.decoders import pyramid
from jaxsim.vision.models.encoders import check_channels, convolution


class DeepLabDecoder(nnx.Module):
    """Atrous spatial pyramid pooling with batch normalization: `(b, h, w, c)` to `(b, h, w, k)`.

    The parts, of `depth` channels each, are a 1x1 convolution, a 3x3 convolution at each rate, and a 1x1 convolution of
    the spatial mean; they are concatenated and projected by a 1x1 convolution. Each has batch normalization and ReLU. A
    last 1x1 convolution gives the output.

    Source: Chen et al., Rethinking atrous convolution for semantic image segmentation (2017), section 3.3; as in
    Dwivedi et al., Duality diagram similarity (2020), section 5.2. Dwivedi & Roig (2019) use it with
    `activation=False`: their implementation has normalization but no ReLU within the pyramid.

    Args:
        channels_out: number of classes, or channels of the target.
        channels_in: channels of the features.
        depth: channels of each part.
        rates: dilations of the 3x3 convolutions.
        activation: apply a ReLU after each part.
        precision: precision of the convolutions.
        rngs: random keys for the initial weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> decoder = models.DeepLabDecoder(5, channels_in=8, depth=4, rates=(1, 2), rngs=nnx.Rngs(0))
        >>> decoder(jnp.zeros((2, 8, 8, 8))).shape
        (2, 8, 8, 5)
    """

    def __init__(
        self,
        channels_out: int,
        *,
        channels_in: int = 2048,
        depth: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        activation: bool = True,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        def part(inputs: int, side: int = 1, dilation: int = 1) -> Normed:
            return normed_convolution(inputs, depth, side=side, dilation=dilation, precision=precision, rngs=rngs)

        self.channels_in, self.activation = channels_in, activation
        self.point = part(channels_in)
        self.atrous = nnx.List(part(channels_in, 3, rate) for rate in rates)
        self.pooled = part(channels_in)
        self.project = part((len(rates) + 2) * depth)
        self.out = convolution(depth, channels_out, side=1, precision=precision, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Class scores, or the target, at the resolution of the features."""
        check_channels(x, self.channels_in, "decoder")
        joined = self._activated(pyramid(x, [self.point, *self.atrous], self.pooled))
        return self.out(self._activated(self.project(joined)))

    def _activated(self, x: Array) -> Array:
        return jax.nn.relu(x) if self.activation else x


class Branch(nnx.Module):
    """A decoder on one layer of an encoder, upsampled to the images; later layers are not computed.

    The layer's channels are tiled to the number that the decoder expects: 8, 4, 2 or 1 times for blocks 1 to 4 of
    ResNet-50 and 2,048 channels, so that the decoder has the same size on each of them. Its output is upsampled
    bilinearly to the size of the images (PyTorch's `align_corners=False`).

    Source: Dwivedi et al., Duality diagram similarity (2020), section 5.2.

    Args:
        encoder: an encoder with `layers(x, last)`: `ResNet` or `SmallEncoder`.
        layer: name of the layer.
        decoder: a decoder with `decoder.channels_in` input channels.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> def scores(pictures):
        ...     encoder = models.ResNet((1, 1), 4, rngs=nnx.Rngs(0))
        ...     decoder = models.DeepLabDecoder(5, channels_in=32, depth=4, rates=(1,), rngs=nnx.Rngs(1))
        ...     return models.Branch(encoder, "block1", decoder)(pictures)
        >>> nnx.eval_shape(scores, jnp.zeros((1, 30, 40, 3))).shape
        (1, 30, 40, 5)
    """

    def __init__(self, encoder: Any, layer: str, decoder: Any):
        self.encoder, self.layer, self.decoder = encoder, layer, decoder

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Apply the decoder to the layer's features of the images.

        Raises:
            ValueError: there is no such layer, or its channels do not divide the decoder's.
        """
        features = self.encoder.layers(x, last=self.layer)[self.layer]
        out = self.decoder(tile_channels(features, self.decoder.channels_in))
        return jax.image.resize(out, (*x.shape[:3], out.shape[-1]), "bilinear")


def tile_channels(x: Float[Array, "b h w c"], channels: int) -> Float[Array, "b h w k"]:
    """Repeat all channels until there are `channels`.

    Raises:
        ValueError: `channels` is not a multiple of those of `x`, or `x` has no spatial axes.

    Example:
        >>> import jax.numpy as jnp
        >>> tile_channels(jnp.array([[[[1, 2]]]]), 6).tolist()
        [[[[1, 2, 1, 2, 1, 2]]]]
    """
    if x.ndim != 4 or channels % x.shape[-1]:
        raise ValueError(f"features of shape {x.shape} cannot be tiled to (b, h, w, {channels}).")
    return jnp.tile(x, (1, 1, 1, channels // x.shape[-1]))
