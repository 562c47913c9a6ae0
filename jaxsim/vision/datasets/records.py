"""Records of a dataset: ids and readers, its examples with labels in physical units, and its folder layout."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsim.io.files import few, nearest, warn

HELD_OUT = 4
"""Every fourth picture or building is held out if no list of splits says which are."""


class Values(NamedTuple):
    """The target in one label file.

    Attributes:
        values: `(h, w)` or `(h, w, channels)` for a pixel target, `(channels,)` for one of the whole picture.
        mask: `(h, w)`, True where `values` are known; None for a target of the whole picture.
    """

    values: np.ndarray
    mask: np.ndarray | None


def everywhere(values: np.ndarray) -> Values:
    """Mark values as known at every pixel."""
    return Values(values, np.ones(values.shape[:2], bool))


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """Storage and reader of one target.

    Attributes:
        file: function from a picture's id to the file that holds the target.
        read: function from a picture's id to its `Values`.
    """

    file: Callable[[str], Path]
    read: Callable[[str], Values]


def label_of_files(file: Callable[[str], Path], decode: Callable[[Path], Values]) -> Label:
    """A target stored in one file per picture."""
    return Label(file, functools.partial(_decoded, file, decode))


def _decoded(file, decode, name):
    return decode(file(name))


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One picture with its targets.

    Attributes:
        id: its name in the dataset.
        image: `(h, w, 3)` uint8.
        targets: one array per target, in the units stated by the dataset's reader.
        masks: one `(h, w)` bool array per pixel target, True where it is known.
    """

    id: str
    image: np.ndarray
    targets: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures and their targets, read on access.

    `len` and indexing are all that a `grain.sources.RandomAccessDataSource` needs.

    Attributes:
        layout: name of the folder layout for messages; need not be its name in `LAYOUTS`.
        ids: names of the pictures.
        image: function from an id to the picture `(h, w, 3)` uint8.
        labels: the readers of the targets.

    >>> import numpy as np
    >>> gray = Dataset("made up", ("a", "b"), lambda name: np.full((2, 3, 3), ord(name), np.uint8), {})
    >>> len(gray), gray[1].id, int(gray[1].image[0, 0, 0])
    (2, 'b', 98)
    """

    layout: str
    ids: tuple[str, ...]
    image: Callable[[str], np.ndarray]
    labels: Mapping[str, Label]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.labels)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        """Read a picture and its targets.

        Raises:
            IndexError: there is no such picture.
            FileNotFoundError: a file has disappeared since the folder was listed.
            ValueError: a file is damaged, or a target differs in size from the picture.
        """
        name = self.ids[index]
        image = self.image(name)
        found = {target: label.read(name) for target, label in self.labels.items()}
        for target, (values, mask) in found.items():
            if mask is not None and values.shape[:2] != image.shape[:2]:
                raise ValueError(
                    f"{self.labels[target].file(name)} has {target!r} of {_size(values)} pixels, "
                    f"but picture {name!r} has {_size(image)}."
                )
        masks = {target: mask for target, (_, mask) in found.items() if mask is not None}
        return Example(name, image, {target: values for target, (values, _) in found.items()}, masks)

    def select(self, ids: Sequence[str]) -> "Dataset":
        """The pictures with these ids, in this order.

        Raises:
            ValueError: an id is not in the dataset.
        """
        known = set(self.ids)
        absent = [name for name in ids if name not in known]
        if absent:
            raise ValueError(f"the {self.layout} dataset has no picture {few(absent)}.")
        return dataclasses.replace(self, ids=tuple(ids))

    def readable(self) -> "Dataset":
        """All pictures that can be read, each read once to find out; a warning names the others and why.

        Raises:
            ValueError: none can be read.

        >>> import numpy as np
        >>> made_up = Dataset("made up", ("a", "b"), lambda name: np.full((2, 3, 3), ord(name), np.uint8), {})
        >>> made_up.readable().ids
        ('a', 'b')
        """
        with ThreadPoolExecutor() as threads:
            faults = dict(zip(self.ids, threads.map(self._fault, range(len(self))), strict=True))
        damaged = {name: text for name, text in faults.items() if text}
        reasons = " ".join(damaged.values())
        if damaged and len(damaged) == len(self):
            raise ValueError(f"none of the {len(self)} pictures can be read: {next(iter(damaged.values()))}")
        if damaged:
            warn(f"left out {len(damaged)} of {len(self)} pictures that cannot be read: {reasons}")
        return self.without(damaged)

    def _fault(self, index: int) -> str:
        try:
            self[index]
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def without(self, ids: Collection[str]) -> "Dataset":
        """All pictures except those with these ids."""
        left_out = set(ids)
        return dataclasses.replace(self, ids=tuple(name for name in self.ids if name not in left_out))


@dataclasses.dataclass(frozen=True)
class Layout:
    """A folder layout: how it is recognized, read and split, and published settings for training on it.

    Attributes:
        marks: sets of glob patterns of files or folders; a folder that has all of one set is recognized.
        targets: the layout's own target for each of 'semantic', 'depth', 'normals', 'object' and 'scene' that it has.
        read: function of (folder, split, targets) that returns a dataset; a layout without splits reads all pictures.
        split: the default split; None for a layout without splits.
        train_val: function of (folder, targets) that returns training and validation pictures; by default the splits
            'train' and 'val'.
        classes: function from the folder to the number of classes of its semantic target.
        unlabeled: classes that mark unknown pixels.
        edge_weight: weight of edge pixels in the edge loss (Maninis et al. 2019).
        epochs: passes over the training pictures in DDS 2020 (section 5.2).
        suffix: suffix of a file that may be given instead of the folder.
        incomplete: whether `read` and `train_val` take `complete_only`, since published folders lack files.
        covers: layouts whose marks also occur in this one's folders.
    """

    marks: tuple[tuple[str, ...], ...]
    targets: Mapping[str, str]
    read: Callable[[Path, Any, tuple[str, ...]], Dataset]
    split: str | None = None
    train_val: Callable[[Path, tuple[str, ...]], tuple[Dataset, Dataset]] | None = None
    classes: Callable[[Path], int] = lambda root: 0
    unlabeled: tuple[int, ...] = ()
    edge_weight: float = 0.95
    epochs: int = 60
    suffix: str | None = None
    incomplete: bool = False
    covers: tuple[str, ...] = ()

    def marked(self, root: Path) -> bool:
        """Whether a folder has all of one set of marks."""
        return any(all(any(_shown(root.glob(mark))) for mark in marks) for marks in self.marks)

    def complete(self) -> "Layout":
        """The same layout, leaving out pictures that lack a file.

        Raises:
            ValueError: the layout does not support this.
        """
        if not self.incomplete or self.train_val is None:
            raise ValueError("complete_only (--complete-only) works only with the layout taskonomy.")
        read, split = (functools.partial(of, complete_only=True) for of in (self.read, self.train_val))
        return dataclasses.replace(self, read=read, train_val=split)

    def train_and_val(self, root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
        """Training and validation pictures."""
        if self.train_val is not None:
            return self.train_val(root, targets)
        return self.read(root, "train", targets), self.read(root, "val", targets)


def every_fourth(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Split off every fourth picture as the validation set.

    Raises:
        ValueError: there is only one picture.
    """
    if len(dataset) < 2:
        raise ValueError(f"the folder has {len(dataset)} picture; at least two are needed, because one is held out.")
    held = dataset.ids[min(HELD_OUT, len(dataset)) - 1 :: min(HELD_OUT, len(dataset))]
    return dataset.without(held), dataset.select(held)


def _shown(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if not path.name.startswith("."))


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"


def chosen(layout: str, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Check the names of targets and drop duplicates.

    Raises:
        ValueError: the layout has no such target; the message names similar ones.
    """
    for name in wanted:
        if name not in known:
            raise ValueError(f"the {layout} layout has no target {name!r}; {nearest(name, known)}")
    return tuple(dict.fromkeys(wanted))
