"""Edits of YAML configs: quotes, styles, indentation, comments and newlines of the file are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from diag.documents import Document
from diag.documents.editing import Edit
from diag.documents.tree import MAPPING, SCALAR, SEQUENCE, Member, Node, Place
from diag.documents.tree_edits import Group, Planner, checked, same
from diag.documents.yaml_form import PROPERTY

PLAIN_TEXT: Final = re.compile(r"[A-Za-z_/][\w./+@%=~^*-]*(?:[ ][\w./+@%=~^*-]+)*", re.ASCII)
"""Text that needs no quotes, whatever the context."""

NOT_TEXT: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "none", "nan", "inf"})
"""Words that some reader takes for something else than text."""

NO_CHARACTERS: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""Characters that JSON allows in text and YAML does not, or takes for line ends."""

COMMENT: Final = re.compile(r"(?P<pad>[ \t]+)#[^\r\n]*")
TAG: Final = re.compile(r"(?<=\s)!\S*\s+")
ITEM: Final = re.compile(rf"[ \t]*-(?:[ \t]+{PROPERTY})*[ \t]*")
LINE_END: Final = re.compile(r"[ \t]*(?:(?<=\s)#[^\r\n]*)?(?P<newline>\r\n|\n|\r|\Z)")


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the text so that it says ``changes``; see ``diag.documents.editing.edits``.

    Raises:
        InputError: a change cannot be written.
    """
    plan = Planner(document).sort(changes)
    editor = _Editor(document)
    found: list[Edit] = []
    for place, value in plan.values:
        found += editor.replace(place, value)
    for place, to in plan.renames:
        member = place.member
        quote = document.text[member.key_start]
        found.append(Edit(member.key_start, member.key_end, text_of(to, quote if quote in "'\"" else "")))
    for group in plan.groups.values():
        found += editor.group(group)
    return checked(document, changes, plan, found)


def scalar_of(value: Any, style: str = "", old: str = "") -> str:
    """A scalar as both versions of YAML read it.

    Args:
        value: None, a boolean, a number or a text.
        style: quotes to use for text, if it can stand in them.
        old: the text it replaces, whose capitals a boolean keeps.
    """
    from diag.dialects.draft import yaml_scalar

    if isinstance(value, str):
        return text_of(value, style)
    word = yaml_scalar(value)
    return word.title() if isinstance(value, bool) and old in ("True", "False") else word


def text_of(text: str, style: str = "") -> str:
    """A text as YAML, in the quotes of ``style`` where it can be."""
    if style == "'" and text.isprintable() and not NO_CHARACTERS.search(text):
        return "'" + text.replace("'", "''") + "'"
    if style != '"' and PLAIN_TEXT.fullmatch(text) and text.lower() not in NOT_TEXT:
        return text
    return NO_CHARACTERS.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def flow_of(value: Any, style: str = "") -> str:
    """Any value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text_of(str(key))}: {flow_of(inner, style)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow_of(item, style) for item in value) + "]"
    return scalar_of(value, style)


