"""Dialects: one framework's config keys, read to canonical hyperparameters and written back as overrides.

A dialect is found through the ``diag.dialects`` entry point group; the entry point names an object with the attributes
of ``Dialect``. The facts are tables (``*.tsv``, see ``diag.dialects.table``), the modules hold what a table cannot say:
companions that must change together, settings a framework refuses, what it can only do in code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from diag import plugins
from diag.dialects.table import DETECTION_SCORE, Reading, scores

if TYPE_CHECKING:
    from diag.fixes import Fix
    from diag.run import Run


@dataclass(frozen=True, slots=True)
class Overrides:
    """The first prescription in the words of a framework.

    Attributes:
        dialect: whose words.
        arguments: command-line tokens to append to the launch command; empty where the framework takes none.
        config: the keys to change, nested as in the config file; JSON values only.
        code: Python for what no key can say, "" for none.
        notes: what could not be written as a key, what had to change along, what to mind.
    """

    dialect: str
    arguments: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object in the JSON report; ``code`` and ``notes`` only where there are some."""
        report: dict[str, Any] = {"dialect": self.dialect, "arguments": list(self.arguments), "config": self.config}
        if self.code:
            report["code"] = self.code
        if self.notes:
            report["notes"] = list(self.notes)
        return report

    def to_yaml(self) -> str:
        """``config`` as YAML whose floats every YAML parser reads as numbers; "" for an empty one."""
        from diag.dialects.draft import yaml_lines

        return "".join(f"{line}\n" for line in yaml_lines(self.config))


class Dialect(Protocol):
    """What a dialect object offers."""

    name: str

    def detect(self, flat: Mapping[str, Any]) -> int:
        """How telling the keys of a flat config (dotted key to value) are; DETECTION_SCORE and above count as its own."""
        ...

    def read(self, flat: Mapping[str, Any]) -> dict[str, Reading]:
        """Canonical hyperparameters of a flat config."""
        ...

    def render(self, run: Run, fixes: Sequence[Fix]) -> Overrides:
        """The fixes as overrides for this run; all of them apply together."""
        ...


def detect(flat: Mapping[str, Any]) -> str:
    """Name of the dialect that a flat config (dotted keys) is written in, ``generic`` where no framework's keys stand out."""
    found = scores(flat)
    if max(found.values(), default=0) < DETECTION_SCORE:
        for name, dialect in _strangers()[0].items():
            found[name] = dialect.detect(flat)
    best = max(found.items(), key=lambda item: item[1], default=("generic", 0))
    return best[0] if best[1] >= DETECTION_SCORE else "generic"


def load(name: str) -> Dialect:
    """The dialect of that name; the generic one, writing in its table's keys, for a name that has no module of its own."""
    from diag.dialects.generic import GenericDialect
    from diag.dialects.recognition import DIALECTS

    if name in _registered():
        return _load(name)
    if name in DIALECTS and find_spec(f"diag.dialects.{name}"):  # an installation whose entry points are older than its modules
        built_in: Dialect = import_module(f"diag.dialects.{name}").DIALECT
        return built_in
    return GenericDialect(name)


def render(name: str, run: Run, fixes: Sequence[Fix]) -> Overrides:
    """The first prescription in the words of a dialect.

    Args:
        name: the dialect.
        run: the run; its own native keys are used where its config has them.
        fixes: changes in order; those of rank 1 are rendered, together.
    """
    return load(name).render(run, [fix for fix in fixes if fix.rank == 1])


@cache
def _registered() -> dict[str, plugins.Point]:
    return plugins.points("diag.dialects")


def broken() -> tuple[plugins.Broken, ...]:
    """The plug-ins of dialects that cannot be used."""
    return _strangers()[1]


@cache
def _strangers() -> tuple[dict[str, Dialect], tuple[plugins.Broken, ...]]:
    entries = [entry for entry in _registered().values() if not entry.value.startswith("diag.dialects.")]
    made: dict[plugins.Point, Dialect]
    made, unusable = plugins.use(entries, lambda dialect: dialect)
    return {point.name: dialect for point, dialect in made.items()}, tuple(unusable)


@cache
def _load(name: str) -> Dialect:
    dialect: Dialect = _registered()[name].load()
    return dialect
