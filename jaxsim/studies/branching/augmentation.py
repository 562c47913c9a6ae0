"""Random augmentation of a picture with its targets: flip, rotation, scale and shift in one resampling."""

import dataclasses

import numpy as np
from PIL import Image

from jaxsim.studies.branching.tasks import KINDS
from jaxsim.vision.datasets.loader import resampled
from jaxsim.vision.datasets.records import Example


@dataclasses.dataclass(frozen=True)
class Augment:
    """Random flip, rotation, scale and shift of the window within the scaled picture.

    Source: Maninis et al. (2019), released code, for flip, rotation and scale; there the window stays centered.

    Attributes:
        degrees: largest rotation in either direction.
        scales: smallest and largest scale.
    """

    degrees: float = 20.0
    scales: tuple[float, float] = (0.75, 1.25)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Augment an example, keeping its size."""
        flip, degrees, scale = rng.random() < 0.5, rng.uniform(-self.degrees, self.degrees), rng.uniform(*self.scales)
        room = abs(scale - 1) / 2 * np.array(example.image.shape[1::-1])
        return warp(example, flip=bool(flip), degrees=degrees, scale=scale, shift=rng.uniform(-room, room))


def warp(
    example: Example,
    *,
    flip: bool = False,
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: np.ndarray | tuple[float, float] = (0, 0),
) -> Example:
    """Flip an example, rotate and scale it about its center, then shift it, keeping its size.

    The picture is resampled bilinearly, targets and masks take the nearest pixel. Pixels from outside are black,
    masked, and 255 in targets of bytes, 0 in others. Vectors are flipped and rotated with the picture; depth is not
    scaled.

    Args:
        example: a picture and targets of its size.
        flip: mirror left and right.
        degrees: rotation, counterclockwise.
        scale: factor; above 1 enlarges.
        shift: in pixels, to the right and down.

    >>> right = np.zeros((1, 3, 3), np.float32)
    >>> right[..., 0] = 1
    >>> one = Example("a", np.zeros((1, 3, 3), np.uint8), {"normals": right}, {"normals": np.ones((1, 3), bool)})
    >>> warp(one, degrees=90).targets["normals"][0, 1].round(3).tolist()
    [0.0, -1.0, 0.0]
    """
    rows, columns = example.image.shape[:2]
    angle, sign = np.deg2rad(degrees), -1.0 if flip else 1.0
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    back = np.diag([sign, 1.0]) @ turn.T / scale
    center = np.array([columns, rows]) / 2
    start = center - back @ (center + np.asarray(shift))
    form = (*back[0], start[0], *back[1], start[1])
    picture = Image.fromarray(np.ascontiguousarray(example.image))
    picture = picture.transform((columns, rows), Image.Transform.AFFINE, form, Image.Resampling.BILINEAR)
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    across, down = (np.floor(back[i, 0] * x + back[i, 1] * y + start[i] + 1e-9).astype(int) for i in (0, 1))
    inside = (across >= 0) & (across < columns) & (down >= 0) & (down < rows)
    across, down = np.where(inside, across, 0), np.where(inside, down, 0)

    def move(values: np.ndarray, fill: int | bool) -> np.ndarray:
        where = inside.reshape(inside.shape + (1,) * (values.ndim - 2))
        return np.where(where, values[down, across], fill).astype(values.dtype)

    found = resampled(example, np.asarray(picture), move)
    vectors = [name for name in found.targets if name in KINDS and KINDS[name].vectors]
    turned = {name: _turned(found.targets[name], turn * [sign, 1.0]) for name in vectors}
    return dataclasses.replace(found, targets=found.targets | turned)


def _turned(vectors: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Apply a 2 x 2 matrix to the first two components."""
    changed = np.concatenate([np.einsum("ij,hwj->hwi", turn, vectors[..., :2]), vectors[..., 2:]], -1)
    return changed.astype(vectors.dtype)
