"""Reading the arrays of one feature file by name, with the labels of their images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io import limits
from jaxsim.io.arrays import ID_NAMES, map_npz, naming, read_npy, texts
from jaxsim.io.containers import read_hdf5, read_matlab, read_safetensors
from jaxsim.io.files import few, parse_json, warn
from jaxsim.io.pickles import load_pickle
from jaxsim.io.tables import read_table
from jaxsim.io.torch_files import read_torch_arrays

ImageIds = tuple[str, ...]


def read_file(
    path: Path, *, stack: bool | None, name: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, ImageIds], bool]:
    """Read the arrays of one file by key, their image ids by the same keys, and whether they are a stack.

    `stack` is that of `read_features`. `name` names an array that has no name; the file's stem by default.
    """
    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path} has the unknown suffix {path.suffix!r} ({KNOWN}).")
    entries = READERS[path.suffix.lower()](path)
    arrays: dict[str, np.ndarray] = {}
    for key, values in entries.items():
        for label, array in _open_pickled(path, key, values):
            if label in arrays:
                raise ValueError(f"{path} has two networks named {label!r}.")
            arrays[label] = array
    ids = _take_ids(path, arrays)
    _leave_out(path, arrays)
    if list(arrays) == [""]:
        stack = stack if path.suffix.lower() in _STACKS else False
        stacked = _unstack(path, arrays[""], stack)
        arrays = stacked or {path.stem if name is None else name: arrays[""]}
    else:
        stacked = {}
    return arrays, {label: own for label in arrays if (own := _nearest(label, ids)) is not None}, bool(stacked)


def _npy(path: Path) -> dict[str, Any]:
    return {"": read_npy(path)}


def _npz(path: Path) -> dict[str, Any]:
    """The entries of an npz file, or every map by name if it is a record of maps.

    Raises:
        ValueError: the file contains another jaxsim record.
    """
    entries = map_npz(path)
    if "record_json" not in entries:
        return entries
    with naming(path):
        meta = parse_json(str(entries["record_json"]))
        kind = meta["record"]
        found = dict(zip(meta["names"], entries["values"], strict=True)) if kind == "Maps" else {}
    if not found:
        raise ValueError(f"{path} contains results of jaxsim (the record {kind}), not features.")
    return found | ({"ids": np.asarray(meta["ids"])} if meta.get("ids") else {})


def _table(path: Path) -> dict[str, Any]:
    values, ids = read_table(path)
    return {"": values} | ({} if ids is None else {"ids": np.asarray(ids)})


def _pickle(path: Path) -> dict[str, Any]:
    return {"": load_pickle(path)}


TEXT = (".txt",)
TABLES = (".csv", ".tsv", *TEXT)
_TORCH = (".pt", ".pth")
_STACKS = (".npy", *_TORCH)
SINGLE = (".npz", *_STACKS)
READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": read_safetensors,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".mat": read_matlab,
    **dict.fromkeys(_TORCH, read_torch_arrays),
    **dict.fromkeys((".pkl", ".pickle"), _pickle),
    **dict.fromkeys(TABLES, _table),
}
KNOWN = "features are read from " + ", ".join(READERS)


def _open_pickled(path: Path, key: str, values: Any) -> list[tuple[str, np.ndarray]]:
    """An array under its key; a pickled dict of arrays gives one pair for each."""
    if isinstance(values, np.ndarray) and values.dtype.hasobject and values.ndim == 0:
        values = values.item()
    if not isinstance(values, dict):
        return [(key, _array(path, key, values))]
    if not all(isinstance(name, str) for name in values):
        raise ValueError(
            f"{path} contains a pickled dict whose keys are not all text; they must be the names of networks."
        )
    return [(f"{key}/{name}" if key else name, _array(path, name, x)) for name, x in values.items()]


def _array(path: Path, name: str, values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray | list | tuple | np.generic):
        if isinstance(values, list | tuple):
            limits.check(8 * _numbers(values, {}), path.stat().st_size, f"{path}, {name!r},")
        try:
            return np.asanyarray(values)
        except ValueError as error:
            raise ValueError(f"{path} contains {name!r} as lists of unequal lengths.") from error
    raise ValueError(f"{path} contains a pickled {type(values).__name__}; arrays by name are expected.")


def _numbers(values: Any, seen: dict[int, int]) -> int:
    """Count numbers in nested lists; a list that a file stores once may appear in many places."""
    if not isinstance(values, list | tuple):
        return max(getattr(values, "size", 1), 1)
    if id(values) not in seen:
        seen[id(values)] = 2**62  # in case a list contains itself
        seen[id(values)] = 1 + sum(_numbers(value, seen) for value in values)
    return seen[id(values)]


def _unstack(path: Path, array: np.ndarray, stack: bool | None) -> dict[str, np.ndarray]:
    """The networks of a stack; none if the array is one network."""
    if array.size == 0:
        raise ValueError(f"{path} has shape {array.shape}, so it is empty.")
    if stack and array.ndim < 3:
        raise ValueError(f"{path} has shape {array.shape}, which is not a stack of networks (T, n, ...).")
    if stack is False or array.ndim < 3:
        return {}
    if stack is None and may_be_one_network(array.shape):
        networks, images, *_ = array.shape
        read = f"{path} has shape {array.shape} and was read as {networks} networks of {images} images"
        warn(f"{read}; if it is one network of {networks} images, pass stack=False, otherwise pass stack=True.")
    return {f"network_{i}": array[i] for i in range(len(array))}


def may_be_one_network(shape: Sequence[int]) -> bool:
    """Whether a stack `(T, n, ...)` looks like one network: more networks than images, or one square image each."""
    return shape[0] > shape[1] or (len(shape) == 4 and (shape[1] == shape[2] or shape[2] == shape[3]))


def _take_ids(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, ImageIds]:
    """Remove the ids from `arrays` and return them by their group, '' for the top one."""
    ids: dict[str, ImageIds] = {}
    for key in [k for k in arrays if k.rpartition("/")[2] in ID_NAMES]:
        group = key.rpartition("/")[0]
        if group in ids:
            raise ValueError(f"{path} has both 'image_ids' and 'ids'; keep only one.")
        ids[group] = _as_ids(arrays.pop(key), f"{path}, entry {key!r}")
    return ids


def _leave_out(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Remove text, single numbers and labels found next to arrays, with a warning that names them."""
    wide = any(x.ndim > 1 for x in arrays.values())
    labels = [key for key, x in arrays.items() if wide and x.ndim == 1 and x.dtype.kind in "biu"]
    odd = [key for key, x in arrays.items() if x.ndim == 0 or x.dtype.kind in "OSU" or key in labels]
    if odd and len(odd) < len(arrays):
        for key in odd:
            del arrays[key]
        warn(f"{path}: {few(odd, 5)} left out, because they are text, labels or single numbers.")


def _nearest(name: str, ids: Mapping[str, ImageIds]) -> ImageIds | None:
    while name:
        name = name.rpartition("/")[0]
        if name in ids:
            return ids[name]
    return ids.get("")


def read_ids(path: Path) -> ImageIds:
    """Read image ids from an npy file, or from a text file with one per line.

    Raises:
        ValueError: the file is damaged, or does not contain a list of ids.
    """
    if path.suffix.lower() == ".npy":
        return _as_ids(read_npy(path), str(path))
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text.") from error
    return _as_ids(lines, str(path))


def _as_ids(values: Any, where: str) -> ImageIds:
    ids = texts(values, where)
    if "" in ids:
        raise ValueError(
            f"{where} is empty at position {ids.index('')}, counting from 0; give every image an id or a label."
        )
    return tuple(ids)
