"""Learning rate and schedule."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.learning_rate.lrs001_too_high import LearningRateTooHigh
    from diag.checks.learning_rate.lrs002_too_low import LearningRateTooLow
    from diag.checks.learning_rate.lrs003_zero import ZeroLearningRate
    from diag.checks.learning_rate.lrs004_never_warms_up import NeverWarmsUp
    from diag.checks.learning_rate.lrs005_schedule_jumps import ScheduleJumps
    from diag.checks.learning_rate.lrs006_never_decays import NeverDecays
    from diag.checks.learning_rate.lrs007_missing_warmup import MissingWarmup

    return [
        LearningRateTooHigh(),
        LearningRateTooLow(),
        ZeroLearningRate(),
        NeverWarmsUp(),
        ScheduleJumps(),
        NeverDecays(),
        MissingWarmup(),
    ]
