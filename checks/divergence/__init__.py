"""Divergence: the loss became non-finite, blew up, or fell back to chance level."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.divergence.div001_nonfinite_loss import NonfiniteLoss
    from diag.checks.divergence.div002_loss_blow_up import LossBlowUp

    return [NonfiniteLoss(), LossBlowUp()]
