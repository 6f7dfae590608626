"""The page of TensorBoard's Text tab, rendered by TensorBoard."""

from __future__ import annotations

import html
import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import diag
from diag.fixes import DISPLAY, Fix
from diag.result import Accepted, RunReport
from diag.terminal import safe
from diag.writeback.tensorboard_page import escape, page

HOSTILE = "<script>alert(1)</script> ![x](http://e/p.png) [a](http://e) **b** _c_ `d` | # ~~e~~ &lt; \x1b[31m \\"


def rendered(page: str) -> str:
    """Markdown as TensorBoard shows it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.plugin_util import markdown_to_safe_html
    return str(markdown_to_safe_html(page))


@pytest.fixture(scope="module")
def overfit(fixtures: Path) -> RunReport:
    (entry,) = diag.analyze(fixtures / "hf-overfit").runs
    return entry


def test_a_page_shows_findings_causes_and_changes(overfit: RunReport) -> None:
    shown = rendered(page(overfit))
    assert shown.count("<tr>") == 1 + len(overfit.findings)
    assert shown.count("<li>") == len(overfit.diagnosis.causes) + 1
    for text in ("<strong>OVERFIT</strong>, 98% confident", "<td>OVF001 overfit-gap</td>", "<td>140–480</td>", "<li>num_epochs 24 → 7: "):
        assert text in shown


def test_advice_and_what_was_accepted_are_told(overfit: RunReport) -> None:
    advice = Fix("data", None, None, None, 1, "DIV001", "Look at the samples.", applicability=DISPLAY)
    known = Accepted(overfit.findings[0], "a smoke test", "diag-baseline.json")
    text = rendered(page(replace(overfit, findings=(), accepted=(known,), fixes=(advice,))))
    assert "<table>" not in text
    assert "<li>data: Look at the samples.</li>" in text
    assert "<li>OVF001 overfit-gap: a smoke test (diag-baseline.json)</li>" in text


def test_names_from_the_log_are_only_text(overfit: RunReport) -> None:
    finding = replace(overfit.findings[0], message=HOSTILE, name=HOSTILE)
    fix = replace(overfit.fixes[0], old=HOSTILE, reason=HOSTILE)
    shown = rendered(page(replace(overfit, findings=(finding,), fixes=(fix,))))
    assert set(re.findall(r"<(\w+)", shown)) == {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert html.unescape(shown).count(" ".join(safe(HOSTILE).split())) == 4
    assert "\x1b" not in shown


@given(st.text(max_size=80))
@example(HOSTILE)
@example("1. a")
@example("    indented")
@example("===")
@example("a\n---\nb")
@example(":--")
@example("http://e <http://e> a@b.c")
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    shown_text = rendered(f"x {escape(text)} x")
    expected = " ".join(f"x {safe(text)} x".split())
    assert " ".join(html.unescape(re.sub(r"</?p>", "", shown_text)).split()) == expected
