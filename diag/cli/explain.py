"""``diag explain``: print the page of a check or lint rule."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from diag.cli.common import warn_of_broken_plugins, write_output
from diag.errors import UsageError
from diag.text import nearest

if TYPE_CHECKING:
    from diag.check import Check


@click.command()
@click.argument("code")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(code: str, debug: bool) -> None:
    """Print the page of a check, a lint rule or a finding of the gate: what it looks at, why that is bad, when it stays silent, what to do.

    CODE is a code (OVF001), a name (overfit-gap), or the id of a guide row that a change cites (S1-075).
    """
    from diag.battery import checks
    from diag.check import Check, Documented
    from diag.gate import pages
    from diag.linting import lints
    from diag.report import Layout
    from diag.terminal import paint, to_ascii

    layout = Layout.of_stream(sys.stdout)
    if re.fullmatch(r"[Ss]\d-\d{3}", code.strip()):
        write_output(_rule(code.strip().upper(), layout.unicode), None)
        return
    battery: list[Documented | type[Documented]] = [*checks(), *lints(), *pages()]
    warn_of_broken_plugins()
    by_word = {word.casefold(): check for check in battery for word in (check.code, check.name)}
    check = by_word.get(code.strip().casefold())
    if check is None:
        known = [word for check in battery for word in (check.code, check.name)]
        raise UsageError(f"no check {code!r}{nearest(code, known) or '; `diag checks` lists them'}")
    facts = [f"severity: {check.severity}"]
    if isinstance(check, Check):
        facts.append(f"needs: {', '.join(check.needs) or 'nothing in particular'}")
    if check.rules:
        facts.append(f"guide rows: {', '.join(check.rules)}")
    title, _, body = check.page().partition("\n")
    page = f"# {check.code} {check.name}\n\n{title}\n\n{' | '.join(facts)}\n\n{body.strip()}\n"
    if isinstance(check, Check) and check.thresholds:
        page += _thresholds(check)
    if layout.colour:
        page = re.sub(r"(?m)^#+ (.*)$", lambda heading: paint(heading[0], "bold"), page)
    write_output(page if layout.unicode else to_ascii(page), None)


def _thresholds(check: Check) -> str:
    """The numbers of a check that can be set."""
    from textwrap import fill

    from diag.constants import about
    from diag.text import show

    lines = ["", "## Thresholds", "Set with `--threshold KEY=VALUE`, or under `[thresholds]` in the configuration.", ""]
    for entry in check.thresholds:
        text = f"`{check.code}.{entry.name}` {show(entry.value)} ({entry.unit}): {about(check, entry.name)}"
        lines.append(fill(text, 120, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
    return "\n".join([*lines, ""])


def _rule(identity: str, unicode: bool) -> str:
    """One row of the guides' register."""
    from diag.guides import rules
    from diag.rulebook import uses
    from diag.terminal import to_ascii

    if identity not in rules():
        raise UsageError(f"no guide row {identity!r}; `diag rules` lists them")
    rule = rules()[identity]
    used = uses()[identity]
    text = f"{rule.id} ({rule.kind}, from the {rule.source})\n\n{rule.content}\n" + (f"\nused by {', '.join(used)}\n" if used else "")
    return text if unicode else to_ascii(text)
