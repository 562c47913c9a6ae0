"""Reading features of many networks, with the labels of their images, from files and folders."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsim.io.feature_files import KNOWN, READERS, SINGLE, TABLES, TEXT, ImageIds, read_file, read_ids
from jaxsim.io.files import counted, few, natural, repeated, warn
from jaxsim.io.jobs import sha256
from jaxsim.statistics.checks import flag

_ID_FILES = ("image_ids.npy", "image_ids.txt", "file_names.txt")
"""Files with image ids; the last name is from thingsvision."""
_OWN_FILES = (*_ID_FILES, "features.json")
_PER_LAYER = "consolidated_"
"""Prefix of the name of a file with one layer and one array per image, as written by Net2Brain."""
_PICTURES = (".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_PASSED_OVER = (".md", ".rst", ".json", ".yaml", ".yml", ".toml", ".log", ".png")

Ids = dict[str, ImageIds] | ImageIds | None
Paths = str | Path | Sequence[str | Path]


def read_features(
    path: Paths, *, stack: bool | None = None, per_image: bool = False
) -> tuple[dict[str, np.ndarray], Ids]:
    r"""Read the features of several networks and, if there are any, the ids of their images.

    `path` may be

    * a folder: one file per network, named by the file's stem; a file with several arrays gives `stem/key` for each.
      Networks come in the order of their names, `layer2` before `layer10`. Hidden files are skipped. So are, with a
      warning that names them, notes, JSON and PNG files, tables next to other files, and text next to tables. Any other
      file or a subfolder is an error;
    * `.npz`, `.safetensors`, `.h5`, `.hdf5`, `.mat`: one entry per network, groups joined by `/`. Axes that MATLAB
      reversed in HDF5 are reversed back;
    * `.pt`, `.pth`: files written by `torch.save` (needs PyTorch): dicts of tensors, groups joined by `/`; a list of
      tensors as `network_0`, `network_1`, ...; one tensor as for an npy file;
    * `.npy`: a stack `(T, n, ...)` of at least three axes, named `network_0`, `network_1`, ... (see `stack`), or one
      network `(n, d)`; or, like `.pkl` and `.pickle`, a pickled dict of name -> array, as the authors of DDS publish
      their features, read through an allow-list;
    * `.csv`, `.tsv`, `.txt`: a table of one network, with one row per image and one column per feature, cells separated
      by commas, semicolons (decimal commas are then read too), tabs or spaces; column names and a first column of image
      ids are recognized;
    * a list of these. Every npy file is then one network; a file or folder with several gives `stem/key` for each.

    Text, single numbers and one-axis labels (whole numbers) next to arrays are left out; a warning names them.

    Image ids come from an entry named `image_ids` or `ids` (`group/ids` in a network's own group takes precedence over
    `ids`), else from `image_ids.npy`, `image_ids.txt` or `file_names.txt` (one per line) in the folder or next to the
    file.

    Arrays are memory-mapped read-only from npy, safetensors, uncompressed npz and contiguous HDF5, and read in full
    otherwise. Their dtypes are those of the file (bfloat16 as `ml_dtypes.bfloat16`). The caller has to check dtypes,
    shapes and the number of ids.

    Args:
        path: a file, a folder, or a list of them.
        stack: whether each npy file, or single PyTorch tensor, contains several networks, `(T, n, ...)`, or one,
            `(n, ...)`. None treats a single file of at least three axes as a stack, and warns if it may well be one
            network.
        per_image: read a folder with one npz, npy or PyTorch file per image, as written by feature extractors. The
            file's name is the image's id; every entry is a network, and so is every subfolder of such files. Files
            named `consolidated_LAYER` contain one layer each, with an entry per image (Net2Brain).

    Returns:
        The features by name, and the ids: one tuple if all networks share it, a dict by network name if they do not,
        None if there are none.

    Raises:
        FileNotFoundError: `path` does not exist.
        ImportError: h5py or PyTorch is needed for a file and is not installed.
        ValueError: a suffix is unknown, a file is damaged, a folder is empty, two networks have the same name, a pickle
            contains more than arrays, or only some networks have ids.

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
    flag(per_image, "per_image")
    if stack is not None:
        flag(stack, "stack")
    paths = _listed(path)
    alone = len(paths) == 1
    read, stacked = {}, False
    for one in paths:
        *read[one], stacked = (*_read_per_image(one), False) if per_image else _read_one(one, stack, alone)
    _refuse_twice(read, paths)
    if alone:
        features, ids = read[paths[0]]
    else:
        features, ids = _join(read)
    if not (alone and stacked):  # for a stack, _unstack has already warned
        _warn_of_few_images(features, paths, per_image)
    return features, ids


