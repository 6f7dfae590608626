"""Text that is safe and readable on a terminal: escaping, display width, colour, wrapping.

Names and messages come from logs that strangers wrote; nothing of them may reach the terminal as a control sequence.
"""

from __future__ import annotations

import os
from typing import TextIO
from unicodedata import category, combining, east_asian_width

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
"""Unicode categories that are escaped: controls (C0, C1, DEL), format characters (bidirectional overrides, zero
width), surrogates, private use, unassigned, line and paragraph separators. Blanks of any kind become a plain one."""

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "grey": "90"}
_WEIGHTS = {"bold": "1", "dim": "2"}

_ASCII = str.maketrans(
    {
        "→": "->", "×": "x", "÷": "/", "–": "-", "—": "-", "−": "-", "…": "...", "≤": "<=", "≥": ">=", "≈": "~", "±": "+-", "·": "-",
        "‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "µ": "u", "μ": "u", "σ": "sigma", "α": "alpha", "β": "beta",
    }
)  # fmt: skip


def safe(text: str) -> str:
    """The text on one line with every control, format and unassigned character shown as an escape such as ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if category(c) in _UNSAFE_CATEGORIES else c for c in text)


def _escape(character: str) -> str:
    if character in "\t\n\r" or category(character) == "Zs":
        return " "
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def to_ascii(text: str) -> str:
    """The text in ASCII: typographic signs by their usual spelling, anything else as an escape."""
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def display_width(text: str) -> int:
    """Columns the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, width: int) -> str:
    """The text with blanks up to ``width`` columns; longer text is cut and ends in an ellipsis."""
    if (size := display_width(text)) <= width:
        return text + " " * (width - size)
    cut = text
    while cut and display_width(cut) > width - 1:
        cut = cut[:-1]
    return cut + "…" + " " * (width - 1 - display_width(cut))


def tail(text: str, width: int) -> str:
    """The text, or an ellipsis and its end where it is wider than ``width`` columns: the end of a path tells more."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[1:]
    return "…" + text


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns, broken at blanks; a longer word is broken where it must be."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        while display_width(word) > width:
            if line:
                lines.append(line)
                line = ""
            head = word
            while display_width(head) > width:
                head = head[: min(len(head) - 1, width)]
            lines.append(head)
            word = word[len(head) :]
        if not word:
            continue
        if line and display_width(line) + 1 + display_width(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines or [""]


def paint(text: str, *styles: str) -> str:
    """The text between the ANSI codes of its styles (``red``, ``bold``, …)."""
    codes = ";".join(_WEIGHTS.get(style) or _COLOURS[style] for style in styles)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def wants_colour(stream: TextIO) -> bool:
    """Whether to colour what goes to ``stream``: NO_COLOR says no, then FORCE_COLOR says yes, then terminals get it.

    The variables count when they are not empty (no-color.org, force-color.org); ``TERM=dumb`` has no colours.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def speaks_unicode(stream: TextIO) -> bool:
    """Whether the stream's encoding can hold every character."""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").replace("_", "") in ("utf8", "utf16", "utf32", "utf8sig")
