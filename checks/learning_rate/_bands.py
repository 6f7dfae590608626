"""What a usual learning rate is, for the optimizer and the kind of training."""

from __future__ import annotations

import math
from typing import NamedTuple

from diag.examination import Examination


class Band(NamedTuple):
    """A range of usual peak learning rates, how much leaving it says (nats of evidence per e-fold), and staying within at most."""

    low: float
    high: float
    weight_above: float
    weight_below: float
    source: str
    weight_within: float = 0.4


FULL_FINE_TUNE = Band(1e-6, 3e-5, 1.2, 0.8, "largest clip of full fine-tuning (S1-009, S3-031)")
"""Usual peak rates of full fine-tuning: from, to, nats for each e-fold above, nats for each e-fold below, source."""
ADAPTER = Band(1e-4, 3e-4, 0.5, 1.5, "consensus for LoRA (S3-023, S3-028)")
"""The same for LoRA and QLoRA."""
LARGE_PRETRAINING = Band(1e-5, 1e-3, 1.2, 0.8, "pretraining (S0-006)")
"""The same for pretraining of large models."""
ADAM_FROM_SCRATCH = Band(1e-5, 1e-2, 1.2, 0.8, "ten times the PyTorch default of Adam, 1e-3 (S3-184)")
"""The same for small nets trained from scratch with Adam, and where nothing is known."""
SGD_FROM_SCRATCH = Band(1e-3, 0.5, 1.0, 0.8, "five times the usual 0.1 of SGD with momentum (S3-003)", weight_within=0.0)
"""The same for those trained with SGD."""
LARGE_MODEL = 5e7
"""Parameters from which on the pretraining guidance applies; small nets tolerate more."""


def usual_band(examination: Examination) -> Band:
    """The usual range for this run; from-scratch ranges where the method is not known."""
    method = examination.hyperparameter("method")
    if method in ("lora", "qlora"):
        return ADAPTER
    if method in ("sft", "osft"):
        return FULL_FINE_TUNE
    if method == "pretraining" and (examination.number("model_parameters") or 0) >= LARGE_MODEL:
        return LARGE_PRETRAINING
    return SGD_FROM_SCRATCH if examination.optimizer == "sgd" else ADAM_FROM_SCRATCH


def excess(examination: Examination) -> float | None:
    """Natural log of the peak rate over the upper end of its band (negative below it), None if unknown."""
    rate = examination.learning_rate
    return None if rate is None or rate <= 0 else math.log(rate / usual_band(examination).high)


def shortfall(examination: Examination) -> float | None:
    """Natural log of the lower end of the band over the peak rate (negative above it), None if unknown."""
    rate = examination.learning_rate
    return None if rate is None or rate <= 0 else math.log(usual_band(examination).low / rate)


TRANSFORMER_WORDS = ("gpt", "llama", "transformer", "bert", "t5", "mistral", "qwen", "gemma", "vit", "causallm")
"""Parts of the names of models that are transformers."""


def is_transformer(examination: Examination) -> bool:
    """Whether the run is known to train a transformer, by method or by the model's name in the configuration."""
    if examination.hyperparameter("method") is not None:
        return True
    values = (str(entry.value).lower() for key, entry in examination.run.config.items() if "model" in key.lower() or "name" in key.lower())
    return any(word in value for value in values for word in TRANSFORMER_WORDS)
