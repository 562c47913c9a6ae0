"""Writers of the built-in world, or of any labeled pictures, in the layouts of public datasets.

The readers in `jaxsim.vision.datasets` return the labels exactly, or to the quantization that each writer states.
"""

from jaxsim.studies.rooms.export.labeled_pictures import Labeled, labeled
from jaxsim.studies.rooms.export.nyuv2_layout import nyu, nyud_mt
from jaxsim.studies.rooms.export.pascal_layouts import pascal_mt, voc
from jaxsim.studies.rooms.export.taskonomy_layout import taskonomy
from jaxsim.studies.rooms.export.writers import WRITERS, Writer, folder, write_world

__all__ = [
    "WRITERS",
    "Labeled",
    "Writer",
    "folder",
    "labeled",
    "nyu",
    "nyud_mt",
    "pascal_mt",
    "taskonomy",
    "voc",
    "write_world",
]
