"""Noise and batch size."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.noise.nse001_noisy_loss import NoisyLoss

    return [NoisyLoss()]
