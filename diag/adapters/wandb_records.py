"""The ``.wandb`` transaction log: LevelDB framing and protobuf records, decoded by hand as arrays.

All records are walked side by side, one field a turn, so that the cost is a few array operations for each field of the
longest record and not a Python call for each field of each record. Formats: the LevelDB log format, the Protocol
Buffers wire format, and the field numbers of W&B's ``wandb_internal.proto``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import unpack
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diag.adapters import decimals, tolerant_json
from diag.adapters.protobuf_wire import BYTES, FIXED64, VARINT, ByteArray, Fields, Spans, fields, message, varint, varints
from diag.adapters.records import STEP, Records, numbers_in
from diag.run import FloatArray, IntArray

SKIPPED: Final = frozenset({STEP, "_runtime", "_wandb"})
"""Keys that W&B adds and that are read elsewhere (the step from its own field) or told by others (the time)."""
MAGIC: Final = b":W&B"
FILE_HEADER: Final = 7
"""Bytes of the file header: magic, uint16 0xBEE1, uint8 version."""
CHUNK_HEADER: Final = 7
"""Bytes before each chunk: CRC32, uint16 length, uint8 type, little-endian."""
BLOCK: Final = 32_768
"""Bytes of a block, counted from the start of the file, header included."""
BATCH: Final = 2048
"""History records walked side by side; keeps the arrays in the processor's cache and the memory bounded."""
MAX_CONSOLE: Final = 16 << 20
"""Bytes of console output kept, the last ones."""

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

