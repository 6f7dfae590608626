"""PRC001: the dynamic loss scale collapses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination
from diag.run import Curve
from diag.vocabulary import DIVERGED, ERROR, UNSTABLE, WARNING

MINIMUM_POINTS = 10
"""Logged loss scales below which nothing is said."""
HALVINGS = 4
"""Halvings within the window that make a collapse; a scaler that works doubles its scale again after 2,000 steps without an overflow."""
WINDOW = 0.2
"""Share of the run within which halvings belong together."""
WINDOW_POINTS = 200
"""Logged points within which they do in long logs: over a fifth of 50,000 steps a scaler that works may halve five times."""
USELESS = 1.0
"""A scale below one shrinks gradients instead of lifting them out of fp16's underflow."""
DESCENT = 0.02
"""Share of the run at its start in which the scaler looks for its level (from 65,536 or more downward), where it falls with pauses."""
SETTLED = 3
"""Points without a fall that end the initial descent."""


class LossScaleCollapse(Check):
    """The loss scaler halves its scale again and again, or ends below one.

    ## What it does
    After the initial descent of the scaler, looks for four halvings within a fifth of the run (and 200 logged points),
    and for a scale below 1. Also reads the console line that says that the scale is at its minimum.

    ## Why is this bad?
    Each halving is a skipped update. A scale that never recovers means that gradients overflow fp16 at any scale: the
    activations or gradients themselves are too large.

    ## When it stays silent
    The descent from the initial scale, and the single halvings that follow each growth of the scale.

    ## What to do
    Train in bf16. Where the hardware has none, clip gradients at 1.0 and keep the gradient accumulation below 16.

    ## References
    Guide rows S3-168, S3-170; fix F18.
    """

    code = "PRC001"
    name = "loss-scale-collapse"
    severity = WARNING
    rules = ("S3-168", "S3-170")
    reward_logs = True
    thresholds = (Threshold("halvings", HALVINGS, "halvings", 1, 1_000),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        run = examination.run
        exhausted = next((event for event in run.events if event.kind == "loss_scale_exhausted"), None)
        curve = run.curve("loss_scale")
        if exhausted is not None:
            yield self.finding(
                f"The loss scale fell to its minimum{f' after step {exhausted.step}' if exhausted.step >= 0 else ''}: "
                "gradients overflow fp16 at any scale.",
                severity=ERROR,
                metric="loss_scale",
                step_start=exhausted.step if exhausted.step >= 0 else None,
                evidence={"line": exhausted.line, "file": exhausted.file},
                causes={"precision_overflow": 3.5},
                verdicts={DIVERGED: 3.0},
            )
            return
        if curve is None:
            raise Skip("loss_scale was not logged")
        curve = curve.select(np.isfinite(curve.value) & (curve.value > 0))
        if len(curve) < MINIMUM_POINTS:
            raise Skip(f"needs {MINIMUM_POINTS} points of loss_scale, has {len(curve)}")
        settled = curve.select(np.arange(settling(curve), len(curve)))
        halvings, start, end = most_halvings(settled, WINDOW * float(curve.step[-1] - curve.step[0]))
        lowest = float(settled.value.min())
        collapsed = halvings >= examination.threshold(self, "halvings")
        if not collapsed and lowest >= USELESS:
            return
        last = float(settled.value[-1])
        useless = last < USELESS
        yield self.finding(
            f"The loss scale fell to {lowest:g}"
            + (f", by {halvings:g} halvings within {end - start} steps" if collapsed else "")
            + (f", and ended at {last:g}." if useless or last == lowest else f", and came back to {last:g}."),
            severity=ERROR if useless else WARNING,
            metric="loss_scale",
            step_start=start,
            step_end=end,
            evidence={"lowest": lowest, "last": last, "halvings": halvings, "window": WINDOW},
            causes={"precision_overflow": 3.0},
            verdicts={UNSTABLE: 2.0} if useless else {UNSTABLE: 1.0},
        )


def settling(curve: Curve) -> int:
    """Index of the point at which the initial descent is over; 0 where the scale never stops falling."""
    falls = np.diff(curve.value) < 0
    quiet = np.flatnonzero(np.convolve(~falls, np.ones(SETTLED), mode="valid") == SETTLED)
    if not quiet.size:
        return 0
    descended = int(quiet[0])
    if falls[:descended].all():
        return descended
    return int(np.searchsorted(curve.step, curve.step[0] + DESCENT * (curve.step[-1] - curve.step[0])))


def most_halvings(curve: Curve, window: float) -> tuple[int, int, int]:
    """The largest number of net halvings within ``window`` steps (or two points), and the steps between which they happened."""
    if len(curve) < 2:
        return 0, 0, 0
    level = np.log2(curve.value)
    best = (0, int(curve.step[0]), int(curve.step[-1]))
    left = 0
    for right in range(1, len(curve)):
        left = max(left, right - WINDOW_POINTS)
        while curve.step[right] - curve.step[left] > window and left < right - 1:
            left += 1
        inside = level[left : right + 1]
        fallen = round(float(inside.max() - inside[-1]))
        if fallen > best[0]:
            top = int(np.flatnonzero(inside == inside.max())[-1])
            best = (fallen, int(curve.step[left + top]), int(curve.step[right]))
    return best
