"""The papers' experiments on the built-in world: each is one function from a `Setting` to an `Outcome`.

They test whether the papers' claims hold on other networks, tasks and pictures; the papers' numbers and ours come from
different worlds and need not agree. No experiment tunes anything on measured transfer: the criterion of every
claim is fixed in its code. `run` runs experiments by name; the functions are in `EXPERIMENTS`.
"""

from jaxsim.studies.reproduce.catalog import EXPERIMENTS, Experiment, run, summary
from jaxsim.studies.reproduce.model_cache import ModelCache, recipe_of
from jaxsim.studies.reproduce.settings import Outcome, Setting, setting

__all__ = ["EXPERIMENTS", "Experiment", "Outcome", "Setting", "ModelCache", "recipe_of", "run", "setting", "summary"]
