"""CRC-32C, vectorized: many parts of the bytes at a time, then joined."""

import functools

import numpy as np

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""
CHUNK = 1 << 24
"""Bytes at a time, so that their copy stays small."""
FEW = 2048
"""Bytes not worth dividing into parts."""


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """CRC-32C of bytes.

    What a byte makes of the 32 bits of state is linear in them. So the state after a whole is that after its first
    part, carried over as many zero bytes as the second part has, plus that after the second part alone: equal parts
    are read side by side, a byte of each at a time.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    values = np.frombuffer(data, np.uint8)
    state = 0xFFFFFFFF
    for start in range(0, len(values), CHUNK):
        state = _state(state, values[start : start + CHUNK])
    return state ^ 0xFFFFFFFF


def unmasked(value: int) -> int:
    """The checksum behind a stored one, which LevelDB's format rotates and shifts by a constant.

    Example:
        >>> unmasked(0xA282EAD8), hex(unmasked(0xA282EAD8 + (1 << 17)))
        (0, '0x1')
    """
    rotated = (value - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _state(state: int, values: np.ndarray) -> int:
    """The state after these bytes, from that before them."""
    if len(values) < FEW:
        table = _table().tolist()
        for value in values.tolist():
            state = table[(state ^ value) & 0xFF] ^ (state >> 8)
        return state
    parts = 1 << (len(values).bit_length() // 2)
    length = len(values) // parts
    states = np.zeros(parts, np.uint32)
    states[0] = state
    for column in np.ascontiguousarray(values[: parts * length].reshape(parts, length).T):
        states = _step(states, column)
    return _state(_joined(states, length), values[parts * length :])


def _step(state: np.ndarray, value: np.ndarray | np.uint32) -> np.ndarray:
    return _table()[(state ^ value) & 0xFF] ^ (state >> np.uint32(8))


def _joined(states: np.ndarray, length: int) -> int:
    """The state after all parts of `length` bytes, from those after each."""
    carry = _zeros(length)
    while len(states) > 1:
        states = _apply(carry, states[0::2]) ^ states[1::2]
        carry = _apply(carry, carry)
    return int(states[0])


def _zeros(length: int) -> np.ndarray:
    """The map that `length` zero bytes make of a state: what becomes of each of its bits."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power, whole = _step(bits, np.uint32(0)), bits
    while length:
        if length & 1:
            whole = _apply(power, whole)
        power, length = _apply(power, power), length >> 1
    return whole


def _apply(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Each state under the linear map with these images of the 32 bits."""
    out = np.zeros_like(states)
    for bit in range(32):
        out ^= np.where(states >> np.uint32(bit) & np.uint32(1), images[bit], np.uint32(0))
    return out


@functools.cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(POLYNOMIAL), table >> 1).astype(np.uint32)
    return table
