"""The samples of a JSONL file: one JSON object a line, in the forms that fine-tuning libraries read. Needs no torch.

A file is read once from its beginning, at most MOST_BYTES of it, and every line is looked at; only where the lines begin is kept.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diag.errors import InputError

MOST_BYTES: Final = 256 << 20
"""Bytes of a file that are read: a quarter of a million samples of a thousand characters, more than a short training sees."""
MOST_LINE_BYTES: Final = 16 << 20
"""Bytes above which a line is no sample: some four million tokens."""
BOM: Final = b"\xef\xbb\xbf"
SHARE_GPT_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}
"""Who speaks in ``conversations``, in the words of chat templates."""
ALPACA: Final = "### Instruction:\n{instruction}\n\n### Response:\n"
ALPACA_WITH_INPUT: Final = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
EXPECTED: Final = (
    'expected {"text"}, {"text", "label"}, {"prompt", "completion"}, {"instruction", "output"}, {"messages"} or {"conversations"}'
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample.

    Attributes:
        parts: pieces of text in order, each with whether it is learned (what is not learned is only read).
        messages: a conversation, with ``role`` and ``content``; such a sample has no parts.
        label: of a text that is classified, None otherwise.
    """

    parts: tuple[tuple[str, bool], ...] = ()
    messages: tuple[dict[str, str], ...] = ()
    label: int | str | None = None


class _Malformed(ValueError):
    """A line is no sample; the message says what is wrong with it, after "line 7"."""


