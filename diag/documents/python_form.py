"""Python files: one Document for each training call, read from the syntax tree. Nothing is ever run or imported."""

from __future__ import annotations

import ast
import math
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from diag.documents import MAX_DOCUMENTS, PYTHON, UNKNOWN, Document, Setting
from diag.documents.editing import REMOVE, Edit, Rename, edited
from diag.documents.python_names import DTYPE_MODULES, ComputedError, Names, Scope, entries, is_mapping
from diag.errors import InputError

HUB: Final = "training_hub"
HUB_CALLS: Final = frozenset({"sft", "osft", "lora_sft", "lora_grpo"})

ARGUMENTS: Final = frozenset(
    [
        "TrainingArguments",
        "Seq2SeqTrainingArguments",
        "SFTConfig",
        "DPOConfig",
        "GRPOConfig",
        "RewardConfig",
        "KTOConfig",
        "ORPOConfig",
        "CPOConfig",
        "PPOConfig",
        "RLOOConfig",
        "UnslothTrainingArguments",
        "SentenceTransformerTrainingArguments",
    ]
)
"""Classes that hold the settings of a Hugging Face or TRL training."""

COMPANIONS: Final = {
    "LoraConfig": "lora",
    "get_peft_model": "lora",
    "BitsAndBytesConfig": "quantization_config",
    "from_pretrained": "model",
    "EarlyStoppingCallback": "",
}
"""Calls that add to such a training, with what their keys stand under."""

STOPPING: Final = ("early_stopping_patience", "early_stopping_threshold")
UNSLOTH: Final = frozenset({"FastLanguageModel", "FastModel", "FastVisionModel"})
"""Classes whose ``from_pretrained`` and ``get_peft_model`` are companions."""

POSITIONAL: Final = dict.fromkeys(ARGUMENTS, ("output_dir",)) | {"EarlyStoppingCallback": STOPPING}
"""Names of the arguments that are given without one."""

LIGHTNING: Final = frozenset({"lightning", "pytorch_lightning", "pl", "L"})
"""First parts of the names that Lightning's Trainer goes by."""

MIN_ASSIGNMENTS: Final = 3
"""Constants that a file without training calls must assign to be read as a config (nanoGPT's config files have 5 and more)."""

MAX_COMPANIONS: Final = 20
"""Companions read of one file; real ones hold up to three."""

MAX_NESTING: Final = 32
"""Nesting of mappings that is followed."""

NEWLINE: Final = re.compile(r"\r\n|\r|\n")
IDENTIFIER: Final = re.compile(r"\w+")


class Span(NamedTuple):
    """Characters of the text."""

    start: int
    end: int


