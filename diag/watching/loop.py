"""One watch: when to look at the log, and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from diag import loading
from diag.result import Problem
from diag.run import Run
from diag.watching import events
from diag.watching.events import Event, Finished, Progress, Started, Trouble
from diag.watching.follow import Follower, Key, Look
from diag.watching.monitor import Monitor
from diag.watching.pace import Pace
from diag.watching.processes import Process
from diag.watching.stopping import StopRule

INTERVAL: Final = 1.0
"""Seconds between two looks at whether something was written."""
PROGRESS: Final = 10.0
"""Seconds between two reports of progress."""
WAIT: Final = 600.0
"""Seconds to wait for a log: a large model takes minutes from its start to its first logged step."""
SHARE: Final = 0.2
"""Share of the time that reading and judging may take; the training may need the processor."""
GLANCE_SHARE: Final = 0.1
"""The same for the newest rows alone, while the whole log may not be read again yet."""
CHECK_SHARE: Final = 0.1
"""The same for asking every file whether it has changed, which takes long in a tree of many."""
REMOTE_INTERVAL: Final = 10.0
"""Seconds between two looks at a server, which is asked for the whole run each time."""
QUIET: Final = 3.0
"""Seconds in which nothing more was written after the log said that training ended: a last evaluation may follow."""
CRASH_QUIET: Final = 60.0
"""The same after a crash, which may be caught, or answered with a new start."""
PATIENCE: Final = 5.0
"""Seconds for which something must stay unreadable before that is told: half a header is no log yet."""
LATEST: Final = ("train/loss", "lr", "grad_norm", "reward", "kl")
"""Metrics whose newest value is reported, beside every evaluation loss."""


class Limits(NamedTuple):
    """When to look and when to end, in seconds; None for never. ``diag.watching.watch`` says what they are."""

    interval: float = INTERVAL
    progress: float = PROGRESS
    wait: float = WAIT
    until_idle: float | None = None
    timeout: float | None = None


class Reader(threading.Thread):
    """Reads the log beside the loop, which goes on to look at its newest rows where that takes long."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(name="diag-reader", daemon=True)  # an interrupt need not wait for it
        self.began = time.monotonic()
        self._follower = follower
        self._look: Look | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Read; called by ``start``."""
        try:
            self._look = self._follower.look()
        except BaseException as error:  # raised again where the look is taken
            self._error = error

    def look(self, seconds: float | None = None) -> Look | None:
        """What was seen, None if that takes longer than so many more seconds."""
        self.join(seconds)
        if self._error is not None:
            raise self._error
        return self._look


class Loop:
    """Looks, tells, rests, until it is over.

    Args:
        follower: reads the log.
        make_monitor: makes what judges a run, anew for each run that is followed.
        stop: what to end on at once.
        process: the one that trains, None if unknown.
        limits: how often and how long.
    """

    def __init__(
        self, follower: Follower, make_monitor: Callable[[], Monitor], stop: StopRule, process: Process | None, limits: Limits
    ) -> None:
        self._follower, self._make_monitor, self._stop, self._process = follower, make_monitor, stop, process
        self._limits = limits._replace(interval=max(limits.interval, REMOTE_INTERVAL)) if follower.is_remote else limits
        self._monitor = make_monitor()
        self._pace, self._glances = Pace(SHARE), Pace(GLANCE_SHARE)
        self._began = self._written = self._missed = self._progressed = time.monotonic()
        self._reader: Reader | None = None
        self._run: Run | None = None
        self._key: Key | None = None
        self._is_shrunk = False
        self._problems: dict[Problem, float] = {}
        self._told: set[Problem] = set()

    def __iter__(self) -> Iterator[Event]:
        """Everything that there is to tell, ``Finished`` last."""
        is_unread = is_unseen = True
        while True:
            began = time.monotonic()
            changed, took = self._follower.has_changed(), time.monotonic() - began
            if changed:
                is_unread = is_unseen = True
                self._written = self._written if self._follower.is_remote else time.monotonic()
            reason = self._over()
            if reason:
                told = self._last_look(reason)
            else:
                if self._reader is None and is_unread and self._pace.is_due:
                    self._reader = Reader(self._follower)
                    is_unread = is_unseen = False
                told = self._next_look()
                is_unread |= self._is_shrunk or bool(self._problems)  # a file that is made readable shows no change
                if is_unseen and self._run is not None and self._glances.is_due:
                    told += self._glance()
                    is_unseen = False
            yield from told
            detail = self._reason_to_stop()
            if reason or detail:
                problems = (*self._problems, *self._monitor.problems)
                yield Finished(reason or events.STOPPED, self._monitor.report, problems, detail)
                return
            if self._reader is None:
                time.sleep(max(self._limits.interval, (1 / CHECK_SHARE - 1) * took))

    def _next_look(self) -> list[Event]:
        """What the look that is under way saw, if it is done within an interval."""
        reader = self._reader
        look = None if reader is None else reader.look(self._limits.interval)
        if reader is None or look is None:
            return []
        self._reader = None
        told = list(self._take(look))
        self._pace.worked(reader.began)
        return told

    def _last_look(self, reason: str) -> list[Event]:
        """What there is to tell at the end."""
        told: list[Event] = []
        if self._reader is not None and (look := self._reader.look()) is not None:
            told += self._take(look)
        ended = reason in (events.ENDED, events.CUT_OFF, events.IDLE, events.GONE)
        return [*told, *self._take(self._follower.look(ended=ended), reason, ended=ended)]

    def _over(self) -> str:
        """Why the watch is over, "" if it is not."""
        now, limits = time.monotonic(), self._limits
        if self._process is not None and not self._process.is_alive:
            return events.GONE
        if limits.timeout is not None and now - self._began >= limits.timeout:
            return events.TIMEOUT
        if self._run is None:
            return (events.NO_LOG if self._key is None else events.LOST) if now - self._missed >= limits.wait else ""
        if limits.until_idle is not None and now - self._written >= limits.until_idle:
            return events.IDLE
        quiet = max(self._follower.age(), now - self._written)
        if self._run.finished is True:
            return events.ENDED if quiet >= QUIET else ""
        # A Trainer's checkpoint says that the training was not at its end when it was written.
        if self._run.finished is False and self._run.adapter != "trainer_state":
            return events.CUT_OFF if quiet >= CRASH_QUIET else ""
        return ""

    def _take(self, look: Look, reason: str = "", *, ended: bool = False) -> Iterator[Event]:
        """Judge what was seen; ``reason`` is why this is the last look, "" if it is not, ``ended`` whether the run is over."""
        yield from self._troubles(look, reason)
        run = look.run
        if run is None:
            self._missed = time.monotonic() if self._run is not None else self._missed
            self._run = None
            return
        before = self._run
        was_shrunk, self._is_shrunk = self._is_shrunk, False
        if before is not None and look.key == self._key and run.steps < before.steps and not (was_shrunk or reason):
            self._is_shrunk = True  # rewritten just now, perhaps half: believed if the next look sees the same
            return
        begun_anew = before is not None and run.steps < before.steps and len(run.overlaps) <= len(before.overlaps)
        is_new = look.key != self._key or begun_anew
        if is_new:
            self._monitor = self._make_monitor()
        if before is None or run.steps != before.steps:
            self._written = time.monotonic() if self._follower.is_remote else self._written
        self._run, self._key = run, look.key
        told = self._monitor.see(run, ended=ended)
        report = self._monitor.report
        assert report is not None  # just made
        if is_new:
            self._progressed = time.monotonic()
            yield Started(report)
        yield from told
        if before is not None and run.steps > before.steps and time.monotonic() - self._progressed >= self._limits.progress:
            self._progressed = time.monotonic()
            yield Progress(report, latest(run))

    def _glance(self) -> list[Event]:
        """What the newest rows show by themselves."""
        began = time.monotonic()
        newest = self._follower.newest()
        told = [] if newest is None else self._monitor.glance(newest)
        self._glances.worked(began)
        return told

    def _troubles(self, look: Look, reason: str) -> Iterator[Trouble]:
        """What has been unreadable for a while, once."""
        now = time.monotonic()
        problems = [_problem(problem) for problem in look.problems]
        if look.run is None and not problems and self._key is not None:
            problems = [Problem("input", self._follower.path, "is gone; the watch goes on if it comes back")]
        self._problems = {problem: self._problems.get(problem, now) for problem in problems}
        for problem, since in self._problems.items():
            lasts = now - since >= PATIENCE or bool(reason) or problem.kind == "crash"
            if lasts and problem not in self._told:
                self._told.add(problem)
                yield Trouble(problem)

    def _reason_to_stop(self) -> str:
        report = self._monitor.report
        return "" if report is None else self._stop.reason(report.diagnosis.verdict, report.findings)


def latest(run: Run) -> dict[str, float]:
    """The newest value of the metrics that a run is judged by, NaN and infinities included."""
    names = [*LATEST[:1], *(name for name, _ in run.eval_losses()), *LATEST[1:]]
    return {name: float(run.curves[name].value[-1]) for name in names if name in run.curves and len(run.curves[name])}


def _problem(problem: loading.Problem) -> Problem:
    message = problem.message.removeprefix(f"{problem.path}: ")
    return Problem("crash" if problem.crashed else "input", problem.path, " ".join(message.split()))
