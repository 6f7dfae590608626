"""From a path or URI to Runs: find what can be read, read it, tell runs apart, name them.

    sources = discover(path)              one walk over the tree; cheap
    readings = map(attempt, sources)      each in any process; never raises for bad input
    runs = settle(readings, path)         formats of one run folded together, ids made unique

``load`` does all three.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from diag.adapters import Adapter, Folder, Source, registry, relative, tolerant_json
from diag.adapters.same_run import merged, run_folder
from diag.errors import DiagError, InputError, NothingThereError, NothingToJudgeError
from diag.run import Run
from diag.text import without_credentials

_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env", "CVS", "_svn"})

WORK_MARK: Final = ".diag-work"
"""File that marks the folder in which a replay runs a command: in a search from above it is passed over, as the replay's own log of
that training lies beside it; in a search from there, no link is followed, as it leads to what the training reads."""


class Problem(NamedTuple):
    """What could not be read: one line for people.

    Attributes:
        path: the file, folder or URI, or the part of the program that failed.
        message: what was wrong and what to do.
        crashed: the fault is the program's, not the input's.
        absent: nothing is wrong with the input, but it is not there or holds no training log.
    """

    path: str
    message: str
    crashed: bool = False
    absent: bool = False


@dataclass(slots=True)
class Reading:
    """What came of one source: its runs, or the problem."""

    source: Source
    runs: list[Run] = field(default_factory=list)
    problem: Problem | None = None


def load(
    path: str | os.PathLike[str],
    *,
    adapter: str | None = None,
    tracking_uri: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> list[Run]:
    """Every run that a file, a folder, a tree of runs or a URI holds.

    Args:
        path: what to read.
        adapter: read only with the adapter of this name.
        tracking_uri: MLflow tracking server or store, for ``mlflow:`` URIs.
        on_problem: called for each source or folder that could not be read while others could.

    Raises:
        InputError: nothing could be read, and why.
        NothingToJudgeError: the folder holds no training log.
        UsageError: there is no such adapter.
    """
    problems: list[Problem] = []
    sources = discover(path, adapter=adapter, tracking_uri=tracking_uri, on_problem=problems.append)
    return settle(map(attempt, sources), path, problems=problems, on_problem=on_problem)


def discover(
    path: str | os.PathLike[str],
    *,
    adapter: str | None = None,
    tracking_uri: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> list[Source]:
    """The sources at a path, in path order, without reading them.

    Raises:
        InputError: the path does not exist, cannot be opened, or is a file that no adapter knows.
        UsageError: there is no such adapter.
    """
    report = on_problem or (lambda problem: None)
    chosen = None if adapter is None else registry.get(adapter)
    text = os.fspath(path)
    if not text:
        raise InputError("''", "is an empty path", "name a log, a folder or a URI")
    place = Path(text)
    if (match := _URI.match(text)) and not place.exists():
        return [_find_uri(text, match[1].lower(), chosen, tracking_uri)]
    try:
        is_folder = place.is_dir()
        if not is_folder and not place.exists():
            raise NothingThereError(text, "does not exist", "check the path")
    except (OSError, ValueError) as error:
        raise InputError(text, f"cannot be opened ({error})") from None
    if is_folder:
        return list(_search(place, chosen, report))
    return [_find_file(place, chosen, report)]


def is_uri(path: str) -> bool:
    """Whether this is no path here but a URI that an adapter reads."""
    match = _URI.match(path)
    if match is None or Path(path).exists():
        return False
    return any(match[1].lower() in adapter.schemes for adapter in registry.registry().adapters.values())


def _find_uri(uri: str, scheme: str, chosen: Adapter | None, tracking_uri: str | None) -> Source:
    adapters = [chosen] if chosen else list(registry.registry().adapters.values())
    for candidate in adapters:
        if scheme in candidate.schemes:
            return candidate.find_uri(uri, tracking_uri)
    known = sorted({scheme for candidate in adapters for scheme in candidate.schemes})
    raise InputError(uri, "is neither a path nor a URI that an adapter reads", f"known schemes: {', '.join(known) or 'none'}")


def _find_file(path: Path, chosen: Adapter | None, report: Callable[[Problem], None]) -> Source:
    """The source for a file: by adapters that its name suggests, then by any that knows its content."""
    if not path.is_file():
        raise InputError(path, "is neither a file nor a folder", "write it to a file first")
    try:
        with path.open("rb") as file:
            tolerant_json.refuse(path, file.read(4096))
    except OSError as error:
        raise tolerant_json.unreadable(path, error) from None
    if chosen is not None:
        if (source := chosen.find_file(path)) is not None:
            return source
        raise InputError(path, f"is nothing that the {chosen.name} adapter reads", "leave out --adapter or choose another")
    for found in _by_name_then_all(path.name):
        for candidate in found.adapters.values():
            if (source := candidate.find_file(path)) is not None:
                _report_broken(found, report)
                return source
    raise NothingThereError(path, "is not a training log that any adapter knows", "name the file the trainer logged its loss to")


def _by_name_then_all(name: str) -> Iterator[registry.Registry]:
    """The adapters that a name suggests; every one only when those did not know the file, since importing them takes time."""
    yield registry.wanted([name])
    yield registry.registry()


def _report_broken(found: registry.Registry, report: Callable[[Problem], None]) -> None:
    for name, reason in found.broken.items():
        report(Problem(name, f"adapter {name} could not be imported ({reason})", crashed=True))


def _search(base: Path, chosen: Adapter | None, report: Callable[[Problem], None]) -> Iterator[Source]:
    """Sources of every folder below ``base``; a file goes to the most faithful adapter that wants it."""
    claimed: dict[Path, str] = {}
    seen: set[tuple[str, tuple[Path, ...], str, tuple[tuple[str, str], ...]]] = set()
    broken: dict[str, str] = {}
    for folder in walk(base, report):
        if chosen is not None:
            adapters = [chosen]
        else:
            found = registry.wanted((folder.path.name, *folder.files, *folder.folders))
            adapters = list(found.adapters.values())
            _report_broken(found._replace(broken={name: why for name, why in found.broken.items() if name not in broken}), report)
            broken.update(found.broken)
        for candidate in adapters:
            try:
                sources = list(candidate.find(folder))
            except DiagError as error:
                report(problem_of(_shown(folder.path, base), error))
                continue
            except Exception as error:
                report(crash_of(candidate.name, _shown(folder.path, base), error))
                continue
            for source in sources:
                key = (source.adapter, source.files, source.uri, source.options)
                mine = not source.options and bool(source.files) and all(file in claimed for file in source.files)
                if key in seen or mine or any(claimed.get(file, source.adapter) != source.adapter for file in source.files):
                    continue
                seen.add(key)
                claimed.update(dict.fromkeys(source.files, source.adapter))
                yield source


def walk(base: Path, report: Callable[[Problem], None]) -> Iterator[Folder]:
    """Every folder from ``base`` down, parents first, names sorted, links after real folders, none twice."""
    visited: set[tuple[int, int]] = set()
    pending = [base]
    follows = True
    while pending:
        path = pending.pop()
        try:
            status = path.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in visited:
                continue
            visited.add(identity)
            files: list[str] = []
            folders: list[str] = []
            links: list[str] = []
            with os.scandir(path) as entries:
                for entry in entries:
                    try:
                        if entry.is_file():  # neither a pipe nor a socket, which would be waited for
                            files.append(entry.name)
                        elif entry.is_dir() and not entry.name.startswith(".") and entry.name not in _SKIPPED_FOLDERS:
                            (links if entry.is_symlink() else folders).append(entry.name)
                    except OSError:
                        continue
        except OSError as error:
            if path == base:
                raise tolerant_json.unreadable(path, error) from None
            report(Problem(_shown(path, base), f"cannot be read ({(error.strerror or type(error).__name__).lower()})"))
            continue
        if WORK_MARK in files:
            if path != base:
                continue
            follows = False
        folders.sort()
        links = sorted(links) if follows else []
        yield Folder(path, tuple(sorted(files)), tuple(folders + links))
        pending.extend(path / name for name in reversed(folders + links))


def attempt(source: Source) -> Reading:
    """Read a source; what goes wrong becomes the Reading's problem. Can run in another process."""
    where = without_credentials(source.uri) or str(source.files[0] if source.files else source.root)
    try:
        return Reading(source, read(source))
    except DiagError as error:
        return Reading(source, problem=problem_of(where, error))
    except Exception as error:
        return Reading(source, problem=crash_of(source.adapter, where, error))


