"""Shell scripts: one Document for each command that starts a training, its options as settings. Nothing is ever run."""

from __future__ import annotations

import ast
import json
import re
import shlex
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import Any, Final, NamedTuple

from diag.documents import MAX_DOCUMENTS, SHELL, UNKNOWN, Document, Setting
from diag.documents.editing import REMOVE, Edit, Rename, edited
from diag.documents.shell_launch import CONFIG_SUFFIXES, Launch, launch
from diag.documents.shell_words import Atom, Command, Field, Script
from diag.errors import InputError

MAX_LITERAL: Final = 1 << 16
"""Characters of a value above which it is taken as text, not as a list or mapping."""

MAX_WORDS: Final = 5000
"""Words of a command; longer ones are no launch command that anybody wrote."""

MAX_NESTING: Final = 32
"""Parts of a dotted key, and nesting of a mapping, that are followed."""

MAX_DIGITS: Final = 400
"""Characters of a number; longer ones are text (Python refuses integers of more than 4300 digits)."""

MAX_DIRECTIVES: Final = 100
"""``#SBATCH`` lines that are read."""

SBATCH: Final = re.compile(r"^#SBATCH[ \t]+(\S.*)$", re.MULTILINE)

CONFIG_OPTIONS: Final = frozenset({"-c", "--config", "--cfg", "--config-file", "--config_file"})
"""Options that name a config file; they are no settings."""

OPTION: Final = re.compile(r"(--?)([A-Za-z][\w./@\[\]-]*\+?)(=)?")
ASSIGN: Final = re.compile(r"([+~]{0,2})([A-Za-z_][\w./@\[\]-]*)=")
DELETE: Final = re.compile(r"(~)([A-Za-z_][\w./@]*)$")
END_OF_LINE: Final = re.compile(r"[ \t\r]*(?:\n|\Z)")
INTEGER: Final = re.compile(r"[+-]?\d+(?:_\d+)*", re.ASCII)
NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
PLAIN: Final = re.compile(r"[\w@%+:,./-][\w@%+=:,./-]*", re.ASCII)
WORDS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False, "none": None, "None": None}
NULL: Final = frozenset({"null", "Null", "NULL"})


class Slot(NamedTuple):
    """One value of an option: the characters that say it.

    Attributes:
        start, end: its characters in the command, quotes included where they are its own.
        inside: the quote that it stands in together with other characters, "" if it can be quoted itself.
        split: whether it is part of a variable's text, where nothing can be quoted.
        atoms: what it is made of.
    """

    start: int
    end: int
    inside: str
    split: bool
    atoms: tuple[Atom, ...]

    @property
    def text(self) -> str | None:
        """What it says, None if only running the script can tell."""
        parts = [atom.text for atom in self.atoms]
        return None if any(part is None for part in parts) else "".join(part or "" for part in parts)


@dataclass(slots=True)
class Item:
    """One setting of a command as it stands.

    Attributes:
        key: without dashes, with underscores.
        kind: ``--key value`` is "option" (and the bare ``--key``), ``--key=value`` "equals", ``key=value`` "assign",
            ``--no-key`` "negated", ``~key`` "delete".
        flag: the argument that names it.
        name: characters of the name without dashes, (-1, -1) if they do not stand together.
        values: none for a bare flag.
        value: what it means.
    """

    key: str
    kind: str
    flag: Field
    name: tuple[int, int]
    values: list[Slot]
    value: Any


@dataclass(slots=True)
class Root:
    """What the editor needs of a command: its place among the documents, its items, its words, and who else uses a piece of text."""

    index: int
    launch: Launch
    items: list[Item]
    owners: dict[str, tuple[Item, tuple[str, ...]]]
    insert: int
    start: int
    uses: dict[int, set[tuple[int, str]]]
    count: int = 0


