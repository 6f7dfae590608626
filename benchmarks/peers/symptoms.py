"""What the findings of every tool speak of, and which symptoms count as right on which run.

Tools name their findings differently and at different depths, so they are compared on seven coarse symptoms. The tables are
generous to the tools: a finding that speaks of two symptoms counts as both; a run's right symptoms are those of every accepted
verdict, of the injected cause, and of each other cause whose removal was measured to close half of the gap. A spike, a gradient
or a NaN finding thus counts on a run whose learning rate was too high, and a remark on the schedule counts on any run whose
learning rate was wrong. Like findings of two tools have like symptoms, those of `diag` included. A finding of no symptom (step
times, bookkeeping) still flags a run, but is right on none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

UNSTABLE = "unstable"
OVERFIT = "overfit"
LEARNING = "learning"
SCHEDULE = "schedule"
GRADIENTS = "gradients"
PRECISION = "precision"
EVAL = "eval"
SYMPTOMS = (UNSTABLE, OVERFIT, LEARNING, SCHEDULE, GRADIENTS, PRECISION, EVAL)
"""Diverged or unstable; overfit; underfit, plateau or no learning; schedule; gradients; precision and NaN; the evaluation."""

Symptoms = tuple[str, ...]
NONE: Symptoms = ()

VERDICTS: Mapping[str, Symptoms] = {
    "HEALTHY": NONE,
    "INCONCLUSIVE": NONE,
    "OVERFIT": (OVERFIT,),
    "UNDERFIT": (LEARNING,),
    "PLATEAU": (LEARNING,),
    "UNSTABLE": (UNSTABLE,),
    "DIVERGED": (UNSTABLE, PRECISION),
}

CAUSES: Mapping[str, Symptoms] = {
    "lr_too_high": (UNSTABLE, GRADIENTS, PRECISION, SCHEDULE),
    "lr_too_low": (LEARNING, SCHEDULE),
    "warmup_too_short": (UNSTABLE, GRADIENTS, PRECISION, SCHEDULE),
    "schedule_bug": (SCHEDULE, LEARNING),
    "too_many_epochs": (OVERFIT,),
    "too_few_epochs": (LEARNING,),
    "capacity_too_low": (LEARNING,),
    "capacity_too_high": (OVERFIT,),
    "regularization_too_weak": (OVERFIT,),
    "weight_decay_too_high": (LEARNING,),
    "batch_too_small": (UNSTABLE, GRADIENTS),
    "batch_too_large": (LEARNING,),
    "gradient_clipping_missing": (GRADIENTS, UNSTABLE, PRECISION),
    "gradient_clipping_too_tight": (GRADIENTS, LEARNING),
    "exploding_gradients": (GRADIENTS, UNSTABLE, PRECISION),
    "vanishing_gradients": (GRADIENTS, LEARNING),
    "precision_overflow": (PRECISION, UNSTABLE, GRADIENTS),
    "frozen_parameters": (LEARNING, GRADIENTS),
    "data_corruption": (UNSTABLE, GRADIENTS, PRECISION),
    "eval_leak": (EVAL,),
    "eval_missing": (EVAL,),
    "eval_too_sparse": (EVAL,),
    "resume_discontinuity": (UNSTABLE, SCHEDULE, GRADIENTS),
    "reward_collapse": (UNSTABLE, LEARNING),
    "out_of_memory": NONE,
    "throughput_degraded": NONE,
}

SEVERITIES: Mapping[str, str] = {
    "fail": "error",
    "critical": "error",
    "error": "error",
    "warn": "warning",
    "warning": "warning",
    "info": "info",
    "ok": "info",
    "pass": "info",
    "not-checked": "info",
}
"""The tools' words for a severity to three common ones."""

