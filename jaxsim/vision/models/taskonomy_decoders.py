"""Taskonomy's decoders of images and colors, and its head of vectors."""

from collections.abc import Sequence

import jax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxsim.vision.models.batchnorm import Normed, normed_convolution
from jaxsim.vision.models.decoders import flatten
from jaxsim.vision.models.encoders import check_channels

LAYERS: tuple[tuple[str, int], ...] = (
    ("conv2", 1024),
    ("conv3", 1024),
    ("conv4", 512),
    ("conv5", 256),
    ("conv6", 256),
    ("conv7", 128),
    ("deconv8", 64),
    ("conv9", 64),
    ("deconv10", 32),
    ("conv11", 32),
    ("deconv12", 16),
    ("conv13", 32),
    ("deconv14", 16),
)
"""Hidden layers of the decoder and their channels; a `deconv` is a transposed convolution at stride 2."""
COLOR_LAYERS: tuple[tuple[str, int], ...] = (
    ("conv2", 1024),
    ("conv3", 1024),
    ("conv4", 512),
    ("conv5", 512),
    ("conv6", 512),
    ("conv_extra", 512),
    ("conv7", 256),
    ("conv8", 256),
    ("conv9", 256),
    ("deconv10", 256),
    ("conv11", 256),
    ("deconv12", 256),
)
"""The same for the colorization decoder."""
SLOPE = 0.2
"""Negative slope of the leaky ReLU."""


class TaskonomyDecoder(nnx.Module):
    """Decoder of codes `(b, h, w, channels_in)` to images `(b, 16 h, 16 w, channels_out)` in (-1, 1).

    Thirteen 3 x 3 hidden layers with batch normalization and leaky ReLU, then a convolution with bias and tanh, which
    the published networks have even if the channels are class scores or embeddings.

    Source: Zamir et al., Taskonomy (2018), and the layer table of its published networks.

    Args:
        channels_out: channels of the target.
        channels_in: channels of the code.
        precision: precision of the convolutions.
        rngs: random keys for the initial weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> decoder = nnx.eval_shape(lambda: models.TaskonomyDecoder(3, rngs=nnx.Rngs(0)))
        >>> nnx.eval_shape(lambda d, x: d(x), decoder, jnp.zeros((2, 16, 16, 8))).shape
        (2, 256, 256, 3)
    """

    def __init__(
        self,
        channels_out: int,
        *,
        channels_in: int = 8,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        self.channels_in = channels_in
        self.hidden = _hidden(LAYERS, channels_in, precision=precision, rngs=rngs)
        self.out = nnx.Conv(LAYERS[-1][1], channels_out, (3, 3), precision=precision, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
        """Decode codes to images."""
        check_channels(x, self.channels_in, "decoder")
        return jax.nn.tanh(self.out(_decoded(self.hidden, LAYERS, x)))


class ColorizationDecoder(nnx.Module):
    """Decoder of codes `(b, h, w, channels_in)` to scores of colors `(b, 4 h, 4 w, colors)`.

    Twelve 3 x 3 hidden layers with batch normalization and leaky ReLU, then a 1 x 1 convolution with bias. Codes of
    16 x 16 give 64 x 64 scores of 313 quantized colors.

    Source: Zamir et al., Taskonomy (2018), and the published network of colorization.

    Args:
        colors: number of quantized colors.
        channels_in: channels of the code.
        precision: precision of the convolutions.
        rngs: random keys for the initial weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> decoder = nnx.eval_shape(lambda: models.ColorizationDecoder(rngs=nnx.Rngs(0)))
        >>> nnx.eval_shape(lambda d, x: d(x), decoder, jnp.zeros((2, 16, 16, 8))).shape
        (2, 64, 64, 313)
    """

    def __init__(
        self,
        colors: int = 313,
        *,
        channels_in: int = 8,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        self.channels_in = channels_in
        self.hidden = _hidden(COLOR_LAYERS, channels_in, precision=precision, rngs=rngs)
        self.out = nnx.Conv(COLOR_LAYERS[-1][1], colors, (1, 1), precision=precision, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
        """Decode codes to scores of colors."""
        check_channels(x, self.channels_in, "decoder")
        return self.out(_decoded(self.hidden, COLOR_LAYERS, x))


class TaskonomyHead(nnx.Module):
    """Head from codes `(b, ...)`, flattened with channels last, to vectors `(b, outputs)`.

    The one hidden layer has batch normalization, ReLU and, in training, dropout of one half.

    Source: Zamir et al., Taskonomy (2018): object and scene classes, room layout and vanishing points.

    Args:
        outputs: length of the target vector or number of classes.
        features_in: values per code; 16 x 16 x 8 by default.
        hidden: width of the hidden layer.
        precision: precision of the matrix products.
        rngs: random keys for the initial weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> head = models.TaskonomyHead(9, features_in=32, hidden=16, rngs=nnx.Rngs(0))
        >>> head(jnp.zeros((2, 2, 2, 8))).shape
        (2, 9)
        >>> head.train()
        >>> head(jnp.zeros((2, 2, 2, 8)), rngs=nnx.Rngs(dropout=1)).shape
        (2, 9)
    """

    def __init__(
        self,
        outputs: int,
        *,
        features_in: int = 2048,
        hidden: int = 2048,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        self.features_in = features_in
        self.hidden = normed_convolution(features_in, hidden, side=1, precision=precision, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True)
        self.out = nnx.Linear(hidden, outputs, precision=precision, rngs=rngs)

    def __call__(self, x: Float[Array, "b ..."], *, rngs: nnx.Rngs | None = None) -> Float[Array, "b k"]:
        """Map codes to vectors; dropout in training needs random keys."""
        flat = flatten(x, self.features_in)
        return self.out(self.dropout(jax.nn.relu(self.hidden(flat)), rngs=rngs))


def _hidden(
    table: Sequence[tuple[str, int]], channels_in: int, *, precision: lax.Precision | None, rngs: nnx.Rngs
) -> nnx.Dict:
    """The layers of a table."""
    hidden: dict[str, Normed] = {}
    for name, channels in table:
        make = _doubling if name.startswith("deconv") else _convolution
        hidden[name] = make(channels_in, channels, precision=precision, rngs=rngs)
        channels_in = channels
    return nnx.Dict(hidden)


def _decoded(hidden: nnx.Dict, table: Sequence[tuple[str, int]], x: Array) -> Array:
    """Apply the layers of a table, each with its leaky ReLU."""
    for name, _ in table:
        x = jax.nn.leaky_relu(hidden[name](x), SLOPE)
    return x


def _convolution(channels_in: int, channels: int, *, precision: lax.Precision | None, rngs: nnx.Rngs) -> Normed:
    return normed_convolution(channels_in, channels, side=3, precision=precision, rngs=rngs)


def _doubling(channels_in: int, channels: int, *, precision: lax.Precision | None, rngs: nnx.Rngs) -> Normed:
    """A transposed convolution at stride 2, the gradient of a SAME convolution; weights `(3, 3, channels, inputs)`."""
    layer = nnx.ConvTranspose(
        channels_in,
        channels,
        (3, 3),
        strides=(2, 2),
        use_bias=False,
        transpose_kernel=True,
        kernel_init=nnx.initializers.he_normal(in_axis=-1, out_axis=-2),
        precision=precision,
        rngs=rngs,
    )
    return Normed(layer, rngs=rngs)
