"""A folder in any of the datasets' layouts as pictures to learn from and pictures to be judged on."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from jaxsim.studies.branching.tasks import KINDS, Task
from jaxsim.vision import datasets
from jaxsim.vision.datasets import nyuv2_layout, pascal_voc_layout, taskonomy_encodings
from jaxsim.vision.datasets.records import Dataset, Example

BORDER = 2
"""Pixels beside unknown ones at which nothing computed from the picture counts."""
HELD_OUT = 4
"""Where nothing says which pictures are held out, every so many are."""
NYU_WEIGHT = 0.8
"""Weight of pixels on an edge in NYUv2 (Maninis et al. 2019)."""
NYU_EPOCHS = 200
"""Passes over NYUv2's pictures (DDS 2020, section 5.2)."""
NYU_FILE, NYU_SPLITS, NYU_CLASSES = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"


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


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a layout is known and read, and how branches are trained on it.

    Attributes:
        marks: files or folders by which it is known; of one of these sets all are there.
        targets: the layout's target of each task that it has labels of.
        read: from the folder, a split and targets to pictures; without splits it reads them all.
        split: which one is read where none is named; None for a layout without splits.
        parts: from the folder and targets to pictures to learn from and to be judged on; by default the splits 'train'
            and 'val'.
        classes: from the folder to the number of classes of pixels.
        unlabeled: classes that mark unknown pixels.
        weight: of pixels on an edge.
        epochs: passes over the training pictures in DDS 2020 (section 5.2).
        suffix: of a file that may stand for the folder where pictures are read without targets.
        covers: layouts whose marks stand in its folders too.
    """

    marks: tuple[tuple[str, ...], ...]
    targets: Mapping[str, str]
    read: Callable[[Path, Any, tuple[str, ...]], Dataset]
    split: str | None = None
    parts: Callable[[Path, tuple[str, ...]], tuple[Dataset, Dataset]] | None = None
    classes: Callable[[Path], int] = lambda root: 0
    unlabeled: tuple[int, ...] = ()
    weight: float = 0.95
    epochs: int = 60
    suffix: str | None = None
    covers: tuple[str, ...] = ()


def opened(root: str | Path, names: Sequence[str] = (), *, layout: str | None = None) -> Folder:
    """Open a folder, with the targets of the named tasks.

    Held out are: VOC's and PASCAL_MT's 'val', NYUD_MT's 'val', NYUv2's 'test', the 'val' buildings of a csv of splits
    in a Taskonomy folder; where there is no such list every fourth building or picture. VOC's training pictures are
    'trainaug' where SBD or `SegmentationClassAug` is there.

    Args:
        root: the folder.
        names: tasks of `KINDS`.
        layout: one of `LAYOUTS`; found by what is in the folder where None.

    Raises:
        FileNotFoundError: the folder, or files that it should hold, are missing.
        ValueError: an unknown layout or task, marks of several layouts, a task without targets in the layout, or
            damaged files.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not there or is not a folder.")
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"There is no dataset layout {layout!r}; there are {', '.join(LAYOUTS)}.")
    layout = recognized(root) if layout is None else layout
    how, names = LAYOUTS[layout], tuple(dict.fromkeys(names))
    for name in names:
        if name not in KINDS:
            raise ValueError(f"There is no task {name!r}; there are {', '.join(KINDS)}.")
        if name not in (has := (*(task for task, kind in KINDS.items() if kind.compute), *how.targets)):
            raise ValueError(f"The {layout} layout has no task {name!r}; it has {', '.join(has)}.")
    computed = tuple(name for name in names if KINDS[name].compute)
    pairs = tuple((name, how.targets[name]) for name in names if name not in computed)
    wanted = tuple(target for _, target in pairs)
    parts = how.parts(root, wanted) if how.parts else (how.read(root, part, wanted) for part in ("train", "val"))
    learn, judge = (Pictures(part, pairs, computed) for part in parts)
    return Folder(layout, learn, judge, tuple(_task(name, how, root, learn) for name in names))


def recognized(root: Path) -> str:
    """The one layout whose marks are there, or whose file this is; 'folder' where there are none.

    Raises:
        ValueError: there are marks of several.
    """
    if not root.is_dir():
        return next((name for name, how in LAYOUTS.items() if how.suffix == root.suffix), "folder")
    found = [
        name for name, how in LAYOUTS.items() if any(all(any(root.glob(mark)) for mark in marks) for marks in how.marks)
    ]
    covered = {name for other in found for name in LAYOUTS[other].covers}
    found = [name for name in found if name not in covered]
    if len(found) > 1:
        raise ValueError(f"{root} mixes the layouts {' and '.join(found)}: say which with layout (--layout).")
    return next(iter(found), "folder")


def _task(name: str, how: Layout, root: Path, pictures: Pictures) -> Task:
    kind = KINDS[name]
    if kind.whole:
        return Task(name, len(pictures[0].targets[name]))
    if kind.channels is None:
        return Task(name, how.classes(root), unlabeled=how.unlabeled)
    return Task(name, kind.channels, how.weight)


