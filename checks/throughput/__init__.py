"""Throughput: stalls, slow-down, growing memory. None of these changes the verdict."""

from __future__ import annotations

from diag.check import Check


def checks() -> list[Check]:
    """The checks of this family."""
    from diag.checks.throughput.thr001_stall import Stall
    from diag.checks.throughput.thr002_slow_down import SlowDown
    from diag.checks.throughput.thr003_memory_growth import MemoryGrowth

    return [Stall(), SlowDown(), MemoryGrowth()]
