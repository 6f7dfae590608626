"""Sphinx extension that writes the pages which must never differ from the code: checks, lint rules, and the tables of the guides.

They are written to ``docs/_generated`` before every build and are not under version control.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keys import key_tables
from pages import Page, check_page, escaped, gate_page, lint_page

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from diag.check import Check
    from diag.guides.policy import Item
    from diag.lint import Lint

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
}

LINT_FAMILIES = {
    "CFG00": "Learning rate, batch, length of the run, precision",
    "CFG01": "Regularization, schedule, and numbers that have to fit each other",
    "CFG02": "Adapters and quantization",
    "CFG03": "Evaluation, early stopping, checkpoints, logging",
    "CFG04": "Data and sequences",
    "CFG05": "Devices, models, costs",
    "CFG06": "Keys and values",
    "CFG09": "Comments",
}
"""Beginning of a code to what its lint rules are about."""


def index_page(battery: tuple[Check, ...], gate: Sequence[Page] = ()) -> str:
    """The list of checks by family, and of what the gate itself finds."""
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
    if gate:
        lines += [
            "## The gate",
            "",
            "What a comparison with requirements, references and earlier runs finds, beside the checks of one run.",
            "",
        ]
        lines += ["| code | name | severity | what it finds |", "|---|---|---|---|"]
        lines += [f"| [{page.code}](../gate/{page.code}.md) | {page.name} | {page.severity} | {page.summary()} |" for page in gate]
        lines.append("")
    entries = [*(check.code for check in battery), *(f"../gate/{page.code}" for page in gate)]
    lines += ["```{toctree}", ":hidden:", "", *entries, "```", ""]
    return "\n".join(lines)


def lint_index_page(battery: tuple[Lint, ...]) -> str:
    """The list of lint rules."""
    lines = [
        "# Lint rules",
        "",
        "What `diag lint` looks at in training configs. A code is for ever; the severity of a finding may differ from its rule's.",
        "The command line has the same pages: `diag checks` and `diag explain CODE`.",
        "",
    ]
    for prefix in [*LINT_FAMILIES, *sorted({rule.code[:5] for rule in battery} - set(LINT_FAMILIES))]:
        family = [rule for rule in battery if rule.code.startswith(prefix)]
        if family:
            lines += [f"## {LINT_FAMILIES.get(prefix, prefix)}", "", "| code | name | severity | what it finds |", "|---|---|---|---|"]
            lines += [f"| [{rule.code}]({rule.code}.md) | {rule.name} | {rule.severity} | {rule.summary()} |" for rule in family]
            lines.append("")
    lines += ["```{toctree}", ":hidden:", "", *(rule.code for rule in battery), "```", ""]
    return "\n".join(lines)


def rules_page() -> str:
    """The register of the guides' rules."""
    from diag.guides import rules
    from diag.guides.register import GUIDES
    from diag.rulebook import advice, uses, waiting

    later = waiting()
    lines = [
        "# Rules",
        "",
        "Findings and changes cite the rows of the published guidance they rest on. Each row has an id, the guide it was taken from,",
        "and what uses it: a check or lint rule by its code, the profile tables, the changes, a key of a dialect, or a page. Some wait",
        "for the planner of sweeps (tuning) or for short confirming runs (replay). `diag rules` lists them by parameter, method, source",
        "or owner.",
        "",
    ]
    for key, title in GUIDES.items():
        lines += [f"## {title}", "", "| id | kind | rule | used by |", "|---|---|---|---|"]
        for rule in rules().values():
            if rule.seed == key:
                used = ", ".join(_link(label) for label in (*uses()[rule.id], *advice()[rule.id]))
                used = f"waits for {later[rule.id].target}" if rule.id in later else used
                lines.append(f"| {rule.id} | {rule.kind} | {escaped(rule.content)} | {used} |")
        lines.append("")
    return "\n".join(lines)


def _link(label: str) -> str:
    """What uses a row, as a link to its page."""
    kind, _, target = label.partition(" ")
    if re.fullmatch(r"[A-Z]{3}\d{3}", label):
        folder = {"CFG": "lint", "GAT": "gate"}.get(label[:3], "checks")
        return f"[{label}]({folder}/{label}.md)"
    if re.fullmatch(r"[FHP]\d\d", label):
        return f"[{label}](policy.md)"
    if kind == "docs":
        return f"[{target.partition('#')[2].replace('-', ' ')}](../{target})"
    if kind in ("profile", "choice") and target:
        return f"[{kind}](profiles.md) {escaped(target)}"
    return f"[{label}](conflicts.md)" if kind == "conflict" else escaped(label)


