"""What YAML and JSON have in common when a config is edited: which members a change is about, and the proof that it worked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diag.documents import Document, parse
from diag.documents.editing import REMOVE, Edit, Rename, edited
from diag.documents.tree import MAPPING, SCALAR, Member, Node, Place, places
from diag.errors import InputError


@dataclass(slots=True)
class Group:
    """What happens to the members of one mapping.

    Attributes:
        node: the mapping; or the null that becomes one.
        place: where it stands, None for the root.
        removed: keys to take out.
        added: keys to add, nested mappings for new sections.
    """

    node: Node
    place: Place | None
    removed: set[str] = field(default_factory=set)
    added: dict[str, Any] = field(default_factory=dict)

    def kept(self) -> list[Member]:
        """Members that stand here and stay."""
        return [member for member in self.node.members.values() if member.key not in self.removed and not member.merged]

    def doomed(self) -> list[Member]:
        """Members to take out, by position; those that a later one hides too."""
        found = [member for member in (*self.node.members.values(), *self.node.shadowed) if member.key in self.removed]
        return sorted(found, key=lambda member: member.key_start)


@dataclass(slots=True)
class Plan:
    """Changes sorted by what has to be done in the text.

    Attributes:
        values: members to write another value for.
        renames: members to write another key for.
        groups: mappings that lose or gain members, by the dotted key.
    """

    values: list[tuple[Place, Any]] = field(default_factory=list)
    renames: list[tuple[Place, str]] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)


class Planner:
    """Sorts changes into a Plan."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.places = {place.key: place for place in places(document.root, [])}
        self.plan = Plan()

    def refuse(self, key: str, problem: str, advice: str = "change it by hand") -> InputError:
        """The error for a change that cannot be written."""
        return InputError(self.document.path, f"{key} {problem}", advice)

    def sort(self, changes: Mapping[str, Any]) -> Plan:
        """The plan for changes.

        Raises:
            InputError: one of them cannot be written.
        """
        for key, value in changes.items():
            self._sort(key, value)
        # An alias that gets the value of its anchor stays one.
        written = [(place.member.node, value) for place, value in self.plan.values if place.member.alias is None]
        self.plan.values = [
            (place, value)
            for place, value in self.plan.values
            if place.member.alias is None or not any(node is place.member.node and same(other, value) for node, other in written)
        ]
        return self.plan

    def _sort(self, key: str, value: Any) -> None:
        place = self.places.get(key)
        if value is REMOVE:
            if place is not None:
                self._group(place).removed.add(self._own(place).member.key)
        elif isinstance(value, Rename):
            if place is None:
                raise self.refuse(key, "is not set, so it cannot be renamed")
            if value.to in place.parent.members and value.to != place.member.key:
                raise self.refuse(key, f"cannot become {value.to}, which is set too", "take one of them out")
            if value.to != place.member.key:
                self.plan.renames.append((self._own(place), value.to))
        elif isinstance(value, Mapping) and (place is not None or value):
            if place is not None and place.member.node.kind != MAPPING and place.member.node.value is not None:
                raise self.refuse(key, "is a value, not a section")
            for name, inner in value.items():
                self._sort(f"{key}.{name}", inner)
        elif place is None or (place.member.merged and not place.shared):
            if place is None or not same(place.member.node.plain() if place.member.node.is_leaf else None, value):
                self._add(key, value)
        else:
            self._set(place, value)

    def _set(self, place: Place, value: Any) -> None:
        node = place.member.node
        if not node.is_leaf and node.members:
            raise self.refuse(place.key, "is a section, not a value")
        if node.is_leaf and same(node.plain(), value):
            return
        if place.shared:
            raise self.refuse(place.key, "stands in a section that is used more than once", "change it where the section is written")
        self.plan.values.append((place, value))

    def _own(self, place: Place) -> Place:
        """The place, if its key is written there."""
        if place.shared or place.member.merged:
            raise self.refuse(place.key, "stands in a section that is used more than once", "change it where the section is written")
        if place.parent.kind != MAPPING:
            raise self.refuse(place.key, "is an item of a list")
        return place

    def _group(self, place: Place) -> Group:
        """The group of the mapping that a member stands in."""
        return self._group_at(place.key[: -len(place.member.key) - 1] if len(place.key) > len(place.member.key) else "")

    def _group_at(self, key: str) -> Group:
        if key not in self.plan.groups:
            place = self.places.get(key) if key else None
            self.plan.groups[key] = Group(self.document.root if place is None else place.member.node, place)
        return self.plan.groups[key]

    def _add(self, key: str, value: Any) -> None:
        parts = key.split(".")
        length = next((length for length in range(len(parts) - 1, 0, -1) if ".".join(parts[:length]) in self.places), 0)
        parent = ".".join(parts[:length])
        if length:
            place = self.places[parent]
            node = place.member.node
            if place.shared or place.member.merged or place.member.alias:
                raise self.refuse(key, "would go into a section that is used more than once", "add it where the section is written")
            if node.kind != MAPPING and not (node.kind == SCALAR and node.value is None):
                raise self.refuse(key, f"cannot be set, {parent} is no section")
        here = self._group_at(parent).added
        for part in parts[length:-1]:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                raise self.refuse(key, "would go into a value")
        here[parts[-1]] = value


