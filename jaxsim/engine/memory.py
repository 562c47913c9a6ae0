"""Memory budget: networks are compared block by block where their maps do not fit together, or refused."""

import contextlib
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsim.inputs import Networks
from jaxsim.measures import Measure
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.statistics.checks import is_number, shown

GIB = 2**30
MOST_PAIRS = np.iinfo(np.int32).max
"""Pairs of images that the integers of a device count."""


def available() -> float | None:
    """Bytes that the accelerator has left, or the host and the job in it; None where the host does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        left = 1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):
        return None
    return min(left, *of_job(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))


def of_job(groups: Path, root: Path) -> list[float]:
    """Bytes that control groups of this process leave it, as Slurm and containers set them; infinity at least.

    Args:
        groups: file that says which groups the process is in, `/proc/self/cgroup`.
        root: folder of all groups, `/sys/fs/cgroup`.
    """
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds not in ("", "memory"):
                continue
            top, most, held = root, "memory.max", "memory.current"
            if kinds:  # the first version of control groups
                top, most, held = root / kinds, "memory.limit_in_bytes", "memory.usage_in_bytes"
            for folder in itertools.accumulate(Path(path).parts[1:], Path.joinpath, initial=top):
                with contextlib.suppress(OSError, ValueError):
                    found.append(max(0.0, float((folder / most).read_text()) - _held(folder, held)))
    return found


def _held(folder, name):
    """Bytes of a control group, but for those of files, which make way."""
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return float((folder / name).read_text()) - sum(
        float(stat.get(f"{kind}_file", 0)) for kind in ("inactive", "active")
    )


def budget_of(memory: Any, devices: int = 1) -> float:
    """The stated budget in bytes of each device, or the default one.

    The default is 60 % of what the accelerator has left, half of what the host or its job has, or 8 GiB where it does
    not say. Devices of the host share its memory.

    Raises:
        ValueError: `memory` is no positive number.
    """
    if memory is not None:
        if not is_number(memory) or not 0 < memory < math.inf:
            raise ValueError(f"memory must be a positive number of bytes, not {shown(memory)}.")
        return float(memory)
    limit = available()
    if limit is None:
        return 8.0 * GIB
    return 0.5 * limit / devices if jax.default_backend() == "cpu" else 0.6 * limit


def map_bytes(measures: tuple[Measure, ...], images: int, itemsize: int, width: int | None = None) -> int:
    """Bytes of one network's embedded maps, or coordinates of at most `width` columns."""

    def entries(own):
        if own.coordinates:
            return images * min(images, width or images)
        return images**2 if own.embed is None or own.reads_diagonal else images * (images - 1) // 2

    return sum(entries(declared(m.compare, ComparatorCapabilities)) * itemsize for m in measures)


def working_bytes(images: int, itemsize: int, width: int | None = None) -> int:
    """Bytes of the arrays that the map of one network passes through, or coordinates of at most `width` columns."""
    return 6 * images * min(images, width or images) * itemsize


def widest(measures: tuple[Measure, ...], *groups: Networks | None) -> int | None:
    """Most features of a network, where all measures take coordinates; None where some takes maps `(n, n)`."""
    if not all(declared(m.compare, ComparatorCapabilities).coordinates for m in measures):
        return None
    return max(math.prod(shape[1:]) for nets in groups if nets for shape in nets.shapes)


def require(need: float, what: str, remedy: str = "") -> None:
    """Refuse work before it begins if the memory for it is not there; `remedy` ends the sentence.

    Raises:
        ValueError: naming the work, the memory that it needs and that there is.
    """
    limit = available()
    if limit is not None and need > limit:
        raise ValueError(f"{what} need {need / GIB:.3g} GiB of memory, and {limit / GIB:.3g} GiB are free{remedy}.")


def held_bytes(networks: int, each: int, images: int, itemsize: int, width: int | None = None) -> int:
    """Bytes of the maps of so many networks, `each` of one, while the last of them is made."""
    return networks * each + working_bytes(images, itemsize, width)


def require_maps(
    networks: int, each: int, images: int, itemsize: int, width: int | None = None, remedy: str = ""
) -> None:
    """Refuse maps that do not fit in memory together.

    Args:
        networks: how many.
        each: bytes that are held for one of them.
        images: number n of images.
        itemsize: bytes of a number.
        width: most columns, where they are coordinates.
        remedy: end of the sentence.

    Raises:
        ValueError: naming the memory that they need and that there is.
    """
    need = held_bytes(networks, each, images, itemsize, width)
    require(need, f"maps of {networks} networks and {images} images, held together,", remedy)


def require_resamples(
    count: int, measures: Sequence[Measure], x: Networks, y: Networks | None, copies: int = 2
) -> None:
    """Refuse resamples whose scores do not fit in memory, so many times; the resamples themselves are drawn by parts.

    Raises:
        ValueError: naming the memory that they need and that there is.
    """
    scores = len(x.names) * len((y or x).names)
    require(copies * count * scores * x.dtype.itemsize * len(measures), f"{count} resamples of {scores} scores")


def refuse_many_pairs(measure: Measure, images: int) -> None:
    """Refuse maps with more pairs of images than a device can count.

    Raises:
        ValueError: naming the measure, the pairs and the memory of one map.
    """
    pairs = images * (images - 1) // 2
    if pairs > MOST_PAIRS:
        size = map_bytes((measure,), images, 4) / GIB
        raise ValueError(
            f"{measure} of {images} images compares maps of {pairs} pairs, {size:.3g} GiB per network; "
            f"the limit is {MOST_PAIRS} pairs: use at most {(1 + math.isqrt(1 + 8 * MOST_PAIRS)) // 2} images."
        )


def block_size(
    measures: tuple[Measure, ...],
    count: int,
    images: int,
    dtype: np.dtype,
    memory: float | None,
    width: int | None = None,
    devices: int = 1,
) -> int:
    """Number of networks, of `count`, that fit in a block where two blocks are held at once.

    Of several devices, each holds its share of a block, and twice as much while columns go around.

    Raises:
        ValueError: not even two networks fit.
    """
    budget = budget_of(memory, devices)
    each, working = map_bytes(measures, *(own := (images, dtype.itemsize, width))), working_bytes(*own)
    around = 1 if devices == 1 else 3
    if -(-count // devices) * around * each + working <= budget:
        return count
    fit = devices * int((budget - working) // ((1 + around) * each))
    if fit >= 1:
        return fit
    need, what = (1 + around) * each + working, f"two networks' maps of {images} images"
    if memory is None:
        require(need, what)
        return 1
    short = f"a memory budget of {budget / GIB:.3g} GiB is too small for one tile"
    raise ValueError(f"{short}: {what} need {need / GIB:.3g} GiB.")