class _Lines:
    """Where the lines of a text begin; the syntax tree counts bytes in lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in NEWLINE.finditer(text))]

    def at(self, line: int, offset: int) -> int:
        """The character at a byte of a line."""
        if line < 1:
            return -1
        start = self.starts[min(line, len(self.starts)) - 1]
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        content = self.text[start:end]
        return start + (offset if content.isascii() else len(content.encode()[:offset].decode(errors="ignore")))

    def span(self, node: ast.expr | ast.keyword | ast.stmt) -> Span:
        """The characters of a node."""
        return Span(self.at(node.lineno, node.col_offset), self.at(node.end_lineno or 0, node.end_col_offset or 0))

    def line(self, position: int) -> int:
        """The line of a character, from 1."""
        return bisect_right(self.starts, position)

    def column(self, position: int) -> int:
        """The column of a character, from 1."""
        return position - self.starts[self.line(position) - 1] + 1


@dataclass(slots=True, eq=False)
class Holder:
    """A call or mapping that settings stand in, and can be added to."""

    node: ast.Call | ast.Dict
    prefix: str


@dataclass(slots=True, eq=False)
class Owner:
    """How a setting stands in the file.

    Attributes:
        kind: ``keyword``, ``entry`` (of a mapping), ``positional`` or ``assignment``.
        key: where its key stands.
        value: its value's expression.
        scope: where that stands.
        holder: what it stands in; None for an assignment.
        reason: why its value is unknown, "" if it is known.
        statement: the assignment.
    """

    kind: str
    key: Span
    value: ast.expr
    scope: Scope
    holder: Holder | None
    reason: str = ""
    statement: ast.stmt | None = None


@dataclass(slots=True)
class Root:
    """What the editor needs."""

    index: int
    names: Names
    lines: _Lines
    uses: dict[int, set[tuple[int, str]]]
    owners: dict[str, Owner] = field(default_factory=dict)
    holders: dict[str, Holder] = field(default_factory=dict)
    earlier: dict[str, list[Owner]] = field(default_factory=dict)
    count: int = 0


def documents(text: str, name: str) -> list[Document]:
    """The training calls of a Python file; its assignments where it has none; an empty list if it is no config.

    Raises:
        InputError: it is not valid Python.
    """
    names = Names(_tree(text, name))
    reader = _File(text, name, names)
    try:
        return reader.documents()
    except RecursionError:  # nested beyond what the limits above foresee
        raise InputError(name, "is nested too deeply", "give a training config") from None


def _tree(text: str, name: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        problem = " ".join((error.msg or "invalid syntax").split())
        raise InputError(name, f"is not valid Python ({place}{problem})", "give a file that python accepts") from None
    except (ValueError, RecursionError, MemoryError) as error:
        problem = "nested too deeply" if not isinstance(error, ValueError) else "characters that no Python file can hold"
        raise InputError(name, f"is not valid Python ({problem})", "give a file that python accepts") from None


class _File:
    """One file being read."""

    def __init__(self, text: str, name: str, names: Names) -> None:
        self.text = text
        self.name = name
        self.names = names
        self.lines = _Lines(text)
        self.uses: dict[int, set[tuple[int, str]]] = {}
        self.found: list[Document] = []

    def documents(self) -> list[Document]:
        """Every document of the file."""
        companions: list[tuple[str, ast.Call, Scope]] = []
        arguments: list[tuple[Document, Scope]] = []
        for call, scope in self.names.calls:
            kind = self._kind(call)
            if kind in COMPANIONS:
                companions.append((kind, call, scope))
            elif kind and len(self.found) < MAX_DOCUMENTS:
                document = self._new(kind, call)
                prefix = "trainer" if kind == "Trainer" else ""
                self._call(document, call, scope, prefix, kind)
                if kind in ARGUMENTS:
                    arguments.append((document, scope))
        if companions and not arguments:
            kind, call, scope = companions[0]
            if not self.found and any(item[0] != "EarlyStoppingCallback" for item in companions):
                arguments.append((self._new(kind, call), scope))
        scopes = {id(scope) for _, scope in arguments}
        for kind, call, scope in companions[:MAX_COMPANIONS]:
            for document, own in arguments:
                if own is scope or id(scope) not in scopes:
                    self._call(document, call, scope, COMPANIONS[kind], kind)
        if not self.found:
            self._assignments()
        for document in self.found:
            _count_processes(document)
            document.root.count = len(self.found)
        return self.found

    def _new(self, entry: str, call: ast.Call | None) -> Document:
        document = Document(path=self.name, form=PYTHON, text=self.text, entry=entry)
        document.line = call.lineno if call is not None else 1
        document.containers[""] = document.line
        document.root = Root(len(self.found), self.names, self.lines, self.uses)
        self.found.append(document)
        return document

    def _kind(self, call: ast.Call) -> str:
        """The training call or companion that a call is, "" for any other."""
        full = self.names.imported(call.func)
        first, _, _ = full.partition(".")
        before, _, last = full.rpartition(".")
        if last in HUB_CALLS:
            known = first == HUB or (isinstance(call.func, ast.Name) and HUB in self.names.starred)
            bare = isinstance(call.func, ast.Name) and call.func.id not in self.names.imports and self._free(call.func.id)
            return last if call.keywords and (known or bare) else ""
        if last in ARGUMENTS or last in ("LoraConfig", "BitsAndBytesConfig", "EarlyStoppingCallback"):
            return last if self._free(last) or last in self.names.imports else ""
        if last in ("from_pretrained", "get_peft_model") and before.rpartition(".")[2] in UNSLOTH:
            return last
        if last == "Trainer" and first in LIGHTNING and full != last:
            return last
        return ""

    def _free(self, name: str) -> bool:
        """Whether the file does not define the name itself."""
        return name not in self.names.module.counts

    def _call(self, document: Document, call: ast.Call, scope: Scope, prefix: str, kind: str) -> None:
        """Enter the arguments of a call."""
        holder = Holder(call, prefix)
        root: Root = document.root
        root.holders[" stopping" if kind == "EarlyStoppingCallback" else prefix] = holder
        if prefix:
            document.containers.setdefault(prefix, call.lineno)
        for name, argument in zip(POSITIONAL.get(kind, ()), call.args, strict=False):
            if not isinstance(argument, ast.Starred):
                start = self.lines.span(argument).start
                self._enter(document, name, Owner("positional", Span(start, start), argument, scope, holder))
        for item in call.keywords:
            if item.arg is not None:
                self._enter(document, _joined(prefix, item.arg), Owner("keyword", self._key(item), item.value, scope, holder))
            else:
                self._spread(document, item.value, scope, prefix)

    def _key(self, node: ast.expr | ast.keyword) -> Span:
        """Where a key stands: the name of a keyword argument, or the text of a mapping's key with its quotes."""
        span = self.lines.span(node)
        match = IDENTIFIER.match(self.text, span.start) if isinstance(node, ast.keyword) else None
        return Span(span.start, match.end()) if match else span

    def _spread(self, document: Document, value: ast.expr, scope: Scope, prefix: str) -> None:
        """Enter what ``**mapping`` holds."""
        line = value.lineno
        try:
            node, inner = self._mapping(value, scope)
            if node is None:
                raise ComputedError("it is no literal mapping")
            for key, place, item in list(entries(node)):
                kind = "keyword" if isinstance(place, ast.keyword) else "entry"
                self._enter(document, _joined(prefix, key), Owner(kind, self._key(place), item, inner, Holder(node, prefix)))
        except ComputedError as error:
            document.problems.append(f"line {line} passes settings that only running the file can tell: {error}")

    def _mapping(self, node: ast.expr, scope: Scope) -> tuple[ast.Call | ast.Dict | None, Scope]:
        """The literal mapping that an expression is or names, None if it is something else."""
        for _ in range(MAX_NESTING):
            if is_mapping(node):
                assert isinstance(node, ast.Call | ast.Dict)
                return node, scope
            followed, scope = self.names.follow(node, scope)
            if followed is node:
                break
            node = followed
        return None, scope

    def _enter(self, document: Document, key: str, owner: Owner, depth: int = 0) -> None:
        """Enter one setting, or those of a mapping."""
        root: Root = document.root
        try:
            node, scope = self._mapping(owner.value, owner.scope)
            items = list(entries(node)) if node is not None else []
        except ComputedError:
            node, items = None, []
        if node is not None and items and depth < MAX_NESTING:
            document.containers.setdefault(key, self.lines.line(owner.key.start))
            holder = root.holders[key] = Holder(node, key)
            for name, place, item in items:
                kind = "keyword" if isinstance(place, ast.keyword) else "entry"
                self._enter(document, f"{key}.{name}", Owner(kind, self._key(place), item, scope, holder), depth + 1)
            root.owners.setdefault(key, owner)
            return
        leaves: list[ast.expr] = []
        try:
            value = self.names.meaning(owner.value, owner.scope, leaves)
        except ComputedError as error:
            value, owner.reason = UNKNOWN, str(error)
        for leaf in leaves:
            self.uses.setdefault(self.lines.span(leaf).start, set()).add((root.index, key))
        span = self.lines.span(owner.value)
        said = self.lines.span(leaves[0]) if len(leaves) == 1 and value is not UNKNOWN and leaves[0].lineno else span
        literal = self.text[said.start : said.end]
        quoted = isinstance(value, str) and literal[-1:] in ("'", '"')
        if key in document.settings:
            document.repeated[key] = self.lines.line(owner.key.start)
            del document.settings[key]
            root.earlier.setdefault(key, []).append(root.owners[key])
        line, column = self.lines.line(owner.key.start), self.lines.column(owner.key.start)
        text = value if isinstance(value, str) else literal
        document.settings[key] = Setting(key, value, text, quoted, line, column, span.start, span.end, *owner.key)
        root.owners[key] = owner

    def _assignments(self) -> None:
        """A file of plain assignments is one document."""
        module = self.names.module
        document = self._new("", None)
        assert isinstance(module.node, ast.Module)
        for statement in module.node.body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name() as target], value=value)
                    | ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value)
                ):
                    try:
                        self.names.meaning(value, module)
                    except ComputedError:
                        continue
                    key = self.lines.span(target)
                    self._enter(document, target.id, Owner("assignment", key, value, module, None, statement=statement))
                case _:
                    pass
        if len(document.settings) < MIN_ASSIGNMENTS:
            self.found.clear()


