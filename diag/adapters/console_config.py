"""Settings that a console log prints: argument dumps, tables, banners, YAML blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

MAX_DUMP_LINES: Final = 3_000
"""Lines of one dump that are read; the longest known (Megatron-LM) has about 500."""
MAX_VALUE: Final = 2_000
"""Characters of one value."""

_ARGUMENTS: Final = re.compile(r"(?:\b(?:Namespace|\w*(?:Arguments|Args|Config))\()")
_KEYWORD: Final = re.compile(
    r"(?:^|[\s(,])([A-Za-z_]\w{0,80})=((?:'[^'\n]{0,400}'|\"[^\"\n]{0,400}\"|<[^>\n]{0,200}>|\[[^\]\n]{0,400}\]|[^,()\n]{0,200}))"
)
_DOTS: Final = re.compile(r"\s{0,4}([A-Za-z_]\w{0,80}) \.{3,} (.{0,400})$")
_CELL: Final = re.compile(r"\|\s{0,40}([A-Za-z_][\w./-]{0,60}(?: [\w./-]{1,40}){0,4}?)\s{0,60}\|\s{0,40}([^|\n]{1,200}?)\s{0,60}\|\s*$")
_BANNER: Final = (
    (re.compile(r"Num examples\s*=\s*([\d,]+)"), "num_examples", 1),
    (re.compile(r"Num Epochs\s*=\s*([\d,.]+)", re.IGNORECASE), "num_train_epochs", 1),
    (re.compile(r"(?:Total optimization steps|Total steps)\s*=\s*([\d,]+)"), "max_steps", 1),
    (re.compile(r"(?:Instantaneous batch size per device|Batch size per device)\s*=\s*([\d,]+)"), "per_device_train_batch_size", 1),
    (re.compile(r"Gradient accumulation steps\s*=\s*([\d,]+)", re.IGNORECASE), "gradient_accumulation_steps", 1),
    (re.compile(r"Total (?:train )?batch size (?:\([^)]{0,80}\)\s*)?=\s*([\d,]+)"), "total_train_batch_size", 1),
    (re.compile(r"(?:Data Parallel GPUs|Num GPUs used)\s*=\s*(\d+)"), "world_size", 1),
)
"""Lines of the Hugging Face Trainer and Unsloth before the first step."""
_COMMAND: Final = re.compile(r"--([A-Za-z][\w.-]{1,60})[ =]('[^'\n]{0,200}'|\"[^\"\n]{0,200}\"|(?!--)[^\s'\"]{1,200})")
_YAML_START: Final = re.compile(
    r"(?:^|\| )(?:Recipe config|Resolved config|Running \w+ with resolved config|Config(?:uration)?):?\s*$", re.IGNORECASE
)
_YAML_LINE: Final = re.compile(r"(?:\s{0,40}(?:- )?[A-Za-z_][\w./-]{0,80}:(?:\s.{0,400})?|\s{0,40}- .{0,400}|\s*)$")
_HEADER_CELLS: Final = frozenset({"name", "parameter", "setting", "key", "hyperparameter", "argument"})


class Settings(NamedTuple):
    """Native keys to values as text, and the line each stands on."""

    values: dict[str, Any]
    lines: dict[str, int]
    banner: dict[str, float]


def find_settings(lines: Sequence[tuple[int, str]]) -> Settings:
    """Settings printed in ``(line number, text)`` pairs; the first mention of a key counts."""
    found: dict[str, Any] = {}
    at: dict[str, int] = {}
    banner: dict[str, float] = {}
    for line, key, value in (*dumps(lines), *yaml_blocks(lines)):
        if key not in found:
            found[key], at[key] = value, line
    for line, text in lines:
        if "=" not in text:
            continue
        for pattern, key, group in _BANNER:
            if key not in banner and (match := pattern.search(text)):
                banner[key] = float(match[group].replace(",", "").rstrip("."))
                at.setdefault(key, line)
    return Settings(found, at, banner)


def dumps(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str, Any]]:
    """Argument dumps: ``Namespace(a=1, …)`` and ``TrainingArguments(`` over many lines, dotted lists, tables, commands."""
    open_until = -1
    table = False
    for index, (line, text) in enumerate(lines):
        if index <= open_until:
            if text.startswith(")") or not text.strip():
                open_until = -1
            for key, value in _KEYWORD.findall(text):
                yield line, key, literal(value)
            continue
        if "(" in text and (match := _ARGUMENTS.search(text)):
            inside = text[match.end() :]
            for key, value in _KEYWORD.findall("(" + inside[:60_000]):
                yield line, key, literal(value)
            if ")" not in inside:
                open_until = index + MAX_DUMP_LINES
            continue
        if " ..." in text and (match := _DOTS.match(text)):
            yield line, match[1], literal(match[2])
            continue
        if "|" in text and (match := _CELL.match(text.strip())):
            if match[1].lower() in _HEADER_CELLS and not match[2][:1].isdigit():
                table = True
            elif table:
                yield line, match[1].replace(" ", "_"), literal(match[2])
            continue
        table = table and text.lstrip().startswith(("|", "+", "-", "="))
        if "--" in text and ("python" in text or "torchrun" in text or "launch" in text or "\\" in text) and text.count("--") >= 2:
            for key, value in _COMMAND.findall(text):
                yield line, key.replace("-", "_"), literal(value)


def yaml_blocks(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str, Any]]:
    """Blocks of YAML under a heading such as ``Recipe config``, as dotted keys."""
    index = 0
    while index < len(lines):
        if not _YAML_START.search(lines[index][1]):
            index += 1
            continue
        start = index = index + 1
        while index < len(lines) and index - start < MAX_DUMP_LINES and _YAML_LINE.match(lines[index][1]):
            index += 1
        yield from dotted(lines[start:index])


def dotted(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str, Any]]:
    """Mappings of plain scalars by indentation; lists and anything else are passed over."""
    path: list[tuple[int, str]] = []
    for line, text in lines:
        stripped = text.strip()
        if not stripped or stripped.startswith(("#", "- ")):
            continue
        indent = len(text) - len(text.lstrip())
        key, _, value = stripped.partition(":")
        while path and path[-1][0] >= indent:
            path.pop()
        if value.strip():
            yield line, ".".join([name for _, name in path] + [key]), literal(value.strip())
        else:
            path.append((indent, key))


def literal(text: str) -> Any:
    """A printed value: None, booleans and numbers as such, quotes and enum class names taken off, else text."""
    text = text.strip().rstrip(",").strip()[:MAX_VALUE]
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text in ("None", "null", ""):
        return None
    if text in ("True", "true", "False", "false"):
        return text in ("True", "true")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if match := re.fullmatch(r"(?:<?[A-Z]\w{0,60}\.)([A-Z][A-Z0-9_]{0,60})(?:: '[^']{0,60}'>)?", text):
        return match[1].lower()
    return text
