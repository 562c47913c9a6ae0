"""Bottleneck residual networks: torchvision's and Taskonomy's."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxsim.vision.models.batchnorm import Normed, normed_convolution
from jaxsim.vision.models.encoders import check_channels, layers_until

EXPANSION = 4
"""Ratio of a unit's output channels to those of its 3x3 convolution."""
STEM_STRIDE = 4


@dataclasses.dataclass(frozen=True)
class Variant:
    """Differences between the published networks.

    Attributes:
        strides: strides of the blocks.
        last: whether a block's stride is in its last unit instead of its first.
        pool: padding of the 3x3 max-pooling at stride 2, as for `nnx.max_pool`.
        code: channels of a 3x3 convolution on the last block; None for the spatial mean of that block instead.
        side: side in pixels of the pictures that the published networks were trained on.
        preprocessing: preprocessing of these pictures, a name or family in `extraction.preprocessing`.
        output_strides: output strides at which the network can be run.
    """

    strides: tuple[int, ...]
    last: bool
    pool: Any
    code: int | None
    side: int
    preprocessing: str
    output_strides: tuple[int, ...]


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "torchvision": Variant(
            strides=(1, 2, 2, 2),
            last=False,
            pool=((1, 1), (1, 1)),
            code=None,
            side=224,
            preprocessing="imagenet",
            output_strides=(8, 16, 32),
        ),
        "taskonomy": Variant(
            strides=(2, 2, 1, 1),
            last=True,
            pool="SAME",
            code=8,
            side=256,
            preprocessing="taskonomy",
            output_strides=(32,),
        ),
    }
)
"""Both have a unit's stride in its 3x3 convolution ("v1.5") and pad strided convolutions symmetrically."""

NETWORKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"resnet50": {"variant": "torchvision"}, "resnet50-taskonomy": {"variant": "taskonomy"}}
)
"""Arguments of `ResNet` for public networks, all of depths 3, 4, 6, 3 and width 64."""