class Source(NamedTuple):
    """Location and description of a network's features.

    Attributes:
        path: path of the file, absolute.
        key: name of the array in the file.
        stacked: whether the file contains a stack of networks.
        shape: `(n, ..., c)`.
        checksum: SHA-256 of the array.
    """

    path: str
    key: str
    stacked: bool
    shape: tuple[int, ...]
    checksum: str

    def read(self) -> np.ndarray:
        """Read the array, memory-mapped as in `read_features`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is damaged, or has no such array.
        """
        arrays, _, _ = read_file(Path(self.path), stack=self.stacked)
        if self.key not in arrays:
            raise ValueError(f"{self.path} no longer has an array {self.key!r}.")
        return arrays[self.key]


def find_features(path: Paths, *, stack: bool | None = None) -> tuple[dict[str, Source], dict[str, ImageIds]]:
    """Locate the features of several networks, under the names used by `read_features`, and their image ids.

    Files are read one after another, and only one is in memory at a time.

    Args:
        path: a file, a folder, or a list of them.
        stack: as for `read_features`.

    Raises:
        FileNotFoundError: `path` does not exist.
        ImportError: h5py or PyTorch is needed for a file and is not installed.
        ValueError: as for `read_features`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.savez(folder / "resnet.npz", layer3=np.ones((3, 8)), layer4=np.ones((3, 4)))
        >>> sources, ids = find_features(folder)
        >>> {name: one.shape for name, one in sources.items()}, ids
        ({'resnet/layer3': (3, 8), 'resnet/layer4': (3, 4)}, {})
    """
    paths = _listed(path)
    read = {one: _read_one(one, stack, len(paths) == 1, _find_in_file)[:2] for one in paths}
    _refuse_twice(read, paths)
    sources, ids = read[paths[0]] if len(paths) == 1 else _join(read)
    by_name = ids if isinstance(ids, dict) else {} if ids is None else dict.fromkeys(sources, ids)
    return sources, by_name


def _find_in_file(path: Path, *, stack: bool | None) -> tuple[dict[str, Any], dict[str, ImageIds], bool]:
    arrays, ids, stacked = read_file(path, stack=stack)
    where = str(path.absolute())
    return {key: Source(where, key, stacked, x.shape, sha256(x)) for key, x in arrays.items()}, ids, stacked


def _listed(path: Paths) -> list[Path]:
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if not paths:
        raise ValueError("no file or folder was given to read features from.")
    return paths


def _refuse_twice(read: Mapping[Path, Any], paths: list[Path]) -> None:
    if len(read) < len(paths):
        raise ValueError(f"{Counter(paths).most_common(1)[0][0]} is given twice.")


def describe_shapes(features: Mapping[str, np.ndarray]) -> str:
    """Describe the numbers of networks, images and features.

    Example:
        >>> describe_shapes({"a": np.ones((3, 7, 7, 16)), "b": np.ones((3, 7, 7, 32))})
        '2 networks x 3 images x 7 x 7 x 16 to 32 features'
    """
    shapes = [np.shape(x) for x in features.values()]
    count = counted(len(shapes), "network")
    if len({len(s) for s in shapes}) > 1:
        return f"{count} x {_range([s[:1] for s in shapes])} images x {_range([[len(s)] for s in shapes])} axes"
    images, rest = _range([s[:1] for s in shapes]), [_range(axis) for axis in zip(*shapes, strict=True)][1:]
    return " x ".join([count, f"{images} images", *rest]) + (" features" if rest else "")


def _range(sizes: Sequence[Any]) -> str:
    flat = [int(n) for size in sizes for n in np.atleast_1d(size)]
    return str(flat[0]) if min(flat) == max(flat) else f"{min(flat)} to {max(flat)}"


def _warn_of_few_images(features: Mapping[str, np.ndarray], paths: list[Path], per_image: bool) -> None:
    fewest = min((len(x) for x in features.values() if x.ndim), default=0)
    if len(features) <= fewest:
        return
    where = few([str(one) for one in paths], 1)
    remedy = "" if per_image else "; if every array is one image, pass per_image=True"
    if len({x.ndim for x in features.values()}) > 1 and len({len(x) for x in features.values() if x.ndim}) > 1:
        remedy = (
            "; if these are weights of a network, use them to extract features of pictures (jaxsim convert, jaxsim "
            "features)"
        )
    text = f"{where} was read as {len(features)} networks of {fewest} images, which is fewer images than networks"
    warn(f"{text}{remedy}.")


