"""Evaluation hygiene: none, too few, or on samples that the model was trained on."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.evaluation.evl001_eval_missing import EvalMissing
    from diag.checks.evaluation.evl002_eval_too_sparse import EvalTooSparse
    from diag.checks.evaluation.evl003_eval_below_train import EvalBelowTrain
    from diag.checks.evaluation.evl004_eval_from_train_split import EvalFromTrainSplit

    return [EvalMissing(), EvalTooSparse(), EvalBelowTrain(), EvalFromTrainSplit()]
