"""Reading safetensors, HDF5 and MATLAB: arrays by name, memory-mapped if their bytes are stored unchanged."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras
from jaxsim.io import limits, matlab_elements
from jaxsim.io.arrays import ID_NAMES, naming
from jaxsim.io.files import few, natural, parse_json, warn

_SAFETENSORS = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_MATLAB_NUMBERS = ("double", "single", "logical", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))
_MOST_CELLS = 2**20
_ML_DTYPES = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file as views of one memory map, in `natural` order of their names.

    The format is an eight-byte little-endian length, a JSON header of that length, then the bytes. The safetensors
    package is not used, because its NumPy reader copies every tensor into memory. That is too much for features of many
    networks, or for checkpoints of which only a few layers are needed. (`models.from_safetensors`, which needs all of
    them, uses it.)

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated or damaged, or a tensor has an unknown type.
    """
    with naming(path):
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise ValueError("its header is longer than the file")
            header = parse_json(file.read(length), object_pairs_hook=_unique)
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        header.pop("__metadata__", None)
        data = np.memmap(path, np.uint8, "r")[8 + length :]
        tensors = {name: _tensor(data, name, entry) for name, entry in _in_order(header)}
        if sum(tensor.nbytes for tensor in tensors.values()) > len(data):
            raise ValueError("some of its tensors overlap")
        return tensors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its header names a tensor twice")
    return dict(pairs)


def _tensor(data: np.ndarray, name: str, entry: Any) -> np.ndarray:
    dtype, shape = _safetensors_dtype(entry["dtype"], name), tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(type(i) is int and i >= 0 for i in (*shape, begin, end)):
        raise ValueError(f"tensor {name!r} has a shape or position that is not made of whole numbers")
    limits.check_empty(shape, dtype.itemsize)
    if end > len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {name!r} of shape {shape} does not match its number of bytes")
    return data[begin:end].view(dtype).reshape(shape)


