"""Precision: what half precision does to loss scale, gradients and loss."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.precision.prc001_loss_scale_collapse import LossScaleCollapse
    from diag.checks.precision.prc002_overflow_skips import OverflowSkips
    from diag.checks.precision.prc003_fp16_accumulation import Fp16Accumulation
    from diag.checks.precision.prc004_fp16_nonfinite import Fp16Nonfinite

    return [LossScaleCollapse(), OverflowSkips(), Fp16Accumulation(), Fp16Nonfinite()]
