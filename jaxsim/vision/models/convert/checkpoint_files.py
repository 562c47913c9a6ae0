"""Readers of checkpoint files: safetensors, PyTorch's, and TensorFlow's V2 format."""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from jaxsim import extras
from jaxsim.io.containers import read_safetensors
from jaxsim.vision.models.convert.tensorflow_checkpoint import Bundle, bundle_prefix

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of PyTorch before 1.6; later ones are zip archives."""
DAMAGED = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""Exceptions raised by reading damaged files."""
REMEDY = "if you trust the file, load it with {} and save its state_dict alone."


def read_checkpoint(path: str | Path) -> tuple[dict[str, Mapping[str, np.ndarray]], tuple[str, ...]]:
    """Read the tensors of a checkpoint by name, unchanged, in each of its entries.

    Args:
        path: a `.safetensors` file; the prefix or a file of a TensorFlow V2 checkpoint; or, with PyTorch installed, a
            file that `torch.save` wrote, read with `weights_only=True` so that no code in it runs.

    Returns:
        Tensors by entry: '' for the whole file, else keys of nested dicts, such as 'state_dict' or 'model/ema'; and
        names of what is not tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the file is PyTorch's, and PyTorch is not installed.
        ValueError: it is damaged, or holds something other than tensors by name.
    """
    path = Path(path)
    if bundle_prefix(path) != path or Path(f"{path}.index").is_file():
        return {"": Bundle(path)}, ()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    if path.suffix == ".safetensors":
        return {"": read_safetensors(path)}, ()
    return _entries(path, _read_torch(path))


def _read_torch(path: Path) -> Any:
    """The content of PyTorch's file; text of Python 2 as latin-1, which decodes any bytes."""
    with open(path, "rb") as file:
        _check_file(path, file)
        there = "torch, or convert it there with safetensors.torch.save_file"
        with extras.needed(f"{path} needs", "PyTorch", install=there):
            import torch
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch says that it ignores the encoding, but it does not
                return _loaded(torch, file)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} {_refusal(str(error))}") from error
        except DAMAGED as error:
            raise ValueError(f"{path} is damaged and was not read.") from error


def _loaded(torch: Any, file: BinaryIO) -> Any:
    """The content of a file, text of Python 2 as latin-1."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnicodeDecodeError:
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True, encoding="latin1")


def _refusal(reason: str) -> str:
    """Name the object that PyTorch refuses, if it does, and the way out."""
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    if found is None:
        return "holds objects other than tensors, or is damaged, and was not read."
    remedy = REMEDY.format("torch.load(path, weights_only=False)")
    return f"holds {found[1]} beside tensors, which could run code and is not read; {remedy}"


def _check_file(path: Path, file: BinaryIO) -> None:
    """Raise ValueError unless it is a file of PyTorch with intact checksums, which PyTorch does not verify."""
    try:
        archive = zipfile.is_zipfile(file)
        names = zipfile.ZipFile(file).namelist() if archive else ()
        bad = zipfile.ZipFile(file).testzip() if archive else None
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged and was not read.") from error
    file.seek(0)
    if not archive and file.read(len(LEGACY)) != LEGACY:
        raise ValueError(f"{path} is damaged or not a file of PyTorch, and was not read.")
    if any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(f"{path} is a TorchScript archive; {REMEDY.format('torch.jit.load(path)')}")
    if bad:
        raise ValueError(f"{path} is damaged: {bad} differs from its checksum.")
    file.seek(0)


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
        return _plain(self._path, key, self._tensors[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _plain(path: Path, key: str, value: Any) -> np.ndarray:
    import torch

    try:
        if value.dtype == torch.bfloat16:
            return value.detach().view(torch.int16).numpy().view(np.dtype(jnp.bfloat16))
        return value.detach().numpy()
    except (AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: {key!r} is of type {value.dtype}, not a plain tensor.") from error
