"""The adapters that are installed, found through the ``diag.adapters`` entry point group.

Importing every adapter would take longer than judging a small log, so a built-in one is imported only where a name
suggests that it is needed; a stranger's always.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final, NamedTuple

from diag import plugins
from diag.adapters import Adapter
from diag.errors import UsageError
from diag.plugins import Point

GROUP: Final = "diag.adapters"

ATTRIBUTES: Final = ("name", "fidelity", "schemes", "find", "find_file", "read")
"""What every adapter has; ``find_uri`` only where there are schemes."""

_NAMES: Final = {
    "trainer_state": re.compile(r".*\.json|checkpoint-\d+", re.IGNORECASE),
    "wandb": re.compile(r".*\.wandb|wandb-summary\.json|(offline-)?run-\d{8}_\d{6}-.*"),
    "mlflow": re.compile(r"meta\.yaml|.*\.(db|sqlite3?)", re.IGNORECASE),
    "csv": re.compile(r".*\.(csv|tsv|txt|log)", re.IGNORECASE),
    "jsonl": re.compile(r".*\.(jsonl|ndjson|txt|log)", re.IGNORECASE),
    "tensorboard": re.compile(r".*tfevents.*|train(ing)?|valid(ation)?|val|eval(uation)?|test|dev", re.IGNORECASE),
    "json_history": re.compile(r"(?!trainer_state|.*config|.*args).*\.json", re.IGNORECASE),
    "console": re.compile(r".*\.(log|out|txt|err|stdout|stderr|[oe]\d+)|stdout|stderr|log|output|console", re.IGNORECASE),
}
"""Names of files and folders that a built-in adapter's ``find`` looks at."""


class Registry(NamedTuple):
    """Adapters by name, most faithful first, and the names of those that failed to import, with the reason."""

    adapters: dict[str, Adapter]
    broken: dict[str, str]


def registry(names: Iterable[str] | None = None) -> Registry:
    """Import and return every registered adapter, or those named; one that fails does not break the others.

    Raises:
        UsageError: none is registered, as in a source tree that was never installed.
    """
    adapters: dict[str, Adapter] = {}
    broken: dict[str, str] = {}
    for name in _points() if names is None else names:
        loaded = _imported(name)
        if isinstance(loaded, str):
            broken[name] = loaded
        else:
            adapters[name] = loaded
    ordered = sorted(adapters.items(), key=lambda item: (-item[1].fidelity, item[0]))
    return Registry(dict(ordered), broken)


def wanted(names: Iterable[str]) -> Registry:
    """The adapters that may have something to find where files and folders of these names lie.

    Raises:
        UsageError: no adapter is registered.
    """
    present = list(names)
    return registry(
        name for name in _points() if (pattern := _NAMES.get(name)) is None or any(pattern.fullmatch(entry) for entry in present)
    )


def get(name: str) -> Adapter:
    """The adapter of that name.

    Raises:
        UsageError: there is none, or it cannot be imported.
    """
    points = _points()
    if name not in points:
        raise UsageError(f"no adapter is called {name}; there are {', '.join(sorted(points))}")
    loaded = _imported(name)
    if isinstance(loaded, str):
        raise UsageError(f"adapter {name} cannot be imported ({loaded})")
    return loaded


@lru_cache(maxsize=1)
def _points() -> dict[str, Point]:
    points = plugins.points(GROUP)
    if not points:
        raise UsageError("no adapters are registered; install the package (pip install -e .)")
    return points


@cache
def _imported(name: str) -> Adapter | str:
    """The adapter, or why it cannot be imported."""
    point = _points()[name]
    made: dict[Point, Adapter]
    made, broken = plugins.use([point], _whole)
    return broken[0].reason if broken else made[point]


def _whole(adapter: Adapter) -> Adapter:
    """An adapter that has all that is asked of one.

    Raises:
        TypeError: it has not.
    """
    missing = [name for name in ATTRIBUTES if not hasattr(adapter, name)]
    if missing:
        raise TypeError(f"it has no {', '.join(missing)}")
    return adapter


def forget() -> None:
    """Look the adapters up anew, after packages were installed or removed."""
    plugins.forget()
    _points.cache_clear()
    _imported.cache_clear()