def profiles_page() -> str:
    """The tables of starting values."""
    from diag.guides.choices import CHOICES
    from diag.guides.profiles import PROFILES, ROWS, SOURCE_ROWS, SOURCES

    lines = [
        "# Profiles",
        "",
        "Where each profile starts, and the limits that no automatic change leaves. Samples are those of the training set, parameters",
        "those of the model. *Derived* marks a start that no guide names: the geometric mean of their bounds, or half of one.",
        "",
    ]
    for parameter in dict.fromkeys(row.parameter for row in ROWS):
        rows = [row for row in ROWS if row.parameter == parameter]
        lines += [f"## {parameter}", "", f"| method | samples | parameters | {' | '.join(PROFILES)} | limits | rows |", "|" + "---|" * 8]
        for row in rows:
            starts = [
                _number(start) + (" *derived*" if row.derived == name else "") for start, name in zip(row.starts, PROFILES, strict=True)
            ]
            limits = f"{_number(row.clip[0])} to {_number(row.clip[1])}"
            where = f"{', '.join(row.methods)} | {_interval(row.samples)} | {_interval(row.parameters)}"
            lines.append(f"| {where} | {' | '.join(starts)} | {limits} | {row.rules} |")
        lines += ["", "| guide | method | samples | parameters | start | rows |", "|" + "---|" * 6]
        own = [row for row in SOURCE_ROWS if row.parameter == parameter]
        names = {key: name for name, key in SOURCES.items()}
        for entry in own:
            where = f"{', '.join(entry.methods)} | {_interval(entry.samples)} | {_interval(entry.parameters)}"
            lines.append(f"| `{names[entry.guide]}` | {where} | {_number(entry.start)} | {entry.rules} |")
        if not own:
            del lines[-2:]
        lines.append("")
    lines += ["## Choices", "", "What is preferred where the choice is not a number, and what else is fine.", ""]
    lines += ["| parameter | method | preferred | also fine | rows |", "|---|---|---|---|---|"]
    for choice in CHOICES:
        also = ", ".join(str(value) for value in choice.allowed[1:])
        methods, cited = ", ".join(choice.methods), " ".join(choice.rules)
        lines.append(f"| {choice.parameter} | {methods} | {escaped(str(choice.preferred))} | {escaped(also)} | {cited} |")
    return "\n".join([*lines, ""])


def _number(value: float) -> str:
    from diag.text import show

    return "any" if value == float("inf") else show(float(value))


def _interval(interval: tuple[float, float]) -> str:
    """``below 5,000``, ``1,000 to 5,000``, ``any``: the upper end is not part of it."""
    low, high = interval
    if high == float("inf"):
        return "any" if low == 0 else f"from {_count(low)}"
    return f"below {_count(high)}" if low == 0 else f"{_count(low)} to {_count(high)}"


def _count(number: float) -> str:
    return f"{number / 1e9:g}B" if number >= 1e9 else f"{number:,.0f}"


def conflicts_page() -> str:
    """Where the guides contradict each other."""
    from diag.guides.conflicts import CONFLICTS
    from diag.guides.profiles import SOURCES

    names = {key: name for name, key in SOURCES.items()}
    lines = [
        "# Conflicts",
        "",
        "Where the guides contradict each other, or themselves, and what is done instead.",
        "",
        "| | about | guides | what is done | because | rows |",
        "|---|---|---|---|---|---|",
    ]
    for entry in CONFLICTS:
        guides = ", ".join(names[key] for key in entry.guides)
        cells = (entry.title, guides, entry.resolution, entry.evidence, " ".join(entry.rules))
        lines.append(f"| {entry.number} | {' | '.join(map(escaped, cells))} |")
    return "\n".join([*lines, ""])


def policy_page() -> str:
    """What is changed for which symptom, and how runs are planned."""
    from diag.guides.policy import BESIDES, PLANNING, POLICIES

    lines = [
        "# Fixes",
        "",
        "What the guides try for each symptom, in order. Factors multiply the current value, results are kept within the limits of",
        "[the profiles](profiles.md); a change of the batch takes the learning rate along by the square root, a change of the rank keeps",
        "alpha over rank, and running out of memory never changes the effective batch.",
        "",
        "| | symptom | changes, in order | mind | carried by | rows |",
        "|---|---|---|---|---|---|",
    ]
    for policy in POLICIES:
        carriers = (*(f"`{cause}`" for cause in policy.causes), *(["lint"] if policy.linted else []), *policy.gated)
        carried = ", ".join(carriers) or escaped(policy.waiting)
        steps = "; ".join(f"{number}. {step}" for number, step in enumerate(policy.steps, start=1))
        cells = f"{escaped(policy.symptom)} | {escaped(steps)} | {escaped(policy.guard)} | {carried} | {' '.join(policy.rules)}"
        lines.append(f"| {policy.id} | {cells} |")
    return "\n".join([*lines, "", *_items("Planning", PLANNING), *_items("Besides", BESIDES)])


def _items(title: str, items: tuple[Item, ...]) -> list[str]:
    lines = [f"## {title}", "", "| | about | rule | rows |", "|---|---|---|---|"]
    return [*lines, *(f"| {item.id} | {escaped(item.title)} | {escaped(item.text)} | {' '.join(item.rules)} |" for item in items), ""]


def write_pages(app: Sphinx) -> None:
    """Write all pages, and remove those of checks that are gone."""
    from diag.battery import checks
    from diag.gate import pages as pages_of_the_gate
    from diag.linting import lints

    folder = Path(app.srcdir) / "_generated"
    battery, gate = checks(), pages_of_the_gate()
    pages = {"rules.md": rules_page(), "checks/index.md": index_page(battery, gate)}
    pages |= {f"gate/{page.code}.md": gate_page(page) for page in gate}
    pages |= {f"checks/{check.code}.md": check_page(check) for check in battery}
    pages |= {"lint/index.md": lint_index_page(lints())} | {f"lint/{rule.code}.md": lint_page(rule) for rule in lints()}
    pages |= {f"keys/{dialect}.md": text for dialect, text in key_tables().items()}
    pages |= {"profiles.md": profiles_page(), "conflicts.md": conflicts_page(), "policy.md": policy_page()}
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
