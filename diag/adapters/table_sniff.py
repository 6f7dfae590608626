"""Whether a text is a training log: a table or a stream in which a column or key names a loss or a reward, and no data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from diag.adapters import tolerant_json
from diag.adapters.records import EPOCH_KEYS, STEP_KEYS, is_eval, is_loss, is_reward
from diag.adapters.table_rows import is_header, is_number, long_keys, objects, split_header

HEAD_BYTES: Final = 65_536
"""Bytes of a file that are looked at to tell whether it is a log."""
HEAD_RECORDS: Final = 60
"""Records of the head that are looked at."""
LONG_TEXT: Final = 200
"""Characters of a cell above which it is a text to learn from, not a value to log."""
TEXT_SHARE: Final = 0.5
"""Share of records with a text above which a file is a data set."""

TEXT_SUFFIXES: Final = (".txt", ".log")
"""Suffixes of text files that are looked at too: ``log.txt`` is often JSON lines, sometimes a table."""

TEXT_KEYS: Final = frozenset(
    {
        "messages",
        "conversations",
        "conversation",
        "prompt",
        "completion",
        "instruction",
        "response",
        "question",
        "answer",
        "text",
        "content",
        "input_ids",
    }
    | {
        "chosen",
        "rejected",
        "dialog",
        "dialogue",
        "sentence",
        "document",
        "image",
        "image_path",
        "filename",
        "file_name",
        "filepath",
        "url",
        "generated_text",
    }
)
"""Keys of data sets and of tables of samples; a training log has none of them."""

AXES: Final = frozenset(STEP_KEYS) | frozenset(EPOCH_KEYS)
MONITOR: Final = frozenset({"r", "l", "t"})
"""Columns of a Stable-Baselines monitor: return, length and time of each episode."""
CHART: Final = frozenset({"wall time", "step", "value"})
"""Columns of a TensorBoard chart export, whose metric is named by the file."""


def is_metric(key: str) -> bool:
    """Whether a column or key names a loss or a reward."""
    return is_loss(key) or is_reward(key)


def is_config(record: Mapping[str, Any], rows: int) -> bool:
    """Whether a JSON object describes the run rather than a step: it has settings, and neither an axis nor a metric."""
    keys = {str(key).lower() for key in record}
    if keys & AXES or any(is_metric(str(key)) for key in record):
        return False
    return any(
        isinstance(value, (str, dict, bool)) or "lr" in key or "learning_rate" in key or "batch" in key or "epoch" in key
        for key, value in ((str(key).lower(), value) for key, value in record.items())
    )


def is_pure(text: str, name: str) -> bool:
    """Whether a text is nothing but a table (two columns or more, three rows or more, all of one width) or JSON objects."""
    lines = [line for line in text.splitlines() if line.strip()]
    if name == "jsonl":
        return len(lines) > 1 and all(line.startswith("{") for line in lines[:HEAD_RECORDS]) and objects_share(lines[:HEAD_RECORDS]) > 0.9
    delimiter, header = split_header(lines[0]) if lines else (",", ())
    return len(header) > 1 and len(lines) > 3 and all(line.count(delimiter) == len(header) - 1 for line in lines[1:HEAD_RECORDS])


def objects_share(lines: Sequence[str]) -> float:
    """Share of lines that are JSON objects."""
    return sum(record is not None for _, record in objects("\n".join(lines))) / max(len(lines), 1)


def table_is_log(text: str, name: str) -> bool:
    """Whether the head of a CSV file is that of a training log."""
    lines = [line for line in text.splitlines() if line.strip()]
    while lines and lines[0].lstrip("\ufeff").startswith("#") and "{" in lines[0]:
        lines.pop(0)
    if not lines:
        return False
    delimiter, header = split_header(lines[0])
    keys = [key.lower() for key in header]
    if set(keys) in (MONITOR, CHART):
        return True
    if long_keys(header) is not None:
        return any(
            is_loss(cell) or is_reward(cell)
            for line in lines[1 : HEAD_RECORDS + 1]
            for cell in line.split(delimiter)
            if len(cell) < LONG_TEXT
        )
    if not any(is_metric(key) for key in header) and not (len(keys) == 2 and keys[0] == "step" and name.startswith(("Train_", "Eval_"))):
        return False
    if not is_header(header) and any(is_number(cell) for cell in header):
        return False
    rows = [line.split(delimiter) for line in lines[1 : HEAD_RECORDS + 1]]
    cells = [cell.strip().strip('"') for row in rows for cell in row if cell.strip()]
    texts = [cell for cell in cells if len(cell) > LONG_TEXT]
    if set(keys) & TEXT_KEYS or len(texts) > TEXT_SHARE * len(rows):
        return False
    if AXES & set(keys):
        return True
    numbers = sum(is_number(cell) for cell in cells)
    return (
        bool(cells)
        and numbers > 0.9 * len(cells)
        and sum(is_metric(key) or is_eval(key) or key in ("lr", "acc", "accuracy") for key in header) > 1
    )


def stream_is_log(text: str) -> bool:
    """Whether the head of a JSON-lines file is that of a training log."""
    metric = axis = False
    texts = records = 0
    for _, record in objects(text):
        if record is None:
            continue
        records += 1
        if records > HEAD_RECORDS:
            break
        keys = {str(key).lower() for key in record}
        if keys & TEXT_KEYS or (
            any(type(value) is str and len(value) > LONG_TEXT for value in record.values()) and not is_config(record, 0)
        ):
            texts += 1
            continue
        axis = axis or bool(keys & AXES)
        metric = metric or any(is_metric(str(key)) and tolerant_json.number(value) is not None for key, value in record.items())
        metric = metric or {"current_steps", "total_steps"} <= keys
        if (names := long_keys(record)) is not None:
            metric = metric or is_metric(str(record[names[0]]))
        if not metric:
            metric = any(is_metric(f"{key}/{inner}") for key, value in record.items() if type(value) is dict for inner in value)
    return metric and texts <= TEXT_SHARE * records and (axis or texts == 0)
