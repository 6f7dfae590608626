"""CFG060: a number that YAML 1.1 parsers read as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from diag.documents import JSON, PYTHON, YAML
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR

PYYAML_NUMBER = re.compile(
    r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
    r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+"
)
"""What PyYAML takes for a number: a float needs a dot in the mantissa and a sign in the exponent (YAML 1.1, the float type)."""

TRANSLATING = frozenset({"automodel", "axolotl", "lightning", "litgpt", "llamafactory", "torchtune"})
"""Dialects whose loaders turn such text into numbers: NeMo AutoModel translates strings, Axolotl's schema converts them, jsonargparse
(Lightning, litgpt) and OmegaConf (LLaMA-Factory, torchtune) resolve floats by their own rules."""

NUMERIC = frozenset({"int", "float", "number"})


class NumberReadAsText(Lint):
    """A number is written so that the framework reads text: ``5e-6`` in YAML, a number in quotes anywhere.

    ## What it does
    Looks at unquoted numbers with an exponent but without a dot in the mantissa or a sign in the exponent, and at quoted
    numbers, under keys that take a number; in JSON, and in the calls of Python files, at numbers in quotes.

    ## Why is this bad?
    PyYAML follows YAML 1.1, where ``5e-6`` is a string. Some frameworks then fail in the middle of building the optimizer
    (``'<=' not supported between 'float' and 'str'``), others carry the text into places where nobody looks.

    ## When it stays silent
    In dialects whose loaders turn the text back into a number (NeMo AutoModel, Axolotl, and all that read YAML with OmegaConf or
    jsonargparse), and for keys that take text.

    ## What to do
    Write a dot and a signed exponent: ``5.0e-6``, or plain decimals: ``0.000005``.

    ## References
    YAML 1.1, the float type; PyYAML's implicit resolver.
    """

    code = "CFG060"
    name = "number-read-as-text"
    severity = ERROR

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a number."""
        form = plan.document.form
        if form not in (YAML, JSON, PYTHON) or plan.dialect in TRANSLATING or (form == PYTHON and plan.dialect != "hf"):
            return
        for key, setting in plan.document.settings.items():
            row = plan.row(key)
            if plan.dialect == "training_hub" and row is not None and row.cli != "-":
                continue  # its command line turns the values of its own options into numbers
            kinds = set(row.type.split("|")) if row is not None and row.type else set()
            if kinds and (not kinds & NUMERIC or "str" in kinds):
                continue
            value = setting.value
            if setting.quoted or (form != YAML and isinstance(value, str)):
                number = _number(str(value)) if kinds & NUMERIC else None
                if number is None:
                    continue
                message = f"{key} is text, as it is quoted: write {_written(number)} without quotes."
            elif form == YAML and isinstance(value, (int, float)) and not isinstance(value, bool) and _is_text(setting.text):
                number = float(value)
                message = f"YAML 1.1 parsers such as PyYAML read {setting.text} as text: write {_written(number)}."
            else:
                continue
            reason = f"{_written(number)} is a number to every YAML parser." if form == YAML else "The optimizer computes with it."
            if form == YAML:
                fix = self.rewrite_key(plan, key, number, reason)
            else:
                fix = self.set_key(plan, key, number, reason, applicability=SAFE)
            yield self.violation(plan, message, at=key, evidence={"text": setting.text, "number": number}, fixes=[fix])


def _is_text(text: str) -> bool:
    """Whether PyYAML reads an unquoted number as text."""
    return not PYYAML_NUMBER.fullmatch(text) and bool(re.fullmatch(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+", text))


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text) if re.search(r"\d", text) else None
    except ValueError:
        return None


def _written(number: float) -> str:
    from diag.dialects.draft import yaml_scalar

    return yaml_scalar(number)