def _safetensors_dtype(text: str, name: str) -> np.dtype:
    if text in _SAFETENSORS:
        return np.dtype(_SAFETENSORS[text])
    if text in _ML_DTYPES:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, _ML_DTYPES[text]))
    raise ValueError(f"tensor {name!r} has type {text}, which is not supported")


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Datasets of an HDF5 file by their path in it, `group/name`, in `natural` order; external links are not followed.

    Contiguous numeric datasets are memory-mapped. Chunked or compressed ones are read into memory in full. MATLAB
    stores axes in reverse order: datasets that it marks with `MATLAB_class` are reversed back.

    Raises:
        ImportError: h5py is not installed.
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated or damaged.
    """
    with extras.needed(f"{path} needs", install=extras.FILES):
        import h5py
    found: dict[str, np.ndarray] = {}
    whole: list[str] = []
    links: list[str] = []

    def visit(name: str, item: Any) -> None:
        if name.startswith(("#refs#", "#subsystem#")) or any(name.startswith(f"{done}/") for done in whole):
            return
        if isinstance(item, h5py.Group):
            links.extend(f"{name}/{key}" for key in _links(item))
        if "MATLAB_class" in item.attrs:
            whole.append(name)
            found.update(_named(_variable(name, _matlab_value(path, name, item))))
        elif isinstance(item, h5py.Dataset):
            found[name] = _dataset(path, item)

    with naming(path), h5py.File(path, "r") as file:
        links += _links(file)
        file.visititems(visit)
    if links:
        warn(f"{path}: {few(links)} left out, because links are not followed.")
    return dict(_in_order(found))


def _in_order(found):
    """Items of a file whose writers and readers sort names alphabetically."""
    return sorted(found.items(), key=lambda item: natural(item[0]))


def _links(group: Any) -> list[str]:
    """Names in a group that are links to other places instead of objects in it."""
    import h5py

    return [name for name in group if not isinstance(group.get(name, getlink=True), h5py.HardLink)]


def own_data(dataset: Any, path: str | Path) -> Any:
    """Check that an HDF5 dataset has its numbers in the file itself, and no more than it can contain.

    Raises:
        ValueError: they are in other files (an external link, external storage, a virtual dataset), or take far more
            memory than their space in the file.
    """
    if not hasattr(dataset, "is_virtual"):
        raise ValueError(f"{dataset.name!r} is a group, not a dataset")
    if dataset.external or dataset.is_virtual or dataset.file.filename != str(path):
        raise ValueError(f"dataset {dataset.name!r} takes its numbers from other files, which are not read")
    stored = min(dataset.id.get_storage_size(), Path(path).stat().st_size)
    chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize  # read in full, however little is needed
    limits.check(max(dataset.nbytes, chunk), stored, f"dataset {dataset.name!r}")
    limits.check_empty(dataset.shape or (), dataset.dtype.itemsize)
    return dataset


def _dataset(path: Path, dataset: Any) -> np.ndarray:
    import h5py

    dataset = own_data(dataset, path)
    if dataset.shape is None:
        raise ValueError(f"dataset {dataset.name!r} is empty")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return _text(path, dataset)
    as_stored = dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True)
    if as_stored and dataset.chunks is None and dataset.size and dataset.dtype.kind in "biufc":
        offset = dataset.id.get_offset()
        if offset is not None and dataset.file.userblock_size == 0:
            return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    return np.asarray(dataset[()])


def _text(path: Path, dataset: Any) -> np.ndarray:
    """A dataset of text, read in parts, since the file may store a text once and refer to it often."""
    if dataset.ndim != 1:
        return np.asarray(dataset.asstr()[()], dtype=str) if dataset.size <= 1 else _refuse_table(dataset)
    size, found, total = path.stat().st_size, [], 0
    step = max(1, limits.FLOOR // size)
    for start in range(0, len(dataset), step):
        found += dataset.asstr()[start : start + step].tolist()
        total += sum(map(len, found[start:]))
        limits.check(total, size, f"dataset {dataset.name!r}")
    limits.check(4 * len(found) * max(map(len, found), default=0), size, f"dataset {dataset.name!r}")
    return np.asarray(found, dtype=str)


def _refuse_table(dataset: Any) -> np.ndarray:
    raise ValueError(f"dataset {dataset.name!r} contains text with several axes")


def _matlab_value(path: Path, name: str, item: Any) -> np.ndarray:
    """A MATLAB variable in HDF5, in the form that SciPy gives for older files: cells and structs of objects."""
    kind = str(np.asarray(item.attrs.get("MATLAB_class", "")).astype(str))
    if "MATLAB_empty" in item.attrs or "MATLAB_sparse" in item.attrs:
        raise ValueError(f"the MATLAB array {name!r} is empty or sparse; store it as a full array")
    if kind == "struct" and not hasattr(item, "shape"):
        return _matlab_struct(path, name, item)
    values = _dataset(path, item)
    if kind == "cell":
        return _referred(path, name, item.file, values.T)
    if kind == "char":
        return np.asarray(["".join(map(chr, row)).rstrip() for row in np.atleast_2d(values.T).tolist()])
    if kind and kind not in _MATLAB_NUMBERS:
        raise ValueError(_own_type(name, kind))
    return values.T if kind else values


def _referred(path: Path, name: str, file: Any, references: np.ndarray) -> np.ndarray:
    """The arrays that a cell array refers to, each stored once."""
    found, seen = np.empty(references.shape, object), set()
    for place, reference in np.ndenumerate(references):
        item = file[reference]
        if item.name in seen or len(seen) > _MOST_CELLS:
            raise ValueError(
                f"the MATLAB array {name!r} refers to {item.name} twice, or has more than {_MOST_CELLS} cells"
            )
        seen.add(item.name)
        if item.attrs.get("MATLAB_class", b"") in (b"cell", b"struct"):
            raise ValueError(f"the MATLAB cell array {name!r} holds cells or structs; store arrays as variables")
        found[place] = _matlab_value(path, name, item)
    return found


def _matlab_struct(path: Path, name: str, group: Any) -> np.ndarray:
    """A struct, or an array of structs, whose fields are references without a class of their own."""
    import h5py

    fields = {}
    for field in group:
        item = group[field] if isinstance(group.get(field, getlink=True), h5py.HardLink) else None
        if item is not None and h5py.check_ref_dtype(getattr(item, "dtype", None)) and not len(item.attrs):
            fields[field] = _referred(path, f"{name}/{field}", group.file, _dataset(path, item).T)
        elif item is not None:
            fields[field] = np.empty((1, 1), object)
            fields[field][0, 0] = _matlab_value(path, f"{name}/{field}", item)
    shapes = {x.shape for x in fields.values()}
    if len(shapes) != 1:
        raise ValueError(f"the MATLAB struct {name!r} has no fields, or fields of different sizes")
    found = np.empty(shapes.pop(), [(field, object) for field in fields])
    for field, values in fields.items():
        found[field] = values
    return found


def _own_type(name: str, kind: str) -> str:
    return f"variable {name!r} is a MATLAB {kind}; store its numbers as an array (table2array, full, double)"


def _named(pairs: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    found = list(pairs)
    if len(dict(found)) < len(found):
        raise ValueError("two elements of an array of structs have the same name")
    return dict(found)


def _ids_of_matlab(name: str, values: np.ndarray) -> np.ndarray:
    """Convert an array named as image ids to whole numbers in one axis; MATLAB has rows and columns of doubles."""
    if name.rpartition("/")[2] not in ID_NAMES or values.dtype.kind != "f":
        return values
    flat = values.ravel()
    return flat.astype(np.int64) if np.all(flat == np.round(flat)) else flat


def read_matlab(path: Path) -> dict[str, np.ndarray]:
    """Numeric variables and fields of a MATLAB file, `struct/field`; text and cells of text as text.

    An element of an array of structs is named by its text fields, or by its position: `struct/name/field`. If structs
    have a field `RDM`, as written by RSA toolboxes, only that field is read, as `struct/name`. Arrays in a cell are
    named by the text in their row, or by their position.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: it is a version 7.3 file, and h5py is not installed.
        ValueError: the file is damaged, or contains other kinds of variables.
    """
    with naming(path):
        with open(path, "rb") as file:
            modern = b"\x89HDF" in (file.read(4), file.seek(512) and file.read(4))
        if not modern:
            variables = matlab_elements.load(path)
            return _named(pair for name, x in variables.items() if name[:2] != "__" for pair in _variable(name, x))
    return read_hdf5(path)


def _variable(name: str, values: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of a MATLAB variable, with those of structs one by one."""
    if getattr(values, "dtype", None) is None or not isinstance(values, np.ndarray):
        raise ValueError(f"variable {name!r} is a {type(values).__name__}; store it as a full array")
    if type(values) is not np.ndarray and not isinstance(values, np.memmap):
        raise ValueError(_own_type(name, type(values).__name__.removeprefix("Matlab").lower()))
    if values.dtype.names:
        yield from _of_structs(name, values)
    elif values.dtype.hasobject:
        yield from _of_cells(name, values)
    elif values.dtype.kind == "U":
        yield name, np.char.rstrip(values)
    else:
        yield name, _ids_of_matlab(name, values)


