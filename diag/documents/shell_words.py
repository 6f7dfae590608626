"""The words of a POSIX or bash script with the characters they occupy, variables put in; nothing is ever run.

``commands`` gives every simple command of a script as fields, the way the shell would pass them: quotes and escapes taken off,
variables and arrays that the script itself assigns put in, everything else that is computed left unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from diag.errors import InputError

MAX_DEPTH: Final = 40
"""Nesting of blocks, expansions and chains of variables that is followed; real scripts stay below ten."""

MAX_PIECES: Final = 50_000
"""Pieces of text that variables may put in over a whole script; more are left unknown, so that no script can take forever."""

MAX_ASSIGNMENTS: Final = 200
"""Assignments to one variable that are followed; a variable with more is left unknown."""

NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)(\+?)=", re.ASCII)
REFERENCE: Final = re.compile(r"([A-Za-z_]\w*|[0-9]+|[@*#?$!-])(?:\[([@*])\])?", re.ASCII)
DEFAULT: Final = re.compile(r":?[-=]")
OPERATORS: Final = ("&>>", "<<<", "<<-", ";;&", "&&", "||", ";;", ";&", "&>", "|&", ">>", "<<", "<&", ">&", "<>", ">|")
REDIRECTIONS: Final = frozenset({"&>>", "<<<", "<<-", "&>", ">>", "<<", "<&", ">&", "<>", ">|", "<", ">"})
ENDS_OF_WORDS: Final = frozenset(" \t\r\n;&|<>()")
DECLARATIONS: Final = frozenset({"export", "readonly", "local", "declare", "typeset"})
MANY: Final = re.compile(r"ARG|OPT|EXTRA|FLAG|PARAM|^[@*]$")
"""Names of variables that hold options rather than one value (``$EXTRA_ARGS``, ``$@``)."""

BREAK: Final = "}"
"""In place of a quote: the default of ``${NAME:-default}``, where only plain text may be written."""


class Piece(NamedTuple):
    """A part of a word: characters as they stand, or a reference.

    Attributes:
        start, end: its characters, without quotes.
        text: what it stands for; None for a reference.
        quote: the quotes it stands in, ``BREAK`` for the default of a reference, "" for none.
        name: the variable referred to, "" for something that only running the script can tell.
        array: whether all words of an array are meant.
        default: what stands in for a variable that is not set.
    """

    start: int
    end: int
    text: str | None
    quote: str
    name: str = ""
    array: bool = False
    default: tuple[Piece, ...] | None = None


class Word(NamedTuple):
    """A word of a script; ``items`` are the words of an array that it assigns."""

    start: int
    end: int
    pieces: tuple[Piece, ...]
    items: tuple[Word, ...] | None = None


class Token(NamedTuple):
    """A word, or an operator (a newline too)."""

    start: int
    end: int
    operator: str
    word: Word | None


class Atom(NamedTuple):
    """A piece with its variables put in.

    Attributes:
        start, end: where the characters stand that say so (in an assignment, if a variable says it).
        text: what it says, None if only running the script can tell.
        quote: the quotes it stands in there.
        through: whether a variable stands between.
    """

    start: int
    end: int
    text: str | None
    quote: str
    through: bool


class Field(NamedTuple):
    """One argument of a command.

    Attributes:
        start, end: the characters of the word; of its part of the variable's text where a variable holds several arguments.
        atoms: what it is made of.
        split: whether it is a part of a variable's text, where nothing can be quoted.
        many: whether it may stand for any number of arguments (``$EXTRA_ARGS`` that the script does not assign).
    """

    start: int
    end: int
    atoms: tuple[Atom, ...]
    split: bool = False
    many: bool = False

    @property
    def text(self) -> str | None:
        """The argument, None if only running the script can tell."""
        parts = [atom.text for atom in self.atoms]
        return None if any(part is None for part in parts) else "".join(part or "" for part in parts)

    @property
    def lead(self) -> str:
        """The beginning of the argument up to what only running the script can tell."""
        parts: list[str] = []
        for atom in self.atoms:
            if atom.text is None:
                break
            parts.append(atom.text)
        return "".join(parts)


@dataclass(slots=True)
class Command:
    """A simple command: its words, and the blocks it stands in."""

    words: list[Word]
    blocks: tuple[tuple[int, str], ...]


class Assignment(NamedTuple):
    """``NAME=word``, ``NAME+=word``, ``NAME=( words )``, or a name that something else sets (``word`` is None)."""

    position: int
    blocks: tuple[tuple[int, str], ...]
    word: Word | None
    value: tuple[Piece, ...]
    append: bool


class Script:
    """A script taken apart.

    Attributes:
        commands: its simple commands, in order.

    Raises:
        InputError: a quote or a substitution does not end.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.commands: list[Command] = []
        self._assignments: dict[str, list[Assignment]] = {}
        self._budget = MAX_PIECES
        _Blocks(self.commands, self._assignments).read(_Reader(text, name).tokens())

    def fields(self, command: Command, words: Iterable[Word] | None = None) -> tuple[list[Field], list[str]]:
        """The arguments of a command, and what was left out of them, one sentence each."""
        problems: list[str] = []
        fields: list[Field] = []
        for word in command.words if words is None else words:
            fields += self._expanded(word, command.blocks, word.start, problems, 0)
        return fields, list(dict.fromkeys(problems))

    def _expanded(self, word: Word, blocks: tuple[tuple[int, str], ...], position: int, problems: list[str], depth: int) -> list[Field]:
        """The fields of one word."""
        only = word.pieces[0] if len(word.pieces) == 1 else None
        if only is not None and only.name and only.text is None and (only.array or not only.quote):
            return self._reference(word, only, blocks, position, problems, depth)
        atoms = self._atoms(word.pieces, blocks, position, problems, depth)
        return [Field(word.start, word.end, tuple(atoms))]

    def _reference(
        self, word: Word, piece: Piece, blocks: tuple[tuple[int, str], ...], position: int, problems: list[str], depth: int
    ) -> list[Field]:
        """The fields of a word that is one reference: the words of an array, the parts of a text, or one field."""
        found = self._assigned(piece.name, blocks, position, problems)
        if depth < MAX_DEPTH and found and any(assignment.word and assignment.word.items is not None for assignment in found):
            fields: list[Field] = []
            for assignment in found:
                for item in assignment.word.items or () if assignment.word else ():
                    self._budget -= 1
                    if self._budget < 0:
                        return [Field(word.start, word.end, (Atom(word.start, word.end, None, "", True),), many=True)]
                    fields += self._expanded(item, assignment.blocks, assignment.position, problems, depth + 1)
            return fields
        atoms = self._atoms((piece,), blocks, position, problems, depth)
        if any(atom.text is None for atom in atoms):
            return [Field(word.start, word.end, tuple(atoms), many=bool(MANY.search(piece.name.upper())))]
        if not any(re.search(r"\s", atom.text or "") for atom in atoms):
            return [Field(word.start, word.end, tuple(atoms))] if any(atom.text for atom in atoms) else []
        self._budget -= sum((atom.text or "").count(" ") for atom in atoms)
        if self._budget < 0:
            return [Field(word.start, word.end, (Atom(word.start, word.end, None, "", True),), many=True)]
        return _parts(atoms)

    def _atoms(
        self, pieces: Sequence[Piece], blocks: tuple[tuple[int, str], ...], position: int, problems: list[str], depth: int
    ) -> list[Atom]:
        atoms: list[Atom] = []
        for piece in pieces:
            self._budget -= 1
            if piece.text is not None:
                atoms.append(Atom(piece.start, piece.end, piece.text, piece.quote, depth > 0))
                continue
            unknown = [Atom(piece.start, piece.end, None, piece.quote, depth > 0)]
            if not piece.name or depth >= MAX_DEPTH or self._budget < 0:
                atoms += unknown
                continue
            found = self._assigned(piece.name, blocks, position, problems)
            if found is None:
                atoms += unknown
            elif found:
                for assignment in found:
                    if assignment.word is None or assignment.word.items is not None:
                        atoms += unknown
                        break
                    atoms += self._atoms(assignment.value, assignment.blocks, assignment.position, problems, depth + 1)
            elif piece.default is not None:
                atoms += self._atoms(piece.default, blocks, position, problems, depth + 1)
            else:
                atoms += unknown
        return atoms

    def _assigned(self, name: str, blocks: tuple[tuple[int, str], ...], position: int, problems: list[str]) -> list[Assignment] | None:
        """The assignment that a reference sees and those that append to it; [] if there is none, None if it cannot be told."""
        candidates = self._assignments.get(name, ())
        if not candidates:
            return []
        if len(candidates) > MAX_ASSIGNMENTS:
            return None
        found: list[Assignment] | None = []
        for assignment in candidates:
            if assignment.position >= position:
                repeats = {block for block in blocks if block[1] == "loop"} & set(assignment.blocks)
                if repeats or any(kind == "function" for _, kind in blocks):
                    return None  # it is set again before the command runs again
                continue
            if blocks[: len(assignment.blocks)] == assignment.blocks:
                if not assignment.append:
                    found = [assignment] if assignment.word is not None else None
                elif found:
                    found.append(assignment)
                elif found is not None:
                    found = [assignment]
            elif assignment.append:
                line = self.text.count("\n", 0, assignment.position) + 1
                problems.append(f"line {line} adds to {name} under a condition: what it adds is left out")
            else:
                found = None
        return found


