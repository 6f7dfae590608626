"""``diag checks``: list the battery and the lint rules."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from diag.cli.common import warn_of_broken_plugins, write_output

if TYPE_CHECKING:
    from diag.check import Check


@click.command()
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(format_: str, debug: bool) -> None:
    """List the checks of runs, the findings of the gate (GAT) and the lint rules of configs (CFG).

    For each its code, name, usual severity and summary; as JSON also what it needs, the guide rows it rests on, and what can be set.
    """
    from diag.battery import checks
    from diag.check import Check, Documented
    from diag.gate import pages
    from diag.lint import Lint
    from diag.linting import lints
    from diag.report import Layout
    from diag.terminal import pad, paint, to_ascii

    warn_of_broken_plugins()
    battery: list[Documented | type[Documented]] = sorted([*checks(), *lints(), *pages()], key=lambda check: check.code)
    if format_ == "json":
        entries = [
            {
                "code": check.code,
                "name": check.name,
                "severity": check.severity,
                "kind": "check" if isinstance(check, Check) else "lint" if isinstance(check, Lint) else "gate",
                "needs": list(check.needs) if isinstance(check, Check) else [],
                "rules": list(check.rules),
                "reward_logs": isinstance(check, Check) and check.reward_logs,
                "summary": check.summary(),
                "thresholds": _thresholds(check) if isinstance(check, Check) else [],
            }
            for check in battery
        ]
        write_output(json.dumps({"schema_version": 1, "checks": entries}, indent=2) + "\n", None)
        return
    layout = Layout.of_stream(sys.stdout)
    names = max((len(check.name) for check in battery), default=0)
    room = max(20, layout.width - names - 18)
    lines = []
    for check in battery:
        summary = pad(check.summary(), room).rstrip()
        summary = summary if layout.unicode else to_ascii(summary)
        severity = pad(check.severity, 7)
        if layout.colour:
            severity = paint(severity, {"error": "red", "warning": "yellow"}.get(check.severity, "blue"))
        lines.append(f"{check.code}  {pad(check.name, names)}  {severity}  {summary}")
    counts = f"{len(checks())} checks, {len(pages())} findings of the gate and {len(lints())} lint rules"
    write_output("\n".join([*lines, "", f"{counts}; `diag explain CODE` prints a page", ""]), None)


def _thresholds(check: Check) -> list[dict[str, Any]]:
    """The numbers of a check that can be set, as JSON."""
    from diag.constants import about

    return [
        {
            "key": f"{check.code}.{entry.name}",
            "value": entry.value,
            "unit": entry.unit,
            "minimum": entry.minimum,
            "maximum": entry.maximum,
            "about": about(check, entry.name),
        }
        for entry in check.thresholds
    ]
