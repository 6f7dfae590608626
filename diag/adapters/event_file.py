"""The scalars of a TensorBoard event file, every point of them, without TensorBoard and without protobuf.

Most of an event file is the same few messages over and over: same length, same tag, another step and value. Records are sorted
by payload length; of those that are equally long one is taken apart by hand (``event_wire``), which says which bits may differ in
another event of the same form; all records that agree in the other bits are then decoded together, as columns. What is left
(rare forms, texts, hyperparameters) is decoded one at a time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diag.adapters import tolerant_json
from diag.adapters.event_checksums import Bytes, checksum, payload_checksums
from diag.adapters.event_columns import items, number, numbers, varints
from diag.adapters.event_frames import HEADER, PADDING, WALL_TIME_KEY, Frames, find_frames, gather
from diag.adapters.event_wire import Event, MalformedEventError, parse_event, signed, varint
from diag.errors import InputError
from diag.run import FloatArray, IntArray

LONGEST_ROW = 4096
"""Payloads above this many bytes are decoded one at a time: they are images and tables, which are only stepped over."""
SMALLEST_GROUP = 8
"""Fewer records of one form than this are decoded one at a time; below it, setting up the columns costs more."""
BLOCK_ROWS = 1 << 16
"""Records decoded together: bounds the memory, and stays near the cache."""
PEELED_FORMS = 4
"""Forms of a block that are compared with all its records before the records are sorted by a hash of their constant bits."""
MAX_FORMS = 64
"""Rounds in which a block is searched for forms before its rest is decoded one at a time."""
MAX_TEXT = 1 << 20
"""Characters of a text record that are kept; a config is shorter, a longer one is a table of samples."""
PEEK_BYTES = 1024
"""Bytes looked at to find a file's first tag."""

