"""A folder in any of the datasets' layouts as pictures to learn from and pictures to be judged on."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from jaxsim import datasets
from jaxsim.branching.tasks import KINDS, Task
from jaxsim.datasets import edges, encodings, nyuv2, pascal
from jaxsim.datasets.records import Dataset, Example

BORDER = 2
"""Pixels beside unknown ones at which no edge counts."""
HELD_OUT = 4
"""Where nothing says which pictures are held out, every so many are."""
NYU_WEIGHT = 0.8
"""Of pixels on an edge in NYUv2 (Maninis et al. 2019)."""
NYU_FILES = {"file": "nyu_depth_v2_labeled.mat", "splits": "splits.mat", "classes": "classMapping40.mat"}


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of a dataset with the targets of some tasks, under the tasks' names.

    Attributes:
        dataset: with the layout's own targets.
        targets: pairs of a task and the layout's target.
        edges: whether the task 'edge' is among them; its target is made by `finished`.
    """

    dataset: Dataset
    targets: tuple[tuple[str, str], ...] = ()
    edges: bool = False

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        """Read a picture."""
        found = self.dataset[index]
        targets = {task: found.targets[target] for task, target in self.targets}
        masks = {task: found.masks[target] for task, target in self.targets if target in found.masks}
        if self.edges:
            shape = found.image.shape[:2]
            targets["edge"], masks["edge"] = np.zeros(shape, np.float32), np.ones(shape, bool)
        return Example(found.id, found.image, targets, masks)

    def batches(self, batch: int, **how: Any) -> Any:
        """As `datasets.batches` gives them."""
        return datasets.batches(cast(Dataset, self), batch, **how)

    def part(self, count: int | None) -> "Pictures":
        """The first pictures; all where `count` is None."""
        return dataclasses.replace(self, dataset=self.dataset.select(self.dataset.ids[:count]))


def finished(example: Example) -> Example:
    """The example with Canny's edges of its picture at its present size, if it is to have any."""
    if "edge" not in example.targets:
        return example
    known = example.masks["edge"]
    for axis in (0, 1):
        for by in (*range(-BORDER, 0), *range(1, BORDER + 1)):
            known = known & _shifted(example.masks["edge"], by, axis)
    targets = example.targets | {"edge": edges.canny(example.image)}
    return dataclasses.replace(example, targets=targets, masks=example.masks | {"edge": known})


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
class _Layout:
    """How a layout is known and read: marks are files or folders, all of which are there."""

    marks: tuple[tuple[str, ...], ...]
    targets: dict[str, str]
    read: Callable[[Path, tuple[str, ...]], tuple[Dataset, Dataset]]
    classes: int = 0
    weight: float = 0.95
    unlabelled: tuple[int, ...] = ()


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
    layout = recognised(root) if layout is None else layout
    how, names = LAYOUTS[layout], tuple(dict.fromkeys(names))
    for name in names:
        if name not in KINDS:
            raise ValueError(f"There is no task {name!r}; there are {', '.join(KINDS)}.")
        if name != "edge" and name not in how.targets:
            raise ValueError(f"The {layout} layout has no task {name!r}; it has {', '.join(('edge', *how.targets))}.")
    pairs = tuple((name, how.targets[name]) for name in names if name != "edge")
    train, val = how.read(root, tuple(target for _, target in pairs))
    learn, judge = (Pictures(part, pairs, "edge" in names) for part in (train, val))
    return Folder(layout, learn, judge, tuple(_task(name, how, root, learn) for name in names))


def recognised(root: Path) -> str:
    """The one layout whose marks are there; 'folder' where there are none.

    Raises:
        ValueError: there are marks of several.
    """
    found = [
        name for name, how in LAYOUTS.items() if any(all(any(root.glob(mark)) for mark in marks) for marks in how.marks)
    ]
    if "pascal_mt" in found:
        found = [name for name in found if name != "voc"]  # whose lists stand in PASCAL_MT's folder too
    if len(found) > 1:
        raise ValueError(f"{root} mixes the layouts {' and '.join(found)}: say which with layout (--layout).")
    return next(iter(found), "folder")


