"""Work divided among devices: each runs the program of one device on its share of the networks or resamples.

Programs are written for a share, with `axis`, the name of the mesh axis, or None where one device has all. Three
functions here are what they know of it: `whole` joins what the devices found, `total` adds it up, and `cross` compares
every network with every other while the columns go around.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsim.foreign_arrays import traced
from jaxsim.statistics.checks import shown

AXIS = "share"
WHOLE, SHARES = P(), P(AXIS)
"""What every device holds all of, and what is divided along the first axis."""
EVERY = "all"
"""All devices of all processes."""


def mesh_of(devices: Any, *arrays: Any) -> Mesh | None:
    """Mesh of one axis over the devices, or None for the device where the arrays are.

    Args:
        devices: number of this process's devices, devices, a mesh, whose devices are taken in its order, "all" for
            those of all processes, or None for all accelerators of this process, if there are several and no array is
            on a device already, from where its share would go to the others by way of the host.
        arrays: features.

    Raises:
        TypeError: it is something else, or JAX is tracing.
        ValueError: there are not so many devices, none, or one of them twice.
    """
    if isinstance(devices, bool) or not isinstance(devices, int | np.integer | str | Mesh | Sequence | None):
        raise TypeError(f'devices must be a number, a list of devices, a mesh or "all", not {shown(devices)}.')
    if devices is None:
        there = any(isinstance(a, jax.Array) for a in jax.tree.leaves(arrays))  # traced ones too
        devices = [] if there or jax.default_backend() == "cpu" else jax.local_devices()
        return _over(devices) if len(devices) > 1 else None
    if isinstance(devices, int | np.integer) and devices == 1:
        return None
    if traced(*arrays):
        raise TypeError(
            "devices has no effect inside jit, where the sharding of the features divides the work; leave it out."
        )
    if isinstance(devices, int | np.integer):
        here = jax.local_devices()
        if not 1 <= devices <= len(here):
            more = " To split a CPU into N devices, set JAX_NUM_CPU_DEVICES=N in the environment." * (
                here[0].platform == "cpu"
            )
            raise ValueError(
                f"devices must be between 1 and {len(here)}, the number in this process, not {devices}.{more}"
            )
        return _over(here[:devices])
    if isinstance(devices, str):
        if devices != EVERY:
            raise ValueError(f'devices must be a number, a list of devices, a mesh or "all", not {shown(devices)}.')
        return _over(jax.devices())
    given = [*devices.devices.flat] if isinstance(devices, Mesh) else [*devices]
    if odd := [d for d in given if not isinstance(d, jax.Device)]:
        raise TypeError(f"devices must hold devices such as jax.devices()[0], not {shown(odd[0])}.")
    if not given or len(set(given)) < len(given):
        raise ValueError("devices lists a device twice." if given else "devices is empty.")
    return _over(given)


def _over(devices) -> Mesh:
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def count(mesh: Mesh | None) -> int:
    """Number of devices."""
    return 1 if mesh is None else mesh.size


def local_count(mesh: Mesh | None) -> int:
    """Number of devices of this process."""
    return 1 if mesh is None else len(mesh.local_devices)


def divided(core: Callable, mesh: Mesh | None, specs: tuple[Any, ...]) -> Callable:
    """The function of arguments so specified, run by every device on its shares; results are whole.

    Args:
        core: takes the name of the axis, or None, before the arguments.
        mesh: devices, or None.
        specs: `WHOLE` or `SHARES` for each argument, or trees of them.
    """
    if mesh is None:
        return lambda *args: core(None, *args)
    return jax.shard_map(
        lambda *args: core(AXIS, *args), mesh=mesh, in_specs=specs, out_specs=WHOLE, axis_names={AXIS}, check_vma=False
    )


def whole(tree: Any, axis: str | None) -> Any:
    """The shares of all devices one after another, on each of them."""
    if axis is None:
        return tree
    return jax.tree.map(lambda a: lax.all_gather(a, axis, tiled=True), tree)


def total(tree: Any, axis: str | None) -> Any:
    """Sums over the devices."""
    return tree if axis is None else lax.psum(tree, axis)


def cross(block: Callable, a: Any, b: Any, axis: str | None) -> Any:
    """Scores `(S, T)` of all rows with all columns from `block(a, b)`, whole on each device.

    The columns' share goes from device to device, so that each holds two of them beside its own rows.
    """
    if axis is None:
        return block(a, b)
    size, me = lax.axis_size(axis), lax.axis_index(axis)
    around = [(k, (k + 1) % size) for k in range(size)]

    def step(b, _):
        return jax.tree.map(lambda v: lax.ppermute(v, axis, around), b), block(a, b)

    found = lax.scan(step, b, length=size)[1]  # the columns of device k came at step me - k
    found = found[(me - jnp.arange(size)) % size]
    return whole(jnp.moveaxis(found, 0, 1).reshape(found.shape[1], -1), axis)


def put(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays that are the same on every device of a mesh; without one, they stay where they are."""
    if mesh is None:
        return tree
    place = NamedSharding(mesh, WHOLE)

    def one(a):
        if jnp.issubdtype(getattr(a, "dtype", float), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(a)), impl=jax.random.key_impl(a))
        a = np.asarray(a)
        return jax.make_array_from_callback(a.shape, place, lambda index: a[index])

    return jax.tree.map(one, tree)


def put_along(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """The array divided along its first axis."""
    each = len(array) // mesh.size
    return put_shares(array.shape, lambda k: array[k * each : (k + 1) * each], mesh)


def put_shares(shape: tuple[int, ...], made: Callable[[int], np.ndarray], mesh: Mesh) -> jax.Array:
    """Array of this shape whose share of device k is `made(k)`; each process makes those of its own devices."""
    each = shape[0] // mesh.size
    place = NamedSharding(mesh, SHARES)
    return jax.make_array_from_callback(shape, place, lambda index: made(_start(index) // each))


def _start(index: Any) -> int:
    return index[0].start or 0


def on_one(tree: Any, mesh: Mesh | None) -> Any:
    """Results on the default device, as of a call without a mesh."""
    return tree if mesh is None else jax.tree.map(lambda a: jax.device_put(np.asarray(a)), tree)
