"""The small encoder of Dwivedi & Roig (2019, Table S1) in several sizes, and helpers of all encoders."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import jax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

SIZES: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "tiny": {"widths": (8, 16, 32, 32, 8), "strides": (2, 2, 2, 1, 1)},
        "small": {"widths": (16, 32, 64, 64, 8), "strides": (2, 2, 2, 1, 1)},
        "paper": {"widths": (16, 32, 64, 64, 8), "strides": (2, 2, 2, 2, 1)},
        "wide": {"widths": (32, 64, 128, 128, 8), "strides": (2, 2, 2, 1, 1)},
        "deep": {"widths": (16, 16, 32, 32, 64, 64, 64, 64, 8), "strides": (2, 1, 2, 1, 2, 1, 1, 1, 1)},
        "large": {"widths": (32, 32, 64, 64, 128, 128, 128, 128, 8), "strides": (2, 1, 2, 1, 2, 1, 1, 1, 1)},
    }
)
"""Sizes of `SmallEncoder`: all give 8 channels at 1/8 of the input's side, `paper` at 1/16 (256 -> 16).

`small` has the widths of Table S1; `tiny` has half of them, except for the code."""


class SmallEncoder(nnx.Module):
    """A stack of 3x3 convolutions with ReLUs between them and a linear code.

    Images `(b, h, w, channels_in)` in [0, 1] become a code `(b, h / s, w / s, widths[-1])`, where s is the product of
    the strides and sides are rounded up: 64 x 64 images give 8 x 8 x 8 by default. The code is linear because a dead
    ReLU there would cost an eighth of the features. There is no normalization, so the encoder's only state is its
    weights.

    Source: Dwivedi & Roig, Representation similarity analysis for efficient task taxonomy and transfer learning
    (2019), supplement, Table S1. Its strides for 256 x 256 images are `SIZES["paper"]`.

    Args:
        widths: output channels of each layer.
        strides: stride of each layer.
        channels_in: channels of the images.
        precision: precision of the convolutions; the highest by default, since results computed from features are
            reported.
        rngs: random keys for the initial weights.

    Raises:
        ValueError: widths and strides differ in number or are not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> encoder = nnx.eval_shape(lambda: models.SmallEncoder(rngs=nnx.Rngs(0)))  # shapes only
        >>> found = nnx.eval_shape(lambda encoder, x: encoder.layers(x), encoder, jnp.zeros((2, 64, 64, 3)))
        >>> [(name, values.shape[1:]) for name, values in found.items()][-2:]
        [('conv4', (8, 8, 64)), ('conv5', (8, 8, 8))]
    """

    side = 64
    """Side in pixels of the pictures that the shipped encoders were trained on."""

    def __init__(
        self,
        widths: Sequence[int] = SIZES["small"]["widths"],
        strides: Sequence[int] = SIZES["small"]["strides"],
        *,
        channels_in: int = 3,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        self.widths, self.strides, self.channels_in = tuple(widths), tuple(strides), channels_in
        if not widths or len(widths) != len(strides):
            raise ValueError(
                f"an encoder needs one stride per layer, but has widths {self.widths} and strides {self.strides}."
            )
        if min(*self.widths, *self.strides, channels_in) < 1:
            raise ValueError(f"widths {self.widths}, strides {self.strides} and channels_in must all be positive.")
        layers = {}
        for i, (channels, stride) in enumerate(zip(widths, strides, strict=True), 1):
            layers[f"conv{i}"] = convolution(channels_in, channels, stride=stride, precision=precision, rngs=rngs)
            channels_in = channels
        self.convolutions = nnx.Dict(layers)

    @classmethod
    def named(cls, name: str, **rest: Any) -> Self:
        """Make an encoder of the size `SIZES[name]`; other arguments as for the class.

        Raises:
            ValueError: the size is unknown.
        """
        check_size(name)
        return cls(**SIZES[name], **rest)

    @property
    def configuration(self) -> dict[str, Any]:
        """Arguments of the class that make an encoder of the same shape."""
        return {"widths": self.widths, "strides": self.strides, "channels_in": self.channels_in}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers in order: `conv1` and so on."""
        return tuple(f"conv{i}" for i in range(1, len(self.widths) + 1))

    def layers(self, x: Float[Array, "b h w c"], last: str | None = None) -> dict[str, Float[Array, "b _ _ _"]]:
        """Values of the layers from `conv1` to `last` after their ReLU; the code has none.

        Raises:
            ValueError: the images have the wrong shape, or there is no layer `last`.
        """
        check_channels(x, self.channels_in, "encoder")
        values: dict[str, Array] = {}
        for name in layers_until(self.names, last):
            x = self.convolutions[name](x)
            x = jax.nn.relu(x) if name != self.names[-1] else x
            values[name] = x
        return values

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
        """Encode images."""
        return self.layers(x)[self.names[-1]]


def check_size(name: str) -> None:
    """Raise ValueError unless `SIZES` has that name."""
    if name not in SIZES:
        raise ValueError(f"there is no encoder size {name!r}; choose from {', '.join(SIZES)}.")


def convolution(
    channels_in: int,
    channels_out: int,
    *,
    side: int = 3,
    stride: int = 1,
    dilation: int = 1,
    precision: lax.Precision | None,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A square convolution with SAME padding, bias, and He-initialized weights."""
    return nnx.Conv(
        channels_in,
        channels_out,
        (side, side),
        strides=stride,
        kernel_dilation=dilation,
        kernel_init=nnx.initializers.he_normal(),
        precision=precision,
        rngs=rngs,
    )


def layers_until(names: Sequence[str], last: str | None) -> Sequence[str]:
    """The layers up to `last`, or all of them; raise ValueError if there is no such layer."""
    if last is not None and last not in names:
        raise ValueError(f"there is no layer {last!r}; choose from {', '.join(names)}.")
    return names if last is None else names[: names.index(last) + 1]


def check_channels(x: Array, channels: int, what: str) -> None:
    """Raise ValueError unless `x` has shape (b, h, w, channels)."""
    if x.ndim != 4 or x.shape[-1] != channels:
        raise ValueError(f"the {what} needs arrays of shape (b, h, w, {channels}), not {x.shape}.")
