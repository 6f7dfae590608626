"""One event of a TensorBoard event file, taken apart on the wire.

Only what a training log needs is looked at: wall time, step, the scalars of a summary, texts, hyperparameters, session starts.
Images, audio, histograms and graphs are stepped over. The same pass notes which bits of the payload may differ in another event
of the same form, so that a reader can take many such events at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

VARINT, FIXED64, BLOCK, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""

VARINT_KIND, HALF_KIND, BFLOAT_KIND = "varint", "half", "bfloat"
"""Numbers on the wire as a varint: a signed integer, the bits of a half, the bits of a bfloat16."""
VARINT_KINDS = (VARINT_KIND, HALF_KIND, BFLOAT_KIND)
BFLOAT_BYTES = "bfloat bytes"
"""The two bytes of a bfloat16, which ``struct`` has no format for."""

# Field numbers of tensorboard/compat/proto: event.proto, summary.proto, tensor.proto, plugins/hparams/plugin_data.proto.
EVENT_WALL_TIME, EVENT_STEP, EVENT_VERSION, EVENT_SUMMARY, EVENT_SESSION = 1, 2, 3, 5, 7
SUMMARY_VALUE = 1
VALUE_TAG, VALUE_SIMPLE, VALUE_IMAGE, VALUE_HISTOGRAM, VALUE_AUDIO, VALUE_TENSOR, VALUE_METADATA = 1, 2, 4, 5, 6, 8, 9
SESSION_START = 1

TENSOR_NUMBERS = {5: ("<f", FIXED32), 6: ("<d", FIXED64), 7: (VARINT_KIND, VARINT), 10: (VARINT_KIND, VARINT), 11: (VARINT_KIND, VARINT)}
"""Tensor fields that hold one number each: float, double, int, int64, bool; with the wire type of one element."""
TENSOR_HALF = 13
TENSOR_STRING = 8
CONTENT_KINDS = {
    1: "<f",
    2: "<d",
    3: "<i",
    4: "<B",
    5: "<h",
    6: "<b",
    9: "<q",
    10: "<?",
    14: BFLOAT_BYTES,
    17: "<H",
    19: "<e",
    22: "<I",
    23: "<Q",
}
"""How one number of each data type lies in ``tensor_content`` (tensorflow types.proto)."""
DT_BFLOAT16 = 14

SCALAR_PLUGINS = ("", "scalars")
TEXT_PLUGIN = "text"
HPARAMS_PLUGIN = "hparams"

MAX_DEPTH = 8
"""Nesting of lists and maps in a hyperparameter value beyond which it is not followed."""


class MalformedEventError(ValueError):
    """The payload is not a well-formed event."""


class Scalar(NamedTuple):
    """A number in the payload: its tag, how it is written (a struct format or one of the KIND names), where and how wide.

    A width of 0 means that the number is a default value, which is not on the wire.
    """

    tag: str
    kind: str
    offset: int
    width: int


@dataclass(slots=True)
class Event:
    """What one payload says.

    Attributes:
        mask: one byte a payload byte; set bits are the same in every event of this form.
        wall_time: offset of the eight bytes of the wall time, -1 if absent.
        step: offset and width of the step's varint; width 0 means step 0.
        scalars: the numbers of its summary.
        texts: tag to text.
        hparams: hyperparameters of a ``session_start_info`` record.
        session_start: whether it says that logging starts again at this step.
        file_version: text of a version record, "" otherwise.
    """

    mask: bytearray
    wall_time: int = -1
    step: tuple[int, int] = (0, 0)
    scalars: list[Scalar] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    hparams: dict[str, Any] = field(default_factory=dict)
    session_start: bool = False
    file_version: str = ""

    @property
    def only_scalars(self) -> bool:
        """Whether there is nothing in it but numbers and payloads to step over."""
        return not (self.texts or self.hparams or self.session_start or self.file_version)


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The unsigned varint at ``position`` and the position behind it."""
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            break
    raise MalformedEventError("unterminated varint")


