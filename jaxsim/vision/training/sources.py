"""Sources of training batches: arrays whose rows are drawn by key and step, and streams that read files."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsim.io.jobs import sha256
from jaxsim.statistics.checks import as_count, as_key

Data = Mapping[str, Any] | Sequence[Any]
"""Arrays with one row per image: a dict with the key `images`, or a tuple whose first entry is the images."""

Cut = Callable[[Sequence[str], frozenset | None], Any]
"""One step's batch for the given tasks: with `shared=None` the batch of the first task, otherwise the batches of all
tasks stacked, except for the arrays named in `shared`."""


class Source(Protocol):
    """The interface through which the training loop reads batches."""

    images: int
    """Images per step, summed over all tasks."""

    def alike(self, task: str) -> Any:
        """A hashable value that is equal for tasks whose batches can be stacked."""
        ...

    def inputs(self, task: str) -> str | int:
        """The name of the array that the network is called with."""
        ...

    def shared(self, tasks: Sequence[str]) -> frozenset:
        """Names of the arrays that are the same object in all of these tasks."""
        ...

    def block(self, begin: int, end: int) -> Iterator[Cut]:
        """One `Cut` per step, from step `begin` to `end` - 1."""
        ...

    def settings(self) -> dict[str, Any]:
        """Settings that a run and its checkpoints must agree on, as JSON types."""
        ...

    def state(self) -> Any:
        """The position in the source as JSON types, or None if it follows from the step."""
        ...

    def go_to(self, state: Any) -> None:
        """Continue from a saved `state`."""
        ...


class ArraySource:
    """Rows of arrays, drawn without replacement by `fold_in(key, step)` alone.

    Args:
        data: arrays by task.
        batch: rows per step.
        key: a random key or a seed.

    Raises:
        TypeError: the key is neither.
        ValueError: the batch is not a positive whole number, a task has no images, its arrays differ in length, or
            there are fewer rows than a batch needs.
    """

    def __init__(self, data: Mapping[str, Data], batch: int, key: jax.Array | int):
        batch, key = as_count(batch, "batch"), as_key(key)
        seen: dict[int, np.ndarray] = {}
        self.arrays = {task: _checked(task, values, batch, seen) for task, values in data.items()}
        self._inputs = {task: _images_of(values) for task, values in data.items()}
        self._batch, self._key = batch, key
        self.images = batch * len(data)

    def alike(self, task: str) -> Any:
        """Names, shapes and dtypes of the arrays."""
        return tuple((name, values.shape, values.dtype) for name, values in self.arrays[task].items())

    def inputs(self, task: str) -> str | int:
        """The key or position of the images."""
        return self._inputs[task]

    def shared(self, tasks: Sequence[str]) -> frozenset:
        """Names of the arrays that are the same object in all tasks."""
        first = self.arrays[tasks[0]]
        return frozenset(name for name in first if all(self.arrays[task][name] is first[name] for task in tasks))

    def block(self, begin: int, end: int) -> Iterator[Cut]:
        """Batches of these steps, whose rows are drawn in one call."""
        lengths = {len(values) for arrays in self.arrays.values() for values in arrays.values()}
        steps = jnp.arange(begin, end)
        drawn = {n: np.asarray(rows_of_steps(self._key, steps, rows=n, batch=self._batch)) for n in sorted(lengths)}
        for i in range(end - begin):
            yield functools.partial(self._cut, {n: places[i] for n, places in drawn.items()}, {})

    def _cut(
        self, drawn: Mapping[int, np.ndarray], done: dict[int, Any], tasks: Sequence[str], shared: frozenset | None
    ) -> dict[Any, jax.Array]:
        """Rows on the device; an array held by several tasks is cut once."""

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
        """The batch size, the key, and the shape and SHA-256 of each array."""
        sums = {id(v): sha256(v) for arrays in self.arrays.values() for v in arrays.values()}
        shapes = {
            task: {str(name): [str(v.dtype), *v.shape, sums[id(v)]] for name, v in arrays.items()}
            for task, arrays in self.arrays.items()
        }
        key = [str(jax.random.key_impl(self._key)), *np.ravel(jax.random.key_data(self._key)).tolist()]
        return {"batch": self._batch, "key": key, "data": shapes}

    def state(self) -> None:
        """None: the rows depend on the step alone."""

    def go_to(self, state: Any) -> None:
        """Do nothing."""


def _checked(task: str, data: Data, batch: int, seen: dict[int, np.ndarray]) -> dict[Any, np.ndarray]:
    """The arrays by key or position, on the host; `seen` keeps one array per object across all tasks."""
    items = data.items() if isinstance(data, Mapping) else enumerate(data)
    arrays = {name: seen.setdefault(id(values), np.asarray(values)) for name, values in items}
    if _images_of(data) not in arrays:
        raise ValueError(f"the data of task {task!r} have no images; give a dict with the key 'images', or a tuple.")
    shapes = {name: values.shape for name, values in arrays.items()}
    if any(not shape for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(f"the arrays of task {task!r} have different numbers of rows: {shapes}.")
    rows = shapes[_images_of(data)][0]
    if batch > rows:
        raise ValueError(f"a batch of {batch} cannot be drawn from the {rows} rows of task {task!r}.")
    return arrays


def _images_of(data: Data) -> str | int:
    """The key or position of the network's input."""
    return "images" if isinstance(data, Mapping) else 0


