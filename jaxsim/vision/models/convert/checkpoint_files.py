"""Tensors of checkpoint files: safetensors, PyTorch's, and TensorFlow's V2 format."""

from collections.abc import Iterator, Mapping
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
        'ExponentialMovingAverage' for the averages of TensorFlow; and names of what is not tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the file is PyTorch's, and PyTorch is not installed.
        ValueError: it is damaged, or holds something other than tensors by name.
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
    """Moving averages that TensorFlow stores beside the weights, as an entry; what has none is in both."""
    raw = {key: key for key in tensors if not key.endswith(_AVERAGE)}
    averaged = {key.removesuffix(_AVERAGE): key for key in tensors if key.endswith(_AVERAGE)}
    if not averaged:
        return {"": tensors}
    return {"": _Renamed(tensors, raw), _AVERAGE[1:]: _Renamed(tensors, raw | averaged)}


class _Renamed(Mapping[str, np.ndarray]):
    """Tensors under other names, each read when it is asked for."""

    def __init__(self, tensors: Mapping[str, np.ndarray], names: Mapping[str, str]):
        self._tensors, self._names = tensors, names

    def __getitem__(self, key: str) -> np.ndarray:
        return self._tensors[self._names[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _entries(path: Path, whole: Any) -> tuple[dict[str, Mapping[str, np.ndarray]], tuple[str, ...]]:
    """The tensors in each dict of a file's content, and the keys of what is not tensors."""
    import torch

    entries: dict[str, Mapping[str, np.ndarray]] = {}
    beside: list[str] = []
    waiting = [("", whole)]
    seen: set[int] = set()
    for place, content in waiting:  # grows meanwhile
        if id(content) in seen or not isinstance(content, Mapping | list | tuple):
            continue
        seen.add(id(content))
        content = content if isinstance(content, Mapping) else dict(enumerate(content))
        inner = {key: f"{place}/{key}" if place else str(key) for key in content}
        waiting += [(inner[key], value) for key, value in content.items() if _has_dicts(value)]
        tensors = {key: v for key, v in content.items() if isinstance(key, str) and isinstance(v, torch.Tensor)}
        if tensors:
            entries[place] = _Tensors(path, tensors)
        beside += [inner[k] for k, v in content.items() if k not in tensors and not _has_dicts(v)]
    if not entries:
        raise ValueError(f"{path} holds a {type(whole).__name__}, not tensors by name (a state dict).")
    return entries, tuple(beside)


def _has_dicts(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, Mapping) for item in items)


class _Tensors(Mapping[str, np.ndarray]):
    """PyTorch's tensors, each made an array when it is asked for."""

    def __init__(self, path: Path, tensors: Mapping[str, Any]):
        self._path, self._tensors = path, tensors

    def __getitem__(self, key: str) -> np.ndarray:
        return array_of(self._path, key, self._tensors[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
