"""Choosing the layer to branch from and the network to start from, and training them to check (DDS 2020, RSA 2019).

Needs the `nn` extra; `import jaxsim` leaves this package out.
"""

from jaxsim.branching.augmentation import Augment
from jaxsim.branching.branches import Branches
from jaxsim.branching.choosing import Recommendation, recommend
from jaxsim.branching.folders import LAYOUTS, Folder, opened
from jaxsim.branching.initialisations import Transfer
from jaxsim.branching.networks import branch
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
    "Plan",
    "Probe",
    "Recommendation",
    "Task",
    "Transfer",
    "branch",
    "judged",
    "opened",
    "recommend",
    "trained",
    "working",
]
