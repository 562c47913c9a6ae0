"""Preprocessing of pictures for each network: crop, colors, range and mask."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from jaxsim.io.files import nearest
from jaxsim.vision.datasets.loader import Size
from jaxsim.vision.extraction.crops import AsIs, Frame, ShortSide, Square

CIE_Y = (0.212671, 0.715160, 0.072169)
"""Weights of Y in CIE XYZ for linear sRGB, white point D65."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601."""


def rgb(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Leave the colors unchanged."""
    return x


def lightness(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    """Lightness L / 100 of CIE Lab, in one channel, for sRGB pictures in [0, 1].

    >>> import jax.numpy as jnp
    >>> round(float(lightness(jnp.full((1, 1, 1, 3), 0.5)).squeeze()), 4)
    0.5339
    """
    linear = jnp.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    y = jnp.sum(linear * jnp.asarray(CIE_Y, x.dtype), -1, keepdims=True)
    return jnp.where(y > (6 / 29) ** 3, 1.16 * jnp.cbrt(y) - 0.16, y * (29 / 3) ** 3 / 100)


def luma(rgb: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """Luma of ITU-R BT.601.

    >>> round(float(luma(jnp.ones((1, 1, 3)))[0, 0]), 6)
    1.0
    """
    return jnp.sum(rgb * jnp.asarray(LUMA, rgb.dtype), axis=-1)


def hidden(height: int, width: int) -> Float[Array, "h w 1"]:
    """Mask that is 1 in the central rectangle of half the height and width, 0 outside.

    >>> int(hidden(8, 8).sum())
    16
    """
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (rows >= height // 4) & (rows < height - height // 4)
    inside &= (columns >= width // 4) & (columns < width - width // 4)
    return inside[..., None].astype(jnp.float32)


def decolored(rgb: Float[Array, "h w 3"], key: PRNGKeyArray | None = None) -> Float[Array, "h w 3"]:
    """Gray picture repeated over three channels, so that every network takes the same input."""
    return jnp.broadcast_to(luma(rgb)[..., None], rgb.shape)


def gray(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Input of the built-in world's colorization encoder: gray, rounded to bytes, in three channels."""
    return jnp.round(decolored(x) * 255) / 255


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Map from a picture to a network's input: the frame on the host, the rest on the device.

    Bytes are scaled to [0, 1]; then colors, clipping, (x - mean) / sd, and hiding the center are applied in this order.

    Attributes:
        frame: crop and size of each picture.
        colors: function from `(b, h, w, 3)` in [0, 1] to the network's channels: `rgb`, `lightness` or `gray`.
        clip: smallest and largest value, or None.
        mean: mean of each channel, or one for all.
        sd: standard deviation of each channel, or one for all.
        hides: set the central half of height and width to 0.

    >>> import jax.numpy as jnp
    >>> signed = Preprocessing(clip=(0.1, 0.9), mean=(0.5,), sd=(0.5,))
    >>> [round(float(v), 6) for v in signed(jnp.array([[[[0, 255, 51]]]], jnp.uint8)).ravel()]
    [-0.8, 0.8, -0.6]
    """

    frame: Frame = AsIs()
    colors: Callable[[Array], Array] = rgb
    clip: tuple[float, float] | None = None
    mean: tuple[float, ...] = (0.0,)
    sd: tuple[float, ...] = (1.0,)
    hides: bool = False

    def __call__(self, views: Num[Array, "b h w 3"]) -> Float[Array, "b h w c"]:
        """The network's float32 input for framed pictures in [0, 255]."""
        x = self.colors(views.astype(jnp.float32) / 255)
        x = x if self.clip is None else jnp.clip(x, *self.clip)
        x = (x - jnp.asarray(self.mean, jnp.float32)) / jnp.asarray(self.sd, jnp.float32)
        return x if not self.hides else _without_center(x)

    def at(self, size: Size | None) -> "Preprocessing":
        """The same for pictures of another size; None changes nothing.

        Raises:
            ValueError: the network takes squares and the size is not square.
        """
        return self if size is None else dataclasses.replace(self, frame=self.frame.at(size))

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON types."""
        frame = {"frame": type(self.frame).__name__} | dataclasses.asdict(self.frame)
        rest = {name: getattr(self, name) for name in ("clip", "mean", "sd", "hides")}
        return frame | {"colors": self.colors.__name__} | rest


def _without_center(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    return jnp.where(hidden(*x.shape[1:3]) > 0, 0, x)


UNIT = Preprocessing()
"""Colors in [0, 1] at the pictures' own size, the input of `SmallEncoder`."""
GRAY = Preprocessing(colors=gray)
IMAGENET = Preprocessing(ShortSide(224, 256), mean=(0.485, 0.456, 0.406), sd=(0.229, 0.224, 0.225))
"""Preprocessing of torchvision's ImageNet networks and of the Places networks."""
SIGNED = Preprocessing(Square(256), mean=(0.5,), sd=(0.5,))
LOW_SATURATION = dataclasses.replace(SIGNED, clip=(0.1, 0.9))
LIGHTNESS = dataclasses.replace(SIGNED, colors=lightness)
CENTER_HIDDEN = dataclasses.replace(SIGNED, hides=True)

SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "autoencoding": "autoencoder",
        "denoising": "denoise",
        "depth_euclidean": "rgb2mist",
        "depth_zbuffer": "rgb2depth",
        "class_object": "class_1000",
        "class_scene": "class_places",
        "edge_occlusion": "edge3d",
        "edge_texture": "edge2d",
        "inpainting_whole": "inpainting",
        "keypoints2d": "keypoint2d",
        "keypoints3d": "keypoint3d",
        "normal": "rgb2sfnorm",
        "reshading": "reshade",
        "segment_semantic": "segmentsemantic",
        "segment_unsup25d": "segment25d",
        "segment_unsup2d": "segment2d",
    }
)
"""Names in Taskonomy's task dictionary, and those of its checkpoints."""

