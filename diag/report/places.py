"""Where a finding stands: the line to change, or the line of the log that shows it.

A place to click on, for reports that are shown beside files: first the config line that the first prescription would change, then the log
at the row in which the finding begins, then the file that declares the gate. Files of the repository come before others, which no platform
shows; all places of a finding are kept. Paths are relative to the root of the repository (the working directory where there is none), with
links resolved, as code scanning does not follow them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from diag.adapters import lines
from diag.terminal import safe

if TYPE_CHECKING:
    from diag.check import Finding
    from diag.fixes import Fix
    from diag.lint import Violation
    from diag.linting import ConfigReport
    from diag.result import RunReport
    from diag.run import Hyperparameter, Run

CONFIG: Final = "config"
LOG: Final = "log"
GATE: Final = "gate"
RUN: Final = "run"

CLIMB: Final = 3
"""Folders above a run's own in which its config may lie, as ``diag.configs`` climbs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, or a run that has no file.

    Attributes:
        kind: ``config`` (the line to change), ``log`` (the line that shows it), ``gate`` (the file that declares the gate) or ``run``.
        path: relative to the root of the repository, with forward slashes; for a file elsewhere the run's id and the path in its folder.
        file: absolute path on this machine, "" for a run that has no file.
        inside: whether the file is below the root of the repository.
        line, column: from 1.
        end_column: behind the last character that belongs to it, on the same line.
    """

    kind: str
    path: str
    file: str = ""
    inside: bool = False
    line: int = 1
    column: int = 1
    end_column: int = 1

    @property
    def shown(self) -> str:
        """The path with everything in it that is not to be printed shown as an escape."""
        return safe(self.path)


class Base:
    """The folder that paths are told from.

    Attributes:
        root: the repository that holds the working directory, or the working directory; absolute, links resolved.
    """

    def __init__(self, folder: Path | None = None) -> None:
        here = (folder or Path.cwd()).resolve()
        self.root = next((parent for parent in (here, *here.parents) if (parent / ".git").exists()), here)

    def place(self, kind: str, file: str | os.PathLike[str], otherwise: str, line: int = 1, column: int = 1, width: int = 0) -> Place:
        """A place in a file; ``otherwise`` is what to call the file where it lies elsewhere, ``width`` its line's characters."""
        path = Path(os.path.realpath(file))  # pathlib's resolve() raises where links form a loop
        inside = path.is_relative_to(self.root)
        shown = path.relative_to(self.root).as_posix() if inside else otherwise
        return Place(kind, shown, str(path), inside, max(line, 1), max(column, 1), max(width + 1, column, 1))


def best_first(places: Iterable[Place]) -> tuple[Place, ...]:
    """Places without repetitions; those that a platform can show come first, otherwise as they came."""
    distinct = list(dict.fromkeys(places))
    return tuple(sorted(distinct, key=lambda place: not place.inside))


def gate_places(declared_in: str, base: Base) -> list[Place]:
    """The file that declares the gate, if it is known."""
    return [base.place(GATE, declared_in, Path(declared_in).name)] if declared_in else []


class _Point(NamedTuple):
    """A point of a curve: the metric's native name, whether it is an evaluation, step, value, and how far into the curve, in [0, 1]."""

    native: str
    is_evaluation: bool
    step: int
    value: float
    share: float


