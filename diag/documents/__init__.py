"""Training configs as they stand in files: every key with its value, its line and column, and the characters it occupies.

``read`` turns a file into Documents: one for a YAML or JSON file, one for each launch command of a shell script, one for each
training call of a Python file. ``diag.documents.editing`` changes a Document's text and nothing else in it. Nothing is ever
executed or imported: YAML tags construct no objects, Python is read from its syntax tree, shell from its words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from diag.errors import InputError, NothingThereError

YAML: Final = "yaml"
JSON: Final = "json"
SHELL: Final = "shell"
PYTHON: Final = "python"

SUFFIXES: Final = {
    ".yaml": YAML,
    ".yml": YAML,
    ".json": JSON,
    ".sh": SHELL,
    ".bash": SHELL,
    ".slurm": SHELL,
    ".sbatch": SHELL,
    ".py": PYTHON,
}
"""File suffix to the form that a config of that suffix is read as."""

MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
"""Byte order marks and the encodings they stand for."""

MAX_BYTES: Final = 1 << 20
"""Bytes above which a file is not read as a config; real ones are below 64 KiB, launch scripts included."""

MAX_DOCUMENTS: Final = 1000
"""Commands or calls read of one script; real ones hold a handful."""


class _Unknown:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""The value of a setting that a script computes: it is set, but to what is not in the file."""


class Setting(NamedTuple):
    """One key of a config as it stands in the file.

    Attributes:
        key: dotted native key; items of a list of mappings by their index (``datasets.0.path``); the name of a flag without
            its dashes and with underscores (``--learning-rate`` is ``learning_rate``).
        value: what it means, as plain Python: numbers as numbers (YAML ``5e-6`` too, although YAML 1.1 reads text), lists
            of scalars as lists. None for null; UNKNOWN where a script computes it (a command substitution, a function call).
        text: the value as written, without quotes.
        quoted: whether the value was written in quotes.
        line, column: where the key stands, from 1; of the value where there is no key.
        start, end: characters of the value in the document's text, quotes included; equal where there is nothing to replace
            (a bare flag: the place to insert after).
        key_start, key_end: characters of the key, quotes and dashes included.
    """

    key: str
    value: Any
    text: str
    quoted: bool
    line: int
    column: int
    start: int
    end: int
    key_start: int
    key_end: int


class Ignore(NamedTuple):
    """A comment that silences findings: ``# diag: ignore[CFG012] reason``, or ``ignore-file`` for the whole file.

    Attributes:
        line: the line whose findings it silences, from 1; 0 for the whole file.
        codes: codes or beginnings of codes; () silences all.
        reason: what the author says.
        at: the line the comment stands on, from 1.
    """

    line: int
    codes: tuple[str, ...]
    reason: str
    at: int


@dataclass(slots=True)
class Document:
    """One training config.

    Attributes:
        path: as it was given.
        form: ``yaml``, ``json``, ``shell`` or ``python``.
        text: the whole file, decoded; newlines as they are.
        settings: dotted native key to Setting, in the order of the file. Where a key is set twice the last one counts.
        containers: dotted keys of mappings and lists of mappings (``peft``, ``datasets``), "" for the root, to their line.
        entry: what runs it: the function called (``osft``), the program of a command (``trl sft``, ``automodel``,
            ``train.py``), "" for a config file.
        line: where it begins, from 1.
        processes: data-parallel processes that the launcher starts (``torchrun --nproc-per-node 8 --nnodes 2`` is 16), None if
            it does not say.
        launcher: the program that starts the processes (``torchrun``, ``accelerate``, ``deepspeed``, ``python``), "" if none.
        configs: paths of config files that a command names (``--config cfg.yaml``), as written.
        repeated: keys that are set more than once, with the line of the later one.
        ignores: comments that silence findings.
        problems: what could not be read, one sentence each.
        root: what the form's editor needs to place new keys; its own affair.
        encoding: to write the text back with.
    """

    path: str
    form: str
    text: str
    settings: dict[str, Setting] = field(default_factory=dict)
    containers: dict[str, int] = field(default_factory=dict)
    entry: str = ""
    line: int = 1
    processes: int | None = None
    launcher: str = ""
    configs: list[str] = field(default_factory=list)
    repeated: dict[str, int] = field(default_factory=dict)
    ignores: list[Ignore] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    root: Any = None
    encoding: str = "utf-8"

    def flat(self) -> dict[str, Any]:
        """Dotted native key to value, without the settings whose value is UNKNOWN."""
        return {key: setting.value for key, setting in self.settings.items() if setting.value is not UNKNOWN}


def read(path: Path, *, name: str = "", form: str = "") -> list[Document]:
    """The training configs in one file; an empty list where a script holds none.

    Args:
        path: the file.
        name: what to call it in reports; ``path`` itself if empty.
        form: how to read it; by its suffix if empty (YAML for a suffix that is not in SUFFIXES).

    Raises:
        InputError: the file cannot be read, is not text, or is not valid in its form.
        NothingThereError: the file does not exist, or is too large to be a training config.
    """
    name = name or str(path)
    raw = _bytes(path, name)
    text, encoding = _decoded(raw, name)
    return parse(text, name=name, form=form or SUFFIXES.get(path.suffix.lower(), YAML), encoding=encoding)


def parse(text: str, *, name: str, form: str, encoding: str = "utf-8") -> list[Document]:
    """The training configs in a text; see ``read``."""
    from importlib import import_module

    from diag.documents.ignores import ignores

    module = {YAML: "yaml_form", JSON: "json_form", SHELL: "shell_form", PYTHON: "python_form"}[form]
    documents: list[Document] = import_module(f"diag.documents.{module}").documents(text, name)
    silenced = ignores(text) if form != JSON else []
    for document in documents:
        document.encoding = encoding
        document.ignores = silenced
    return documents


def _bytes(path: Path, name: str) -> bytes:
    try:
        if not path.is_file():
            if not path.exists():
                raise NothingThereError(name, "does not exist", "give the path of a config file")
            raise InputError(name, "is a folder" if path.is_dir() else "is not a regular file", "give the path of a config file")
        if path.stat().st_size > MAX_BYTES:
            raise NothingThereError(name, f"is larger than {MAX_BYTES >> 10} KiB", "give a training config; logs are for diag analyze")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            name, f"cannot be read ({error.strerror or type(error).__name__})", "check the path and its permissions"
        ) from error


def _decoded(raw: bytes, name: str) -> tuple[str, str]:
    """The text and its encoding; a byte order mark is kept out of the text and belongs to the encoding."""
    encoding = next((encoding for mark, encoding in MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(name, f"is not {encoding} text (byte {error.start})", "give a text file") from error
    if "\0" in text:
        raise InputError(name, "holds NUL characters, it is not a text file", "give a training config")
    return text, encoding


__all__ = [
    "JSON",
    "MAX_BYTES",
    "MAX_DOCUMENTS",
    "PYTHON",
    "SHELL",
    "SUFFIXES",
    "UNKNOWN",
    "YAML",
    "Document",
    "Ignore",
    "Setting",
    "parse",
    "read",
]