def _joined(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def _count_processes(document: Document) -> None:
    """Training Hub starts ``nproc_per_node`` processes on ``nnodes`` machines."""
    if document.entry not in HUB_CALLS:
        return
    values = document.flat()
    local, nodes = values.get("nproc_per_node"), values.get("nnodes", 1)
    if all(isinstance(count, int) and not isinstance(count, bool) and count > 0 for count in (local, nodes)):
        document.processes = local * nodes
    document.launcher = "torchrun" if "nproc_per_node" in document.settings else ""


# Changing a file


def edits(document: Document, changes: Mapping[str, Any]) -> list[Edit]:
    """What to change in the file so that the call says ``changes``; see ``diag.documents.editing.edits``.

    Raises:
        InputError: a change cannot be written: the value is computed, or there is no call that takes the key.
    """
    editor = _Editor(document)
    for key, change in changes.items():
        editor.change(key, change)
    found = editor.finish()
    if found:
        _verify(document, changes, found)
    return found


def _verify(document: Document, changes: Mapping[str, Any], found: Sequence[Edit]) -> None:
    """Read the changed file again and see that it says what it should.

    Raises:
        InputError: it does not.
    """
    wanted = {key: setting.value for key, setting in document.settings.items()}
    for key, change in changes.items():
        affected = [other for other in wanted if other == key or other.startswith(f"{key}.")]
        if change is REMOVE:
            for other in affected:
                del wanted[other]
        elif isinstance(change, Rename):
            new = _joined(key.rpartition(".")[0], change.to)
            for other in affected:
                wanted[new + other[len(key) :]] = wanted.pop(other)
        elif isinstance(change, Mapping) and change:
            wanted.pop(key, None)
            wanted |= {_joined(key, path): value for path, value in _leaves(change)}
        else:
            wanted[key] = change
    refusal = InputError(document.path, f"line {document.line}: this change cannot be written into the file", "change it by hand")
    try:
        remaining = documents(edited(document.text, found), document.path)
        if len(remaining) < document.root.count and len(wanted) < (1 if document.entry else MIN_ASSIGNMENTS):
            return  # too little is left to be a config
        read = {key: setting.value for key, setting in remaining[document.root.index].settings.items()}
    except (InputError, ValueError, IndexError):
        raise refusal from None
    if read.keys() != wanted.keys() or not all(_same(read[key], value) for key, value in wanted.items()):
        raise refusal


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other or (one != one and other != other))  # not a number is not itself


