"""What tests of lint rules share when they apply fixes: a config after the fixes of one rule, written by the real editor."""

from __future__ import annotations

from typing import Any

from linting import plan, violations

from diag.documents import YAML
from diag.fixing import of_plan, rewritten
from diag.vocabulary import INFO


def settled(text: str, code: str, form: str = YAML, **options: Any) -> str:
    """The config after all fixes of a rule; fails the test if the rule still speaks afterwards."""
    made = plan(text, form, **options)
    found = violations(made, code)
    assert found, f"{code} is silent"
    after = rewritten(of_plan(made, level=INFO, violations=found), made.document)
    left = violations(after, code, form, **options)
    assert not left, f"{code} does not settle: {[violation.message for violation in left]}\n{after}"
    return after
