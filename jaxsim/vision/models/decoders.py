"""Decoders from a code (b, h, w, c) to images, label maps or vectors."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxsim.vision.models.encoders import check_channels, convolution

WIDTHS, PAPER_WIDTHS = (32, 16, 8, 8), (32, 16, 4, 4)
"""Channels before each upsampling: ours, and those of Table S1, whose 4 are few for targets with three channels."""
SEEN = np.zeros((2, 3, 3), np.float32)
"""(p, y, i): 1 where tap i of output p, the first or second half of a doubled pixel, reads pixel y - 1 from it."""
SEEN[0, [0, 1, 1], [0, 1, 2]] = SEEN[1, [1, 1, 2], [0, 1, 2]] = 1


class SmallDecoder(nnx.Module):
    """Convolution, ReLU and 2x upsampling, `upsamplings` times, then a convolution without activation.

    A code `(b, h, w, channels_in)` becomes `(b, h u, w u, channels_out)` with u = 2^upsamplings. Table S1 has the
    widths `PAPER_WIDTHS` and 4 upsamplings.

    Source: Dwivedi & Roig (2019), supplement, Table S1.

    Args:
        channels_out: channels of the target.
        upsamplings: number of 2x upsamplings; 3 undo the encoder's strides of 2, 2, 2.
        channels_in: channels of the code.
        widths: channels before each upsampling, of which the first `upsamplings` are used.
        precision: precision of the convolutions.
        rngs: random keys for the initial weights.

    Raises:
        ValueError: there are fewer widths than upsamplings.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> models.SmallDecoder(1, rngs=nnx.Rngs(0))(jnp.zeros((2, 8, 8, 8))).shape
        (2, 64, 64, 1)
    """

    def __init__(
        self,
        channels_out: int,
        upsamplings: int = 3,
        *,
        channels_in: int = 8,
        widths: Sequence[int] = WIDTHS,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        if not 0 <= upsamplings <= len(widths):
            raise ValueError(f"a decoder with widths {tuple(widths)} cannot have {upsamplings} upsamplings.")
        self.channels_in = channels_in
        channels = (channels_in, *widths[:upsamplings])
        self.hidden = nnx.List(
            convolution(a, b, precision=precision, rngs=rngs) for a, b in zip(channels, channels[1:], strict=False)
        )
        self.out = convolution(channels[-1], channels_out, precision=precision, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
        """Decode codes to the target."""
        check_channels(x, self.channels_in, "decoder")
        first, *others = (*self.hidden, self.out)
        x = first(x)
        for layer in others:
            x = on_doubled(layer, jax.nn.relu(x))
        return x


class VectorHead(nnx.Module):
    """A two-layer perceptron on flattened codes: `(b, ...)` to `(b, outputs)`.

    Args:
        outputs: length of the target vector or number of classes.
        features_in: values per code; 8 x 8 x 8 by default.
        hidden: width of the hidden layer.
        precision: precision of the matrix products.
        rngs: random keys for the initial weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> models.VectorHead(10, rngs=nnx.Rngs(0))(jnp.zeros((2, 8, 8, 8))).shape
        (2, 10)
    """

    def __init__(
        self,
        outputs: int,
        *,
        features_in: int = 512,
        hidden: int = 128,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        self.features_in = features_in
        start = nnx.initializers.he_normal()
        self.hidden = nnx.Linear(features_in, hidden, kernel_init=start, precision=precision, rngs=rngs)
        self.out = nnx.Linear(hidden, outputs, precision=precision, rngs=rngs)

    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b k"]:
        """Map codes to target vectors."""
        return self.out(jax.nn.relu(self.hidden(flatten(x, self.features_in))))


class AsppDecoder(nnx.Module):
    """Atrous spatial pyramid: 1x1, dilated 3x3 and pooled branches, concatenated, projected and upsampled.

    A code `(b, h, w, channels_in)` becomes class scores `(b, h s, w s, classes)`, where s is `scale`. The default rates
    suit a code of 8 x 8; the published ones, 6, 12 and 18, suit codes of 32 x 32 and more.

    Source: Chen et al., Rethinking atrous convolution for semantic image segmentation (2017), section 3.3.

    Args:
        classes: number of classes.
        channels_in: channels of the code.
        channels: channels of each branch and of their projection.
        rates: dilation of each 3x3 branch.
        scale: bilinear upsampling factor from the code to the scores.
        precision: precision of the convolutions.
        rngs: random keys for the initial weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> models.AsppDecoder(5, rngs=nnx.Rngs(0))(jnp.zeros((2, 8, 8, 8))).shape
        (2, 64, 64, 5)
    """

    def __init__(
        self,
        classes: int,
        *,
        channels_in: int = 8,
        channels: int = 32,
        rates: Sequence[int] = (1, 2, 4),
        scale: int = 8,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        def branch(inputs, outputs, **rest):
            return convolution(inputs, outputs, precision=precision, rngs=rngs, **rest)

        self.channels_in, self.scale = channels_in, scale
        self.point = branch(channels_in, channels, side=1)
        self.atrous = nnx.List(branch(channels_in, channels, dilation=rate) for rate in rates)
        self.pooled = branch(channels_in, channels, side=1)
        self.project = branch((len(rates) + 2) * channels, channels, side=1)
        self.out = branch(channels, classes, side=1)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
        """Class scores at the images' resolution."""
        check_channels(x, self.channels_in, "decoder")
        joined = jax.nn.relu(pyramid(x, [self.point, *self.atrous], self.pooled))
        scores = self.out(jax.nn.relu(self.project(joined)))
        b, h, w, c = scores.shape
        return jax.image.resize(scores, (b, h * self.scale, w * self.scale, c), "bilinear")