def documents(text: str, name: str) -> list[Document]:
    """The trainings that a script starts; an empty list if it starts none.

    Raises:
        InputError: a quote or a substitution of the script does not end.
    """
    script = Script(text, name)
    lines = [0, *(match.end() for match in re.finditer("\n", text))]
    found: list[Document] = []
    uses: dict[int, set[tuple[int, str]]] = {}
    allocation = [word for match in islice(SBATCH.finditer(text), MAX_DIRECTIVES) for word in match[1].split()]
    for command in script.commands:
        if len(found) == MAX_DOCUMENTS:
            break
        if len(command.words) > MAX_WORDS or (len(command.words) == 1 and all(piece.text for piece in command.words[0].pieces)):
            continue
        fields, problems = script.fields(command)
        started = launch(fields, lambda item: text[item.start : item.end], allocation)
        if started is None:
            continue
        document = _document(text, name, command, started, lines, len(found), uses)
        if document is None:
            continue
        document.problems = [*problems, *document.problems]
        used = {id(atoms) for item in document.root.items for atoms in (item.flag.atoms, *(slot.atoms for slot in item.values))}
        for number, item in enumerate(fields):
            if id(item.atoms) not in used:
                for atom in item.atoms:
                    uses.setdefault(atom.start, set()).add((len(found), f" {number}"))
        document.root.insert = _insertion(text, script, command)
        found.append(document)
    for document in found:
        document.root.count = len(found)
    return found


def _insertion(text: str, script: Script, command: Command) -> int:
    """Where new options go: after the last word; before ``--`` and before what may hold any number of arguments."""
    words = list(command.words)
    for place, word in enumerate(words[1:], 1):
        if text[word.start : word.end] == "--":
            words = words[:place]
            break
    while len(words) > 1:
        fields, _ = script.fields(command, [words[-1]])
        if not any(item.many for item in fields):
            break
        words.pop()
    return words[-1].end


def _document(
    text: str, name: str, command: Command, started: Launch, lines: Sequence[int], index: int, uses: dict[int, set[tuple[int, str]]]
) -> Document | None:
    document = Document(path=name, form=SHELL, text=text, entry=started.entry)
    document.line = bisect_right(lines, command.words[0].start)
    document.launcher, document.processes = started.launcher, started.processes
    items = _items(started, document, uses, index)
    if not items and not document.configs:
        return None
    owners: dict[str, tuple[Item, tuple[str, ...]]] = {}
    document.containers[""] = document.line
    for item in items:
        _settle(document, item, lines, owners)
    document.root = Root(index, started, items, owners, command.words[-1].end, command.words[0].start, uses)
    return document


def _settle(document: Document, item: Item, lines: Sequence[int], owners: dict[str, tuple[Item, tuple[str, ...]]]) -> None:
    """Enter an item's settings: one, or those of a mapping."""
    line = bisect_right(lines, item.flag.start)
    column = item.flag.start - lines[line - 1] + 1
    start = item.values[0].start if item.values else item.flag.end
    end = item.values[-1].end if item.values else item.flag.end
    texts = [slot.text if slot.text is not None else document.text[slot.start : slot.end] for slot in item.values]
    quoted = len(item.values) == 1 and (bool(item.values[0].inside) or document.text[start : start + 1] in ("'", '"'))
    parents = item.key.split(".")
    for length in range(1, min(len(parents), MAX_NESTING)):
        document.containers.setdefault(".".join(parents[:length]), line)
    if isinstance(item.value, dict) and item.value:
        document.containers.setdefault(item.key, line)
    for path, value in _flattened(item.value):
        key = ".".join((item.key, *path))
        if key in document.settings:
            document.repeated[key] = line
            del document.settings[key]
        said = " ".join(texts) if not path else value if isinstance(value, str) else json.dumps(value)
        document.settings[key] = Setting(key, value, said, quoted, line, column, start, end, item.flag.start, _name_end(item))
        owners[key] = (item, path)


def _name_end(item: Item) -> int:
    return item.name[1] if item.name[1] >= 0 else item.flag.end


