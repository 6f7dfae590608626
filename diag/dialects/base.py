"""What the dialects share: the loop over the fixes, and the ways to write a batch, a warmup or a factor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diag.dialects import Overrides, table
from diag.dialects.draft import Draft, argument, whole

if TYPE_CHECKING:
    from diag.prescription import Fix
    from diag.run import Run


class TableDialect:
    """A dialect whose facts are a table; subclasses say what the table cannot.

    ``writers`` maps canonical names to methods that write them; every other name goes to its key in the table.
    """

    name: str

    def __init__(self) -> None:
        self.writers: dict[str, Callable[[Draft, Any], None]] = {}

    def detect(self, flat: Mapping[str, Any]) -> int:
        """Sum of the weights of this dialect's telling keys."""
        return table.scores(flat).get(self.name, 0)

    def read(self, flat: Mapping[str, Any]) -> dict[str, table.Reading]:
        """Canonical readings of a flat config."""
        return table.read(self.name, flat)

    def render(self, run: Run, fixes: Sequence[Fix]) -> Overrides:
        """The fixes as overrides; see ``diag.dialects.Dialect``."""
        draft = Draft(self.name, run, fixes)
        for fix in fixes:
            if fix.applicability == "display" and fix.new is not None and self.rows(f"_{fix.parameter}"):
                self.write_key(draft, f"_{fix.parameter}", fix.new)
            elif fix.applicability == "display":
                draft.note(fix.reason)
            elif fix.new is None:
                if fix.factor is not None:
                    draft.note(self.factor_note(draft, fix.parameter, fix.factor))
                else:
                    draft.note(fix.reason)
            else:
                self.write(draft, fix.parameter, fix.new)
        for fix in fixes:
            self._tell_default(draft, fix)
        self.complete(draft)
        for key in [key for key, value in draft.keys.items() if _unchanged(draft, key, value)]:
            del draft.keys[key]
        return draft.overrides(self.arguments(draft))

    def write(self, draft: Draft, name: str, value: Any) -> None:
        """Write one canonical hyperparameter."""
        writer = self.writers.get(name)
        if writer is not None:
            writer(draft, value)
        else:
            self.write_key(draft, name, value)

    def write_key(self, draft: Draft, name: str, value: Any) -> None:
        """Write under the key the run's config has, else the first of the table; a note where there is none."""
        row = self.row(draft, name)
        if row is None:
            self.unknown(draft, name, value)
        else:
            draft.set(row.native, table.CONVERSIONS[row.conversion][1](self.spell(name, value)))

    def spell(self, name: str, value: Any) -> Any:
        """A canonical value as this framework spells it: whole numbers where the canonical type is int or the number has no fraction."""
        return whole(value) if name in WHOLE else value

    def rows(self, name: str) -> list[table.Row]:
        """The rows of a canonical name, the preferred key first."""
        return table.native_rows(self.name, name)

    def row(self, draft: Draft, name: str) -> table.Row | None:
        """The row to write a canonical name with."""
        rows = self.rows(name)
        own = draft.run.hyperparameters.get(name)
        if own is not None and own.kind == "file":
            for row in rows:
                if row.native == own.key:
                    return row
        return next((row for row in rows if draft.has(row.native)), rows[0] if rows else None)

    def unknown(self, draft: Draft, name: str, value: Any) -> None:
        """The dialect has no key for this: the run's own key if it has one, else a note."""
        own = draft.run.hyperparameters.get(name)
        if own is not None and own.kind == "file" and own.key and not own.key.startswith("model/"):
            draft.set(own.key, self.spell(name, value))
        else:
            draft.note(f"There is no key for {name}: set it to {argument(self.spell(name, value))} where the training is built.")

    def factor_note(self, draft: Draft, name: str, factor: float) -> str:
        """A change of an unknown value, as a sentence."""
        row = self.row(draft, name)
        key = row.native if row is not None else name
        return f"Divide {key} by {1 / factor:.4g}." if 0 < factor < 1 else f"Multiply {key} by {factor:.4g}."

    def complete(self, draft: Draft) -> None:
        """Add companions and refuse what the framework would."""

    def arguments(self, draft: Draft) -> list[str]:
        """The written keys as command-line tokens."""
        tokens: list[str] = []
        for key, value in draft.keys.items():
            tokens += [f"--{key}", argument(value)]
        return tokens

    def _tell_default(self, draft: Draft, fix: Fix) -> None:
        entry = draft.run.hyperparameters.get(fix.parameter)
        if entry is not None and entry.kind == "inferred" and entry.note.startswith("the default of") and fix.new is not None:
            draft.note(f"{fix.parameter} was {argument(whole(entry.value))}, {entry.note}.")


def _unchanged(draft: Draft, key: str, value: Any) -> bool:
    """Whether the run's config says just that already."""
    own = draft.native(key)
    return own is not None and type(own) is type(value) and bool(own == value)


WHOLE = frozenset(
    {
        "num_epochs",
        "warmup_steps",
        "eval_steps",
        "save_steps",
        "logging_steps",
        "lora_alpha",
        "max_steps",
        "early_stopping_patience",
        "global_batch_size",
        "micro_batch_size",
        "gradient_accumulation_steps",
    }
)
"""Hyperparameters that are written without a decimal point where they are whole."""


def split_batch(draft: Draft, total: float) -> tuple[int, int] | None:
    """Micro batch and accumulation steps that make a global batch, the micro batch kept where it divides; None if unknown.

    global = micro x accumulation x world size. A micro batch is never raised: memory was sized for the run's own.
    """
    micro, world = draft.number("micro_batch_size"), draft.number("world_size") or 1.0
    share = total / world
    if micro is None or micro < 1 or share < 1 or not float(share).is_integer():
        return None
    for size in range(int(min(micro, share)), 0, -1):
        if share % size == 0:
            return size, int(share // size)
    return None


def write_batch(dialect: TableDialect, draft: Draft, value: Any) -> None:
    """A global batch in a dialect that has none: the accumulation changes, the micro batch only where it must."""
    if "micro_batch_size" in draft.changes and "gradient_accumulation_steps" in draft.changes:
        return
    pair = split_batch(draft, float(value))
    if pair is None:
        draft.note(f"Set the global batch to {argument(whole(value))} samples: micro batch x accumulation steps x processes.")
        return
    micro, accumulation = pair
    if micro != draft.run.hyperparameter("micro_batch_size"):
        dialect.write_key(draft, "micro_batch_size", micro)
    if accumulation != (draft.run.hyperparameter("gradient_accumulation_steps") or 1):
        dialect.write_key(draft, "gradient_accumulation_steps", accumulation)


def warmup_count(draft: Draft, name: str, value: float) -> int | None:
    """A warmup as a number of steps: a share is multiplied by the steps of the changed run; None where these are unknown."""
    if name == "warmup_steps" and value >= 1:
        return round(value)
    if value == 0:
        return 0
    total = draft.total_steps()
    return None if total is None else math.ceil(value * total)


def warmup_share(draft: Draft, name: str, value: float) -> float | None:
    """A warmup as a share of the steps; None where these are unknown."""
    if name == "warmup_ratio" or 0 <= value < 1:
        return float(value)
    total = draft.total_steps()
    return None if not total else min(1.0, float(f"{value / total:.3g}"))


def best_step(run: Run) -> int | None:
    """Step of the lowest finite evaluation loss, the first of several; None where none was logged."""
    curve = next((curve for _, curve in run.eval_losses()), None)
    finite = curve.finite() if curve is not None else None
    return int(finite.step[int(finite.value.argmin())]) if finite is not None and len(finite) else None
