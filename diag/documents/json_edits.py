"""Edits of JSON configs: indentation and separators of the file are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from diag.documents import Document
from diag.documents.editing import Edit
from diag.documents.tree import SCALAR, SEQUENCE, Member, Node
from diag.documents.tree_edits import Group, Planner, checked

LINE_BREAK: Final = re.compile(r"\r\n|\n|\r")
DEFAULT_UNIT: Final = "  "


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the text so that it says ``changes``; see ``diag.documents.editing.edits``.

    Raises:
        InputError: a change cannot be written.
    """
    plan = Planner(document).sort(changes)
    editor = _Editor(document)
    found = [editor.replace(place.member, value) for place, value in plan.values]
    found += [Edit(place.member.key_start, place.member.key_end, editor.dump(to)) for place, to in plan.renames]
    for group in plan.groups.values():
        found += editor.group(group)
    return checked(document, changes, plan, found)


class _Editor:
    """Writes edits for one document."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.root: Node = document.root
        self.newline = newline[0] if (newline := LINE_BREAK.search(self.text.strip())) else ""
        self.unit = self._unit()
        self.ascii = "\\u" in self.text and self.text.isascii()
        first = next(iter(self.root.members.values()), None)
        self.colon = self.text[first.key_end : first.start] if first else ": "

    def dump(self, value: Any, pad: str | None = None) -> str:
        """A value as JSON: on one line, or a mapping on lines of its own inside a block that is indented by ``pad``."""
        if pad is None or not isinstance(value, Mapping) or not value:
            comma = "," if self.colon == ":" else ", "
            return json.dumps(value, ensure_ascii=self.ascii, separators=(comma, self.colon if self.colon.strip(" ") == ":" else ": "))
        inner = pad + self.unit
        lines = [f"{inner}{self.pair(str(key), item, inner)}" for key, item in value.items()]
        return "{" + self.newline + f",{self.newline}".join(lines) + f"{self.newline}{pad}}}"

    def pair(self, key: str, value: Any, pad: str | None) -> str:
        """A key with its value."""
        return f"{self.dump(key)}{self.colon}{self.dump(value, pad)}"

    def replace(self, member: Member, value: Any) -> Edit:
        """Another value for a key; a list that stands on several lines goes on doing so."""
        node = member.node
        old = self.text[node.start : node.end]
        if node.kind == SEQUENCE and LINE_BREAK.search(old) and isinstance(value, (list, tuple)) and value:
            pad = self._indent(node.start)
            items = f",{self.newline}".join(f"{pad}{self.unit}{self.dump(item)}" for item in value)
            return Edit(node.start, node.end, f"[{self.newline}{items}{self.newline}{pad}]")
        return Edit(node.start, node.end, self.dump(value))

    def group(self, group: Group) -> list[Edit]:
        """Take members out of an object and put others in."""
        node = group.node
        if node.kind == SCALAR:  # a null that becomes a section
            return [Edit(node.start, node.end, self.dump(group.added, self._indent(node.start) if self.newline else None))]
        if not group.kept():
            if not group.added and not group.removed:
                return []
            pad = self._indent(node.start) if self.newline else None
            return [Edit(node.start, node.end, self.dump(group.added, pad))]
        return [*self._remove(group), *self._add(group)]

    def _remove(self, group: Group) -> list[Edit]:
        """A key goes with the comma after it; the last ones with the comma before them."""
        doomed = group.doomed()
        everything = sorted([*doomed, *group.kept()], key=lambda member: member.key_start)
        found: list[Edit] = []
        for index, member in enumerate(everything):
            following = everything[index + 1 :]
            if member not in doomed:
                continue
            if any(other not in doomed for other in following):
                found.append(Edit(member.key_start, following[0].key_start, ""))
            else:
                found.append(Edit(everything[index - 1].end, everything[-1].end, ""))
                break
        return found

    def _add(self, group: Group) -> list[Edit]:
        if not group.added:
            return []
        last = max(group.kept(), key=lambda member: member.key_start)
        at = max([last.end, *(member.end for member in group.doomed())])
        start = self._line_start(last.key_start)
        own_line = not self.text[start : last.key_start].strip()
        pad = self.text[start : last.key_start] if own_line else None
        between = f",{self.newline}{pad}" if own_line else self._separator(group.node)
        return [Edit(at, at, "".join(f"{between}{self.pair(str(key), value, pad)}" for key, value in group.added.items()))]

    def _separator(self, node: Node) -> str:
        """What stands between two members of one line."""
        members = sorted(node.members.values(), key=lambda member: member.key_start)
        if len(members) > 1 and not LINE_BREAK.search(between := self.text[members[-2].end : members[-1].key_start]):
            return between
        return "," if self.colon == ":" else ", "

    def _unit(self) -> str:
        """What one level of the file is indented by."""
        for member in self.root.members.values():
            start = self._line_start(member.key_start)
            pad = self.text[start : member.key_start]
            if pad and not pad.strip() and start > self.root.start:
                outer = self._indent(self.root.start)
                return pad.removeprefix(outer) or DEFAULT_UNIT
        return DEFAULT_UNIT

    def _indent(self, position: int) -> str:
        """The blanks that a position's line begins with."""
        start = self._line_start(position)
        match = re.compile(r"[ \t]*").match(self.text, start)
        return match[0] if match else ""

    def _line_start(self, position: int) -> int:
        return max(self.text.rfind("\n", 0, position), self.text.rfind("\r", 0, position)) + 1