class RunPlaces:
    """Places in the files of one run; its logs are read again when the first one is asked for, and once.

    Args:
        entry: the run's report.
        base: what paths are told from.
        declared_in: the file that declares the gate, "" if it is not known.
        with_lines: whether lines are wanted; without, nothing is read.
    """

    def __init__(self, entry: RunReport, base: Base, declared_in: str = "", *, with_lines: bool = True) -> None:
        self._entry = entry
        self._base = base
        self._gate = gate_places(declared_in, base)
        self._with_lines = with_lines

    @property
    def run(self) -> Run:
        """The run whose places these are."""
        return self._entry.run

    def of(self, finding: Finding) -> tuple[Place, ...]:
        """Every place of a finding, the best one first."""
        found = [*self._configs(finding), self._log(finding), *self._gate]
        return best_first(place for place in found if place is not None) or (self.home,)

    @property
    def home(self) -> Place:
        """The run as a whole: its log, or its name where it has no file."""
        if self.run.files:
            return self._base.place(LOG, self.run.files[0], self._elsewhere(self.run.files[0]))
        return Place(RUN, self.run.path or self.run.id)

    # --- the config -----------------------------------------------------------------------------------------------

    def _configs(self, finding: Finding) -> Iterator[Place]:
        for fix in self._entry.fixes:
            if fix.rank == 1 and fix.because == finding.code and (place := self._config(fix)) is not None:
                yield place

    def _config(self, fix: Fix) -> Place | None:
        """Where a fix would be written, None where its value was not read from a config file that is there."""
        known = self.run.config.get(fix.key) if fix.key else self.run.hyperparameters.get(fix.parameter)
        file = None if known is None or known.kind != "file" else self._config_file(known)
        if file is None or known is None:
            return None
        width = self._config_width(file, known.line)
        return self._base.place(CONFIG, file, self._elsewhere(file), known.line, 1, width)

    def _config_file(self, known: Hyperparameter) -> str | None:
        """The file a hyperparameter was read from; none of the logs, as changing a log changes nothing."""
        root = Path(self.run.root) if self.run.root else None
        if root is None or not known.file:
            return None
        for folder in (root, *list(root.parents)[:CLIMB]):
            path = os.path.normpath(folder / known.file)
            if path in self.run.files:
                return None
            if os.path.isfile(path):  # noqa: PTH113 (normpath gave a str)
                return path
        return None

    def _config_width(self, file: str, line: int) -> int:
        """Characters on a line of a config, 0 if it cannot be told."""
        if not self._with_lines or line < 1:
            return 0
        try:
            with Path(file).open(encoding="utf-8", errors="replace") as stream:
                text = stream.read(lines.MAX_BYTES)
        except OSError:
            return 0
        rows = text.split("\n")
        return len(rows[line - 1]) if line <= len(rows) else 0

    # --- the log --------------------------------------------------------------------------------------------------

    def _log(self, finding: Finding) -> Place | None:
        """The line of the log in which the finding begins; line 1 where it has none."""
        if not self.run.files:
            return None
        if (told := self._told(finding)) is not None:
            return told
        if (at := self._point(finding)) is not None:
            # the log of the evaluations is read behind that of the training, whose columns may have the same names
            for file, log in reversed(self._logs.items()) if at.is_evaluation else self._logs.items():
                if line := lines.locate(log.points.get(at.native, []), at.step, at.value, at.share):
                    return self._in_log(file, log, line)
        return self.home

    def _told(self, finding: Finding) -> Place | None:
        """The line that the finding itself names, as those of crashes do."""
        name, line = finding.evidence.get("file"), finding.evidence.get("line")
        if not isinstance(name, str) or not isinstance(line, int) or line < 1:
            return None
        file = next((file for file in self.run.files if Path(file).name == Path(name).name), None)
        if file is None:
            return None
        log = self._logs.get(file)
        return self._base.place(LOG, file, self._elsewhere(file), line) if log is None else self._in_log(file, log, line)

    def _in_log(self, file: str, log: lines.TextLog, line: int) -> Place:
        line = log.clipped(line)
        return self._base.place(LOG, file, self._elsewhere(file), line, 1, log.width(line))

    def _point(self, finding: Finding) -> _Point | None:
        """The point of a curve in which a finding begins."""
        run = self.run
        step = finding.step_start if finding.step_start is not None else finding.step_end
        metric = finding.metric if finding.metric in run.curves else "train/loss"
        curve = run.curves.get(metric)
        if curve is None or not len(curve) or (step is None and not finding.metric):
            return None
        index = 0 if step is None else min(int(np.searchsorted(curve.step, step)), len(curve) - 1)
        native = run.native_names.get(metric, metric).split(" + ")[0]  # a sum of losses begins where its first part does
        return _Point(native, metric.startswith("eval/"), int(curve.step[index]), float(curve.value[index]), index / max(len(curve) - 1, 1))

    @cached_property
    def _logs(self) -> dict[str, lines.TextLog]:
        """The run's text logs, with the points of the metrics that its findings are about."""
        if not self._with_lines:
            return {}
        findings = [*self._entry.findings, *(accepted.finding for accepted in self._entry.accepted)]
        names = list(dict.fromkeys(point.native for finding in findings if (point := self._point(finding)) is not None))
        logs: dict[str, lines.TextLog] = {}
        for file in self._text_files(names):
            if (log := lines.read(Path(file), self.run.adapter, names)) is not None:
                logs[file] = log
        return logs

    def _text_files(self, names: Sequence[str]) -> Sequence[str]:
        """The files that values stand in: those that were read, or for an MLflow file store one a metric."""
        if self.run.adapter != "mlflow":
            return self.run.files
        folder = Path(self.run.root) / "metrics"
        return [str(path) for name in names if (path := folder / name).is_file()]

    def _elsewhere(self, file: str) -> str:
        """What to call a file that lies outside the repository: the run, and the path below its folder."""
        path, root = Path(file), Path(self.run.root)
        return f"{self.run.id}/{path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name}"


def of_violation(violation: Violation, entry: ConfigReport, base: Base, declared_in: str = "") -> tuple[Place, ...]:
    """The place of a lint finding, then the file that declares the gate; a config that was piped in has no file."""
    document = entry.plan.document
    rows = document.text.split("\n")
    width = len(rows[violation.line - 1].rstrip("\r")) if violation.line <= len(rows) else 0
    if not entry.file.is_file():
        own = Place(CONFIG, document.path, "", False, violation.line, violation.column, max(width + 1, violation.column))
    else:
        own = base.place(CONFIG, entry.file, entry.file.name, violation.line, violation.column, width)
    return best_first([own, *gate_places(declared_in, base)])
