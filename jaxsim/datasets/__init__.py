"""Datasets: readers of the folders of Taskonomy, Pascal VOC, NYUv2 and plain pictures, batches, and writers.

Needs the `nn` extra; `import jaxsim` leaves this package out. Every reader gives a `Dataset`: ids, random access, and
targets in physical units with masks. `jaxsim.datasets.export` writes the built-in world in the same layouts.
"""

from jaxsim.datasets.buildings import taskonomy
from jaxsim.datasets.context import pascal_mt
from jaxsim.datasets.files import read_buildings
from jaxsim.datasets.images import folder
from jaxsim.datasets.loading import Batch, batches
from jaxsim.datasets.nyuv2 import nyu, nyud_mt
from jaxsim.datasets.pascal import voc
from jaxsim.datasets.records import Dataset, Example

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
