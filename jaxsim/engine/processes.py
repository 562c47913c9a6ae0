"""One problem on several processes of `jax.distributed.initialize`: each gives the networks that it has read.

What all must agree on, such as names, shapes and budgets, is exchanged before the work begins; features are not.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxsim.engine.devices import mesh_of
from jaxsim.inputs import Elsewhere, Networks, refuse_repeated_names


def several(mesh: Mesh | None) -> bool:
    """Whether the devices belong to more than one process.

    Raises:
        ValueError: they belong to some processes of more; those of all take part, or of this one.
    """
    if mesh is None or not mesh.is_multi_process:
        return False
    if len({d.process_index for d in mesh.devices.flat}) < jax.process_count():
        raise ValueError('devices covers only some of the processes; give "all", or the devices of this process.')
    return True


def divide(x: Networks, y: Networks | None, devices: Any) -> tuple[Networks, Networks | None, Mesh | None]:
    """The networks of rows and columns of all processes that take part, and the mesh of `devices.mesh_of`."""
    mesh = mesh_of(devices, x.arrays, y and y.arrays)
    return joined(x, mesh), y and joined(y, mesh), mesh


def joined(nets: Networks, mesh: Mesh | None) -> Networks:
    """The networks of all processes, in the order of these; those of others are `Elsewhere`.

    Raises:
        ValueError: two processes have a network of one name, or ids differ.
        RuntimeError: another process stopped.
    """
    if not several(mesh):
        return nets
    arrays = [nets.arrays[k] for k in range(len(nets.names))]
    ids = None if nets.ids is None else [hashlib.sha256("\0".join(own).encode()).hexdigest() for own in nets.ids]
    own = {
        "names": nets.names,
        "shapes": nets.shapes,
        "types": [np.dtype(a.dtype).str for a in arrays],
        "careful": nets.careful,
        "ids": ids,
        "condensed": nets.condensed,
    }
    everyone = [json.loads(text) for text in _exchanged(json.dumps(own))]
    if len({digest for one in everyone for digest in one["ids"] or [None]}) > 1:
        raise ValueError("processes have different image ids, or a different order of them; give the same ids to all.")
    names = tuple(name for one in everyone for name in one["names"])
    refuse_repeated_names(names, "the processes' features")
    made: list[Any] = []
    for process, one in enumerate(everyone):
        if process == jax.process_index():
            made += arrays
            continue
        for k, (shape, dtype) in enumerate(zip(one["shapes"], one["types"], strict=True)):
            made.append(Elsewhere(tuple(shape), np.dtype(dtype), process, k in one["careful"]))
    rows = {a.shape[0] for a in made}
    if len(rows) > 1:
        raise ValueError(
            f"processes have features of {min(rows)} and of {max(rows)} images; give the same images to all."
        )
    labels = nets.ids and (nets.ids[0],) * len(names)
    condensed = any(one["condensed"] for one in everyone)
    return dataclasses.replace(nets, names=names, arrays=tuple(made), ids=labels, condensed=condensed)


def least(value: float, mesh: Mesh | None) -> float:
    """The least of the processes' values."""
    return min(float(text) for text in _exchanged(repr(value))) if several(mesh) else value


def _exchanged(text: str) -> list[str]:
    """The texts of all processes, in their order."""
    with lost_processes():
        data = np.frombuffer(text.encode(), np.uint8)
        sizes = np.ravel(multihost_utils.process_allgather(np.asarray([len(data)], np.int32)))
        padded = np.zeros(max(sizes), np.uint8)
        padded[: len(data)] = data
        found = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(found, sizes.tolist(), strict=True)]


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Say in one sentence that another process stopped.

    Raises:
        RuntimeError: in place of that of a collective operation.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, multihost_utils.ProcessFailureError) as error:
        if jax.process_count() == 1:
            raise
        raise RuntimeError(
            f"process {jax.process_index()} of {jax.process_count()} lost another, which stopped or did not make the "
            f"same call; see its messages, and restart all processes: {str(error).splitlines()[0]}"
        ) from error
