"""The engine: the one place where the similarity path batches, compiles and chunks."""

from jaxsim.engine.ceiling import noise_ceiling
from jaxsim.engine.verbs import affinity, compare_maps, cross_affinity, maps

__all__ = ["affinity", "compare_maps", "cross_affinity", "maps", "noise_ceiling"]
