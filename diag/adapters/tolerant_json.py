"""JSON as training scripts really write it: bare NaN, byte-order marks, cut-off tails, numbers in quotes.

The fast path is the standard library's C scanner; everything tolerant happens only after it failed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from diag.errors import InputError, NothingThereError

LFS_MAGIC: Final = b"version https://git-lfs.github.com/spec/"
"""First bytes of a Git LFS pointer file (Git LFS specification, "The Pointer")."""

_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_BARE: Final = re.compile(_STRING + r'|(?<![\w".+-])([+-]?)(nan|inf|infinity)(?![\w".])', re.IGNORECASE | re.DOTALL)
_TOKEN: Final = re.compile(_STRING + r"|[{}\[\],]", re.DOTALL)
_WINDOWS: Final = re.compile(r"([+-]?)1\.#(INF|IND|QNAN|SNAN|NAN)\d*", re.IGNORECASE)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: unreadable or empty.
        NothingThereError: a Git LFS pointer instead of the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    refuse(path, data)
    return data


def whole_lines(data: bytes) -> bytes:
    """The bytes up to the last line end or carriage return; all of them in UTF-16 and UTF-32, where an end is more than a byte."""
    if data.startswith(tuple(mark for mark, encoding in _MARKS if not encoding.startswith("utf-8"))):
        return data
    return data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1]


def unreadable(path: Path, error: OSError) -> InputError:
    """The InputError for an operating-system error."""
    problem = (error.strerror or type(error).__name__).lower()
    advice = {
        FileNotFoundError: "check the path",
        PermissionError: "check its permissions",
        IsADirectoryError: "name a file",
    }.get(type(error), "")
    return InputError(path, f"cannot be read ({problem})", advice)


def refuse(path: Path, data: bytes) -> None:
    """Raise InputError for an empty file and NothingThereError for a Git LFS pointer, told by its first bytes."""
    if not data.strip():
        raise InputError(path, "is empty", "check that the run wrote its log to the end")
    if data.startswith(LFS_MAGIC):
        raise NothingThereError(path, "is a Git LFS pointer, not the log itself", "fetch the file with: git lfs pull")


def decode(data: bytes) -> tuple[str, list[str]]:
    """Text of a file and remarks: byte-order marks are honoured, undecodable bytes become U+FFFD."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace"), []
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        pass
    sample = data[:4096]
    if sample.count(0) * 3 > len(sample):  # UTF-16 without a mark: every other byte of ASCII text is zero
        encoding = "utf-16-be" if sample[0] == 0 else "utf-16-le"
        return data.decode(encoding, errors="replace"), [f"read as {encoding}"]
    return data.decode("utf-8", errors="replace"), ["not valid UTF-8; undecodable bytes were replaced"]


def load(path: Path) -> tuple[Any, list[str]]:
    """The JSON value of a file, and remarks on what had to be repaired.

    Raises:
        InputError: the file cannot be read, or nothing of it is JSON.
    """
    data = read_bytes(path)
    text, notes = decode(data)
    del data
    value, more = loads(text, path)
    return value, notes + more


def loads(text: str, path: object = "text") -> tuple[Any, list[str]]:
    """The JSON value of a text, and remarks; what is complete before a broken place is kept.

    Raises:
        InputError: nothing of it is JSON.
    """
    try:
        return json.loads(text), []
    except RecursionError:
        raise InputError(path, "is nested too deeply to be a training log") from None
    except json.JSONDecodeError as error:
        failure = error
    except ValueError as error:  # an integer beyond the interpreter's digit limit
        raise InputError(path, f"is not readable JSON ({error})") from None
    try:
        return _repair(text.replace("\x00", ""), failure, path)
    except RecursionError:
        raise InputError(path, "is nested too deeply to be a training log") from None


def _repair(text: str, failure: json.JSONDecodeError, path: object) -> tuple[Any, list[str]]:
    notes: list[str] = []
    spelled = _BARE.sub(_standard_spelling, text)
    try:
        return json.loads(spelled), notes
    except json.JSONDecodeError as error:
        failure = error
    except ValueError as error:
        raise InputError(path, f"is not readable JSON ({error})") from None
    if failure.msg == "Extra data":
        value, end = json.JSONDecoder().raw_decode(spelled, len(spelled) - len(spelled.lstrip()))
        if isinstance(value, (dict, list)):
            return value, [f"text after the JSON value (from line {spelled.count(chr(10), 0, end) + 1}) was ignored"]
    for prefix in _closed_prefixes(spelled[: failure.pos]):
        try:
            value = json.loads(prefix)
        except ValueError:
            continue
        return value, [f"cut off or damaged at line {failure.lineno}; what is complete before it was read"]
    raise InputError(
        path, f"is not JSON ({failure.msg.lower()} at line {failure.lineno})", "check that it is the log and not cut off at its start"
    )


def _standard_spelling(match: re.Match[str]) -> str:
    if match[2] is None:
        return match[0]
    sign = "-" if match[1] == "-" else ""
    return "NaN" if match[2].lower() == "nan" else f"{sign}Infinity"


def _closed_prefixes(text: str) -> Iterator[str]:
    """The longest prefixes of a broken JSON text that end after a complete value, with the open brackets closed.

    A half-written member of an inner object is dropped with that object: a log row counts only when it is complete.
    """
    openers: list[str] = []
    candidates: list[tuple[int, str]] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            openers.append("}" if mark == "{" else "]")
        elif mark in "}]":
            if not openers or openers.pop() != mark:
                break
            candidates.append((token.end(), "".join(reversed(openers))))
        elif mark == "," and len(openers) == 1:
            candidates.append((token.start(), openers[0]))
        if len(candidates) > 4:
            del candidates[0]
    for end, closers in reversed(candidates):
        yield text[:end] + closers


def number(value: Any) -> float | None:
    """A logged value as a float: numbers, booleans and numbers in quotes (``"1e-5"``, ``"NaN"``); None for all else."""
    if type(value) is float:
        return value
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str):
        text = value.strip()
        try:
            return float(text)
        except ValueError:
            pass
        if match := _WINDOWS.fullmatch(text):
            return math.copysign(math.inf, -1.0 if match[1] == "-" else 1.0) if match[2].upper() == "INF" else math.nan
    return None