def _join(read: Mapping[Path, tuple[dict[str, Any], Ids]]) -> tuple[dict[str, Any], Ids]:
    """Networks of several files and folders, named by the shortest end of the path that distinguishes them."""
    features: dict[str, Any] = {}
    ids: dict[str, ImageIds] = {}
    for label, (found, own) in zip(_labels(list(read)), read.values(), strict=True):
        for key, values in found.items():
            name = label if len(found) == 1 else f"{label}/{key}"
            if name in features:
                raise ValueError(f"two networks have the name {name!r}; rename one of the files.")
            features[name] = values
            if own is not None:
                ids[name] = own[key] if isinstance(own, dict) else own
    return features, _combine("the files together", list(features), ids, None)


def _labels(paths: list[Path]) -> list[str]:
    parts = [p.absolute().with_suffix("").parts if p.is_file() else p.absolute().parts for p in paths]
    for depth in range(1, max(map(len, parts))):
        labels = ["/".join(p[-depth:]) for p in parts]
        if len(set(labels)) == len(labels):
            return labels
    return ["/".join(p.absolute().parts[1:]) for p in paths]


def _read_one(
    path: Path, stack: bool | None, alone: bool, read: Callable = read_file
) -> tuple[dict[str, Any], Ids, bool]:
    """The networks of a file or folder with their ids, and whether they are a stack; `read` reads a file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_dir():
        (features, own), stacked = _read_folder(path, bool(stack), read), False
        shared = _ids_in(path)
    else:
        features, own, stacked = read(path, stack=stack if stack is not None or alone else False)
        shared = _ids_in(path.parent)
    if not features:
        raise ValueError(f"{path} contains no features.")
    return features, _combine(path, list(features), own, shared), stacked


def _read_per_image(folder: Path) -> tuple[dict[str, np.ndarray], Ids]:
    """One file per image, in the folder or in one subfolder per network."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; with one file per image, give the folder of the files.")
    inside = [sub for sub in _inside(folder) if sub.is_dir() and not sub.name.startswith((".", "__"))]
    files = _feature_files(folder, SINGLE, inside)
    if inside and files:
        raise ValueError(
            f"{folder} has both the file {files[0].name} and the subfolder {inside[0].name}; keep only files or only "
            "subfolders."
        )
    features: dict[str, np.ndarray] = {}
    ids: dict[str, ImageIds] = {}
    for place in inside or [folder]:
        own = _feature_files(place, SINGLE) or _no_files(place)
        layers = [file.stem.startswith(_PER_LAYER) for file in own]
        if any(layers) and not all(layers):
            raise ValueError(f"{place} has both files of one layer and files of one image; keep only one kind.")
        for key, values, labels in _stack_of_layer(own) if all(layers) else _stack_of_images(own):
            name = "/".join(part for part in (place.name if inside else "", key) if part) or folder.name
            features[name], ids[name] = values, labels
    return features, _combine(folder, list(features), ids, None)


def _without_ids(file: Path) -> dict[str, np.ndarray]:
    """Arrays of a file in which the names of entries are image ids."""
    arrays, ids, _ = read_file(file, stack=False, name="")
    if ids:
        raise ValueError(
            f"{file} contains image ids; here the names of entries or files are the ids, so leave them out."
        )
    return arrays


def _stack_of_images(files: list[Path]) -> Iterator[tuple[str, np.ndarray, ImageIds]]:
    """Name, features and image ids of every network, from one file per image."""
    files = sorted(files)  # alphabetically, as lists of labels are
    read = [_without_ids(file) for file in files]
    keys, stems = set(read[0]), Counter(file.stem for file in files)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise ValueError(f"{files[0].parent} has two files of the image {twice[0]!r}.")
    for file, arrays in zip(files, read, strict=True):
        if odd := keys.symmetric_difference(arrays):
            raise ValueError(f"{files[0]} and {file} differ: only one of them has {sorted(odd)[0]!r}.")
    for key in read[0]:
        yield key, _stack({str(file): arrays[key] for file, arrays in zip(files, read, strict=True)}), tuple(stems)


