"""One compiled gradient step on plain dicts, for one task or a stack of tasks."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxsim.vision.training.optimizers import Optimizer, adam

State = dict[str, Any]
"""`weights` (nnx.Param), `rest` (all other variables) and `optimizer`: dicts of arrays and optax's records."""


def stacks_tasks() -> bool:
    """Whether tasks share one vmapped step, as they do on accelerators.

    XLA's CPU backend turns it into a grouped convolution, several times slower than one step per task.
    """
    return jax.default_backend() != "cpu"


def initial(
    network: nnx.Module, learning_rate: float, steps: int, optimizer: Optimizer = adam
) -> tuple[nnx.GraphDef, State]:
    """The network's structure in training mode, and a copy of its variables with a fresh optimizer state."""
    network = nnx.clone(network)
    network.train()
    graph, weights, rest = nnx.split(network, nnx.Param, ...)
    plain = jax.tree.map(jnp.array, {"weights": nnx.to_pure_dict(weights), "rest": nnx.to_pure_dict(rest)})
    return graph, plain | {"optimizer": optimizer(learning_rate, steps).init(plain["weights"])}


def network_of(graph: nnx.GraphDef, state: State) -> Any:
    """The network with the state's variables, in evaluation mode: normalized by its running statistics."""
    network = nnx.merge(graph, state["weights"], state["rest"])
    network.eval()
    return network


def gradient(graph: nnx.GraphDef, loss: Callable, inputs: str | int) -> Callable:
    """A function of (state, batch) that returns the loss, its gradient and the other variables after the step.

    Images of unsigned bytes are divided by 255 on the device.
    """

    def value(weights, rest, batch):
        prediction, rest = _applied(graph, weights, rest, batch[inputs])
        return loss(prediction, batch), rest

    def of(state, batch):
        (scalar, rest), slopes = jax.value_and_grad(value, has_aux=True)(state["weights"], state["rest"], batch)
        return scalar, slopes, rest

    return of


def stacked_gradient(graph: nnx.GraphDef, losses: Sequence[Callable], inputs: str | int, shared: frozenset) -> Callable:
    """As `gradient` for a stack of tasks: their networks are vmapped, and each prediction goes to its task's loss.

    Args:
        graph: structure of every task's network.
        losses: functions of (prediction, batch), one per task.
        inputs: name of the array that is the networks' input.
        shared: names of the arrays that all tasks share; the others are stacked.
    """

    def value(weights, rest, batch):
        applied = jax.vmap(functools.partial(_applied, graph), in_axes=(0, 0, None if inputs in shared else 0))
        predictions, rest = applied(weights, rest, batch[inputs])
        scalars = []
        for i, loss in enumerate(losses):
            own = {name: values if name in shared else values[i] for name, values in batch.items()}
            scalars.append(loss(jax.tree.map(lambda leaf, i=i: leaf[i], predictions), own))
        # the sum gives every task its own gradient: no task's weights affect another's loss
        return sum(scalars), (jnp.stack(scalars), rest)

    def of(state, batch):
        (_, (scalars, rest)), slopes = jax.value_and_grad(value, has_aux=True)(state["weights"], state["rest"], batch)
        return scalars, slopes, rest

    return of


def _applied(graph, weights, rest, images):
    """The network's prediction, and its other variables afterwards."""
    network = nnx.merge(graph, weights, rest)
    prediction = network(images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images)
    return prediction, nnx.to_pure_dict(nnx.state(network, nnx.Not(nnx.Param)))


@functools.lru_cache(maxsize=128)
def compiled(
    graph: nnx.GraphDef,
    losses: tuple[Callable, ...],
    inputs: str | int,
    learning_rate: float,
    steps: int,
    shared: frozenset | None = None,
    optimizer: Optimizer = adam,
) -> Callable:
    """Compile the step (state, batch) -> (state, loss); the loss is NaN if its gradient is not finite.

    The state is donated: its arrays cannot be used after the call.

    Args:
        graph: the network's structure.
        losses: functions of (prediction, batch), one per task.
        inputs: name of the array that is the network's input.
        learning_rate: the highest rate.
        steps: length of the whole run.
        shared: for a stack of tasks, names of the arrays that all tasks share; None for one task.
        optimizer: the optimizer of the run.
    """
    descent = optimizer(learning_rate, steps)

    def moved(state, scalar, slopes, rest):
        changes, memory = descent.update(slopes, state["optimizer"], state["weights"])
        weights = optax.apply_updates(state["weights"], changes)
        finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(slopes)])
        scalar = jnp.where(jnp.all(finite), scalar, jnp.nan)
        return {"weights": weights, "rest": rest, "optimizer": memory}, scalar

    if shared is None:
        (loss,) = losses
        slopes_of, move = gradient(graph, loss, inputs), moved
    else:
        slopes_of, move = stacked_gradient(graph, losses, inputs, shared), jax.vmap(moved)

    def step(state, batch):
        return move(state, *slopes_of(state, batch))

    return jax.jit(step, donate_argnums=0)
