"""Phrases that every report for people uses."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from diag.result import describe_value

if TYPE_CHECKING:
    from diag.check import Finding
    from diag.fixes import Fix
    from diag.report.issues import Issue


def change(fix: Fix) -> str:
    """What becomes of a parameter: ``3 → 1``, ``1`` where the old value is unknown, ``divide by 5``; "" where there is only advice."""
    if fix.new is None and fix.factor is not None:
        return f"divide by {1 / fix.factor:.4g}" if 0 < fix.factor < 1 else f"multiply by {fix.factor:.4g}"
    if fix.new is None:
        return ""
    return describe_value(fix.new) if fix.old is None else f"{describe_value(fix.old)} → {describe_value(fix.new)}"


def steps(finding: Finding | Issue, dash: str = "–") -> str:
    """The steps of a finding: ``steps 140–480``, ``step 140``, or ""."""
    start, end = finding.step_start, finding.step_end
    if start is None and end is None:
        return ""
    if start is None or end is None or start == end:
        return f"step {start if start is not None else end:,}"
    return f"steps {start:,}{dash}{end:,}"


def argument_lines(arguments: Iterable[str]) -> list[str]:
    """Arguments ready for a shell, one option a line."""
    groups: list[str] = []
    for argument in arguments:
        quoted = shlex.quote(argument)
        if groups and not argument.startswith("--"):
            groups[-1] += f" {quoted}"
        else:
            groups.append(quoted)
    return [group + (" \\" if i + 1 < len(groups) else "") for i, group in enumerate(groups)]
