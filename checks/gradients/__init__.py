"""Gradients: explosion, vanishing, clipping."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.gradients.grd001_exploding import ExplodingGradients
    from diag.checks.gradients.grd002_vanishing import VanishingGradients
    from diag.checks.gradients.grd003_norm_above_five import NormAboveFive
    from diag.checks.gradients.grd004_clipping_saturated import ClippingSaturated
    from diag.checks.gradients.grd005_clipping_missing import ClippingMissing

    return [ExplodingGradients(), VanishingGradients(), NormAboveFive(), ClippingSaturated(), ClippingMissing()]