class _Editor:
    """Writes edits for one document."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.root: Node = document.root
        self.newline = "\r\n" if "\r\n" in self.text else "\n"

    # Values.

    def replace(self, place: Place, value: Any) -> list[Edit]:
        """Another value for a member that is written in the file."""
        member, text = place.member, self.text
        node = member.node
        if member.alias:
            return [Edit(member.start, member.end, flow_of(value))]
        if node.kind == SEQUENCE and not node.style:
            return self._replace_block_list(place, value)
        if node.start == node.end:
            return [Edit(node.start, node.end, self._after_colon(member, flow_of(value)))]
        if isinstance(value, (list, tuple)):
            new = self._flow_list(node, value)
        else:
            new = scalar_of(value, node.style, node.text)
        start = node.start
        if not isinstance(value, (list, tuple)) and (tag := TAG.search(text, member.key_end, start)):
            start, new = tag.start(), text[tag.end() : start] + new  # the tag said what the old value was
        found = [Edit(start, node.end, new)]
        if "\n" not in text[start : node.end] and (comment := COMMENT.match(text, node.end)):
            pad = self._pad(comment, len(new) - (node.end - start))
            if pad != comment["pad"]:
                found.append(Edit(node.end, comment.end("pad"), pad))
        return found

    def _flow_list(self, node: Node, value: Sequence[Any]) -> str:
        """A list in flow style; with an item a line if the old one stands so."""
        style = self._item_style(node)
        first = next(iter(node.members.values()), None)
        if first is not None and value and "\n" in self.text[node.start : first.start]:
            outer = self.text[self._line_start(node.end - 1) : node.end - 1]
            pad = " " * self._column(first.start)
            items = f",{self.newline}{pad}".join(flow_of(item, style) for item in value)
            return f"[{self.newline}{pad}{items}{self.newline}{outer}]" if not outer.strip() else flow_of(value, style)
        return flow_of(value, style)

    def _after_colon(self, member: Member, new: str) -> str:
        """A value with what has to stand before it where none stood."""
        between = self.text[member.key_end : member.start]
        return f" {new}" if ":" in between or member.key_start == member.key_end else f": {new}"

    def _pad(self, comment: re.Match[str], growth: int) -> str:
        """Blanks before a comment after its value grew: comments in one column stay in one."""
        pad = comment["pad"]
        start = self.text.rfind("\n", 0, comment.start()) + 1
        column = comment.end("pad") - start
        above = self.text[:start].splitlines()[-1:]
        below = self.text[comment.end() :].splitlines()[1:2]
        aligned = any(line[column : column + 1] == "#" and line[:column].strip() and line[column - 1].isspace() for line in above + below)
        if not aligned or "\t" in pad:
            return pad
        return " " * max(len(pad) - growth, min(len(pad), 2))

    def _item_style(self, node: Node) -> str:
        """The quotes that a list uses for its texts."""
        styles = {member.node.style for member in node.members.values() if isinstance(member.node.value, str)}
        style = styles.pop() if len(styles) == 1 else ""
        return style if style in ("'", '"') else ""

    def _replace_block_list(self, place: Place, value: Any) -> list[Edit]:
        node = place.member.node
        style = self._item_style(node)
        if not isinstance(value, (list, tuple)) or not value:
            return self._collapse(place, flow_of(value, style))
        members = list(node.members.values())
        if not all(ITEM.fullmatch(self.text, self._line_start(member.start), member.start) and not member.alias for member in members):
            pad = " " * self._column(node.start)
            return [Edit(node.start, node.end, f"{self.newline}{pad}".join(f"- {flow_of(item, style)}" for item in value))]
        return list(self._replace_items(members, list(value), style))

    def _replace_items(self, members: list[Member], items: list[Any], style: str) -> Iterator[Edit]:
        """Other items for a list with an item a line; those at its beginning and end that stay keep their comments."""
        while members and items and same(members[-1].node.plain(), items[-1]):
            end = members.pop().start
            items.pop()
            if not members:
                at = self._line_start(end)
                pad = " " * (self._column(end) - len(self.text[at:end].lstrip()))
                yield Edit(at, at, "".join(f"{pad}- {flow_of(item, style)}{self.newline}" for item in items))
                return
        for member, item in zip(members, items, strict=False):
            node = member.node
            if not same(node.plain(), item):
                new = flow_of(item, node.style if node.kind == SCALAR else style)
                yield Edit(node.start, node.end, f" {new}" if self.text[node.start - 1] == "-" else new)
        for member in members[len(items) :]:
            yield Edit(self._line_start(member.start), self._line_end(self._content_end(member)), "")
        if len(items) > len(members):
            last = members[-1]
            start = self._line_start(last.start)
            pad = self.text[start : last.start].split("-")[0]
            yield self._lines_after(self._content_end(last), [f"{pad}- {flow_of(item, style)}" for item in items[len(members) :]])

    def _collapse(self, place: Place | None, new: str) -> list[Edit]:
        """A short value in place of a whole block."""
        node = self.root if place is None else place.member.node
        before = self.text[self._line_start(node.start) : node.start]
        if place is None or before.strip() or place.member.key_start == place.member.key_end:
            return [Edit(node.start, node.end, new)]
        at = len(self.text[: node.start].rstrip())
        match = re.compile(r"[^\r\n]*?:(?=[ \t\r\n])(?:[ \t]+[&!]\S*)*").match(self.text, place.member.key_end)
        at = match.end() if match else at
        return [Edit(at, at, f" {new}"), Edit(self._line_start(node.start), self._line_end(node.end), "")]

    # Members.

    def group(self, group: Group) -> list[Edit]:
        """Take members out of a mapping and put others in."""
        node = group.node
        if node.kind == SCALAR:
            return self._fill_null(group)
        if node.style:
            return [*self._remove_flow(group), *self._add_flow(group)]
        if group.removed and not group.kept() and not group.added and not node.merges:
            return self._collapse(group.place, "{}")
        return [*self._remove_block(group), *self._add_block(group)]

    def _remove_block(self, group: Group) -> Iterator[Edit]:
        members = sorted((*group.node.members.values(), *group.node.shadowed), key=lambda member: member.key_start)
        position = 0
        for member in group.doomed():
            start, end = self._line_start(member.key_start), self._line_end(self._content_end(member))
            if self.text[start : member.key_start].strip():  # the first key of a list's item stands after the dash
                rest = [other for other in members if other.key_start > member.key_start and other.key_start >= end]
                start = member.key_start
                if rest and not self.text[end : rest[0].key_start].strip() and rest[0].key not in group.removed:
                    end = rest[0].key_start
                else:
                    end = end - len(self._newline_at(end))
            elif not self._newline_at(end):  # the file ends without one, and so it shall
                start = max(start - len(self._newline_at(start)), position)
            position = end
            yield Edit(start, end, "")

    def _add_block(self, group: Group) -> Iterator[Edit]:
        if not group.added:
            return
        members = [member for member in group.node.members.values() if not member.merged]
        last = max(members, key=lambda member: member.key_start, default=None)
        first = min(members, key=lambda member: member.key_start, default=None)
        if first is None or last is None:
            column, end = self._column(group.node.start), group.node.end
        else:
            column, end = first.column - 1, max(self._content_end(last), group.node.end)
        yield self._lines_after(end, self._block(group.added, column))

    def _fill_null(self, group: Group) -> list[Edit]:
        assert group.place is not None
        member, node = group.place.member, group.node
        if group.place.parent.style or member.key_start == member.key_end:
            new = flow_of(group.added)
            return [Edit(node.start, node.end, self._after_colon(member, new) if node.start == node.end else new)]
        start = node.start
        while start < node.end and self.text[start - 1] in " \t":
            start -= 1
        removal = [Edit(start, node.end, "")] if start < node.end else []
        return [*removal, self._lines_after(node.end, self._block(group.added, member.column - 1 + self._unit()))]

    def _block(self, added: Mapping[str, Any], column: int) -> list[str]:
        """Lines of a block mapping."""
        lines: list[str] = []
        for key, value in added.items():
            head = f"{' ' * column}{text_of(str(key))}:"
            if isinstance(value, Mapping) and value:
                lines += [head, *self._block(value, column + self._unit())]
            else:
                lines.append(f"{head} {flow_of(value)}")
        return lines

    def _lines_after(self, end: int, lines: list[str]) -> Edit:
        """Lines put after the one on which ``end`` stands."""
        at = self._line_end(end)
        if self._newline_at(at):
            return Edit(at, at, "".join(f"{line}{self.newline}" for line in lines))
        return Edit(at, at, "".join(f"{self.newline}{line}" for line in lines))

    def _remove_flow(self, group: Group) -> Iterator[Edit]:
        doomed, kept = group.doomed(), sorted(group.kept(), key=lambda member: member.key_start)
        if not doomed:
            return
        everything = sorted([*doomed, *kept], key=lambda member: member.key_start)
        position = -1
        for index, member in enumerate(everything):
            if member not in doomed:
                continue
            start, end = self._line_start(member.key_start), self._line_end(self._comma(member.end))
            if not self.text[start : member.key_start].strip() and self._is_rest_of_line(self._comma(member.end)):
                yield Edit(max(start, position), end, "")
                position = end
            elif index + 1 < len(everything):
                yield Edit(max(member.key_start, position), everything[index + 1].key_start, "")
                position = everything[index + 1].key_start
            else:
                before = [other for other in everything[:index] if other not in doomed]
                start = max(before[-1].end if before else member.key_start, position)
                yield Edit(start, self._comma(member.end) if not before else member.end, "")

    def _add_flow(self, group: Group) -> list[Edit]:
        if not group.added:
            return []
        node, kept = group.node, sorted(group.kept(), key=lambda member: member.key_start)
        new = ", ".join(f"{text_of(str(key))}: {flow_of(value)}" for key, value in group.added.items())
        if not kept:
            return [Edit(node.start + 1, node.start + 1, new)]
        last = kept[-1]
        comma = self._comma(last.end)
        if not self._is_rest_of_line(comma) or last.key in group.removed:
            return [Edit(last.end, last.end, f", {new}")]
        line = f"{' ' * (last.column - 1)}{new}{',' if comma > last.end else ''}"
        edit = self._lines_after(comma, [line])
        return [edit] if comma > last.end else [Edit(last.end, last.end, ","), edit]

    # Characters.

    def _line_start(self, position: int) -> int:
        return max(self.text.rfind("\n", 0, position), self.text.rfind("\r", 0, position)) + 1

    def _line_end(self, position: int) -> int:
        """The start of the next line."""
        match = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)").match(self.text, position)
        assert match is not None
        return match.end()

    def _newline_at(self, end: int) -> str:
        """The newline that stands before a position."""
        if self.text.endswith("\r\n", 0, end):
            return "\r\n"
        last = self.text[max(end - 1, 0) : end]
        return last if last in ("\n", "\r") else ""

    def _is_rest_of_line(self, position: int) -> bool:
        """Whether nothing but a comment follows on the line."""
        return LINE_END.match(self.text, position) is not None

    def _column(self, position: int) -> int:
        return position - self._line_start(position)

    def _comma(self, position: int) -> int:
        """After the comma that follows, if one does."""
        match = re.compile(r"\s*,").match(self.text, position)
        return match.end() if match else position

    def _content_end(self, member: Member) -> int:
        """The end of a member: of a block text that keeps its blank lines after these."""
        node = member.node
        while node.members and not node.style and not member.alias:
            member = max(node.members.values(), key=lambda inner: inner.end)
            node = member.node
        end = member.end
        if node.style in ("|", ">") and "+" in self.text[node.start : self._line_end(node.start)].split("#")[0]:
            match = re.compile(r"(?:\r?\n[ \t]*(?=\r?\n|\Z))*").match(self.text, end)
            end = match.end() if match else end
        return max(end, member.key_end)

    def _unit(self) -> int:
        """Blanks that one level of the file is indented by; two if it has no levels."""
        stack = [self.root]
        while stack:
            node = stack.pop(0)
            for member in node.members.values():
                inner = member.node
                if inner.kind == MAPPING and not inner.style and inner.members and not member.alias and not member.merged:
                    if node.kind == MAPPING:
                        unit = next(iter(inner.members.values())).column - member.column
                        if 1 <= unit <= 8:
                            return unit
                    stack.append(inner)
        return 2