def _split(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """All pictures but every fourth, and every fourth."""
    if len(dataset) < 2:
        raise ValueError(f"The folder holds {len(dataset)} picture; at least two are needed, one to be held out.")
    step = min(HELD_OUT, len(dataset))
    held = dataset.ids[step - 1 :: step]
    kept = set(held)
    return dataset.select([name for name in dataset.ids if name not in kept]), dataset.select(held)


def _voc_parts(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    sbd = next(
        (place for place in (root / "benchmark_RELEASE", root.parent / "benchmark_RELEASE") if place.is_dir()), None
    )
    more = sbd is not None or any(
        root.glob(f"{inner}SegmentationClassAug") for inner in ("", "VOC2012/", "VOCdevkit/VOC2012/")
    )
    return datasets.voc(root, "trainaug" if more else "train", targets, sbd=sbd), datasets.voc(root, "val", targets)


def _nyu(root: Path, split: str | None, targets: tuple[str, ...]) -> Dataset:
    """Pictures of the folder, or of the file itself."""
    file = root / NYU_FILE if root.is_dir() else root
    classes = root / NYU_CLASSES if (root / NYU_CLASSES).exists() and targets else None
    return datasets.nyu(file, split, targets, splits=root / NYU_SPLITS, classes=classes)


def _nyu_parts(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    if not (root / NYU_SPLITS).exists():
        return _split(_nyu(root, None, targets))
    return _nyu(root, "train", targets), _nyu(root, "test", targets)


def _nyu_classes(root: Path) -> int:
    return nyuv2_layout.MT_CLASSES if (root / NYU_CLASSES).exists() else nyuv2_layout.ALL_CLASSES


def _taskonomy(root: Path, split: str | None, targets: tuple[str, ...]) -> Dataset:
    del split
    return datasets.taskonomy(root, targets)


def _taskonomy_parts(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    lists = sorted(root.glob("train_val_test_*.csv"))
    if len(lists) > 1:
        raise ValueError(f"{root} holds {len(lists)} lists of splits; leave one: {', '.join(p.name for p in lists)}.")
    if lists:
        train, val = (datasets.read_buildings(lists[0], part) for part in ("train", "val"))
        return datasets.taskonomy(root, targets, buildings=train), datasets.taskonomy(root, targets, buildings=val)
    whole = datasets.taskonomy(root, targets)
    buildings = list(dict.fromkeys(name.rsplit("/", 1)[0] for name in whole.ids))
    if len(buildings) < HELD_OUT:
        return _split(whole)
    held = set(buildings[HELD_OUT - 1 :: HELD_OUT])
    train = [name for name in whole.ids if name.rsplit("/", 1)[0] not in held]
    return whole.select(train), whole.select([name for name in whole.ids if name not in set(train)])


def _folder(root: Path, split: str | None, targets: tuple[str, ...]) -> Dataset:
    del split, targets
    return datasets.folder(root)


def _folder_parts(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    return _split(_folder(root, None, targets))


LAYOUTS: dict[str, Layout] = {
    "nyu": Layout(
        marks=((NYU_FILE,),),
        targets={"semantic": "semantic", "depth": "depth"},
        read=_nyu,
        parts=_nyu_parts,
        classes=_nyu_classes,
        unlabeled=(0,),
        weight=NYU_WEIGHT,
        epochs=NYU_EPOCHS,
        suffix=".mat",
    ),
    "nyud_mt": Layout(
        marks=(("gt_sets", "images"),),
        targets={"semantic": "semantic", "depth": "depth", "normals": "normals"},
        read=datasets.nyud_mt,
        split="train",
        classes=lambda root: nyuv2_layout.MT_CLASSES,
        weight=NYU_WEIGHT,
        epochs=NYU_EPOCHS,
    ),
    "pascal_mt": Layout(
        marks=(("JPEGImages", "semseg"), ("JPEGImages", "normals_distill")),
        targets={"semantic": "semantic", "normals": "normals"},
        read=datasets.pascal_mt,
        split="train",
        classes=lambda root: pascal_voc_layout.CLASSES,
        covers=("voc",),
    ),
    "voc": Layout(
        marks=(("JPEGImages", "ImageSets/Segmentation"), ("VOC2012",), ("VOCdevkit/VOC2012",)),
        targets={"semantic": "semantic"},
        read=datasets.voc,
        split="train",
        parts=_voc_parts,
        classes=lambda root: pascal_voc_layout.CLASSES,
    ),
    "taskonomy": Layout(
        marks=(("rgb/*",), ("*_rgb",)),
        targets={
            "semantic": "segment_semantic",
            "depth": "depth_zbuffer",
            "normals": "normal",
            "object": "class_object",
            "scene": "class_scene",
        },
        read=_taskonomy,
        parts=_taskonomy_parts,
        classes=lambda root: taskonomy_encodings.CLASSES,
        unlabeled=(0,),
    ),
    "folder": Layout(marks=(), targets={}, read=_folder, parts=_folder_parts),
}
"""Layouts by name, in the order in which they are looked for; a folder of any pictures is the last."""
