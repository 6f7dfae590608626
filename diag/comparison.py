"""What a comparison with known-good results found: plain data, for every report format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RUN: Final = "run"
BENCHMARK: Final = "benchmark"

BEST: Final = "best"
END: Final = "end"
TYPICAL: Final = "typical"
SCORE: Final = "score"

WORSE: Final = "worse"
WITHIN_NOISE: Final = "within noise"
SAME: Final = "same"
BETTER: Final = "better"
NOT_COMPARED: Final = "not compared"
VERDICTS: Final = (WORSE, WITHIN_NOISE, SAME, BETTER, NOT_COMPARED)


@dataclass(frozen=True, slots=True)
class Compared:
    """One number beside that of the reference.

    Attributes:
        metric: canonical metric, or ``task metric,filter`` of a benchmark.
        at: ``best``, ``end`` (the last common part), ``typical`` (the median of the run) or ``score``.
        value: of the run, None where it has none.
        reference: of the reference (the mean of several), None where it has none.
        difference: relative to the reference, positive where the run is worse; None where it cannot be told.
        noise: the largest relative difference that chance explains, None where it is not known.
        p_value: one-sided, of a run no worse than its reference, before the correction for several metrics; None where nothing was tested.
        verdict: one of VERDICTS: ``worse`` and ``better`` are beyond both noise and tolerance, ``within noise`` is beyond the tolerance
            only.
        step, reference_step: optimizer steps the numbers belong to, None where they belong to none.
        remark: why it was not compared, or what to know about it; "" for nothing.
    """

    metric: str
    at: str
    value: float | None
    reference: float | None
    difference: float | None = None
    noise: float | None = None
    p_value: float | None = None
    verdict: str = NOT_COMPARED
    step: int | None = None
    reference_step: int | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run, or benchmark results of a model, beside known-good ones.

    Attributes:
        kind: ``run`` or ``benchmark``.
        references: what it was compared with: ids of runs, or the path of results.
        tolerance: relative difference from which on worse is an error.
        rows: one entry a number, in the order of importance.
        aligned: for runs, what the curves were laid over each other by: ``step``, ``epoch`` or ``share`` of the run; "" otherwise.
        until: the last point that was compared, in that unit; None where there was none.
        differs: hyperparameter to its value in the run (``run``) and in the references (``references``), where they differ.
        notes: one sentence each.
    """

    kind: str
    references: tuple[str, ...]
    tolerance: float
    rows: tuple[Compared, ...] = ()
    aligned: str = ""
    until: float | None = None
    differs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether anything was compared."""
        return any(row.verdict != NOT_COMPARED for row in self.rows)
