"""Comments that silence findings: ``# diag: ignore[CFG012] reason``."""

from __future__ import annotations

import re
from typing import Final

from diag.documents import Ignore

COMMENT: Final = re.compile(
    r"(?:^|\s)#\s*diag:\s*ignore(?P<file>-file)?(?![\w-])"
    r"(?:\s*\[(?P<codes>[^\]\n]*)\]|\s*:?\s*(?P<bare>[A-Z]{3}\d+(?:[,\s]+[A-Z]{3}\d+)*)\b|(?!\s*\[))"
    r"(?P<reason>[^\n]*)$",
    re.IGNORECASE,
)
"""The comment; codes without their brackets are codes too, and a bracket that is not closed makes it none: silencing everything is not
what either was written for."""


def ignores(text: str) -> list[Ignore]:
    """Every such comment of a text, in order.

    A comment after a value is about its own line; one that stands alone on a line is about the next line that is neither
    blank nor a comment; ``ignore-file`` is about the whole file.
    """
    found: list[Ignore] = []
    if "diag:" not in text:
        return found
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = COMMENT.search(line)
        if match is None:
            continue
        codes = tuple(code for code in re.split(r"[,\s]+", (match["codes"] or match["bare"] or "").strip().upper()) if code)
        target = 0 if match["file"] else number
        if target and not line[: match.start()].strip():
            target = _next_content(lines, number)
        found.append(Ignore(target, codes, match["reason"].strip(" :-"), number))
    return found


def _next_content(lines: list[str], number: int) -> int:
    """The number of the first line after ``number`` that is neither blank nor a comment; ``number`` if there is none."""
    for following, line in enumerate(lines[number:], number + 1):
        if (content := line.strip()) and not content.startswith("#"):
            return following
    return number
