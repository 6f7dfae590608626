"""Text in GitHub-flavoured Markdown that stays text: no markup, HTML, link, mention or reference can come of it.

Backslashes keep CommonMark and the extensions from reading marks (CommonMark 0.31, "Backslash escapes"). GitHub finds mentions, references
and bare addresses after that, in the rendered text, so a zero-width space is put into those.
"""

from __future__ import annotations

import re
from typing import Final

BREAK: Final = "&#8203;"
"""A zero-width space, as an entity so that it can be seen in the source."""

_MARKS: Final = re.compile(r"[\\`*\[\]|~$!^]|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning; an underscore within a word has none."""
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_REFERENCES: Final = re.compile(r"@|#(?=\d)|:(?=//)|www(?=\.)|GH(?=-\d)", re.IGNORECASE)
"""Beginnings of what GitHub makes a link of ("Autolinked references and URLs")."""


def text(words: str) -> str:
    """Words on one line, as they are. They must not begin a line, where ``#`` or ``-`` would still mark a block."""
    return _REFERENCES.sub(rf"\g<0>{BREAK}", _MARKS.sub(r"\\\g<0>", words.translate(_ENTITIES)))


def code(words: str, *, in_table: bool = False) -> str:
    """Words on one line as a code span, with a fence longer than any in them; in a table, bars need a backslash even there."""
    if not words.strip():
        return ""
    fence = "`" * (_longest_run(words) + 1)
    pad = " " if words.startswith(("`", " ")) or words.endswith(("`", " ")) else ""
    span = f"{fence}{pad}{words}{pad}{fence}"
    return span.replace("|", "\\|") if in_table else span


def block(language: str, lines: list[str]) -> list[str]:
    """Lines as a fenced code block, with a fence longer than any in them."""
    fence = "`" * max(3, _longest_run("\n".join(lines)) + 1)
    return [f"{fence}{language}", *lines, fence]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table of cells that are Markdown already; [] without rows."""
    if not rows:
        return []
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def folded(summary: str, lines: list[str]) -> list[str]:
    """Lines that are shown when the summary is clicked; the summary is HTML, and must be made of the program's own words."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def _longest_run(words: str) -> int:
    return max(map(len, re.findall("`+", words)), default=0)
