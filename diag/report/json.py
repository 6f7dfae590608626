"""The JSON report; its shape is fixed by ``schema.json`` beside this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diag.report import Layout
    from diag.result import Report


def render(report: Report, layout: Layout) -> str:
    """Strict JSON, the same bytes for the same input."""
    return report.to_json(layout.fail_on)
