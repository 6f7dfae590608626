"""Sphinx extension that writes the pages which must never differ from the code: one a check, the index of checks, the rules.

They are written to ``docs/_generated`` before every build and are not under version control.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from diag.check import Check

FAMILIES = {
    "DIV": "Divergence",
    "SPK": "Spikes and oscillation",
    "OVF": "Overfitting",
    "UND": "Underfitting and plateaus",
    "LRS": "Learning rate and schedule",
    "GRD": "Gradients",
    "NSE": "Noise and batch size",
    "EVL": "Evaluation",
    "LOG": "Bookkeeping",
    "PRC": "Precision",
    "THR": "Throughput",
    "RLH": "Reward logs",
    "CFG": "Configuration",
}


def check_page(check: Check) -> str:
    """The page of one check, Markdown."""
    summary, _, body = check.page().partition("\n")
    rules = ", ".join(f"[{rule}](../rules.md)" for rule in check.rules) or "none"
    facts = {
        "severity": f"`{check.severity}`",
        "needs": ", ".join(f"`{metric}`" for metric in check.needs) or "nothing in particular",
        "reward-driven runs": "also judged" if check.reward_logs else "skipped",
        "rules": rules,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"# {check.code} {check.name}\n\n{summary}\n\n| | |\n|---|---|\n{table}\n\n{body.strip()}\n"


def index_page(battery: tuple[Check, ...]) -> str:
    """The list of checks by family."""
    lines = [
        "# Checks",
        "",
        "A code is for ever; the severity is not part of it. A check that cannot judge a run is *skipped with a reason*, never passed.",
        "The command line has the same pages: `diag checks` and `diag explain CODE`.",
        "",
    ]
    for prefix in [*FAMILIES, *sorted({check.code[:3] for check in battery} - set(FAMILIES))]:
        family = [check for check in battery if check.code.startswith(prefix)]
        if family:
            lines += [f"## {FAMILIES.get(prefix, prefix)}", "", "| code | name | severity | what it finds |", "|---|---|---|---|"]
            lines += [f"| [{c.code}]({c.code}.md) | {c.name} | {c.severity} | {c.summary()} |" for c in family]
            lines.append("")
    lines += ["```{toctree}", ":hidden:", ":glob:", "", *(check.code for check in battery), "```", ""]
    return "\n".join(lines)


def rules_page() -> str:
    """The register of the guides' rules."""
    from diag.guides import rules
    from diag.guides.register import GUIDES

    lines = [
        "# Rules",
        "",
        "Findings and changes cite the rows of the published guidance they rest on. Each row has an id, and the guide it was taken from.",
        "",
    ]
    for key, title in GUIDES.items():
        lines += [f"## {title}", "", "| id | kind | rule |", "|---|---|---|"]
        lines += [f"| {rule.id} | {rule.kind} | {_cell(rule.content)} |" for rule in rules().values() if rule.seed == key]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Plain text that is safe in a Markdown table."""
    for character in "\\`*_{}[]<>#|$~":
        text = text.replace(character, "\\" + character)
    return text


def write_pages(app: Sphinx) -> None:
    """Write all pages, and remove those of checks that are gone."""
    from diag.battery import checks

    folder = Path(app.srcdir) / "_generated"
    battery = checks()
    pages = {"rules.md": rules_page(), "checks/index.md": index_page(battery)}
    pages |= {f"checks/{check.code}.md": check_page(check) for check in battery}
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True}
