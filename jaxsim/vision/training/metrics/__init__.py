"""Metrics over a dataset as running states: `start`, jittable `update` with each batch, and `result` on the host.

Each is a frozen record of three pure functions. Sums and counts are kept as pairs of floats (`totals`), so that neither
the number of pixels nor float32 moves a result by 1e-6.
"""

from jaxsim.vision.training.metrics.depth import DepthError
from jaxsim.vision.training.metrics.edges import EdgeError
from jaxsim.vision.training.metrics.normals import AngularError, angles
from jaxsim.vision.training.metrics.overlap import MeanIoU

__all__ = ["AngularError", "DepthError", "EdgeError", "MeanIoU", "angles"]
