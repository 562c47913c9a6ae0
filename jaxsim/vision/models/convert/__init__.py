"""Weights of public networks, from the files they come in to ours: `from_checkpoint`, then `to_safetensors`.

Tables (`naming`) say what each family of checkpoints calls the layers; everything that does not fit them is an error.
"""

from jaxsim.vision.models.convert.assignment import Conversion, Misfit, fill, from_checkpoint
from jaxsim.vision.models.convert.checkpoint_files import read_checkpoint
from jaxsim.vision.models.convert.name_tables import NAMINGS, Naming

__all__ = ["NAMINGS", "Conversion", "Misfit", "Naming", "fill", "from_checkpoint", "read_checkpoint"]
