"""The engine: the one place where the similarity path batches, compiles and chunks."""

from jaxsim.engine.ceilings import noise_ceiling
from jaxsim.engine.verbs import affinity, compare_maps, maps

__all__ = ["affinity", "compare_maps", "maps", "noise_ceiling"]
