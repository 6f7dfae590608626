"""Records of a ``.wandb`` file, one by one and with their places, and the framing of new ones.

W&B's library writes and uploads these files but offers no way to add to one. The file is a LevelDB log with a header of seven
bytes of its own: blocks of 32 KiB, each record in one chunk or split over several
(github.com/google/leveldb/blob/main/doc/log_format.md), with plain CRC-32 sums over a chunk's type and data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import pack, unpack_from
from typing import NamedTuple
from zlib import crc32

from diag.adapters.wandb_records import BLOCK, CHUNK_HEADER, FILE_HEADER, FIRST, FULL, LAST, MAGIC, MIDDLE


class Framed(NamedTuple):
    """A record and the offset in the file at which its first chunk begins."""

    at: int
    payload: bytes


def records(data: bytes) -> Iterator[Framed]:
    """Every record of a log, checked against its checksums.

    Raises:
        ValueError: it is no such log, is damaged, or is cut off.
    """
    if not data.startswith(MAGIC):
        raise ValueError("does not start with the W&B file header")
    at, start = FILE_HEADER, 0
    parts: list[bytes] = []
    while at < len(data):
        room = BLOCK - at % BLOCK
        if room < CHUNK_HEADER:
            at += room
            continue
        if at + CHUNK_HEADER > len(data):
            raise ValueError("is cut off")
        checksum, length, kind = unpack_from("<IHB", data, at)
        if kind == 0 and length == 0:  # the zeroed rest of a block
            at += room
            continue
        body = data[at + CHUNK_HEADER : at + CHUNK_HEADER + length]
        if len(body) < length:
            raise ValueError("is cut off")
        if CHUNK_HEADER + length > room or crc32(body, crc32(bytes([kind]))) != checksum or (kind in (MIDDLE, LAST)) != bool(parts):
            raise ValueError(f"is damaged at byte {at}")
        if kind in (FULL, FIRST):
            start = at
        parts.append(body)
        if kind in (FULL, LAST):
            yield Framed(start, b"".join(parts))
            parts = []
        at += CHUNK_HEADER + length
    if parts:
        raise ValueError("is cut off")


def framed(payloads: Iterable[bytes], at: int) -> bytes:
    """The bytes that hold these records from an offset in the file on."""
    out = bytearray()
    for payload in payloads:
        rest, first = payload, True
        while first or rest:
            room = BLOCK - (at + len(out)) % BLOCK
            if room < CHUNK_HEADER:
                out += bytes(room)
                continue
            body, rest = rest[: room - CHUNK_HEADER], rest[room - CHUNK_HEADER :]
            kind = (FIRST if rest else FULL) if first else (MIDDLE if rest else LAST)
            out += pack("<IHB", crc32(body, crc32(bytes([kind]))), len(body), kind) + body
            first = False
    return bytes(out)