HISTORY, OUTPUT, CONFIG, METRIC, OUTPUT_RAW, RUN, EXIT = 2, 4, 5, 12, 13, 17, 18
"""Field numbers of ``Record`` that are read; all others (summaries, system metrics, files) are skipped unread."""
_ITEM, _STEP = 1, 2
_ITEM_KEY, _ITEM_NESTED_KEY, _ITEM_INTEGER, _ITEM_NUMBER, _ITEM_JSON = 1, 2, 5, 6, 16
_TAG_KEY, _TAG_NESTED_KEY = 1 << 3 | BYTES, 2 << 3 | BYTES
_TAG_JSON: Final = (0x82, 0x01)
"""The varint of ``16 << 3 | 2``."""
_MASKS: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, odd (Knuth, The Art of Computer Programming 3, section 6.4)."""
_NUMBER_STARTS: Final = np.zeros(256, dtype=bool)
_NUMBER_STARTS[np.frombuffer(b"-0123456789NI", dtype=np.uint8)] = True


@dataclass(slots=True)
class Log:
    """What one ``.wandb`` file holds.

    Attributes:
        history: every number that was logged, by native key, in file order.
        config: native key to value, later updates over earlier ones.
        step_metrics: metric name (may end in ``*``) to the name of its x axis, from ``define_metric``.
        run_id, name, project: as the run record has them, "" where absent.
        resumed: whether the run record says so.
        starting_step: first ``_step`` of a resumed run.
        exit_code: of the exit record, None where there is none (killed, or still running).
        console: captured console text.
        notes: what was damaged.
    """

    history: Records = field(default_factory=Records)
    config: dict[str, Any] = field(default_factory=dict)
    step_metrics: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    name: str = ""
    project: str = ""
    resumed: bool = False
    starting_step: int = 0
    exit_code: int | None = None
    console: str = ""
    notes: list[str] = field(default_factory=list)


def read_log(data: bytes) -> Log:
    """Decode the bytes of a ``.wandb`` file; what is complete before a damaged place is kept.

    Raises:
        ValueError: it does not start like a ``.wandb`` file.
    """
    if not data.startswith(MAGIC):
        raise ValueError("does not start with the W&B file header")
    log = Log()
    buffer, records, note = frames(data)
    if note:
        log.notes.append(note)
    array = np.frombuffer(buffer, dtype=np.uint8)
    top, damaged = fields(array, records)
    if damaged:
        log.notes.append(f"{damaged} damaged records were left out")
    log.history = _history(buffer, array, top.value.select((top.number == HISTORY) & (top.wire == BYTES)))
    wanted = np.isin(top.number, (OUTPUT, CONFIG, METRIC, OUTPUT_RAW, RUN, EXIT)) & (top.wire == BYTES)
    console: list[bytes] = []
    for number, start, end in zip(top.number[wanted].tolist(), *(side.tolist() for side in top.value.select(wanted)), strict=True):
        _small_record(log, number, buffer[start:end], console)
    log.console = b"".join(console)[-MAX_CONSOLE:].decode("utf-8", "replace")
    return log


# --- framing -----------------------------------------------------------------------------------------------------


def frames(data: bytes) -> tuple[bytes, Spans, str]:
    """Record payloads of a LevelDB-style log.

    A block always begins with a chunk, so all blocks are walked side by side. Checksums are not verified.

    Returns:
        A buffer (the data, followed by the records that were split over blocks), the byte range of each record in it
        in file order, and a note on what was cut off or damaged ("" for nothing).
    """
    array = np.frombuffer(data, dtype=np.uint8)
    block = np.arange(-(-len(data) // BLOCK))
    at = block * BLOCK
    at[:1] = FILE_HEADER
    found: list[tuple[IntArray, IntArray, IntArray, IntArray]] = []
    damaged = 0
    truncated = False
    while True:
        room = np.flatnonzero(at + CHUNK_HEADER <= np.minimum((block + 1) * BLOCK, len(data)))
        block, at = block[room], at[room]
        if not at.size:
            break
        kind = array[at + 6].astype(np.int64)
        start = at + CHUNK_HEADER
        end = start + array[at + 4] + (array[at + 5].astype(np.int64) << 8)
        unused = (kind == 0) & (end == start)  # the zeroed rest of a block
        broken = ~unused & ((kind < FULL) | (kind > LAST) | (end > (block + 1) * BLOCK))
        cut = ~unused & ~broken & (end > len(data))
        damaged += int(broken.sum())
        truncated = truncated or bool(cut.any())
        kind[broken] = 0
        found.append((block, kind, start, end))
        going = ~(unused | broken | cut)
        if not bool(going.all()):
            found[-1] = tuple(side[going | broken] for side in found[-1])
            block, end = block[going], end[going]
        at = end
    truncated = truncated or 0 < (len(data) - FILE_HEADER if not found else _tail(found, len(data))) < CHUNK_HEADER
    order = np.argsort(np.concatenate([side[0] for side in found]), kind="stable") if found else np.empty(0, dtype=np.int64)
    kind, start, end = (np.concatenate([side[index] for side in found])[order] if found else order for index in (1, 2, 3))
    extra, dangling = _joined_chunks(data, kind, start, end)
    notes = []
    if damaged:
        notes.append(f"{damaged} blocks are damaged and were left out from the damage on")
    if truncated or dangling:
        notes.append("the file is cut off (the run was killed or is still writing); what is complete was read")
    whole = kind == FULL
    return b"".join([data, *extra, bytes(decimals.PADDING)]), Spans(start[whole], end[whole]), "; ".join(notes)


def _tail(found: list[tuple[IntArray, IntArray, IntArray, IntArray]], size: int) -> int:
    """Bytes after the last chunk of the last block, 0 where the block could not hold another chunk."""
    last = max(int(side[3].max(initial=0)) for side in found)
    return size - last if BLOCK - last % BLOCK >= CHUNK_HEADER else 0


def _joined_chunks(data: bytes, kind: IntArray, start: IntArray, end: IntArray) -> tuple[list[bytes], bool]:
    """Records that were split into chunks, joined; whether the last one has no end.

    In place, the last chunk of each becomes a whole record whose range lies after the data, as if the joined records
    followed there.
    """
    records: list[bytes] = []
    parts: list[bytes] = []
    position, previous = len(data), -1
    for index in np.flatnonzero(kind != FULL).tolist():
        piece = data[int(start[index]) : int(end[index])]
        if kind[index] == FIRST:
            parts = [piece]
        elif kind[index] in (MIDDLE, LAST) and parts and previous == index - 1:
            parts.append(piece)
            if kind[index] == LAST:
                records.append(b"".join(parts))
                kind[index], start[index] = FULL, position
                position += len(records[-1])
                end[index] = position
                parts = []
        else:
            parts = []
        previous = index
    return records, bool(parts) and previous == kind.size - 1


# --- history -----------------------------------------------------------------------------------------------------


def _history(buffer: bytes, array: ByteArray, records: Spans) -> Records:
    """The history records as sparse columns; row i is record i."""
    keys = _Keys(buffer)
    odd: dict[str, tuple[list[int], list[float]]] = {}
    parts: list[tuple[IntArray, IntArray, FloatArray]] = []
    steps = np.full(records.start.size, np.nan)
    for first in range(0, records.start.size, BATCH):
        batch, _ = fields(array, records.select(slice(first, first + BATCH)))
        sized = batch.wire == BYTES
        _record_steps(array, batch.select(sized & (batch.number == _STEP)), steps[first : first + BATCH])
        items = batch.select(sized & (batch.number == _ITEM))
        parts.append(_items(buffer, array, items.owner + first, items.value, keys, odd))
    result = Records(records.start.size)
    for identity, row, value in _grouped(parts):
        name = keys.names[identity].decode("utf-8", "replace")
        if name not in SKIPPED:
            result.columns[name] = _ascending(row, value, result.rows)
    for name, (rows, values) in odd.items():
        at, logged = result.columns.get(name, (np.empty(0, dtype=np.int64), np.empty(0)))
        result.columns[name] = _ascending(np.append(at, rows).astype(np.int64), np.append(logged, values), result.rows)
    at = np.flatnonzero(np.isfinite(steps))
    if at.size:
        result.columns[STEP] = at, steps[at]
    return result


def _grouped(parts: list[tuple[IntArray, IntArray, FloatArray]]) -> Iterator[tuple[int, IntArray, FloatArray]]:
    """Rows and values of each key id."""
    if not parts:
        return
    row, identity, value = (np.concatenate(side) for side in zip(*parts, strict=True))
    small = identity.astype(np.uint16) if identity.size and int(identity.max()) < 2**16 else identity
    order = np.argsort(small, kind="stable")  # a radix sort for 16 bits
    cuts = np.flatnonzero(np.diff(identity[order])) + 1
    for chunk in np.split(order, cuts):
        if chunk.size:
            yield int(identity[chunk[0]]), row[chunk], value[chunk]


def _ascending(row: IntArray, value: FloatArray, rows: int) -> tuple[IntArray, FloatArray]:
    """Rows and values by row; of two values in one row the last counts."""
    if 8 * row.size < rows:
        order = np.argsort(row, kind="stable")
        row, value = row[order], value[order]
        last = np.append(np.diff(row) > 0, True)
        return row[last], value[last]
    full = np.zeros(rows)
    present = np.zeros(rows, dtype=bool)
    full[row] = value
    present[row] = True
    at = np.flatnonzero(present)
    return at, full[at]


def _record_steps(array: ByteArray, step: Fields, steps: FloatArray) -> None:
    """Fill ``steps`` (a row each) from ``HistoryRecord.step``; a number that is left out is 0."""
    steps[step.owner] = 0
    number, _ = fields(array, step.value)
    number = number.select((number.number == 1) & (number.wire == VARINT))
    values, _, _ = varints(array, number.value.start, number.value.end)
    steps[step.owner[number.owner]] = values


class _Keys:
    """Keys of history items as small integers, told apart by a 64-bit hash of their bytes."""

    def __init__(self, buffer: bytes) -> None:
        self.names: list[bytes] = []
        self._buffer = buffer
        self._view = decimals.words(buffer)
        self._hashes = np.empty(0, dtype=np.uint64)
        self._ids = np.empty(0, dtype=np.int64)

    def ids(self, start: IntArray, end: IntArray) -> IntArray:
        """The id of the key in each byte range, new ones in order of their hash."""
        hashes = self._hash(start, end)
        while True:
            at = np.minimum(np.searchsorted(self._hashes, hashes), max(self._hashes.size - 1, 0))
            known = self._hashes[at] == hashes if self._hashes.size else np.zeros(hashes.shape, dtype=bool)
            if bool(known.all()):
                return np.asarray(self._ids[at], dtype=np.int64)
            missing = np.flatnonzero(~known)
            new, first = np.unique(hashes[missing], return_index=True)
            for index in missing[first].tolist():
                self.names.append(self._buffer[int(start[index]) : int(end[index])])
            self._hashes = np.append(self._hashes, new)
            self._ids = np.append(self._ids, np.arange(len(self.names) - new.size, len(self.names)))
            order = np.argsort(self._hashes)
            self._hashes, self._ids = self._hashes[order], self._ids[order]

    def _hash(self, start: IntArray, end: IntArray) -> npt.NDArray[np.uint64]:
        length = end - start
        result = length.astype(np.uint64)
        for offset in range(0, int(length.max(initial=0)), 8):
            word = self._view[np.minimum(start + offset, self._view.size - 1)] & _MASKS[np.clip(length - offset, 0, 8)]
            result = (result ^ word) * _MULTIPLIER
            result ^= result >> np.uint64(29)
        return result


def _items(
    buffer: bytes, array: ByteArray, row: IntArray, items: Spans, keys: _Keys, odd: dict[str, tuple[list[int], list[float]]]
) -> tuple[IntArray, IntArray, FloatArray]:
    """Row, key id and value of every item that is one short key and one JSON number; all others that hold numbers go to ``odd``.

    Such an item is, byte by byte: tag of the key, its length, the key, the two bytes of the tag of the value, its length,
    the value.
    """
    start, end = items
    size = array.size - 3
    tag = array[np.minimum(start, size)]
    key_end = start + 2 + array[np.minimum(start + 1, size)]
    at = np.minimum(key_end, size)
    value_start = key_end + 3
    plain = (end - start >= 6) & ((tag == _TAG_KEY) | (tag == _TAG_NESTED_KEY)) & (key_end - start < 130) & (value_start < end)
    plain &= (array[at] == _TAG_JSON[0]) & (array[at + 1] == _TAG_JSON[1]) & (array[at + 2] < 128) & (value_start + array[at + 2] == end)
    plain &= _NUMBER_STARTS[array[np.minimum(value_start, size)]]
    for index in np.flatnonzero(~plain).tolist():
        _odd_item(buffer[int(start[index]) : int(end[index])], int(row[index]), odd)
    row, start, end, key_end, value_start = row[plain], start[plain], end[plain], key_end[plain], value_start[plain]
    identity = keys.ids(start + 2, key_end)
    skipped = np.array([name.decode("utf-8", "replace") in SKIPPED for name in keys.names], dtype=bool)
    if bool(skipped.any()):
        used = ~skipped[identity]
        row, identity, value_start, end = row[used], identity[used], value_start[used], end[used]
    values, good = decimals.parse(decimals.words(buffer), value_start, end)
    for index in np.flatnonzero(~good).tolist():
        values[index] = _float(buffer[int(value_start[index]) : int(end[index])])
    return row, identity, values


def _float(token: bytes) -> float:
    try:
        return float(token)
    except ValueError:
        value = tolerant_json.number(token.decode("utf-8", "replace"))
        return math.nan if value is None else value


def _odd_item(raw: bytes, row: int, odd: dict[str, tuple[list[int], list[float]]]) -> None:
    """An item with a nested key, a typed value, a number in quotes or a nested mapping."""
    name: list[str] = []
    value: Any = None
    for number, wire, part in message(raw):
        if number in (_ITEM_KEY, _ITEM_NESTED_KEY) and wire == BYTES:
            name.append(part.decode("utf-8", "replace"))
        elif number == _ITEM_JSON and wire == BYTES:
            value = json_value(part)
        elif number == _ITEM_NUMBER and wire == FIXED64:
            value = unpack("<d", part)[0]
        elif number == _ITEM_INTEGER and wire == VARINT:
            zigzag = varint(part)
            value = (zigzag >> 1) ^ -(zigzag & 1)
    for key, logged in numbers_in(value, ".".join(name), 0):
        if key not in SKIPPED:
            rows, values = odd.setdefault(key, ([], []))
            rows.append(row)
            values.append(logged)


# --- the few other records ---------------------------------------------------------------------------------------


def json_value(raw: bytes) -> Any:
    """The value of a JSON text, None where it is not valid."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _small_record(log: Log, kind: int, raw: bytes, console: list[bytes]) -> None:
    if kind in (OUTPUT, OUTPUT_RAW):
        console.extend(value for number, _, value in message(raw) if number == 3)
    elif kind == EXIT:
        log.exit_code = next((varint(value) for number, wire, value in message(raw) if number == 1 and wire == VARINT), 0)
    elif kind == METRIC:
        texts = {number: value.decode("utf-8", "replace") for number, wire, value in message(raw) if wire == BYTES}
        if 4 in texts and (name := texts.get(1) or texts.get(2)):
            log.step_metrics[name] = texts[4]
    elif kind == CONFIG:
        _update_config(log, raw)
    elif kind == RUN:
        for number, wire, value in message(raw):
            if number == 4 and wire == BYTES:
                _update_config(log, value)
            elif number == 14 and wire == VARINT:
                log.starting_step = varint(value)
            elif number == 18 and wire == VARINT:
                log.resumed = log.resumed or bool(varint(value))
            elif number in (1, 3, 8) and wire == BYTES:
                setattr(log, {1: "run_id", 3: "project", 8: "name"}[number], value.decode("utf-8", "replace"))


def _update_config(log: Log, raw: bytes) -> None:
    for number, wire, value in message(raw):
        if wire != BYTES or number not in (1, 2):
            continue
        parts = list(message(value))
        path = [part.decode("utf-8", "replace") for inner, kind, part in parts if inner in (_ITEM_KEY, _ITEM_NESTED_KEY) and kind == BYTES]
        texts = [part for inner, kind, part in parts if inner == _ITEM_JSON and kind == BYTES]
        if not path or path == ["_wandb"]:
            continue
        place = log.config
        for key in path[:-1]:
            below = place.get(key)
            place[key] = place = below if isinstance(below, dict) else {}
        if number == 2:
            place.pop(path[-1], None)
        elif texts:
            place[path[-1]] = json_value(texts[-1])