class _Editor:
    """The edits of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root: Root = document.root
        self.text = document.text
        self.lines = self.root.lines
        self.edits: set[Edit] = set()
        self.added: dict[int, tuple[Holder, list[tuple[str, Any]]]] = {}
        self.removed: dict[int, tuple[Holder, list[Owner]]] = {}
        self.fresh: list[tuple[str, Any]] = []
        self.replaced: set[Span] = set()

    def refuse(self, position: int, key: str, why: str) -> InputError:
        return InputError(self.document.path, f"line {self.lines.line(position)}: {key} cannot be changed: {why}", "change it by hand")

    def change(self, key: str, change: Any) -> None:
        """Take one change in."""
        owner = self.root.owners.get(key)
        setting = self.document.settings.get(key)
        if owner is None or (setting is None and isinstance(change, Mapping)):
            self._absent(key, change)
        elif change is REMOVE or isinstance(change, Rename):
            for each in (*self.root.earlier.get(key, ()), owner):
                if isinstance(change, Rename):
                    self._rename(key, each, change.to)
                else:
                    self._remove(key, each)
        elif setting is None or not _same(setting.value, change):
            self._replace(key, owner, change)

    def finish(self) -> list[Edit]:
        """All edits."""
        self._take_out_empty()
        for holder, items in self.added.values():
            self._put_in(holder, items)
        for holder, _ in self.removed.values():
            self._take_out(holder)
        if self.fresh:
            self._assign()
        return sorted(self.edits)

    def _take_out_empty(self) -> None:
        """Mappings that lose all their entries go themselves."""
        for _ in range(MAX_NESTING):
            for identity, (holder, _) in list(self.removed.items()):
                owner = self.root.owners.get(holder.prefix)
                whole = owner is not None and owner.value is holder.node and identity not in self.added
                if owner is not None and whole and len(self._gone(holder)) == len(self._elements(holder.node)):
                    del self.removed[identity]
                    self._remove(holder.prefix, owner)
                    break
            else:
                return

    def _absent(self, key: str, change: Any) -> None:
        """A key that nothing sets yet."""
        if change is REMOVE:
            return
        if isinstance(change, Rename):
            raise InputError(self.document.path, f"line {self.document.line}: {key} is not set here, so it cannot be renamed")
        if isinstance(change, Mapping) and key in self.root.holders:
            for name, value in change.items():
                self.change(_joined(key, name), value)
            return
        if not self.document.entry:
            if not key.isidentifier():
                raise InputError(self.document.path, f"line {self.document.line}: {key} is no name that a file can assign")
            self.fresh.append((key, change))
            return
        if key in STOPPING and " stopping" not in self.root.holders:
            raise InputError(self.document.path, f"{key} needs a call of EarlyStoppingCallback, and there is none", "add one by hand")
        prefix, name = ("", key) if key not in STOPPING else (" stopping", key)
        while prefix not in self.root.holders or "." in name:
            head, dot, rest = name.partition(".")
            if not dot:
                break
            if (deeper := _joined(prefix, head)) in self.root.holders:
                prefix, name = deeper, rest
                continue
            if prefix not in self.root.holders:
                break
            name, change = head, _nested(rest, change)
        holder = self.root.holders.get(prefix)
        if holder is None or (prefix == "" and name in COMPANIONS.values()):
            wanted = {"lora": "LoraConfig", "quantization_config": "BitsAndBytesConfig", "model": "FastLanguageModel.from_pretrained"}
            missing = wanted.get(key.partition(".")[0], "a call that takes it")
            raise InputError(self.document.path, f"{key} needs {missing}, and there is none", "add it by hand")
        _, items = self.added.setdefault(id(holder.node), (holder, []))
        for place, (other, value) in enumerate(items):
            if other == name and isinstance(value, dict) and isinstance(change, Mapping):
                items[place] = (other, _merged(value, change))
                return
        items.append((name, change))

    def _replace(self, key: str, owner: Owner, change: Any) -> None:
        """A new value: where it is bound if nothing else uses that, else where it is passed."""
        if owner.reason:
            raise self.refuse(self.lines.span(owner.value).start, key, f"its value is computed ({owner.reason})")
        node, scope = owner.value, owner.scope
        for _ in range(MAX_NESTING):
            followed, scope = self.root.names.follow(node, scope)
            if followed is node:
                break
            node = followed
        if node is not owner.value and not (node.lineno and _is_literal(node) and len(self._users(node)) <= 1):
            node = owner.value
        if not node.lineno:
            raise self.refuse(self.lines.span(owner.value).start, key, "it is the default of a flag")
        span = self.lines.span(node)
        new = _literal(change, self.text[span.start : span.end], node)
        self.edits.add(Edit(span.start, span.end, new))

    def _users(self, node: ast.expr) -> set[tuple[int, str]]:
        return self.root.uses.get(self.lines.span(node).start, set())

    def _rename(self, key: str, owner: Owner, to: str) -> None:
        start, end = owner.key
        if owner.kind == "positional":
            raise self.refuse(self.lines.span(owner.value).start, key, "it is passed without its name")
        if owner.kind == "assignment" and key in self.root.names.loads:
            raise self.refuse(start, key, "other lines of the file use the name")
        if owner.kind == "entry":
            to = _literal(to, self.text[start:end])
        elif not to.isidentifier():
            raise self.refuse(start, key, f"{to} is no name of an argument")
        self.edits.add(Edit(start, end, to))

    def _remove(self, key: str, owner: Owner) -> None:
        if owner.holder is not None:
            _, owners = self.removed.setdefault(id(owner.holder.node), (owner.holder, []))
            if all(other is not owner for other in owners):
                owners.append(owner)
            if owner.kind == "positional" and isinstance(owner.holder.node, ast.Call) and len(owner.holder.node.args) > 1:
                raise self.refuse(owner.key.start, key, "other arguments without names follow")
            return
        assert owner.statement is not None
        span = self.lines.span(owner.statement)
        first = self.lines.starts[self.lines.line(span.start) - 1]
        rest = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n|\Z)").match(self.text, span.end)
        if self.text[first : span.start].strip() or rest is None:
            raise self.refuse(span.start, key, "another statement stands on its line")
        if key in self.root.names.loads:
            raise self.refuse(span.start, key, "other lines of the file use the name")
        self.edits.add(Edit(first, rest.end(), ""))

    # Elements of calls and mappings

    def _elements(self, node: ast.Call | ast.Dict) -> list[Span]:
        """The arguments of a call or the entries of a mapping, in order."""
        if isinstance(node, ast.Dict):
            spans = []
            for key, value in zip(node.keys, node.values, strict=True):
                end = self.lines.span(value).end
                start = self.lines.span(key).start if key is not None else self.text.rindex("**", 0, self.lines.span(value).start)
                spans.append(Span(start, end))
        else:
            spans = [self.lines.span(item) for item in [*node.args, *node.keywords]]
        return sorted(spans)

    def _after(self, element: Span, limit: int) -> tuple[int, int]:
        """Where an element ends, brackets around its value included, and where the comma after it ends (-1 if there is none)."""
        end, at = element.end, element.end
        while at < limit:
            character = self.text[at]
            if character == "#":
                match = NEWLINE.search(self.text, at)
                at = match.start() if match else limit
            elif character == ")":
                end = at = at + 1
            elif character == ",":
                return end, at + 1
            else:
                at += 1
        return end, -1

    def _own_line(self, position: int) -> bool:
        """Whether something is the first on its line."""
        first = self.lines.starts[self.lines.line(position) - 1]
        return not self.text[first:position].strip()

    def _put_in(self, holder: Holder, items: Sequence[tuple[str, Any]]) -> None:
        """Add elements as the last ones."""
        node = holder.node
        limit = self.lines.span(node).end - 1
        call = isinstance(node, ast.Call)
        written = [f"{name}={_literal(value)}" if call else f"{_literal(name)}: {_literal(value)}" for name, value in items]
        if call and any(not name.isidentifier() for name, _ in items):
            raise self.refuse(self.lines.span(node).start, items[0][0], "it is no name of an argument")
        elements = self._elements(node)
        gone = {element for element, _ in self._gone(holder)}
        kept = [element for element in elements if element not in gone]
        if not elements:
            self.edits.add(Edit(limit, limit, ", ".join(written)))
            return
        final = elements[-1]
        if final in gone and (not kept or not self._own_line(final.start)):  # in the place of one that goes
            self.replaced.add(final)
            self.edits.add(Edit(final.start, self._after(final, limit)[0], ", ".join(written)))
            return
        last = kept[-1]
        end, comma = self._after(last, limit)
        if not self._own_line(last.start):
            self.edits.add(Edit(end, end, "".join(f", {item}" for item in written)))
            return
        first = self.lines.starts[self.lines.line(last.start) - 1]
        indent = self.text[first : last.start]
        newline = "\r\n" if "\r\n" in self.text else "\n"
        trailing = comma >= 0 and last == final
        at = comma if comma >= 0 else end
        rest = re.compile(r"[ \t]*#[^\r\n]*").match(self.text, at)
        joint = f",{newline}{indent}"
        if comma < 0:
            self.edits.add(Edit(end, end, "," if rest else f",{newline}{indent}{joint.join(written)}"))
            if rest:
                self.edits.add(Edit(rest.end(), rest.end(), f"{newline}{indent}{joint.join(written)}"))
            return
        where = rest.end() if rest else at
        self.edits.add(Edit(where, where, f"{newline}{indent}{joint.join(written)}{',' if trailing or gone else ''}"))

    def _gone(self, holder: Holder) -> list[tuple[Span, Owner]]:
        """The elements of a holder that are taken out."""
        _, owners = self.removed.get(id(holder.node), (holder, []))
        found = []
        for element in self._elements(holder.node):
            owner = next((owner for owner in owners if element.start <= owner.key.start < element.end), None)
            if owner is not None:
                found.append((element, owner))
        return found

    def _take_out(self, holder: Holder) -> None:
        """Remove elements with their commas; whole lines where they stand on their own."""
        limit = self.lines.span(holder.node).end - 1
        elements = self._elements(holder.node)
        gone = {element for element, _ in self._gone(holder)}
        for place, element in enumerate(elements):
            if element not in gone or element in self.replaced:
                continue
            end, comma = self._after(element, limit)
            stop = comma if comma >= 0 else end
            rest = re.compile(r"[ \t]*(?:#[^\r\n]*)?(\r\n|\r|\n)").match(self.text, stop)
            if self._own_line(element.start) and rest is not None:
                first = self.lines.starts[self.lines.line(element.start) - 1]
                self.edits.add(Edit(first, rest.end(), ""))
                continue
            following = place + 1 < len(elements)
            before = [other for other in elements[:place] if other not in gone]
            if following:
                blank = re.compile(r"[ \t]*").match(self.text, stop)
                self.edits.add(Edit(element.start, blank.end() if blank and not rest else stop, ""))
            elif before:  # the last one: the comma before it goes, what follows stays
                start, _ = self._after(before[-1], limit)
                taken = elements[elements.index(before[-1]) + 1 : place]
                if taken or self._own_line(element.start):
                    self.edits.add(Edit(element.start, stop, ""))
                else:
                    self.edits.add(Edit(start, end, ""))
            else:
                self.edits.add(Edit(element.start, stop, ""))

    def _assign(self) -> None:
        """New assignments after the last one."""
        last = max((owner.statement for owner in self.root.owners.values() if owner.statement is not None), key=lambda item: item.lineno)
        end = self.lines.span(last).end
        match = NEWLINE.search(self.text, end)
        at = match.start() if match else len(self.text)
        newline = match[0] if match else "\n"
        self.edits.add(Edit(at, at, "".join(f"{newline}{name} = {_literal(value)}" for name, value in self.fresh)))


def _nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _is_literal(node: ast.expr) -> bool:
    """Whether an expression is a literal: a constant, a negative number, or a list of them."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(operand=ast.Constant()):
            return True
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return all(_is_literal(item) for item in items)
    return False


def _literal(value: Any, old: str = "", node: ast.expr | None = None) -> str:
    """A value as Python writes it, in the manner of the old one."""
    if isinstance(value, str):
        dtype = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
        if dtype in DTYPE_MODULES and value.isidentifier():
            return f"{dtype}.{value}"
        written = repr(value)
        double = not old.endswith("'") and '"' not in value and written.startswith("'")
        return f'"{written[1:-1]}"' if double and "\\'" not in written else written
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(key))}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = ", ".join(_literal(item, "'" if "'" in old else "") for item in value)
        if isinstance(node, ast.Tuple) and old.startswith("("):
            return f"({inner}{',' if len(value) == 1 else ''})"
        return f"[{inner}]"
    return repr(value)


__all__ = ["documents", "edits"]
