"""Configuration files: ``diag.toml``, ``[tool.diag]`` in ``pyproject.toml``, ``[diag]`` in ``setup.cfg``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from diag import small_text
from diag.configuration.options import OPTIONS
from diag.errors import InputError, UsageError

NAMES: Final = ("diag.toml", "pyproject.toml", "setup.cfg")
"""Files that may hold a configuration; of those in one folder the first one that does counts."""

MAX_BYTES: Final = 1 << 20
"""A configuration is far smaller; what is larger is not read."""

_SECTIONS: Final = {
    "pyproject.toml": re.compile(r"^\s*\[*\s*tool\s*\.\s*diag(?=\s*[\].=])", re.MULTILINE),
    "setup.cfg": re.compile(r"^\[diag[\]:]", re.MULTILINE),
}
"""What a file that holds a configuration of ours has in it; ``diag.toml`` is all ours. Looked for before anything is parsed."""


@dataclass(frozen=True, slots=True)
class File:
    """One configuration file that was read.

    Attributes:
        path: where it lies.
        values: typed value by the name of the option.
        lines: name of the option to the line, from 1, it begins on; 0 where it was not found.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where a value stands: ``diag.toml:3``."""
        line = self.lines.get(name, 0)
        return f"{self.path.name}:{line}" if line else self.path.name


@lru_cache(maxsize=4096)
def find(folder: Path) -> File | None:
    """The configuration that is in force in a folder: that of the nearest folder upwards that has one.

    The search ends at the root of a repository (a folder with ``.git``), and at the root of the file system.

    Args:
        folder: absolute.

    Raises:
        InputError: a file cannot be read or is no TOML or INI.
        UsageError: a key or a value is wrong.
    """
    found = next((file for name in NAMES if (file := _read_section(folder / name)) is not None), None)
    if found is not None or folder.parent == folder or (folder / ".git").exists():
        return found
    return find(folder.parent)


def read(path: Path) -> File:
    """The configuration in a file that the user named.

    Raises:
        InputError: it cannot be read, is no TOML or INI, or has no section of ours.
        UsageError: a key or a value is wrong.
    """
    if not path.is_file():
        raise InputError(path, "does not exist" if not path.exists() else "is no file", "name a diag.toml, pyproject.toml or setup.cfg")
    found = _read_section(path)
    if found is None:
        section = "[diag]" if path.suffix == ".cfg" else "[tool.diag]"
        raise InputError(path, f"has no section {section}", "add one, or name another file")
    return found


def _read_section(path: Path) -> File | None:
    """The configuration in a file; None if there is no such file, or nothing of ours in it."""
    text = small_text.read(path, MAX_BYTES, "a configuration is smaller")
    if text is None:
        return None
    section = _SECTIONS.get(path.name) or (_SECTIONS["setup.cfg"] if path.suffix == ".cfg" else None)
    if section is not None and section.search(text) is None:
        return None
    return parse(path, text)


def parse(path: Path, text: str) -> File:
    """The configuration that a text holds; what kind of file it is, its name says.

    Raises:
        InputError: the text is no TOML or INI.
        UsageError: a key or a value is wrong; the message tells of every one.
    """
    raw = _ini(path, text) if path.suffix == ".cfg" else _toml(path, text)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    wrong: list[str] = []
    for key, value in raw.items():
        name = key.replace("_", "-")
        line = _line(text, key, path)
        place = f"line {line}: " if line else ""
        if (option := OPTIONS.get(name)) is None:
            wrong.append(f"{place}there is no key {key!r}{_nearest(name)}")
            continue
        if name in values:
            wrong.append(f"{place}{name} is there twice")
            continue
        try:
            values[name] = option.read(value)
        except UsageError as error:
            wrong.append(f"{place}{key}: {error}")
        lines[name] = line
    if wrong:
        raise UsageError(f"{path}: {'; '.join(wrong)}")
    if "accept" in values:
        values["accept"] = tuple(entry._replace(place=f"{path.name}:{lines['accept']}") for entry in values["accept"])
    return File(path, values, lines)


def _toml(path: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(path, f"is no valid TOML ({error})", "correct it") from None
    if path.name != "pyproject.toml":
        return content
    tool = content.get("tool")
    ours = tool.get("diag") if isinstance(tool, Mapping) else None
    return dict(ours) if isinstance(ours, Mapping) else {}


def _ini(path: Path, text: str) -> dict[str, Any]:
    """``[diag]`` and its tables ``[diag:severity]``; a value of several lines is a list."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]  # keys are paths and codes, whose case matters
    try:
        parser.read_string(text, source=path.name)
    except configparser.Error as error:
        raise InputError(path, f"is no valid INI file ({' '.join(str(error).split())})", "correct it") from None
    found: dict[str, Any] = dict(parser["diag"]) if parser.has_section("diag") else {}
    found |= {name.removeprefix("diag:").strip(): dict(parser[name]) for name in parser.sections() if name.startswith("diag:")}
    return found


def _line(text: str, key: str, path: Path) -> int:
    """The line on which a key of ours, or the table of its name, begins; 0 if it is not found."""
    table = {"pyproject.toml": r"tool\s*\.\s*diag\s*\.\s*", "setup.cfg": "diag:"}.get(path.name, "diag:" if path.suffix == ".cfg" else "")
    name = re.escape(key)
    section = _SECTIONS.get(path.name) or (_SECTIONS["setup.cfg"] if path.suffix == ".cfg" else None)
    start = match.start() if section is not None and (match := section.search(text)) is not None else 0
    begin = re.compile(rf'^\s*(?:"?{name}"?\s*[=.]|\[+\s*{table}"?{name}"?\s*[\].])', re.MULTILINE)
    found = begin.search(text, start)
    if found is None:
        return 0
    return text.count("\n", 0, found.end()) + 1


def _nearest(name: str) -> str:
    from diag.text import nearest

    return nearest(name, OPTIONS)
