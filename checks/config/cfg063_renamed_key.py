"""CFG063: a key that newer versions of the framework renamed or removed."""

from __future__ import annotations

from collections.abc import Iterator

from diag.dialects.interpret import framework
from diag.dialects.recognition import PEFT
from diag.dialects.table import Row
from diag.lint import UNSAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO, WARNING

NEVER = "0"
"""In the column ``until``: no version ever knew the key."""

NEWEST = "5."
"""Major version of transformers whose removals are only remarked on: version 4 is in use beside it, and knows no other name."""

SAME_MEANING = frozenset({"evaluation_strategy", "per_gpu_train_batch_size", "per_gpu_eval_batch_size", "no_cuda", "max_seq_length"})
"""Keys whose value means the same under the new name."""


NOT_TRL = frozenset({"LoraConfig", "BitsAndBytesConfig", "QuantizationConfig", "AcceleratorConfig"})
"""Classes whose names end in Config and that are not TRL's."""


class RenamedKey(Lint):
    """A key was renamed or removed by newer versions of the framework.

    ## What it does
    Looks keys up in the table of documented keys, which knows the version that dropped each of them and what replaced it:
    ``evaluation_strategy`` became ``eval_strategy``, ``warmup_ratio`` a ``warmup_steps`` below 1.

    ## Why is this bad?
    The newer version refuses the config, or ignores the key, and the same file means another training on another machine.

    ## When it stays silent
    For keys that no known version dropped, and for removed ones without a value. In an ``adapter_config.json``, which the library
    wrote, they are a remark.

    ## What to do
    Use the new key; if an older version is pinned, silence the finding on its line.

    ## References
    The framework's release notes; guide rows S0-042, S3-231.
    """

    code = "CFG063"
    name = "renamed-key"
    severity = WARNING
    rules = ("S0-042", "S3-231")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One violation a key."""
        told: set[str] = set()
        for key in plan.document.settings:
            row = plan.row(key)
            if row is None or not row.until or _section(plan, key) in told:
                continue
            if not row.instead and key in plan.flat and plan.native(key) is None:
                continue  # nothing is lost with it
            if section := _section(plan, key):
                told.add(section)
                message = f"{framework(plan.dialect)} from {row.until} on does not know the section {section}."
                yield self.violation(plan, message, at=section, evidence={"until": row.until})
                continue
            name = "TRL" if _is_of_trl(row) else "transformers" if plan.dialect == "hf" else framework(plan.dialect)
            when = "never knew" if row.until == NEVER else f"from {row.until} on does not know"
            fixes = []
            instead = f": it is {row.instead}" if row.instead else ""
            if row.instead and not plan.has(row.instead):
                reason = f"{row.instead} is the name that {name} knows."
                if key == "warmup_ratio":
                    # The ratio itself is a valid number of steps below 1 in the versions that dropped the key.
                    fixes = [self.rename_key(plan, key, "warmup_steps", reason, applicability=UNSAFE)]
                elif _is_sibling(row.instead, key) and _same(plan, key, row.instead):
                    fixes = [self.rename_key(plan, key, row.instead.rpartition(".")[2], reason, applicability=UNSAFE)]
            elif not row.instead:
                fixes = [self.remove_key(plan, key, f"{name} no longer has it.")]
            yield self.violation(
                plan,
                f"{name} {when} {key}{instead}.",
                at=key,
                severity=INFO if plan.dialect == PEFT or (plan.dialect == "hf" and row.until.startswith(NEWEST)) else WARNING,
                evidence={"until": row.until, "instead": row.instead},
                fixes=fixes,
            )


def _section(plan: Plan, key: str) -> str:
    """The outermost section of a key if all of it was removed without a successor: it is told of once. "" otherwise."""
    section = key.partition(".")[0]
    if section == key:
        return ""
    rows = [plan.row(name) for name in plan.document.settings if name.startswith(f"{section}.")]
    gone = all(row is not None and row.until not in ("", NEVER) and not row.instead for row in rows)
    return section if gone and len(rows) > 1 else ""


def _is_of_trl(row: Row) -> bool:
    """Whether a row of the Hugging Face table belongs to TRL's own classes; its versions are TRL's then."""
    return any((scope.endswith("Config") and scope not in NOT_TRL) or scope == "ScriptArguments" for scope in row.scope.split())


def _is_sibling(new: str, key: str) -> bool:
    """Whether one key can be renamed to the other: they stand in the same section."""
    return " " not in new and new.rpartition(".")[0] == key.rpartition(".")[0]


def _same(plan: Plan, key: str, instead: str) -> bool:
    """Whether the value can stay under the new name: both stand for the same hyperparameter, or are known to mean the same."""
    old, new = plan.row(key), plan.row(instead)
    if key.rpartition(".")[2] in SAME_MEANING:
        return True
    return (
        old is not None and new is not None and bool(old.canonical) and old.canonical == new.canonical and old.conversion == new.conversion
    )
