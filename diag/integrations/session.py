"""One training that is judged from within: what the callbacks of all libraries share."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from diag.adapters.records import is_loss
from diag.analysis import checked
from diag.check import Finding
from diag.errors import UsageError
from diag.report import Layout, formats, renderer
from diag.result import Report, RunReport
from diag.run import Hyperparameter, Run
from diag.terminal import safe
from diag.vocabulary import ERROR, INFO, WARNING
from diag.watching.events import Event, Found, Trouble
from diag.watching.monitor import Monitor
from diag.watching.pace import Pace
from diag.watching.stopping import StopRule

LOGGER: Final = logging.getLogger("diag")
LEVELS: Final = {ERROR: logging.ERROR, WARNING: logging.WARNING, INFO: logging.INFO}
SHARE: Final = 0.02
"""Share of the training's time that judging may take: a look costs milliseconds, and more the longer the log is."""
URGENT_SHARE: Final = 0.2
"""The same for looks at a value that is not finite, the first of which is never put off."""
SUFFIXES: Final = {"": "text", "txt": "text", "md": "markdown", "xml": "junit"}
"""Format of a report by the end of its file's name, where that is not the format's own name."""

OnFinding = Callable[[Finding, RunReport], object]
"""Called with each new finding and the run as it was judged then."""


class Session:
    """Judges a training as it logs, tells what is new, and says when to stop. Nothing that goes wrong here reaches the training.

    Args:
        stop_on: verdicts, severities or codes of findings at error to stop on (``diag.watching.stopping``); None for never.
        on_finding: called with each new finding.
        write_report: file for the report, its format by the end of the name; written at each finding and at the end.
        settings: ``select``, ``ignore``, ``method``, ``model_parameters``, ``dataset_size``, ``dialect``, ``profile``, ``thresholds`` of
            ``diag.analyze``.

    Raises:
        UsageError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        stop_on: str | Iterable[str] | None = None,
        on_finding: OnFinding | None = None,
        write_report: str | Path | None = None,
        **settings: Any,
    ) -> None:
        self._stop = StopRule.parse(stop_on)
        self._settings = checked(**settings)
        self._on_finding = on_finding
        self._file = None if write_report is None else Path(write_report)
        self._format = "" if self._file is None else format_of(self._file)
        self.can_stop = self._stop != StopRule.parse(None)
        self.begin()
        self._is_going_on = False

    def begin(self) -> None:
        """A training begins: forget what was seen of another."""
        self._is_going_on = True
        self._monitor = Monitor(lambda run: self._settings)
        self._pace, self._urgent = Pace(SHARE), Pace(URGENT_SHARE)
        self._is_broken = False
        self._is_lost = False
        self.stopped = ""

    @property
    def report(self) -> RunReport | None:
        """The run as it was judged last, None before the first look."""
        return self._monitor.report

    def logged(self, make_run: Callable[[], Run], *, nonfinite: bool = False) -> bool:
        """Something was logged; before and after the training (an evaluation by itself) nothing is made of it.

        Args:
            make_run: makes the run so far; called only if there is time for a look.
            nonfinite: whether a loss or gradient norm of it was NaN or infinite.

        Returns:
            Whether the training should stop.
        """
        pace = self._urgent if nonfinite and not self._is_lost else self._pace
        if self._is_going_on and pace.is_due:
            began = time.monotonic()
            self.guarded(lambda: self._look(make_run(), ended=False))
            pace.worked(began)
            self._is_lost |= nonfinite and self.stopped != ""
        return self.stopped != ""

    def ended(self, make_run: Callable[[], Run]) -> None:
        """The training is over: say what only its end can show, and write the report."""
        self._is_going_on = False
        self.guarded(lambda: self._look(make_run(), ended=True))
        self.guarded(self._write)
        if (report := self.report) is not None and not self._is_broken:
            LOGGER.info("%s, %.0f%% confident", report.diagnosis.verdict, 100 * report.diagnosis.confidence)

    def guarded(self, what: Callable[[], None]) -> None:
        """Do what may go wrong without harm to the training: it is told once, and the callback is quiet from then on."""
        if self._is_broken:
            return
        try:
            what()
        except Exception:
            self._is_broken = True
            LOGGER.exception("diag failed and says no more of this training, which goes on")

    def _look(self, run: Run, *, ended: bool) -> None:
        events = self._monitor.see(run, ended=ended)
        for event in events:
            self._tell(event)
        report = self.report
        if report is None:
            return
        if any(isinstance(event, Found) for event in events):
            self._write()
        reason = self._stop.reason(report.diagnosis.verdict, report.findings)
        if reason and not self.stopped and not ended:
            LOGGER.error("stopping the training at step %d: %s", run.steps, safe(reason))
        self.stopped = self.stopped or reason

    def _tell(self, event: Event) -> None:
        if isinstance(event, Trouble):
            LOGGER.warning("%s", safe(event.problem.message))
        if not isinstance(event, Found):
            return
        finding = event.finding
        LOGGER.log(LEVELS[finding.severity], "%s %s: %s", finding.code, finding.name, safe(finding.message))
        if self._on_finding is not None:
            self._on_finding(finding, event.report)

    def _write(self) -> None:
        if self._file is None or self.report is None:
            return
        content = renderer(self._format)(Report((self.report,)), Layout.of_file())
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def format_of(file: Path) -> str:
    """The report format that the end of a file's name asks for.

    Raises:
        UsageError: none does.
    """
    suffix = file.suffix.lstrip(".").lower()
    name = SUFFIXES.get(suffix, suffix)
    if name not in formats():
        raise UsageError(f"write_report {file}: no report format is called {name}; there are {', '.join(formats())}")
    return name


def known(**values: Any) -> dict[str, Hyperparameter]:
    """Hyperparameters that the training itself tells, without those that are None."""
    return {name: Hyperparameter(value, file="the training") for name, value in values.items() if value is not None}


def holds_nonfinite(logs: Mapping[str, Any]) -> bool:
    """Whether a loss or the gradient norm of a row is NaN or infinite."""
    numbers = ((key, value) for key, value in logs.items() if isinstance(value, float) and not math.isfinite(value))
    return any(is_loss(key) or key == "grad_norm" for key, _ in numbers)


def parameters(model: Any) -> float | None:
    """Parameters of a model, those of shards that lie elsewhere (DeepSpeed) included; None if they cannot be counted."""
    try:
        return float(sum(int(getattr(one, "ds_numel", None) or one.numel()) for one in model.parameters())) or None
    except (AttributeError, TypeError, ValueError):
        return None


def samples(loader: Any) -> int | None:
    """Samples that a data loader goes through in an epoch, None if it does not know."""
    try:
        return len(loader.dataset) or None
    except (AttributeError, TypeError, NotImplementedError):
        return None
