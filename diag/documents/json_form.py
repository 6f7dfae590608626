"""JSON configs: values as the standard parser reads them, with the characters that every key and value occupies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from diag.documents import JSON, Document
from diag.documents.tree import MAPPING, SCALAR, SEQUENCE, Member, Node, fill
from diag.errors import InputError

if TYPE_CHECKING:
    from diag.documents.editing import Edit

TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s{}\[\],:"]+')
"""What matters of a valid JSON text: strings, brackets, numbers and words; commas and colons are where they must be."""

WORDS: Final = {"true": True, "false": False, "null": None, "NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def documents(text: str, name: str) -> list[Document]:
    """The config in a JSON text.

    Raises:
        InputError: the text is not valid JSON, or its root is not an object.
    """
    if not text.strip():
        raise InputError(name, "holds no keys, it is empty", "give a training config of keys and values")
    strange: list[str] = []
    try:
        json.loads(text, parse_constant=strange.append)
        root = tree(text)
    except RecursionError as error:
        raise InputError(name, "is JSON that nests too deeply", "give a training config") from error
    except json.JSONDecodeError as error:
        problem, advice = _explained(text, error)
        raise InputError(name, f"is not valid JSON (line {error.lineno}: {problem})", advice) from error
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(name, f"is JSON that Python does not read ({error})", "give a training config") from error
    if root.kind != MAPPING:
        kind = "a list" if root.kind == SEQUENCE else "a single value"
        raise InputError(name, f"holds {kind} where a config has keys and values", "give a training config of keys and values")
    document = fill(Document(name, JSON, text), root)
    if strange:
        document.problems.append(f"writes {', '.join(sorted(set(strange)))}, which only Python takes for JSON")
    return [document]


def _explained(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    """What is wrong at a place where the parser gave up, and what to do."""
    rest, before = text[error.pos :], text[: error.pos].rstrip()
    if rest.startswith(("//", "/*", "#")):
        return "a comment", "JSON has none: take it out, or keep the config as YAML"
    if error.msg.startswith("Illegal trailing comma") or (rest[:1] in ("}", "]") and before.endswith(",")):
        return f"a comma before {rest[0]}" if rest[:1] in ("}", "]") else "a comma after the last item", "take the comma out"
    if rest.startswith("'"):
        return "text in single quotes", "write it in double quotes"
    if re.match(r"(?:True|False|None)\b", rest):
        return "a Python word", "write true, false or null"
    if error.msg == "Extra data":
        return "more after the end of the object", "a config is one object; JSON Lines are not read as one"
    if not rest:
        return "the text ends too early", "close what is open"
    return error.msg[:1].lower() + error.msg[1:], "correct it there"


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the text so that it says ``changes``; see ``diag.documents.editing.edits``.

    Raises:
        InputError: a change cannot be written.
    """
    from diag.documents.json_edits import edits as written

    return written(document, changes)


def tree(text: str) -> Node:
    """The root of a JSON text, which must be valid."""
    root: Node | None = None
    stack: list[Node] = []
    parent: Node | None = None
    key, key_start, key_end = None, 0, 0
    line, column, line_start, seen = 1, 1, 0, 0
    for match in TOKEN.finditer(text):
        token, start = match[0], match.start()
        first = token[0]
        if first in "}]":
            closed = stack.pop()
            closed.end = start + 1
            if first == "]":
                closed.measure()
            parent = stack[-1] if stack else None
            continue
        if key is None:
            if breaks := text.count("\n", seen, start):
                line += breaks
                line_start = text.rfind("\n", seen, start) + 1
            seen = start
            column = start - line_start + 1
            if parent is not None and parent.kind == MAPPING:
                key = json.loads(token) if "\\" in token else token[1:-1]
                key_start, key_end = start, match.end()
                continue
        if first == "{":
            node = Node.collection(MAPPING, start, "{")
        elif first == "[":
            node = Node.collection(SEQUENCE, start, "[")
        elif first == '"':
            value = json.loads(token) if "\\" in token else token[1:-1]
            node = Node(SCALAR, start, match.end(), value, value, '"')
        else:
            node = Node(SCALAR, start, match.end(), WORDS[token] if token in WORDS else _number(token), token)
        if parent is None:
            root = node
        elif key is None:
            index = str(len(parent.members))
            parent.members[index] = Member(index, node, line, column, start, start)
        else:
            parent.set(Member(key, node, line, column, key_start, key_end))
            key = None
        if first in "{[":
            stack.append(node)
            parent = node
    assert root is not None
    return root


def _number(token: str) -> int | float:
    return float(token) if "." in token or "e" in token or "E" in token else int(token)