def _flattened(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value and len(path) < MAX_NESTING:
        for key, inner in value.items():
            yield from _flattened(inner, (*path, str(key)))
    else:
        yield path, value


def _items(started: Launch, document: Document, uses: dict[int, set[tuple[int, str]]], index: int) -> list[Item]:
    """The settings among a command's arguments; config files are entered into the document."""
    items: list[Item] = []
    fields = started.rest
    place = 0
    while place < len(fields):
        item = fields[place]
        place += 1
        option, assign = OPTION.match(item.lead), ASSIGN.match(item.lead)
        if item.text == "--":
            break
        if item.many:
            continue
        if option is not None and (option[3] or (item.text is not None and option.end() == len(item.text))):
            values: list[Slot] = []
            if option[3]:
                values = [_after(document.text, item, option.end())]
            else:
                while place < len(fields) and _is_value(fields, place, len(values), started, option[1] + option[2]):
                    values.append(Slot(fields[place].start, fields[place].end, "", fields[place].split, fields[place].atoms))
                    place += 1
            made = _option(item, option, values)
            if option[1] + option[2] in CONFIG_OPTIONS:
                _configs(document, made.values)
            else:
                items.append(made)
        elif assign is not None:
            slot = _after(document.text, item, assign.end())
            items.append(Item(assign[2], "assign", item, _part(item, assign.start(2), assign.end(2)), [slot], _meaning([slot])))
        elif (delete := DELETE.match(item.text or "")) is not None:
            items.append(Item(delete[2], "delete", item, _part(item, delete.start(2), delete.end(2)), [], None))
        elif (word := item.text or "").endswith(CONFIG_SUFFIXES) or (word.endswith(".py") and "/" in word):
            document.configs.append(word)
    for one in items:
        for slot in one.values:
            for atom in slot.atoms:
                uses.setdefault(atom.start, set()).add((index, one.key))
        for atom in one.flag.atoms:
            if not one.values or one.kind == "option":
                uses.setdefault(atom.start, set()).add((index, f"{one.key} "))
    return items


def _is_value(fields: Sequence[Field], place: int, already: int, started: Launch, name: str) -> bool:
    """Whether an argument is a value of the option before it, which has ``already`` values."""
    item = fields[place]
    lead = item.lead
    if item.many or lead == "--" or (OPTION.match(lead) and not NUMBER.fullmatch(lead)) or DELETE.match(item.text or ""):
        return False
    if ASSIGN.match(lead) and (already or started.style.assign):
        return bool(not already and name in CONFIG_OPTIONS)
    if already:
        return name not in CONFIG_OPTIONS and not lead.endswith(CONFIG_SUFFIXES)
    return True


def _option(item: Field, option: re.Match[str], values: list[Slot]) -> Item:
    written = option[2]
    key = written.rstrip("+").replace("-", "_")
    kind = "equals" if option[3] else "option"
    if not values and re.match(r"no_.", key):
        return Item(key[3:], "negated", item, _part(item, option.start(2) + 3, option.end(2)), [], False)
    name = _part(item, option.start(2), option.start(2) + len(written.rstrip("+")))
    return Item(key, kind, item, name, values, _meaning(values) if values else True)


def _configs(document: Document, values: Sequence[Slot]) -> None:
    for slot in values:
        if slot.text is not None:
            document.configs.append(slot.text)
        else:
            line = document.text.count("\n", 0, slot.start) + 1
            document.problems.append(f"line {line} names a config file that only running the script can tell")


def _meaning(values: Sequence[Slot]) -> Any:
    texts = [slot.text for slot in values]
    if any(text is None for text in texts):
        return UNKNOWN
    read = [value_of(text or "") for text in texts]
    return read[0] if len(read) == 1 else read


def value_of(text: str) -> Any:
    """What an argument means: a number, a boolean, None, a list or mapping written as JSON, Python or ``[a,b]``, else the text."""
    stripped = text.strip()
    if stripped in WORDS:
        return WORDS[stripped]
    if stripped in NULL:
        return None
    if len(stripped) < MAX_DIGITS and NUMBER.fullmatch(stripped):
        return int(stripped) if INTEGER.fullmatch(stripped) else float(stripped)
    if len(stripped) > MAX_LITERAL or stripped[:1] not in ("[", "{", "(") or stripped[-1:] not in ("]", "}", ")"):
        return text
    if max(accumulate((character in "[{(") - (character in "]})") for character in stripped)) > MAX_NESTING:
        return text
    return _collection(stripped, text)


def _collection(stripped: str, text: str) -> Any:
    for load in (json.loads, _literal):
        try:
            value: Any = load(stripped)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return _listed(value) if isinstance(value, list | tuple | dict) else text
    if stripped[0] == "[" and not re.search(r"[\[\]{}'\"]", stripped[1:-1]):
        inner = stripped[1:-1].strip()
        return [value_of(part.strip()) for part in inner.split(",")] if inner else []
    return text


def _literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _listed(value: Any) -> Any:
    """Tuples as lists, keys as text; a value that no config can hold (a set, bytes) as text."""
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _listed(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _part(item: Field, start: int, end: int) -> tuple[int, int]:
    """Where the characters ``start`` to ``end`` of an argument stand, (-1, -1) if they do not stand together."""
    position = 0
    for atom in item.atoms:
        length = len(atom.text or "")
        if position <= start and end <= position + length and length == atom.end - atom.start:
            return atom.start + start - position, atom.start + end - position
        position += length
    return -1, -1


def _after(text: str, item: Field, length: int) -> Slot:
    """The value of an argument ``key=value`` whose key and sign take ``length`` characters."""
    rest: list[Atom] = []
    position = 0
    sign: Atom | None = None  # what holds the equals sign
    at = -1
    for atom in item.atoms:
        said = atom.text
        size = len(said or "")
        if position >= length:
            rest.append(atom)
        elif position + size >= length:
            sign = atom
            direct = size == atom.end - atom.start
            at = atom.start + length - position if direct and (not atom.through or item.split or len(item.atoms) == 1) else -1
            if position + size > length:
                rest.append(atom._replace(start=at if at >= 0 else atom.start, text=(said or "")[length - position :]))
        position += size
    atoms = tuple(rest)
    if sign is None or at < 0:
        return Slot(-1, -1, "", True, atoms)
    if item.split:
        return Slot(at, max(item.end, at), "", True, atoms)
    if not sign.quote:
        return Slot(at, item.end, "", False, atoms)
    closing = item.end - 1
    together = text[closing : item.end] == sign.quote and all(atom.quote == sign.quote or atom.through for atom in atoms)
    return Slot(at, closing, sign.quote, False, atoms) if together else Slot(-1, -1, "", True, atoms)


# Changing a command


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the script so that the command says ``changes``; see ``diag.documents.editing.edits``.

    Raises:
        InputError: a change cannot be written: the value is computed, or stands where it cannot be quoted.
    """
    editor = _Editor(document)
    for key, change in _spread(document, changes):
        editor.change(key, change)
    found = editor.finish()
    if found:
        _verify(document, changes, found)
    return found


def _spread(document: Document, changes: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Changes with mappings taken apart."""
    for key, change in changes.items():
        if isinstance(change, Mapping):
            for path, value in _flattened(dict(change)):
                yield ".".join((key, *path)), value
        else:
            yield key, change


def _verify(document: Document, changes: Mapping[str, Any], found: Sequence[Edit]) -> None:
    """Read the changed script again and see that it says what it should.

    Raises:
        InputError: it does not.
    """
    refusal = InputError(document.path, f"line {document.line}: this change cannot be written into the command", "change it by hand")
    wanted = {key: setting.value for key, setting in document.settings.items()}
    for key, change in _spread(document, changes):
        affected = [key] if key in wanted else [other for other in wanted if other.startswith(f"{key}.")]
        if change is REMOVE:
            for gone in affected:
                del wanted[gone]
        elif isinstance(change, Rename):
            prefix, _, _ = key.rpartition(".")
            new = f"{prefix}.{change.to}" if prefix else change.to
            for old in affected:
                wanted[new + old[len(key) :]] = wanted.pop(old)
        else:
            wanted[key] = change
    try:
        remaining = documents(edited(document.text, found), document.path)
        if not wanted and not document.configs and len(remaining) < document.root.count:
            return  # without an option, a command is no config any more
        read = {key: setting.value for key, setting in remaining[document.root.index].settings.items()}
    except (InputError, ValueError, IndexError):
        raise refusal from None
    if read.keys() != wanted.keys() or not all(_same(read[key], value) or _same(read[key], _said(value)) for key, value in wanted.items()):
        raise refusal


def _said(value: Any) -> Any:
    """What re-reading gives for a value: on a command line, text that looks like a number is one, and one of a list is alone."""
    if isinstance(value, str):
        return value_of(value)
    if isinstance(value, list | tuple):
        return [_said(item) for item in value]
    return value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) != isinstance(other, list):
        one, other = (item[0] if isinstance(item, list) and len(item) == 1 else item for item in (one, other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) != isinstance(other, bool) or isinstance(one, str) != isinstance(other, str):
        return False
    return bool(one == other or (one != one and other != other))  # not a number is not itself


class _Editor:
    """The edits of one command."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root: Root = document.root
        self.edits: list[Edit] = []
        self.added: list[str] = []
        self.mappings: dict[int, tuple[Item, dict[str, Any]]] = {}
        self.fresh: dict[str, dict[str, Any]] = {}

    def refuse(self, item: Item, why: str) -> InputError:
        line = self.document.text.count("\n", 0, item.flag.start) + 1
        return InputError(self.document.path, f"line {line}: {item.key} cannot be changed: {why}", "change it by hand")

    def change(self, key: str, change: Any) -> None:
        """Take one change in."""
        owner = self.root.owners.get(key)
        if owner is None:
            self._absent(key, change)
            return
        item, path = owner
        setting = self.document.settings[key]
        if isinstance(change, Rename):
            if path:
                self._mapping(item, path, change)
            else:
                for other in self.root.items:
                    if other.key == item.key:
                        self._rename(other, change.to)
        elif change is REMOVE:
            if path:
                self._mapping(item, path, change)
            else:
                for other in self.root.items:
                    if other.key == item.key:
                        self._remove(other)
        elif _same(setting.value, change) and setting.value is not UNKNOWN and isinstance(setting.value, list) == isinstance(change, list):
            return
        elif path:
            self._mapping(item, path, change)
        else:
            self._replace(item, change)

    def _absent(self, key: str, change: Any) -> None:
        """A key that no option sets yet."""
        inside = [item for item in self.root.items if isinstance(item.value, dict) and f"{key}.".startswith(f"{item.key}.")]
        below = [other for other in self.root.owners if other.startswith(f"{key}.")]
        if change is REMOVE:
            for other in below:
                self.change(other, REMOVE)
            return
        if isinstance(change, Rename):
            whole = [item for item in self.root.items if item.key == key]
            if not whole:
                raise InputError(self.document.path, f"line {self.document.line}: {key} is not set here, so it cannot be renamed")
            for item in whole:
                self._rename(item, change.to)
            return
        if inside:
            item = inside[-1]
            self._mapping(item, tuple(key[len(item.key) + 1 :].split(".")), change)
            return
        head, _, rest = key.partition(".")
        style = self.root.launch.style
        dotted = style.assign or style.lists in ("json", "python") or any("." in item.key for item in self.root.items)
        if rest and not dotted:
            _put(self.fresh.setdefault(head, {}), tuple(rest.split(".")), change)
        else:
            self._add(key, change)

    def finish(self) -> list[Edit]:
        """All edits."""
        for item, value in self.mappings.values():
            if value:
                old = item.values[0].text or ""
                self._write(item, item.values[0], json.dumps(value, ensure_ascii=False) if _loads(old) else repr(value))
            else:
                self._remove(item)
        for key, value in self.fresh.items():
            python = self.root.launch.style.lists == "python"
            self._add(key, repr(value) if python else json.dumps(value, ensure_ascii=False))
        if self.added:
            self.edits.append(Edit(self.root.insert, self.root.insert, "".join(self._joint() + option for option in self.added)))
        # a number right before a redirection would become a part of it
        apart = (
            edit._replace(text=f"{edit.text} ") if self.document.text[edit.end : edit.end + 1] in ("<", ">") else edit
            for edit in self.edits
        )
        return sorted(set(apart))

    def _mapping(self, item: Item, path: tuple[str, ...], change: Any) -> None:
        """A change inside a mapping that is one argument."""
        _, value = self.mappings.setdefault(id(item), (item, json.loads(json.dumps(item.value))))
        if change is REMOVE:
            _drop(value, path)
        elif isinstance(change, Rename):
            _rename_key(value, path, change.to)
        else:
            _put(value, path, change)

    def _replace(self, item: Item, change: Any) -> None:
        """A new value for an option that stands there."""
        if item.kind == "delete":
            raise self.refuse(item, "the command takes it out of the config (~)")
        if item.kind == "negated" or not item.values:
            self._bare(item, change)
            return
        many = isinstance(change, list | tuple)
        if item.kind == "option" and many and (len(item.values) > 1 or not isinstance(item.value, list)) and self._words():
            if not self._editable(item):
                raise self.refuse(item, "its values do not stand together")
            if not change:
                raise self.refuse(item, "an empty list cannot be written")
            split = any(slot.split for slot in item.values)
            said = " ".join(self._encoded(item, self._scalar(value, item), "", split, "") for value in change)
            self.edits.append(Edit(item.values[0].start, item.values[-1].end, said))
            return
        if len(item.values) > 1:
            if not self._editable(item):
                raise self.refuse(item, "its values do not stand together")
            new = self._list(change, "") if many else self._scalar(change, item)
            split = any(slot.split for slot in item.values)
            self.edits.append(Edit(item.values[0].start, item.values[-1].end, self._encoded(item, new, "", split, "")))
            return
        slot = item.values[0]
        old = slot.text or ""
        self._write(item, slot, self._list(change, old) if many else self._scalar(change, item))

    def _words(self) -> bool:
        return self.root.launch.style.lists == "words"

    def _editable(self, item: Item) -> bool:
        """Whether several values stand one after the other."""
        for one, other in pairwise(item.values):
            if not 0 <= one.end <= other.start or not re.fullmatch(r"(?:\s|\\\r?\n)+", self.document.text[one.end : other.start]):
                return False
        return True

    def _bare(self, item: Item, change: Any) -> None:
        """A value for a flag that stands alone."""
        start, end = item.name
        if start < 0:
            raise self.refuse(item, "its name is put together from variables")
        written = self.document.text[start:end]
        if item.kind == "negated":
            if change is not True:
                new = f"{written} {self._encoded(item, self._scalar(change, item), '', item.flag.split, '')}"
                self.edits.append(Edit(start - 3, item.flag.end, new))
            else:
                self.edits.append(Edit(start - 3, start, ""))
        elif change is False and self.root.launch.style.negate:
            self.edits.append(Edit(start, start, f"no{'_' if '_' in written else '-'}"))
        elif isinstance(change, list | tuple) and self._words():
            said = " ".join(self._encoded(item, self._scalar(value, item), "", item.flag.split, "") for value in change)
            self.edits.append(Edit(start, item.flag.end, f"{self.document.text[start : item.flag.end]} {said}"))
        else:
            new = self._list(change, "") if isinstance(change, list | tuple) else self._scalar(change, item)
            said = self._encoded(item, new, "", item.flag.split, "")
            self.edits.append(Edit(start, item.flag.end, f"{self.document.text[start : item.flag.end]} {said}"))

    def _write(self, item: Item, slot: Slot, new: str) -> None:
        """New text for one value: where a variable says it and nothing else uses it, in the assignment."""
        if slot.text is None:
            raise self.refuse(item, "only running the script can tell its value (a variable that is not assigned, a substitution)")
        only = slot.atoms[0] if len(slot.atoms) == 1 else None
        if only is not None and only.through and len(only.text or "") == only.end - only.start and PLAIN.fullmatch(new):
            users = self.root.uses.get(only.start, set())
            if len(users) <= 1 or (slot.split and len({key for _, key in users}) == 1):
                self.edits.append(Edit(only.start, only.end, new))
                return
            if slot.split:
                raise self.refuse(item, "the variable that holds it is used in several places")
        apart = any(one.end > other.start for one, other in pairwise(slot.atoms))
        if slot.start < 0 or (slot.split and (apart or only is None)):
            raise self.refuse(item, "its value is put together from variables")
        old = self.document.text[slot.start : slot.end]
        self.edits.append(Edit(slot.start, slot.end, self._encoded(item, new, slot.inside, slot.split, old)))

    def _encoded(self, item: Item, new: str, inside: str, split: bool, old: str) -> str:
        """The characters that make the shell pass ``new``."""
        if split and not PLAIN.fullmatch(new):
            raise self.refuse(item, "the value needs quotes, and it stands in the text of a variable")
        if inside == "'" and "'" in new:
            raise self.refuse(item, "the value holds a quote")
        if inside == '"' or (not inside and not split and old[:1] == '"' == old[-1:] and len(old) > 1):
            escaped = re.sub(r'([\\"$`])', r"\\\1", new)
            return escaped if inside else f'"{escaped}"'
        if inside or split:
            return new
        if old[:1] == "'" == old[-1:] and len(old) > 1 and "'" not in new:
            return f"'{new}'"
        return _quoted(new)

    def _scalar(self, value: Any, item: Item | None) -> str:
        """A scalar as the program reads it."""
        style = self.root.launch.style
        if value is None:
            return style.none
        if isinstance(value, bool):
            old = (item.values[0].text or "") if item is not None and item.values else ""
            lower = old in ("true", "false") or (old not in ("True", "False") and self._lower())
            return str(value).lower() if lower else str(value)
        if isinstance(value, list | tuple | dict):
            return json.dumps(value, ensure_ascii=False)
        return value if isinstance(value, str) else repr(value)

    def _lower(self) -> bool:
        for item in self.root.items:
            if item.values and isinstance(item.value, bool):
                return (item.values[0].text or "").islower()
        return self.root.launch.style.lower

    def _list(self, value: Iterable[Any], old: str) -> str:
        """A list as one argument, in the manner of the old one."""
        items = list(value)
        style = self.root.launch.style.lists
        if old.startswith("[") and not _loads(old):
            style = "bare" if not re.search(r"['\"]", old) else "python"
        elif old.startswith("["):
            style = "json"
        if style == "python":
            return repr(items)
        plain = all(not isinstance(item, str) or PLAIN.fullmatch(item) for item in items)
        if style == "bare" and plain:
            return f"[{','.join(self._scalar(item, None) for item in items)}]"
        return json.dumps(items, ensure_ascii=False)

    def _remove(self, item: Item) -> None:
        """Take an option out, with the blanks or the continued line before it."""
        text = self.document.text
        slots = [slot for slot in item.values if item.kind == "option"]
        end = slots[-1].end if slots else item.flag.end
        parts = [(item.flag.start, item.flag.end), *((slot.start, slot.end) for slot in slots)]
        for one, other in pairwise(parts):
            if not 0 <= one[1] <= other[0] or not re.fullmatch(r"(?:\s|\\\r?\n)+", text[one[1] : other[0]]):
                raise self.refuse(item, "its name and its value do not stand together")
        if item.flag.split and any(one.end > other.start for one, other in pairwise(item.flag.atoms)):
            raise self.refuse(item, "it is put together from variables")
        start = item.flag.start
        while start > 0:
            if text[start - 1] in " \t":
                start -= 1
            elif text[start - 1] == "\n" and (match := re.search(r"\\\r?\n$", text[max(0, start - 3) : start])):
                start -= len(match[0])
            elif text[start - 1] == "\n" and END_OF_LINE.match(text, end):
                start -= 2 if text[max(0, start - 2) : start] == "\r\n" else 1
                break
            else:
                break
        self.edits.append(Edit(start, end, ""))

    def _rename(self, item: Item, to: str) -> None:
        start, end = item.name
        if start < 0:
            raise self.refuse(item, "its name is put together from variables")
        written = self.document.text[start:end]
        head, dot, last = written.rpartition(".")
        if item.kind == "assign" or "_" in last or not ("-" in last or self._hyphens()):
            new = to
        else:
            new = to.replace("_", "-")
        self.edits.append(Edit(start + len(head) + len(dot), end, new))

    def _hyphens(self) -> bool:
        """Whether the command writes names with hyphens."""
        names = [self.document.text[item.name[0] : item.name[1]] for item in self.root.items if item.kind != "assign" and item.name[0] >= 0]
        hyphens = sum("-" in name for name in names)
        underscores = sum("_" in name for name in names)
        if hyphens == underscores == 0:
            return self.root.launch.entry.split()[0] in ("axolotl", "thub")
        return hyphens > underscores

    def _add(self, key: str, value: Any) -> None:
        """A new option at the end."""
        style, items = self.root.launch.style, self.root.items
        kinds = [item.kind for item in items]
        many = isinstance(value, list | tuple)
        if style.assign or (kinds and all(kind in ("assign", "delete") for kind in kinds)):
            said = self._list(value, "") if many else self._scalar(value, None)
            self.added.append(f"{key}={_quoted(said)}")
            return
        name = "--" + (key.replace("_", "-") if self._hyphens() else key)
        equals = kinds.count("equals") > len([item for item in items if item.kind == "option" and item.values])
        bare = [item for item in items if item.kind == "option" and not item.values]
        spelled = [item for item in items if item.values and isinstance(item.value, bool)]
        if isinstance(value, bool) and (style.negate or (value and bare and not spelled)):
            self.added.append(name if value else name.replace("--", "--no-" if "-" in name[2:] or "_" not in name else "--no_", 1))
            return
        if many and self._words() and not equals:
            if not value:
                raise InputError(self.document.path, f"line {self.document.line}: an empty list cannot be written for {key}")
            self.added.append(" ".join([name, *(_quoted(self._scalar(item, None)) for item in value)]))
            return
        said = _quoted(self._list(value, "") if many else self._scalar(value, None))
        self.added.append(f"{name}={said}" if equals else f"{name} {said}")

    def _joint(self) -> str:
        """What stands between two options: a blank, or a continued line with its indentation."""
        breaks = re.findall(r"[ \t]*\\(\r?\n)([ \t]*)", self.document.text[self.root.start : self.root.insert])
        if not breaks:
            return " "
        newline, indent = breaks[-1]
        return f" \\{newline}{indent or ' '}"


def _quoted(text: str) -> str:
    """A text as one word, in quotes where it needs them; easy to read where it holds quotes itself."""
    if PLAIN.fullmatch(text):
        return text
    return f'"{text}"' if "'" in text and not re.search(r'["$`\\!]', text) else shlex.quote(text)


def _loads(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _put(mapping: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = mapping.get(part)
        if not isinstance(inner, dict):
            inner = mapping[part] = {}
        mapping = inner
    mapping[path[-1]] = value


def _drop(mapping: dict[str, Any], path: Sequence[str]) -> None:
    for part in path[:-1]:
        mapping = mapping[part]
    mapping.pop(path[-1], None)


def _rename_key(mapping: dict[str, Any], path: Sequence[str], to: str) -> None:
    for part in path[:-1]:
        mapping = mapping[part]
    renamed = {to if key == path[-1] else key: value for key, value in mapping.items()}
    mapping.clear()
    mapping.update(renamed)


__all__ = ["documents", "edits", "value_of"]
