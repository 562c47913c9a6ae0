"""Training networks: seeded batches, Adam with cosine decay, exact resumption, many tasks at once.

Needs the `nn` extra; `import jaxsim` leaves this package out. Nothing here knows what a task is: a task is a network,
a loss and arrays.
"""

from jaxsim.training.fitting import Fitted, fit, fit_many

__all__ = ["Fitted", "fit", "fit_many"]
