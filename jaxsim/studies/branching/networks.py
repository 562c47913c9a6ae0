"""Branches of encoders: layers to branch from, preprocessing, and matching decoders."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from flax import nnx

from jaxsim.studies.branching.tasks import Task
from jaxsim.studies.rooms.encoders import preprocessing_of
from jaxsim.vision import extraction, models
from jaxsim.vision.extraction import Preprocessing
from jaxsim.vision.models.weights import Encoder

DEPTH, RATIO = 256, 8
"""Channels of DeepLab's parts: the published number, at most an eighth of the encoder's widest layer."""
STRIDE = 16
"""Largest output stride of the features given to DeepLab, as in the published networks."""
SMALL = 16
"""Channels of the parts of a small encoder's decoder."""


def preprocessing_for(name: str, encoder: Encoder, pixels: int | None = None) -> Preprocessing:
    """Preprocessing of an encoder's pictures, at its own size or another.

    Raises:
        ValueError: a Taskonomy network is not named after a task.
    """
    if isinstance(encoder, models.SmallEncoder):
        return preprocessing_of(name).at(pixels or encoder.side)
    return extraction.preprocessing_of(name, encoder).at(pixels)


def layers(encoder: Encoder, wanted: Sequence[str] = (), *, blocks: bool = True) -> dict[str, int]:
    """Channels of the layers that are feature maps, by name and in order.

    Args:
        encoder: the encoder.
        wanted: names of layers, in which `*` matches any text; none for all.
        blocks: without `wanted`, keep only the blocks of a network that has blocks.

    Raises:
        ValueError: there is no such layer, or it is not a feature map.
    """
    shapes = models.layer_shapes(encoder, (1, 64, 64, encoder.channels_in))
    maps = {name: shape[-1] for name, shape in shapes.items() if len(shape) == 4}
    if unknown := [pattern for pattern in wanted if not models.matching(maps, [pattern])]:
        raise ValueError(f"the encoder has no feature map {unknown[0]!r}; it has {', '.join(maps)}.")
    chosen = models.matching(maps, wanted or (["block*"] if blocks else [])) or maps
    return {name: maps[name] for name in chosen}


class Prepared(nnx.Module):
    """A network that takes pictures `(b, h, w, 3)` in [0, 1] and applies its own preprocessing.

    Args:
        network: called with the preprocessed pictures.
        preprocessing: only its colors, clipping and scale are used. Size and hidden center are not, so an inpainting
            network is fine-tuned on complete pictures.
    """

    def __init__(self, network: Any, preprocessing: Preprocessing):
        self.network = network
        self.preprocessing = dataclasses.replace(preprocessing, frame=extraction.AsIs(), hides=False)

    def __call__(self, x: Any) -> Any:
        """Preprocess pictures and apply the network."""
        return self.network(self.preprocessing(x * 255))


def branch(
    encoder: Encoder,
    layer: str,
    task: Task,
    *,
    name: str = "",
    among: Sequence[str] = (),
    activation: bool = True,
    frozen: bool = False,
    seed: int = 0,
) -> Prepared:
    """Put a new decoder for a task on one layer of an encoder, for pictures in [0, 1].

    On a `ResNet` the layer's channels are tiled to the least common multiple of the `among` layers' channels, 2,048 for
    the blocks of ResNet-50, and go into DeepLab's decoder (DDS 2020, section 5.2), whose parts have 256 channels there;
    torchvision's variant is run at output stride 16, its last stride turned into dilation. A `SmallEncoder` gets a
    small atrous pyramid without tiling, since repeating the inputs of a linear layer changes only how fast it learns.
    Outputs have the pictures' size.

    Args:
        encoder: the encoder; it is not changed.
        layer: name of the layer.
        task: task of the branch.
        name: name of the encoder; for Taskonomy's networks, the name of their task.
        among: layers whose branches are compared; all blocks by default.
        activation: use ReLUs within DeepLab's pyramid, as in DDS 2020 but not in RSA 2019.
        frozen: keep the encoder fixed in training, see `models.freeze`.
        seed: seed of the decoder's weights.

    Raises:
        ValueError: there is no such layer, or a Taskonomy network is not named after a task.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxsim.studies.branching.tasks import Task
        >>> net = branch(models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(0)), "conv1", Task("normals", 3))
        >>> nnx.eval_shape(lambda network, x: network(x), net, jnp.zeros((2, 16, 24, 3))).shape
        (2, 16, 24, 3)
    """
    channels, rngs = layers(encoder, [layer])[layer], nnx.Rngs(seed)
    if isinstance(encoder, models.ResNet):
        width = math.lcm(channels, *layers(encoder, among).values())
        depth = max(1, min(DEPTH, max(layers(encoder).values()) // RATIO))
        decoder = models.DeepLabDecoder(task.channels, channels_in=width, depth=depth, activation=activation, rngs=rngs)
        encoder = encoder.at_stride(STRIDE)
    else:
        decoder = models.AsppDecoder(task.channels, channels_in=channels, channels=SMALL, scale=1, rngs=rngs)
    encoder = models.freeze(encoder) if frozen else encoder
    return Prepared(models.Branch(encoder, layer, decoder), preprocessing_for(name, encoder))
