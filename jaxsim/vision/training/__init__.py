"""Training networks: seeded batches or a loader's, Adam or SGD, exact resumption, many tasks at once.

Needs the `nn` extra; `import jaxsim` leaves this package out. Nothing here knows what a task is: a task is a network,
a loss and arrays.
"""

from jaxsim.vision.training.loop import Fitted
from jaxsim.vision.training.optimizers import Sgd, adam
from jaxsim.vision.training.verbs import fit, fit_many, fit_stream

__all__ = ["Fitted", "Sgd", "adam", "fit", "fit_many", "fit_stream"]
