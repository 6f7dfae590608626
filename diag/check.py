"""What a check is, and what it says: the small interface that check authors write against."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from diag.vocabulary import WARNING

if TYPE_CHECKING:
    from diag.examination import Examination


class Skip(Exception):
    """Raised by a check that cannot judge this run; the message says what is missing or too short."""


def percent(log_ratio: float) -> str:
    """A difference of logarithms as a relative change in words: 0.0953 is ``10%``, -0.105 is ``10%``, 3 is ``1,909%``."""
    change = abs(100 * math.expm1(min(log_ratio, LARGEST_LOG)))
    return f"{change:.3g}%" if change < 1000 or change > 1e6 else f"{change:,.0f}%"


LARGEST_LOG = 50.0
"""Differences of logarithms are cut here before they are exponentiated."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One symptom, with the numbers that show it.

    Attributes:
        code: stable code of the check, three letters and three digits.
        name: kebab-case name of the check.
        severity: ``error``, ``warning`` or ``info``.
        message: one complete sentence with its numbers and units.
        metric: canonical metric the finding is about, "" for none.
        step_start, step_end: the range of optimizer steps it covers, None where it has none.
        evidence: the numbers behind the message; JSON values only.
        causes: cause to weight of evidence in nats (natural-log odds): positive speaks for it, negative against it.
        verdicts: verdict to weight of evidence in nats.
        rules: ids of the guide rows it rests on.
    """

    code: str
    name: str
    severity: str
    message: str
    metric: str = ""
    step_start: int | None = None
    step_end: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    causes: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, float] = field(default_factory=dict)
    rules: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What of the run it is about: the metric."""
        return self.metric

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stay the same from run to run: the code and the metric, never a measured number."""
        import hashlib

        return hashlib.sha256(f"{self.code}\0{self.metric}".encode()).hexdigest()[:16]


class Threshold(NamedTuple):
    """A number of a check that users may set for a run, under the key ``CODE.name``.

    What it is and where its default comes from stands in one place: the docstring of the constant that has its name in upper case, in the
    check's module. ``diag explain`` and the check's page show it from there.

    Attributes:
        name: snake case.
        value: the default, that constant; a whole one can only be set to whole numbers.
        unit: what it counts or measures.
        minimum, maximum: what it may be set to, both included.
    """

    name: str
    value: float
    unit: str
    minimum: float
    maximum: float


class Documented:
    """What checks of runs and lint rules of configs have in common: a code, a name, a severity, rules, and a page.

    The class docstring is the page: first line the summary, then the sections "## What it does", "## Why is this bad?",
    "## When it stays silent", "## What to do", "## References".
    """

    code: ClassVar[str]
    name: ClassVar[str]
    severity: ClassVar[str] = WARNING
    """The usual severity; a finding may carry another."""
    rules: ClassVar[tuple[str, ...]] = ()
    """Ids of the guide rows that the thresholds and the advice come from."""

    @classmethod
    def page(cls) -> str:
        """The documentation page, Markdown."""
        import inspect

        return inspect.cleandoc(cls.__doc__ or "")

    @classmethod
    def summary(cls) -> str:
        """The first line of the page."""
        return cls.page().split("\n", 1)[0]


class Check(Documented):
    """Base of all checks of runs: metadata as class attributes, one method ``examine``."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Canonical metrics without which the check is skipped; ``eval/loss`` is met by any evaluation loss."""
    reward_logs: ClassVar[bool] = False
    """Whether the check also applies to reward-driven runs (GRPO, PPO, DPO), whose loss does not measure progress."""
    premature: ClassVar[str] = ""
    """Why the check says nothing of a run that is still going on; "" where it can."""
    patience: ClassVar[float] = 0.05
    """Share of the steps so far, or of half of those planned where that is more, for which a finding must have stood before it is told of
    a run that is still going on. 0 for what one look shows for good: a NaN, a setting. ``benchmarks/watch_prefixes.py`` measures what comes
    of it in false alarms and delay."""
    momentary: ClassVar[bool] = False
    """Whether single values show it, so that it can be asked of the newest rows alone, where a log is too long to be read at once."""
    thresholds: ClassVar[tuple[Threshold, ...]] = ()
    """Numbers that users may set; ``Examination.threshold`` says what they are for this run."""

    def examine(self, examination: Examination) -> Iterable[Finding]:
        """Yield findings; raise Skip when the data cannot tell."""
        raise NotImplementedError

    def finding(self, message: str, *, severity: str | None = None, rules: tuple[str, ...] | None = None, **details: Any) -> Finding:
        """A Finding with this check's code, name, default severity and rules."""
        return Finding(
            code=self.code,
            name=self.name,
            severity=severity or self.severity,
            message=message,
            rules=self.rules if rules is None else rules,
            **details,
        )
