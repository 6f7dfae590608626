"""The report as a page: one file that needs neither network nor scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diag.report import Layout
    from diag.result import Report


def render(report: Report, layout: Layout) -> str:
    """The page, the same bytes for the same input; where only ASCII may be written, other characters are references."""
    from diag.report.html.page import page

    written = page(report, layout.fail_on)
    return written if layout.unicode else written.encode("ascii", "xmlcharrefreplace").decode("ascii")
