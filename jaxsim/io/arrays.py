"""Npy and npz: written completely, memory-mapped if stored uncompressed, never read through a pickle.

Only `read_npy` and the features reader accept pickled objects, and only those on the allow-list.
"""

import contextlib
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxsim.io import limits
from jaxsim.io.files import atomic, repeated
from jaxsim.io.pickles import Refused, load_pickle

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    EOFError,
    struct.error,
    LookupError,
    OverflowError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    OSError,
)
"""Exceptions raised by reading damaged files."""
ID_NAMES = ("image_ids", "ids")
"""Names of entries with image ids."""


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turn errors from a damaged file in the block into one ValueError that names the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the block found the file damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    try:
        yield
    except Refused:
        raise
    except PermissionError as error:
        raise PermissionError(f"{path} could not be read: permission denied.") from error
    except DAMAGED as error:
        reason = str(error).strip("'\" .").replace("\n", " ") or type(error).__name__
        raise ValueError(f"{path} is damaged, truncated or of another format: {reason}.") from error


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray], *, overwrite: bool = False) -> Path:
    """Write arrays to exactly `path` in the npz format, uncompressed, completely or not at all.

    Entries are stored uncompressed and without time stamps, so they can be memory-mapped, and equal arrays give
    identical bytes. No suffix is added to the path.

    Raises:
        ValueError: an array contains Python objects, or has a type that npy files cannot store (bfloat16).
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = write_npz(Path(tempfile.mkdtemp()) / "scores.npz", {"values": np.eye(2)})
        >>> np.load(path)["values"].shape
        (2, 2)
    """
    plain = {name: np.asarray(values) for name, values in arrays.items()}
    for name, values in plain.items():
        if values.dtype.hasobject or (values.dtype.kind == "V" and values.dtype.type is not np.void):
            raise ValueError(
                f"{path} was not written: entry {name!r} has dtype {values.dtype}, which npz cannot store."
            )
    with atomic(path, overwrite=overwrite) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in plain.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return Path(path)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Read every array of an npz file into memory; arrays of Python objects are rejected, never unpickled.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not an npz file, is truncated or damaged (checksums are verified), or contains objects.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.npz"
        >>> np.savez(path, values=np.eye(2))
        >>> read_npz(path)["values"].shape
        (2, 2)
    """
    with naming(path), zipfile.ZipFile(path) as archive:
        _check_total(archive.infolist(), path)
        return {name: _read_entry(archive, info, objects=False) for name, info in _entries(archive)}


def names_in_npz(path: str | Path) -> list[str]:
    """List the entries of an npz file without reading them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not an npz file, or two entries have the same name.
    """
    with naming(path), zipfile.ZipFile(path) as archive:
        return [name for name, _ in _entries(archive)]


def read_npy(path: Path) -> Any:
    """Read an npy file as a memory map or, if it contains a pickle, through the allow-list."""
    with naming(path):
        return _map(path, 0, path.stat().st_size)


def map_npz(path: Path) -> dict[str, Any]:
    """Entries of an npz file: memory maps if stored uncompressed (without verifying checksums), else loaded."""
    with naming(path), zipfile.ZipFile(path) as archive:
        found = {}
        _check_total([info for info in archive.infolist() if not _stored(info)], path)
        for name, info in _entries(archive):
            if _stored(info):
                found[name] = _map(path, _data_offset(path, info), info.file_size)
            else:
                found[name] = _read_entry(archive, info, objects=True)
        return found


def _stored(info: zipfile.ZipInfo) -> bool:
    return info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1


def _check_total(entries: list[zipfile.ZipInfo], path: str | Path) -> None:
    limits.check(sum(info.file_size for info in entries), Path(path).stat().st_size, "its content")


def _entries(archive: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    pairs = [(info.filename.removesuffix(".npy"), info) for info in archive.infolist() if not info.is_dir()]
    names = [name for name, _ in pairs]
    twice = repeated(names)
    if twice:
        raise ValueError(f"it has two entries named {twice[0]!r}")
    return pairs


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Offset of an entry's bytes: after its local header, whose last two fields are lengths."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"entry {info.filename!r} has no header")
    name_length, extra_length = struct.unpack("<HH", header[26:])
    return info.header_offset + 30 + name_length + extra_length


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of the npy data at the current position of `file`, moved past the header."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"npy format version {version[0]}.{version[1]} is for structured arrays")


def _map(path: Path, start: int, size: int) -> Any:
    """Map the npy data in `size` bytes from `start`; pickled data goes through the allow-list."""
    with open(path, "rb") as file:
        file.seek(start)
        shape, fortran, dtype = _header(file)
        if dtype.hasobject:
            return _objects(file, dtype, str(path), start + size - file.tell())
        offset = file.tell()
    limits.check_empty(shape, dtype.itemsize)
    count = math.prod(shape) * dtype.itemsize
    if offset + count > start + size:
        raise ValueError(f"it should have {count} bytes of data, but has {start + size - offset}")
    if count == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, objects: bool) -> Any:
    """Read one entry into memory, checking its size before allocating and its checksum after."""
    with archive.open(info) as stream:
        shape, _, dtype = _header(stream)
        if dtype.hasobject and objects:
            where = f"{archive.filename}, entry {info.filename}"
            return _objects(stream, dtype, where, info.file_size)  # type: ignore[arg-type]
        if dtype.hasobject:
            raise Refused(f"{archive.filename} contains a pickle, {info.filename!r}, which is not read.")
        limits.check_empty(shape, dtype.itemsize)
        if stream.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"entry {info.filename!r} does not have the length that its shape {shape} requires")
    with archive.open(info) as stream:
        values = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # reaching the end verifies the checksum
    return values


def texts(values: Any, where: str) -> list[str]:
    """Convert labels to strings, from an array or list of strings, bytes or whole numbers.

    Raises:
        ValueError: they have another type or several axes; the message starts with `where`.
    """
    try:
        if isinstance(values, np.ndarray) and values.ndim != 1:
            raise TypeError
        items = np.asarray(values).tolist()
        if not isinstance(items, list) or not all(isinstance(item, str | bytes | int) for item in items):
            raise TypeError
        return [item.decode() if isinstance(item, bytes) else str(item) for item in items]
    except (TypeError, ValueError, SystemError) as error:  # SystemError: invalid code points
        raise ValueError(f"{where} must be one-dimensional, with one text or whole number for each label.") from error


def _objects(file: BinaryIO, dtype: np.dtype, name: str, size: int) -> Any:
    if dtype != np.dtype("O"):
        raise ValueError(f"structured dtype {dtype} holds Python objects, which are not read")
    return load_pickle(file, name=name, size=size)
