"""Tensors of a checkpoint by name: safetensors, PyTorch's files, TensorFlow's V2 checkpoints."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io.containers import read_safetensors
from jaxsim.models.convert.bundle import Bundle, bundle_prefix

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
"""What training scripts call the weights in a file that holds more than them."""
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What files of PyTorch before 1.6 begin with; later ones are zip archives."""


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
    if Path(f"{bundle_prefix(path)}.index").is_file():
        return Bundle(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there or is not a file.")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return _read_torch(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        message = f"{path} looks like a file of PyTorch, which is not installed: pip install torch, or convert it there"
        raise ImportError(f"{message} with safetensors.torch.save_file.") from error
    damaged = f"{path} is damaged or no file of PyTorch, and was not read."
    with open(path, "rb") as file:
        archive = zipfile.is_zipfile(file)
        file.seek(0)
        if not archive and file.read(len(LEGACY)) != LEGACY:
            raise ValueError(damaged)
        try:
            if archive and (bad := zipfile.ZipFile(file).testzip()):
                raise ValueError(f"{path} is damaged: {bad} differs from its checksum.")
            file.seek(0)
            whole = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} holds objects other than tensors, and was not read.") from error
        except (zipfile.BadZipFile, RuntimeError, EOFError, KeyError, OSError) as error:
            raise ValueError(damaged) from error
    return {key: _plain(path, key, value) for key, value in _weights(path, whole).items()}


def _weights(path: Path, whole: Any) -> Mapping[str, Any]:
    """The weights in what a file holds: itself, or the first entry with a name for them."""
    if isinstance(whole, Mapping):
        named = next((whole[name] for name in WRAPPERS if isinstance(whole.get(name), Mapping)), whole)
        if named and all(isinstance(key, str) for key in named):
            return named
    raise ValueError(f"{path} holds a {type(whole).__name__}, not tensors by name (a state dict).")


def _plain(path: Path, key: str, value: Any) -> np.ndarray:
    import torch

    if not isinstance(value, torch.Tensor) or value.is_sparse or value.is_quantized:
        raise ValueError(f"{path}: {key!r} is a {type(value).__name__}, not a plain tensor.")
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
