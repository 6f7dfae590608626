"""Overfitting: the evaluation loss rises while the training loss keeps falling."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.overfitting.ovf001_overfit_gap import OverfitGap
    from diag.checks.overfitting.ovf002_overfit_onset import OverfitOnset
    from diag.checks.overfitting.ovf003_memorization import Memorization
    from diag.checks.overfitting.ovf004_best_checkpoint_not_last import BestCheckpointNotLast

    return [OverfitGap(), OverfitOnset(), Memorization(), BestCheckpointNotLast()]
