"""What the dialects share: the loop over the fixes, and the ways to write a batch, a warmup or a factor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diag.dialects import Overrides, recognition, table
from diag.dialects.draft import Draft, argument, shortest, whole
from diag.dialects.values import as_float
from diag.vocabulary import HYPERPARAMETERS

if TYPE_CHECKING:
    from diag.fixes import Fix
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
            if fix.key:
                self.write_native(draft, fix)
            elif fix.applicability == "display" and fix.new is not None and self.rows(f"_{fix.parameter}"):
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
            if not fix.key:
                self._tell_default(draft, fix)
        self._scale_floor(draft)
        self.complete(draft)
        for key in [key for key, value in draft.keys.items() if _unchanged(draft, key, value)]:
            del draft.keys[key]
        return draft.overrides(self.arguments(draft))

    def compose(self, values: Mapping[str, Any], *, scope: str = "", length: float | None = None) -> Draft:
        """A whole config that says some canonical hyperparameters.

        Args:
            values: canonical name to value. What describes the model, the data or the machine is in here for the arithmetic.
            scope: the command, function or class it is for, as the table names it.
            length: optimizer steps of the training, None if unknown.

        Returns:
            The draft; its ``reasons`` say of which hyperparameters something could not be written, and why.
        """
        from diag.run import Run

        draft = Draft(self.name, Run("", "", "config", {}, {}, self.name), (), scope, length)
        draft.changes = dict(values)
        for name in [name for name in HYPERPARAMETERS if name in values and name not in FACTS]:
            before, draft.notes = draft.notes, []
            self.write(draft, name, values[name])
            draft.settle(name, before)
        self.frame(draft)
        self.complete(draft)
        self._refuse(draft)
        return draft

    def frame(self, draft: Draft) -> None:
        """The keys of a whole config that carry its meaning besides the hyperparameters: what adapts the weights, what is loaded."""

    def _refuse(self, draft: Draft) -> None:
        """Leave out of a whole config what the key does not take."""
        for key, value in list(draft.keys.items()):
            row = recognition.row(self.name, key)
            if row is None or value is None:
                continue
            problem = misfit(row, value)
            if problem:
                del draft.keys[key]
                draft.reasons.setdefault(row.canonical or key, f"{key} {problem}.")

    def write(self, draft: Draft, name: str, value: Any) -> None:
        """Write one canonical hyperparameter."""
        writer = self.writers.get(name)
        if writer is not None:
            writer(draft, value)
        else:
            self.write_key(draft, name, value)

    def write_native(self, draft: Draft, fix: Fix) -> None:
        """A change that is in the framework's own words already; what no override can say becomes a remark."""
        if fix.action == "set":
            draft.set(fix.key, fix.new)
        elif fix.action != "rewrite":
            draft.note(f"Rename {fix.key} to {fix.new}." if fix.action == "rename" else f"Remove {fix.key}.")

    def write_key(self, draft: Draft, name: str, value: Any) -> None:
        """Write under the key the run's config has, else the first of the table; a note where there is none."""
        row = self.row(draft, name)
        if row is None:
            self.unknown(draft, name, value)
        else:
            draft.set(row.native, table.CONVERSIONS[row.conversion][1](self.spell(name, value)))

    def spell(self, name: str, value: Any) -> Any:
        """A canonical value as this framework spells it: whole numbers where the canonical type is int or the number has no fraction."""
        return whole(value) if name in WHOLE else table.spelled(self.name, name, value)

    def usable(self, draft: Draft, name: str) -> list[table.Row]:
        """The rows that a canonical name can be written with where the config has no key for it: of this scope, in the newest version."""
        rows = [row for row in self.rows(name) if not row.until]
        if draft.scope is None:
            return rows or self.rows(name)
        return [row for row in rows if not row.scope or self.scopes(draft) & set(row.scope.split())]

    def scopes(self, draft: Draft) -> set[str]:
        """The scopes whose keys a whole config may have."""
        return {draft.scope or ""}

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
        usable = self.usable(draft, name)
        return next((row for row in rows if draft.has(row.native)), usable[0] if usable else None)

    def unknown(self, draft: Draft, name: str, value: Any) -> None:
        """The dialect has no key for this: the run's own key if it has one, else a note."""
        own = draft.run.hyperparameters.get(name)
        if own is not None and own.kind == "file" and own.key and not own.key.startswith("model/"):
            draft.set(own.key, self.spell(name, value))
        elif draft.is_whole:
            draft.note(NO_KEY)
        else:
            draft.note(f"There is no key for {name}: set it to {argument(self.spell(name, value))} where the training is built.")

    def factor_note(self, draft: Draft, name: str, factor: float) -> str:
        """A change of an unknown value, as a sentence."""
        row = self.row(draft, name)
        key = row.native if row is not None else name
        return f"Divide {key} by {1 / factor:.4g}." if 0 < factor < 1 else f"Multiply {key} by {factor:.4g}."

    def complete(self, draft: Draft) -> None:
        """Add companions and refuse what the framework would."""

    def given(self, draft: Draft) -> list[tuple[str, Any]]:
        """The written keys that the command line takes, and their values; a note names the others. A whole config leaves out nulls."""
        edited = [key for key, value in draft.keys.items() if self.is_for_files(key, value)]
        if edited:
            draft.note(f"{', '.join(edited)}: in the file only, the command line does not take {'it' if len(edited) == 1 else 'them'}.")
        return [(key, value) for key, value in draft.keys.items() if key not in edited and not (draft.is_whole and value is None)]

    def is_for_files(self, key: str, value: Any) -> bool:
        """Whether the command line cannot give a key, or not this value of it."""
        row = recognition.row(self.name, key)
        return row is not None and row.cli == "-"

    def arguments(self, draft: Draft) -> list[str]:
        """The written keys as command-line tokens."""
        tokens: list[str] = []
        for key, value in self.given(draft):
            tokens += [f"--{key}", argument(value)]
        return tokens

    def _scale_floor(self, draft: Draft) -> None:
        """The lowest rate of a schedule keeps its ratio to the learning rate (S1-124), and never lies above it.

        Only where the config still holds the old rate: a second application must not scale again.
        """
        rate, own = draft.changes.get("learning_rate"), draft.run.hyperparameters.get("min_lr")
        if not isinstance(rate, (int, float)) or "min_lr" in draft.changes or own is None or own.kind != "file" or not draft.keys:
            return
        row = next((row for row in self.rows("min_lr") if row.native == own.key), None)
        floor = as_float(own.value)
        if row is None or not floor:
            return
        old = draft.run.hyperparameters.get("learning_rate")
        before = as_float(old.value) if old is not None and old.kind == "file" else None
        if before and old is not None and as_float(draft.native(old.key)) == before and floor <= before:
            scaled = float(f"{floor * rate / before:.2e}")
            if scaled != floor:
                draft.set(row.native, scaled)
                draft.note(f"{row.native} keeps its ratio to the learning rate (was {argument(floor)}).")
        elif floor > rate:
            draft.set(row.native, rate)
            draft.note(f"{row.native} may not exceed the learning rate, so it is lowered along (was {argument(floor)}).")

    def _tell_default(self, draft: Draft, fix: Fix) -> None:
        entry = draft.run.hyperparameters.get(fix.parameter)
        if entry is not None and entry.kind == "inferred" and entry.note.startswith("the default of") and fix.new is not None:
            draft.note(f"{fix.parameter} was {argument(whole(entry.value))}, {entry.note}.")


