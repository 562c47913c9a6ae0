"""A folder in any of the datasets' layouts as pictures to learn from and pictures to be judged on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from jaxsim.studies.branching.tasks import KINDS, Task
from jaxsim.vision import datasets
from jaxsim.vision.datasets.records import Dataset, Example

BORDER = 2
"""Pixels beside unknown ones at which nothing computed from the picture counts."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of a dataset with the targets of some tasks, under the tasks' names.

    Attributes:
        dataset: with the layout's own targets.
        targets: pairs of a task and the layout's target.
        computed: tasks whose target is computed from the picture, by `finished`.
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
        """As `datasets.batches` gives them."""
        return datasets.batches(cast(Dataset, self), batch, **how)

    def part(self, count: int | None) -> "Pictures":
        """The first pictures; all where `count` is None."""
        return dataclasses.replace(self, dataset=self.dataset.select(self.dataset.ids[:count]))


def finished(example: Example) -> Example:
    """The example with the targets that are computed from its picture at its present size, if it is to have any."""
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
    """The mask moved along an axis, True where it came from outside."""
    out = np.roll(mask, by, axis)
    edge = [slice(None)] * 2
    edge[axis] = slice(None, by) if by > 0 else slice(by, None)
    out[tuple(edge)] = True
    return out


@dataclasses.dataclass(frozen=True)
class Folder:
    """A dataset's folder.

    Attributes:
        layout: its name.
        train: pictures to learn from.
        val: pictures to be judged on.
        tasks: what the pictures have targets of.
    """

    layout: str
    train: Pictures
    val: Pictures
    tasks: tuple[Task, ...]


def opened(root: str | Path, names: Sequence[str] = (), *, layout: str | None = None) -> Folder:
    """Open a folder, with the targets of the named tasks.

    Held out are: VOC's and PASCAL_MT's 'val', NYUD_MT's 'val', NYUv2's 'test', the 'val' buildings of a csv of splits
    in a Taskonomy folder; where there is no such list every fourth building or picture. VOC's training pictures are
    'trainaug' where SBD or `SegmentationClassAug` is there.

    Args:
        root: the folder.
        names: tasks of `KINDS`.
        layout: one of `datasets.LAYOUTS`; found by what is in the folder where None.

    Raises:
        FileNotFoundError: the folder, or files that it should hold, are missing.
        ValueError: an unknown layout or task, marks of several layouts, a task without targets in the layout, or
            damaged files.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not there or is not a folder.")
    layout = datasets.recognized(root) if layout is None else layout
    how, names = datasets.layout_named(layout), tuple(dict.fromkeys(names))
    for name in names:
        if name not in KINDS:
            raise ValueError(f"there is no task {name!r}; there are {', '.join(KINDS)}.")
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
