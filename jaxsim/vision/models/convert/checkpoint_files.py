"""Tensors of a checkpoint by name: safetensors, PyTorch's files, TensorFlow's V2 checkpoints."""

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
"""What training scripts call the weights in a file that holds more than them."""
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What files of PyTorch before 1.6 begin with; later ones are zip archives."""
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
"""What reading a damaged file raises."""


def read_checkpoint(path: str | Path) -> Mapping[str, np.ndarray]:
    """The tensors of a checkpoint, kept as they are.

    Args:
        path: a `.safetensors` file; a TensorFlow V2 checkpoint, as its prefix or one of its files; or, with PyTorch
            installed, a file that `torch.save` wrote, read with `weights_only=True`, so that no code in it runs.

    Raises:
        FileNotFoundError: nothing is there.
        ImportError: it is PyTorch's file, and PyTorch is not installed.
        ValueError: it is damaged, or holds something other than tensors by name.
    """
    path = Path(path)
    if bundle_prefix(path) != path or Path(f"{path}.index").is_file():
        return Bundle(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there or is not a file.")
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
    """Refuse what is no file of PyTorch, and archives that differ from their checksums, which it does not look at."""
    try:
        archive = zipfile.is_zipfile(file)
        bad = zipfile.ZipFile(file).testzip() if archive else None
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged and was not read.") from error
    file.seek(0)
    if not archive and file.read(len(LEGACY)) != LEGACY:
        raise ValueError(f"{path} is damaged or no file of PyTorch, and was not read.")
    if bad:
        raise ValueError(f"{path} is damaged: {bad} differs from its checksum.")
    file.seek(0)


def _weights(path: Path, whole: Any) -> Mapping[str, Any]:
    """The weights in what a file holds: itself, or the first entry with a name for them."""
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
