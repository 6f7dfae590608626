"""DIV001: NaN or infinity in a loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip
from diag.examination import Examination
from diag.vocabulary import DIVERGED, ERROR

EARLY_SHARE = 0.1
"""A loss that is lost in the first tenth of the run had too high a rate from the start (S1-063)."""
HUGE_GROWTH = 10.0
"""Growth of the loss over its own start that shows an explosion before the first NaN."""


class NonfiniteLoss(Check):
    """A loss is NaN or infinite.

    ## What it does
    Looks for values that are not finite in the training loss and in every evaluation loss, including those that the
    Hugging Face NaN filter hides behind a loss of exactly 0.0 with a non-finite gradient norm.

    ## Why is this bad?
    After the first NaN every weight is NaN: nothing that was computed later is worth keeping.

    ## When it stays silent
    When only the gradient norm is non-finite: a loss scaler skips such steps, which PRC002 looks at. In a reward-driven run, as long as
    fewer than half of the values are lost: some logs hold a NaN where a batch had nothing to average.

    ## What to do
    Divide the learning rate by 10, set gradient clipping to 1.0, train in bf16 rather than fp16, and look at the
    batches just before the first NaN. Restart from the last checkpoint before it.

    ## References
    Guide rows S0-044, S1-063, S1-088, S3-169; fix F01.
    """

    code = "DIV001"
    name = "nonfinite-loss"
    severity = ERROR
    rules = ("S0-044", "S1-063", "S1-088")
    reward_logs = True
    patience = 0.0
    momentary = True

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """One finding a loss that became non-finite."""
        run = examination.run
        losses = [("train/loss", run.curve("train/loss")), *run.eval_losses()]
        if all(curve is None for _, curve in losses):
            raise Skip("no loss was logged")
        first = True
        for name, curve in losses:
            if curve is None:
                continue
            if not examination.is_lost(curve):
                continue
            bad = ~np.isfinite(curve.value)
            index = int(np.argmax(bad))
            step, total = int(curve.step[index]), examination.total_steps
            recovered = bool(np.isfinite(curve.value[-1])) and int(bad.sum()) <= 2
            before = curve.value[:index][np.isfinite(curve.value[:index])]
            grew = bool(before.size) and float(np.abs(before).max()) > HUGE_GROWTH * max(abs(float(before[0])), 1e-12)
            early = step <= EARLY_SHARE * total
            causes = {"lr_too_high": 2.0, "exploding_gradients": 1.5 if grew else 0.5, "data_corruption": 0.3}
            if examination.is_unclipped:
                causes["gradient_clipping_missing"] = 2.5
                causes["exploding_gradients"] += 1.5
            yield self.finding(
                f"{name} is not finite from step {step} on ({int(bad.sum())} of {len(curve)} values)"
                + (", then finite again." if recovered else "."),
                metric=name,
                step_start=step,
                step_end=int(curve.step[np.flatnonzero(bad)[-1]]),
                evidence={
                    "first_step": step,
                    "values": int(bad.sum()),
                    "of": len(curve),
                    "early": early,
                    "severity_factor": 10.0 if early else 5.0,
                },
                causes=causes if first else {},
                verdicts={DIVERGED: 6.0 if first else 1.0},
            )
            first = False
