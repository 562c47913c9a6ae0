"""Memory budget: networks are compared block by block when their maps do not fit together."""

from pathlib import Path

import jax
import numpy as np

from jaxsim.measures import Measure
from jaxsim.protocols import ComparatorCapabilities, declared

GIB = 2**30


def default_budget() -> float:
    """Default budget in bytes.

    60 % of the accelerator's memory, half of what the host has available, or 8 GiB where the host does not say.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.6 * stats["bytes_limit"]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 0.5 * 1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):
        return 8.0 * GIB


def map_bytes(measures: tuple[Measure, ...], images: int, itemsize: int) -> int:
    """Bytes of one network's embedded maps."""
    comparators = [declared(m.compare, ComparatorCapabilities) for m in measures]
    whole = [own.embed is None or own.reads_diagonal for own in comparators]
    return sum((images**2 if w else images * (images - 1) // 2) * itemsize for w in whole)


def block_size(measures: tuple[Measure, ...], count: int, images: int, dtype: np.dtype, budget: float | None) -> int:
    """Number of networks, of `count`, that fit in a block where two blocks are held at once.

    Raises:
        ValueError: not even two networks fit.
    """
    stated = budget is not None
    budget = default_budget() if budget is None else budget
    each = map_bytes(measures, images, dtype.itemsize)
    working = 6 * images**2 * dtype.itemsize
    if count * each + working <= budget:
        return count
    fit = int((budget - working) // (2 * each))
    if fit < 1 and not stated:
        return 1
    if fit < 1:
        need = (2 * each + working) / GIB
        raise ValueError(
            f"a memory budget of {budget / GIB:.3g} GiB is too small for one tile: two networks' maps of {images} "
            f"images need {need:.3g} GiB."
        )
    return fit