def signed(value: int) -> int:
    """A 64-bit two's complement number from its unsigned reading."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and where the content begins and ends, for each field of a message."""
    while position < end:
        key, position = varint(data, position, end)
        wire = key & 7
        if wire == VARINT:
            begin = position
            _, position = varint(data, position, end)
        elif wire == BLOCK:
            size, begin = varint(data, position, end)
            position = begin + size
        elif wire == FIXED64:
            begin, position = position, position + 8
        elif wire == FIXED32:
            begin, position = position, position + 4
        else:
            raise MalformedEventError("unknown wire type")
        if position > end or not key >> 3:
            raise MalformedEventError("field runs over the end")
        yield key >> 3, wire, begin, position


def _vary(mask: bytearray, begin: int, end: int, bits: int = 0) -> None:
    """Say that these bytes may differ, except for ``bits`` of each."""
    mask[begin:end] = bytes([bits]) * (end - begin)


def parse_event(data: bytes) -> Event:
    """Take one payload apart.

    Raises:
        MalformedEventError: it is not a well-formed event.
    """
    event = Event(bytearray(b"\xff" * len(data)))
    for number, wire, begin, end in fields(data, 0, len(data)):
        if number == EVENT_WALL_TIME and wire == FIXED64:
            event.wall_time = begin
            _vary(event.mask, begin, end)
        elif number == EVENT_STEP and wire == VARINT:
            event.step = (begin, end - begin)
            _vary(event.mask, begin, end, 0x80)
        elif number == EVENT_VERSION and wire == BLOCK:
            event.file_version = data[begin:end].decode("utf-8", "replace")
        elif number == EVENT_SUMMARY and wire == BLOCK:
            for inner, kind, low, high in fields(data, begin, end):
                if inner == SUMMARY_VALUE and kind == BLOCK:
                    _parse_value(data, low, high, event)
        elif number == EVENT_SESSION and wire == BLOCK:
            for inner, kind, low, high in fields(data, begin, end):
                if inner == 1 and kind == VARINT:
                    event.session_start = varint(data, low, high)[0] == SESSION_START
    return event


def _parse_value(data: bytes, begin: int, end: int, event: Event) -> None:
    """One tagged value of a summary, added to the event."""
    tag = plugin = ""
    simple = tensor = metadata = (0, 0)
    for number, wire, low, high in fields(data, begin, end):
        if number == VALUE_TAG and wire == BLOCK:
            tag = data[low:high].decode("utf-8", "replace")
        elif number == VALUE_SIMPLE and wire == FIXED32:
            simple = (low, high)
        elif number == VALUE_TENSOR and wire == BLOCK:
            tensor = (low, high)
        elif number == VALUE_METADATA and wire == BLOCK:
            metadata = (low, high)
        elif number in (VALUE_IMAGE, VALUE_HISTOGRAM, VALUE_AUDIO) and wire == BLOCK:
            _vary(event.mask, low, high)
            return
    content = (0, 0)
    if metadata[1]:
        plugin, content = _parse_plugin(data, *metadata)
    if tensor[1]:
        if plugin in SCALAR_PLUGINS:
            scalar = _parse_scalar_tensor(data, *tensor, tag, bool(plugin), event.mask)
            if scalar is not None:
                event.scalars.append(scalar)
        elif plugin == TEXT_PLUGIN:
            event.texts[tag] = _parse_text_tensor(data, *tensor)
        else:
            _vary(event.mask, *tensor)
    elif plugin == HPARAMS_PLUGIN:
        event.hparams.update(_parse_hparams(data, *content))
    elif simple[1]:
        event.scalars.append(Scalar(tag, "<f", simple[0], 4))
        _vary(event.mask, *simple)
    elif not metadata[1]:
        # A value without any content: a writer of proto3 messages left out the default, which is a float of zero.
        event.scalars.append(Scalar(tag, "<f", 0, 0))
    if plugin == HPARAMS_PLUGIN and content[1] and not event.hparams:
        event.hparams.update(_parse_hparams(data, *content))


def _parse_plugin(data: bytes, begin: int, end: int) -> tuple[str, tuple[int, int]]:
    """Name of the plugin that a value belongs to, and where its content lies."""
    name = ""
    content = (0, 0)
    for number, wire, low, high in fields(data, begin, end):
        if number == 1 and wire == BLOCK:
            for inner, kind, start, stop in fields(data, low, high):
                if inner == 1 and kind == BLOCK:
                    name = data[start:stop].decode("utf-8", "replace")
                elif inner == 2 and kind == BLOCK:
                    content = (start, stop)
    return name, content


