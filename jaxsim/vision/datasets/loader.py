"""Batches of a dataset: examples resized, stacked, and prefetched in threads by grain."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from PIL import Image

from jaxsim.statistics.checks import as_count, as_key
from jaxsim.vision.datasets.image_files import UNLABELED
from jaxsim.vision.datasets.records import Dataset, Example

if TYPE_CHECKING:
    import grain


Size = int | tuple[int, int]
"""Height and width in pixels, or one number for both."""


def sides(size: Size) -> tuple[int, int]:
    """Return a size as height and width."""
    return (size, size) if isinstance(size, int) else size


def fit(example: Example, size: tuple[int, int]) -> Example:
    """Crop the largest centered part of the right aspect ratio, and resize it to `size` (height, width).

    The picture is resized bilinearly with antialiasing; targets and masks take the nearest pixel. Depth stays in meters
    and normals keep their directions.

    >>> wide = Example("a", np.zeros((4, 8, 3), np.uint8), {"depth": np.ones((4, 8))}, {"depth": np.ones((4, 8), bool)})
    >>> small = fit(wide, (2, 2))
    >>> small.image.shape, small.targets["depth"].shape
    ((2, 2, 3), (2, 2))
    """
    rows, columns = example.image.shape[:2]
    height, width = size
    tall, broad = max(1, min(rows, columns * height // width)), max(1, min(columns, rows * width // height))
    top, left = (rows - tall) // 2, (columns - broad) // 2
    part = np.ascontiguousarray(example.image[top : top + tall, left : left + broad])
    picture = Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR)
    at = np.ix_(top + _nearest(tall, height), left + _nearest(broad, width))
    return resampled(example, np.asarray(picture), lambda values, fill: values[at])


def stretch(example: Example, size: tuple[int, int]) -> Example:
    """Resize the whole picture to `size` (height, width), whatever its aspect ratio; otherwise as `fit`.

    >>> depth, known = np.arange(4.0)[None], np.ones((1, 4), bool)
    >>> wide = Example("a", np.zeros((1, 4, 3), np.uint8), {"depth": depth}, {"depth": known})
    >>> stretch(wide, (2, 2)).targets["depth"].tolist()
    [[1.0, 3.0], [1.0, 3.0]]
    """
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(example.image)).resize((width, height), Image.Resampling.BILINEAR)
    at = np.ix_(*(_nearest(have, want) for have, want in zip(example.image.shape[:2], size, strict=True)))
    return resampled(example, np.asarray(picture), lambda values, fill: values[at])


def _nearest(have: int, want: int) -> np.ndarray:
    return ((np.arange(want) + 0.5) * have / want).astype(int)


def resampled(example: Example, image: np.ndarray, move: Callable[[np.ndarray, int | bool], np.ndarray]) -> Example:
    """Replace an example's picture, and resample its pixel targets and their masks to match.

    Args:
        example: an example with masks for its pixel targets.
        image: the resampled picture.
        move: function of (values, fill) that resamples an array; the fill is 255 for targets of bytes, 0 for others and
            False for masks.
    """

    def of(name, values):
        if name not in example.masks:
            return values
        return move(values, UNLABELED if values.dtype == np.uint8 else 0)

    targets = {name: of(name, values) for name, values in example.targets.items()}
    masks = {name: move(mask, False) for name, mask in example.masks.items()}
    return dataclasses.replace(example, image=image, targets=targets, masks=masks)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one size with their targets, stacked.

    Attributes:
        ids: names of the pictures.
        images: `(b, h, w, 3)` uint8.
        targets: one array `(b, ...)` per target.
        masks: one `(b, h, w)` bool array per pixel target.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    targets: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.ids)


def batches(
    dataset: Dataset,
    batch: int,
    *,
    size: Size | None = None,
    resize: Callable[[Example, tuple[int, int]], Example] = fit,
    key: jax.Array | None = None,
    epochs: int | None = 1,
    augment: Callable[[Example, np.random.Generator], Example] | None = None,
    finish: Callable[[Example], Example] | None = None,
    drop_remainder: bool = False,
    threads: int = 2,
) -> "grain.IterDataset[Batch]":
    """Iterate over batches in order, or reshuffled by `key` in each epoch.

    Each picture is read, augmented, resized to `size` by `resize`, finished, and stacked; the last batch of an epoch
    may be smaller. While one batch is in use, the next ones are read. The same key gives the same batches. The iterator
    over the result has `get_state` and `set_state`, so that a stopped run can resume.

    Args:
        dataset: a `Dataset`, or anything with its `__len__` and `__getitem__`.
        batch: pictures per batch.
        size: height and width in pixels, or one number for both; None leaves pictures unchanged.
        resize: `fit`, the largest centered part, or `stretch`, the whole picture.
        key: a random key or a seed; None keeps the dataset's order.
        epochs: passes over the dataset; None repeats it forever.
        augment: random change of an example; each example and epoch has its own generator.
        finish: fixed change of an example at its final size, such as one that adds a target.
        drop_remainder: leave out an epoch's last batch if it is smaller.
        threads: reading threads, one batch each; twice as many batches are prefetched.

    Raises:
        ValueError: a count is not a positive whole number; the dataset is empty, or has fewer pictures than one full
            batch; or, while iterating, a file is damaged, or pictures of one batch differ in size.
        ImportError: grain is not installed.

    >>> from jaxsim.vision.datasets.records import Dataset
    >>> gray = Dataset("made up", ("a", "b", "c"), lambda name: np.full((2, 2, 3), ord(name), np.uint8), {})
    >>> [(found.ids, found.images.shape) for found in batches(gray, 2)]
    [(('a', 'b'), (2, 2, 2, 3)), (('c',), (1, 2, 2, 3))]
    """
    import grain

    batch, threads = as_count(batch, "batch"), as_count(threads, "threads")
    epochs = None if epochs is None else as_count(epochs, "epochs")
    key = None if key is None else as_key(key)
    if not len(dataset) or (drop_remainder and batch > len(dataset)):
        raise ValueError(f"a batch of {batch} cannot be drawn from the {len(dataset)} pictures of the dataset.")
    if augment is not None and key is None:
        raise ValueError("`augment` is random and needs a `key`.")
    source = grain.MapDataset.source(dataset)
    if key is not None:
        order, changes = (int(k) for k in jax.random.bits(key, (2,), np.uint32))
        source = source.shuffle(order)
        if augment is not None:
            source = source.random_map(augment, seed=changes)
    shape = None if size is None else sides(size)
    source = source.map(functools.partial(_shaped, shape, resize, finish))
    source = source.batch(batch, drop_remainder=drop_remainder, batch_fn=list).map(stack)
    source = source if epochs == 1 else source.repeat(epochs)
    return source.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))


def _shaped(
    shape: tuple[int, int] | None,
    resize: Callable[[Example, tuple[int, int]], Example],
    finish: Callable[[Example], Example] | None,
    example: Example,
) -> Example:
    example = example if shape is None else resize(example, shape)
    return example if finish is None else finish(example)


def stack(examples: Sequence[Example]) -> Batch:
    """Stack examples of one size to a batch.

    Raises:
        ValueError: two pictures or targets differ in shape.
    """
    first = examples[0]
    for other in examples:
        shapes = [{"image": e.image.shape} | {name: v.shape for name, v in e.targets.items()} for e in (first, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"pictures {first.id!r} and {other.id!r} of one batch have different shapes, {shapes[0]} and "
                f"{shapes[1]}; give a `size`."
            )
    return Batch(
        tuple(e.id for e in examples),
        np.stack([e.image for e in examples]),
        {name: np.stack([e.targets[name] for e in examples]) for name in first.targets},
        {name: np.stack([e.masks[name] for e in examples]) for name in first.masks},
    )
