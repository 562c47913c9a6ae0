"""Writers: the built-in world, or any labelled pictures, as folders in the layouts that the readers read.

Labels come back in their own units bit for bit, or to the quantisation that each writer states.
"""

from jaxsim.datasets.export.buildings import taskonomy
from jaxsim.datasets.export.nyuv2 import nyu, nyud_mt
from jaxsim.datasets.export.pascal import pascal_mt, voc
from jaxsim.datasets.export.pictures import Labelled, rooms
from jaxsim.datasets.export.worlds import LAYOUTS, folder, world

__all__ = [
    "LAYOUTS",
    "Labelled",
    "folder",
    "nyu",
    "nyud_mt",
    "pascal_mt",
    "rooms",
    "taskonomy",
    "voc",
    "world",
]
