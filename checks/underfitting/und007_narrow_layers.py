"""UND007: a hidden layer of a few units is all that the data pass through."""

from __future__ import annotations

from collections.abc import Iterator

from diag.check import Check, Finding, Skip, Threshold
from diag.examination import Examination, generalization_gap
from diag.vocabulary import PLATEAU, UNDERFIT, WARNING

NARROW = 4
"""Units of a hidden layer up to which it is a bottleneck: fewer directions than most data have."""
KEYS = ("hidden", "hidden_size", "hidden_dim", "hidden_units", "width", "d_model", "n_embd", "embed_dim", "num_hidden")
"""Last parts of configuration keys that hold the width of the hidden layers."""
OWNERS = ("model", "net", "network", "arch", "architecture", "encoder", "backbone", "mlp", "")
"""Sections in which such a key means the model's own width; "" is the top level."""
GAP = 0.3
"""Generalization gap, log units, above which a model fits its data, however narrow it is."""
MINIMUM_POINTS = 5
"""Points of a loss below which it cannot be said to have levelled off."""


class NarrowLayers(Check):
    """The configured width of the hidden layers is so small that the model cannot express much.

    ## What it does
    Reads the width of the hidden layers from the configuration. Fires for four units or fewer where the training loss is not far
    below the evaluation loss: the model does not even fit what it trains on.

    ## Why is this bad?
    All that the later layers know of an input has to pass through these few numbers. The loss levels off where they are used
    up; neither more steps nor another learning rate will move it.

    ## When it stays silent
    When no width is configured, and when the training loss ends far below the evaluation loss.

    ## What to do
    Make the layers wider, at least as wide as there are outputs or inputs; 16 to 64 units are a usual start for small data.

    ## References
    Guide row S1-200; fix F08.
    """

    code = "UND007"
    name = "narrow-layers"
    severity = WARNING
    needs = ()
    rules = ("S1-200",)
    premature = "where the loss levels off is known at its end"
    thresholds = (Threshold("narrow", NARROW, "units", 1, 1_000_000),)

    def examine(self, examination: Examination) -> Iterator[Finding]:
        """At most one finding."""
        width = hidden_width(examination)
        if width is None:
            raise Skip("no width of the hidden layers is configured")
        series = examination.require_main(MINIMUM_POINTS)
        gap = generalization_gap(series, examination.train)
        narrow = examination.threshold(self, "narrow")
        if width > narrow or examination.has_nonfinite_loss or (gap is not None and gap > GAP):
            return
        yield self.finding(
            f"The hidden layers are {width:g} units wide, and {series.name} levels off at {float(series.curve.value[-1]):.4g}.",
            metric=series.name,
            step_start=int(series.curve.step[0]),
            step_end=int(series.curve.step[-1]),
            evidence={"hidden_width": width, "widest_that_fires": narrow, "generalization_gap": None if gap is None else round(gap, 4)},
            causes={"capacity_too_low": 3.8, "lr_too_low": -1.0, "lr_too_high": -1.5},
            verdicts={PLATEAU: 3.0, UNDERFIT: 2.0},
        )


def hidden_width(examination: Examination) -> float | None:
    """The smallest configured width of hidden layers (a list holds one a layer), None if there is none."""
    found: list[float] = []
    for key, entry in examination.run.config.items():
        *sections, leaf = key.lower().split(".")
        if leaf not in KEYS or (sections[-1] if sections else "") not in OWNERS:
            continue
        values = entry.value if isinstance(entry.value, (list, tuple)) else [entry.value]
        found += [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1]
    return min(found, default=None)
