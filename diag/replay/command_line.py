"""The user's training command: words with placeholders, which are filled in for each training. No shell is involved."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.errors import UsageError
from diag.text import nearest
from diag.vocabulary import HYPERPARAMETERS

OVERRIDES: Final = "overrides"
LENGTHS: Final = ("steps", "max_steps")
"""Placeholders that say when the training ends."""
PLACEHOLDERS: Final = (OVERRIDES, "steps", "total_steps", "seed", "out")
"""Placeholders besides the canonical hyperparameters."""
OF_A_SHELL: Final = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "<<", "2>", "2>&1", "&>", "|&"})
"""Words that only a shell understands."""
MODULES: Final = frozenset({"-m", "--module"})
"""Options whose value names a module: a folder of that name is not meant."""
WRITTEN: Final = re.compile(
    r"(?:^|[-_.])(?:outputs?|out|save|logs?|logging|results?|tb|tensorboard|(?:run|root)[-_.]dir|checkpoint\.checkpoint_dir)(?=$|[-_.])|^o$",
    re.I,
)
"""Names of options and config keys whose value is written to: ``output_dir``, ``--save-path``, ``hydra.run.dir``."""
CONFIGS: Final = (".yaml", ".yml", ".json")
"""How the names of configs end whose relative paths can be found."""
READ: Final = (*CONFIGS, ".toml", ".ini", ".cfg", ".py", ".jsonl", ".csv", ".parquet", ".txt")
"""How the names of files end that are read, whatever the option is called."""
HASHED_BYTES: Final = 4 << 20
"""Bytes up to which the content of a file tells it from another; of larger ones the size and the time do."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command: pieces of text and the placeholder after each, "" for none."""

    pieces: tuple[tuple[str, str], ...]

    @property
    def placeholders(self) -> list[str]:
        """The placeholders in it."""
        return [name for _, name in self.pieces if name]

    @property
    def text(self) -> str:
        """The text of a word without placeholders."""
        return "".join(text for text, _ in self.pieces)

    def fill(self, values: Mapping[str, str]) -> str:
        """The word with values in the places of the placeholders."""
        return "".join(text + (values[name] if name else "") for text, name in self.pieces)


class NamedPath(NamedTuple):
    """A path that exists and that a command names; ``option`` is what it is the value of, "" if of none."""

    option: str
    path: Path


class Option(NamedTuple):
    """An option that a command gives itself; ``filled`` where a placeholder is the value, ``last`` where it follows the overrides."""

    name: str
    filled: bool
    last: bool


