"""Choosing the layer to branch from and the network to start from, and training them to check (DDS 2020, RSA 2019).

Needs the `nn` extra; `import jaxsim` leaves this package out.
"""

from jaxsim.branching.augmentation import Augment
from jaxsim.branching.branches import Branches, compare_layers
from jaxsim.branching.choosing import Recommendation, recommend
from jaxsim.branching.folders import LAYOUTS, Folder, Layout, Pictures, opened
from jaxsim.branching.initialisations import Transfer, compare_initialisations
from jaxsim.branching.networks import branch
from jaxsim.branching.recipes import recipe
from jaxsim.branching.running import Plan, judged, trained
from jaxsim.branching.similarity import Probe
from jaxsim.branching.tasks import KINDS, Task
from jaxsim.branching.work import working

__all__ = [
    "KINDS",
    "LAYOUTS",
    "Augment",
    "Branches",
    "Folder",
    "Layout",
    "Pictures",
    "Plan",
    "Probe",
    "Recommendation",
    "Task",
    "Transfer",
    "branch",
    "compare_initialisations",
    "compare_layers",
    "judged",
    "opened",
    "recipe",
    "recommend",
    "trained",
    "working",
]
