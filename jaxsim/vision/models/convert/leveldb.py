"""Two formats that checkpoints of TensorFlow are made of: LevelDB's sorted tables and protocol buffer messages."""

import struct
from pathlib import Path

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5
"""Bytes after a block: one for its compression, four of checksum."""


def read_table(path: Path) -> dict[bytes, bytes]:
    """All keys and values of a table file.

    A footer points at the index block, whose values point at the data blocks. Keys in a block are given as what they
    share with the key before and what is new.

    Raises:
        ValueError: the file is no such table, is damaged, or has compressed blocks.
    """
    data = path.read_bytes()
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError(f"{path} is no TensorFlow checkpoint index: it does not end in a table's footer.")
    try:
        _, position = _handle(data[-FOOTER:], 0)
        place, _ = _handle(data[-FOOTER:], position)
        blocks = [_handle(value, 0)[0] for value in _entries(_block(path, data, place)).values()]
        table: dict[bytes, bytes] = {}
        for block in blocks:
            table |= _entries(_block(path, data, block))
    except (IndexError, struct.error) as error:
        raise _damaged(path) from error
    return table


def fields(path: Path, message: bytes) -> dict[int, list]:
    """A protocol buffer message: for each field number its values, as signed integers or as bytes.

    Raises:
        ValueError: the message is damaged; it is part of the file at `path`.
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
    """The contents of a block, its checksum checked."""
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
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        new, position = _varint(block, position)
        size, position = _varint(block, position)
        key = key[:shared] + block[position : position + new]
        position += new
        found[key] = block[position : position + size]
        position += size
    if position != end:
        raise IndexError("entries run into the restarts")
    return found


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position behind them."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
