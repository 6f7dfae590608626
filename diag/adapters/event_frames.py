"""Where the records of a TensorBoard event file begin, and the checksums that guard them.

A record is a little-endian uint64 length, the masked CRC-32C of those eight bytes, the payload, and the masked CRC-32C of the
payload. Each record says where the next one begins, which a plain loop must follow one by one. Here every place that looks like
a header (six zero bytes, a payload that opens with a wall time, the right checksum) is found for the whole file at once, and
the loop only follows the links that do not lead from one such place to the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diag.adapters.event_checksums import Bytes, length_checksums
from diag.run import IntArray

HEADER = 12
"""Bytes before a payload: the length and its checksum."""
FRAME = 16
"""Bytes of a record around its payload: the header and the payload's checksum."""
PADDING = 16
"""Zero bytes that the caller leaves after the data, so that whole words can be read at its end."""

WALL_TIME_KEY = 0x09
"""First payload byte of every event with a wall time: field 1, wire type 64-bit."""
SHORT = 1 << 16
"""Payloads below this many bytes are found by scanning; longer ones (images, graphs) are followed one by one."""
SCAN_BLOCK = 1 << 20
"""Bytes scanned at a time: small enough that the passes over a block stay in the cache."""


class Frames(NamedTuple):
    """The records of a file.

    ``starts`` and ``lengths`` (int64, shape (n,), bytes) place the payloads; ``cut`` is the number of bytes of an unfinished
    last record; ``damaged`` counts the places where a header was unreadable and reading went on at the next good one.
    """

    starts: IntArray
    lengths: IntArray
    cut: int
    damaged: int


def _unaligned(buffer: Bytes, dtype: str) -> npt.NDArray[np.generic]:
    """The buffer seen as one item of ``dtype`` beginning at every byte."""
    item = np.dtype(dtype)
    return np.ndarray((buffer.size - item.itemsize + 1,), item, buffer.data, 0, (1,))


def gather(buffer: Bytes, places: IntArray, dtype: str) -> npt.NDArray[np.generic]:
    """The items of ``dtype`` that begin at ``places``."""
    return _unaligned(buffer, f"V{np.dtype(dtype).itemsize}")[places].view(dtype)


def _candidates(buffer: Bytes, size: int) -> tuple[IntArray, IntArray]:
    """Every place that has the form and the checksum of a short record's header, with its length."""
    found: list[IntArray] = []
    last = size - FRAME  # no record begins after this byte
    for low in range(0, max(last, 0) + 1, SCAN_BLOCK):
        count = min(SCAN_BLOCK, last + 1 - low)
        if count <= 0:
            break
        block = buffer[low : low + count + HEADER]
        zero = block[2 : count + 7] == 0  # six zero bytes from each place on: two by two, then three pairs
        two = zero[:-1] & zero[1:]
        six = two[:-4] & two[2:-2]
        six &= two[4:]
        six &= block[HEADER:] == WALL_TIME_KEY
        found.append(np.flatnonzero(six) + low)
    places = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
    lengths = buffer[places] + (buffer[places + 1].astype(np.int64) << 8)
    fits = places + lengths + FRAME <= size
    places, lengths = places[fits], lengths[fits]
    good = gather(buffer, places + 8, "<u4") == length_checksums(lengths)
    return places[good], lengths[good]


def find_frames(buffer: Bytes, size: int) -> Frames:
    """Find the records in the first ``size`` bytes of a buffer that has PADDING more bytes behind them."""
    places, lengths = _candidates(buffer, size)
    after = places + lengths + FRAME
    breaks = np.flatnonzero(after[:-1] != places[1:]).tolist() + ([places.size - 1] if places.size else [])
    starts: list[IntArray] = []
    sizes: list[IntArray] = []
    position = candidate = turn = damaged = cut = 0
    while position < size:
        if candidate < places.size and places[candidate] < position:
            candidate = int(np.searchsorted(places, position))
        if candidate < places.size and places[candidate] == position:
            while breaks[turn] < candidate:
                turn += 1
            end = breaks[turn] + 1
            starts.append(places[candidate:end] + HEADER)
            sizes.append(lengths[candidate:end])
            position, candidate = int(after[end - 1]), end
            continue
        if size - position < HEADER:
            cut = size - position
            break
        length = int.from_bytes(buffer[position : position + 8].tobytes(), "little")
        checksum = int.from_bytes(buffer[position + 8 : position + HEADER].tobytes(), "little")
        if length < 1 << 62 and int(length_checksums(np.array([length]))[0]) == checksum:
            if position + FRAME + length > size:
                cut = size - position
                break
            starts.append(np.array([position + HEADER]))
            sizes.append(np.array([length]))
            position += FRAME + length
            continue
        damaged += 1
        if candidate >= places.size:
            break
        position = int(places[candidate])
    none = np.empty(0, dtype=np.int64)
    return Frames(np.concatenate(starts) if starts else none, np.concatenate(sizes) if sizes else none, cut, damaged)
