"""Readers of checkpoint files: safetensors, PyTorch's, and TensorFlow's V2 format."""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from jaxsim import extras
from jaxsim.io.containers import read_safetensors
from jaxsim.vision.models.convert.tensorflow_checkpoint import Bundle, bundle_prefix

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
"""Common names of the weights in files that also hold other things."""
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


def read_checkpoint(path: str | Path) -> Mapping[str, np.ndarray]:
    """Read the tensors of a checkpoint by name, unchanged.

    Args:
        path: a `.safetensors` file; the prefix or a file of a TensorFlow V2 checkpoint; or, with PyTorch installed, a
            file that `torch.save` wrote, read with `weights_only=True` so that no code in it runs.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the file is PyTorch's, and PyTorch is not installed.
        ValueError: it is damaged, or holds something other than tensors by name.
    """
    path = Path(path)
    if bundle_prefix(path) != path or Path(f"{path}.index").is_file():
        return Bundle(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return _read_torch(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        _check_file(path, file)
        there = "torch, or convert it there with safetensors.torch.save_file"
        with extras.needed(f"{path} needs", "PyTorch", install=there):
            import torch
        try:
            whole = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            message = f"{path} holds objects other than tensors, or is damaged, and was not read."
            raise ValueError(message) from error
        except DAMAGED as error:
            raise ValueError(f"{path} is damaged and was not read.") from error
    return {key: _plain(path, key, value) for key, value in _weights(path, whole).items()}


def _check_file(path: Path, file: BinaryIO) -> None:
    """Raise ValueError unless it is a file of PyTorch with intact checksums, which PyTorch does not verify."""
    try:
        archive = zipfile.is_zipfile(file)
        bad = zipfile.ZipFile(file).testzip() if archive else None
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged and was not read.") from error
    file.seek(0)
    if not archive and file.read(len(LEGACY)) != LEGACY:
        raise ValueError(f"{path} is damaged or not a file of PyTorch, and was not read.")
    if bad:
        raise ValueError(f"{path} is damaged: {bad} differs from its checksum.")
    file.seek(0)


def _weights(path: Path, whole: Any) -> Mapping[str, Any]:
    """The weights in a file's content: all of it, or the first entry with a common name."""
    if isinstance(whole, Mapping):
        named = next((whole[name] for name in WRAPPERS if isinstance(whole.get(name), Mapping)), whole)
        if named and all(isinstance(key, str) for key in named):
            return named
    raise ValueError(f"{path} holds a {type(whole).__name__}, not tensors by name (a state dict).")


def _plain(path: Path, key: str, value: Any) -> np.ndarray:
    import torch

    try:
        if value.dtype == torch.bfloat16:
            return value.detach().view(torch.int16).numpy().view(np.dtype(jnp.bfloat16))
        return value.detach().numpy()
    except (AttributeError, RuntimeError, TypeError) as error:
        kind = f"of type {value.dtype}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"{path}: {key!r} is {kind}, not a plain tensor.") from error