NO_KEY = "There is no key for it."

FACTS = frozenset({"method", "model_parameters", "dataset_size", "world_size"})
"""Hyperparameters that describe the model, the data or the machine, or follow from the others: none is a key of every config."""


def misfit(row: table.Row, value: Any) -> str:
    """Why a key does not take a value, "" if it does."""
    kinds = set(row.type.split("|")) if row.type else set()
    if kinds and not any(_is_of(kind, value) for kind in kinds):
        return f"takes no {type(value).__name__} such as {argument(value)}"
    if row.values and isinstance(value, str) and value.casefold() not in {word.casefold() for word in row.values.split("|")}:
        return f"does not take {value}"
    return ""


def _is_of(kind: str, value: Any) -> bool:
    if kind in ("float", "number"):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    known = {"bool": bool, "str": str, "list": (list, tuple), "dict": Mapping}.get(kind)
    return known is None or isinstance(value, known)  # type: ignore[arg-type]


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
    if not total:
        return None
    return min(1.0, shortest(value / total) if draft.is_whole else float(f"{value / total:.3g}"))


def best_step(run: Run) -> int | None:
    """Step of the lowest finite evaluation loss, the first of several; None where none was logged."""
    curve = next((curve for _, curve in run.eval_losses()), None)
    finite = curve.finite() if curve is not None else None
    return int(finite.step[int(finite.value.argmin())]) if finite is not None and len(finite) else None
