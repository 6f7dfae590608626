"""CFG051: checkpoints that hold the state of the optimizer, too, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import SFT_HUB, hub_algorithm, is_computed, is_on, is_open
from diag.dialects.values import as_bool
from diag.guides import cite
from diag.guides.formulas import FULL_STATE_BYTES, full_state_bytes
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import INFO, WARNING

GIGABYTE: Final = 1e9
KEY: Final = "accelerate_full_state_at_epoch"


class FullStateCheckpoints(Lint):
    """Every epoch saves a checkpoint with the full state of the optimizer, and what that costs on disk.

    ## What it does
    For Training Hub's SFT: a warning with the number of gigabytes where ``accelerate_full_state_at_epoch`` is true,
    information where it is left to its default, which is true.

    ## Why is this bad?
    Such a checkpoint holds weights, optimizer and scheduler in full precision: about 13.5 bytes a parameter, 108 GB for an 8B
    model, every epoch. A full disk ends the run.

    ## When it stays silent
    Where the setting is false, and where no checkpoint is saved at the end of an epoch.

    ## What to do
    Switch it off unless you need to resume in the middle of the training.

    ## References
    Guide rows S2-027..029.
    """

    code = "CFG051"
    name = "full-state-checkpoints"
    severity = WARNING
    rules = cite("S2-027..029")
    dialects = ("training_hub",)

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        given = as_bool(plan.native(KEY))
        if (
            hub_algorithm(plan) != SFT_HUB
            or given is False
            or is_computed(plan, KEY)
            or (given is None and (is_open(plan) or not plan.is_whole))
        ):
            return
        if as_bool(plan.native("checkpoint_at_epoch")) is False:
            return
        epochs = 1.0 if is_on(plan, "keep_last_checkpoint_only") else plan.number("num_epochs")
        cost = f"{show(FULL_STATE_BYTES)} bytes a parameter"
        evidence: dict[str, float] = {"bytes_per_parameter": FULL_STATE_BYTES}
        if plan.parameters is not None:
            size = full_state_bytes(plan.parameters) / GIGABYTE
            cost = f"about {size:,.0f} GB" + (f", {size * epochs:,.0f} GB in {counted(epochs, 'epoch')}" if epochs and epochs > 1 else "")
            evidence = {**evidence, "gigabytes": size, "epochs": epochs or 0.0}
        state = "is true" if given else "is true by default"
        yield self.violation(
            plan,
            f"{KEY} {state}: every epoch saves weights, optimizer and scheduler in full precision, {cost}; only resuming needs them.",
            at=KEY,
            severity=WARNING if given else INFO,
            evidence=evidence,
            fixes=[self.set_key(plan, KEY, False, "Save the weights only; the run cannot be resumed then.")],
        )
