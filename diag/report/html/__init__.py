"""The report as a page: one file that needs neither network nor scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diag.report import Layout
    from diag.result import Report


def render(report: Report, layout: Layout) -> str:
    """The page, the same bytes for the same input."""
    from diag.report.html.page import page

    return page(report, layout.fail_on)
