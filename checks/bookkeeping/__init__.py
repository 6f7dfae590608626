"""Bookkeeping: whether the log itself is whole, and what it says of how the run ended."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.bookkeeping.log001_steps_go_backward import StepsGoBackward
    from diag.checks.bookkeeping.log002_duplicate_steps import DuplicateSteps
    from diag.checks.bookkeeping.log003_constant_loss import ConstantLoss
    from diag.checks.bookkeeping.log004_zero_loss import ZeroLoss
    from diag.checks.bookkeeping.log005_interrupted_early import InterruptedEarly
    from diag.checks.bookkeeping.log006_crashed import Crashed
    from diag.checks.bookkeeping.log007_epoch_stairs import EpochStairs

    return [StepsGoBackward(), DuplicateSteps(), ConstantLoss(), ZeroLoss(), InterruptedEarly(), Crashed(), EpochStairs()]
