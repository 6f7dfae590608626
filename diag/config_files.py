"""JSON and YAML files as flat configs: dotted key to value, and the line each key stands on.

A file is only read as text: no tag constructs an object, aliases are followed within MAX_KEYS and MAX_DEPTH, and
nothing that is in a file raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

MAX_JSON_BYTES: Final = 4 << 20
"""Bytes above which a JSON file beside a log is not taken for a config."""

MAX_YAML_BYTES: Final = 64 << 10
"""Bytes above which a YAML file is not read: configs are far smaller, and the parser that keeps line numbers takes a second for these."""

MAX_KEYS: Final = 20_000
"""Leaves read of one config; a YAML bomb unfolds to more than any memory."""

MAX_ITEMS: Final = 512
"""Items of one list that are kept; the longest that matters names the modules to adapt."""

MAX_DEPTH: Final = 32
"""Nesting that is followed; the configs of all known frameworks stay below 12."""

MAX_LITERAL: Final = 20_000
"""Characters of a text value that are parsed as a Python literal (a namespace or mapping written with repr)."""


class _Node(NamedTuple):
    key: str
    value: Any
    line: int


def flatten(native: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of a nested config by dotted key: scalars and lists of scalars; wrappings undone, depth and number bounded."""
    flat: dict[str, Any] = {}
    for node in _leaves(native, "", 0):
        flat.setdefault(node.key, node.value)
        if len(flat) >= MAX_KEYS:
            break
    return flat


