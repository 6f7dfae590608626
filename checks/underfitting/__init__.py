"""Underfitting and plateaus."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.underfitting.und001_still_improving import StillImproving
    from diag.checks.underfitting.und002_no_progress import NoProgress
    from diag.checks.underfitting.und003_minimal_improvement import MinimalImprovement
    from diag.checks.underfitting.und004_adapter_capacity import AdapterCapacity
    from diag.checks.underfitting.und005_weight_decay import WeightDecay
    from diag.checks.underfitting.und006_early_plateau import EarlyPlateau
    from diag.checks.underfitting.und007_narrow_layers import NarrowLayers
    from diag.checks.underfitting.und008_barely_fitted import BarelyFitted

    return [
        StillImproving(),
        NoProgress(),
        MinimalImprovement(),
        AdapterCapacity(),
        WeightDecay(),
        EarlyPlateau(),
        NarrowLayers(),
        BarelyFitted(),
    ]
