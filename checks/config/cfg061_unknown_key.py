"""CFG061: a key that the framework does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache

from diag.dialects.table import documented
from diag.documents import PYTHON, SHELL
from diag.lint import SAFE, UNSAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO, WARNING

CLOSE = 0.8
"""Least similarity (of difflib, 0 to 1) of a known key for the unknown one to be taken for its misspelling."""

VERY_CLOSE = 0.9
"""Similarity from which the rename is safe: one letter in ten."""

ALIKE = 0.6
"""Similarity below which two words are different words."""

WITHOUT_WORDS = 0.93
"""Similarity of two keys of different numbers of words, without their underscores, from which one is the other mistyped."""

REFUSING = frozenset({"hf", "litgpt", "torchtune", "ultralytics", "megatron"})
"""Dialects that fail on a key they do not know; others take it in silence, which is worse."""

OPEN = frozenset({"lightning", "nanogpt"})
"""Dialects whose keys are mostly those of the user's own classes: only a near miss is told there."""


class UnknownKey(Lint):
    """A key is not one that the framework documents.

    ## What it does
    Compares every key with the table of the framework's documented keys. Sections that are handed to a class of the user's
    choice (``dataset``, ``model`` and the like) are open: any key is taken there.

    ## Why is this bad?
    Many frameworks ignore what they do not know. A misspelt ``leraning_rate`` then trains at the default, and nothing says so.

    ## When it stays silent
    In open sections, and for scripts whose own arguments cannot be known (a launch command of another program), unless the key is
    a documented one mistyped. In a YAML or JSON file of Hugging Face arguments, which a script may share with arguments of its
    own, a key that is not is a remark. For empty keys that are ignored anyway, and for keys of other versions, which have a rule
    of their own (CFG063).

    ## What to do
    Take the nearest documented key if that is what was meant; otherwise remove the key.

    ## References
    The framework's configuration reference; guide rows S0-042, S1-110, S1-218..239.
    """

    code = "CFG061"
    name = "unknown-key"
    severity = ERROR
    rules = ("S0-042", "S1-110")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation an unknown key."""
        known = _known(plan.dialect)
        strangers = {key: setting for key, setting in plan.document.settings.items() if plan.row(key) is None or _is_open(plan, key)}
        for key in strangers:
            near = nearest_key(key, known)
            slip = near is not None and is_slip(key, near[0])
            if not slip and (_is_open(plan, key) or not self._is_closed(plan)):
                continue
            fixes = []
            if near is not None and slip and not plan.has(near[0]):
                reason = f"{near[0]} is the documented key nearest to {key}."
                if near[0].rpartition(".")[0] == key.rpartition(".")[0]:
                    foreign = _is_open(plan, key) or (plan.document.form == SHELL and self._is_own(plan))
                    applicability = SAFE if near[1] >= VERY_CLOSE and not foreign else UNSAFE
                    fixes.append(self.rename_key(plan, key, near[0].rpartition(".")[2], reason, applicability=applicability))
            hint = f"; did you mean {near[0]}?" if near is not None else ""
            outcome = "fails on it" if plan.dialect in REFUSING else "ignores it"
            severity = ERROR if near is not None or plan.dialect in REFUSING else WARNING
            if _is_open(plan, key):
                if near is None or plan.has(near[0]) or "_" not in near[0].rpartition(".")[2]:
                    continue
                outcome, severity = "hands it to the class that the section names", WARNING
            elif self._is_own(plan):
                outcome += " unless the script defines it"
                severity = INFO if not slip else WARNING if plan.document.form == SHELL else ERROR
            elif strangers[key].value is None and plan.dialect not in REFUSING and not slip:
                continue  # nothing is lost
            yield self.violation(
                plan,
                f"{_name(plan)} does not document {key} and {outcome}{hint or '.'}",
                at=key,
                severity=severity,
                evidence={"nearest": near[0] if near is not None else None},
                fixes=fixes,
            )

    @staticmethod
    def _is_closed(plan: Plan) -> bool:
        """Whether every key there is can be known: not those of a script of the user's own."""
        if plan.dialect in OPEN:
            return False
        if plan.document.form == SHELL and plan.dialect == "hf":
            return plan.document.entry.startswith("trl ")
        return True

    @staticmethod
    def _is_own(plan: Plan) -> bool:
        """Whether a script of the user's own may define keys beside the framework's: a file or a command that does not say what runs it."""
        return plan.dialect == "hf" and plan.document.form != PYTHON and not re.match(r"trl |.*\brun_\w+\.py$", plan.document.entry)


def nearest_key(key: str, known: tuple[str, ...]) -> tuple[str, float] | None:
    """The documented key most like an unknown one, and how like (0 to 1); None if none is close.

    Within the same section the last parts are compared, else the whole keys, which must be closer still. A key with another number
    in it is another key.
    """
    from difflib import SequenceMatcher

    section, _, leaf = key.rpartition(".")
    leaves = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    match = get_close_matches(leaf, leaves, n=1, cutoff=CLOSE)
    nearest = leaves[match[0]] if match else next(iter(get_close_matches(key, known, n=1, cutoff=VERY_CLOSE)), None)
    if nearest is None or [c for c in nearest if c.isdigit()] != [c for c in key if c.isdigit()]:
        return None
    return nearest, SequenceMatcher(None, key, nearest).ratio()


def _is_open(plan: Plan, key: str) -> bool:
    """Whether a key stands in the section of torchtune's model builders: any key is taken there, but the usual ones are known."""
    row = plan.row(key)
    return plan.dialect == "torchtune" and key.startswith("model.") and row is not None and row.native.endswith(".**")


def is_slip(key: str, near: str) -> bool:
    """Whether a key looks like another one mistyped, and not like a word of its own: ``max_seq_len`` is no slip of ``max_seq_length``.

    Word for word: one that is left out or abbreviated makes another key, and so does the plural of a key of a single word.
    """
    from difflib import SequenceMatcher

    mine, theirs = (name.rpartition(".")[2].lower() for name in (key, near))
    if mine.replace("_", "") == theirs.replace("_", ""):
        return True
    pairs = list(zip(mine.split("_"), theirs.split("_"), strict=False))
    if mine.count("_") != theirs.count("_"):
        return SequenceMatcher(None, mine.replace("_", ""), theirs.replace("_", "")).ratio() >= WITHOUT_WORDS
    for one, other in pairs:
        shorter, longer = sorted((one, other), key=len)
        if one == other or (longer == f"{shorter}s" and len(pairs) > 1):
            continue
        if longer.startswith(shorter) or SequenceMatcher(None, one, other).ratio() < ALIKE:
            return False
    return True


@cache
def _known(dialect: str) -> tuple[str, ...]:
    return tuple(row.native for row in documented(dialect) if "*" not in row.native and not row.until)


def _name(plan: Plan) -> str:
    from diag.dialects.interpret import framework

    return framework(plan.dialect)
