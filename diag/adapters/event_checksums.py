"""The masked CRC-32C of event file records, for many records at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from diag.run import IntArray

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]

POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), reflected, as in RFC 3720 appendix B.4."""
MASK_DELTA = 0xA282EAD8
"""Added after a rotation by 15 bits: the record format masks checksums so that data holding checksums stays checkable."""
LANE = 1024
"""Bytes of a long payload that are worked through one after the other, beside those of the other lanes."""
LONG = 16 * LANE
"""Bytes from which a payload is cut into lanes; below, a plain loop is faster."""


@lru_cache(maxsize=1)
def _table() -> Words:
    """CRC-32C of every byte value, shape (256,)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@lru_cache(maxsize=1)
def _plain_table() -> list[int]:
    return [int(word) for word in _table()]


def _masked(crc: Words) -> Words:
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(MASK_DELTA)


def length_checksums(lengths: IntArray) -> Words:
    """Masked CRC-32C of each length written as eight little-endian bytes, uint32, shape (n,)."""
    if lengths.size and lengths.size > (top := int(lengths.max()) + 1):
        return length_checksums(np.arange(top))[lengths]
    table = _table()
    state = np.full(lengths.shape, 0xFFFFFFFF, dtype=np.uint32)
    for shift in range(0, 64, 8):
        state = table[(state ^ ((lengths >> shift) & 0xFF).astype(np.uint32)) & np.uint32(0xFF)] ^ (state >> np.uint32(8))
    return _masked(~state)


def payload_checksums(payloads: npt.NDArray[np.uint8]) -> Words:
    """Masked CRC-32C of equally long payloads, uint8 (n, length) -> uint32 (n,)."""
    table = _table()
    state = np.full(payloads.shape[0], 0xFFFFFFFF, dtype=np.uint32)
    for column in payloads.T:
        state = table[(state ^ column) & np.uint32(0xFF)] ^ (state >> np.uint32(8))
    return _masked(~state)


def checksum(payload: Bytes) -> int:
    """Masked CRC-32C of one payload of any length, uint8 (length,)."""
    if payload.size >= LONG:
        crc = _long_crc(payload)
    else:
        table = _plain_table()
        crc = 0xFFFFFFFF
        for byte in payload.tobytes():
            crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return int(_masked(np.array([~crc & 0xFFFFFFFF], dtype=np.uint32))[0])


def _long_crc(payload: Bytes) -> int:
    """CRC-32C before its final inversion.

    The payload is cut into lanes of LANE bytes that are worked through side by side. A lane's result is carried over the lanes
    after it by the linear map that appending LANE zero bytes is; leading zero bytes leave a zero state alone, so the first lane
    may be padded in front.
    """
    lanes = -(-payload.size // LANE)
    block = np.zeros(lanes * LANE, dtype=np.uint8)
    start = block.size - payload.size
    block[start:] = payload
    block[start : start + 4] ^= np.uint8(0xFF)  # the same as starting from a state of ones
    table = _table()
    state = np.zeros(lanes, dtype=np.uint32)
    for column in block.reshape(lanes, LANE).T:
        state = table[(state ^ column) & np.uint32(0xFF)] ^ (state >> np.uint32(8))
    images = _carry()
    crc = 0
    for lane in state.tolist():
        moved = 0
        for bit in range(32):
            if crc >> bit & 1:
                moved ^= images[bit]
        crc = moved ^ lane
    return int(crc)


@lru_cache(maxsize=1)
def _carry() -> list[int]:
    """What becomes of each bit of a state when LANE zero bytes follow."""
    table = _table()
    image = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(LANE):
        image = table[image & np.uint32(0xFF)] ^ (image >> np.uint32(8))
    return [int(word) for word in image]
