"""Which metrics of two runs can be compared, and which way is worse."""

from __future__ import annotations

import re
from typing import Final

from diag.examination import is_reward_driven
from diag.run import Run

LOWER: Final = 1
HIGHER: Final = -1
UNKNOWN: Final = 0

_EVALUATION: Final = re.compile(r"(?:eval|evaluation|val|valid|validation|dev|test|heldout)", re.IGNORECASE)
_WORDS: Final = re.compile(r"[^A-Za-z0-9@]+")
_LOWER_WORDS: Final = frozenset(
    {
        "loss", "perplexity", "ppl", "bpb", "nll", "crossentropy", "mse", "rmse", "mae", "mape", "error", "err", "wer", "cer", "ter", "eer",
        "fid",
    }
)  # fmt: skip
_HIGHER_WORDS: Final = frozenset(
    {
        "accuracy", "accuracies", "acc", "acc1", "acc5", "top1", "top5", "f1", "auc", "auroc", "auprc", "ap", "map", "map50", "miou", "iou",
        "dice", "bleu", "chrf", "rouge", "rouge1", "rouge2", "rougel", "rougelsum", "meteor", "em", "precision", "recall", "mcc", "pearson",
        "spearman", "ndcg", "mrr", "r2", "psnr", "ssim", "reward", "rewards", "margins", "pass@1", "pass@10", "winrate",
    }
)  # fmt: skip
_THROUGHPUT: Final = {"tokens_per_second": HIGHER, "samples_per_second": HIGHER, "step_time": LOWER}
"""What the machine does rather than the model."""


def direction(metric: str) -> int:
    """LOWER or HIGHER, whichever is better; UNKNOWN for a metric that may well move either way.

    Canonical metrics are known. A native name counts if it is that of an evaluation and its last word names a known measure
    (``eval_f1``, ``test/perplexity``); with two such words the last one decides (``eval/error/mean`` has none and is unknown).
    """
    if metric in _THROUGHPUT:
        return _THROUGHPUT[metric]
    if metric in ("train/accuracy", "reward"):
        return HIGHER
    if metric == "train/loss":
        return LOWER
    words = [word.lower() for word in _WORDS.split(metric) if word]
    if len(words) < 2 or not _EVALUATION.fullmatch(words[0]):
        return UNKNOWN
    return LOWER if words[-1] in _LOWER_WORDS else HIGHER if words[-1] in _HIGHER_WORDS else UNKNOWN


def is_throughput(metric: str) -> bool:
    """Whether a metric tells of the machine's pace."""
    return metric in _THROUGHPUT


def is_evaluation(metric: str) -> bool:
    """Whether a metric was measured on held-out data, a point an evaluation."""
    words = [word for word in _WORDS.split(metric) if word]
    return len(words) > 1 and _EVALUATION.fullmatch(words[0]) is not None


def is_eval_loss(metric: str) -> bool:
    """Whether a metric is the loss of an evaluation set: ``eval/loss`` or ``eval/<name>/loss``."""
    return metric.startswith("eval/") and metric.endswith("/loss")


def quality(run: Run) -> list[str]:
    """The metrics of a run that tell how good it is, the most telling first.

    Evaluation losses, then other evaluation metrics with a known direction, then the reward; what was measured on the training data
    only where there is none of these. The losses of a reward-driven run come last, as they do not measure progress.
    """
    logged = [name for name, curve in run.curves.items() if len(curve) and direction(name) != UNKNOWN and not is_throughput(name)]
    losses = [name for name, _ in run.eval_losses()]
    others = sorted(name for name in logged if is_evaluation(name) and name not in losses)
    reward = [name for name in logged if name == "reward"]
    training: list[str] = [name for name in ("train/loss", "train/accuracy") if name in logged]
    if is_reward_driven(run):
        return others + reward or losses or training
    return losses + others + reward or training


def common(run: Run, references: list[Run]) -> tuple[list[str], list[str]]:
    """The metrics to judge a run by: those that it and some reference logged, and the evaluation losses of the references that it lacks."""
    wanted = list(dict.fromkeys(name for reference in references for name in quality(reference)))
    mine = quality(run)
    shared = [name for name in mine if name in wanted]
    if not shared:  # one side was evaluated and the other was not: the training metrics are left
        shared = [name for name in ("train/loss", "train/accuracy") if name in run.curves and any(name in r.curves for r in references)]
        shared = [] if is_reward_driven(run) or any(map(is_reward_driven, references)) else shared
    missing = [name for name in wanted if is_eval_loss(name) and name not in run.curves]
    return shared, missing


def throughput(run: Run, references: list[Run]) -> list[str]:
    """The measures of pace that the run and some reference logged."""
    return [name for name in _THROUGHPUT if name in run.curves and any(name in reference.curves for reference in references)]