def _leaves(mapping: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[_Node]:
    lines = mapping.lines if isinstance(mapping, _Lined) else {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        line = lines.get(key, 0)
        if isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "desc"}:
            value = value["value"]
        if isinstance(value, str):
            value = _unfold(value)
        if isinstance(value, Mapping):
            if depth < MAX_DEPTH:
                yield from _leaves(value, f"{name}.", depth + 1)
        elif isinstance(value, (list, tuple)):
            yield _Node(name, [_plain(item) for item in value[:MAX_ITEMS] if not isinstance(item, (Mapping, list, tuple))], line)
        else:
            yield _Node(name, _plain(value), line)


def _plain(value: Any) -> Any:
    """A scalar as the plain Python one; anything else as text."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)[:200]


def _unfold(text: str) -> Any:
    """A mapping written as text (``{'lr': 0.1}``, ``Namespace(lr=0.1)``), the text itself for anything else."""
    stripped = text.strip()
    if not 2 < len(stripped) <= MAX_LITERAL or stripped[-1] not in ")}":
        return text
    import ast

    try:
        if stripped[0] == "{":
            value = json.loads(stripped) if '"' in stripped else ast.literal_eval(stripped)
            return value if isinstance(value, Mapping) else text
        if not re.match(r"^[A-Za-z_][\w.]*\(", stripped):
            return text
        call = ast.parse(stripped, mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    if not isinstance(call, ast.Call) or call.args or not call.keywords:
        return text
    unfolded = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            continue
        try:
            unfolded[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    return unfolded or text


def load(path: Path) -> tuple[dict[str, Any], dict[str, int], str]:
    """Read one JSON or YAML file as a flat config.

    Returns:
        Dotted key to value, dotted key to line (from 1), and a problem to note ("" for none). A file that holds no
        mapping gives an empty one. Never raises for what is in the file.
    """
    limit = MAX_JSON_BYTES if path.suffix == ".json" else MAX_YAML_BYTES
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return {}, {}, ""
        if path.stat().st_size > limit:
            return {}, {}, f"larger than {limit >> 10} KiB, not read as a config"
        raw = path.read_bytes()
    except OSError as error:
        return {}, {}, f"could not be read ({error.strerror or type(error).__name__})"
    text = _decode(raw)
    return _load_json(text) if path.suffix == ".json" else _load_yaml(text)


def _decode(raw: bytes) -> str:
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    return raw.decode("utf-8", errors="replace")


def _load_json(text: str) -> tuple[dict[str, Any], dict[str, int], str]:
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(items)
        if len(mapping) < len(items):
            keys = [key for key, _ in items]
            repeated.extend(key for key in mapping if keys.count(key) > 1 and len(repeated) < 3)
        return mapping

    try:
        data = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        return {}, {}, "nested too deeply, not read as a config"
    except ValueError:
        return {}, {}, "is not valid JSON, not read as a config"
    if not isinstance(data, Mapping):
        return {}, {}, ""
    problem = f"sets {', '.join(repeated)} more than once, the last one counts" if repeated else ""
    return flatten(data), json_lines(text), problem


JSON_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}\[\],:\n]')


def json_lines(text: str) -> dict[str, int]:
    """Dotted key of every member of nested JSON objects to its line, from 1. The text must be valid JSON."""
    lines: dict[str, int] = {}
    stack: list[str | None] = []  # one entry a container: the prefix of its keys, None for an array
    line, pending, last, after_key = 1, "", "", False
    for match in JSON_TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token[0] == '"':
            last = token
            if stack and stack[-1] is not None and not after_key:
                try:
                    pending = stack[-1] + json.loads(last)
                except ValueError:
                    pending = stack[-1] + last[1:-1]
                lines.setdefault(pending, line)
        elif token == ":":
            after_key = True
        elif token == ",":
            after_key = False
        elif token in "{[":
            inside_array = bool(stack) and stack[-1] is None
            stack.append(None if token == "[" or inside_array else f"{pending}." if stack else "")
            after_key = False
        elif stack:
            stack.pop()
            after_key = False
    return lines


class _Lined(dict[str, Any]):
    """A mapping that knows the line, from 1, of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class _Builder:
    """Plain values from a YAML node graph: no tag constructs anything, an alias is the same object again."""

    def __init__(self) -> None:
        self.repeated: list[str] = []
        self._done: dict[int, Any] = {}

    def build(self, node: Any) -> Any:
        """The value of a node."""
        if isinstance(node.value, str):
            return _yaml_scalar(node.tag, node.value)
        if id(node) in self._done:
            return self._done[id(node)]
        if node.id == "sequence":
            items: list[Any] = []
            self._done[id(node)] = items
            items.extend(self.build(item) for item in node.value[:MAX_ITEMS])
            return items
        mapping = _Lined()
        self._done[id(node)] = mapping
        merged: list[Any] = []
        for key, value in node.value:
            if not isinstance(key.value, str):
                continue
            name = key.value
            if name == "<<" and not isinstance(value.value, str):
                merged.extend(value.value if value.id == "sequence" else [value])
                continue
            if name in mapping and name not in self.repeated:
                self.repeated.append(name)
            mapping[name] = self.build(value)
            mapping.lines[name] = key.start_mark.line + 1
        for node in merged:
            source = self.build(node)
            for name, value in source.items() if isinstance(source, _Lined) and source is not mapping else ():
                if name not in mapping:
                    mapping[name] = value
                    mapping.lines[name] = source.lines[name]
        return mapping


def _yaml_scalar(tag: Any, text: str) -> Any:
    kind = str(tag).rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on", "y")
    if kind in ("int", "float"):
        plain = text.replace("_", "")
        try:
            return int(plain, 0) if kind == "int" and plain[:2] in ("0x", "0o", "0b") else int(plain) if kind == "int" else float(plain)
        except ValueError:
            return text
    return text


def _load_yaml(text: str) -> tuple[dict[str, Any], dict[str, int], str]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    builder = _Builder()
    try:
        node = next(iter(YAML(typ="safe", pure=True).compose_all(text)), None)
        data = None if node is None else builder.build(node)
    except RecursionError:
        return {}, {}, "nested too deeply, not read as a config"
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        return {}, {}, f"is not valid YAML{where}, not read as a config"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, AssertionError, NotImplementedError):
        # The parser is strict about directives and escapes in ways that are not all YAMLError.
        return {}, {}, "is not valid YAML, not read as a config"
    if not isinstance(data, Mapping):
        return {}, {}, ""
    flat: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for leaf in _leaves(data, "", 0):
        flat.setdefault(leaf.key, leaf.value)
        lines.setdefault(leaf.key, leaf.line)
        if len(flat) >= MAX_KEYS:
            return flat, lines, f"holds more than {MAX_KEYS} keys, the rest was not read"
    return flat, lines, f"sets {', '.join(builder.repeated[:3])} more than once, the last one counts" if builder.repeated else ""
