"""The papers' experiments on the built-in world: each is one function from a `Setting` to an `Outcome`.

What is tested is whether the papers' claims hold on other networks, tasks and pictures; the numbers beside each other
are of different worlds and need not agree. No experiment tunes anything on measured transfer: the criterion of every
claim is fixed in its code.
"""

from jaxsim.studies.reproduce.catalog import EXPERIMENTS as EXPERIMENTS
from jaxsim.studies.reproduce.catalog import Experiment as Experiment
from jaxsim.studies.reproduce.catalog import run as run
from jaxsim.studies.reproduce.catalog import summary as summary
from jaxsim.studies.reproduce.image_subsets import images as images
from jaxsim.studies.reproduce.image_subsets import subsets as subsets
from jaxsim.studies.reproduce.layers import depth as depth
from jaxsim.studies.reproduce.layers import layer_types as layer_types
from jaxsim.studies.reproduce.measure_comparison import grid as grid
from jaxsim.studies.reproduce.measure_comparison import methods as methods
from jaxsim.studies.reproduce.model_cache import ModelCache as ModelCache
from jaxsim.studies.reproduce.model_cache import recipe_of as recipe_of
from jaxsim.studies.reproduce.model_sizes import sizes as sizes
from jaxsim.studies.reproduce.model_sizes import small as small
from jaxsim.studies.reproduce.new_tasks import new_task as new_task
from jaxsim.studies.reproduce.outcomes import Outcome as Outcome
from jaxsim.studies.reproduce.settings import Setting as Setting
from jaxsim.studies.reproduce.settings import setting as setting
from jaxsim.studies.reproduce.source_selection import selection as selection
from jaxsim.studies.reproduce.task_trees import rsa_matrix as rsa_matrix
from jaxsim.studies.reproduce.task_trees import trees as trees
from jaxsim.studies.reproduce.training_stages import stages as stages
