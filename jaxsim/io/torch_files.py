"""Reading files written by `torch.save`, without running code from them."""

import contextlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxsim import extras
from jaxsim.io import limits
from jaxsim.io.arrays import DAMAGED

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files from PyTorch before 1.6; later ones are zip archives."""
REMEDY = "if you trust the file, load it with {} and save only its tensors, such as its state_dict."


def read_torch(path: Path) -> Any:
    """The content of a PyTorch file; Python 2 text as latin-1, which decodes any bytes.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: the file is damaged, or contains more than tensors, numbers and text in lists and dicts.
    """
    with open(path, "rb") as file:
        _check_file(path, file)
        there = "torch, or convert it there with safetensors.torch.save_file"
        with extras.needed(f"{path} needs", "PyTorch", install=there):
            import torch
        try:
            with _naming(path), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch says that it ignores the encoding, but it does not
                return _loaded(torch, file)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} {_refusal(str(error))}") from error


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors from a damaged file into one ValueError; PyTorch fails in more ways than NumPy."""
    try:
        yield
    except (*DAMAGED, AssertionError, AttributeError) as error:
        raise ValueError(f"{path} is damaged and was not read.") from error


def _loaded(torch: Any, file: BinaryIO) -> Any:
    """The content of a file, with Python 2 text as latin-1."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnicodeDecodeError:
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True, encoding="latin1")


def read_torch_arrays(path: Path) -> dict[str, np.ndarray]:
    """Tensors in the lists and dicts of a PyTorch file by location, `key/key`, and everything else as arrays.

    Tensors in a list are named `network_0`, `network_1`, ...; a single tensor has the name ''.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: the file is damaged, or contains foreign objects, or tensors without a NumPy equivalent.
    """
    return dict(_flat(path, "", read_torch(path), set()))


def _flat(path: Path, place: str, value: Any, seen: set[int]) -> Iterator[tuple[str, np.ndarray]]:
    if hasattr(value, "detach"):
        yield place, array_of(path, place, value)
    elif not _holds_tensors(value):
        yield place, _plain(value)
    else:
        if id(value) in seen:
            raise ValueError(f"{path} has the same list or dict in two places; the second is {place!r}.")
        seen.add(id(value))
        pairs = value.items() if isinstance(value, Mapping) else ((f"network_{k}", x) for k, x in enumerate(value))
        for key, inner in pairs:
            yield from _flat(path, f"{place}/{key}" if place else str(key), inner, seen)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(hasattr(x, "detach") or isinstance(x, Mapping) for x in value)
    return isinstance(value, Mapping)


def _plain(value: Any) -> np.ndarray:
    """Numbers or text as an array; for other objects the name of their type."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):
        found = np.empty(0, object)
    return np.array(type(value).__name__) if found.dtype.hasobject or found.size == 0 else found


def _refusal(reason: str) -> str:
    """Name the object that PyTorch rejects, if it does, and the way around it."""
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    if found is None:
        return "contains objects other than tensors, or is damaged, and was not read."
    remedy = REMEDY.format("torch.load(path, weights_only=False)")
    return f"contains {found[1]} besides tensors, which could run code, so it was not read; {remedy}"


def _check_file(path: Path, file: BinaryIO) -> None:
    """Raise ValueError unless it is a PyTorch file with intact checksums, which PyTorch does not verify."""
    with _naming(path):
        archive = zipfile.ZipFile(file) if zipfile.is_zipfile(file) else None
        entries = archive.infolist() if archive else []
    limits.check(sum(entry.file_size for entry in entries), path.stat().st_size, str(path))
    with _naming(path):
        bad = archive.testzip() if archive else None
    file.seek(0)
    if not archive and file.read(len(LEGACY)) != LEGACY:
        raise ValueError(f"{path} is damaged or not a PyTorch file, and was not read.")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError(f"{path} is a TorchScript archive; {REMEDY.format('torch.jit.load(path)')}")
    if bad:
        raise ValueError(f"{path} is damaged: {bad} differs from its checksum.")
    file.seek(0)


def array_of(path: Path, key: str, value: Any) -> np.ndarray:
    """A tensor as an array that shares its memory, including bfloat16.

    Raises:
        ValueError: it is sparse, quantized or of another type that NumPy lacks, or far larger than the file.
    """
    import ml_dtypes
    import torch

    limits.check(value.numel() * value.element_size(), path.stat().st_size, f"{path}: {key!r}")
    try:
        if value.dtype == torch.bfloat16:
            return value.detach().view(torch.int16).numpy().view(np.dtype(ml_dtypes.bfloat16))
        return value.detach().numpy()
    except (AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: {key!r} has type {value.dtype} and is not a plain tensor.") from error
