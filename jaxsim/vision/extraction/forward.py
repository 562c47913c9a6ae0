"""Encoders prepared to run: the chosen layers, compiled over all devices at full precision."""

import contextlib
import dataclasses
import functools
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Num

from jaxsim import inputs
from jaxsim.vision import models
from jaxsim.vision.extraction.preprocessing import Preprocessing
from jaxsim.vision.models.weights import digest

Run = Callable[[Array], Mapping[str, Any]]
"""Function from a batch of inputs `(b, h, w, c)` to arrays `(b, ..., k)` by layer."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ready:
    """An encoder that is ready to run.

    Attributes:
        preprocessing: preprocessing of its pictures.
        run: function that returns the chosen layers.
        shapes: shape of one picture's features by layer.
        weights: SHA-256 of its weights, or the name of a function, whose weights are unknown.
    """

    preprocessing: Preprocessing
    run: Run
    shapes: dict[str, tuple[int, ...]]
    weights: str


@functools.cache
def over_devices() -> tuple[NamedSharding, NamedSharding]:
    """Shardings of a batch, split over all devices, and of weights, replicated."""
    devices = jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())


@functools.partial(jax.jit, static_argnums=0)
def prepare(preprocessing: Preprocessing, views: Num[Array, "b h w 3"]) -> Float[Array, "b h w c"]:
    """Apply the device part of a preprocessing."""
    return preprocessing(views)


def input_shape(preprocessing: Preprocessing, view: np.ndarray, batch: int) -> tuple[int, ...]:
    """Shape `(b, h, w, c)` of a batch of such views after a preprocessing."""
    views = jax.ShapeDtypeStruct((batch, *view.shape), view.dtype)
    return jax.eval_shape(functools.partial(prepare, preprocessing), views).shape


def ready(
    name: str,
    encoder: Any,
    preprocessing: Preprocessing,
    view: np.ndarray,
    batch: int,
    layers: Sequence[str],
    pool: bool,
) -> Ready:
    """Check an encoder and choose its layers.

    Args:
        name: name of the encoder, for messages.
        encoder: an `nnx.Module` with `layers(x)`, which is compiled; or a function from a batch to arrays by layer,
            called directly (with sharded arrays if it is jitted).
        preprocessing: preprocessing of its pictures.
        view: a picture in the preprocessing's frame, `(h, w, 3)`.
        batch: pictures per batch.
        layers: layer names, in which `*` matches any text; empty for the last layer.
        pool: average over positions.

    Raises:
        TypeError: the encoder cannot be called, or does not return arrays by name.
        ValueError: it does not accept such pictures, or has no such layer.
    """
    shape = input_shape(preprocessing, view, batch)
    if isinstance(encoder, nnx.Module):
        return _module(name, encoder, preprocessing, shape, layers, pool)
    if not callable(encoder):
        raise TypeError(f"encoder {name!r} has type {type(encoder).__name__}; it must be a network or a function.")
    first = jnp.broadcast_to(prepare(preprocessing, jnp.asarray(view)[None]), shape)
    return _function(name, encoder, preprocessing, first, layers, pool)


@contextlib.contextmanager
def refusing(name: str, shape: Sequence[int]) -> Iterator[None]:
    """Turn the encoder's errors into one sentence that states its input."""
    try:
        yield
    except (ValueError, TypeError) as error:
        reason = textwrap.shorten(str(error).split("\n")[0], 300)
        size = " x ".join(map(str, shape[1:]))
        raise ValueError(f"encoder {name!r} does not accept pictures of {size}: {reason}") from error


def _module(name, encoder, preprocessing, shape, layers, pool) -> Ready:
    encoder = models.fold(encoder)
    encoder.eval()
    weights = digest(encoder)
    network = models.for_inference(encoder)
    with refusing(name, shape):
        given = models.layer_shapes(network, shape)
    wanted = chosen(name, list(given), layers)
    shapes = {layer: _pooled_shape(given[layer][1:], pool) for layer in wanted}
    graph, state = nnx.split(network)
    run = functools.partial(_features, graph, jax.device_put(state, over_devices()[1]), wanted, pool)
    return Ready(preprocessing, run, shapes, weights)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _features(graph: Any, state: Any, layers: tuple[str, ...], pool: bool, x: Array) -> dict[str, Array]:
    with jax.default_matmul_precision("highest"):
        values = models.all_layers(nnx.merge(graph, state), x)
    return {layer: _pooled(values[layer].astype(jnp.float32), pool) for layer in layers}


def _function(name, encoder, preprocessing, first, layers, pool) -> Ready:
    place = over_devices()[0] if isinstance(encoder, jax.stages.Wrapped) else jax.local_devices()[0]
    given = _called(name, encoder, place, first)
    wanted = chosen(name, list(given), layers)
    run = functools.partial(_chosen_of_function, name, encoder, place, wanted, pool)
    shapes = {layer: _pooled_shape(given[layer].shape[1:], pool) for layer in wanted}
    text = getattr(encoder, "__qualname__", type(encoder).__qualname__)
    return Ready(preprocessing, run, shapes, f"function {text}")


def _chosen_of_function(name, encoder, place, layers, pool, x) -> dict[str, Array]:
    values = _called(name, encoder, place, x)
    lost = [layer for layer in layers if layer not in values]
    if lost:
        raise ValueError(f"encoder {name!r} returned layer {lost[0]!r} for one batch but not for another.")
    return {layer: _pooled(values[layer], pool) for layer in layers}


def _called(name: str, encoder: Any, place: Any, x: Array) -> dict[str, np.ndarray]:
    """Call a function on a batch and copy its results: another library may reuse their memory."""
    with refusing(name, x.shape), jax.default_matmul_precision("highest"):
        values = encoder(jax.device_put(x, place))
    if not isinstance(values, Mapping):
        raise TypeError(f"encoder {name!r} returned a {type(values).__name__}, not arrays by layer name.")
    with refusing(name, x.shape):
        found = inputs.networks(values, what=f"what encoder {name!r} gives")
    arrays = {layer: np.array(array, np.float32) for layer, array in zip(found.names, found.arrays, strict=True)}
    for layer, array in arrays.items():
        if len(array) != len(x):
            raise ValueError(f"encoder {name!r} returned layer {layer!r} of shape {array.shape} for {len(x)} pictures.")
    return arrays


def chosen(name: str, there: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted layers in the encoder's order, or the last one if none is named.

    Raises:
        ValueError: there is no such layer; the message lists those that exist.

    >>> chosen("net", ["stem", "block1", "block2", "code"], ["block*"])
    ('block1', 'block2')
    """
    if unknown := [pattern for pattern in wanted if not models.matching(there, [pattern])]:
        raise ValueError(f"encoder {name!r} has no layer {unknown[0]!r}; it has {', '.join(there)}.")
    return models.matching(there, wanted) or tuple(there[-1:])


def _pooled(values: Any, pool: bool) -> Any:
    """Average over positions, all axes between the first and the last."""
    return values.mean(tuple(range(1, values.ndim - 1))) if pool and values.ndim > 2 else values


def _pooled_shape(shape: Sequence[int], pool: bool) -> tuple[int, ...]:
    return tuple(shape[-1:] if pool else shape)
