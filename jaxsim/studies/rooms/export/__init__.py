"""Writers: the built-in world, or any labeled pictures, as folders in the layouts that the readers read.

Labels come back in their own units bit for bit, or to the quantization that each writer states.
"""

from jaxsim.studies.rooms.export.dataset_folders import LAYOUTS, folder, world
from jaxsim.studies.rooms.export.labeled_pictures import Labeled, rooms
from jaxsim.studies.rooms.export.nyuv2_layout import nyu, nyud_mt
from jaxsim.studies.rooms.export.pascal_layouts import pascal_mt, voc
from jaxsim.studies.rooms.export.taskonomy_layout import taskonomy

__all__ = [
    "LAYOUTS",
    "Labeled",
    "folder",
    "nyu",
    "nyud_mt",
    "pascal_mt",
    "rooms",
    "taskonomy",
    "voc",
    "world",
]
