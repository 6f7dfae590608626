"""Counts and shares as people write them: ``7B``, ``350M``, ``52k``, ``8x7B``; ``5%``, ``0.05``."""

from __future__ import annotations

import re

from diag.errors import UsageError

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}

_LARGEST = 1e18
"""Above this a count of parameters or samples is a slip of the finger."""


def parse_count(text: str) -> float:
    """A positive count with an optional suffix, such as ``7B``, ``350M``, ``1.3e9``, ``8x7B``, ``52k``.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(?:(\d+)x)?(\d[\d_,]*\.?\d*(?:e[+-]?\d{1,2})?)([kmbgt]?)", text.strip().lower())
    number = float(match[2].replace(",", "").replace("_", "")) * _SUFFIXES[match[3]] * int(match[1] or 1) if match else 0.0
    if not 0 < number < _LARGEST:
        raise UsageError(f"{text!r} is not a count; write it like 7B, 350M, 52k or 1200")
    return number


def parse_share(text: str) -> float:
    """A share from 0 up to, but not including, 1: ``5%`` or ``0.05``.

    Raises:
        UsageError: it is none; a bare 5 could mean either 5% or 500%.
    """
    match = re.fullmatch(r"(\d*\.?\d+(?:e[+-]?\d{1,3})?)\s*(%?)", text.strip().lower())
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share < 1:
        raise UsageError(f"{text!r} is not a share; write it like 5% or 0.05")
    return share