def same(old: Any, new: Any) -> bool:
    """Whether two values are one: numbers by size, but no number is a boolean or a text."""
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(same(one, other) for one, other in zip(old, new, strict=True))
    if isinstance(old, bool) or isinstance(new, bool) or not (isinstance(old, (int, float)) and isinstance(new, (int, float))):
        return type(old) is type(new) and bool(old == new)
    return old == new or (math.isnan(old) and math.isnan(new))


def checked(document: Document, changes: Mapping[str, Any], plan: Plan, found: Sequence[Edit]) -> list[Edit]:
    """The edits, if the text they make says ``changes`` and nothing else that is new.

    What is reached through an alias follows the section that it stands for, so it may change too.

    Raises:
        InputError: it says something else.
    """
    if not found:
        return []
    try:
        after = parse(edited(document.text, found), name=document.path, form=document.form)[0]
    except (InputError, ValueError) as error:
        raise InputError(document.path, f"cannot be edited to set {', '.join(changes)}", "change it by hand") from error
    shared = _shared(document.root) | _shared(after.root)
    wanted, says = _wanted(document.flat(), changes, plan), after.flat()
    for key in sorted(wanted.keys() | says.keys()):
        if key in shared and not _is_asked(key, changes):
            continue
        if key not in says or key not in wanted or not same(says[key], wanted[key]):
            raise InputError(
                document.path, f"cannot be edited so that only what is asked changes (it would change {key})", "change it by hand"
            )
    return list(found)


def _shared(root: Node) -> set[str]:
    return {place.key for place in places(root, []) if place.shared or place.member.merged or place.member.alias}


def _is_asked(key: str, changes: Mapping[str, Any]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in changes)


def _wanted(flat: dict[str, Any], changes: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """What the config says when the changes are made."""
    wanted = dict(flat)
    for key, value in changes.items():
        _put(wanted, key, value)
    for place, to in sorted(plan.renames, key=lambda rename: -len(rename[0].key)):
        old, new = place.key, place.key[: len(place.key) - len(place.member.key)] + to
        wanted = {new + key[len(old) :] if key == old or key.startswith(f"{old}.") else key: value for key, value in wanted.items()}
    return wanted


def _put(wanted: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, Rename):
        return
    if value is REMOVE:
        for name in [name for name in wanted if name == key or name.startswith(f"{key}.")]:
            del wanted[name]
        return
    parts = key.split(".")
    for parent in (".".join(parts[:length]) for length in range(1, len(parts))):
        if parent in wanted and wanted[parent] is None:  # a null that becomes a section is no value any more
            del wanted[parent]
    if isinstance(value, Mapping):
        wanted.pop(key, None)
        for name, inner in value.items():
            _put(wanted, f"{key}.{name}", inner)
    else:
        wanted[key] = value
