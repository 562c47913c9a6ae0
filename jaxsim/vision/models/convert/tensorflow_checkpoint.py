"""Reader of TensorFlow's V2 checkpoints that needs no TensorFlow."""

import dataclasses
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxsim.io import limits
from jaxsim.vision.models.convert.leveldb import fields, matches, read_table

DTYPES: dict[int, str] = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "?",
    14: "bfloat16",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
"""NumPy dtypes by TensorFlow's `DataType`."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Location of a tensor, TensorFlow's `BundleEntryProto`.

    Attributes:
        dtype: TensorFlow's `DataType`.
        shape: shape of the tensor.
        shard: number of its data file.
        offset: offset of its first byte in that file.
        size: size in bytes.
        checksum: masked CRC-32C of the bytes.
        sliced: whether it is part of a larger tensor, or has parts.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class Bundle(Mapping[str, np.ndarray]):
    """Tensors of a checkpoint by name, read and verified on access.

    The `.index` file is a table of entries; the `.data-` files contain the values.

    Source: LevelDB's table format; TensorFlow's `tensor_bundle.proto`.

    Args:
        path: the checkpoint's prefix, or its `.index` or one of its `.data-00000-of-00001` files.

    Raises:
        FileNotFoundError: the index does not exist.
        ValueError: the index is damaged or compressed.
    """

    def __init__(self, path: str | Path):
        self.prefix = bundle_prefix(path)
        index = Path(f"{self.prefix}.index")
        if not index.is_file():
            raise FileNotFoundError(f"{index} does not exist.")
        table = read_table(index)
        if b"" not in table:
            raise ValueError(f"{index} is not a TensorFlow checkpoint: its table has no header.")
        header = fields(index, table.pop(b""))
        if header.get(2, [0])[-1]:
            raise ValueError(f"{index} is big-endian, which is not supported.")
        self.shards = header.get(1, [1])[-1]
        self.entries = {key.decode(errors="replace"): _entry(index, value) for key, value in table.items()}
        self._maps: dict[Path, np.ndarray] = {}

    def __getitem__(self, key: str) -> np.ndarray:
        """Read a tensor.

        Raises:
            KeyError: there is no such tensor.
            ValueError: it is not a whole tensor of numbers, or its bytes are damaged or missing.
        """
        entry = self.entries[key]
        path = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if entry.sliced or entry.dtype not in DTYPES:
            what = "is stored in slices" if entry.sliced else f"does not contain numbers (type {entry.dtype})"
            raise ValueError(f"{path}: tensor {key!r} {what}, which is not supported.")
        dtype = _dtype(DTYPES[entry.dtype])
        data = self._data(path)[entry.offset : entry.offset + entry.size]
        negative = min(entry.offset, *entry.shape, 0) < 0
        if negative or len(data) != entry.size or entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise ValueError(
                f"{path} is damaged: tensor {key!r} of shape {entry.shape} does not match its number of bytes."
            )
        if not matches(data, entry.checksum):
            raise ValueError(f"{path} is damaged: tensor {key!r} differs from its checksum.")
        limits.check_empty(entry.shape, dtype.itemsize)
        return data.view(dtype).reshape(entry.shape)

    def __contains__(self, key: object) -> bool:
        """Whether there is such a tensor, without reading it."""
        return key in self.entries

    def __iter__(self) -> Iterator[str]:
        """Names, sorted."""
        return iter(self.entries)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self.entries)

    def _data(self, path: Path) -> np.ndarray:
        if path not in self._maps:
            if not path.is_file():
                raise FileNotFoundError(f"{path} does not exist, but its index names it.")
            empty = path.stat().st_size == 0
            self._maps[path] = np.zeros(0, np.uint8) if empty else np.memmap(path, np.uint8, "r")
        return self._maps[path]


def bundle_prefix(path: str | Path) -> Path:
    """The prefix of a checkpoint, from it or the path of one of its files.

    Example:
        >>> str(bundle_prefix("model.ckpt.data-00000-of-00001"))
        'model.ckpt'
    """
    path = Path(path)
    if path.suffix in (".index", ".meta") or path.suffix.startswith(".data-"):
        return path.with_suffix("")
    return path


def _entry(index: Path, value: bytes) -> Entry:
    found = fields(index, value)
    dtype, shard, offset, size = (found.get(tag, [0])[-1] for tag in (1, 3, 4, 5))
    try:
        sides = [fields(index, side) for shape in found.get(2, []) for side in fields(index, shape).get(2, [])]
        (checksum,) = struct.unpack("<I", found.get(6, [bytes(4)])[-1])
    except (TypeError, struct.error) as error:
        raise ValueError(f"{index} is damaged: an entry of its table cannot be read.") from error
    return Entry(dtype, tuple(side.get(1, [0])[-1] for side in sides), shard, offset, size, checksum, 7 in found)


def _dtype(name: str) -> np.dtype:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
