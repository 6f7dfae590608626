"""YAML configs: read from the node graph of the parser, no tag constructs anything.

Plain words mean what YAML 1.1 or 1.2 takes them for: frameworks read with either. ``5e-6`` is a number (1.1 reads text, so
``Setting.text`` keeps it as written), ``yes`` and ``off`` are booleans (1.2 reads text), ``1_000`` and ``0x10`` integers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from diag.documents import YAML, Document
from diag.documents.tree import MAPPING, SCALAR, SEQUENCE, Member, Node, fill
from diag.errors import InputError

if TYPE_CHECKING:
    from diag.documents.editing import Edit

MAX_CHARACTERS: Final = 256 << 10
"""Characters above which YAML is not read; the parser takes about a second for a quarter of it, and configs are far smaller."""

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS: Final = {
    spelling: value
    for word, value in (("true", True), ("yes", True), ("on", True), ("false", False), ("no", False), ("off", False))
    for spelling in (word, word.title(), word.upper())
}
INTEGER: Final = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o[0-7]+|[0-9][0-9_]*)")
FLOAT: Final = re.compile(
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)

_BLANK: Final = r"(?:\s|#[^\r\n]*+)*+"
PROPERTY: Final = r"(?:!<[^>\s]*>|[&!][^\s,\[\]{}]*)"
_PROPERTIES: Final = re.compile(rf"(?:{PROPERTY}(?:\s|(?<=\s)#[^\r\n]*+)*+)++")
_EMPTY_VALUE: Final = re.compile(rf"{_BLANK}:(?:[ \t]+{PROPERTY})*")
_EMPTY_ITEM: Final = re.compile(rf"{_BLANK}-(?:[ \t]+{PROPERTY})*")
_ALIAS: Final = re.compile(r"(?:[\s:,?-]|#[^\r\n]*+)*+(?P<alias>\*[^\s,\[\]{}]+)")


class NotYamlError(Exception):
    """The text is not valid YAML.

    Attributes:
        problem: what the parser says, on one line; "" if it says nothing a reader could use.
        line: where, from 1; 0 if unknown.
    """

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def documents(text: str, name: str) -> list[Document]:
    """The config in a YAML text: its first document that is a mapping.

    Raises:
        InputError: the text is not valid YAML, or holds no mapping.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(name, f"is larger than {MAX_CHARACTERS >> 10} KiB", "give a training config")
    try:
        roots = [root for root in trees(text) if root is not None and not (root.kind == SCALAR and root.value is None)]
    except NotYamlError as error:
        where = f"line {error.line}: {error.problem}" if error.line and error.problem else error.problem or f"line {error.line}"
        advice = "use blanks in place of tabs" if "'\\t'" in error.problem else "correct it there"
        raise InputError(name, f"is not valid YAML ({where})", advice) from error
    except RecursionError as error:
        raise InputError(name, "is YAML that nests too deeply", "give a training config") from error
    chosen = next((number for number, root in enumerate(roots, 1) if root.kind == MAPPING), 0)
    if not chosen:
        raise InputError(name, _not_mapping(roots), "give a training config of keys and values")
    document = fill(Document(name, YAML, text), roots[chosen - 1])
    if len(roots) > 1:
        document.problems.append(f"holds {len(roots)} YAML documents, only number {chosen} was read")
    return [document]


