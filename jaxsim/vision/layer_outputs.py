"""Outputs of modules of any library: selection, names and pooling of their arrays."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

POOLS = ("mean", "first")
SIDES = ("first", "last")


class Unsupported(ValueError):
    """Unsupported output or batch; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """Which outputs to take, and how.

    Attributes:
        patterns: patterns of layer names.
        pool: None, "mean", "first" or a function of an array.
        channels: "first", "last", one of them by pattern, or None to decide by the library and the number of axes.
    """

    patterns: tuple[str, ...]
    pool: str | Callable[[Any], Any] | None = None
    channels: str | Mapping[str, str] | None = None


def check(pool: Any, channels: Any) -> None:
    """Reject unknown values of `pool` and `channels`."""
    if not (pool is None or callable(pool) or pool in POOLS):
        raise ValueError(f'pool is {pool!r}; give None, "mean", "first" or a function of an array (b, ..., c).')
    for side in channels.values() if isinstance(channels, Mapping) else (channels,):
        if side not in (None, *SIDES):
            raise ValueError(f'channels are {side!r}; give "first" or "last", or a dict of these by layer.')


def matches(pattern: str, name: str) -> bool:
    """Whether a layer's name matches a pattern.

    `*` is any text without a dot, `**` any text, `?` one character except a dot; `[...]` is ignored.

    >>> matches("layer*", "layer1"), matches("layer*", "layer1.conv"), matches("layer**", "layer1.conv")
    (True, False, True)
    """
    return _fits(pattern.partition("[")[0], name)


def _fits(pattern: str, name: str) -> bool:
    parts = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    text = "".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", pattern))
    return re.fullmatch(text, name) is not None


def arrays(layer: str, output: Any, patterns: Sequence[str], is_array: Callable[[Any], bool]) -> dict[str, Any]:
    """The requested arrays in an output, by name suffix; "" if the output contains a single array.

    >>> import numpy as np
    >>> x = np.zeros(2)
    >>> [*arrays("net", (x, {"a": x, "b": None}), ["*"], lambda x: isinstance(x, np.ndarray))]
    ['[0]', '[1][a]']
    """
    found = dict(_leaves(output, is_array))
    if not found:
        text = f"layer {layer!r} returns a {type(output).__name__} without an array"
        raise Unsupported(f"{text}; name a layer inside it.")
    kept = {}
    for pattern in (one for one in patterns if matches(one, layer)):
        _, bracket, end = pattern.partition("[")
        ends = [one for one in found if not bracket or _fits(bracket + end, one)]
        if not ends:
            raise Unsupported(f"layer {layer!r} has no output {bracket + end!r}; it has {', '.join(found)}.")
        kept |= dict.fromkeys(ends)
    return {"": next(iter(found.values()))} if len(found) == 1 else {end: found[end] for end in found if end in kept}


def _leaves(output: Any, is_array: Callable[[Any], bool], name: str = ""):
    if is_array(output):
        yield name, output
    elif isinstance(output, Mapping | list | tuple):
        for key, value in output.items() if isinstance(output, Mapping) else enumerate(output):
            yield from _leaves(value, is_array, f"{name}[{key}]")


def pooled(layer: str, x: Any, taken: Taken, *, first: bool) -> Any:
    """An array `(b, ..., c)`, pooled.

    Args:
        layer: name of the layer, for messages.
        x: floating-point array of NumPy, JAX or PyTorch.
        taken: how to pool.
        first: whether channels come first in outputs with four or more axes.
    """
    if callable(taken.pool):
        return taken.pool(x)
    if x.ndim < 3:
        return x
    first = _first(layer, x, taken, first)
    if taken.pool == "mean":
        return x.mean(tuple(range(2, x.ndim)) if first else tuple(range(1, x.ndim - 1)))
    if taken.pool == "first":
        if x.ndim > 3 or first:
            shape = " x ".join(map(str, x.shape))
            raise Unsupported(
                f"layer {layer!r} returns {shape}, not tokens (b, tokens, c), so there is no first token; use "
                "pool='mean'."
            )
        return x[:, 0]
    if not first:
        return x
    return (x.permute if hasattr(x, "permute") else x.transpose)(0, *range(2, x.ndim), 1)


def _first(layer: str, x: Any, taken: Taken, usual: bool) -> bool:
    side = taken.channels
    if isinstance(side, Mapping):
        side = next((value for pattern, value in side.items() if matches(pattern, layer)), None)
    if side is not None:
        return side == "first"
    if usual and x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]:
        shape = " x ".join(map(str, x.shape))
        raise Unsupported(
            f"layer {layer!r} returns {shape}, and its channels seem to be last; pass channels='last' or 'first'."
        )
    return usual and x.ndim > 3


def named(calls: Mapping[str, Sequence[Mapping[str, Any]]], wanted: Sequence[str], patterns: Sequence[str]):
    """Name arrays by layer, from the arrays of each call of each layer, in the order of the calls.

    Raises:
        Unsupported: a pattern only matches layers that were not called.
    """
    for pattern in patterns:
        own = [name for name in wanted if matches(pattern, name)]
        if own and not any(name in calls for name in own):
            text = f"layer {own[0]!r} was not called in the network's forward pass"
            raise Unsupported(
                f"{text}, which uses its weights in another way or not at all; name a layer around or inside it."
            )
    return {
        f"{layer}{f'#{k + 1}' if len(found) > 1 else ''}{end}": x
        for layer, found in calls.items()
        for k, outputs in enumerate(found)
        for end, x in outputs.items()
    }
