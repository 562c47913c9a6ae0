"""The papers' experiments on the built-in world: each is one function from a `Setting` to an `Outcome`.

What is tested is whether the papers' claims hold on other networks, tasks and pictures; the numbers beside each other
are of different worlds and need not agree. No experiment tunes anything on measured transfer: the criterion of every
claim is fixed in its code.
"""

from jaxsim.reproduce.catalogue import EXPERIMENTS as EXPERIMENTS
from jaxsim.reproduce.catalogue import Experiment as Experiment
from jaxsim.reproduce.catalogue import run as run
from jaxsim.reproduce.catalogue import summary as summary
from jaxsim.reproduce.choices import selection as selection
from jaxsim.reproduce.layers import depth as depth
from jaxsim.reproduce.layers import layer_types as layer_types
from jaxsim.reproduce.measuring import grid as grid
from jaxsim.reproduce.measuring import methods as methods
from jaxsim.reproduce.novelty import new_task as new_task
from jaxsim.reproduce.outcomes import Outcome as Outcome
from jaxsim.reproduce.sampling import images as images
from jaxsim.reproduce.sampling import subsets as subsets
from jaxsim.reproduce.settings import Setting as Setting
from jaxsim.reproduce.settings import setting as setting
from jaxsim.reproduce.sizing import sizes as sizes
from jaxsim.reproduce.sizing import small as small
from jaxsim.reproduce.staging import stages as stages
from jaxsim.reproduce.taxonomies import rsa_matrix as rsa_matrix
from jaxsim.reproduce.taxonomies import trees as trees
from jaxsim.reproduce.workshop import Workshop as Workshop
from jaxsim.reproduce.workshop import recipe_of as recipe_of