def _parse_scalar_tensor(data: bytes, begin: int, end: int, tag: str, declared: bool, mask: bytearray) -> Scalar | None:
    """The number in a tensor that holds exactly one; ``declared`` says that its metadata call it a scalar."""
    data_type = 0
    rank = 0
    single = True
    found: list[tuple[str, int, int]] = []
    content = (0, 0)
    for number, wire, low, high in fields(data, begin, end):
        if number == 1 and wire == VARINT:
            data_type = varint(data, low, high)[0]
        elif number == 2 and wire == BLOCK:
            for inner, kind, start, stop in fields(data, low, high):
                if inner == 2 and kind == BLOCK:
                    rank += 1
                    single &= any(f == 1 and w == VARINT and varint(data, b, e)[0] == 1 for f, w, b, e in fields(data, start, stop))
        elif number == 4 and wire == BLOCK:
            content = (low, high)
        elif number == TENSOR_HALF:
            found.append((BFLOAT_KIND if data_type == DT_BFLOAT16 else HALF_KIND, low, high))
        elif number in TENSOR_NUMBERS:
            found.append((TENSOR_NUMBERS[number][0], low, high))
        elif number == TENSOR_STRING:
            single = False
    if not single or (rank and not declared):
        _vary(mask, begin, end)
        return None
    if content[1] and data_type in CONTENT_KINDS:
        found.append((CONTENT_KINDS[data_type], *content))
    if not found:
        return Scalar(tag, "<f", 0, 0) if data_type in CONTENT_KINDS else None
    form, low, high = found[0]
    if len(found) > 1 or high - low != _width(form, data, low, high):
        _vary(mask, begin, end)
        return None
    _vary(mask, low, high, 0x80 if form in VARINT_KINDS else 0)
    return Scalar(tag, form, low, high - low)


def _width(kind: str, data: bytes, begin: int, end: int) -> int:
    """Bytes that one number of this kind takes."""
    if kind in VARINT_KINDS:
        return varint(data, begin, end)[1] - begin
    return 2 if kind == BFLOAT_BYTES else struct.calcsize(kind)


def _parse_text_tensor(data: bytes, begin: int, end: int) -> str:
    """The strings of a tensor, joined by line breaks."""
    parts = [data[low:high] for number, wire, low, high in fields(data, begin, end) if number == TENSOR_STRING and wire == BLOCK]
    return b"\n".join(parts).decode("utf-8", "replace")


def _parse_hparams(data: bytes, begin: int, end: int) -> dict[str, Any]:
    """Name to value of a ``session_start_info`` record; empty for the other records of the plugin."""
    values: dict[str, Any] = {}
    for number, wire, low, high in fields(data, begin, end):
        if number != 3 or wire != BLOCK:
            continue
        for inner, kind, start, stop in fields(data, low, high):
            if inner == 1 and kind == BLOCK:
                name, value = _parse_map_entry(data, start, stop, 0)
                values[name] = value
    return values


def _parse_map_entry(data: bytes, begin: int, end: int, depth: int) -> tuple[str, Any]:
    name, value = "", None
    for number, wire, low, high in fields(data, begin, end):
        if number == 1 and wire == BLOCK:
            name = data[low:high].decode("utf-8", "replace")
        elif number == 2 and wire == BLOCK:
            value = _parse_json_value(data, low, high, depth)
    return name, value


def _parse_json_value(data: bytes, begin: int, end: int, depth: int) -> Any:
    """A google.protobuf.Value."""
    if depth > MAX_DEPTH:
        return None
    for number, wire, low, high in fields(data, begin, end):
        if number == 2 and wire == FIXED64:
            return struct.unpack_from("<d", data, low)[0]
        if number == 3 and wire == BLOCK:
            return data[low:high].decode("utf-8", "replace")
        if number == 4 and wire == VARINT:
            return bool(varint(data, low, high)[0])
        if number == 5 and wire == BLOCK:
            entries = (_parse_map_entry(data, b, e, depth + 1) for f, w, b, e in fields(data, low, high) if f == 1 and w == BLOCK)
            return dict(entries)
        if number == 6 and wire == BLOCK:
            return [_parse_json_value(data, b, e, depth + 1) for f, w, b, e in fields(data, low, high) if f == 1 and w == BLOCK]
    return None
