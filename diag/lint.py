"""What a lint rule is, and what it says: the small interface that authors of ``CFG`` rules write against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from diag.check import Documented
from diag.fixes import DISPLAY, REMOVE, RENAME, REWRITE, SAFE, SET, UNSAFE, Fix

if TYPE_CHECKING:
    from diag.plan import Plan

__all__ = ["DISPLAY", "SAFE", "UNSAFE", "Fix", "Lint", "Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a config, or that the guides would do otherwise.

    Attributes:
        code: stable code of the rule, ``CFG`` and three digits.
        name: kebab-case name of the rule.
        severity: ``error`` (will crash, will not do what it says, or is known to ruin the run), ``warning`` (outside what the
            guides call safe) or ``info`` (the guides would rather have it otherwise; nothing is known to break).
        message: one complete sentence with its numbers.
        key: native key it is about, "" for the config as a whole.
        line, column: where that key stands, from 1; of the section, or the beginning, where the key is missing.
        evidence: the numbers behind the message; JSON values only.
        fixes: changes that would settle it, all of them together.
        rules: ids of the guide rows it rests on.
    """

    code: str
    name: str
    severity: str
    message: str
    key: str = ""
    line: int = 1
    column: int = 1
    evidence: Mapping[str, Any] = field(default_factory=dict)
    fixes: tuple[Fix, ...] = ()
    rules: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What of the config it is about: the native key."""
        return self.key

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stay the same from run to run: the code and the key, never a number."""
        import hashlib

        return hashlib.sha256(f"{self.code}\0{self.key}".encode()).hexdigest()[:16]


class Lint(Documented):
    """Base of all lint rules: metadata as class attributes, one method ``inspect``; the class docstring is the rule's page."""

    dialects: ClassVar[tuple[str, ...]] = ()
    """Dialects the rule is about; () for all."""
    whole: ClassVar[bool] = False
    """Whether the rule speaks only of whole training configs (``Plan.is_whole``): one that looks for what is missing."""

    def inspect(self, plan: Plan) -> Iterable[Violation]:
        """Yield violations; nothing where the config does not say enough."""
        raise NotImplementedError

    def violation(
        self,
        plan: Plan,
        message: str,
        *,
        at: str = "",
        severity: str | None = None,
        evidence: Mapping[str, Any] | None = None,
        fixes: Iterable[Fix] = (),
        rules: tuple[str, ...] | None = None,
    ) -> Violation:
        """A Violation with this rule's code, name, default severity and rules.

        Args:
            plan: the plan it was seen in.
            message: one complete sentence.
            at: canonical name or native key that it is about; "" for the config as a whole.
            severity: if not the usual one.
            evidence: the numbers behind the message.
            fixes: changes that would settle it, together.
            rules: if not all of the rule's.
        """
        place = plan.place(at)
        return Violation(
            self.code,
            self.name,
            severity or self.severity,
            message,
            place.key,
            place.line,
            place.column,
            evidence or {},
            tuple(fixes),
            self.rules if rules is None else rules,
        )

    def fix(
        self,
        plan: Plan,
        parameter: str,
        new: Any,
        reason: str,
        *,
        applicability: str = UNSAFE,
        rules: tuple[str, ...] | None = None,
        arithmetic: str = "",
    ) -> Fix:
        """Set a canonical hyperparameter; the dialect knows under which key, and what has to move along."""
        cited = self.rules if rules is None else rules
        return Fix(parameter, plan.value(parameter), new, None, 1, self.code, reason, cited, applicability, arithmetic=arithmetic)

    def set_key(
        self, plan: Plan, key: str, new: Any, reason: str, *, applicability: str = UNSAFE, rules: tuple[str, ...] | None = None
    ) -> Fix:
        """Set a native key that stands for no canonical hyperparameter."""
        return self._native(plan, key, new, reason, SET, applicability, rules)

    def remove_key(self, plan: Plan, key: str, reason: str, *, applicability: str = UNSAFE, rules: tuple[str, ...] | None = None) -> Fix:
        """Take a native key out."""
        return self._native(plan, key, None, reason, REMOVE, applicability, rules)

    def rename_key(
        self, plan: Plan, key: str, to: str, reason: str, *, applicability: str = SAFE, rules: tuple[str, ...] | None = None
    ) -> Fix:
        """Give a native key another last part; its value stays."""
        return self._native(plan, key, to, reason, RENAME, applicability, rules)

    def rewrite_key(self, plan: Plan, key: str, value: Any, reason: str) -> Fix:
        """Write a native key's value in other characters, as another parser would read something else."""
        setting = plan.document.settings[key]
        old = f'"{setting.text}"' if setting.quoted else setting.text
        return Fix(key, old, value, None, 1, self.code, reason, self.rules, SAFE, key=key, action=REWRITE)

    def advise(self, about: str, reason: str, *, rules: tuple[str, ...] | None = None) -> Fix:
        """Something that no key can say."""
        return Fix(about, None, None, None, 1, self.code, reason, self.rules if rules is None else rules, DISPLAY)

    def _native(self, plan: Plan, key: str, new: Any, reason: str, action: str, applicability: str, rules: tuple[str, ...] | None) -> Fix:
        cited = self.rules if rules is None else rules
        return Fix(key, plan.native(key), new, None, 1, self.code, reason, cited, applicability, key=key, action=action)
