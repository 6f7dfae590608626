"""What installed packages register under diag's entry point groups; the metadata of the environment is read once."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import cast


def points(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, in name order; of two with one name the last in value order."""
    return {point.name: point for point in sorted(_all().select(group=group), key=lambda point: (point.name, point.value))}


def forget() -> None:
    """Read the metadata anew, after packages were installed or removed."""
    _all.cache_clear()


@lru_cache(maxsize=1)
def _all() -> EntryPoints:
    # Python 3.11 types the result as SelectableGroups, a name that 3.12 no longer has; both select by group.
    return cast(EntryPoints, entry_points())
