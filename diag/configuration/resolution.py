"""The layers of the configuration, laid over each other for one run or for the whole call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from diag.configuration import files
from diag.configuration.files import File
from diag.configuration.options import OPTIONS, Ignores
from diag.errors import UsageError

COMMAND_LINE = "the command line"
DEFAULT = "default"
MERGED = ("severity", "thresholds")
"""Tables of which the command line replaces single entries, not the whole."""


class Setting(NamedTuple):
    """A value and where it came from: an option, a variable, a file with its line, or the default."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Resolved:
    """What is in force in one folder.

    Attributes:
        settings: every option by its name.
        file: the configuration file, None if there is none.
    """

    settings: Mapping[str, Setting]
    file: File | None = None

    def __getitem__(self, name: str) -> Any:
        """The value of an option."""
        return self.settings[name].value

    def says(self, name: str) -> str:
        """The beginning of an error message about an option: where the value came from, "" for the command line."""
        origin = self.settings[name].origin
        if origin in (COMMAND_LINE, DEFAULT):
            return ""
        place = origin.removeprefix(f"{COMMAND_LINE}, ")
        return f"{self.file.path.parent / place}: " if self.file is not None and place.startswith(self.file.path.name) else f"{place}: "

    def ignored_at(self, path: str) -> tuple[str, ...]:
        """The codes that ``per-path-ignores`` leaves out for a run or config.

        Args:
            path: absolute path of its folder or file.
        """
        entries: tuple[Ignores, ...] = self["per-path-ignores"]
        if not entries or self.file is None:
            return ()
        return tuple(code for entry in entries if matches(path, entry.pattern, self.file.path.parent) for code in entry.codes)


@dataclass
class Configuration:
    """What one call was told: its options, the variables, and which files to read.

    Attributes:
        given: typed values of the options that the command line gave.
        variables: the environment.
        config: a file to read instead of searching for one; None to search.
        isolated: read no file at all.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    config: Path | None = None
    isolated: bool = False
    _cache: dict[Path, Resolved] = field(default_factory=dict)
    _named: File | None = None

    def at(self, folder: str | os.PathLike[str] | None) -> Resolved:
        """What is in force in a folder.

        Args:
            folder: of a run or config; None, or "", where there is none on this machine: the working directory then.

        Raises:
            InputError: a configuration file cannot be read.
            UsageError: a file or a variable has a wrong key or value.
        """
        place = Path(folder).absolute() if folder else Path.cwd()
        if place not in self._cache:
            self._cache[place] = self._resolve(self._file(place))
        return self._cache[place]

    def of_call(self, paths: Sequence[str]) -> Resolved:
        """What is in force for the whole call: in the folder that all its paths lie in.

        Raises:
            InputError: a configuration file cannot be read.
            UsageError: a file or a variable has a wrong key or value.
        """
        places = [place.absolute() for path in paths if (place := Path(path)).exists()]
        folders = [str(place if place.is_dir() else place.parent) for place in places]
        try:
            return self.at(os.path.commonpath(folders) if folders else None)
        except ValueError:  # different drives
            return self.at(None)

    def _file(self, folder: Path) -> File | None:
        if self.isolated:
            return None
        if self.config is not None:
            self._named = self._named or files.read(self.config)
            return self._named
        return files.find(folder) or files.find(Path.cwd())

    def _resolve(self, file: File | None) -> Resolved:
        settings: dict[str, Setting] = {}
        for name, option in OPTIONS.items():
            variable = "" if option.is_table else self.variables.get(option.variable, "")
            if name in self.given and name in MERGED and file is not None and name in file.values:
                merged = dict(file.values[name]) | dict(self.given[name])
                settings[name] = Setting(tuple(merged.items()), f"{COMMAND_LINE}, {file.place(name)}")
            elif name in self.given:
                settings[name] = Setting(self.given[name], COMMAND_LINE)
            elif variable:
                try:
                    settings[name] = Setting(option.read(variable), option.variable)
                except UsageError as error:
                    raise UsageError(f"{option.variable}: {error}") from None
            elif file is not None and name in file.values:
                settings[name] = Setting(file.values[name], file.place(name))
            else:
                settings[name] = Setting(option.default, DEFAULT)
        return Resolved(settings, file)


def matches(path: str, pattern: str, base: Path) -> bool:
    """Whether a path matches a pattern of ``.gitignore`` relative to a folder; a path outside of it by its own name alone."""
    from pathspec import PathSpec

    place = Path(path)
    relative = place.relative_to(base).as_posix() if place.is_relative_to(base) else place.name
    return PathSpec.from_lines("gitignore", [pattern]).match_file(relative)
