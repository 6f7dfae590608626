"""Findings that are fine, and why: ``.diagignore`` in a run's folder, ``[[accept]]`` in the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar

from diag import small_text
from diag.check import Documented, Finding
from diag.configuration.options import Acceptance
from diag.errors import UsageError
from diag.lint import Violation
from diag.result import Accepted
from diag.vocabulary import INFO

F = TypeVar("F", Finding, Violation)

NAME: Final = ".diagignore"
MAX_BYTES: Final = 256 << 10
"""A list of accepted findings is far shorter; a larger file is something else."""

_ONE: Final = r"[A-Z]{3}\d{0,3}"
LINE: Final = re.compile(rf"(?P<codes>{_ONE}(?:\s*,\s*{_ONE})*)(?:\[(?P<metric>[^\]]*)\])?(?::|\s|$)\s*(?P<reason>.*)")


class UnusedAcceptance(Documented):
    """A line of a run's `.diagignore` accepts what is not there.

    ## What it does
    Reports every line whose checks all judged the run and found nothing that the line is about.

    ## Why is this bad?
    What is accepted in advance will not be seen when it comes.

    ## When it stays silent
    Where a check that the line names was left out or could not judge the run. Entries of the configuration are not reported: they may be
    about other runs.

    ## What to do
    Remove the line.

    ## References
    The line is yours; see the page on configuration.
    """

    code = "GAT090"
    name = "unused-acceptance"
    severity = INFO


def read(path: Path, name: str) -> tuple[Acceptance, ...]:
    """What a ``.diagignore`` accepts; () if there is none. ``name`` is what messages call it.

    A line is ``CODE reason``, ``CODE,CODE reason`` or ``CODE[metric] reason``; a family, such as ``OVF``, stands for all its codes.
    ``#`` begins a comment.

    Raises:
        InputError: it cannot be read.
        UsageError: a line has no code, or no reason.
    """
    text = small_text.read(path, MAX_BYTES, "write one finding a line", name)
    try:
        return () if text is None else parse(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def parse(text: str) -> tuple[Acceptance, ...]:
    """What the lines of a ``.diagignore`` accept.

    Raises:
        UsageError: a line has no code, or no reason; the message names the line.
    """
    found: list[Acceptance] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = LINE.fullmatch(content)
        if match is None:
            raise UsageError(f"line {number} does not begin with a code; write it like: OVF001 why that is fine")
        if not (reason := match["reason"].strip()):
            raise UsageError(f"line {number} gives no reason; write it like: {match['codes']} why that is fine")
        codes = [code.strip() for code in match["codes"].split(",")]
        found += [Acceptance(code, reason, (match["metric"] or "").strip(), place=f"{NAME}:{number}") for code in codes]
    return tuple(found)


def divide(findings: Iterable[F], acceptances: Iterable[Acceptance]) -> tuple[list[F], list[tuple[F, str, str]]]:
    """The findings of a run or config that nobody accepted; those that somebody did, with the reason and the place.

    Of several acceptances the first counts.
    """
    entries = tuple(acceptances)
    kept: list[F] = []
    accepted: list[tuple[F, str, str]] = []
    for finding in findings:
        entry = next((entry for entry in entries if _is_about(entry, finding)), None)
        if entry is None:
            kept.append(finding)
        else:
            accepted.append((finding, entry.reason, entry.place))
    return kept, accepted


def unused(acceptances: Iterable[Acceptance], accepted: Iterable[Accepted], examined: Iterable[str], known: Iterable[str]) -> list[Finding]:
    """A finding for every entry that accepts nothing although all checks it names judged the run.

    Args:
        acceptances: of the run itself.
        accepted: what they accepted.
        examined: codes of the checks that judged the run.
        known: codes of all checks.
    """
    judged, every = set(examined), list(known)
    used = {entry.by for entry in accepted}
    found = []
    for entry in acceptances:
        named = [code for code in every if code.startswith(entry.code)]
        if entry.place in used or not all(code in judged for code in named):
            continue
        about = f"{entry.code}[{entry.metric}]" if entry.metric else entry.code
        what = "which is no code of a check" if not named else "which was not found"
        message = f"{entry.place} accepts {about}, {what}."
        page = UnusedAcceptance
        found.append(
            Finding(page.code, page.name, page.severity, message, entry.metric, evidence={"place": entry.place, "code": entry.code})
        )
    return found


def _is_about(entry: Acceptance, finding: Finding | Violation) -> bool:
    return finding.code.startswith(entry.code) and entry.metric in ("", finding.about)
