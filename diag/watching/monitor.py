"""What can be said of a run while it goes on, and what is new since the last look.

A battery made for runs that have ended is asked again and again of one that has not. Two things keep that honest, both declared by the
checks themselves (``diag.check.Check``):

* ``premature``: what only the end can tell (a loss that still falls, a warmup that goes on) is left out until then;
* ``patience``: a finding is told once it has stood, look after look, for a share of the steps so far (or of half of those planned). A
  curve that is looked at a hundred times crosses any threshold once by chance, and does not stay there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from diag.analysis import Settings, judge
from diag.battery import checks, examine
from diag.check import Check, Finding
from diag.choices import prefixed
from diag.diagnosis import diagnose
from diag.examination import is_reward_driven
from diag.result import Problem, RunReport, sort_findings
from diag.run import Run
from diag.vocabulary import SEVERITIES
from diag.watching.events import Event, Found, Resolved, Trouble, VerdictChanged
from diag.watching.prefix import up_to

WARMING_UP: Final = 0.05
"""Share of the planned steps in which only what a single look shows for good is told: most of a usual warmup (3 to 10%, S3-025, S3-058),
during which a loss need not move."""


Decide = Callable[[RunReport], tuple[RunReport, list[Problem]]]
"""Applies what the user decided to a report, and says what of it could not be read."""


class Key(NamedTuple):
    """What makes two findings of two looks the same: code, metric, and which of several with these it is."""

    code: str
    metric: str
    number: int


class Monitor:
    """Looks at one run again and again.

    Args:
        settings_of: how a run is to be analyzed.
        decide: what the user decided, applied to what was found: severities, acceptances, and at the end requirements.

    Attributes:
        report: the run as it was judged last, None before the first look.
        problems: what crashed, or of the user's decisions could not be read, at the last look.
    """

    def __init__(self, settings_of: Callable[[Run], Settings] = lambda run: Settings(), decide: Decide | None = None) -> None:
        self._settings_of, self._decide = settings_of, decide
        self._checks: dict[str, Check] = {check.code: check for check in checks()}
        self.report: RunReport | None = None
        self.problems: tuple[Problem, ...] = ()
        self._since: dict[tuple[Key, str], int] = {}
        self._seen: dict[tuple[Key, str], Finding] = {}
        self._told: dict[Key, Finding] = {}
        self._absent: dict[Key, int] = {}
        self._crashes: set[Problem] = set()
        self._step = 0

    def see(self, run: Run, *, ended: bool = False) -> list[Event]:
        """Judge the run as it is now, and tell what is new. The first look tells no change of the verdict.

        Args:
            run: as it was just read; its ``ongoing`` is set.
            ended: whether it is over, so that everything can be said.
        """
        run.ongoing = not ended
        before = self.report
        if before is None and not ended:
            self._look_back(run)
        self._went_back(run.steps)
        report, problems = judge(run, self._settings_of(run), sift=None if ended else lambda found: self._standing(run, found))
        if self._decide is not None:
            report, more = self._decide(report)
            problems += more
        self.report = report
        now = dict(_keyed(report.findings))
        self.problems = tuple(problems)
        events: list[Event] = [Trouble(problem) for problem in problems if problem not in self._crashes]
        self._crashes.update(problems)
        for key, finding in now.items():
            old = self._told.get(key)
            if old is None or SEVERITIES.index(finding.severity) > SEVERITIES.index(old.severity):
                events.append(Found(report, finding))
        events += [Resolved(report, finding) for key, finding in self._told.items() if key not in now]
        self._told = now
        if before is not None and before.diagnosis.verdict != report.diagnosis.verdict:
            events.append(VerdictChanged(report, before.diagnosis.verdict))
        return events

    def glance(self, newest: Run) -> list[Event]:
        """What single values of the newest rows show, where the whole log cannot be looked at now.

        Rows without a step of their own are counted from the wrong place there, and a reward-driven run is lost by a share of its
        values: of these nothing is said before the whole log is read.
        """
        report = self.report
        if report is None or newest.steps < report.run.steps or is_reward_driven(newest) or is_reward_driven(report.run):
            return []
        settings = self._settings_of(report.run)
        wanted = [code for code, check in self._checks.items() if check.momentary and prefixed(code, settings.select, settings.ignore)]
        found = examine(newest, wanted).findings if wanted else []
        findings = sort_findings((*report.findings, *(finding for key, finding in _keyed(found) if key not in self._told)))
        if len(findings) == len(report.findings):
            return []
        now = replace(report, findings=findings, diagnosis=diagnose(report.run, findings))
        self.report = now if self._decide is None else self._decide(now)[0]
        new = {key: finding for key, finding in _keyed(self.report.findings) if key not in self._told}
        self._told.update(new)
        events: list[Event] = [Found(self.report, finding, partial=True) for finding in new.values()]
        if self.report.diagnosis.verdict != report.diagnosis.verdict:
            events.append(VerdictChanged(self.report, report.diagnosis.verdict))
        return events

    def _look_back(self, run: Run) -> None:
        """Where the first look comes late, see what earlier ones would have, so that what has stood for long is told at once."""
        for share in sorted({check.patience for check in self._checks.values() if check.patience > 0}, reverse=True):
            step = int(run.steps - share * _reference(run))
            if step > self._step:
                earlier = up_to(run, step)
                settings = self._settings_of(run)
                self._standing(earlier, examine(earlier, settings.select, settings.ignore, settings.thresholds).findings)
                self._step = step

    def _went_back(self, step: int) -> None:
        """A run that was resumed, or whose log was begun anew, has stood for no longer than its steps."""
        if step < self._step:
            self._since = {key: min(since, step) for key, since in self._since.items()}
            self._absent = {key: min(since, step) for key, since in self._absent.items()}
        self._step = step

    def _standing(self, run: Run, found: list[Finding]) -> list[Finding]:
        """The findings that have stood long enough, and those that were told and are not gone for as long."""
        early = run.steps < WARMING_UP * _planned(run)
        now = dict(_keyed(found))
        levels = {(key, level) for key, finding in now.items() for level in _up_to(finding.severity)}
        self._since = {key: since for key, since in self._since.items() if key in levels} | {
            key: run.steps for key in levels if key not in self._since
        }
        self._seen = {key: finding for key, finding in self._seen.items() if key in levels}
        self._seen.update({(key, finding.severity): finding for key, finding in now.items()})
        self._absent = {key: self._absent.get(key, run.steps) for key in self._told if key not in now}
        standing = []
        for key, finding in now.items():
            for level in reversed(_up_to(finding.severity)):
                if (key, level) in self._seen and self._has_lasted(key.code, self._since[key, level], run, early=early):
                    standing.append(self._seen[key, level])
                    break
            else:
                if key in self._told:
                    standing.append(self._told[key])
        standing += [self._told[key] for key, since in self._absent.items() if not self._has_lasted(key.code, since, run)]
        return standing

    def _has_lasted(self, code: str, since: int, run: Run, *, early: bool = False) -> bool:
        patience = self._checks[code].patience if code in self._checks else Check.patience
        return patience == 0 or (not early and run.steps - since >= patience * _reference(run))


def _planned(run: Run) -> float:
    """Optimizer steps that the run is planned for, 0 where unknown; what the log itself is taken for may be as short as it is now."""
    known = run.planned_steps or run.hyperparameter("max_steps")
    return float(known) if isinstance(known, (int, float)) and math.isfinite(known) else 0.0


def _reference(run: Run) -> float:
    """The steps that patience is a share of: those so far, or half of the planned ones where that is more. What holds from the first steps
    on has always stood for the whole run, and a loss may need a tenth of its steps to begin to move."""
    return max(float(run.steps), _planned(run) / 2)


def _up_to(severity: str) -> tuple[str, ...]:
    """The severities from the mildest to this one."""
    return SEVERITIES[: SEVERITIES.index(severity) + 1]


def _keyed(findings: Iterable[Finding]) -> Iterator[tuple[Key, Finding]]:
    count: dict[tuple[str, str], int] = {}
    for finding in findings:
        number = count.get((finding.code, finding.metric), 0)
        count[finding.code, finding.metric] = number + 1
        yield Key(finding.code, finding.metric, number), finding