_OWN: dict[str, Preprocessing] = {
    **dict.fromkeys(
        ("autoencoder", "curvature", "denoise", "edge2d", "edge3d", "keypoint2d", "keypoint3d"), LOW_SATURATION
    ),
    **dict.fromkeys(("reshade", "rgb2depth", "rgb2mist", "rgb2sfnorm", "room_layout"), LOW_SATURATION),
    **dict.fromkeys(("segment25d", "segment2d"), LOW_SATURATION),
    **dict.fromkeys(("class_1000", "class_places", "segmentsemantic", "vanishing_point"), SIGNED),
    "colorization": LIGHTNESS,
    "inpainting": CENTER_HIDDEN,
}
TASKONOMY: Mapping[str, Preprocessing] = MappingProxyType(
    _OWN | {other: _OWN[name] for other, name in SYNONYMS.items()}
)
"""Preprocessing of Taskonomy's networks for feature extraction, by either name of their task.

All take centered squares of 256 x 256 in [-1, 1]. For 14 networks values are first clipped to [.1, .9] ("low
saturation"); denoising thus gets a clean picture. Colorization gets lightness in one channel, inpainting zeros
(mid-gray) in the central half. (Zamir et al. 2018, scripts of the released networks.)
"""
FAMILIES: Mapping[str, Mapping[str, Preprocessing]] = MappingProxyType({"taskonomy": TASKONOMY})
"""Preprocessings by task, for families of networks that are named after their task."""
NAMED: Mapping[str, Preprocessing] = MappingProxyType({"unit": UNIT, "gray": GRAY, "imagenet": IMAGENET, **TASKONOMY})


def named(name: str) -> Preprocessing:
    """Look up a preprocessing.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.

    >>> named("rgb2depth").clip
    (0.1, 0.9)
    """
    if name not in NAMED:
        raise ValueError(f"there is no preprocessing {name!r}; {nearest(name, NAMED)}")
    return NAMED[name]


def preprocessing_of(name: str, encoder: Any) -> Preprocessing:
    """Preprocessing of an encoder: its attribute `preprocessing`, or else `UNIT`.

    A `ResNet` of the variant torchvision has `IMAGENET`; one of the variant taskonomy has the entry of `TASKONOMY`
    under the encoder's name.

    Args:
        name: name of the encoder; for Taskonomy's networks, the name of their task.
        encoder: any network. Its attribute, if it has one, is a `Preprocessing` or a name in `NAMED` or `FAMILIES`.

    Raises:
        ValueError: a Taskonomy network is not named after a task, or the attribute is an unknown name.
    """
    own = getattr(encoder, "preprocessing", UNIT)
    if isinstance(own, Preprocessing):
        return own
    if own not in FAMILIES:
        return named(own)
    if name not in FAMILIES[own]:
        raise ValueError(
            f"encoder {name!r} is a network of {own.title()}, and its preprocessing depends on its task; name it after "
            f"one ({', '.join(FAMILIES[own])}), or pass its preprocessing."
        )
    return FAMILIES[own][name]