def _parts(atoms: Sequence[Atom]) -> list[Field]:
    """The arguments that an unquoted reference to a text with spaces becomes."""
    fields: list[Field] = []
    current: list[Atom] = []

    def close() -> None:
        if current:
            fields.append(Field(current[0].start, current[-1].end, tuple(current), split=True))
            current.clear()

    for atom in atoms:
        text = atom.text or ""
        direct = len(text) == atom.end - atom.start
        for match in re.finditer(r"\s+|\S+", text):
            if match[0].isspace():
                close()
            elif direct:
                current.append(Atom(atom.start + match.start(), atom.start + match.end(), match[0], atom.quote, True))
            else:
                current.append(Atom(atom.start, atom.end, match[0], atom.quote, True))
    close()
    return fields


class _Blocks:
    """Simple commands out of tokens, with the blocks (conditions, loops, functions) that they and assignments stand in."""

    OPENING: Final = {"if": "if", "while": "loop", "until": "loop", "for": "loop", "select": "loop", "case": "case"}
    CLOSING: Final = {"fi": "if", "done": "loop", "esac": "case"}
    BRANCHES: Final = frozenset({"then", "elif", "else"})

    def __init__(self, found: list[Command], assignments: dict[str, list[Assignment]]) -> None:
        self._found = found
        self._assignments = assignments
        self._stack: list[tuple[int, str]] = []
        self._chain: tuple[tuple[int, str], ...] = ()
        self._number = 0
        self._function = False

    def _block(self, kind: str) -> tuple[int, str]:
        self._number += 1
        return self._number, kind

    def read(self, tokens: Iterable[Token]) -> None:
        """Fill the commands and the assignments."""
        words: list[Word] = []
        target = False  # the next word belongs to a redirection
        for token in tokens:
            if token.word is not None:
                if target:
                    target = False
                elif words or not self._reserved(token.word):
                    words.append(token.word)
                continue
            if token.operator in REDIRECTIONS:
                target = True
                continue
            target = False
            if token.operator == "(" and words and _plain(words[0]) != "for":  # name () { ... }
                words, self._function = [], True
                continue
            self._command(words)
            words = []
            self._operator(token.operator)
        self._command(words)

    def _operator(self, operator: str) -> None:
        if operator == "(":
            self._stack.append(self._block("subshell"))
        elif operator == ")" and self._stack and self._stack[-1][1] == "subshell":
            self._stack.pop()
        elif operator == ";;" and self._stack and self._stack[-1][1] == "case":
            self._stack[-1] = self._block("case")
        if operator == "&&":
            self._chain = self._chain or (self._block("chain"),)
        elif operator == "||":
            self._chain = (self._block("chain"),)
        elif operator not in ("|", "|&"):
            self._chain = ()

    def _reserved(self, word: Word) -> bool:
        """Whether the first word of a command opens, closes or divides a block; it does then."""
        text = _plain(word)
        if text in self.OPENING:
            self._stack.append(self._block(self.OPENING[text]))
            return text in ("while", "until", "if")  # what follows is a command; for, select and case keep their words
        if text in self.BRANCHES:
            if self._stack and self._stack[-1][1] == "if":
                self._stack[-1] = self._block("if")
        elif text in self.CLOSING:
            if self._stack and self._stack[-1][1] == self.CLOSING[text]:
                self._stack.pop()
        elif text == "{":
            self._stack.append(self._block("function" if self._function else "group"))
            self._function = False
        elif text == "}":
            if self._stack and self._stack[-1][1] in ("function", "group"):
                self._stack.pop()
        elif text == "function":
            self._function = True
            return False
        elif text not in ("do", "!"):
            return False
        self._chain = ()
        return True

    def _command(self, words: list[Word]) -> None:
        if not words:
            return
        first = _plain(words[0])
        # groups in braces run always and in this shell: they are no condition
        blocks = (*(block for block in self._stack[:MAX_DEPTH] if block[1] != "group"), *self._chain)
        if first in ("for", "select", "read", "mapfile", "readarray", "getopts", "unset", "case", "function"):
            if first in ("for", "select"):
                words = words[1:2]
            for word in words:
                name = _plain(word)
                if first not in ("case", "function") and name and NAME.fullmatch(name):
                    self._assign(name, Assignment(word.start, blocks, None, (), False))
            return
        declaration = first in DECLARATIONS
        if declaration or all(_assignment(word) for word in words):
            for word in words[1:] if declaration else words:
                if (match := _assignment(word)) is not None:
                    self._assign(match[1], Assignment(word.start, blocks, word, _value_of(word, match.end()), bool(match[2])))
            return
        self._found.append(Command(words, blocks))

    def _assign(self, name: str, assignment: Assignment) -> None:
        self._assignments.setdefault(name, []).append(assignment)


