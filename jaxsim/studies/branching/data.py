"""Training and validation pictures of a dataset's folder, with the targets of tasks."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from jaxsim.studies.branching.tasks import KINDS, Task
from jaxsim.vision import datasets
from jaxsim.vision.datasets.records import Dataset, Example
from jaxsim.vision.datasets.splits import folder_of

BORDER = 2
"""Distance in pixels from unknown ones within which targets computed from the picture are masked."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of a dataset with targets named after tasks.

    Attributes:
        dataset: pictures with the layout's own targets.
        targets: pairs of a task and the layout's target.
        computed: tasks whose target is computed from the picture by `add_computed`.
    """

    dataset: Dataset
    targets: tuple[tuple[str, str], ...] = ()
    computed: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        """Read a picture."""
        found = self.dataset[index]
        targets = {task: found.targets[target] for task, target in self.targets}
        masks = {task: found.masks[target] for task, target in self.targets if target in found.masks}
        for task in self.computed:
            shape = found.image.shape[:2]
            targets[task], masks[task] = np.zeros(shape, np.float32), np.ones(shape, bool)
        return Example(found.id, found.image, targets, masks)

    def batches(self, batch: int, **how: Any) -> Any:
        """Iterate over batches, see `datasets.batches`."""
        return datasets.batches(cast(Dataset, self), batch, **how)

    def part(self, count: int | None) -> "Pictures":
        """The first `count` pictures, or all if it is None."""
        return dataclasses.replace(self, dataset=self.dataset.select(self.dataset.ids[:count]))


def add_computed(example: Example) -> Example:
    """Fill in the targets of an example that are computed from its picture at its current size."""
    for name, kind in KINDS.items():
        if kind.compute is not None and name in example.targets:
            known = example.masks[name]
            for axis in (0, 1):
                for by in (*range(-BORDER, 0), *range(1, BORDER + 1)):
                    known = known & _shifted(example.masks[name], by, axis)
            targets, masks = example.targets | {name: kind.compute(example.image)}, example.masks | {name: known}
            example = dataclasses.replace(example, targets=targets, masks=masks)
    return example


def _shifted(mask: np.ndarray, by: int, axis: int) -> np.ndarray:
    """Shift a mask along an axis, filling with True."""
    out = np.roll(mask, by, axis)
    edge = [slice(None)] * 2
    edge[axis] = slice(None, by) if by > 0 else slice(by, None)
    out[tuple(edge)] = True
    return out


@dataclasses.dataclass(frozen=True)
class Folder:
    """A dataset's folder, split for training.

    Attributes:
        layout: name of its layout.
        train: training pictures.
        val: validation pictures.
        tasks: tasks that the pictures have targets for.
    """

    layout: str
    train: Pictures
    val: Pictures
    tasks: tuple[Task, ...]


def open_folder(
    root: str | Path, names: Sequence[str] = (), *, layout: str | None = None, complete_only: bool = False
) -> Folder:
    """Open a dataset's folder, with the targets of the named tasks.

    Validation pictures are VOC's, PASCAL_MT's and NYUD_MT's 'val', NYUv2's 'test', and the 'val' buildings of a csv of
    splits in a Taskonomy folder; without such a list, every fourth building or picture. VOC's training pictures are
    'trainaug' if SBD or `SegmentationClassAug` exists.

    Args:
        root: the folder.
        names: tasks, names in `KINDS`.
        layout: a name in `datasets.LAYOUTS`; None to recognize it.
        complete_only: leave out pictures without all files, as `datasets.taskonomy` does.

    Raises:
        FileNotFoundError: the folder, or files in it, are missing.
        ValueError: the layout or a task is unknown, the folder matches several layouts, the layout has no target for a
            task, or files are damaged.
    """
    root = folder_of(root)
    layout = datasets.recognize(root) if layout is None else layout
    how = datasets.layout_named(layout).complete() if complete_only else datasets.layout_named(layout)
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in KINDS:
            raise ValueError(f"there is no task {name!r}; choose from {', '.join(KINDS)}.")
        if name not in (has := (*(task for task, kind in KINDS.items() if kind.compute), *how.targets)):
            raise ValueError(f"the {layout} layout has no task {name!r}; it has {', '.join(has)}.")
    computed = tuple(name for name in names if KINDS[name].compute)
    pairs = tuple((name, how.targets[name]) for name in names if name not in computed)
    wanted = tuple(target for _, target in pairs)
    learn, judge = (Pictures(part, pairs, computed) for part in how.train_and_val(root, wanted))
    return Folder(layout, learn, judge, tuple(_task(name, how, root, learn) for name in names))


def _task(name: str, how: datasets.Layout, root: Path, pictures: Pictures) -> Task:
    kind = KINDS[name]
    if kind.whole:
        return Task(name, len(pictures[0].targets[name]))
    if kind.channels is None:
        return Task(name, how.classes(root), unlabeled=how.unlabeled)
    return Task(name, kind.channels, how.edge_weight)
