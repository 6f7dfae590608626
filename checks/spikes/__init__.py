"""Spikes and oscillation."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.spikes.spk001_loss_spikes import LossSpikes
    from diag.checks.spikes.spk002_oscillation import Oscillation
    from diag.checks.spikes.spk003_early_instability import EarlyInstability
    from diag.checks.spikes.spk004_eval_swings import EvalSwings
    from diag.checks.spikes.spk005_bad_stretches import BadStretches

    return [LossSpikes(), Oscillation(), EarlyInstability(), EvalSwings(), BadStretches()]
