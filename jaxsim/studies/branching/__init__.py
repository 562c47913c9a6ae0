"""Selection of the layer to branch from and the network to start from, predicted and trained (DDS 2020, RSA 2019).

Needs the `nn` extra; `import jaxsim` does not import this package.
"""

from jaxsim.studies.branching.augmentation import Augment
from jaxsim.studies.branching.branches import Branches, compare_layers
from jaxsim.studies.branching.cache import working
from jaxsim.studies.branching.data import Folder, Pictures, open_folder
from jaxsim.studies.branching.initializations import Transfer, compare_initializations
from jaxsim.studies.branching.networks import branch
from jaxsim.studies.branching.similarity import Probe, Recommendation, recommend
from jaxsim.studies.branching.tasks import KINDS, Task
from jaxsim.studies.branching.training_runs import Plan, evaluate, recipe, train

__all__ = [
    "KINDS",
    "Augment",
    "Branches",
    "Folder",
    "Pictures",
    "Plan",
    "Probe",
    "Recommendation",
    "Task",
    "Transfer",
    "branch",
    "compare_initializations",
    "compare_layers",
    "evaluate",
    "open_folder",
    "recipe",
    "recommend",
    "train",
    "working",
]
