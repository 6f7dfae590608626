"""What the tests of lint rules share: lint one config given as text."""

from __future__ import annotations

from typing import Any

from diag.documents import YAML, parse
from diag.lint import Violation
from diag.linting import inspect, lints, plan_of
from diag.plan import Options, Plan


def plan(text: str, form: str = YAML, *, name: str = "", **options: Any) -> Plan:
    """The plan of a config's text (the first one in it); ``options`` are those of ``diag.plan.Options``."""
    suffix = {"yaml": "yaml", "json": "json", "shell": "sh", "python": "py"}[form]
    document = parse(text, name=name or f"config.{suffix}", form=form)[0]
    made = plan_of(document, Options(**options))
    assert made is not None, "not recognized as a training config"
    return made


def violations(text: str | Plan, code: str = "", form: str = YAML, **options: Any) -> list[Violation]:
    """The violations of one rule (or of all); a rule that crashes fails the test."""
    made = text if isinstance(text, Plan) else plan(text, form, **options)
    problems: list[Any] = []
    report = inspect(made, [rule for rule in lints() if rule.code.startswith(code)], problems)
    assert not problems, problems
    return list(report.violations)


def codes(text: str, form: str = YAML, **options: Any) -> set[str]:
    """The codes of all violations."""
    return {violation.code for violation in violations(text, form=form, **options)}
