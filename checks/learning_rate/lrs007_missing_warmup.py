"""LRS007: a transformer was started at a high rate without warmup."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold
from diag.checks.learning_rate._bands import ADAM_FROM_SCRATCH, LARGE_PRETRAINING, excess, is_transformer, usual_band
from diag.examination import Examination
from diag.vocabulary import INFO, UNSTABLE, WARNING

SHORTEST = 0.01
"""Warmup as a share of the run below which there is none to speak of (guides: 3 to 10%, S3-058)."""


class MissingWarmup(Check):
    """A transformer starts at a rate above its band and there is no warmup.

    ## What it does
    Fires when the configured warmup is below 1% of the run, the model is a transformer trained from scratch, and the
    peak rate lies above what is usual for that. With a usual rate it is a remark.

    ## Why is this bad?
    The second-moment estimates of Adam are noise in the first steps; at a high rate these steps wreck the
    initialization, and the loss never reaches the level it would have.

    ## When it stays silent
    For other architectures, for fine-tuning (whose early instability SPK003 measures), and when the warmup is not known.

    ## What to do
    Warm up over 5 to 10% of the steps. If the loss is still too high, divide the rate by 3.

    ## References
    Guide rows S1-144, S3-011, S3-017, S3-058, S3-158; fixes F03, F27.
    """

    code = "LRS007"
    name = "warmup-missing"
    severity = WARNING
    needs = ()
    rules = ("S1-144", "S3-011", "S3-017", "S3-058")
    patience = 0.0
    thresholds = (Threshold("shortest", SHORTEST, "share of the run", 0.0, 1.0),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        warmup, above = examination.warmup_steps, excess(examination)
        if warmup is None or above is None:
            raise Skip("the warmup or the learning rate is not known")
        if examination.main is None:
            raise Skip("no loss was logged")
        if not is_transformer(examination) or examination.optimizer == "sgd":
            raise Skip("not known to be a transformer trained with Adam")
        if warmup >= examination.threshold(self, "shortest") * examination.total_steps:
            return
        if examination.lr is not None and float(examination.lr.value[0]) < 0.5 * float(examination.lr.value.max()):
            return  # the log shows a warmup, whatever the configuration says
        hot = above > 0 and usual_band(examination) in (ADAM_FROM_SCRATCH, LARGE_PRETRAINING)
        yield self.finding(
            f"There is no warmup before a learning rate of {examination.learning_rate:g}"
            + (f", above the {usual_band(examination).high:g} that is usual." if hot else "."),
            severity=WARNING if hot else INFO,
            metric="lr",
            step_start=0,
            step_end=int(0.05 * examination.total_steps),
            evidence={"bug": "never_warms_up", "warmup_steps": warmup, "learning_rate": examination.learning_rate},
            causes={"warmup_too_short": 3.0, "lr_too_high": 1.5} if hot else {},
            verdicts={UNSTABLE: 3.0} if hot else {},
        )
