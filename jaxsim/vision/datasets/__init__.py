"""Readers of Taskonomy, Pascal VOC, NYUv2 and plain folders of pictures, and batches of them.

Needs the `nn` extra; `import jaxsim` does not import this package. Every reader returns a `Dataset` with ids, random
access, and targets in physical units with masks. `jaxsim.studies.rooms.export` writes the built-in world in the same
layouts.
"""

from jaxsim.vision.datasets.layouts import LAYOUTS, folder, layout_named, recognize
from jaxsim.vision.datasets.loader import Batch, batches
from jaxsim.vision.datasets.nyuv2_layout import nyu, nyud_mt
from jaxsim.vision.datasets.pascal_layouts import pascal_mt, voc
from jaxsim.vision.datasets.records import Dataset, Example, Layout
from jaxsim.vision.datasets.splits import read_buildings
from jaxsim.vision.datasets.taskonomy_layout import taskonomy

__all__ = [
    "LAYOUTS",
    "Batch",
    "Dataset",
    "Example",
    "Layout",
    "batches",
    "folder",
    "layout_named",
    "nyu",
    "nyud_mt",
    "pascal_mt",
    "read_buildings",
    "recognize",
    "taskonomy",
    "voc",
]
