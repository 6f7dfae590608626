"""CFG062: a value that the key does not take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from diag.dialects.table import Row
from diag.documents import SHELL, Setting
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import nearest, show
from diag.vocabulary import ERROR

WORDS = frozenset({"auto", "none", "null", "~", ""})
"""Texts that say "not set" or "you decide" under any key."""

NEGATIVE = {
    "learning_rate": "a learning rate",
    "weight_decay": "a weight decay",
    "warmup_steps": "a warmup",
    "lora_rank": "a rank",
    "lora_alpha": "alpha",
}
"""Hyperparameters that cannot be below zero, for the message."""


FINITE = frozenset({*NEGATIVE, "min_lr", "warmup_ratio", "num_epochs", "max_steps", "global_batch_size", "micro_batch_size"})
"""Hyperparameters that infinity makes no sense for; an infinite norm to clip at is how some frameworks only measure the norm."""


class InvalidValue(Lint):
    """A value is of the wrong kind, or none of the words that the key takes.

    ## What it does
    Compares every value with the type and the words in the table of the framework's documented keys, and numbers with the
    range they can have at all: a dropout lies between 0 and 1, a learning rate is not negative.

    ## Why is this bad?
    The framework fails when it builds the trainer, minutes after the job started, or reads something else: ``"false"`` in
    quotes is true to Python.

    ## When it stays silent
    For values that a script computes, for ``null``, ``auto`` and ``none``, and for keys whose type is not documented.

    ## What to do
    Write a value of the kind that is named.

    ## References
    The framework's configuration reference; guide row S1-240.
    """

    code = "CFG062"
    name = "invalid-value"
    severity = ERROR
    rules = ("S1-240",)

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a value."""
        for key, setting in plan.document.settings.items():
            if key not in plan.flat or setting.value is None or (isinstance(setting.value, str) and setting.value.strip().lower() in WORDS):
                continue
            row = plan.row(key)
            problem = None if row is None else self._problem(row, setting, plan)
            if problem is not None:
                message = f"{key} is {show(setting.value)}; {problem}"
                message += "" if message.endswith("?") else "."
                yield self.violation(plan, message, at=key, evidence={"value": setting.value})

    def _problem(self, row: Row, setting: Setting, plan: Plan) -> str | None:
        value = setting.value
        if row.type and not any(_is(kind, value, plan) for kind in row.type.split("|")):
            if (
                {"int", "float", "number"} & set(row.type.split("|"))
                and isinstance(value, str)
                and setting.quoted
                and _looks_like_number(value)
            ):
                return None  # CFG060 speaks of numbers in quotes
            return f"it takes {_kinds(row.type)}"
        if row.values and isinstance(value, (str, bool, int, float)):
            allowed = row.values.split("|")
            word = str(value).strip()
            if word.casefold() not in {entry.casefold() for entry in allowed} and not ("str" not in row.type and isinstance(value, bool)):
                return f"it takes one of {', '.join(allowed)}{nearest(word, allowed)}"
        if isinstance(value, float) and not math.isfinite(value) and (math.isnan(value) or row.canonical in FINITE):
            return "it takes a finite number"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if row.canonical in NEGATIVE and value < 0:
                return f"{NEGATIVE[row.canonical]} cannot be negative"
            if row.canonical in {"dropout", "lora_dropout", "unfreeze_rank_ratio", "warmup_ratio"} and not 0 <= value <= 1:
                return "it is a share and lies between 0 and 1"
        return None


def _is(kind: str, value: Any, plan: Plan) -> bool:
    """Whether a value is of a kind, as the dialect's own loader would see it."""
    if isinstance(value, list) and kind in {"str", "int", "float", "number", "dict"} and plan.document.form == SHELL:
        return True  # several words after a flag
    if kind in {"any", ""}:
        return True
    if kind == "bool":
        return isinstance(value, bool) or (plan.document.form == SHELL and (value in (0, 1) or str(value).lower() in BOOLEANS))
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in {"float", "number"}:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "str":
        return isinstance(value, str) or (plan.document.form == SHELL and isinstance(value, (int, float)))
    if kind == "list":
        return isinstance(value, (list, tuple)) or (plan.document.form == SHELL and isinstance(value, (str, int, float)))
    return kind == "dict" and isinstance(value, dict)


BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "y", "n"})


def _looks_like_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kinds(types: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "number": "a number",
        "bool": "true or false",
        "str": "text",
        "list": "a list",
        "dict": "a mapping",
    }
    return " or ".join(dict.fromkeys(words.get(kind, kind) for kind in types.split("|")))