def read(source: Source) -> list[Run]:
    """The runs of a source, with the hyperparameters of configs beside it.

    Raises:
        InputError: the source cannot be read.
    """
    from diag.adapters.repairs import repair
    from diag.configs import attach

    runs = registry.get(source.adapter).read(source)
    for run in runs:
        if not source.uri:
            run.root = str(Path(run.root or source.root).absolute())
            run.files = tuple(str(Path(file).absolute()) for file in run.files or source.files)
        attach(run, Path(run.root) if run.root else source.root)
        repair(run)
    return runs


def settle(
    readings: Iterable[Reading],
    path: str | os.PathLike[str],
    *,
    named: bool = False,
    problems: Sequence[Problem] = (),
    on_problem: Callable[[Problem], None] | None = None,
    freshest: bool = False,
) -> list[Run]:
    """The distinct runs of the readings, with unique ids and relative paths; of two formats of one run the more faithful one, or the
    one that has come furthest if ``freshest``.

    Args:
        readings: what was read.
        path: the file, folder or URI that was named; or the folder that files were named from.
        named: each file was named: a run in which nothing was logged is kept.
        problems: what could not be looked at.
        on_problem: called for each of these, and for each source that could not be read while others could.

    Raises:
        InputError: there were sources, but none could be read.
        NothingToJudgeError: there was nothing that looks like a training log.
    """
    done = list(readings)
    failed = list(problems) + [reading.problem for reading in done if reading.problem is not None]
    base = Path(os.fspath(path))
    runs = merged([run for reading in done for run in reading.runs], keep_empty=named or not base.is_dir(), freshest=freshest)
    if not runs:
        if failed:
            first = failed[0]
            more = f" (and {len(failed) - 1} more that cannot be read)" if len(failed) > 1 else ""
            if len(failed) == 1 and not first.crashed:
                raise _again(first)
            raise InputError(base, f"nothing could be read: {first.message}{more}")
        raise NothingToJudgeError(f"{base}: no training log was found here")
    if on_problem is not None:
        for problem in failed:
            on_problem(problem)
    _name(runs, base)
    return runs