class CommandLine:
    """A command as the user wrote it.

    Args:
        text: split as a POSIX shell would, with placeholders in braces; ``{{`` and ``}}`` are braces.
        here: folder that relative paths in it are relative to.

    Raises:
        UsageError: it cannot be split, has a placeholder that is not known, none that tells arms apart, or is for a shell.
    """

    def __init__(self, text: str, here: Path) -> None:
        self.text, self.here = text, here
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--command: {str(error).lower()} in {text!r}") from error
        if not words:
            raise UsageError("--command is empty")
        if (special := next((word for word in words if word in OF_A_SHELL), None)) is not None:
            raise UsageError(
                f"--command: {special} is for a shell, and none runs the command; put it in a script that passes its arguments on"
            )
        if re.match(r"[A-Za-z_]\w*=", words[0]):
            raise UsageError(f"--command: {words[0]} is no program; write env in front of variables")
        self.words = tuple(_parse(word) for word in words)
        if all(name in (*PLACEHOLDERS, *LENGTHS) for name in self.placeholders if name != OVERRIDES) and not self.has(OVERRIDES):
            raise UsageError(
                "--command has no {overrides}, so every arm would train the same; write it where options may be added, best at the end"
            )
        self.paths: list[NamedPath] = []
        self.words = tuple(self._absolute(index, word) for index, word in enumerate(self.words))

    @property
    def placeholders(self) -> list[str]:
        """Every placeholder in it."""
        return [name for word in self.words for name in word.placeholders]

    def has(self, *names: str) -> bool:
        """Whether it has one of these placeholders."""
        return not set(names).isdisjoint(self.placeholders)

    @property
    def files(self) -> list[Path]:
        """The files it names that exist."""
        return [named.path for named in self.paths if named.path.is_file()]

    @property
    def digest(self) -> str:
        """Another text, or another content of a file that it names, gives another digest."""
        parts = [self.text, *(f"{path.name} {_content(path)}" for path in self.files)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def require_program(self) -> None:
        """See to it that the program is there.

        Raises:
            UsageError: it is not.
        """
        if self.words[0].placeholders or shutil.which(self.words[0].text):
            return
        raise UsageError(f"--command: there is no program {self.words[0].text} to run")

    def fill(self, values: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
        """The words of one training."""
        filled: list[str] = []
        for word in self.words:
            if word.placeholders == [OVERRIDES]:
                filled += overrides
            else:
                filled.append(word.fill({name: str(value) for name, value in values.items()}))
        return filled

    def options(self) -> Iterator[Option]:
        """The options it gives itself."""
        behind = False
        for index, word in enumerate(self.words):
            behind = behind or OVERRIDES in word.placeholders
            option, _ = split_option(word.pieces[0][0])
            if option:
                follows = self.words[index + 1].placeholders if index + 1 < len(self.words) and "=" not in word.pieces[0][0] else []
                yield Option(option_name(option), bool(word.placeholders or follows) and OVERRIDES not in follows, behind)

    def _before(self, index: int) -> str:
        """The option that the word there is the value of, "" if there is none."""
        if not index or self.words[index - 1].placeholders:
            return ""
        before = self.words[index - 1].text
        return before if before.startswith("-") and "=" not in before else ""

    def _absolute(self, index: int, word: Word) -> Word:
        """The word with the path that it names made absolute, as the command runs in another folder.

        A folder counts as a path only where it is the value of an option or has a slash: a bare word is rather a subcommand. What is
        written to stays relative, in the folder of the training.
        """
        if word.placeholders:
            return word
        option, value = split_option(word.text)
        if not value:
            option, value = self._before(index), word.text
        if not value or value.startswith("-") or option in MODULES or (index == 0 and "/" not in value):
            return word
        named = Path(value).expanduser() if value.startswith("~/") else self.here / value
        try:
            is_file, is_folder = named.is_file(), named.is_dir()
        except (OSError, ValueError):
            return word
        if is_written(option, named) and not is_device(named):
            if named.is_absolute() and Path(value).is_absolute():
                raise UsageError(f"--command: {option} {value} is one place for all trainings; write {{out}} there, the folder of each")
            return word
        if not (is_file or is_folder) or (is_folder and not option and "/" not in value and value not in (".", "..")):
            return word
        self.paths.append(NamedPath(option, named))
        return Word(((word.text.removesuffix(value) + str(named), ""),))


def is_written(option: str, path: Path) -> bool:
    """Whether what an option or a config key names is written to, by its name."""
    return WRITTEN.search(option_name(option)) is not None and path.suffix.lower() not in READ


def is_device(path: Path) -> bool:
    """Whether a path is one such as ``/dev/null``."""
    return path.is_relative_to("/dev")


def option_name(option: str) -> str:
    """The name of an option, however it is spelled: ``--learning-rate``, ``+learning_rate``."""
    return option.lstrip("-+~").replace("-", "_")


def split_option(word: str) -> tuple[str, str]:
    """Option and value of ``--option=value`` or ``key=value``, option and "" of ``--option``; "" twice for anything else."""
    option, equals, value = word.partition("=")
    if equals and re.fullmatch(r"[-+~]*[A-Za-z_][\w.@/-]*", option) and (option.startswith("-") or "/" not in option.partition("@")[0]):
        return option, value
    return (word, "") if re.match(r"--?[A-Za-z]", word) else ("", "")


def _parse(word: str) -> Word:
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    pieces: list[tuple[str, str]] = []
    try:
        for text, name, form, conversion in string.Formatter().parse(word):
            if name is None:
                pieces.append((text, ""))
                continue
            if form or conversion or (name not in PLACEHOLDERS and name not in HYPERPARAMETERS):
                near = nearest(name, [*PLACEHOLDERS, *HYPERPARAMETERS])
                raise UsageError(
                    f"--command: unknown placeholder {{{name}}}{near}; there are {known} and hyperparameters such as {{learning_rate}};"
                    " write {{ and }} for braces"
                )
            pieces.append((text, name))
    except ValueError as error:
        raise UsageError(f"--command: {str(error).lower()} in {word!r}; write {{{{ and }}}} for braces") from error
    if OVERRIDES in [name for _, name in pieces] and pieces != [("", OVERRIDES)]:
        raise UsageError(f"--command: {{overrides}} becomes several words, so it must stand by itself, not within {word!r}")
    return Word(tuple(pieces) or (("", ""),))


def _content(path: Path) -> str:
    try:
        status = path.stat()
        if status.st_size > HASHED_BYTES:
            return f"{status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
