"""Reading features of many networks, with the labels of their images, from a file or a folder of files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io import limits
from jaxsim.io.arrays import map_npz, read_npy, texts
from jaxsim.io.containers import read_hdf5, read_safetensors

_ID_NAMES = ("image_ids", "ids")
_PASSED_OVER = (".txt", ".md", ".rst", ".json", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".log", ".png")

ImageIds = tuple[str, ...]


def read_features(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, ImageIds] | ImageIds | None]:
    r"""Read the features of several networks and, where there are any, the ids of their images.

    `path` may be

    * a folder: one file per network, named by the file's stem; a file that holds several arrays gives `stem/key` for
      each. Files are taken in the order of their names. Text, JSON, CSV and PNG files and hidden files are passed over;
      any other file or a subfolder is an error;
    * `.npz`, `.safetensors`, `.h5`, `.hdf5`: one entry per network, HDF5 groups joined by `/`;
    * `.npy`: a stack `(T, n, ...)` of at least three axes, named `network_0`, `network_1`, ...; or a pickled dict of
      name -> array, as the authors of DDS publish their features, read through an allow-list.

    Image ids come from an entry named `image_ids` or `ids` (of `group/ids` and `ids`, the one in a network's
    own group), else from `image_ids.npy` or `image_ids.txt` (one per line) in the folder or beside the file.

    Arrays are memory-mapped, read-only, from npy, safetensors, uncompressed npz and contiguous HDF5, and
    read whole otherwise. Their dtypes are those of the file (bfloat16 as `ml_dtypes.bfloat16`); dtypes,
    shapes and the number of ids are left to the caller to check.

    Returns:
        The features by name, and the ids: one tuple when all networks share it, a dict by network name when
        they do not, None when there are none.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ImportError: an HDF5 file, and h5py is not installed.
        ValueError: an unknown suffix, a damaged file, an empty folder, two networks of one name, a pickle
            that asks for more than arrays, or ids for some networks only.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "resnet.npy", np.ones((3, 8)))
        >>> np.save(folder / "vgg.npy", np.ones((3, 4)))
        >>> _ = (folder / "image_ids.txt").write_text("cat\ndog\nbird\n")
        >>> features, ids = read_features(folder)
        >>> {name: x.shape for name, x in features.items()}, ids
        ({'resnet': (3, 8), 'vgg': (3, 4)}, ('cat', 'dog', 'bird'))
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.")
    if path.is_dir():
        features, own = _read_folder(path)
        shared = _ids_in(path)
    else:
        features, own = _read_file(path)
        shared = _ids_in(path.parent)
    if not features:
        raise ValueError(f"{path} holds no features.")
    return features, _combine(path, list(features), own, shared)


def _read_folder(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, ImageIds]]:
    features: dict[str, np.ndarray] = {}
    ids: dict[str, ImageIds] = {}
    for file in _feature_files(folder):
        arrays, own = _read_file(file, stacks=False)
        for key, values in arrays.items():
            name = file.stem if len(arrays) == 1 else f"{file.stem}/{key}"
            if name in features:
                raise ValueError(f"{folder} holds two networks named {name!r}, one of them in {file.name}.")
            features[name] = values
            if key in own:
                ids[name] = own[key]
    return features, ids


def _feature_files(folder: Path) -> list[Path]:
    found = []
    for file in sorted(folder.iterdir()):
        if file.name.startswith((".", "__")) or file.name in ("image_ids.npy", "image_ids.txt"):
            continue
        if file.suffix.lower() in _READERS and file.is_file():
            found.append(file)
        elif file.is_dir() or file.suffix.lower() not in _PASSED_OVER:
            kind = "a subfolder" if file.is_dir() else "no features file"
            raise ValueError(f"{folder} holds {file.name}, which is {kind} ({_known()}).")
    if not found:
        raise ValueError(f"{folder} holds no features file ({_known()}).")
    return found


def _known() -> str:
    return "features are read from " + ", ".join(_READERS)


def _read_file(path: Path, *, stacks: bool = True) -> tuple[dict[str, np.ndarray], dict[str, ImageIds]]:
    """The arrays of one file by key and, by the same keys, the ids that the file gives them."""
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"{path} has the unknown suffix {path.suffix!r} ({_known()}).")
    entries = _READERS[path.suffix.lower()](path)
    arrays: dict[str, np.ndarray] = {}
    for key, values in entries.items():
        for name, array in _open_pickled(path, key, values):
            if name in arrays:
                raise ValueError(f"{path} holds two networks named {name!r}.")
            arrays[name] = array
    ids = _take_ids(path, arrays)
    if stacks and list(arrays) == [""]:
        arrays = _unstack(path, arrays[""])
    return arrays, {name: own for name in arrays if (own := _nearest(name, ids)) is not None}