def _not_mapping(roots: list[Node]) -> str:
    if not roots:
        return "holds no keys, it is empty"
    kind = "a list" if roots[0].kind == SEQUENCE else "text" if isinstance(roots[0].value, str) else "a single value"
    return f"holds {kind} where a config has keys and values"


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the text so that it says ``changes``; see ``diag.documents.editing.edits``.

    Raises:
        InputError: a change cannot be written.
    """
    from diag.documents.yaml_edits import edits as written

    return written(document, changes)


def trees(text: str) -> Iterator[Node | None]:
    """The root of each document in a YAML text, None for an empty one.

    Raises:
        NotYamlError: the text is not valid YAML.
        RecursionError: it nests too deeply.
    """
    from ruamel.yaml import YAML as Parser
    from ruamel.yaml.error import YAMLError

    parser = Parser(typ="safe", pure=True)
    parser.composer.warn_double_anchors = False
    try:
        for raw in parser.compose_all(text):
            yield None if raw is None else _Reader(text).root(raw)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        position = getattr(error, "position", None)
        line = mark.line + 1 if mark is not None else text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or ""
        raise NotYamlError(" ".join(str(problem).split())[:200], line) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, AssertionError, NotImplementedError) as error:
        # The parser is strict about directives and escapes in ways that are not all YAMLError.
        raise NotYamlError("", 0) from error


def plain_value(text: str) -> Any:
    """What a word without quotes means: None, a boolean, a number, or the text itself."""
    first = text[:1]
    if first.isascii() and (first.isdigit() or first in "+-."):
        try:
            if INTEGER.fullmatch(text):
                return _integer(text.replace("_", ""))
            if FLOAT.fullmatch(text):
                digits = text.replace("_", "")
                return float(digits.replace(".", "", 1) if digits[-1] in "fFnN" else digits)
        except ValueError:
            return text
    if text in NULLS:
        return None
    return BOOLEANS.get(text, text)


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if digits[:2] in ("0b", "0o", "0x"):
        value = int(digits, 0)
    elif digits[0] == "0" and digits.strip("01234567") == "":
        value = int(digits, 8)  # YAML 1.1, which most frameworks read
    else:
        value = int(digits)
    return -value if text[0] == "-" else value


class _Reader:
    """Turns the parser's nodes, in the order of the text, into ours.

    The parser puts an anchor's node in the place of its aliases, so a node that begins before what was read last is one.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._done: dict[int, Node] = {}

    def root(self, raw: Any) -> Node:
        self._position = raw.start_mark.index
        return self._node(raw)

    def _node(self, raw: Any) -> Node:
        text, start = self._text, raw.start_mark.index
        explicit = False
        if text[start : start + 1] in ("&", "!"):
            explicit = "!" in text[self._position : start + 1]
            match = _PROPERTIES.match(text, start)
            if match is not None:
                explicit = explicit or "!" in match[0]
                start = match.end()
        if isinstance(raw.value, str):
            node = self._scalar(raw, start, explicit)
            self._position = node.end
        else:
            flow = bool(raw.flow_style)
            node = Node.collection(MAPPING if raw.id == "mapping" else SEQUENCE, start, text[start] if flow else "")
            self._done[id(raw)] = node
            self._position = start
            if node.kind == MAPPING:
                self._mapping(node, raw)
            else:
                self._sequence(node, raw)
                node.measure()
            self._position = node.end = raw.end_mark.index if flow else self._position
        self._done[id(raw)] = node
        return node

    def _scalar(self, raw: Any, start: int, explicit: bool) -> Node:
        text, end = raw.value, raw.end_mark.index
        style = raw.style or ""
        if style in ("|", ">"):
            end = start + len(self._text[start:end].rstrip())
        if explicit:
            kind = str(raw.tag).rsplit(":", 1)[-1]
            value = plain_value(text) if kind in ("int", "float", "bool", "null") else text
        else:
            value = text if style else plain_value(text)
        return Node(SCALAR, min(start, end), end, value, text, style)

    def _value(self, raw: Any, empty: re.Pattern[str]) -> tuple[Node, tuple[int, int] | None]:
        """The node of a value, and the characters of the alias if it is one."""
        if raw.start_mark.index < self._position and id(raw) in self._done:
            match = _ALIAS.match(self._text, self._position)
            alias = match.span("alias") if match else (self._position, self._position)
            self._position = alias[1]
            return self._done[id(raw)], alias
        if raw.value == "" and not raw.style:
            match = empty.match(self._text, self._position)
            if match:
                self._position = match.end()
            node = Node(SCALAR, self._position, self._position, None if str(raw.tag).endswith(":null") else "")
            self._done[id(raw)] = node
            return node, None
        return self._node(raw), None

    def _mapping(self, node: Node, raw: Any) -> None:
        merged: list[Node] = []
        for raw_key, raw_value in raw.value:
            mark = raw_key.start_mark
            key, key_alias = self._key(raw_key)
            value, alias = self._value(raw_value, _EMPTY_VALUE)
            if key.kind != SCALAR:
                continue
            if key.text == "<<" and not key.style and value.kind != SCALAR:
                node.merges = True
                merged.extend([value] if value.kind == MAPPING else [member.node for member in value.members.values()])
                continue
            key_start, key_end = key_alias or (key.start, key.end)
            node.set(Member(key.text, value, mark.line + 1, mark.column + 1, key_start, key_end, alias))
        for source in merged:
            if source is not node:
                for name, member in list(source.members.items()):
                    node.members.setdefault(name, member._replace(merged=True))

    def _key(self, raw: Any) -> tuple[Node, tuple[int, int] | None]:
        if raw.value == "" and not raw.style:
            return Node(SCALAR, self._position, self._position), None
        return self._value(raw, _EMPTY_VALUE)

    def _sequence(self, node: Node, raw: Any) -> None:
        for index, item in enumerate(raw.value):
            line, column = item.start_mark.line + 1, item.start_mark.column + 1
            value, alias = self._value(item, _EMPTY_ITEM)
            start = alias[0] if alias else value.start
            if start != item.start_mark.index:
                line, column = self._text.count("\n", 0, start) + 1, start - self._text.rfind("\n", 0, start)
            node.members[str(index)] = Member(str(index), value, line, column, start, start, alias)
