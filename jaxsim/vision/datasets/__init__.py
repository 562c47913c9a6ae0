"""Datasets: readers of the folders of Taskonomy, Pascal VOC, NYUv2 and plain pictures, batches, and writers.

Needs the `nn` extra; `import jaxsim` leaves this package out. Every reader gives a `Dataset`: ids, random access, and
targets in physical units with masks. `jaxsim.studies.rooms.export` writes the built-in world in the same layouts.
"""

from jaxsim.vision.datasets.image_folder import folder
from jaxsim.vision.datasets.loader import Batch, batches
from jaxsim.vision.datasets.nyuv2_layout import nyu, nyud_mt
from jaxsim.vision.datasets.pascal_mt_layout import pascal_mt
from jaxsim.vision.datasets.pascal_voc_layout import voc
from jaxsim.vision.datasets.records import Dataset, Example
from jaxsim.vision.datasets.splits import read_buildings
from jaxsim.vision.datasets.taskonomy_layout import taskonomy

__all__ = [
    "Batch",
    "Dataset",
    "Example",
    "batches",
    "folder",
    "nyu",
    "nyud_mt",
    "pascal_mt",
    "read_buildings",
    "taskonomy",
    "voc",
]
