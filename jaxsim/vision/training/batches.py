"""Batches that depend on the key and the step alone, cut from arrays on the host."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Data = Mapping[str, Any] | Sequence[Any]
"""Arrays with one row an image: a dict that has `images`, or a tuple whose first are the images."""


def checked(task: str, data: Data, batch: int, seen: dict[int, np.ndarray]) -> dict[Any, np.ndarray]:
    """The arrays by key or position, on the host; `seen` keeps one array for each object given, over all tasks.

    Raises:
        ValueError: there are no images, lengths differ, or there are fewer rows than a batch takes.
    """
    items = data.items() if isinstance(data, Mapping) else enumerate(data)
    arrays = {name: seen.setdefault(id(values), np.asarray(values)) for name, values in items}
    if images_of(data) not in arrays:
        raise ValueError(f"The data of task {task!r} have no images: give a dict with 'images', or a tuple.")
    shapes = {name: values.shape for name, values in arrays.items()}
    if any(not shape for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(f"The data of task {task!r} differ in number of rows: {shapes}.")
    rows = shapes[images_of(data)][0]
    if not 1 <= batch <= rows:
        raise ValueError(f"A batch of {batch} cannot be drawn from the {rows} rows of task {task!r}.")
    return arrays


def images_of(data: Data) -> str | int:
    """Where the network's input is among the arrays."""
    return "images" if isinstance(data, Mapping) else 0


@functools.partial(jax.jit, static_argnames=("rows", "batch"))
def rows_of_steps(key: jax.Array, steps: jax.Array, *, rows: int, batch: int) -> jax.Array:
    """Rows of each step's batch, `(steps, batch)`: distinct, and a function of `fold_in(key, step)` alone."""

    def of_step(step):
        return lax.top_k(jax.random.uniform(jax.random.fold_in(key, step), (rows,), jnp.float32), batch)[1]

    return lax.map(of_step, steps)
