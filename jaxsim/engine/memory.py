"""Keeping to a stated memory budget: networks are compared block by block when their maps do not fit together."""

import os

import jax

from jaxsim.engine.program import has_embedding
from jaxsim.inputs import Networks
from jaxsim.measures import Measure

GIB = 2**30


def default_budget() -> float:
    """Bytes to use when the caller states none: 60 % of the accelerator's memory, or half of what the host has free."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.6 * stats["bytes_limit"]
    return 0.5 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def map_bytes(measures: tuple[Measure, ...], images: int, itemsize: int) -> int:
    """Bytes that one network's embedded maps take."""
    half = [
        has_embedding(m) and type(m.compare).__name__ not in ("CentredCosine", "RootCentredCosine") for m in measures
    ]
    return sum((images * (images - 1) // 2 if h else images**2) * itemsize for h in half)


def block_size(measures: tuple[Measure, ...], nets: Networks, budget: float | None) -> int:
    """How many networks can be held at once, two blocks beside each other.

    Raises:
        ValueError: not even two networks fit.
    """
    budget = default_budget() if budget is None else budget
    itemsize = max(a.dtype.itemsize for a in nets.arrays)
    each = map_bytes(measures, nets.images, itemsize)
    working = 6 * nets.images**2 * itemsize
    total = len(nets.names)
    if total * each + working <= budget:
        return total
    fit = int((budget - working) // (2 * each))
    if fit < 1:
        need = (2 * each + working) / GIB
        raise ValueError(
            f"a memory budget of {budget / GIB:.3g} GiB is too small for one tile: two networks' maps of {nets.images} "
            f"images need {need:.3g} GiB."
        )
    return fit