def _task(name: str, how: _Layout, root: Path, pictures: Pictures) -> Task:
    if name == "semantic":
        whole = how.read is _nyu and not (root / NYU_FILES["classes"]).exists()
        return Task(name, nyuv2.ALL_CLASSES if whole else how.classes, unlabelled=how.unlabelled)
    if name in ("object", "scene"):
        return Task(name, len(pictures[0].targets[name]))
    return Task(name, 3 if name == "normals" else 1, how.weight)


def _split(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """All pictures but every fourth, and every fourth."""
    if len(dataset) < 2:
        raise ValueError(f"The folder holds {len(dataset)} picture; at least two are needed, one to be held out.")
    step = min(HELD_OUT, len(dataset))
    held = dataset.ids[step - 1 :: step]
    kept = set(held)
    return dataset.select([name for name in dataset.ids if name not in kept]), dataset.select(held)


def _voc(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    sbd = next(
        (place for place in (root / "benchmark_RELEASE", root.parent / "benchmark_RELEASE") if place.is_dir()), None
    )
    more = sbd is not None or any(
        root.glob(f"{inner}SegmentationClassAug") for inner in ("", "VOC2012/", "VOCdevkit/VOC2012/")
    )
    return datasets.voc(root, "trainaug" if more else "train", targets, sbd=sbd), datasets.voc(root, "val", targets)


def _pascal_mt(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    return datasets.pascal_mt(root, "train", targets), datasets.pascal_mt(root, "val", targets)


def _nyud_mt(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    return datasets.nyud_mt(root, "train", targets), datasets.nyud_mt(root, "val", targets)


def _nyu(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    there: dict[str, Any] = {name: root / file for name, file in NYU_FILES.items() if (root / file).exists()}
    file = there.pop("file", root / NYU_FILES["file"])
    if "splits" not in there:
        return _split(datasets.nyu(file, None, targets, **there))
    train, val = (datasets.nyu(file, part, targets, **there) for part in ("train", "test"))
    return train, val


def _taskonomy(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
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


def _folder(root: Path, targets: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    del targets
    return _split(datasets.folder(root))


LAYOUTS: dict[str, _Layout] = {
    "nyu": _Layout(
        (("nyu_depth_v2_labeled.mat",),),
        {"semantic": "semantic", "depth": "depth"},
        _nyu,
        nyuv2.MT_CLASSES,
        NYU_WEIGHT,
        unlabelled=(0,),
    ),
    "nyud_mt": _Layout(
        (("gt_sets", "images"),),
        {"semantic": "semantic", "depth": "depth", "normals": "normals"},
        _nyud_mt,
        nyuv2.MT_CLASSES,
        NYU_WEIGHT,
    ),
    "pascal_mt": _Layout(
        (("JPEGImages", "semseg"), ("JPEGImages", "normals_distill")),
        {"semantic": "semantic", "normals": "normals"},
        _pascal_mt,
        pascal.CLASSES,
    ),
    "voc": _Layout(
        (("JPEGImages", "ImageSets/Segmentation"), ("VOC2012",), ("VOCdevkit/VOC2012",)),
        {"semantic": "semantic"},
        _voc,
        pascal.CLASSES,
    ),
    "taskonomy": _Layout(
        (("rgb/*",), ("*_rgb",)),
        {
            "semantic": "segment_semantic",
            "depth": "depth_zbuffer",
            "normals": "normal",
            "object": "class_object",
            "scene": "class_scene",
        },
        _taskonomy,
        encodings.CLASSES,
        unlabelled=(0,),
    ),
    "folder": _Layout((), {}, _folder),
}
"""Layouts by name, in the order in which they are looked for; a folder of any pictures is the last."""
