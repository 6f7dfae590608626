"""What YAML and JSON configs have in common: nested mappings and lists that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from diag.documents import Document, Setting

SCALAR: Final = "scalar"
MAPPING: Final = "mapping"
SEQUENCE: Final = "sequence"

MAX_KEYS: Final = 20_000
"""Keys read of one config; a YAML bomb unfolds to more than any memory."""

MAX_DEPTH: Final = 32
"""Nesting that is followed; the configs of all known frameworks stay below 12."""


_NONE: Final[Any] = MappingProxyType({})
"""The members of a scalar."""


class Node:
    """A value in the file. In YAML several members can share one, and it can even hold itself.

    Attributes:
        kind: SCALAR, MAPPING or SEQUENCE.
        start, end: characters it occupies, without anchor and tag.
        value: what a scalar means.
        text: a scalar as written, without quotes.
        style: ``'`` or ``"`` for a quoted scalar, ``|`` or ``>`` for a block, "" for a plain one; ``{`` or ``[`` for a
            collection in flow style, "" for one in block style.
        members: what a mapping or a list holds; of a list by index, of a mapping by key (the last one where a key repeats).
        shadowed: members that count for nothing because their key is set again later.
        merges: whether a mapping takes keys of others by ``<<``.
        size: scalars that a list unfolds to, nested ones too; -1 if it holds mappings or itself, or more than MAX_KEYS.
    """

    __slots__ = ("end", "kind", "members", "merges", "shadowed", "size", "start", "style", "text", "value")

    def __init__(self, kind: str, start: int, end: int, value: Any = None, text: str = "", style: str = "") -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.value = value
        self.text = text
        self.style = style
        self.members: dict[str, Member] = _NONE
        self.shadowed: tuple[Member, ...] = ()
        self.merges = False
        self.size = -1

    @classmethod
    def collection(cls, kind: str, start: int, style: str) -> Node:
        """An empty mapping or list."""
        node = cls(kind, start, start, None, "", style)
        node.members = {}
        return node

    def set(self, member: Member) -> None:
        """Add a key to a mapping, after the others; the last one of a name counts."""
        if (before := self.members.pop(member.key, None)) is not None:
            self.shadowed += (before,)
        self.members[member.key] = member

    @property
    def is_leaf(self) -> bool:
        """Whether it is one value: a scalar or a list without mappings."""
        return self.kind == SCALAR or self.size >= 0

    def measure(self) -> None:
        """Find the size of a list; its items have been measured."""
        total = 0
        for member in self.members.values():
            size = 1 if member.node.kind == SCALAR else member.node.size
            total += size
            if size < 0 or total > MAX_KEYS:
                return
        self.size = total

    def plain(self) -> Any:
        """The value of a leaf: a scalar or a list of values."""
        return self.value if self.kind == SCALAR else [member.node.plain() for member in self.members.values()]


class Member(NamedTuple):
    """A key with its value, or an item of a list.

    Attributes:
        key: the key; the index of an item.
        node: the value.
        line, column: where the key (the item) begins, from 1.
        key_start, key_end: characters of the key; equal for an item.
        alias: characters of the alias that stands for the value, None if the value is written here.
        merged: whether the key comes from another mapping by ``<<``.
    """

    key: str
    node: Node
    line: int
    column: int
    key_start: int
    key_end: int
    alias: tuple[int, int] | None = None
    merged: bool = False

    @property
    def start(self) -> int:
        """The first character of what is written here: of the alias or of the value."""
        return self.alias[0] if self.alias else self.node.start

    @property
    def end(self) -> int:
        """The character after it; ``start`` where nothing is written."""
        return self.alias[1] if self.alias else self.node.end


class Place(NamedTuple):
    """A member under its dotted key.

    Attributes:
        key: the dotted key.
        parent: what the member stands in.
        member: the member.
        shared: whether its parent is reached through an alias or a merge, so that it stands in another section of the file.
    """

    key: str
    parent: Node
    member: Member
    shared: bool


def places(root: Node, problems: list[str]) -> Iterator[Place]:
    """Every member of nested mappings, parents first, within MAX_KEYS and MAX_DEPTH; what was left out goes to ``problems``."""
    left = MAX_KEYS
    stack = [(root, "", False, iter(root.members.values()))]
    while stack:
        parent, prefix, shared, members = stack[-1]
        for member in members:
            if left <= 0:
                problems.append(f"holds more than {MAX_KEYS} values, the rest was not read")
                return
            node, key = member.node, prefix + member.key
            left -= max(1, node.size)
            yield Place(key, parent, member, shared)
            if node.is_leaf or not node.members:
                continue
            if len(stack) < MAX_DEPTH:
                stack.append((node, f"{key}.", shared or member.merged or member.alias is not None, iter(node.members.values())))
                break
            if not any(problem.startswith("nests") for problem in problems):
                problems.append(f"nests deeper than {MAX_DEPTH} levels, the rest was not read")
        else:
            stack.pop()


def fill(document: Document, root: Node) -> Document:
    """Flatten a root mapping into the document's settings, containers and repeated keys."""
    text = document.text
    document.root = root
    document.containers[""] = 1
    document.repeated.update((before.key, root.members[before.key].line) for before in root.shadowed)
    for key, _, member, _ in places(root, document.problems):
        node = member.node
        if node.is_leaf:
            document.settings[key] = Setting(
                key,
                node.plain(),
                text[node.start : node.end] if node.kind == SEQUENCE else node.text,
                node.style in ("'", '"'),
                member.line,
                member.column,
                member.start,
                member.end,
                member.key_start,
                member.key_end,
            )
        else:
            document.containers[key] = member.line
            document.repeated.update((f"{key}.{before.key}", node.members[before.key].line) for before in node.shadowed)
    return document
