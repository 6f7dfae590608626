"""What installed packages register under diag's entry point groups.

``importlib.metadata`` answers the same question, but importing it (with ``email``, ``zipfile`` and ``socket``) takes a good part of the
time in which a small log is read and judged, and a hook in a commit is run many times. So ``entry_points.txt`` is read here directly,
as the packaging specification describes it, and ``importlib.metadata`` is asked only where packages do not lie in plain folders.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, reduce
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

PREFIX = "diag."
"""Beginning of the groups that are of interest."""


class Point(NamedTuple):
    """An entry point: ``value`` is ``module:attribute`` or ``module``."""

    group: str
    name: str
    value: str

    def load(self) -> Any:
        """Import what it names."""
        module, _, attribute = self.value.partition("[")[0].strip().partition(":")
        return reduce(getattr, [part for part in attribute.strip().split(".") if part], import_module(module.strip()))


class Broken(NamedTuple):
    """A plug-in that cannot be used: its entry point, and why, on one line."""

    point: Point
    reason: str

    @property
    def message(self) -> str:
        """What is wrong and what to do."""
        group, name, value = self.point
        return f"the plug-in {name!r} of {group} ({value}) cannot be used ({self.reason}); mend or uninstall it"


def use(entries: Iterable[Point], how: Callable[[Any], T]) -> tuple[dict[Point, T], list[Broken]]:
    """Load entry points, and make use of what they name; one that fails, in whatever way, does not take the others down.

    Args:
        entries: what to load.
        how: what to do with what an entry point names.

    Returns:
        What ``how`` made of each, and those that failed.
    """
    made: dict[Point, T] = {}
    broken: list[Broken] = []
    for point in entries:
        try:
            made[point] = how(point.load())
        except (Exception, SystemExit) as error:  # a stranger's package may do anything when it is imported
            broken.append(Broken(point, " ".join(f"{type(error).__name__}: {error}".split())))
    return made, broken


def points(group: str) -> dict[str, Point]:
    """The entry points of a group by name, in name order; of two with one name the last in value order."""
    return {point.name: point for point in sorted(_all()) if point.group == group}


def forget() -> None:
    """Read the metadata anew, after packages were installed or removed."""
    _all.cache_clear()


@lru_cache(maxsize=1)
def _all() -> tuple[Point, ...]:
    """Every entry point of our groups in the environment, read once."""
    if any(hasattr(finder, "find_distributions") for finder in sys.meta_path if finder is not PathFinder) or any(map(_is_file, sys.path)):
        from importlib.metadata import distributions

        found: dict[str, list[Point]] = {}
        for distribution in distributions():
            entries = [Point(entry.group, entry.name, entry.value) for entry in distribution.entry_points if entry.group.startswith(PREFIX)]
            found.setdefault(_normalized(distribution.metadata["Name"] or ""), entries)
        return tuple({point for entries in found.values() for point in entries})
    return tuple({point for text in _texts() for point in _parse(text)})


def _is_file(path: str) -> bool:
    """Whether an entry of ``sys.path`` is an archive rather than a folder."""
    return os.path.isfile(path)  # noqa: PTH113 (pathlib is slower, and this runs at every start)


def _normalized(name: str) -> str:
    """The name of a distribution as names are compared."""
    return name.lower().replace("-", "_").replace(".", "_")


def _texts() -> Iterator[str]:
    """The ``entry_points.txt`` of every installed distribution; of two copies of one distribution the first on the path counts."""
    seen: set[str] = set()
    for path in sys.path:
        try:
            names = sorted(os.listdir(path or "."))  # noqa: PTH208 (as above)
        except OSError:
            continue
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            distribution = _normalized(stem.partition("-")[0])
            if suffix not in ("dist-info", "egg-info") or not dot or distribution in seen:
                continue
            seen.add(distribution)
            try:
                with open(os.path.join(path or ".", name, "entry_points.txt"), encoding="utf-8") as file:  # noqa: PTH118, PTH123 (as above)
                    text = file.read()
            except (OSError, UnicodeDecodeError):
                continue
            if f"[{PREFIX}" in text:
                yield text


def _parse(text: str) -> Iterator[Point]:
    """The entry points of our groups in the text of an ``entry_points.txt``."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif "=" in line and group.startswith(PREFIX) and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield Point(group, name.strip(), value.strip())
