"""Checks of checkpoints: the family ``CKP``."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag_plugin_example.ckp001_checkpoint_gap import CheckpointGap

    return [CheckpointGap()]
