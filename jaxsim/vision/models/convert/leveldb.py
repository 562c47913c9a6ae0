"""Readers of the two formats in TensorFlow checkpoints: LevelDB tables and protocol buffer messages."""

import struct
from pathlib import Path

import google_crc32c
import numpy as np

from jaxsim.io import limits

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5
"""Bytes after a block: one of compression type, four of checksum."""


def read_table(path: Path) -> dict[bytes, bytes]:
    """Read all keys and values of a table file.

    A footer points at the index block, whose values point at the data blocks. Each key in a block is stored as the
    length of the prefix shared with the previous key, and the rest.

    Raises:
        ValueError: the file is not such a table, is damaged, or has compressed blocks.
    """
    data = path.read_bytes()
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError(f"{path} is not a TensorFlow checkpoint index: it does not end in a table footer.")
    try:
        _, position = _handle(data[-FOOTER:], 0)
        place, _ = _handle(data[-FOOTER:], position)
        blocks = [_handle(value, 0)[0] for value in _entries(_block(path, data, place)).values()]
        if sum(size for _, size in blocks) > len(data):
            raise IndexError("blocks share their bytes")
        table: dict[bytes, bytes] = {}
        for block in blocks:
            table |= _entries(_block(path, data, block))
    except (IndexError, struct.error) as error:
        raise _damaged(path) from error
    return table


def fields(path: Path, message: bytes) -> dict[int, list]:
    """Parse a protocol buffer message to values by field number, as signed integers or bytes.

    Raises:
        ValueError: the message, part of the file at `path`, is damaged.
    """
    found: dict[int, list] = {}
    position = 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            kind = tag & 7
            if kind == 0:
                value, position = _varint(message, position)
                value -= (value >> 63) << 64
            else:
                length, position = _varint(message, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
                value, position = message[position : position + length], position + length
            found.setdefault(tag >> 3, []).append(value)
    except (IndexError, KeyError) as error:
        raise _damaged(path) from error
    if position != len(message):
        raise _damaged(path)
    return found


def matches(data: bytes | np.ndarray, stored: int) -> bool:
    """Whether bytes have the CRC-32C that LevelDB's format stores, rotated and shifted by a constant.

    Example:
        >>> matches(b"123456789", 0xC78AB0E5), matches(b"12345678", 0xC78AB0E5)
        (True, False)
    """
    rotated = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return google_crc32c.value(data) == (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged: its table cannot be read.")


def _block(path: Path, data: bytes, place: tuple[int, int]) -> bytes:
    """Read a block and verify its checksum."""
    offset, size = place
    whole = data[offset : offset + size + TRAILER]
    if len(whole) != size + TRAILER or size < 4:
        raise _damaged(path)
    if not matches(whole[: size + 1], struct.unpack("<I", whole[-4:])[0]):
        raise ValueError(f"{path} is damaged: a block of its table differs from its checksum.")
    if whole[size]:
        raise ValueError(f"{path} has a compressed table (snappy), which is not supported; checkpoints have none.")
    return whole[:size]


def _entries(block: bytes) -> dict[bytes, bytes]:
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (restarts + 1)
    found: dict[bytes, bytes] = {}
    key, position, total = b"", 0, 0
    while position < end:
        shared, position = _varint(block, position)
        new, position = _varint(block, position)
        size, position = _varint(block, position)
        key = key[:shared] + block[position : position + new]
        total += len(key)
        limits.check(total, len(block), "the table of names")
        position += new
        found[key] = block[position : position + size]
        position += size
    if position != end:
        raise IndexError("entries run into the restarts")
    return found


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Parse the offset and size of a block, and return the next position."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Parse a number in groups of seven bits, lowest first, and return the next position."""
    value = shift = 0
    while shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise IndexError("a number runs over 64 bits")
