"""A run as it was at an earlier step: what a look at that time would have seen."""

from __future__ import annotations

from dataclasses import replace

from diag.inference import infer
from diag.run import Run


def up_to(run: Run, step: int) -> Run:
    """The run with nothing logged after ``step``, and with what is inferred from curves inferred from these.

    What the configuration says, the planned steps among it, was known from the start.
    """
    curves = {name: curve.select(curve.step <= step) for name, curve in run.curves.items()}
    known = {
        name: entry for name, entry in run.hyperparameters.items() if entry.kind != "inferred" or entry.note.startswith("the default of")
    }
    earlier = replace(
        run,
        curves={name: curve for name, curve in curves.items() if len(curve)},
        hyperparameters=known,
        notes=[],
        overlaps=[overlap for overlap in run.overlaps if overlap.step_from <= step],
        events=[event for event in run.events if 0 <= event.step <= step],
        checkpoints=[checkpoint for checkpoint in run.checkpoints if checkpoint.step <= step],
        finished=None,
    )
    infer(earlier)
    return earlier
