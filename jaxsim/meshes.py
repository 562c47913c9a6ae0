"""Functions on arrays that are sharded over a mesh with explicit axes."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import NamedSharding, PartitionSpec


def automatic(core: Callable) -> Callable:
    """Let XLA divide a program's work, even if the axes of the arrays' mesh are explicit.

    Each device then has the full results.
    """

    @functools.wraps(core)
    def call(*args):
        leaves, tree = jax.tree.flatten(args)
        arrays = {k: leaf for k, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
        meshes = (jax.typeof(a).sharding.mesh for a in arrays.values())
        mesh = next((m for m in meshes if m.explicit_axes), None)
        if mesh is None:
            return core(*args)

        def run(arrays):
            return core(*tree.unflatten([arrays.get(k, leaf) for k, leaf in enumerate(leaves)]))

        return jax.sharding.auto_axes(run, out_sharding=NamedSharding(mesh, PartitionSpec()))(arrays)

    return call
