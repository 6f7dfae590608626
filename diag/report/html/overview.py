"""The part of the page about many runs together: a table, and a small picture of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from diag.case import Case
from diag.report.html.drawing import sparkline
from diag.report.html.elements import Markup, element
from diag.report.html.pieces import code, name, verdict
from diag.terminal import safe, tail
from diag.text import show
from diag.vocabulary import INFO, VERDICTS

if TYPE_CHECKING:
    from diag.report.html.run_section import Section
    from diag.result import Report, RunReport

COLUMNS: Final = ("Run", "Verdict", "Confidence", "Likely cause", "Findings", "Best eval loss", "Last train loss", "Learning rate", "Steps")
SPARK_STRETCHES: Final = 24
"""Stretches of a curve in a small picture."""
NAME_WIDTH: Final = 46
"""Letters of a name under a small picture, three lines; the end tells more."""
AT_ONCE: Final = 100
"""Small pictures that are shown without being asked for; more would hide the runs below them."""


def overview(report: Report, sections: Sequence[Section]) -> Markup:
    """How many runs got which verdict, the table, and the small pictures; the script of the page sorts and filters them."""
    counts = [
        element("li", verdict(word), " ", element("span", str(count), class_="count"), data_verdict=word)
        for word, count in report.by_verdict.items()
    ]
    return element(
        "section",
        element("h2", f"{len(report.runs):,} runs"),
        element("ul", counts, class_="verdicts"),
        element("div", table(sections), class_="wide tall", tabindex="0", role="group", aria_label="Table of the runs"),
        element(
            "details",
            element("summary", element("h3", "Curves at a glance")),
            element("ul", [tile(section) for section in sections], class_="tiles"),
            class_="more",
            open=len(sections) <= AT_ONCE,
        ),
        id="overview",
    )


def table(sections: Sequence[Section]) -> Markup:
    """One row a run; cells that are sorted by something else than their text say by what."""
    head = element("thead", element("tr", [element("th", word, scope="col") for word in COLUMNS]))
    return element("table", head, element("tbody", map(row, sections)), class_="runs")


def row(section: Section) -> Markup:
    """What tells a run from the others."""
    entry = section.entry
    diagnosis = entry.diagnosis
    alarms = list(dict.fromkeys(finding.code for finding in entry.findings if finding.severity != INFO))
    severe = sum(finding.severity != INFO for finding in entry.findings)
    rate = Case(entry.run, diagnosis, entry.findings).learning_rate
    cells = [
        element("th", element("a", name(entry.run.id), href=f"#{section.id}"), scope="row"),
        element("td", verdict(diagnosis.verdict), data_sort=VERDICTS.index(diagnosis.verdict)),
        element("td", f"{diagnosis.confidence:.0%}", data_sort=round(diagnosis.confidence, 4)),
        element("td", code(diagnosis.causes[0].cause) if diagnosis.causes else "–"),
        element("td", " ".join(alarms) or "–", data_sort=severe),
        *(number(value) for value in (best_loss(entry), last_loss(entry), rate)),
        element("td", f"{entry.run.steps:,}", data_sort=entry.run.steps),
    ]
    return element("tr", cells, data_run=section.id, data_verdict=diagnosis.verdict)


def number(value: float | None) -> Markup:
    """A cell with a number; one without is sorted last."""
    return element("td", "–", data_sort="") if value is None else element("td", show(value), data_sort=repr(value))


def best_loss(entry: RunReport) -> float | None:
    """The lowest finite evaluation loss of the first evaluation set."""
    for _, curve in entry.run.eval_losses():
        finite = curve.finite()
        if len(finite):
            return float(finite.value.min())
    return None


def last_loss(entry: RunReport) -> float | None:
    """The last finite training loss."""
    curve = entry.run.curve("train/loss")
    finite = None if curve is None else curve.finite()
    return float(finite.value[-1]) if finite is not None and len(finite) else None


def tile(section: Section) -> Markup:
    """The first panel of a run in small, a link to all of it."""
    entry = section.entry
    picture = sparkline(section.panels[0], SPARK_STRETCHES) if section.panels else None
    words = (element("span", name(tail(safe(entry.run.id), NAME_WIDTH)), class_="tile-name"), verdict(entry.diagnosis.verdict))
    link = element("a", element("span", picture, class_="spark"), words, href=f"#{section.id}")
    return element("li", link, data_run=section.id, data_verdict=entry.diagnosis.verdict)