def _stack_of_layer(files: list[Path]) -> Iterator[tuple[str, np.ndarray, ImageIds]]:
    """Name, features and image ids of every layer, from one file per layer, in the order of the ids."""
    if twice := repeated(file.stem for file in files):
        raise ValueError(
            f"two files in {files[0].parent} are named {twice[0]!r}; every layer must be in a single file."
        )
    for file in files:
        arrays = _without_ids(file)
        ids = sorted(arrays)
        if not all(ids) or not ids:
            raise ValueError(
                f"{file} has {'no arrays' * (not ids) or 'an array without a name'}; the names are the ids of its "
                "images."
            )
        yield file.stem.removeprefix(_PER_LAYER), _stack({f"{file}, {one}": arrays[one] for one in ids}), tuple(ids)


def _stack(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Stack arrays of one image each, given by location, without the length-one axis left over from batches."""
    first, *_ = arrays
    for where, x in arrays.items():
        if x.shape != arrays[first].shape:
            shapes = f"{arrays[first].shape} and {x.shape}"
            raise ValueError(
                f"{first} and {where} have arrays of shapes {shapes}; all images must have the same shape."
            )
    found = np.stack(list(arrays.values()))
    return found[:, 0] if found.ndim > 2 and found.shape[1] == 1 else found


def _read_folder(folder: Path, stack: bool, read: Callable) -> tuple[dict[str, Any], dict[str, ImageIds]]:
    features: dict[str, Any] = {}
    ids: dict[str, ImageIds] = {}
    for file in _feature_files(folder, tuple(READERS)) or _no_files(folder):
        arrays, own, _ = read(file, stack=stack)
        for key, values in arrays.items():
            name = file.stem if len(arrays) == 1 else f"{file.stem}/{key}"
            if name in features:
                raise ValueError(f"{folder} has two networks named {name!r}, one of them in {file.name}.")
            features[name] = values
            if key in own:
                ids[name] = own[key]
    return features, ids


def _feature_files(folder: Path, suffixes: tuple[str, ...], allowed: Sequence[Path] = ()) -> list[Path]:
    """Files with these suffixes; tables only if there are no other files, and text only if there are no tables.

    A warning names what is skipped.
    """
    found, passed = [], []
    for file in _inside(folder):
        if file.name.startswith((".", "__")) or file.name in _OWN_FILES or file in allowed:
            continue
        suffix = file.suffix.lower()
        if suffix in suffixes and file.is_file():
            found.append(file)
        elif file.is_dir() or suffix not in (*_PASSED_OVER, *TABLES):
            kind = "a subfolder" if file.is_dir() else "not a file of features"
            remedy = "; give the subfolders (FOLDER/* in a shell) in a list, or "
            remedy += "pass per_image=True if every file is one image"
            remedy = remedy if file.is_dir() else ""
            if suffix in _PICTURES:
                remedy = "; extract features of pictures with `jaxsim features`"
            raise ValueError(f"{folder} contains {file.name}, which is {kind} ({KNOWN}){remedy}.")
        else:
            passed.append(file)
    for lesser in (TABLES, TEXT):
        tables = [file for file in found if file.suffix.lower() in lesser]
        if len(tables) < len(found):
            found, passed = [file for file in found if file not in tables], passed + tables
    if found and passed:
        names = few(sorted(file.name for file in passed), 5)
        warn(f"{folder}: {names} not read as features; to read them, give these files by name.")
    return found


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda file: (natural(file.stem), file.name))


def _no_files(folder: Path) -> list[Path]:
    raise ValueError(f"{folder} contains no files of features ({KNOWN}).")


def _ids_in(folder: Path) -> ImageIds | None:
    found = [folder / name for name in _ID_FILES if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} has both {found[0].name} and {found[1].name}; keep only one.")
    return read_ids(found[0]) if found else None


def _combine(path: Path | str, names: list[str], own: Mapping[str, ImageIds], shared: ImageIds | None) -> Ids:
    if not own:
        return shared
    if shared is not None and all(name in own and own[name] != shared for name in names):
        warn(f"{path} has its own image ids, so those of the file next to it are not used.")
    ids = {name: found for name in names if (found := own.get(name, shared)) is not None}
    without = [name for name in names if name not in ids]
    if without:
        raise ValueError(f"{path} has image ids for some networks but not for {', '.join(without)}.")
    return ids[names[0]] if len(set(ids.values())) == 1 else ids