def pyramid(
    x: Float[Array, "b h w c"], parts: Sequence[Callable[[Array], Array]], pooled: Callable[[Array], Array]
) -> Float[Array, "b h w k"]:
    """Concatenate all parts and `pooled`, which is applied to the spatial mean, along channels."""
    values = [part(x) for part in parts]
    mean = pooled(jnp.mean(x, (1, 2), keepdims=True))
    return jnp.concatenate([*values, jnp.broadcast_to(mean, (*x.shape[:3], mean.shape[-1]))], -1)


def flatten(x: Float[Array, "b ..."], features: int) -> Float[Array, "b d"]:
    """Flatten codes to rows in C order; raise ValueError unless each has `features` values."""
    flat = x.reshape(len(x), -1)
    if flat.shape[1] != features:
        raise ValueError(f"the head needs {features} features per code, but shape {x.shape} has {flat.shape[1]}.")
    return flat


def on_doubled(layer: nnx.Conv, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
    """Convolve images upsampled 2x by nearest neighbor, 3 x 3, without forming the upsampled images.

    An output reads at most two different pixels along each axis. So one 3 x 3 convolution of the original images gives
    all four outputs of a pixel as channels, with weights summed over the taps that read the same pixel: a quarter of
    the positions, four times the channels. On a CPU this takes a third of the time.

    Source: channels are arranged as in Shi et al., Real-time single image and video super-resolution using
    an efficient sub-pixel convolutional neural network (2016), section 2.
    """
    kernel, bias = layer.kernel[...], 0 if layer.bias is None else layer.bias[...]
    dtype = jnp.result_type(x, kernel)
    *_, channels, outputs = kernel.shape
    summed = jnp.einsum("pyi,qxj,ijck->yxcpqk", SEEN, SEEN, kernel, precision=layer.precision)
    values = lax.conv_general_dilated(
        x.astype(dtype),
        summed.reshape(3, 3, channels, 4 * outputs).astype(dtype),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=layer.precision,
    )
    b, h, w, _ = values.shape
    values = values.reshape(b, h, w, 2, 2, outputs).transpose(0, 1, 3, 2, 4, 5)
    return values.reshape(b, 2 * h, 2 * w, outputs) + bias
