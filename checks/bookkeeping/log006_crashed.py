"""LOG006: the log holds crash lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from diag.check import Check, Finding
from diag.examination import Examination
from diag.run import LogEvent
from diag.vocabulary import DIVERGED, ERROR, INFO, WARNING


class Kind(NamedTuple):
    """How one kind of crash line is reported."""

    words: str
    severity: str
    causes: dict[str, float]
    verdicts: dict[str, float]


KINDS: dict[str, Kind] = {
    "out_of_memory": Kind("ran out of GPU memory", ERROR, {"out_of_memory": 4.0}, {}),
    "host_out_of_memory": Kind("was ended for lack of host memory", ERROR, {"out_of_memory": 3.0}, {}),
    "nccl_timeout": Kind("hung in a collective operation until it timed out", ERROR, {}, {}),
    "nonfinite_loss": Kind("stopped because its loss was not finite", ERROR, {"lr_too_high": 1.0}, {DIVERGED: 5.0}),
    "traceback": Kind("ended with an exception", WARNING, {}, {}),
    "killed": Kind("was stopped from outside", WARNING, {}, {}),
}
"""The causes of a time-out, an exception or a kill are not in the training; those of the others are."""


class Crashed(Check):
    """The log holds a crash: out of memory, a time-out, an exception, a kill.

    ## What it does
    Reports the crash lines of console logs, each kind once, with the step they came after.

    ## Why is this bad?
    The run did not finish. Out of memory is the one crash that a hyperparameter mends.

    ## When it stays silent
    A crash line followed by more training is a remark (info): the run was resumed, or the exception was caught; so is
    an interrupt from the keyboard. Tracebacks of a run that reported its own end are not mentioned.

    ## What to do
    Out of memory: halve the micro-batch and double the gradient accumulation, so that the global batch stays the same; then
    gradient checkpointing, shorter sequences or packing, LoRA, QLoRA. Time-outs: find the slow or dead rank.

    ## References
    Guide rows S0-046, S0-047, S1-070, S1-210 to S1-213; fix F15.
    """

    code = "LOG006"
    name = "crashed"
    severity = ERROR
    rules = ("S0-046", "S0-047", "S1-070", "S1-210")
    reward_logs = True
    premature = "training may go on after an error that is caught, or be started again"

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """One finding a kind of crash."""
        run = examination.run
        for kind, how in KINDS.items():
            events = [event for event in run.events if event.kind == kind]
            if not events or (kind in ("traceback", "killed") and run.finished is True):
                continue
            last = max(events, key=lambda event: (event.step, event.line))
            at_end = last.step >= run.steps if last.step >= 0 else run.finished is False or not run.curves
            fatal = at_end and run.finished is not True
            if kind == "traceback" and fatal and is_explained(run.events, last):
                continue
            place = f" after step {last.step}" if last.step >= 0 else ""
            where = f" ({last.file}:{last.line})" if last.file else ""
            sequel = ", and training went on" if last.step >= 0 else ", at a place that the log does not tell"
            text = f"The run {how.words}{place}{where}: {last.text}" if fatal else f"A launch {how.words}{place}{where}{sequel}."
            yield self.finding(
                f"{text.rstrip(' .:')}.",
                severity=how.severity if fatal and "KeyboardInterrupt" not in last.text else INFO,
                step_start=last.step if last.step >= 0 else None,
                step_end=last.step if last.step >= 0 else None,
                evidence={"kind": kind, "count": sum(event.count for event in events), "file": last.file, "line": last.line},
                causes=how.causes if fatal else {},
                verdicts=how.verdicts if fatal else {},
            )


def is_explained(events: list[LogEvent], traceback: LogEvent) -> bool:
    """Whether a traceback only follows from another crash at the same step."""
    return any(event.kind not in ("traceback", "loss_scale_overflow") and event.step >= traceback.step for event in events)
