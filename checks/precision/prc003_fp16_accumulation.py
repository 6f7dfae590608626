"""PRC003: fp16 with many accumulated micro-batches."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.vocabulary import INFO, WARNING

ACCUMULATION = 16
"""Accumulated micro-batches from which on fp16 gradients can overflow (S3-168)."""


class Fp16Accumulation(Check):
    """Gradients of 16 or more micro-batches are accumulated in fp16.

    ## What it does
    Reads precision and gradient accumulation from the config.

    ## Why is this bad?
    Sums of many fp16 gradients leave the range of the format (65,504) more easily than single ones.

    ## When it stays silent
    For bf16 and fp32. Where the loss stayed finite it is a remark (info).

    ## What to do
    Train in bf16; or accumulate fewer, larger micro-batches.

    ## References
    Guide rows S3-168, S3-169; fix F18.
    """

    code = "PRC003"
    name = "fp16-with-large-accumulation"
    severity = INFO
    rules = ("S3-168", "S3-169")
    thresholds = (Threshold("accumulation", ACCUMULATION, "micro-batches", 1, 1_000_000),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        precision = examination.hyperparameter("precision")
        accumulation = examination.number("gradient_accumulation_steps")
        if precision is None or accumulation is None:
            raise Skip("precision or gradient accumulation is not known")
        if precision != "fp16" or accumulation < examination.threshold(self, "accumulation"):
            return
        lost = examination.has_nonfinite_loss
        yield self.finding(
            f"Gradients of {accumulation:g} micro-batches are accumulated in fp16, which overflows at 65,504.",
            severity=WARNING if lost else INFO,
            evidence={"gradient_accumulation_steps": accumulation, "precision": "fp16"},
            causes={"precision_overflow": 1.0} if lost else {},
        )
