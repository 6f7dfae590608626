"""What is written of a run, the same for every target: a few short fields, and whole reports as files; and how libraries are used."""

from __future__ import annotations

import logging
import os
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from diag import __version__
from diag.report import Layout, formats, renderer
from diag.result import Report, describe_change, plain
from diag.terminal import safe

if TYPE_CHECKING:
    from diag.fixes import Fix
    from diag.result import RunReport

FOLDER = "diag"
"""Folder among a run's artifacts or files that the reports go to."""
NONE = "none"
"""What a field says that is empty: a tag without a value looks like a mistake."""
FILE_FORMATS = {"json": "report.json", "html": "report.html", "markdown": "report.md"}
"""Reports that are kept with a run, and the files they go to; a format that is not registered is left out."""
CONFIDENCE_DIGITS = 4
"""Digits of the confidence, as in the JSON report."""


def fields(entry: RunReport) -> dict[str, str | float]:
    """The verdict in short, by name: texts on one line without control characters, and the confidence as a number."""
    diagnosis = entry.diagnosis
    return {
        "verdict": diagnosis.verdict,
        "confidence": round(float(plain(diagnosis.confidence)), CONFIDENCE_DIGITS),
        "causes": ", ".join(f"{cause.cause} {cause.score:.2f}" for cause in diagnosis.causes) or NONE,
        "findings": ", ".join(dict.fromkeys(finding.code for finding in entry.findings)) or NONE,
        "fix": "; ".join(safe(change(fix) or f"{fix.parameter}: {fix.reason}") for fix in entry.fixes if fix.rank == 1) or NONE,
        "version": __version__,
    }


def files(entry: RunReport, fail_on: str) -> dict[str, bytes]:
    """Whole reports of the run alone, by file name."""
    report, registered = Report((entry,)), formats()
    rendered = {
        name: renderer(format_)(report, Layout.of_file().with_(fail_on=fail_on))
        for format_, name in FILE_FORMATS.items()
        if format_ in registered
    }
    return {name: content if isinstance(content, bytes) else content.encode() for name, content in rendered.items()}


def change(fix: Fix) -> str:
    """A change in one phrase, "" for advice, which has no value."""
    return describe_change(fix) if fix.new is not None or fix.factor is not None else ""


@contextmanager
def library(variables: Mapping[str, str]) -> Iterator[None]:
    """Use a tracker's library for a while: its log and its warnings go nowhere, its errors are the caller's to tell.

    Args:
        variables: environment variables that tell it how to behave, given back afterwards; what the user has set stays.
    """
    added = {name: value for name, value in variables.items() if name not in os.environ}
    logged = logging.root.manager.disable
    os.environ.update(added)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logged)
        for name in added:
            os.environ.pop(name, None)


def shown(path: Path) -> str:
    """A path as the user would type it: relative where it lies below the working folder, quoted for a shell."""
    near = os.path.relpath(path)
    return shlex.quote(str(path) if near.startswith("..") else near)
