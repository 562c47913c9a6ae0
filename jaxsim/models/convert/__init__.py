"""Weights of public networks, from the files they come in to ours: `from_checkpoint`, then `to_safetensors`.

Tables (`naming`) say what each family of checkpoints calls the layers; everything that does not fit them is an error.
"""

from jaxsim.models.convert.matching import Conversion, Misfit, fill, from_checkpoint
from jaxsim.models.convert.naming import NAMINGS, Naming
from jaxsim.models.convert.reading import read_checkpoint

__all__ = ["NAMINGS", "Conversion", "Misfit", "Naming", "fill", "from_checkpoint", "read_checkpoint"]