@functools.partial(jax.jit, static_argnames=("rows", "batch"))
def rows_of_steps(key: jax.Array, steps: jax.Array, *, rows: int, batch: int) -> jax.Array:
    """Distinct rows for the batch of each step, `(steps, batch)`, a function of `fold_in(key, step)` alone."""

    def of_step(step):
        return lax.top_k(jax.random.uniform(jax.random.fold_in(key, step), (rows,), jnp.float32), batch)[1]

    return lax.map(of_step, steps)


class Reader(Protocol):
    """Iterator of batches, dicts of arrays with the key `images`, that can save and restore its position."""

    def __next__(self) -> Mapping[str, Any]:
        """The next batch."""
        ...

    def get_state(self) -> Any:
        """The position as JSON types."""
        ...

    def set_state(self, state: Any) -> None:
        """Continue from a saved `state`."""
        ...


class Stream(Protocol):
    """An iterable whose iterators are `Reader`s, such as a `grain.IterDataset`."""

    def __iter__(self) -> Reader:
        """A reader that starts at the first batch."""
        ...


class StreamSource:
    """Batches of one task, read from a stream."""

    def __init__(self, stream: Stream):
        self._reader = iter(stream)
        self.images = 0

    def alike(self, task: str) -> Any:
        """The task itself: streams are never stacked."""
        return task

    def inputs(self, task: str) -> str:
        """The key of the images."""
        return "images"

    def shared(self, tasks: Sequence[str]) -> frozenset:
        """No arrays: there is one task."""
        return frozenset()

    def block(self, begin: int, end: int) -> Iterator[Cut]:
        """The next batches of the stream.

        Raises:
            ValueError: the stream ends early, or a batch has no images.
        """
        for step in range(begin, end):
            batch = next(self._reader, None)
            if batch is None:
                raise ValueError(f"the stream ended before step {step}; give a longer one, or use fewer steps.")
            if "images" not in batch:
                raise ValueError(f"the stream's batch of step {step} has no 'images'; it has {', '.join(batch)}.")
            self.images = len(batch["images"])
            yield functools.partial(self._whole, jax.device_put(dict(batch)))

    @staticmethod
    def _whole(batch: Any, tasks: Sequence[str], shared: frozenset | None) -> Any:
        return batch

    def settings(self) -> dict[str, Any]:
        """A note that the data came from a stream, which has no checksum."""
        return {"data": "a stream"}

    def state(self) -> Any:
        """The reader's position."""
        return self._reader.get_state()

    def go_to(self, state: Any) -> None:
        """Continue from a saved position."""
        self._reader.set_state(state)
