"""From the paths that a user names to the sources behind them: files of one run are joined, and nothing is read twice.

A search of a folder joins what belongs to one run: the states of all its checkpoints, the event files of ``train/`` and ``val/``,
``training.jsonl`` and ``validation.jsonl``. Files that are named one by one, as a shell pattern or a commit hook names them, are
joined in the same way, by asking the adapter of each what it finds in the folders around it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diag.adapters import Folder, Source, registry
from diag.errors import DiagError, UsageError
from diag.loading import Problem, crash_of, discover, problem_of, walk


@dataclass(slots=True)
class Group:
    """Sources that are read together, so that formats of one run are folded together.

    Attributes:
        base: what the paths and ids of the runs are relative to: the path that was named, or a folder above all files that were.
        sources: what to read.
        named: the user named the files themselves.
        problems: what could not be looked at.
    """

    base: str
    sources: list[Source]
    named: bool
    problems: list[Problem] = field(default_factory=list)


def gather(
    paths: Sequence[str | os.PathLike[str]], *, adapter: str | None = None, tracking_uri: str | None = None, whole_runs: bool = False
) -> tuple[list[Group], list[Problem]]:
    """The sources at every path, in the order of the paths; all files that are named are one group, at the place of the first.

    Args:
        paths: files, folders and URIs.
        adapter: read only with the adapter of this name.
        tracking_uri: MLflow tracking server or store, for ``mlflow:`` URIs.
        whole_runs: a file stands for the whole run that it belongs to, as it lies in its folder, not for itself alone.

    Returns:
        The groups, and what was wrong with paths that gave none.

    Raises:
        UsageError: there is no such adapter.
        InputError: one path was given, and it does not exist, cannot be opened, or is a file that no adapter knows.
    """
    groups: list[Group] = []
    unread: list[Problem] = []
    files = _files(paths)
    together: Group | None = None
    named: list[tuple[Path, Source]] = []
    for entry in _once(paths, files):
        problems: list[Problem] = []
        try:
            sources = discover(entry, adapter=adapter, tracking_uri=tracking_uri, on_problem=problems.append)
        except DiagError as error:
            if len(paths) == 1 or isinstance(error, UsageError):
                raise
            unread.append(problem_of(os.fspath(entry), error))
            continue
        if not (_key(entry) in files and (len(files) > 1 or whole_runs)):
            is_named = _key(entry) in files or any(source.uri for source in sources)
            groups.append(Group(os.fspath(entry), sources, is_named, problems))
            continue
        if together is None:
            together = Group(_above(files), [], True)
            groups.append(together)
        together.problems += [problem for problem in problems if problem not in together.problems]
        named += [(Path(entry), source) for source in sources]
    if together is not None:
        together.sources = _joined(named, whole_runs, together.problems)
    return _without_repeats(groups) if len(groups) > 1 else groups, unread


def _key(path: str | os.PathLike[str]) -> str:
    """A path in one spelling; links are not followed."""
    return os.path.normpath(Path(path).absolute())


def _files(paths: Iterable[str | os.PathLike[str]]) -> set[str]:
    found = set()
    for path in paths:
        try:
            if Path(path).is_file():
                found.add(_key(path))
        except (OSError, ValueError):
            continue  # said by discover
    return found


def _once(paths: Iterable[str | os.PathLike[str]], files: set[str]) -> Iterator[str | os.PathLike[str]]:
    """The paths without repetitions of a file."""
    seen: set[str] = set()
    for path in paths:
        key = _key(path) if os.fspath(path) else ""
        if key in files and key in seen:
            continue
        seen.add(key)
        yield path


def _above(files: Iterable[str]) -> str:
    """The folder that files are told from: the working directory if it is above them all, else the deepest that is."""
    here = Path.cwd()
    try:
        common = os.path.commonpath([Path(file).parent for file in files])
    except ValueError:  # on several drives
        return str(here)
    return str(here) if Path(common).is_relative_to(here) else common


def _joined(named: Sequence[tuple[Path, Source]], whole_runs: bool, problems: list[Problem]) -> list[Source]:
    """One source a run: of the files that were named, or of all that the run has."""
    surroundings = _Surroundings([path for path, _ in named], whole_runs)
    members: dict[tuple[Source, bool], list[Source]] = {}
    for path, source in named:
        home = surroundings.home(path, source)
        members.setdefault((home or source, home is not None), []).append(source)
    problems += surroundings.problems
    joined = []
    for (home, found), sources in members.items():
        if found and whole_runs:
            joined.append(home)
        elif len(sources) == 1:
            joined += sources
        else:
            mine = {file for source in sources for file in source.files}
            joined.append(replace(home, files=tuple(file for file in home.files if file in mine)))
    return joined


class _Surroundings:
    """What adapters find in the folders of files, each folder looked at once."""

    def __init__(self, named: Sequence[Path], whole: bool) -> None:
        self.problems: list[Problem] = []
        self._whole = whole
        self._named: dict[Path, tuple[set[str], set[str]]] = {}
        for path in named:
            self._named.setdefault(path.parent, (set(), set()))[0].add(path.name)
            self._named.setdefault(path.parent.parent, (set(), set()))[1].add(path.parent.name)
        self._folders: dict[Path, Folder | None] = {}
        self._found: dict[tuple[str, Path], list[Source]] = {}

    def home(self, path: Path, source: Source) -> Source | None:
        """The source that a search of the folder above a file, or of its own, would read it as a part of; None if neither does."""
        for folder in dict.fromkeys((path.parent.parent, path.parent)):
            for found in self._search(source.adapter, folder):
                if path in found.files and found.options == source.options:
                    return found
        return None

    def _search(self, adapter: str, path: Path) -> list[Source]:
        if (adapter, path) not in self._found:
            found: list[Source] = []
            try:
                if (folder := self._folder(path)) is not None:
                    found = list(registry.get(adapter).find(folder))
            except DiagError:
                pass  # the files themselves can be read; what is around them must not keep them from being judged
            except Exception as error:
                self.problems.append(crash_of(adapter, str(path), error))
            self._found[adapter, path] = found
        return self._found[adapter, path]

    def _folder(self, path: Path) -> Folder | None:
        if path not in self._folders:
            if self._whole:
                try:
                    self._folders[path] = next(walk(path, lambda problem: None), None)
                except DiagError:
                    self._folders[path] = None
            else:
                names, inner = self._named[path]
                self._folders[path] = Folder(path, tuple(sorted(names)), tuple(sorted(inner)))
        return self._folders[path]


def _without_repeats(groups: Sequence[Group]) -> list[Group]:
    """The groups without sources whose files another group reads, all of them; of equal ones the first stays."""
    every = [(group, source, frozenset(map(_key, source.files))) for group in groups for source in group.sources]
    owners: dict[str, list[int]] = {}
    for index, (_, source, files) in enumerate(every):
        for name in files or (source.uri,):
            owners.setdefault(name, []).append(index)
    repeats: set[int] = set()
    for index, (group, source, files) in enumerate(every):
        for rival in owners[min(files, default=source.uri)]:
            other_group, other, others = every[rival]
            contained = files < others or (files == others and rival < index)
            if contained and other_group is not group and other.options == source.options:
                repeats.add(id(source))
    kept = []
    for group in groups:
        rest = [source for source in group.sources if id(source) not in repeats]
        if rest or not group.sources:
            group.sources = rest
            kept.append(group)
    return kept
