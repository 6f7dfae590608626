"""CFG065: a key that is set twice."""

from __future__ import annotations

from collections.abc import Iterator

from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR


class RepeatedKey(Lint):
    """A key is set more than once.

    ## What it does
    Looks for a key that stands twice in the same mapping, or an argument that is given twice.

    ## Why is this bad?
    Parsers keep the last one, or refuse the file; the reader believes the first one.

    ## When it stays silent
    For equal keys in different sections.

    ## What to do
    Keep one of them.

    ## References
    YAML 1.2, section 3.2.1.3 (mapping keys are unique); RFC 8259, section 4.
    """

    code = "CFG065"
    name = "repeated-key"
    severity = ERROR

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a key."""
        for key, line in plan.document.repeated.items():
            setting = plan.document.settings.get(key)
            counts = "" if setting is None or key not in plan.flat else f", {show(setting.value)}, counts"
            yield self.violation(
                plan, f"{key} is set more than once; the last value{counts} (line {line}).", at=key, evidence={"line": line}
            )