def problem_of(path: str, error: DiagError) -> Problem:
    """The problem that an error tells of."""
    return Problem(without_credentials(path), _one_line(error), absent=isinstance(error, (NothingThereError, NothingToJudgeError)))


def _again(problem: Problem) -> DiagError:
    error = (NothingThereError if problem.absent else InputError)(problem.path, "")
    error.args = (problem.message,)
    return error


def crash_of(adapter: str, where: str, error: Exception) -> Problem:
    """The problem that an adapter crashed."""
    return Problem(where, f"{where}: the {adapter} adapter failed ({type(error).__name__}: {error})".replace("\n", " "), crashed=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _shown(path: Path, base: Path) -> str:
    return relative(path, base) if path != base else str(path)


def _name(runs: Sequence[Run], base: Path) -> None:
    """Give every run a path relative to ``base`` and a short unique id.

    An id is the first of these that no other run has: the run's folder, the name the source gave it or the folder that was
    read, the file that was read, that with a number.
    """
    folder = base if base.is_dir() else base.parent
    here = folder.absolute()
    for run in runs:
        path = Path(run.path)
        if path.is_relative_to(folder) or path.is_relative_to(here):
            run.path = relative(path.absolute(), here)
    names = [_proposals(run, here) for run in runs]
    wanted = Counter(name for proposals in names for name in set(proposals))
    used: Counter[str] = Counter()
    for run, proposals in zip(runs, names, strict=True):
        name = next((name for name in proposals if wanted[name] == 1), proposals[-1])
        used[name] += 1
        run.id = name if used[name] == 1 else f"{name}#{used[name]}"


def _proposals(run: Run, here: Path) -> list[str]:
    """Names for a run, short to long; ``here`` is the folder that was searched."""

    def shown(folder: Path) -> str:
        place = folder.absolute()
        if place != here and place.is_relative_to(here):
            return relative(place, here)
        return (place if place.name not in ("", "..") else place.resolve()).name or "run"

    if not run.root:
        return [name for name in (run.id, run.path) if name] or ["run"]
    folder = run_folder(run)
    home = shown(folder)
    if not run.id:
        names = [home, shown(Path(run.root))]
    elif here != folder.absolute() and here.is_relative_to(folder.absolute()):  # the user pointed at one run of a store
        names = [run.id, home]
    else:
        names = [home, run.id, f"{home}/{run.id}"]
    return [*names, run.path or home]
