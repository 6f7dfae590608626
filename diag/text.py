"""Words and numbers in sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean …?"`` for the known name nearest to ``word``, "" if none is near."""
    from difflib import get_close_matches

    names = list(known)
    folded = {name.casefold(): name for name in names}
    match = get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[match[0]]!r}?" if match else ""


def significant(value: float, digits: int = 2) -> float:
    """``value`` rounded to so many significant digits."""
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


def show(value: Any) -> str:
    """A value for a sentence: ``2e-4``, ``0.05``, ``16``, ``cosine``."""
    if isinstance(value, (list, tuple)):
        return ", ".join(show(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value != 0 and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def counted(number: float, noun: str) -> str:
    """``1 step``, ``12,000 steps``."""
    shown = f"{number:,.0f}" if float(number).is_integer() else show(number)
    return f"{shown} {noun}" + ("" if number == 1 else "s")


def without_credentials(text: str) -> str:
    """The text with user names and passwords left out of its addresses: ``https://user:secret@host`` is ``https://host``."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)
