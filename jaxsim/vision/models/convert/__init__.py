"""Conversion of public checkpoints: `from_checkpoint` reads one, `models.to_safetensors` writes it.

Tables (`name_tables`) map the names of each family of checkpoints; any tensor that does not fit them is an error.
"""

from jaxsim.vision.models.convert.assignment import Conversion, Misfit, fill, from_checkpoint
from jaxsim.vision.models.convert.checkpoint_files import read_checkpoint
from jaxsim.vision.models.convert.name_tables import NAMINGS, Naming

__all__ = ["NAMINGS", "Conversion", "Misfit", "Naming", "fill", "from_checkpoint", "read_checkpoint"]
