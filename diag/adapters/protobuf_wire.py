"""The Protocol Buffers wire format without generated classes: many messages side by side as arrays, or one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from diag.run import IntArray

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5


class Spans(NamedTuple):
    """Byte ranges in a buffer, int64 arrays of shape (n,)."""

    start: IntArray
    end: IntArray

    def select(self, mask: Any) -> Spans:
        """The ranges where ``mask`` (boolean mask, index array or slice) holds."""
        return Spans(self.start[mask], self.end[mask])


class Fields(NamedTuple):
    """Fields of protobuf messages: index of the message, field number, wire type, and the value's byte range."""

    owner: IntArray
    number: IntArray
    wire: IntArray
    value: Spans

    def select(self, mask: Any) -> Fields:
        """The fields where ``mask`` holds."""
        return Fields(self.owner[mask], self.number[mask], self.wire[mask], self.value.select(mask))


def fields(buffer: ByteArray, messages: Spans) -> tuple[Fields, int]:
    """The fields of many messages, first fields first (those of one message in its order), and how many messages are damaged.

    A damaged message keeps the fields before the damage.
    """
    owner = np.flatnonzero(messages.end > messages.start)
    at, end = messages.start[owner], messages.end[owner]
    found: list[Fields] = []
    damaged = 0
    while owner.size:
        tag, begin, good = varints(buffer, at, end)
        wire = tag & 7
        stop = begin.copy()
        sized = good & (wire == BYTES)
        if bool(sized.all()):
            length, begin, good = varints(buffer, begin, end)
            stop = begin + length
        else:
            where = np.flatnonzero(sized & (begin < end))
            length, begin[where], good[where] = varints(buffer, begin[where], end[where])
            stop[where] = begin[where] + length
            where = np.flatnonzero(good & (wire == VARINT) & (begin < end))
            _, stop[where], good[where] = varints(buffer, begin[where], end[where])
            stop[wire == FIXED64] += 8
            stop[wire == FIXED32] += 4
            good &= np.isin(wire, (VARINT, FIXED64, BYTES, FIXED32))
        good &= (stop <= end) & (stop >= begin) & (stop > at + 1 - (wire == BYTES)) & (tag >= 8)
        if not bool(good.all()):
            damaged += int((~good).sum())
            keep = np.flatnonzero(good)
            owner, end, tag, wire, begin, stop = owner[keep], end[keep], tag[keep], wire[keep], begin[keep], stop[keep]
        found.append(Fields(owner, tag >> 3, wire, Spans(begin, stop)))
        rest = np.flatnonzero(stop < end)
        owner, at, end = owner[rest], stop[rest], end[rest]
    if not found:
        blank = np.empty(0, dtype=np.int64)
        return Fields(blank, blank, blank, Spans(blank, blank)), damaged
    joined = Fields(
        np.concatenate([part.owner for part in found]),
        np.concatenate([part.number for part in found]),
        np.concatenate([part.wire for part in found]),
        Spans(np.concatenate([part.value.start for part in found]), np.concatenate([part.value.end for part in found])),
    )
    return joined, damaged


def varints(buffer: ByteArray, at: IntArray, end: IntArray) -> tuple[IntArray, IntArray, BoolArray]:
    """Varints at positions ``at`` (each before its ``end``): values (up to 63 bits), positions after them, and which are whole."""
    good = at < end
    byte = buffer[np.minimum(at, buffer.size - 1)] if buffer.size else np.zeros(at.shape, dtype=np.uint8)
    value = (byte & 0x7F).astype(np.int64)
    after = at + 1
    more = np.flatnonzero((byte >= 0x80) & good)
    shift = 7
    while more.size and shift < 63:
        inside = after[more] < end[more]
        if not bool(inside.all()):
            good[more[~inside]] = False
            more = more[inside]
        byte = buffer[after[more]]
        value[more] |= (byte & 0x7F).astype(np.int64) << shift
        after[more] += 1
        more = more[byte >= 0x80]
        shift += 7
    if more.size:  # the tenth byte of a negative number
        inside = after[more] < end[more]
        after[more] += 1
        good[more[~inside]] = False
    return value, after, good


def varint(raw: bytes) -> int:
    """The value of a varint, 0 for no bytes."""
    return _varint(raw, 0)[0]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Value of the varint at a position, and the position after it (beyond the end where it is cut off)."""
    value = shift = 0
    for position in range(at, min(at + 10, len(raw))):
        value |= (raw[position] & 0x7F) << shift
        if raw[position] < 0x80:
            return value, position + 1
        shift += 7
    return value, len(raw) + 1


def message(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Field number, wire type and raw value of one protobuf message, up to a damaged place."""
    at, size = 0, len(raw)
    while at < size:
        tag, at = _varint(raw, at)
        wire = tag & 7
        start = at
        if wire == BYTES:
            length, start = _varint(raw, at)
            at = start + length
        elif wire == VARINT:
            at = _varint(raw, at)[1]
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            return
        if at > size or tag < 8:
            return
        yield tag >> 3, wire, raw[start:at]
