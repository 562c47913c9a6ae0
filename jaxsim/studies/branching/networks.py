"""Encoders as branches need them: their layers, what they are shown of a picture, decoders that fit."""

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
"""Channels of DeepLab's parts: the published number, but no more than an eighth of the encoder's widest layer."""
STRIDE = 16
"""Pixels of the picture for one of the map that DeepLab is given at most, as in the published networks."""
SMALL = 16
"""Channels of the parts of a small encoder's decoder."""


def shown(name: str, encoder: Encoder, pixels: int | None = None) -> Preprocessing:
    """What an encoder is shown of a picture, at its own size or another.

    Raises:
        ValueError: a network of Taskonomy bears the name of no task.
    """
    if isinstance(encoder, models.SmallEncoder):
        return preprocessing_of(name).at(pixels or encoder.side)
    return extraction.preprocessing_of(name, encoder).at(pixels)


def layers(encoder: Encoder, wanted: Sequence[str] = (), *, blocks: bool = True) -> dict[str, int]:
    """Channels of the layers that are maps, by name from the first to the last.

    Args:
        encoder: the encoder.
        wanted: names of some, `*` being any text; none for all.
        blocks: without `wanted`, leave out what is not a block where the network has blocks.

    Raises:
        ValueError: there is no such layer, or it is no map.
    """
    shapes = models.layer_shapes(encoder, (1, 64, 64, encoder.channels_in))
    maps = {name: shape[-1] for name, shape in shapes.items() if len(shape) == 4}
    if unknown := [pattern for pattern in wanted if not models.matching(maps, [pattern])]:
        raise ValueError(f"the encoder has no map of features {unknown[0]!r}; it has {', '.join(maps)}.")
    chosen = models.matching(maps, wanted or (["block*"] if blocks else [])) or maps
    return {name: maps[name] for name in chosen}


class Prepared(nnx.Module):
    """A network that is given pictures `(b, h, w, 3)` from 0 to 1 and shown what it was trained on.

    Args:
        network: called with what `preprocessing` makes of them.
        preprocessing: its colors, clipping and scale. Its size and what it hides are left out, so that an inpainting
            network is fine-tuned on whole pictures.
    """

    def __init__(self, network: Any, preprocessing: Preprocessing):
        self.network = network
        self.preprocessing = dataclasses.replace(preprocessing, frame=extraction.AsIs(), hides=False)

    def __call__(self, x: Any) -> Any:
        """The network's values."""
        return self.network(self.preprocessing(x * 255))


def branch(
    encoder: Encoder,
    layer: str,
    task: Task,
    *,
    name: str = "",
    among: Sequence[str] = (),
    activation: bool = True,
    seed: int = 0,
) -> Prepared:
    """A new decoder on one layer of an encoder, for a task, called with pictures from 0 to 1.

    After a `ResNet` the layer's channels are tiled to the least common multiple of all `among` layers' channels, 2,048
    for the blocks of ResNet-50, and go into DeepLab's decoder (DDS 2020, section 5.2), whose parts have 256 channels
    there; torchvision's variant is run at output stride 16, its last stride turned into dilation. A `SmallEncoder`
    gets a small atrous pyramid without tiling: channels given several times to a linear layer change only how fast it
    learns. Values have the pictures' size.

    Args:
        encoder: the encoder, which stays as it is.
        layer: name of the layer.
        task: what the branch is for.
        name: of the encoder; of Taskonomy's networks that of their task.
        among: the layers that branches are compared of; all blocks by default.
        activation: of DeepLab's decoder: ReLU within the pyramid, as in DDS 2020 and not in RSA 2019.
        seed: of the decoder's weights.

    Raises:
        ValueError: there is no such layer, or a network of Taskonomy bears the name of no task.

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
    return Prepared(models.Branch(encoder, layer, decoder), shown(name, encoder))
