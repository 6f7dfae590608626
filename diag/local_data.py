"""What local files tell of the training data: how many samples there are (counted, never loaded), and how long they are.

Only files below MAX_BYTES with a suffix in SUFFIXES are looked at, and only paths relative to the config, to the working folder, or
absolute. Nothing is fetched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from diag.errors import InputError

TRAINING_KEY: Final = re.compile(
    r"(?:^|[._])(?:train_files?|train_data|data_path|data_files|dataset_path|path_or_dataset|path_or_dataset_id|dataset_name|dataset)$"
    r"|(?:^|\.)(?:path|source)$"
)
"""Keys that may name the training data."""

EVALUATION: Final = re.compile(r"(?:^|[._])(?:val|valid|validation|eval|evaluation|test|dev)(?:[._]|$)")
"""Parts of keys that name the evaluation data."""

MAX_BYTES: Final = 512 << 20
"""Bytes above which a data file is not counted: a second's reading."""

MAX_JSON_BYTES: Final = 32 << 20
"""Bytes above which a JSON array is not counted, as it has to be parsed for that: half a second and ten times its size in memory."""

CHUNK: Final = 1 << 20
"""Bytes of a line read at once."""

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
"""Of files that can be counted."""


def local_data(flat: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``dataset_size`` (samples) and ``source`` (file and key) of the training data, {} if it names no local file that can be counted.

    Args:
        flat: dotted native key to value.
        folder: of the config.
    """
    total, names, seen = 0, [], set[str]()
    for key, value in flat.items():
        if not TRAINING_KEY.search(key) or EVALUATION.search(key):
            continue
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str) or text in seen:
                continue
            seen.add(text)
            if size := _count(text, folder):
                total += size
                names.append(f"{text}, {key}")
    return {"dataset_size": total, "source": "; ".join(names)} if total else {}


def _count(text: str, folder: Path) -> int | None:
    if not text or len(text) > 1000 or "\0" in text or "://" in text:
        return None
    suffix = Path(text).suffix.lower()
    if suffix not in SUFFIXES:
        return None
    for base in (folder, Path()):
        path = base / text
        try:
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                return _samples(path, suffix)
        except (OSError, ValueError):
            continue
    return None


def _samples(path: Path, suffix: str) -> int | None:
    if suffix == ".json":
        try:
            data = json.loads(path.read_bytes()) if path.stat().st_size <= MAX_JSON_BYTES else None
        except (ValueError, RecursionError):
            return _lines(path)  # JSON lines under the other name
        return len(data) if isinstance(data, list) else None
    lines = _lines(path, quoted=suffix == ".csv")
    return lines - 1 if suffix in (".csv", ".tsv") and lines else lines


def _lines(path: Path, *, quoted: bool = False) -> int:
    """Lines that are not blank; with ``quoted`` a newline between quotes does not end one."""
    count, inside, blank = 0, False, True
    with path.open("rb") as stream:
        while part := stream.readline(CHUNK):
            inside ^= quoted and part.count(b'"') % 2 == 1
            blank = blank and not part.strip()
            if part.endswith(b"\n") and not inside:
                count, blank = count + (not blank), True
    return count + (not blank)


MAX_LENGTHS_BYTES: Final = 256 << 20
"""Bytes above which a file of sample lengths is not read."""

LENGTH_NAMES: Final = ("length", "len", "num_tokens", "n_tokens", "tokens", "token_count", "input_length", "seq_len")
"""Fields of a JSON object that give the tokens of a sample; ``input_ids`` is counted."""


MAX_LENGTH: Final = 1e12
"""Tokens above which a number is no length of a sample."""


def sample_lengths(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Tokens of every sample, from a file: one number a line (the last column of CSV), a JSON array, or JSONL with a length.

    Raises:
        InputError: the file cannot be read, or a line holds no length.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_LENGTHS_BYTES:
            raise InputError(path, f"is larger than {MAX_LENGTHS_BYTES >> 20} MiB", "a random thousand of the samples is enough")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or type(error).__name__})", "give a file of sample lengths") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text", "write one number a line") from error
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, list):
        items: list[tuple[int, Any]] = list(enumerate(whole, 1))
    else:
        items = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    lengths: list[int] = []
    for number, item in items:
        length = _length(item)
        if length is None and number == 1 and not isinstance(whole, list):
            continue  # a header
        if length is None:
            raise InputError(path, f"item {number} holds no length", "write one number a line, or JSONL with a length")
        lengths.append(length)
    if not lengths:
        raise InputError(path, "holds no lengths", "write one number a line")
    return tuple(lengths)


def _length(item: Any) -> int | None:
    if isinstance(item, str):
        try:
            item = json.loads(item)
        except (ValueError, RecursionError):
            item = item.rsplit(",", 1)[-1].strip()
    if isinstance(item, dict):
        named = next((item[name] for name in LENGTH_NAMES if name in item), None)
        ids = item.get("input_ids")
        item = named if named is not None else len(ids) if isinstance(ids, list) else None
    if isinstance(item, bool):
        return None
    try:
        number = float(item)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < MAX_LENGTH else None
