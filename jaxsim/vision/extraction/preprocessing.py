"""What each network is shown of a picture: its crop, colors, range and mask, by the name of its task."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from jaxsim.vision import models
from jaxsim.vision.extraction.crops import AsIs, Frame, ShortSide, Size, Square

CIE_Y = (0.212671, 0.715160, 0.072169)
"""Y of the CIE XYZ space from linear sRGB, white D65."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601."""


def rgb(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """The colors as they are."""
    return x


def lightness(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    """L of CIE Lab over 100, in one channel, of sRGB pictures in [0, 1].

    >>> import jax.numpy as jnp
    >>> round(float(lightness(jnp.full((1, 1, 1, 3), 0.5)).squeeze()), 4)
    0.5339
    """
    linear = jnp.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    y = jnp.sum(linear * jnp.asarray(CIE_Y, x.dtype), -1, keepdims=True)
    return jnp.where(y > (6 / 29) ** 3, 1.16 * jnp.cbrt(y) - 0.16, y * (29 / 3) ** 3 / 100)


def luma(rgb: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """Luminance by the weights of ITU-R BT.601.

    >>> round(float(luma(jnp.ones((1, 1, 3)))[0, 0]), 6)
    1.0
    """
    return jnp.sum(rgb * jnp.asarray(LUMA, rgb.dtype), axis=-1)


def hidden(height: int, width: int) -> Float[Array, "h w 1"]:
    """One within the central rectangle of half the height and width, zero around it.

    >>> int(hidden(8, 8).sum())
    16
    """
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (rows >= height // 4) & (rows < height - height // 4)
    inside &= (columns >= width // 4) & (columns < width - width // 4)
    return inside[..., None].astype(jnp.float32)


def decolored(rgb: Float[Array, "h w 3"], key: PRNGKeyArray | None = None) -> Float[Array, "h w 3"]:
    """The gray picture, three times over so that every network takes the same input."""
    del key
    return jnp.broadcast_to(luma(rgb)[..., None], rgb.shape)


def gray(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """What colorization's encoder of the built-in world sees: gray to the nearest byte, three times over."""
    return jnp.round(decolored(x) * 255) / 255


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From a picture to a network's input: the frame on the host, the rest on the device, as a pure function.

    Bytes become [0, 1]; then come, in this order, colors, clipping, (x - mean) / sd, and hiding the center.

    Attributes:
        frame: brings each picture to its size.
        colors: from `(b, h, w, 3)` in [0, 1] to the network's channels: `rgb`, `lightness` or `gray`.
        clip: least and greatest value, or None.
        mean: of each channel, or one for all.
        sd: likewise.
        hides: the central half of height and width is set to 0 at the end.

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
        """The network's input, float32, from framed pictures of 0 to 255."""
        x = self.colors(views.astype(jnp.float32) / 255)
        x = x if self.clip is None else jnp.clip(x, *self.clip)
        x = (x - jnp.asarray(self.mean, jnp.float32)) / jnp.asarray(self.sd, jnp.float32)
        return x if not self.hides else _without_center(x)

    def at(self, size: Size | None) -> "Preprocessing":
        """The same for pictures of another size; None changes nothing.

        Raises:
            ValueError: the network takes squares and the size is none.
        """
        return self if size is None else dataclasses.replace(self, frame=self.frame.at(size))

    def to_json(self) -> dict[str, Any]:
        """What it is made of, in words and numbers."""
        frame = {"frame": type(self.frame).__name__} | dataclasses.asdict(self.frame)
        rest = {name: getattr(self, name) for name in ("clip", "mean", "sd", "hides")}
        return frame | {"colors": self.colors.__name__} | rest


def _without_center(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    return jnp.where(hidden(*x.shape[1:3]) > 0, 0, x)


UNIT = Preprocessing()
"""Colors in [0, 1] at the pictures' own size, which `SmallEncoder` takes."""
GRAY = Preprocessing(colors=gray)
IMAGENET = Preprocessing(ShortSide(224, 256), mean=(0.485, 0.456, 0.406), sd=(0.229, 0.224, 0.225))
"""For torchvision's networks with weights of ImageNet, and the Places networks."""
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
"""Names of Taskonomy's task dictionary, and those of its checkpoints."""

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
"""What each of Taskonomy's networks was shown when its features were taken, by either name of its task.

Centered squares of 256 x 256 in [-1, 1]: 14 networks see values clipped to [.1, .9] before ("low saturation"), so
denoising sees a clean picture; colorization the lightness alone, in one channel; inpainting zeros (mid-gray) in the
central half. (Zamir et al. 2018, scripts of the released networks.)
"""
NAMED: Mapping[str, Preprocessing] = MappingProxyType({"unit": UNIT, "gray": GRAY, "imagenet": IMAGENET, **TASKONOMY})


def named(name: str) -> Preprocessing:
    """The preprocessing of that name.

    Raises:
        ValueError: there is none; the names are listed.

    >>> named("rgb2depth").clip
    (0.1, 0.9)
    """
    if name not in NAMED:
        raise ValueError(f"There is no preprocessing {name!r}; there are {', '.join(NAMED)}.")
    return NAMED[name]


def preprocessing_of(name: str, encoder: Any) -> Preprocessing:
    """What an encoder wants to be shown: its own attribute `preprocessing`, else what its kind was trained on.

    For a `ResNet` of the variant torchvision that is `IMAGENET`; of the variant taskonomy, what `TASKONOMY` has under
    the encoder's name; for anything else `UNIT`.

    Args:
        name: of the encoder, which for Taskonomy's networks must be that of their task.
        encoder: any network. Its attribute, if there is one, is a `Preprocessing` or a name in `NAMED`.

    Raises:
        ValueError: a network of Taskonomy bears the name of no task, or the attribute names no preprocessing.
    """
    own = getattr(encoder, "preprocessing", None)
    if own is not None:
        return own if isinstance(own, Preprocessing) else named(own)
    if not isinstance(encoder, models.ResNet):
        return UNIT
    if encoder.variant != "taskonomy":
        return IMAGENET
    if name not in TASKONOMY:
        tasks = ", ".join(_OWN)
        raise ValueError(
            f"Encoder {name!r} is a network of Taskonomy, whose preprocessing depends on its task, and is "
            f"named after none ({tasks}): pass its preprocessing."
        )
    return TASKONOMY[name]
