"""What a change is: the common currency of checks, lint rules, prescriptions and dialects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

SAFE: Final = "safe"
UNSAFE: Final = "unsafe"
DISPLAY: Final = "display"

SET: Final = "set"
REMOVE: Final = "remove"
RENAME: Final = "rename"
REWRITE: Final = "rewrite"


@dataclass(frozen=True, slots=True)
class Fix:
    """One change.

    Attributes:
        parameter: canonical hyperparameter; for advice (``applicability`` "display") the thing it is about, such as ``data``;
            for a change in the framework's own words (``key``) that key.
        old: the run's own value, None if unknown.
        new: the value to set, None where only a factor or advice can be given; the new name for ``action`` "rename".
        factor: multiply the current value by this, where the value is unknown.
        rank: 1 is the first prescription (all rank-1 fixes are applied together); later ranks are tried after it.
        because: code of the finding (or cause) it answers.
        reason: one sentence.
        rules: ids of guide rows it rests on.
        applicability: ``safe`` (cannot hurt the result), ``unsafe`` (changes the training) or ``display`` (advice to read).
        key: the dotted native key to write, "" to let the dialect find it from ``parameter``.
        action: what to do with ``key``: "set", "remove", "rename", or "rewrite" (the same value in other characters).
        arithmetic: how the number came about, such as ``1e-3 / 5, clipped to 1e-5..3e-4``; "" where there is nothing to say.
    """

    parameter: str
    old: Any
    new: Any
    factor: float | None
    rank: int
    because: str
    reason: str
    rules: tuple[str, ...] = ()
    applicability: str = UNSAFE
    key: str = ""
    action: str = SET
    arithmetic: str = ""
