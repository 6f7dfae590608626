"""The pages of checks, lint rules and findings of the gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from pictures import picture
from specimens import SPECIMENS

from diag import gate
from diag.battery import checks, examine
from diag.check import Check, Documented
from diag.constants import Constant, constants_of
from diag.lint import Lint
from diag.linting import lints
from diag.run import Run

Page = Documented | type[Documented]
"""A check, a lint rule, or the class of a finding of the gate."""

LONGEST = 60
"""Characters of a value in a table of thresholds; a longer one is cut."""


def check_page(check: Check) -> str:
    """The page of one check, Markdown."""
    summary, _, body = check.page().partition("\n")
    facts = {
        "severity": f"`{check.severity}`",
        "needs": ", ".join(f"`{metric}`" for metric in check.needs) or "nothing in particular",
        "reward-driven runs": "also judged" if check.reward_logs else "skipped",
        "[while a run goes on](../../watch.md)": _ongoing(check),
        "rules": _rules(check),
    }
    parts = [_head(check, summary, facts)]
    specimen = SPECIMENS.get(check.code)
    if specimen is not None:
        parts += ["## A run that has it", _figure(check, specimen.fires, specimen.panels, specimen.has)]
    parts.append(linked(body.strip(), check.code))
    if specimen is not None:
        parts += ["## A run that nearly has it", _figure(check, specimen.silent, specimen.panels, specimen.lacks)]
    parts += [_thresholds(check), _related(check)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ongoing(check: Check) -> str:
    """What a check says of a run that has not ended, in a phrase."""
    if check.premature:
        return f"skipped: {check.premature}"
    return f"told once it has stood for {100 * check.patience:.0f}% of the steps" if check.patience else "told at once"


def lint_page(rule: Lint) -> str:
    """The page of one lint rule, Markdown."""
    summary, _, body = rule.page().partition("\n")
    facts = {
        "severity": f"`{rule.severity}`",
        "dialects": ", ".join(f"`{name}`" for name in rule.dialects) or "all",
        "configs": "whole training configs only" if rule.whole else "also parts of one",
        "rules": _rules(rule),
    }
    return "\n\n".join(part for part in (_head(rule, summary, facts), linked(body.strip(), rule.code), _related(rule)) if part) + "\n"


def gate_page(page: Page) -> str:
    """The page of one finding of the gate, Markdown."""
    summary, _, body = page.page().partition("\n")
    parts = (_head(page, summary, {"severity": f"`{page.severity}`"}), linked(body.strip(), page.code), _related(page))
    return "\n\n".join(part for part in parts if part) + "\n"


def linked(text: str, own: str) -> str:
    """Text whose codes of other pages are links."""
    every: list[Page] = [*checks(), *lints(), *gate.pages()]
    known = {page.code: _place(page) for page in every}
    return re.sub(r"(?<![`\[\w])[A-Z]{3}\d{3}\b", lambda code: _link(code[0], known) if code[0] != own else code[0], text)


def _link(code: str, known: dict[str, str]) -> str:
    return f"[{code}](../{known[code]}/{code}.md)" if code in known else code


def _place(page: Page) -> str:
    """The folder of a page."""
    return "lint" if isinstance(page, Lint) else "checks" if isinstance(page, Check) else "gate"


def _rules(page: Page) -> str:
    return ", ".join(f"[{identity}](../rules.md)" for identity in page.rules) or "none"


def _head(page: Page, summary: str, facts: dict[str, str]) -> str:
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"# {page.code} {page.name}\n\n{summary}\n\n| | |\n|---|---|\n{table}"


def _figure(check: Check, run: Run, panels: Sequence[Sequence[str]], caption: str) -> str:
    """A picture with what the run is, and what the check says of it."""
    findings = examine(run, select=[check.code]).findings[:1]
    said = "".join(f"<code>{finding.severity} {finding.code}</code> {escape(finding.message)}" for finding in findings)
    drawn = picture(run, findings, panels, f"{check.code}: {caption}")
    return f"<figure>{drawn}<figcaption>{escape(caption)} {said or 'Nothing is found.'}</figcaption></figure>"


def _thresholds(check: Check) -> str:
    """The numbers a check decides by."""
    own = type(check).__module__
    keys = {threshold.name.upper(): f"`{check.code}.{threshold.name}`" for threshold in check.thresholds}
    rows: list[tuple[list[Constant], str]] = []
    for entry in constants_of(check):
        if rows and entry.about and rows[-1][1] == entry.about and rows[-1][0][-1].module == entry.module:
            rows[-1][0].append(entry)
        else:
            rows.append(([entry], entry.about))
    if not rows:
        return ""
    lines = ["## Thresholds", "", "| | value | what it is, and where it comes from | set by |", "|---|---|---|---|"]
    for entries, about in rows:
        names = ", ".join(f"`{entry.name}`" for entry in entries)
        values = ", ".join(f"`{_short(entry.value)}`" for entry in entries)
        settable = ", ".join(keys[entry.name] for entry in entries if entry.module == own and entry.name in keys)
        lines.append(f"| {names} | {values} | {linked(escaped(' '.join(about.split())), check.code)} | {settable} |")
    lines += [
        "",
        "Where no source is named, the number was chosen with the training part of the [fault benchmark](../../calibration.md) in view.",
    ]
    if keys:
        key = next(iter(keys.values())).strip("`")
        value = f"{check.thresholds[0].value:g}"
        lines += [
            f'A number with a key can be set for a run: `--threshold {key}={value}`, or `"{key}" = {value}` under `[thresholds]` in the',
            "configuration.",
        ]
    return "\n".join(lines)


def _short(value: str) -> str:
    value = value.replace("math.", "")
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"


def _related(page: Page) -> str:
    """Pages that look at the same thing elsewhere: those that rest on the same guide rows, and those that name this one or are named."""
    kinds: dict[str, Sequence[Page]] = {
        "In a config, before a run": lints(),
        "In the log of a run": checks(),
        "At the gate": gate.pages(),
    }
    lines = []
    for title, others in kinds.items():
        found = [
            f"[{other.code} {other.name}](../{_place(other)}/{other.code}.md)"
            for other in others
            if other.code != page.code and _place(other) != _place(page) and (set(other.rules) & set(page.rules) or _names(other, page))
        ]
        if found:
            lines.append(f"- {title}: {', '.join(found)}.")
    return "\n".join(["## See also", "", *lines]) if lines else ""


def _names(one: Page, other: Page) -> bool:
    return one.code in other.page() or other.code in one.page()


def escaped(text: str) -> str:
    """Plain text that is safe in a Markdown table."""
    for character in "\\`*_{}[]<>#|$~":
        text = text.replace(character, "\\" + character)
    return text
