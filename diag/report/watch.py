"""What ``diag watch`` shows: one JSON line an event, or on a terminal a view that is drawn again and again."""

from __future__ import annotations

import sys
import time
from json import dumps
from typing import TYPE_CHECKING, Any, Final, Protocol

from diag.report import Layout
from diag.report.text import finding_lines, headline
from diag.terminal import pad, paint, safe, to_ascii, wrap
from diag.text import counted, show
from diag.vocabulary import ERROR, SEVERITIES
from diag.watching.events import REASONS, Finished, Found, Progress, Resolved, Started, Trouble, VerdictChanged

if TYPE_CHECKING:
    from diag.result import RunReport
    from diag.watching.events import Event

REDRAWN: Final = 2.0
"""Times a second that the view is drawn anew, for the seconds it counts."""
INDENT: Final = "  "


class View(Protocol):
    """Shows events as they come."""

    def __enter__(self) -> View: ...

    def __exit__(self, *error: object) -> None: ...

    def show(self, event: Event) -> None:
        """Show one event."""


class JsonLines:
    """One strict JSON object a line on stdout, flushed; ``diag/report/watch_schema.json`` describes them.

    Args:
        fail_on: the gate.
    """

    def __init__(self, fail_on: str = ERROR) -> None:
        self._fail_on = fail_on

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Print the event."""
        content = event.to_dict(self._fail_on) if isinstance(event, Finished) else event.to_dict()
        sys.stdout.write(dumps(content, allow_nan=False) + "\n")
        sys.stdout.flush()


class LiveView:
    """Verdict so far, curve and newest values, drawn in place; above them, findings as they come, which stay.

    Args:
        path: what is watched.
    """

    def __init__(self, path: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._path = path
        self._report: RunReport | None = None
        self._latest: dict[str, float] = {}
        self._advanced = time.monotonic()
        self._stream = sys.stdout
        self._console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            refresh_per_second=REDRAWN,
            get_renderable=self._drawn,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def show(self, event: Event) -> None:
        """Take an event into the view; what is news is printed above it and stays."""
        if isinstance(event, Progress | Started):
            self._advanced = time.monotonic()
        if isinstance(event, Progress):
            self._latest = dict(event.latest)
        if not isinstance(event, Trouble) and event.report is not None:
            self._report = event.report
        lines = list(news(event, Layout.of_stream(self._stream)))
        if lines:
            self._console.print(_styled(lines))
        self._live.refresh()

    def _drawn(self) -> Any:
        layout = Layout.of_stream(self._stream)
        seconds = counted(int(time.monotonic() - self._advanced), "second")
        if self._report is None:
            return _styled([_clean(f"waiting for a log at {self._path}, {seconds}", layout)])
        return _styled([*headline(self._report, layout), *status(self._report, self._latest, seconds, layout)])


def status(report: RunReport, latest: dict[str, float], seconds: str, layout: Layout) -> list[str]:
    """The newest values, how far the run is, and how long ago it went on."""
    separator = " · " if layout.unicode else " | "
    values = separator.join(f"{safe(name)} {show(value)}" for name, value in latest.items())
    run = report.run
    done = f"step {run.steps:,}" + (f" of {run.planned_steps:,} ({run.steps / run.planned_steps:.0%})" if run.planned_steps else "")
    found = [finding.severity for finding in report.findings]
    counts = ", ".join(counted(found.count(severity), severity) for severity in reversed(SEVERITIES) if severity in found)
    facts = separator.join((done, f"{seconds} ago", counts or "no findings so far"))
    return ["", *(INDENT + pad(_clean(line, layout), layout.width - len(INDENT)).rstrip() for line in (values, facts) if line)]


def news(event: Event, layout: Layout) -> list[str]:
    """What of an event stays on the terminal; nothing of mere progress."""
    if isinstance(event, Found):
        return finding_lines(event.finding, layout)
    if isinstance(event, Resolved):
        return [_clean(f"{INDENT}{event.finding.code} {event.finding.name} is resolved at step {event.report.run.steps:,}", layout)]
    if isinstance(event, VerdictChanged):
        arrow = "→" if layout.unicode else "->"
        return [_bold(f"{INDENT}{event.previous} {arrow} {event.report.diagnosis.verdict} at step {event.report.run.steps:,}", layout)]
    if isinstance(event, Trouble):
        return wrap(_clean(f"{event.problem.path}: {event.problem.message}", layout), layout.width)
    if isinstance(event, Finished):
        said = f"{REASONS[event.reason]}: {event.detail}" if event.detail else REASONS[event.reason]
        return [_bold(line, layout) for line in wrap(_clean(f"{said[0].upper()}{said[1:].rstrip('.')}.", layout), layout.width)]
    return []


def _clean(text: str, layout: Layout) -> str:
    return safe(text) if layout.unicode else to_ascii(safe(text))


def _bold(text: str, layout: Layout) -> str:
    return paint(text, "bold") if layout.colour else text


def _styled(lines: list[str]) -> Any:
    """Lines with our own colours in them, as rich takes them; nothing else in them is a control sequence."""
    from rich.text import Text

    return Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop")