class ResNet(nnx.Module):
    """A bottleneck residual network with its layers by name.

    Images `(b, h, w, channels_in)` become, with c for `width` and sides rounded up:

    | layer | torchvision | taskonomy |
    | --- | --- | --- |
    | `stem`: 7x7 convolution at stride 2, ReLU, max-pooling | h / 4, c | h / 4, c |
    | `block1` | h / 4, 4c | h / 8, 4c |
    | `block2` | h / 8, 8c | h / 16, 8c |
    | `block3` | h / 16, 16c | h / 16, 16c |
    | `block4` | h / 32, 32c | h / 16, 32c |
    | `code` | mean of the last block over space, `(b, 32c)` | 3x3 convolution, ReLU: h / 16, 8 |

    ResNet-50 has depths 3, 4, 6, 3 and width 64; its classifier is left out. Taskonomy's network takes images of
    256 x 256 in [-1, 1]; its code, 16 x 16 x 8, is nonnegative. Batch normalization uses stored statistics
    until `train()` is called.

    Source: He et al., Deep residual learning for image recognition (2015), section 4.1, as in torchvision's
    `resnet50`; Zamir et al., Taskonomy (2018), whose encoder has stride 2 in the last units of blocks 1 and 2.

    Args:
        depths: units of each block; at most four blocks.
        width: channels of the stem.
        variant: a name in `VARIANTS`.
        output_stride: 32, or for the torchvision variant 16 or 8 to turn the last one or two strides into dilation, as
            networks for dense prediction do (Chen et al. 2017); the weights stay the same.
        channels_in: channels of the images.
        precision: precision of the convolutions; the highest by default, since results computed from features are
            reported.
        rngs: random keys for the initial weights.

    Raises:
        ValueError: the variant or output stride is unknown, or depths, width or channels are invalid.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> network = models.ResNet((1, 1), 4, variant="taskonomy", rngs=nnx.Rngs(0))
        >>> {name: values.shape[1:] for name, values in network.layers(jnp.zeros((1, 64, 64, 3))).items()}
        {'stem': (16, 16, 4), 'block1': (8, 8, 16), 'block2': (4, 4, 32), 'code': (4, 4, 8)}
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        *,
        variant: str = "torchvision",
        output_stride: int = 32,
        channels_in: int = 3,
        precision: lax.Precision | None = lax.Precision.HIGHEST,
        rngs: nnx.Rngs,
    ):
        self.depths, self.width, self.variant = tuple(depths), width, variant
        self.output_stride, self.channels_in = output_stride, channels_in
        kind = self._checked()
        self.preprocessing: Any = kind.preprocessing
        self.stem = normed_convolution(channels_in, width, side=7, stride=2, precision=precision, rngs=rngs)
        blocks: dict[str, nnx.Dict] = {}
        channels = width
        for b, plan in enumerate(_plan(kind, self.depths, output_stride)):
            units: dict[str, Unit] = {}
            for u, (stride, dilation) in enumerate(plan, 1):
                units[f"unit{u}"] = Unit(channels, width * 2**b, stride, dilation, precision=precision, rngs=rngs)
                channels = EXPANSION * width * 2**b
            blocks[f"block{b + 1}"] = nnx.Dict(units)
        self.blocks = nnx.Dict(blocks)
        self.code: Normed | None = nnx.data(None)
        if kind.code is not None:
            self.code = normed_convolution(channels, kind.code, side=3, precision=precision, rngs=rngs)

    @classmethod
    def named(cls, name: str, **rest: Any) -> Self:
        """Make a public network in `NETWORKS`, without its weights; other arguments as for the class.

        Raises:
            ValueError: the network is unknown.
        """
        if name not in NETWORKS:
            raise ValueError(f"there is no network {name!r}; choose from {', '.join(NETWORKS)}.")
        return cls(**NETWORKS[name], **rest)

    @property
    def configuration(self) -> dict[str, Any]:
        """Arguments of the class that make a network of the same shape."""
        names = ("depths", "width", "variant", "output_stride", "channels_in")
        return {name: getattr(self, name) for name in names}

    @property
    def side(self) -> int:
        """Side in pixels of the pictures that the published networks were trained on."""
        return VARIANTS[self.variant].side

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers in order."""
        return ("stem", *self.blocks, "code")

    def at_stride(self, output_stride: int) -> "ResNet":
        """The network with the same weights, run at a smaller output stride if its variant allows it.

        Later strides are turned into dilation.
        """
        if output_stride >= self.output_stride or output_stride not in VARIANTS[self.variant].output_strides:
            return self
        arguments: dict[str, Any] = self.configuration | {"output_stride": output_stride}
        graph = nnx.graphdef(nnx.eval_shape(lambda: ResNet(**arguments, rngs=nnx.Rngs(0))))
        return nnx.merge(graph, nnx.state(self))

    def layers(self, x: Float[Array, "b h w c"], last: str | None = None) -> dict[str, Float[Array, "b ..."]]:
        """Values of the layers up to `last`; later layers are not computed.

        Raises:
            ValueError: the images have the wrong shape, or there is no layer `last`.
        """
        check_channels(x, self.channels_in, "network")
        values: dict[str, Array] = {}
        for name in layers_until(self.names, last):
            x = values[name] = self._layer(name, x)
        return values

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ..."]:
        """Encode images."""
        return self.layers(x)["code"]

    def _layer(self, name: str, x: Array) -> Array:
        if name == "stem":
            return nnx.max_pool(jax.nn.relu(self.stem(x)), (3, 3), (2, 2), VARIANTS[self.variant].pool)
        if name == "code":
            return jnp.mean(x, (1, 2)) if self.code is None else jax.nn.relu(self.code(x))
        for unit in self.blocks[name].values():
            x = unit(x)
        return x

    def _checked(self) -> Variant:
        """Check the arguments and return the variant."""
        if self.variant not in VARIANTS:
            raise ValueError(f"there is no variant {self.variant!r} of ResNet; choose from {', '.join(VARIANTS)}.")
        kind = VARIANTS[self.variant]
        if not 1 <= len(self.depths) <= len(kind.strides) or min(*self.depths, self.width, self.channels_in) < 1:
            raise ValueError(
                f"a ResNet needs one to {len(kind.strides)} blocks, and positive depths, width and channels, not "
                f"depths {self.depths}, width {self.width} and {self.channels_in} channels."
            )
        if self.output_stride not in kind.output_strides:
            raise ValueError(f"the {self.variant} variant has no output stride {self.output_stride}.")
        return kind


class Unit(nnx.Module):
    """A bottleneck unit: `(b, h, w, c)` to `(b, h / stride, w / stride, 4 channels)`.

    1x1, 3x3 and 1x1 convolutions are added to a shortcut, which takes every `stride`-th pixel, through a 1x1
    convolution if the number of channels changes.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int,
        dilation: int,
        *,
        precision: lax.Precision | None,
        rngs: nnx.Rngs,
    ):
        def convolution(inputs: int, outputs: int, side: int = 1, **rest: int) -> Normed:
            return normed_convolution(inputs, outputs, side=side, precision=precision, rngs=rngs, **rest)

        self.stride = stride
        self.conv1 = convolution(channels_in, channels)
        self.conv2 = convolution(channels, channels, 3, stride=stride, dilation=dilation)
        self.conv3 = convolution(channels, EXPANSION * channels)
        self.shortcut: Normed | None = nnx.data(None)
        if channels_in != EXPANSION * channels:
            self.shortcut = convolution(channels_in, EXPANSION * channels)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ k"]:
        """Apply the unit and its ReLU."""
        residual = self.conv3(jax.nn.relu(self.conv2(jax.nn.relu(self.conv1(x)))))
        x = x[:, :: self.stride, :: self.stride]
        return jax.nn.relu(residual + (x if self.shortcut is None else self.shortcut(x)))


def _plan(kind: Variant, depths: Sequence[int], output_stride: int) -> list[list[tuple[int, int]]]:
    """Stride and dilation of every unit by block; strides beyond the output stride dilate later units."""
    reached, dilation, blocks = STEM_STRIDE, 1, []
    for depth, stride in zip(depths, kind.strides, strict=False):
        before = dilation
        if reached * stride > output_stride:
            stride, dilation = 1, dilation * stride
        reached *= stride
        units = [(1, dilation)] * depth
        units[-1 if kind.last else 0] = (stride, before)
        blocks.append(units)
    return blocks
