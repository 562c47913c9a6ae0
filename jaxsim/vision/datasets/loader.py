"""Batches of a dataset, read ahead in threads by grain."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxsim.vision.datasets.records import Dataset, Example
from jaxsim.vision.datasets.sizes import fit

if TYPE_CHECKING:
    import grain


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one size with their targets, stacked.

    Attributes:
        ids: names of the pictures.
        images: `(b, h, w, 3)` uint8.
        targets: an array `(b, ...)` a target.
        masks: for every target of pixels `(b, h, w)` bool.
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
    size: int | tuple[int, int] | None = None,
    resize: Callable[[Example, tuple[int, int]], Example] = fit,
    key: jax.Array | None = None,
    epochs: int | None = 1,
    augment: Callable[[Example, np.random.Generator], Example] | None = None,
    finish: Callable[[Example], Example] | None = None,
    drop_remainder: bool = False,
    threads: int = 2,
) -> "grain.IterDataset[Batch]":
    """Batches in order, or shuffled anew in each epoch by `key`; the same key gives the same batches.

    Each picture is read, augmented, brought to `size` by `resize`, finished, and stacked; an epoch ends with its
    own, perhaps smaller, batch. While one batch is in use the next ones are read. The iterator over the result has
    `get_state` and `set_state`, with which a stopped run goes on where it was.

    Args:
        dataset: of `jaxsim.vision.datasets`, or anything with its `__len__` and `__getitem__`.
        batch: pictures in a batch.
        size: height and width in pixels, or both in one number; None leaves pictures as they are.
        resize: `shaping.fit`, the largest centered part, or `shaping.stretch`, the whole picture.
        key: a typed key; None keeps the dataset's order.
        epochs: passes over the dataset; None goes on for ever.
        augment: a random change of an example; it draws from a generator of its own for every example and epoch.
        finish: a fixed change of an example of the final size, such as one that adds `edges.canny`.
        drop_remainder: leave out an epoch's last batch if it is smaller.
        threads: that read, each a batch; twice as many batches are kept ready.

    Raises:
        ValueError: the dataset is empty, or has fewer pictures than a batch that may not be smaller takes; while
            iterating, a file is damaged, or pictures of one batch differ in size.
        ImportError: grain is not installed.

    >>> from jaxsim.vision.datasets.records import Dataset
    >>> gray = Dataset("made up", ("a", "b", "c"), lambda name: np.full((2, 2, 3), ord(name), np.uint8), {})
    >>> [(found.ids, found.images.shape) for found in batches(gray, 2)]
    [(('a', 'b'), (2, 2, 2, 3)), (('c',), (1, 2, 2, 3))]
    """
    import grain

    if batch < 1 or not len(dataset) or (drop_remainder and batch > len(dataset)):
        raise ValueError(f"A batch of {batch} cannot be drawn from the {len(dataset)} pictures of the dataset.")
    if augment is not None and key is None:
        raise ValueError("`augment` changes pictures at random and needs a `key`.")
    source = grain.MapDataset.source(dataset)
    if key is not None:
        order, changes = (int(k) for k in jax.random.bits(key, (2,), np.uint32))
        source = source.shuffle(order)
        if augment is not None:
            source = source.random_map(augment, seed=changes)
    shape = (size, size) if isinstance(size, int) else size
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
    """One batch of examples of one size.

    Raises:
        ValueError: two pictures or targets differ in shape.
    """
    first = examples[0]
    for other in examples:
        shapes = [{"image": e.image.shape} | {name: v.shape for name, v in e.targets.items()} for e in (first, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"Pictures {first.id!r} and {other.id!r} of one batch differ in shape, {shapes[0]} and {shapes[1]}: "
                "give a `size`."
            )
    return Batch(
        tuple(e.id for e in examples),
        np.stack([e.image for e in examples]),
        {name: np.stack([e.targets[name] for e in examples]) for name in first.targets},
        {name: np.stack([e.masks[name] for e in examples]) for name in first.masks},
    )