def _plain(word: Word) -> str:
    """The text of a word that is written without quotes and references; "" otherwise."""
    return "".join(piece.text or "" for piece in word.pieces) if all(not p.quote and p.text is not None for p in word.pieces) else ""


def _assignment(word: Word) -> re.Match[str] | None:
    first = word.pieces[0] if word.pieces else None
    return ASSIGNMENT.match(first.text) if first is not None and first.text and not first.quote else None


def _value_of(word: Word, skip: int) -> tuple[Piece, ...]:
    """The pieces of a word without its first ``skip`` characters (``NAME=``)."""
    first = word.pieces[0]
    rest = (first.text or "")[skip:]
    pieces = word.pieces[1:]
    return (first._replace(start=first.start + skip, text=rest), *pieces) if rest else pieces


class _Reader:
    """The tokens of a script."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0
        self._heredocs: list[tuple[str, bool]] = []

    def _unended(self, what: str, start: int) -> InputError:
        line = self.text.count("\n", 0, start) + 1
        return InputError(self.name, f"is no shell script: the {what} of line {line} does not end", "give a script that bash -n accepts")

    def tokens(self) -> Iterator[Token]:
        """Words and operators, to the end of the script."""
        heredoc = ""
        while self._skip():
            start = self.at
            operator = self._operator()
            if operator:
                if operator == "\n":
                    self._skip_heredocs()
                heredoc = operator if operator in ("<<", "<<-") else ""
                yield Token(start, start + len(operator), operator, None)
                continue
            word = self._word()
            if heredoc:
                ending = "".join(piece.text if piece.text is not None else self.text[piece.start : piece.end] for piece in word.pieces)
                self._heredocs.append((ending, heredoc == "<<-"))
                heredoc = ""
            elif self.text[self.at : self.at + 1] in ("<", ">") and self.text[word.start : word.end].isdigit():
                continue  # the number of a redirection
            yield Token(start, self.at, "", word)

    def _skip(self) -> bool:
        """Go over blanks, continued lines and comments; whether anything is left."""
        text, end = self.text, len(self.text)
        while self.at < end:
            character = text[self.at]
            if character in " \t" or (character == "\r" and text.startswith("\r\n", self.at)):
                self.at += 1
            elif character == "\\" and (length := self._continuation(self.at)):
                self.at += length
            elif character == "#":
                newline = text.find("\n", self.at)
                self.at = end if newline < 0 else newline
            else:
                return True
        return False

    def _continuation(self, at: int) -> int:
        """Characters of a backslash with the newline after it, 0 if there is none."""
        return 2 if self.text.startswith("\\\n", at) else 3 if self.text.startswith("\\\r\n", at) else 0

    def _operator(self) -> str:
        text, at = self.text, self.at
        if text[at] in "<>" and text.startswith("(", at + 1):
            return ""  # a process substitution is a word
        operator = next((item for item in OPERATORS if text.startswith(item, at)), "")
        if not operator and text[at] in "\n;&|<>()":
            operator = text[at]
        self.at += len(operator)
        return operator

    def _skip_heredocs(self) -> None:
        for ending, tabs in self._heredocs:
            while self.at < len(self.text):
                newline = self.text.find("\n", self.at)
                stop = len(self.text) if newline < 0 else newline
                line = self.text[self.at : stop].removesuffix("\r")
                self.at = min(stop + 1, len(self.text))
                if (line.lstrip("\t") if tabs else line) == ending:
                    break
        self._heredocs.clear()

    def _word(self, *, arrays: bool = True) -> Word:
        start = self.at
        pieces: list[Piece] = []
        text, end = self.text, len(self.text)
        plain = self.at  # where the current run of plain characters begins

        def close() -> None:
            if plain < self.at:
                pieces.append(Piece(plain, self.at, text[plain : self.at], ""))

        while self.at < end:
            character = text[self.at]
            if character == "(" and arrays and not pieces and ASSIGNMENT.fullmatch(text, start, self.at):
                close()
                items = self._array()
                return Word(start, self.at, tuple(pieces), items)
            if character in "<>" and text.startswith("(", self.at + 1) and self.at == start:
                self._balanced(self.at + 2, ")", "substitution")
                pieces.append(Piece(start, self.at, None, ""))
                plain = self.at
                continue
            if character in ENDS_OF_WORDS and not (character == "\r" and not text.startswith("\r\n", self.at)):
                break
            if character not in "\\'\"$`":
                self.at += 1
                continue
            close()
            if character == "\\":
                if length := self._continuation(self.at):
                    self.at += length
                else:
                    pieces.append(Piece(self.at, min(self.at + 2, end), text[self.at + 1 : self.at + 2], ""))
                    self.at = min(self.at + 2, end)
            elif character == "'":
                self._single(pieces)
            elif character == '"':
                self._double(pieces)
            else:
                self._dollar(pieces, "", 0)
            plain = self.at
        close()
        return Word(start, self.at, tuple(pieces))

    def _array(self) -> tuple[Word, ...]:
        opening = self.at
        self.at += 1
        items: list[Word] = []
        while self._skip():
            character = self.text[self.at]
            if character == ")":
                self.at += 1
                return tuple(items)
            if character == "\n":
                self.at += 1
                continue
            if character in ENDS_OF_WORDS and not (character in "<>" and self.text.startswith("(", self.at + 1)):
                break
            items.append(self._word(arrays=False))  # bash knows no array in an array
        raise self._unended("array", opening)

    def _single(self, pieces: list[Piece]) -> None:
        closing = self.text.find("'", self.at + 1)
        if closing < 0:
            raise self._unended("quote", self.at)
        pieces.append(Piece(self.at + 1, closing, self.text[self.at + 1 : closing], "'"))
        self.at = closing + 1

    def _double(self, pieces: list[Piece]) -> None:
        opening, text, end = self.at, self.text, len(self.text)
        self.at += 1
        plain = self.at
        before = len(pieces)
        while self.at < end:
            character = text[self.at]
            if character not in '\\"$`':
                self.at += 1
                continue
            if plain < self.at:
                pieces.append(Piece(plain, self.at, text[plain : self.at], '"'))
            if character == '"':
                self.at += 1
                if len(pieces) == before:
                    pieces.append(Piece(opening + 1, opening + 1, "", '"'))
                return
            if character == "\\":
                if length := self._continuation(self.at):
                    self.at += length
                elif text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\"):
                    pieces.append(Piece(self.at, self.at + 2, text[self.at + 1], '"'))
                    self.at += 2
                else:
                    pieces.append(Piece(self.at, self.at + 1, "\\", '"'))
                    self.at += 1
            else:
                self._dollar(pieces, '"', 0)
            plain = self.at
        raise self._unended("quote", opening)

    def _dollar(self, pieces: list[Piece], quote: str, depth: int) -> None:
        """A reference or a substitution; a dollar that is neither is a plain character."""
        start, text = self.at, self.text
        if text[start] == "`":
            closing = re.compile(r"(?:[^`\\]|\\.)*`", re.DOTALL).match(text, start + 1)
            if closing is None:
                raise self._unended("substitution", start)
            self.at = closing.end()
            pieces.append(Piece(start, self.at, None, quote))
        elif text.startswith("$(", start):
            self._balanced(start + 2, ")", "substitution")
            pieces.append(Piece(start, self.at, None, quote))
        elif text.startswith("${", start):
            self._braces(pieces, quote)
        elif not quote and text.startswith("$'", start):
            closing = re.compile(r"(?:[^'\\]|\\.)*'", re.DOTALL).match(text, start + 2)
            if closing is None:
                raise self._unended("quote", start)
            self.at = closing.end()
            inner = text[start + 2 : self.at - 1]
            pieces.append(Piece(start + 2, self.at - 1, None if "\\" in inner else inner, "'"))
        elif not quote and text.startswith('$"', start):
            self.at += 1
            self._double(pieces)
        elif match := REFERENCE.match(text, start + 1):
            end = start + 1 + (1 if match[1][0].isdigit() else len(match[1]))  # $10 is $1 and a 0
            self.at = end
            pieces.append(Piece(start, end, None, quote, text[start + 1 : end], text[start + 1] in "@*"))
        else:
            self.at += 1
            pieces.append(Piece(start, self.at, "$", quote))

    def _braces(self, pieces: list[Piece], quote: str) -> None:
        start, text = self.at, self.text
        self._balanced(start + 2, "}", "reference")
        end = self.at
        match = REFERENCE.match(text, start + 2, end - 1)
        if match is None:
            pieces.append(Piece(start, end, None, quote))
            return
        rest = match.end()
        array = match[2] is not None or match[1] in "@*"
        if rest == end - 1:
            pieces.append(Piece(start, end, None, quote, match[1], array))
        elif (operator := DEFAULT.match(text, rest, end - 1)) is not None:
            pieces.append(Piece(start, end, None, quote, match[1], array, self._default(operator.end(), end - 1)))
        else:
            pieces.append(Piece(start, end, None, quote))

    def _default(self, start: int, end: int) -> tuple[Piece, ...]:
        """The default of a reference: plain text, quoted or not, or one reference."""
        inner = self.text[start:end]
        if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"":
            start, end, inner = start + 1, end - 1, inner[1:-1]
        if not re.search(r"[\\'\"$`]", inner):
            return (Piece(start, end, inner, BREAK),)
        match = re.fullmatch(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", inner, re.ASCII)
        return (Piece(start, end, None, BREAK, (match[1] or match[2]) if match else ""),)

    def _balanced(self, at: int, closing: str, what: str) -> None:
        """Go to after the closing bracket of a substitution, over quotes and substitutions inside it."""
        start, text, end = at, self.text, len(self.text)
        expected = [closing]
        while at < end:
            character = text[at]
            inside = expected[-1]
            if character == "\\":
                at += 2
                continue
            if character == inside:
                expected.pop()
                if not expected:
                    self.at = at + 1
                    return
            elif character == "'" and inside != '"':
                at = text.find("'", at + 1)
                if at < 0:
                    break
            elif character == '"':
                expected.append('"')
            elif text.startswith("$(", at) or text.startswith("${", at):
                expected.append(")" if text[at + 1] == "(" else "}")
                at += 1
            elif character == "(" and inside == ")":
                expected.append(")")
            at += 1
        raise self._unended(what, start)
