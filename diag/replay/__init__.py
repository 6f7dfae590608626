"""Replay: short trainings that confirm or refute a prescription before anyone pays for the run.

``Probe`` is what a user's probe function returns; the rest is for the commands. Everything below imports torch only where it trains.
"""

from __future__ import annotations

from diag.replay.probe import Probe as Probe

__all__ = ["Probe"]