CODES: Mapping[str, Mapping[str, Symptoms]] = {
    "diag": {
        "DIV001": (PRECISION, UNSTABLE),
        "DIV002": (UNSTABLE,),
        "EVL001": (EVAL,),
        "EVL002": (EVAL,),
        "EVL003": (EVAL,),
        "EVL004": (EVAL,),
        "GRD001": (GRADIENTS, UNSTABLE),
        "GRD002": (GRADIENTS, LEARNING),
        "GRD003": (GRADIENTS,),
        "GRD004": (GRADIENTS,),
        "GRD005": (GRADIENTS,),
        "LOG001": NONE,
        "LOG002": NONE,
        "LOG003": (LEARNING, PRECISION),
        "LOG004": (LEARNING, PRECISION),
        "LOG005": NONE,
        "LOG006": NONE,
        "LOG007": NONE,
        "LRS001": (UNSTABLE, GRADIENTS),
        "LRS002": (LEARNING,),
        "LRS003": (SCHEDULE, LEARNING),
        "LRS004": (SCHEDULE,),
        "LRS005": (SCHEDULE,),
        "LRS006": (SCHEDULE,),
        "LRS007": (SCHEDULE,),
        "NSE001": (UNSTABLE,),
        "OVF001": (OVERFIT,),
        "OVF002": (OVERFIT,),
        "OVF003": (OVERFIT,),
        "OVF004": (OVERFIT,),
        "PRC001": (PRECISION,),
        "PRC002": (PRECISION,),
        "PRC003": (PRECISION,),
        "PRC004": (PRECISION, UNSTABLE),
        "RLH001": (UNSTABLE,),
        "RLH002": (UNSTABLE,),
        "RLH003": (LEARNING,),
        "RLH004": (LEARNING,),
        "RLH005": (LEARNING,),
        "RLH006": (LEARNING,),
        "SPK001": (UNSTABLE,),
        "SPK002": (UNSTABLE,),
        "SPK003": (UNSTABLE,),
        "SPK004": (UNSTABLE, EVAL),
        "SPK005": (UNSTABLE,),
        "THR001": NONE,
        "THR002": NONE,
        "THR003": NONE,
        "UND001": (LEARNING,),
        "UND002": (LEARNING, UNSTABLE),
        "UND003": (LEARNING,),
        "UND004": (LEARNING,),
        "UND005": (LEARNING,),
        "UND006": (LEARNING,),
        "UND007": (LEARNING,),
        "UND008": (LEARNING,),
    },
    "trainproof": {
        "TP-NAN": (PRECISION, UNSTABLE),
        "TP-NAN-GRAD": (PRECISION, GRADIENTS),
        "TP-ZERO-LOSS": (LEARNING, PRECISION),
        "TP-ZERO-LOSS-ONSET": (PRECISION, UNSTABLE),
        "TP-FLAT": (LEARNING,),
        "TP-DIVERGE": (UNSTABLE,),
        "TP-DEAD-RUN": (LEARNING, UNSTABLE),
        "TP-ZERO-GRAD": (GRADIENTS, LEARNING),
        "TP-GRAD-SPIKE": (GRADIENTS, UNSTABLE),
        "TP-ZERO-LR": (SCHEDULE, LEARNING),
        "TP-ZERO-LR-PARTIAL": (SCHEDULE, LEARNING),
        "TP-OVERFIT": (OVERFIT,),
        "TP-STEP-CLIFF": NONE,
        "TP-LOADER-BOUND": NONE,
        "TP-THROUGHPUT": NONE,
        "TP-GPU-UTIL": NONE,
        "TP-NO-LOSS": NONE,
        "TP-NO-RECORDS": NONE,
        "TP-NOT-CHECKED": NONE,
        "TP-PASS": NONE,
    },
    "finetune-doctor": {
        "overfitting": (OVERFIT,),
        "no_eval": (EVAL,),
        "stopped_improving": (OVERFIT, LEARNING),
        "metric_disagreement": (EVAL,),
        "loss_degenerate": (PRECISION, LEARNING, UNSTABLE),
        "not_learning": (LEARNING, UNSTABLE),
        "loss_spikes": (UNSTABLE,),
        "lr_schedule": (SCHEDULE, LEARNING),
        "gradients": (GRADIENTS, PRECISION, UNSTABLE),
        "eval_below_train": (EVAL,),
        "incomplete": NONE,
        "rl_run": NONE,
    },
    "runmedic": {
        "non_finite": (PRECISION, UNSTABLE),
        "divergence": (UNSTABLE,),
        "loss_spikes": (UNSTABLE,),
        "no_learning": (LEARNING, UNSTABLE),
        "overfitting": (OVERFIT,),
        "val_below_train": (EVAL,),
        "grad_spikes": (GRADIENTS, UNSTABLE),
        "constant_lr_plateau": (LEARNING, SCHEDULE),
        "input_bound": NONE,
        "slow_steps": NONE,
        "slowdown": NONE,
        "memory_growth": NONE,
    },
    "trainspotter": {
        "spikes": (UNSTABLE,),
        "divergence": (UNSTABLE, PRECISION),
        "plateau": (LEARNING,),
        "overfitting": (OVERFIT,),
        "lr_schedule": (SCHEDULE,),
        "grad_norm": (GRADIENTS, UNSTABLE),
        "throughput": NONE,
        "eval_noise": (EVAL, UNSTABLE),
        "loss_floor": (OVERFIT, EVAL),
    },
    "losslint": {
        "nan_inf": (PRECISION, UNSTABLE),
        "step_backtrack": NONE,
        "loss_spike": (UNSTABLE,),
        "divergence": (UNSTABLE,),
        "overfit_onset": (OVERFIT,),
        "stagnation": (LEARNING,),
        "parse": NONE,
    },
    "gradsnitch": {
        "GS001": (PRECISION, UNSTABLE),
        "GS002": (GRADIENTS, PRECISION),
        "GS003": (GRADIENTS, UNSTABLE),
        "GS004": (OVERFIT,),
        "GS005": (LEARNING,),
        "GS006": (UNSTABLE,),
        "GS007": (GRADIENTS, LEARNING),
        "GS008": (UNSTABLE, LEARNING),
        "GS009": (UNSTABLE,),
        "GS010": (SCHEDULE, LEARNING),
    },
    "runwise": {
        "nan": (PRECISION, UNSTABLE),
        "spike": (UNSTABLE,),
        "overfit": (OVERFIT,),
        "plateau": (LEARNING,),
        "gradient": (GRADIENTS, UNSTABLE),
        "system": NONE,
    },
    "trainpulse": {
        "nan_detector": (PRECISION, UNSTABLE),
        "loss_spike": (UNSTABLE,),
        "gradient": (GRADIENTS, UNSTABLE),
        "learning_rate": (SCHEDULE,),
        "plateau": (LEARNING,),
        "step_time": NONE,
    },
    "training-doctor": {
        "lr_too_high": (UNSTABLE, GRADIENTS),
        "lr_too_low": (LEARNING,),
        "plateau": (LEARNING,),
        "overfitting": (OVERFIT,),
        "gradient_instability": (GRADIENTS, UNSTABLE),
    },
    "epochix": {
        "divergence": (UNSTABLE, PRECISION),
        "overfit": (OVERFIT,),
        "plateau": (LEARNING,),
        "lr_drop": (SCHEDULE,),
    },
    "naive": {
        "overfitting": (OVERFIT,),
        "still-falling": (LEARNING,),
        "varying": (UNSTABLE,),
        "hardly-improved": (LEARNING,),
    },
}
"""For every tool, the codes of its findings to what they speak of. A code that is not listed speaks of nothing."""


def spoken_of(tool: str, codes: Iterable[str]) -> set[str]:
    """The symptoms that the findings of a tool speak of."""
    return {symptom for code in codes for symptom in CODES[tool].get(code, NONE)}


def right(accepted: Iterable[str], causes: Iterable[str]) -> set[str]:
    """The symptoms that are right on a run with these accepted verdicts and causes."""
    return {s for name in accepted for s in VERDICTS[name]} | {s for name in causes for s in CAUSES[name]}
