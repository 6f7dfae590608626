"""The page as a whole: what the browser may do with it, styles, scripts, and the parts of the report in their order."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from diag import __version__
from diag.report import palette
from diag.report.html.chart_data import stretches
from diag.report.html.elements import Markup, element, raw
from diag.report.html.overview import overview
from diag.report.html.pieces import TONE_SIGNS
from diag.report.html.run_section import Section
from diag.result import EXIT_CRASHED, EXIT_FAILED, EXIT_INPUT, EXIT_NOTHING_JUDGED, EXIT_PASSED, NEVER

if TYPE_CHECKING:
    from diag.result import Report

LIBRARY, LIBRARY_STYLE = "uPlot.iife.min.js", "uPlot.min.css"
"""uPlot 1.6.32 (MIT; https://github.com/leeoniya/uPlot) as published, with its licence in ``uPlot.LICENSE.txt``."""
SCRIPTS: Final = (LIBRARY, "charts.js", "page.js")
STYLES: Final = (LIBRARY_STYLE, "page.css")
GATE: Final = {
    EXIT_PASSED: "gate passed: no finding is at or above {fail_on}",
    EXIT_FAILED: "gate failed: a finding is at or above {fail_on}",
    EXIT_INPUT: "an input could not be read",
    EXIT_NOTHING_JUDGED: "nothing could be judged",
    EXIT_CRASHED: "a check or an adapter crashed",
}
"""What the page says for each exit code."""


def page(report: Report, fail_on: str) -> str:
    """The report as one HTML document.

    Args:
        report: what was found.
        fail_on: the gate.
    """
    sections = [Section(entry, number) for number, entry in enumerate(report.runs, 1)]
    detail = stretches(sum(len(panel.lines) for section in sections for panel in section.panels))
    many = len(sections) > 1
    styles = [colours(), *map(asset, STYLES)]
    scripts = list(map(asset, SCRIPTS))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(scripts, styles)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"diag {__version__}"),
        element("title", title(report)),
        [raw("style", style) for style in styles],
    )
    main = element(
        "main",
        problems(report),
        overview(report, sections) if many else None,
        [(folded if many else alone)(section, detail) for section in sections],
        None if sections else element("p", "No run was found."),
    )
    foot = element(
        "footer", element("p", "Made by diag ", __version__, ". ", element("code", "diag explain CODE"), " tells what a finding means.")
    )
    status = element("p", class_="visually-hidden", id="status", role="status")
    body = element("body", banner(report, fail_on), main, foot, status, [raw("script", script) for script in scripts])
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def asset(file: str) -> str:
    """A file that stands beside this module in ``static``: ASCII, as a reference to a character is none in scripts and styles."""
    return (files("diag.report.html") / "static" / file).read_text(encoding="utf-8")


def colours() -> str:
    """The colours of ``diag.report.palette`` for the style sheet and the scripts, on light and on dark ground."""

    def rules(lines: tuple[str, ...], severities: dict[str, str]) -> str:
        named = [(f"c{number}", colour) for number, colour in enumerate(lines)] + list(severities.items())
        return "".join(f"--{name}:{colour};" for name, colour in named)

    light = rules(palette.LINES, palette.SEVERITIES)
    dark = rules(palette.LINES_ON_DARK, palette.SEVERITIES_ON_DARK)
    strokes = "".join(f".c{number}{{stroke:var(--c{number})}}" for number in range(len(palette.LINES)))
    shades = "".join(f".band.{name}{{fill:var(--{name});fill-opacity:{share}}}" for name, share in palette.OPACITY.items())
    opacity = "".join(f"--{name}-opacity:{share};" for name, share in palette.OPACITY.items())
    return f":root{{{light}{opacity}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{strokes}{shades}"


def policy(scripts: list[str], styles: list[str]) -> str:
    """Nothing is loaded from anywhere; of scripts and styles only those of this page run."""

    def allowed(sources: list[str]) -> str:
        return " ".join(f"'sha256-{b64encode(hashlib.sha256(source.encode('utf-8')).digest()).decode()}'" for source in sources)

    return f"default-src 'none'; script-src {allowed(scripts)}; style-src {allowed(styles)}; base-uri 'none'; form-action 'none'"


def title(report: Report) -> str:
    """What the browser shows on the tab: the run and its verdict, or how many runs there are."""
    if len(report.runs) != 1:
        return f"diag: {len(report.runs):,} runs"
    return f"{report.runs[0].run.id}: {report.runs[0].diagnosis.verdict}"


def banner(report: Report, fail_on: str) -> Markup:
    """The head of the page: what this is and how the gate stands."""
    code = report.exit_code(fail_on)
    state = None
    if code != EXIT_PASSED or fail_on != NEVER:
        tone = "good" if code == EXIT_PASSED else "bad"
        words = GATE[code].format(fail_on=fail_on)
        state = element("p", element("span", TONE_SIGNS[tone], aria_hidden="true"), f" {words}", class_=f"gate {tone}")
    return element("header", element("h1", "diag ", element("span", "training report", class_="muted")), state, class_="banner")


def problems(report: Report) -> Markup | None:
    """What could not be read, or crashed."""
    if not report.problems:
        return None
    items = [element("li", element("code", problem.path), ": ", problem.message) for problem in report.problems]
    return element("section", element("h2", "Problems"), element("ul", items), class_="card problems")


def alone(section: Section, detail: int) -> Markup:
    """The part of the only run."""
    head = element("div", section.head(), class_="run-head")
    return element(
        "section",
        head,
        element("div", section.body(detail), class_="body"),
        class_="run card",
        id=section.id,
        aria_labelledby=f"{section.id}-name",
    )


def folded(section: Section, detail: int) -> Markup:
    """The part of one run of many, folded away at first."""
    body = element("div", section.body(detail), class_="body", id=section.id)
    return element("details", element("summary", section.head(), class_="run-head"), body, class_="run card", data_run=section.id)
