"""Tensors of checkpoint files: safetensors, PyTorch's, and TensorFlow's V2 format."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io.containers import read_safetensors
from jaxsim.io.torch_files import array_of, read_torch
from jaxsim.vision.models.convert.tensorflow_checkpoint import Bundle, bundle_prefix

_AVERAGE = "/ExponentialMovingAverage"


def read_checkpoint(path: str | Path) -> tuple[dict[str, Mapping[str, np.ndarray]], tuple[str, ...]]:
    """Read the tensors of a checkpoint by name, unchanged, in each of its entries.

    Args:
        path: a `.safetensors` file; the prefix or a file of a TensorFlow V2 checkpoint; or, with PyTorch installed, a
            file that `torch.save` wrote, read with `weights_only=True` so that no code in it runs.

    Returns:
        Tensors by entry: '' for the whole file, else keys of nested dicts, such as 'state_dict' or 'model/ema', or
        'ExponentialMovingAverage' for TensorFlow's averages; and names of what is not tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the file is PyTorch's, and PyTorch is not installed.
        ValueError: it is damaged, or contains something other than tensors by name.
    """
    path = Path(path)
    if bundle_prefix(path) != path or Path(f"{path}.index").is_file():
        return _averages_apart(Bundle(path)), ()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    if path.suffix == ".safetensors":
        return _averages_apart(read_safetensors(path)), ()
    return _entries(path, read_torch(path))


def _averages_apart(tensors: Mapping[str, np.ndarray]) -> dict[str, Mapping[str, np.ndarray]]:
    """Moving averages that TensorFlow stores next to the weights, as an entry; tensors without one are in both."""
    readers = {key: functools.partial(tensors.__getitem__, key) for key in tensors}
    raw = {key: read for key, read in readers.items() if not key.endswith(_AVERAGE)}
    averaged = {key.removesuffix(_AVERAGE): read for key, read in readers.items() if key.endswith(_AVERAGE)}
    return {"": _Lazy(raw), _AVERAGE[1:]: _Lazy(raw | averaged)} if averaged else {"": tensors}


class _Lazy(Mapping[str, np.ndarray]):
    """Tensors by name, each read when it is requested."""

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]):
        self._readers = readers

    def __getitem__(self, key: str) -> np.ndarray:
        return self._readers[key]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def _entries(path: Path, whole: Any) -> tuple[dict[str, Mapping[str, np.ndarray]], tuple[str, ...]]:
    """The tensors in each dict of a file's content, and the keys of what is not tensors."""
    import torch

    entries: dict[str, Mapping[str, np.ndarray]] = {}
    beside: list[str] = []
    waiting = [("", whole)]
    seen: set[int] = set()
    for place, content in waiting:  # grows during the loop
        if id(content) in seen or not isinstance(content, Mapping | list | tuple):
            continue
        seen.add(id(content))
        content = content if isinstance(content, Mapping) else dict(enumerate(content))
        inner = {key: f"{place}/{key}" if place else str(key) for key in content}
        waiting += [(inner[key], value) for key, value in content.items() if _has_dicts(value)]
        tensors = {key: v for key, v in content.items() if isinstance(key, str) and isinstance(v, torch.Tensor)}
        if tensors:
            entries[place] = _Lazy({key: functools.partial(array_of, path, key, v) for key, v in tensors.items()})
        beside += [inner[k] for k, v in content.items() if k not in tensors and not _has_dicts(v)]
    if not entries:
        raise ValueError(f"{path} contains a {type(whole).__name__}, not tensors by name (a state dict).")
    return entries, tuple(beside)


def _has_dicts(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, Mapping) for item in items)
