"""PyTorch networks, run in evaluation mode with hooks on layers."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsim.vision import layer_outputs
from jaxsim.vision.layer_outputs import Taken, Unsupported


@contextlib.contextmanager
def opened(
    model: Any,
    choose: Callable[[Sequence[str]], list[str]],
    taken: Taken,
    call: Callable[[Any, Any], Any],
) -> Iterator[tuple[Callable[[Any], dict[str, np.ndarray]], Callable[[], str]]]:
    """A function from images to arrays by layer, and one that returns a checksum of the weights.

    Hooks are removed and training flags restored when the block ends.
    """
    import torch

    model = getattr(model, "_orig_mod", model)  # a compiled module skips the hooks of its submodules
    there = {name: module for name, module in model.named_modules() if name}
    wanted = choose([*there])
    device, dtype = _place(model)
    calls: dict[str, list[dict[str, Any]]] = {}
    flags = [(module, module.training) for module in model.modules()]
    handles = [there[name].register_forward_hook(_keeper(name, calls, taken)) for name in wanted]

    def run(images: Any) -> dict[str, np.ndarray]:
        calls.clear()
        with torch.inference_mode():
            call(model, _given(images, device, dtype))
        found = layer_outputs.named(calls, wanted, taken.patterns)
        return {layer: np.ascontiguousarray(x.cpu().numpy()) for layer, x in found.items()}

    try:
        model.eval()
        yield run, lambda: _digest(model)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in flags:
            module.training = training


def _keeper(layer: str, calls: dict[str, list], taken: Taken) -> Callable[..., None]:
    """Hook that keeps a layer's output, pooled and copied, since a later layer may change it in place."""

    def keep(module: Any, given: Any, output: Any) -> None:
        found = layer_outputs.arrays(layer, output, taken.patterns, _is_tensor)
        kept = {end: _kept(f"{layer}{end}", x, taken) for end, x in found.items()}
        calls.setdefault(layer, []).append(kept)

    return keep


def _kept(layer: str, x: Any, taken: Taken) -> Any:
    if x.is_complex() or str(x.layout) != "torch.strided":
        raise Unsupported(
            f"layer {layer!r} returns a tensor of {x.dtype} and {x.layout}; features must be dense real numbers."
        )
    found = layer_outputs.pooled(layer, x.detach().float(), taken, first=True)
    if not _is_tensor(found):
        raise Unsupported(f"pool returns a {type(found).__name__} for layer {layer!r}, not a tensor (b, ...).")
    return found.float().clone()


def _is_tensor(x: Any) -> bool:
    import torch

    return isinstance(x, torch.Tensor)


def _place(model: Any) -> tuple[Any, Any]:
    """Device of the first weights, and dtype of the first floating-point ones."""
    weights = [*model.parameters(), *model.buffers()]
    if any(x.is_meta for x in weights):
        raise ValueError("the network is on the device 'meta' and has no weights; load them first.")
    device = weights[0].device if weights else "cpu"
    return device, next((x.dtype for x in weights if x.is_floating_point()), None)


def _given(images: Any, device: Any, dtype: Any) -> Any:
    import torch

    if isinstance(images, Mapping):
        return {key: _given(x, device, dtype) for key, x in images.items()}
    x = images if _is_tensor(images) else torch.tensor(np.asarray(images))
    return x.to(device, dtype if x.is_floating_point() else None)


def _digest(model: Any) -> str:
    """SHA-256 of a network's weights and their names."""
    import torch

    total = hashlib.sha256()
    for name, x in model.state_dict().items():
        if _is_tensor(x):
            total.update(f"{name} {x.dtype} {tuple(x.shape)} ".encode())
            total.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
