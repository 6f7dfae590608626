"""CFG066: a word that YAML 1.1 parsers read as true or false."""

from __future__ import annotations

from collections.abc import Iterator

from diag.documents import YAML
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR

STRICT = frozenset({"hf"})
"""Dialects that hand what PyYAML read to an enumeration, which refuses a boolean."""


class WordReadAsBoolean(Lint):
    """A word such as ``no`` is read as false where the framework expects the word.

    ## What it does
    Looks for unquoted ``yes``, ``no``, ``on`` and ``off`` under keys that take a word: ``eval_strategy: no``.

    ## Why is this bad?
    YAML 1.1 parsers such as PyYAML read ``no`` as false, and the framework refuses ``False`` as the name of a strategy.

    ## When it stays silent
    In quotes, and under keys that take true or false.

    ## What to do
    Put the word in quotes.

    ## References
    YAML 1.1, the bool type.
    """

    code = "CFG066"
    name = "word-read-as-boolean"
    severity = ERROR

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a word."""
        if plan.document.form != YAML or plan.dialect not in STRICT:
            return
        for key, setting in plan.document.settings.items():
            row = plan.row(key)
            if setting.quoted or not isinstance(setting.value, bool) or row is None or row.type != "str" or setting.text.lower() in WORDS:
                continue
            allowed = row.values.split("|") if row.values else []
            if allowed and setting.text.lower() not in allowed:
                continue
            fix = self.set_key(plan, key, setting.text.lower(), "In quotes it is a word to every YAML parser.", applicability=SAFE)
            yield self.violation(
                plan, f'YAML 1.1 parsers read {setting.text} as {setting.value}: write {key}: "{setting.text}".', at=key, fixes=[fix]
            )


WORDS = frozenset({"true", "false"})
"""Words that are booleans to everyone."""