def _of_structs(name: str, structs: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    _name_the_rest(name, structs)
    for k, element in enumerate(structs.ravel("F")):
        fields = {field: element[field] for field in structs.dtype.names or ()}
        label = " ".join(_first_text(x) for x in fields.values() if _is_text(x))
        place = name if structs.size == 1 else f"{name}/{label or k}"
        if "RDM" in fields:
            rdm = np.asarray(fields["RDM"])
            yield place, rdm.ravel() if len(rdm) == 1 else rdm
            continue
        for field in (field for field, x in fields.items() if structs.size == 1 or not _is_text(x)):
            yield from _variable(f"{place}/{field}", fields[field])


def _of_cells(name: str, cells: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if all(_is_text(cell) for cell in cells.ravel()):
        yield name, np.asarray([_first_text(cell) for cell in cells.ravel("F")])
        return
    if name.rpartition("/")[2] in ID_NAMES:
        raise ValueError(f"the MATLAB cell array {name!r} contains more than text, so it cannot be image ids")
    labeled = cells.ndim == 2 and any(_is_text(cell) for cell in cells.ravel())
    for k, row in enumerate(cells if labeled else cells.ravel("F")[:, None]):
        label = " ".join(_first_text(cell) for cell in row if _is_text(cell)) or k
        arrays = [cell for cell in row if not _is_text(cell)]
        for i, cell in enumerate(arrays):
            yield from _variable(f"{name}/{label}" + (f"/{i}" if len(arrays) > 1 else ""), cell)


def _name_the_rest(name: str, structs: np.ndarray) -> None:
    """Warn about the fields other than RDM that are neither read nor text in the names."""
    names = structs.dtype.names or ()
    if "RDM" in names and structs.size:
        first = structs.ravel()[0]
        rest = [field for field in names if field != "RDM" and not _is_text(first[field])]
        if rest:
            warn(f"only the field RDM of the MATLAB struct {name!r} is read; left out: {', '.join(rest)}.")


def _is_text(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "U"


def _first_text(values: Any) -> str:
    return str(values.ravel()[0]) if _is_text(values) and values.size else ""
