"""The events of a watch: their schema, and the page that describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from builders import healthy

import diag
from diag.analysis import judge
from diag.check import Finding
from diag.report import Layout
from diag.report.watch import news, status
from diag.result import Problem
from diag.watching import events
from diag.watching.events import Event, Finished, Found, Progress, Resolved, Started, Trouble, VerdictChanged

FOLDER = Path(diag.__file__).parent / "report"
SCHEMA: dict[str, Any] = json.loads((FOLDER / "watch_schema.json").read_text(encoding="utf-8"))
PAGE = (Path(diag.__file__).parent.parent / "docs" / "watch.md").read_text(encoding="utf-8")
HOSTILE = "x\x1b[31m</script>\n::error::\u202e=cmd()"


def some() -> list[Event]:
    report = judge(healthy(n=60, evals=6).nan(at=0.5).run())[0]
    finding = Finding("DIV001", "nonfinite-loss", "error", HOSTILE, metric=HOSTILE, evidence={"value": float("nan")})
    return [
        Started(report),
        Progress(report, {HOSTILE: float("nan"), "lr": float("inf")}),
        Found(report, finding, partial=True),
        Resolved(report, finding),
        VerdictChanged(report, "HEALTHY"),
        Trouble(Problem("exec", HOSTILE, HOSTILE)),
        *(Finished(reason, report, (), HOSTILE) for reason in events.REASONS),
        Finished(events.NO_LOG, None),
    ]


@pytest.mark.parametrize("event", some(), ids=lambda event: event.kind)
def test_every_event_is_valid(event: Event) -> None:
    line = json.dumps(event.to_dict(), allow_nan=False)
    assert line.isascii()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(line))


def test_every_kind_is_in_the_test_and_on_the_page() -> None:
    kinds = {kind.kind for kind in get_args(Event)}
    assert {event.kind for event in some()} == kinds
    assert [kind for kind in kinds if f"| `{kind}` |" not in PAGE] == []
    assert [reason for reason in events.REASONS if f"| `{reason}` |" not in PAGE] == []
    assert set(SCHEMA["$defs"]["finished"]["properties"]["reason"]["enum"]) == set(events.REASONS)


def test_a_finding_is_that_of_the_report() -> None:
    report = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))["$defs"]
    assert set(SCHEMA["$defs"]["finding"]["required"]) == set(report["finding"]["required"])
    assert SCHEMA["$defs"]["verdict"] == report["verdict"]


@pytest.mark.parametrize("layout", [Layout(), Layout(unicode=False), Layout(colour=True), Layout(width=60)])
def test_what_is_shown_is_safe(layout: Layout) -> None:
    report = judge(healthy(n=60).run())[0]
    lines = [line for event in some() for line in news(event, layout)] + status(report, {HOSTILE: 1.0}, "3 seconds", layout)
    assert lines
    for line in lines:
        assert "\x1b[31m</script>" not in line
        assert "\u202e" not in line
        assert "\n" not in line
        assert layout.unicode or line.isascii()
