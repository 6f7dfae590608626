"""Which hyperparameters of a run differ from those of its references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from diag.run import Hyperparameter, Run
from diag.vocabulary import HYPERPARAMETERS

INCIDENTAL: Final = frozenset({"seed", "logging_steps", "eval_steps", "save_steps"})
"""Hyperparameters that differ between runs of one setting without a bearing on how well they train."""
INFERRED: Final = 0.02
"""Relative difference below which a number that was inferred on either side is the same: logs round."""


def differing(run: Run, references: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Hyperparameters that are known on both sides and differ from every reference: name to the run's value and the references'."""
    order = {name: index for index, name in enumerate(HYPERPARAMETERS)}
    found = {}
    for name in sorted(run.hyperparameters, key=lambda name: (order.get(name, len(order)), name)):
        known = [reference.hyperparameters[name] for reference in references if name in reference.hyperparameters]
        mine = run.hyperparameters[name]
        if name in INCIDENTAL or not known or any(_alike(mine, other) for other in known):
            continue
        values: list[Any] = []
        for other in known:
            if other.value not in values:
                values.append(other.value)
        found[name] = {"run": mine.value, "references": values}
    return found


def _alike(mine: Hyperparameter, other: Hyperparameter) -> bool:
    if mine.value == other.value:
        return True
    numbers = [value for value in (mine.value, other.value) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2:
        return str(mine.value) == str(other.value)
    slack = INFERRED if "inferred" in (mine.kind, other.kind) else 1e-9
    return math.isclose(numbers[0], numbers[1], rel_tol=slack)