def _string(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise _Malformed(f'has {"no" if key not in row else "something that is no string as"} "{key}"')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Malformed(f'has half of a surrogate pair in "{key}", which is no character') from None
    return value


def _text(row: Mapping[str, Any]) -> Sample:
    return Sample(((_string(row, "text"), True),))


def _labelled(row: Mapping[str, Any]) -> Sample:
    label = row.get("label")
    if not isinstance(label, (int, str)) or (isinstance(label, int) and label < 0):
        raise _Malformed('has a "label" that is neither a string nor a whole number from 0')
    return Sample(((_string(row, "text"), False),), label=int(label) if isinstance(label, int) else _string(row, "label"))


def _completion(row: Mapping[str, Any]) -> Sample:
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        return Sample(messages=(*_messages(row["prompt"], "prompt"), *_messages(row["completion"], "completion")))
    return Sample(((_string(row, "prompt"), False), (_string(row, "completion"), True)))


def _instruction(row: Mapping[str, Any]) -> Sample:
    given = _string(row, "input") if row.get("input") is not None else ""
    form = ALPACA_WITH_INPUT if given else ALPACA
    return Sample(((form.format(instruction=_string(row, "instruction"), input=given), False), (_string(row, "output"), True)))


def _chat(row: Mapping[str, Any]) -> Sample:
    return Sample(messages=_messages(row["messages"], "messages"))


def _conversation(row: Mapping[str, Any]) -> Sample:
    turns = row["conversations"]
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) and "role" in turn for turn in turns):
        return Sample(messages=_messages(turns, "conversations"))
    renamed = [{"role": turn.get("from"), "content": turn.get("value")} if isinstance(turn, dict) else turn for turn in _list(turns)]
    for turn in renamed:
        if isinstance(turn, dict) and isinstance(turn["role"], str):
            if turn["role"] not in SHARE_GPT_ROLES:
                raise _Malformed(f'has a turn from {turn["role"][:20]!r} in "conversations"; known are {", ".join(SHARE_GPT_ROLES)}')
            turn["role"] = SHARE_GPT_ROLES[turn["role"]]
    return Sample(messages=_messages(renamed, "conversations"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _messages(value: Any, key: str) -> tuple[dict[str, str], ...]:
    found = []
    for message in _list(value):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            content = "".join(_string(part, "text") for part in content)
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or not isinstance(content, str):
            raise _Malformed(f'has something in "{key}" that is no message with a role and a text')
        found.append({"role": message["role"], "content": _string({"content": content}, "content")})
    if not found:
        raise _Malformed(f'has no list of messages in "{key}"')
    return tuple(found)


_FORMS: Final[tuple[tuple[frozenset[str], Callable[[Mapping[str, Any]], Sample]], ...]] = (
    (frozenset({"messages"}), _chat),
    (frozenset({"conversations"}), _conversation),
    (frozenset({"prompt", "completion"}), _completion),
    (frozenset({"instruction", "output"}), _instruction),
    (frozenset({"text", "label"}), _labelled),
    (frozenset({"text"}), _text),
)
"""The keys that tell a form, and its reader; the first that fits."""


def _row(line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise _Malformed(f"is not UTF-8 text (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise _Malformed(f"is not JSON ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"is not JSON that can be read ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(row, dict):
        raise _Malformed(f"is no JSON object; {EXPECTED}" if not isinstance(row, list) else f"is a JSON array, not an object; {EXPECTED}")
    return row


def _form(row: Mapping[str, Any]) -> tuple[frozenset[str], Callable[[Mapping[str, Any]], Sample]]:
    for keys, reader in _FORMS:
        if keys <= row.keys():
            return keys, reader
    shown = ", ".join(json.dumps(str(key)[:20], ensure_ascii=True) for key in list(row)[:6]) or "nothing"
    raise _Malformed(f"has {shown}; {EXPECTED}")


class Samples(Sequence[Sample]):
    """The samples of a file.

    Attributes:
        path: the file.
        digest: SHA-256 of what was read of it.
        is_cut: whether it goes on after what was read.
        labels: the labels that occur, in order; () if nothing is classified.

    Raises:
        InputError: it cannot be read, holds no sample, or a line is malformed or of another form than the first.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.labels: tuple[int | str, ...] = ()
        self._offsets, self._numbers = array("Q"), array("Q")
        if not self.path.is_file():
            raise InputError(path, "is no file" if self.path.exists() else "does not exist", "give the JSONL file of the training data")
        try:
            self.digest, self.is_cut = self._scan()
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror or type(error).__name__})") from error
        if not self._offsets:
            raise InputError(path, "holds no samples", "write one JSON object a line")

    def _scan(self) -> tuple[str, bool]:
        """Look at every line: the digest of them, and whether there are more."""
        hashed, labels, place, number = hashlib.sha256(), set[int | str](), 0, 0
        with self.path.open("rb") as file:
            while place < MOST_BYTES and (line := file.readline(MOST_LINE_BYTES + 1)):
                number += 1
                hashed.update(line)
                if len(line) > MOST_LINE_BYTES:
                    raise InputError(self.path, f"line {number} is longer than {MOST_LINE_BYTES >> 20} MiB", "write one JSON object a line")
                if text := line.removeprefix(BOM if number == 1 else b"").strip():
                    sample = self._sample(text, number)
                    if sample.label is not None:
                        labels.add(sample.label)
                    self._offsets.append(place)
                    self._numbers.append(number)
                place += len(line)
            is_cut = bool(file.read(1))
        if len({type(label) for label in labels}) > 1:
            raise InputError(self.path, 'some of the "label"s are numbers and some are strings', "write all of them alike")
        self.labels = tuple(sorted(labels))
        return hashed.hexdigest(), is_cut

    def _sample(self, line: bytes, number: int) -> Sample:
        try:
            row = _row(line)
            if not self._offsets:
                self._keys, self._read = _form(row)
            if not self._keys <= row.keys():
                missing = sorted(self._keys - row.keys())[0]
                raise _Malformed(f'has no "{missing}", which the lines before have')
            return self._read(row)
        except _Malformed as error:
            raise InputError(self.path, f"line {number} {error}") from None

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: Any) -> Any:
        """The sample of an index, read from the file again.

        Raises:
            InputError: the file has changed meanwhile.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        try:
            with self.path.open("rb") as file:
                file.seek(self._offsets[index])
                line = file.readline(MOST_LINE_BYTES + 1)
        except OSError as error:
            raise InputError(self.path, f"cannot be read ({error.strerror or type(error).__name__})") from error
        return self._sample(line.removeprefix(BOM).strip(), self._numbers[index])

    def number(self, index: int) -> int:
        """The number of the line of a sample, from 1."""
        return self._numbers[index]
