"""Where the batches of a run come from: arrays whose rows are drawn by key and step."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.io.jobs import sha256
from jaxsim.vision.training import batches

Cut = Callable[[Sequence[str], frozenset | None], Any]
"""One step's batch for these tasks: with `shared=None` the first task's; otherwise all tasks' stacked, arrays in
`shared` unstacked."""


class Feed(Protocol):
    """What the training loop asks of the batches."""

    images: int
    """In one step, over all tasks."""

    def alike(self, task: str) -> Any:
        """What tasks must have in common to be stacked, hashable."""
        ...

    def inputs(self, task: str) -> str | int:
        """Which of a batch's arrays the network is called with."""
        ...

    def shared(self, tasks: Sequence[str]) -> frozenset:
        """Names of the arrays that all these tasks hold as one object."""
        ...

    def block(self, begin: int, end: int) -> Iterator[Cut]:
        """One `Cut` a step, from step `begin` to `end` - 1."""
        ...

    def settings(self) -> dict[str, Any]:
        """What a checkpoint's run must have in common with this one, JSON types."""
        ...

    def state(self) -> Any:
        """Where the feed is, JSON types; None where the step says it all."""
        ...

    def go_to(self, state: Any) -> None:
        """Continue where `state` was taken."""
        ...


class Drawn:
    """Rows of arrays, drawn without replacement by `fold_in(key, step)` alone.

    Args:
        data: arrays by task, see `batches.Data`.
        batch: rows a step.
        key: typed random key.

    Raises:
        TypeError: the key is not typed.
        ValueError: data or batch do not fit.
    """

    def __init__(self, data: Mapping[str, batches.Data], batch: int, key: jax.Array):
        if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
            raise TypeError("key must be a typed key, as jax.random.key gives.")
        seen: dict[int, np.ndarray] = {}
        self.arrays = {task: batches.checked(task, values, batch, seen) for task, values in data.items()}
        self._inputs = {task: batches.images_of(values) for task, values in data.items()}
        self._batch, self._key = batch, key
        self.images = batch * len(data)

    def alike(self, task: str) -> Any:
        """Names, shapes and types."""
        return tuple((name, values.shape, values.dtype) for name, values in self.arrays[task].items())

    def inputs(self, task: str) -> str | int:
        """The images' key or place."""
        return self._inputs[task]

    def shared(self, tasks: Sequence[str]) -> frozenset:
        """Arrays that are one object in all tasks."""
        first = self.arrays[tasks[0]]
        return frozenset(name for name in first if all(self.arrays[task][name] is first[name] for task in tasks))

    def block(self, begin: int, end: int) -> Iterator[Cut]:
        """Batches of these steps; the rows of all are drawn together."""
        lengths = {len(values) for arrays in self.arrays.values() for values in arrays.values()}
        steps = jnp.arange(begin, end)
        drawn = {
            n: np.asarray(batches.rows_of_steps(self._key, steps, rows=n, batch=self._batch)) for n in sorted(lengths)
        }
        for i in range(end - begin):
            yield functools.partial(self._cut, {n: places[i] for n, places in drawn.items()}, {})

    def _cut(
        self, drawn: Mapping[int, np.ndarray], done: dict[int, Any], tasks: Sequence[str], shared: frozenset | None
    ) -> dict[Any, jax.Array]:
        """Rows on the device; an array is cut once for all tasks that hold it."""

        def rows(values):
            if id(values) not in done:
                done[id(values)] = jax.device_put(values[drawn[len(values)]])
            return done[id(values)]

        def stacked(name):
            held = [self.arrays[task][name] for task in tasks]
            return jax.device_put(np.stack([values[drawn[len(values)]] for values in held]))

        first = self.arrays[tasks[0]]
        apart = set() if shared is None else set(first) - shared
        return {name: stacked(name) if name in apart else rows(values) for name, values in first.items()}

    def settings(self) -> dict[str, Any]:
        """Batch, key, and of the data shapes and a SHA-256 of each array."""
        sums = {id(v): sha256(v) for arrays in self.arrays.values() for v in arrays.values()}
        shapes = {
            task: {str(name): [str(v.dtype), *v.shape, sums[id(v)]] for name, v in arrays.items()}
            for task, arrays in self.arrays.items()
        }
        key = [str(jax.random.key_impl(self._key)), *np.ravel(jax.random.key_data(self._key)).tolist()]
        return {"batch": self._batch, "key": key, "data": shapes}

    def state(self) -> None:
        """None: rows depend on the step alone."""

    def go_to(self, state: Any) -> None:
        """Nothing to do."""
