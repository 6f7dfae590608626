"""The pages of checks, lint rules and the gate, for formats that carry them along."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from diag.check import Documented

FAMILIES: Final = {
    "CFG": "config",
    "DIV": "divergence",
    "EVL": "evaluation",
    "GAT": "gate",
    "GRD": "gradients",
    "LOG": "bookkeeping",
    "LRS": "learning-rate",
    "NSE": "noise",
    "OVF": "overfitting",
    "PRC": "precision",
    "RLH": "reward",
    "SPK": "spikes",
    "THR": "throughput",
    "UND": "underfitting",
}
"""Beginning of a code to the tag that its rules are filtered by."""


@cache
def pages() -> dict[str, Documented | type[Documented]]:
    """Everything that findings can come from, by code."""
    from diag import gate
    from diag.battery import checks
    from diag.linting import lints

    known: list[Documented | type[Documented]] = [*checks(), *lints(), *gate.pages()]
    return {page.code: page for page in known}


def section(page: str, title: str) -> str:
    """A section of a page, without its heading; "" if the page has none of that title."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return match[1].strip() if match else ""


def plain_text(markdown: str) -> str:
    """A page as text: headings without their marks, no emphasis, no code marks."""
    text = re.sub(r"^#+ +", "", markdown, flags=re.MULTILINE)
    return re.sub(r"`([^`\n]*)`", r"\1", text).replace("**", "")


def site() -> str:
    """Address of the documentation, from the metadata of the installed package (``Project-URL: Documentation``); "" if it names none."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("diag").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    labelled = {label.strip().casefold(): url.strip() for label, _, url in (str(entry).partition(",") for entry in urls)}
    return labelled.get("documentation", "")


def address(code: str, documentation: str) -> str:
    """Where the page of a code stands in the documentation."""
    folder = "lint" if code.startswith("CFG") else "checks"
    return f"{documentation.rstrip('/')}/_generated/{folder}/{code}.html"
