"""CFG099: a comment that silences nothing."""

from __future__ import annotations

from collections.abc import Iterable

from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO


class UnusedIgnore(Lint):
    """A comment ``# diag: ignore[…]`` silences nothing.

    ## What it does
    Tells of comments on whose line no finding of the named codes is left. The engine applies this rule itself, as only it
    knows what the comments silenced.

    ## Why is this bad?
    The comment outlives its reason and will hide the next problem on its line.

    ## When it stays silent
    When a named rule was left out by ``--select`` or ``--ignore``.

    ## What to do
    Remove the comment.

    ## References
    The same habit in other linters, such as ruff's RUF100.
    """

    code = "CFG099"
    name = "unused-ignore"
    severity = INFO

    def inspect(self, plan: Plan) -> Iterable[Violation]:
        """Nothing: see ``diag.linting``."""
        return ()
