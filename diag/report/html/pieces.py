"""Small parts that the page is put together from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from diag.report import palette
from diag.report.html.elements import Content, Markup, element, lines
from diag.report.wording import steps
from diag.result import describe_value, plain, supported
from diag.vocabulary import DIVERGED, HEALTHY, INCONCLUSIVE, OVERFIT, UNSTABLE

if TYPE_CHECKING:
    from diag.check import Finding

TONES: Final = {HEALTHY: "good", INCONCLUSIVE: "unknown", DIVERGED: "bad", UNSTABLE: "bad", OVERFIT: "bad"}
"""Class of a verdict; every other is ``fair``."""
TONE_SIGNS: Final = {"good": "✓", "unknown": "?", "bad": "✗", "fair": "!"}


def verdict(word: str) -> Markup:
    """A verdict with its sign."""
    tone = TONES.get(word, "fair")
    return element("span", element("span", TONE_SIGNS[tone], aria_hidden="true"), f" {word}", class_=f"verdict {tone}")


def name(words: str) -> Markup:
    """A name from a log: letters that run from right to left do not turn what stands beside it."""
    return element("bdi", words)


def code(words: str) -> Markup:
    """A name that is typed as it is."""
    return element("code", words)


def finding_head(finding: Finding) -> Markup:
    """The first line of a finding: severity, code, name, steps."""
    where = steps(finding)
    return element(
        "p",
        element("span", palette.SIGNS[finding.severity], class_="sign", aria_hidden="true"),
        element("span", f"{finding.severity} ", class_="visually-hidden"),
        element("span", finding.code, class_="code"),
        " ",
        element("strong", finding.name),
        element("span", f" {where}", class_="muted where") if where else None,
        class_="finding-head",
    )


def evidence(finding: Finding) -> Markup | None:
    """The numbers behind a finding, what it speaks for, and the rules it rests on."""
    rows = [(label, words(value)) for label, value in sorted(finding.evidence.items())]
    rows += [("speaks for", ", ".join(supported(finding)))] if supported(finding) else []
    rows += [("rules", ", ".join(finding.rules))] if finding.rules else []
    if not rows:
        return None
    listed = element("dl", [element("div", element("dt", label), element("dd", value)) for label, value in rows])
    return element("details", element("summary", "Evidence"), listed, class_="evidence")


def words(value: Any) -> str:
    """A value of the evidence for people."""
    if value is None:
        return "unknown"
    if isinstance(value, (bool, int, float, str)):
        return describe_value(value)
    return json.dumps(plain(value), ensure_ascii=False)


def bar(share: float) -> Markup:
    """A bar of so much of its width; the number is beside it."""
    full = element("rect", x="0", y="0", width=f"{100 * min(max(share, 0.0), 1.0):.0f}%", height="100%")
    return element("svg", full, class_="bar", aria_hidden="true", width="100%", height="6")


def key(metric: str, colour: int, dash: int, evaluated: bool) -> Markup:
    """What a line looks like, and its name."""
    pattern = " ".join(map(str, palette.DASHES[dash])) or None
    stroke: dict[str, Any] = {"fill": "none", "stroke": palette.LINES[colour]}
    line = element("path", class_=f"line c{colour}", d="M0 5h28", stroke_width="2", stroke_dasharray=pattern, **stroke)
    dot = element("path", class_=f"dots c{colour}", d="M14 5h0", stroke_width="6", stroke_linecap="round", **stroke) if evaluated else None
    return element("span", element("svg", line, dot, width="28", height="10", aria_hidden="true"), " ", name(metric), class_="key")


def snippet(label: str, source: str) -> Markup:
    """Something to copy: the script of the page puts a button beside it."""
    head = element("span", label, class_="muted")
    return element(
        "div", element("div", head, class_="snippet-head"), element("pre", element("code", lines(source)), tabindex="0"), class_="snippet"
    )


def bullets(items: Sequence[str]) -> Markup | None:
    """A list, None of nothing."""
    return element("ul", [element("li", item) for item in items]) if items else None


def table(head: Sequence[str], rows: Sequence[Sequence[Markup | str]]) -> Markup:
    """A table that scrolls by itself where it is wider than the page."""
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", [element("th", word, scope="col") for word in head])),
            element("tbody", [element("tr", [element("td", cell) for cell in row]) for row in rows]),
        ),
        class_="wide",
        tabindex="0",
        role="group",
        aria_label="Table",
    )


def details(title: str, *content: Content, count: int) -> Markup:
    """A part that is folded away at first."""
    head = element("summary", element("h3", title), " ", element("span", str(count), class_="count"))
    return element("details", head, *content, class_="more")
