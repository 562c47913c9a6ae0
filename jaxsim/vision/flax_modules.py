"""Flax networks, NNX or Linen, compiled to return the outputs of layers."""

import contextlib
import functools
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from jaxsim.vision import layer_outputs
from jaxsim.vision.layer_outputs import Taken, Unsupported

Choose = Callable[[Sequence[str]], list[str]]
Call = Callable[[Any, Any], Any]
EVALUATION = {"train": False, "training": False, "deterministic": True}
"""Arguments of Linen modules that say whether they are training, and their values in evaluation."""


class Calls:
    """Outputs of the requested layers in the order of their calls, while a network is traced."""

    def __init__(self, wanted: Sequence[str], taken: Taken):
        self.wanted, self.taken = wanted, taken
        self.kept: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()

    def keep(self, layer: str, output: Any) -> None:
        """Keep the output of one call, pooled."""
        found = layer_outputs.arrays(
            layer, output, self.taken.patterns, lambda x: isinstance(x, jax.Array | np.ndarray)
        )
        self.kept.setdefault(layer, []).append({end: self._pooled(f"{layer}{end}", x) for end, x in found.items()})

    def _pooled(self, layer: str, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        if jnp.iscomplexobj(x):
            raise Unsupported(f"layer {layer!r} returns complex numbers; features must be real.")
        return jnp.asarray(layer_outputs.pooled(layer, x.astype(jnp.float32), self.taken, first=False), jnp.float32)

    def named(self) -> OrderedDict[str, Any]:
        """Arrays by layer; JAX would sort the keys of a plain dict."""
        return OrderedDict(layer_outputs.named(self.kept, self.wanted, self.taken.patterns))


@contextlib.contextmanager
def opened(
    model: Any, choose: Choose, taken: Taken, call: Call
) -> Iterator[tuple[Callable[[Any], dict[str, np.ndarray]], Callable[[], str]]]:
    """A function from images to arrays by layer, and one that returns a checksum of the weights."""
    prepared = _of_nnx if isinstance(model, nnx.Module) else _of_linen
    state, compute = prepared(model, choose, taken, call)
    program = jax.jit(compute)
    most = 0

    def run(images: Any) -> dict[str, np.ndarray]:
        nonlocal most
        images = jax.tree.map(_given, images)
        count = len(jax.tree.leaves(images)[0])
        most = max(most, count)
        with jax.default_matmul_precision("highest"):
            found = program(state, jax.tree.map(functools.partial(_filled, count=most), images))
        return {layer: np.asarray(x)[:count] if len(x) == most else np.asarray(x) for layer, x in found.items()}

    yield run, lambda: _digest(state)


def _given(x: Any) -> Any:
    x = x.detach().cpu().numpy() if hasattr(x, "detach") else x
    return x if isinstance(x, jax.Array) else np.asarray(x)


def _filled(x: Any, count: int) -> Any:
    """Images padded with the last one, so that a short batch needs no new compilation."""
    return x if len(x) == count else np.concatenate([x, np.repeat(np.asarray(x[-1:]), count - len(x), 0)])


def _of_nnx(model: nnx.Module, choose: Choose, taken: Taken, call: Call) -> tuple[Any, Callable[[Any, Any], Any]]:
    graph, state = nnx.split(model)
    network = nnx.merge(graph, state)
    network.eval()  # on a copy, which shares the arrays
    wanted = choose([name for name, one in _modules(network) if callable(one)])
    graph, state = nnx.split(network)

    def compute(state: Any, images: Any) -> OrderedDict[str, Any]:
        network = nnx.merge(graph, state)
        calls = Calls(wanted, taken)
        with _listening({id(one): (name, one) for name, one in _modules(network) if name in wanted}, calls):
            call(network, images)
        return calls.named()

    return state, compute


def _modules(network: nnx.Module) -> list[tuple[str, nnx.Module]]:
    """Modules inside a network by dotted name."""
    return sorted(
        ((".".join(map(str, path)), one) for path, one in nnx.iter_modules(network) if path), key=lambda x: x[0]
    )


@contextlib.contextmanager
def _listening(modules: Mapping[int, tuple[str, nnx.Module]], calls: Calls) -> Iterator[None]:
    """Record what these modules return: NNX has no hooks, so their classes' calls are wrapped during tracing."""
    kinds = {type(one): type(one).__dict__.get("__call__") for _, one in modules.values()}
    within: set[int] = set()  # a call that continues in a base class is one call

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __call__(self: Any, *given: Any, **named: Any) -> Any:
            if id(self) not in modules or id(self) in within:
                return original(self, *given, **named)
            within.add(id(self))
            try:
                output = original(self, *given, **named)
            finally:
                within.discard(id(self))
            calls.keep(modules[id(self)][0], output)
            return output

        return __call__

    originals = {kind: kind.__call__ for kind in kinds}
    try:
        for kind, original in originals.items():
            kind.__call__ = wrapped(original)
        yield
    finally:
        for kind, own in kinds.items():
            if own is None:
                del kind.__call__
            else:
                kind.__call__ = own


def _of_linen(model: Any, choose: Choose, taken: Taken, call: Call) -> tuple[Any, Callable[[Any, Any], Any]]:
    if model.scope is None:
        raise ValueError("a Linen module does not contain its variables; give module.bind(variables).")
    module, variables = model.unbind()
    takes = inspect.signature(type(module).__call__).parameters
    settings = {key: value for key, value in EVALUATION.items() if key in takes}

    def forward(bound: Any, images: Any) -> Any:
        return call(functools.partial(bound, **settings) if settings else bound, images)

    def compute(variables: Any, images: Any) -> OrderedDict[str, Any]:
        calls = Calls([], taken)
        seen: dict[str, None] = {}
        outputs: list[tuple[str, Any]] = []

        def listen(next_call: Any, given: Any, named: Any, context: Any) -> Any:
            output = next_call(*given, **named)
            if context.method_name == "__call__" and context.module.path:
                name = ".".join(context.module.path)
                seen[name] = None
                outputs.append((name, output))
            return output

        with linen.intercept_methods(listen):
            module.apply(variables, images, method=forward)
        calls.wanted = choose([*seen])
        for name, output in outputs:
            if name in calls.wanted:
                calls.keep(name, output)
        return calls.named()

    return variables, compute


def _digest(state: Any) -> str:
    """SHA-256 of a network's weights and their paths."""
    total = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        x = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        total.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape} ".encode())
        total.update(np.asarray(x).tobytes())
    return total.hexdigest()
