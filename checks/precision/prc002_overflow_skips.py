"""PRC002: steps skipped because gradients overflowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import EARLY_SHARE, Examination
from diag.run import Run
from diag.vocabulary import INFO, WARNING

FEWEST = 4
"""Skips below which their share says nothing; as many halvings make a collapse of the scale (PRC001)."""
SKIP_SHARE = 0.05
"""Share of skipped steps that costs something (fp16 collapse)."""
NONFINITE_SHARE = 0.01
"""Share of non-finite gradient norms above which it is no scaler at work (below 1% of steps: a remark)."""
PER_INTERVAL = ("number of skipped iterations", "number of nan iterations")
"""Native counters that start again with every line (Megatron-LM)."""
CUMULATIVE = ("skipped_steps", "skipped-train-steps")
"""Native counters that go on from line to line."""


class Skipped(NamedTuple):
    """Steps that overflowed: how many, of how many, the threshold for their share, and from what it is known."""

    number: int
    of: int
    limit: str
    source: str


class OverflowSkips(Check):
    """Updates were skipped because the gradients were not finite.

    ## What it does
    Counts overflow lines of the console, the trainer's own counters of skipped steps, and non-finite gradient norms
    next to a finite loss, after the first tenth of the run.

    ## Why is this bad?
    A skipped step is lost work, and skips come in numbers when fp16 is about to fail.

    ## When it stays silent
    A few skips are how a loss scaler finds its level: below 4 of them, or 5% of the steps (1% of logged gradient norms), it
    is a remark.

    ## What to do
    Train in bf16; or clip gradients at 1.0 and keep the gradient accumulation below 16.

    ## References
    Guide rows S3-168, S3-170; fix F18.
    """

    code = "PRC002"
    name = "overflow-skips"
    severity = WARNING
    rules = ("S3-168", "S3-170")
    reward_logs = True
    thresholds = (
        Threshold("fewest", FEWEST, "skips", 1, 1_000_000),
        Threshold("skip_share", SKIP_SHARE, "share of the steps", 0.0, 1.0),
        Threshold("nonfinite_share", NONFINITE_SHARE, "share of the norms", 0.0, 1.0),
    )

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding, from the most telling source."""
        run = examination.run
        known = [entry for entry in (from_counters(run), from_events(run), from_norms(run)) if entry is not None]
        if not known:
            raise Skip("neither overflow lines, nor counters of skipped steps, nor gradient norms were logged")
        entry = max(known, key=lambda skipped: skipped.number / max(skipped.of, 1))
        if entry.number == 0:
            return
        share = entry.number / max(entry.of, 1)
        half = examination.hyperparameter("precision") == "fp16" or "steps were skipped" in entry.source  # only a loss scaler skips
        serious = share > examination.threshold(self, entry.limit) and entry.number >= examination.threshold(self, "fewest")
        yield self.finding(
            f"{entry.number} of {entry.of} {entry.source}" + (": gradients overflowed." if half else "."),
            severity=WARNING if serious else INFO,
            metric="grad_norm" if "norm" in entry.source else "",
            evidence={"count": entry.number, "of": entry.of, "share": round(share, 5)},
            causes=({"precision_overflow": 2.5} if half else {"exploding_gradients": 2.0, "lr_too_high": 1.0}) if serious else {},
        )


def descended(run: Run) -> float:
    """The step up to which overflows count as the scaler's initial descent."""
    return EARLY_SHARE * run.steps


def from_counters(run: Run) -> Skipped | None:
    """Counters of skipped steps that the trainer logged."""
    for name in PER_INTERVAL:
        if (curve := run.curve(name)) is not None and len(curve):
            late = curve.value[curve.step > descended(run)]
            return Skipped(int(np.nansum(late)), run.steps, "skip_share", "steps were skipped")
    for name in CUMULATIVE:
        if (curve := run.curve(name)) is not None and len(curve):
            early = curve.value[curve.step <= descended(run)]
            count = float(np.nanmax(curve.value)) - (float(np.nanmax(early)) if early.size else 0.0)
            return Skipped(int(count), run.steps, "skip_share", "steps were skipped")
    return None


def from_events(run: Run) -> Skipped | None:
    """Overflow lines of the console."""
    events = [event for event in run.events if event.kind == "loss_scale_overflow"]
    if not events:
        return None
    return Skipped(
        min(sum(event.count for event in events if event.step > descended(run) or event.step < 0), run.steps),
        run.steps,
        "skip_share",
        "steps were skipped",
    )


def from_norms(run: Run) -> Skipped | None:
    """Non-finite gradient norms where the loss of that step is finite."""
    norm, loss = run.curve("grad_norm"), run.curve("train/loss")
    if norm is None or not len(norm):
        return None
    bad = ~np.isfinite(norm.value) & (norm.step > descended(run))
    if loss is not None:
        lost = loss.step[~np.isfinite(loss.value)]
        if lost.size:
            bad &= norm.step < lost[0]
    return Skipped(int(bad.sum()), len(norm), "nonfinite_share", "logged gradient norms are not finite")
