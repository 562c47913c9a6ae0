"""Many networks on many machines: a plan of blocks, each computed by a worker of any engine and stored as a file."""

from jaxsim.sweeps.progress import SweepStatus, sweep_status
from jaxsim.sweeps.verbs import sweep

__all__ = ["SweepStatus", "sweep", "sweep_status"]