_HASH = np.arange(1, LONGEST_ROW // 4 + 1, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
"""Odd multipliers, one a word: 2**64 over the golden ratio spreads the bits (Knuth, multiplicative hashing)."""
_HASH = (_HASH ^ (_HASH >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) | np.uint64(1)
"""Odd multipliers without a pattern; mixed here because importing numpy.random takes longer than reading a small file."""


@dataclass(slots=True)
class Points:
    """The points of one tag, in the order of the file.

    Attributes:
        record: int64 (n,), index of the record in its file.
        step: int64 (n,), step as logged.
        value: float64 (n,).
        wall_time: float64 (n,), Unix seconds, NaN where absent.
    """

    record: IntArray
    step: IntArray
    value: FloatArray
    wall_time: FloatArray


@dataclass(slots=True)
class EventFile:
    """What one event file holds.

    Attributes:
        path: the file.
        records: number of whole records.
        points: tag to its points.
        texts: tag to the first text logged under it.
        hparams: hyperparameters of HParams session records.
        restarts: (record, step) of each session start that takes back the points from that step on.
        notes: one-line remarks about damage.
    """

    path: Path
    records: int = 0
    points: dict[str, Points] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    hparams: dict[str, Any] = field(default_factory=dict)
    restarts: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_bytes(path: Path) -> tuple[Bytes, int]:
    """The bytes of a file with PADDING zero bytes behind them, and how many are the file's.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            buffer = np.empty(size + PADDING, dtype=np.uint8)
            size = file.readinto(buffer.data[:size])
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", "check the path and its permissions") from error
    buffer[size:] = 0
    return buffer[: size + PADDING], size


def read_event_file(path: Path, *, verify: bool = False) -> EventFile:
    """Read every scalar of an event file.

    Args:
        path: the file.
        verify: check the checksum of every payload and leave out the records that fail.

    Raises:
        InputError: the file cannot be read or is not an event file.
    """
    buffer, size = load_bytes(path)
    result = EventFile(path)
    if not size:
        result.notes.append(f"{path.name} is empty")
        return result
    frames = find_frames(buffer, size)
    if not frames.starts.size and frames.damaged:
        tolerant_json.refuse(path, buffer[:64].tobytes())  # a Git LFS pointer
        raise InputError(path, "is not a TensorBoard event file", "point at a file written by a SummaryWriter")
    result.records = int(frames.starts.size)
    _Decoder(buffer, frames, result).run(verify)
    if frames.damaged:
        result.notes.append(f"{path.name}: {_count(frames.damaged, 'damaged stretch', 'damaged stretches')} skipped")
    if frames.cut:
        result.notes.append(
            f"{path.name} ends in the middle of a record ({frames.cut} bytes ignored): the run is still writing or was cut off"
        )
    return result


def is_event_file(path: Path) -> bool:
    """Whether the file begins with an event file's version record."""
    head = _head(path)
    return b"brain.Event:" in head[HEADER:64] and head[HEADER : HEADER + 1] == bytes([WALL_TIME_KEY])


def peek_tag(path: Path) -> str | None:
    """The tag of the first scalar within the first bytes of an event file, None where there is none."""
    head = _head(path)
    buffer = np.frombuffer(head + bytes(PADDING), dtype=np.uint8)
    frames = find_frames(buffer, len(head))
    for start, length in zip(frames.starts.tolist(), frames.lengths.tolist(), strict=True):
        try:
            event = parse_event(head[start : start + length])
        except MalformedEventError:
            continue
        if event.scalars:
            return event.scalars[0].tag
    return None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PEEK_BYTES)
    except OSError:
        return b""


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


class _Decoder:
    """Decodes the records of one file into its EventFile."""

    def __init__(self, buffer: Bytes, frames: Frames, result: EventFile) -> None:
        self.buffer = buffer
        self.starts = frames.starts
        self.lengths = frames.lengths
        self.result = result
        self.chunks: dict[str, list[Points]] = {}
        self.rare: dict[str, list[tuple[int, int, float, float]]] = {}
        self.malformed = 0

    def run(self, verify: bool) -> None:
        """Decode everything."""
        records = np.arange(self.starts.size)
        if verify:
            sound = self._verify()
            if not sound.all():
                lost = _count(int(np.count_nonzero(~sound)), "record fails its checksum", "records fail their checksums")
                self.result.notes.append(f"{self.result.path.name}: {lost} and left out")
                records = records[sound]
        for group in self._by_length(records):
            length = int(self.lengths[group[0]])
            if group.size < SMALLEST_GROUP or length > LONGEST_ROW:
                self._one_by_one(group)
                continue
            for low in range(0, group.size, BLOCK_ROWS):
                self._decode_block(group[low : low + BLOCK_ROWS], length)
        self._collect()
        if self.malformed:
            self.result.notes.append(f"{self.result.path.name}: {_count(self.malformed, 'malformed record', 'malformed records')} skipped")

    def _by_length(self, records: IntArray) -> list[IntArray]:
        """The records split by payload length, in the order of the file within each; long ones in one lot."""
        lengths = np.minimum(self.lengths[records], LONGEST_ROW + 1).astype(np.uint16)
        order = np.argsort(lengths, kind="stable")
        counts = np.bincount(lengths, minlength=1)
        groups = np.split(records[order], np.cumsum(counts[counts > 0])[:-1])
        return [group for group in groups if group.size]

    def _verify(self) -> npt.NDArray[np.bool_]:
        """Whether each record's payload matches its checksum, bool (records,)."""
        logged = gather(self.buffer, self.starts + self.lengths, "<u4")
        computed = np.empty(self.starts.size, dtype=np.uint32)
        for group in self._by_length(np.arange(self.starts.size)):
            length = int(self.lengths[group[0]])
            if group.size < SMALLEST_GROUP or length > LONGEST_ROW:
                for record in group.tolist():
                    start = int(self.starts[record])
                    computed[record] = checksum(self.buffer[start : start + int(self.lengths[record])])
                continue
            for low in range(0, group.size, BLOCK_ROWS):
                part = group[low : low + BLOCK_ROWS]
                computed[part] = payload_checksums(self._rows(part, length).view(np.uint8).reshape(part.size, -1)[:, :length])
        return np.asarray(logged == computed)

    def _rows(self, records: IntArray, length: int) -> npt.NDArray[np.uint64]:
        """The payloads of equally long records as words, uint64 (records, ceil(length / 8)); bytes behind a payload are arbitrary."""
        width = -(-length // 8) * 8
        return gather(self.buffer, self.starts[records], f"V{width}").view("<u8").reshape(records.size, width // 8)

    def _parse(self, record: int) -> Event | None:
        """One record taken apart, None (and counted) if it is malformed."""
        start = int(self.starts[record])
        try:
            return parse_event(self.buffer[start : start + int(self.lengths[record])].tobytes())
        except MalformedEventError:
            self.malformed += 1
            return None

    def _decode_block(self, records: IntArray, length: int) -> None:
        """Decode equally long records, form by form."""
        words = self._rows(records, length)
        left = np.arange(records.size)
        for turn in range(MAX_FORMS):
            if not left.size:
                return
            first = int(left[0])
            event = self._parse(int(records[first]))
            if event is None:
                left = left[1:]
                continue
            mask = _mask_words(event, words.shape[1])
            if turn < PEELED_FORMS:
                same = _agree(words, left, first, mask)
                self._decode_form(event, words, left[same], records)
                left = left[~same]
            else:
                left = self._decode_hashed(event, mask, words, left, records)
        self._one_by_one(records[left])

    def _decode_hashed(
        self, event: Event, mask: npt.NDArray[np.uint64], words: npt.NDArray[np.uint64], left: IntArray, records: IntArray
    ) -> IntArray:
        """Decode all forms that share the event's mask (many tags of one length); returns the rows that remain."""
        key = np.zeros(left.size, dtype=np.uint64)
        for column in np.flatnonzero(mask).tolist():
            key += (words[left, column] & mask[column]) * _HASH[column]
        bucket = (key >> np.uint64(48)).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")
        ends = np.flatnonzero(np.diff(bucket[order])) + 1
        remaining: list[IntArray] = []
        for rows in np.split(left[order], ends):
            if rows.size < SMALLEST_GROUP:
                self._one_by_one(records[rows])
                continue
            first = int(rows[0])
            form = self._parse(int(records[first]))
            if form is None:
                remaining.append(rows[1:])
            elif form.mask != event.mask:
                remaining.append(rows)
            else:
                same = _agree(words, rows, first, mask)
                self._decode_form(form, words, rows[same], records)
                remaining.append(rows[~same])
        return np.sort(np.concatenate(remaining)) if remaining else np.empty(0, dtype=np.int64)

    def _decode_form(self, event: Event, words: npt.NDArray[np.uint64], rows: IntArray, records: IntArray) -> None:
        """Decode the rows of a block that have the form of ``event``."""
        if not event.only_scalars or rows.size < SMALLEST_GROUP:
            self._one_by_one(records[rows])
            return
        if not event.scalars:
            return
        payloads = words.view(np.uint8)
        if rows.size < words.shape[0]:
            payloads = payloads[rows]
        where = records[rows]
        step = varints(payloads, *event.step)
        if event.wall_time < 0:
            wall_time = np.full(rows.size, np.nan)
        else:
            wall_time = items(payloads, event.wall_time, "<f8").astype(np.float64)
        for scalar in event.scalars:
            self.chunks.setdefault(scalar.tag, []).append(Points(where, step, numbers(payloads, scalar), wall_time))

    def _one_by_one(self, records: IntArray) -> None:
        """Decode records of rare or special forms."""
        result = self.result
        for record in records.tolist():
            event = self._parse(record)
            if event is None:
                continue
            start = int(self.starts[record])
            payload = self.buffer[start : start + int(self.lengths[record])].tobytes()
            offset, width = event.step
            step = signed(varint(payload, offset, offset + width)[0]) if width else 0
            wall_time = struct.unpack_from("<d", payload, event.wall_time)[0] if event.wall_time >= 0 else float("nan")
            for scalar in event.scalars:
                self.rare.setdefault(scalar.tag, []).append((record, step, number(payload, scalar), wall_time))
            for tag, text in event.texts.items():
                result.texts.setdefault(tag, text[:MAX_TEXT])
            result.hparams.update(event.hparams)
            if event.session_start:
                result.restarts.append((record, step))

    def _collect(self) -> None:
        """Join the pieces of each tag in the order of the file."""
        for tag, points in self.rare.items():
            record, step, value, wall_time = zip(*sorted(points, key=itemgetter(0)), strict=True)
            self.chunks.setdefault(tag, []).append(
                Points(np.array(record), np.array(step, dtype=np.int64), np.array(value), np.array(wall_time))
            )
        for tag in sorted(self.chunks):
            pieces = self.chunks.pop(tag)
            joined = pieces[0]
            if len(pieces) > 1:
                order = np.argsort(np.concatenate([piece.record for piece in pieces]), kind="stable")
                joined = Points(
                    np.concatenate([piece.record for piece in pieces])[order],
                    np.concatenate([piece.step for piece in pieces])[order],
                    np.concatenate([piece.value for piece in pieces])[order],
                    np.concatenate([piece.wall_time for piece in pieces])[order],
                )
            self.result.points[tag] = joined
        self.result.restarts.sort()


def _mask_words(event: Event, columns: int) -> npt.NDArray[np.uint64]:
    """The event's mask as words, zero behind the payload."""
    return np.frombuffer(bytes(event.mask).ljust(columns * 8, b"\0"), dtype="<u8")


def _agree(words: npt.NDArray[np.uint64], rows: IntArray, first: int, mask: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of the rows agree with row ``first`` in all bits of the mask."""
    differs = np.zeros(rows.size, dtype=np.uint64)
    whole = rows.size == words.shape[0]
    for column in np.flatnonzero(mask).tolist():
        words_here = words[:, column] if whole else words[rows, column]
        differs |= (words_here ^ words[first, column]) & mask[column]
    return np.asarray(differs == 0)
