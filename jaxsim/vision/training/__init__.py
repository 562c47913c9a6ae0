"""Training of networks on arrays or streams, with exact resumption, for one or many tasks.

Needs the `nn` extra; `import jaxsim` does not import this package. A task is just a name for a network, a loss and
arrays.
"""

from jaxsim.vision.training.loop import Fitted
from jaxsim.vision.training.optimizers import Sgd, adam
from jaxsim.vision.training.verbs import fit, fit_many, fit_stream

__all__ = ["Fitted", "Sgd", "adam", "fit", "fit_many", "fit_stream"]
