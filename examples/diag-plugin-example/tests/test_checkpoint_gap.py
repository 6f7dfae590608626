"""The check on runs made by hand: one it fires on, one close to it, one it cannot judge."""

from __future__ import annotations

import numpy as np
import pytest

from diag.battery import Examined, examine
from diag.run import Checkpoint, Column, Hyperparameter, Run, make_curve


def examined(*checkpoints: int, longest: float = 0.25, **config: object) -> Examined:
    """What the check says of a run of 1,000 steps."""
    step = np.arange(10, 1001, 10)
    curve, _ = make_curve(Column(step, 1.0 + np.exp(-step / 100)))
    run = Run("made", "made", "made", {"train/loss": curve})
    run.checkpoints = [Checkpoint(at, f"checkpoint-{at}", True) for at in checkpoints]
    run.config = {key: Hyperparameter(value) for key, value in config.items()}
    return examine(run, select=["CKP001"], thresholds=[("CKP001.longest", longest)])


def test_a_long_stretch_is_found() -> None:
    (finding,) = examined(200, 400, 1000).findings
    assert (finding.step_start, finding.step_end) == (400, 1000)
    assert "600 of 1000 steps (60%)" in finding.message


@pytest.mark.parametrize("checkpoints", [(200, 400, 600, 800), (240, 480, 720, 960)])
def test_checkpoints_at_regular_distances_are_fine(checkpoints: tuple[int, ...]) -> None:
    assert examined(*checkpoints).judged == ["CKP001"]
    assert examined(*checkpoints).findings == []


def test_what_was_lost_before_the_end_counts() -> None:
    assert examined(200, 400, 600).findings[0].step_end == 1000


def test_the_share_can_be_set() -> None:
    assert examined(200, 400, 1000, longest=0.7).findings == []


def test_without_checkpoints_or_with_a_limit_nothing_can_be_said() -> None:
    assert dict(examined().skipped)["CKP001"] == "no checkpoint is known"
    assert dict(examined(800, 1000, save_total_limit=2).skipped)["CKP001"] == "older checkpoints were removed"