def _npy(path: Path) -> dict[str, Any]:
    return {"": read_npy(path)}


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".npy": _npy,
    ".npz": map_npz,
    ".safetensors": read_safetensors,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}


def _open_pickled(path: Path, key: str, values: Any) -> list[tuple[str, np.ndarray]]:
    """An array under its key; a pickled dict of arrays as one pair for each."""
    if isinstance(values, np.ndarray) and values.dtype.hasobject and values.ndim == 0:
        values = values.item()
    if not isinstance(values, dict):
        return [(key, _array(path, key, values))]
    if not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path} holds a pickled dict whose keys are not all network names.")
    return [(f"{key}/{name}" if key else name, _array(path, name, x)) for name, x in values.items()]


def _array(path: Path, name: str, values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray | list | tuple | np.generic):
        if isinstance(values, list | tuple):
            limits.check(8 * _numbers(values, {}), path.stat().st_size, f"{path}, {name!r},")
        try:
            return np.asanyarray(values)
        except ValueError as error:
            raise ValueError(f"{path} holds {name!r} as lists of unequal lengths.") from error
    raise ValueError(f"{path} holds a pickled {type(values).__name__} where arrays by name are expected.")


def _numbers(values: Any, seen: dict[int, int]) -> int:
    """Numbers in nested lists; a list that a file holds once may stand in many places."""
    if not isinstance(values, list | tuple):
        return max(getattr(values, "size", 1), 1)
    if id(values) not in seen:
        seen[id(values)] = 2**62  # where a list holds itself
        seen[id(values)] = 1 + sum(_numbers(value, seen) for value in values)
    return seen[id(values)]


def _unstack(path: Path, stack: np.ndarray) -> dict[str, np.ndarray]:
    if stack.size == 0:
        raise ValueError(f"{path} has shape {stack.shape}: it holds no numbers.")
    if stack.ndim < 3:
        raise ValueError(
            f"{path} has shape {stack.shape}: one npy file must hold a stack (T, n, ...) or a dict, "
            "and a folder one file per network."
        )
    return {f"network_{i}": stack[i] for i in range(len(stack))}


def _take_ids(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, ImageIds]:
    """Remove the ids from `arrays` and give them by the group they are in, '' for the top one."""
    ids: dict[str, ImageIds] = {}
    for key in [k for k in arrays if k.rpartition("/")[2] in _ID_NAMES]:
        group = key.rpartition("/")[0]
        if group in ids:
            raise ValueError(f"{path} holds both 'image_ids' and 'ids'; leave one.")
        ids[group] = _as_ids(arrays.pop(key), f"{path}, entry {key!r}")
    return ids


def _nearest(name: str, ids: Mapping[str, ImageIds]) -> ImageIds | None:
    while name:
        name = name.rpartition("/")[0]
        if name in ids:
            return ids[name]
    return ids.get("")


def _ids_in(folder: Path) -> ImageIds | None:
    binary, text = folder / "image_ids.npy", folder / "image_ids.txt"
    if binary.is_file() and text.is_file():
        raise ValueError(f"{folder} holds both image_ids.npy and image_ids.txt; leave one.")
    if binary.is_file():
        return _as_ids(read_npy(binary), str(binary))
    if not text.is_file():
        return None
    try:
        lines = text.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{text} is not UTF-8 text.") from error
    return _as_ids(np.asarray(lines), str(text))


def _as_ids(values: Any, where: str) -> ImageIds:
    ids = texts(values, where)
    if "" in ids:
        raise ValueError(f"{where} holds an empty id at place {ids.index('')}.")
    return tuple(ids)


def _combine(
    path: Path, names: list[str], own: Mapping[str, ImageIds], shared: ImageIds | None
) -> dict[str, ImageIds] | ImageIds | None:
    if not own:
        return shared
    ids = {name: found for name in names if (found := own.get(name, shared)) is not None}
    without = [name for name in names if name not in ids]
    if without:
        raise ValueError(f"{path} gives image ids for some networks, and none for {', '.join(without)}.")
    return ids[names[0]] if len(set(ids.values())) == 1 else ids
