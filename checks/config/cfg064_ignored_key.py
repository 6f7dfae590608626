"""CFG064: a key that has no effect where it stands."""

from __future__ import annotations

from collections.abc import Iterator

from diag.checks.config._evaluation import strategy
from diag.dialects import recognition
from diag.dialects.interpret import framework
from diag.dialects.table import documented
from diag.guides import cite
from diag.lint import SAFE, UNSAFE, Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import ERROR, INFO, WARNING

REFUSING = frozenset({"litgpt", "hf"})
"""Dialects that fail on a key of another command or class; others drop it in silence."""


DEFAULT_LR0 = 0.01
"""The rate of Ultralytics' own default.yaml, which stands in every dump of its settings: nobody set it."""


class IgnoredKey(Lint):
    """A key has no effect where it stands.

    ## What it does
    Looks for keys that belong to another command, function or class of the framework (Training Hub drops them in silence,
    litgpt's fine-tuning commands refuse ``train.max_norm``), and for settings that another one switches off:
    ``eval_steps`` with the strategy ``epoch``, ``lr0`` with ``optimizer: auto``.

    ## Why is this bad?
    The config says one thing and the training does another. Whoever tunes such a key tunes nothing.

    ## When it stays silent
    Where what runs the config is not known, and for an ``lr0`` that is Ultralytics' default.

    ## What to do
    Remove the key, or set what it depends on.

    ## References
    The framework's configuration reference; guide row S2-062.
    """

    code = "CFG064"
    name = "ignored-key"
    severity = WARNING
    rules = cite("S2-062")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a key."""
        yield from self._of_another(plan)
        yield from self._switched_off(plan)

    def _of_another(self, plan: Plan) -> Iterator[Violation]:
        """Keys that the command, function or class at hand does not know."""
        if not plan.scope or plan.dialect not in ("training_hub", "litgpt", "hf") or "." in plan.scope:
            return
        scopes = {scope for row in documented(plan.dialect) for scope in row.scope.split()}
        if plan.scope not in scopes:
            return
        for key in plan.document.settings:
            rows = recognition.rows_of(plan.dialect, key)
            if not rows or any(not row.scope or plan.scope in row.scope.split() for row in rows):
                continue
            if plan.dialect == "hf" and (key.partition(".")[0] in SECTIONS or not _is_class(plan.scope)):
                continue
            known = ", ".join(sorted({scope for row in rows for scope in row.scope.split()})[:4])
            outcome = "refuses" if plan.dialect in REFUSING else "drops"
            yield self.violation(
                plan,
                f"{plan.scope} of {framework(plan.dialect)} {outcome} {key}, which belongs to {known}.",
                at=key,
                severity=ERROR,
                fixes=[self.remove_key(plan, key, f"{plan.scope} does not know it.", applicability=UNSAFE)],
            )

    def _switched_off(self, plan: Plan) -> Iterator[Violation]:
        """Settings that others make void."""
        if plan.dialect in ("hf", "llamafactory"):
            for kind in ("eval", "save"):
                named, key = strategy(plan, kind), f"{kind}_steps"
                if named in ("no", "epoch") and plan.native(key) is not None:
                    yield self.violation(
                        plan,
                        f"{key} ({show(plan.native(key))}) has no effect with {kind}_strategy {named}.",
                        at=key,
                        severity=INFO,
                        fixes=[self.remove_key(plan, key, "It has no effect.", applicability=SAFE)],
                    )
        tuned = plan.dialect == "ultralytics" and plan.native("lr0") not in (None, DEFAULT_LR0)
        if tuned and str(plan.native("optimizer") or "auto").lower() == "auto":
            yield self.violation(
                plan, "lr0 has no effect with optimizer auto, which chooses the rate itself: name an optimizer, such as AdamW.", at="lr0"
            )


def _is_class(scope: str) -> bool:
    return scope.endswith(("Config", "Arguments"))


SECTIONS = frozenset({"lora", "quantization_config", "early_stopping_patience", "early_stopping_threshold"})
"""Keys of a Python file that stand for arguments of other calls beside the trainer's."""
