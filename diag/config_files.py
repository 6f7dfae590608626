"""JSON and YAML files beside a log as flat configs: dotted key to value, and the line each key stands on.

Files are read by the same parsers as ``diag.documents``, but forgivingly: what they hold never raises, wrappings of loggers
(``{"value": x}``, ``Namespace(lr=0.1)``) are undone, and aliases are followed within MAX_KEYS and MAX_DEPTH.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.documents import MARKS
from diag.documents.json_form import tree
from diag.documents.tree import MAPPING, MAX_DEPTH, MAX_KEYS, SCALAR, Node
from diag.documents.yaml_form import NotYamlError, trees

MAX_JSON_BYTES: Final = 4 << 20
"""Bytes above which a JSON file beside a log is not taken for a config."""

MAX_YAML_BYTES: Final = 64 << 10
"""Bytes above which a YAML file is not read: configs are far smaller, and the parser that keeps line numbers takes a second for these."""

MAX_ITEMS: Final = 512
"""Items of one list that are kept; the longest that matters names the modules to adapt."""

MAX_LITERAL: Final = 20_000
"""Characters of a text value that are parsed as a Python literal (a namespace or mapping written with repr)."""


class _Leaf(NamedTuple):
    key: str
    value: Any
    line: int


class _Lined(dict[str, Any]):
    """A mapping that knows the line, from 1, of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def flatten(native: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of a nested config by dotted key: scalars and lists of scalars; wrappings undone, depth and number bounded."""
    flat: dict[str, Any] = {}
    for leaf in _leaves(native, []):
        flat.setdefault(leaf.key, leaf.value)
    return flat


def _leaves(native: Mapping[Any, Any], problems: list[str]) -> Iterator[_Leaf]:
    """Leaves among the first MAX_KEYS keys, down to MAX_DEPTH; ``problems`` says if there are more."""
    left = MAX_KEYS
    stack = [("", native, iter(native.items()))]
    while stack:
        prefix, mapping, items = stack[-1]
        lines = mapping.lines if isinstance(mapping, _Lined) else {}
        for key, value in items:
            if not left:
                problems.append(f"holds more than {MAX_KEYS} keys, the rest was not read")
                return
            left -= 1
            name, line = f"{prefix}{key}", lines.get(key, 0)
            if isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "desc"}:
                value = value["value"]
            if isinstance(value, str):
                value = _unfold(value)
            if isinstance(value, Mapping):
                if len(stack) <= MAX_DEPTH:
                    stack.append((f"{name}.", value, iter(value.items())))
                    break
            elif isinstance(value, (list, tuple)):
                kept = [_plain(item) for item in value[:MAX_ITEMS] if not isinstance(item, (Mapping, list, tuple))]
                yield _Leaf(name, kept, line)
            else:
                yield _Leaf(name, _plain(value), line)
        else:
            stack.pop()


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
    file = as_trained(path)
    try:
        if not file.is_file():  # reading a pipe would wait for ever
            return {}, {}, ""
        if file.stat().st_size > limit:
            return {}, {}, f"larger than {limit >> 10} KiB, not read as a config"
        raw = file.read_bytes()
    except OSError as error:
        return {}, {}, f"could not be read ({error.strerror or type(error).__name__})"
    text = _decode(raw)
    return _load_json(text) if path.suffix == ".json" else _load_yaml(text)


KEPT: Final = ".as_trained"
"""What is added to the name of a run's own config for the copy that is kept when it is changed in place; no other program leaves
files of that name, as ``patch`` and ``git`` do with ``.orig``."""

GOES_ON: Final = 300.0
"""Seconds by which another file of the run must be newer than the copy to say that the run went on after the change: copying a folder
or checking it out takes less."""


def kept(path: Path) -> Path:
    """Where the copy of a config is kept."""
    return path.with_name(path.name + KEPT)


def as_trained(path: Path) -> Path:
    """The file that says what a run was trained with: the config, or the copy of it that was kept when it was changed after the run.

    A copy no longer counts once anything else in the folder was written well after it: the changed config was trained with then.
    """
    copy = kept(path)
    try:
        if not copy.is_file():
            return path
        written = [entry.stat().st_mtime for entry in path.parent.iterdir() if entry.is_file() and entry not in (path, copy)]
        return path if max(written, default=0.0) > copy.stat().st_mtime + GOES_ON else copy
    except OSError:
        return path


def _decode(raw: bytes) -> str:
    encoding = next((encoding for mark, encoding in MARKS if raw.startswith(mark)), "utf-8")
    return raw.decode(encoding, errors="replace")


def _load_json(text: str) -> tuple[dict[str, Any], dict[str, int], str]:
    try:
        json.loads(text)
    except RecursionError:
        return {}, {}, "nested too deeply, not read as a config"
    except ValueError:
        return {}, {}, "is not valid JSON, not read as a config"
    return _flat(tree(text))


def _load_yaml(text: str) -> tuple[dict[str, Any], dict[str, int], str]:
    try:
        root = next(trees(text), None)
        return _flat(root) if root is not None else ({}, {}, "")
    except RecursionError:
        return {}, {}, "nested too deeply, not read as a config"
    except NotYamlError as error:
        where = f" (line {error.line})" if error.line else ""
        return {}, {}, f"is not valid YAML{where}, not read as a config"


def _flat(root: Node) -> tuple[dict[str, Any], dict[str, int], str]:
    """What ``load`` returns, from the tree of a file."""
    repeated: dict[str, None] = {}
    data = _values(root, {}, repeated)
    if not isinstance(data, Mapping):
        return {}, {}, ""
    flat: dict[str, Any] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for leaf in _leaves(data, problems):
        flat.setdefault(leaf.key, leaf.value)
        lines.setdefault(leaf.key, leaf.line)
    if repeated:
        problems.append(f"sets {', '.join(list(repeated)[:3])} more than once, the last one counts")
    return flat, lines, problems[0] if problems else ""


def _values(node: Node, done: dict[int, Any], repeated: dict[str, None]) -> Any:
    """Plain values of a tree; what is shared in it is the same object again."""
    if node.kind == SCALAR:
        return node.value
    if id(node) in done:
        return done[id(node)]
    if node.kind != MAPPING:
        items: list[Any] = []
        done[id(node)] = items
        items.extend(_values(member.node, done, repeated) for member in list(node.members.values())[:MAX_ITEMS])
        return items
    mapping = _Lined()
    done[id(node)] = mapping
    repeated.update((before.key, None) for before in node.shadowed)
    for key, member in node.members.items():
        mapping[key] = _values(member.node, done, repeated)
        mapping.lines[key] = member.line
    return mapping
