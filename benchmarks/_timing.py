"""Timing for the scripts in this folder: two contenders in one process on one core, compared by the best of several turns."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Times(NamedTuple):
    """Seconds of the turns of one contender."""

    turns: tuple[float, ...]

    @property
    def best(self) -> float:
        """The fastest turn: what the code costs when nothing else ran."""
        return min(self.turns)

    @property
    def median(self) -> float:
        """The middle turn."""
        return statistics.median(self.turns)


def one_core() -> None:
    """Pin this process and its children to one core, where the system can; BLAS and friends to one thread."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def timed(work: Callable[[], Any], repeats: int) -> Times:
    """Run ``work`` ``repeats`` times, garbage collected before each turn."""
    turns = []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        work()
        turns.append(time.perf_counter() - start)
    return Times(tuple(turns))


def report(name: str, ours: Times, peer_name: str, peer: Times, wanted: float, *, faster: bool = True) -> bool:
    """Print one line with both times and their ratio; whether the ratio meets ``wanted``.

    With ``faster`` the ratio is peer / ours and must be at least ``wanted``; otherwise it is ours / peer and must be at most that.
    """
    ratio = peer.best / ours.best if faster else ours.best / peer.best
    middle = peer.median / ours.median if faster else ours.median / peer.median
    met = ratio >= wanted if faster else ratio <= wanted
    word = "times faster than" if faster else "times the time of"
    bound = f"{'at least' if faster else 'at most'} {wanted:g}"
    print(
        f"{name}: {ours.best:.3f} s, {ratio:.1f} {word} {peer_name} at {peer.best:.3f} s"
        f" (medians {ours.median:.3f} s, {middle:.1f}); wanted {bound}: {'yes' if met else 'NO'}",
        flush=True,
    )
    return met


MEASURE = """
import resource, sys
try:
    # The high-water mark of this program alone; ru_maxrss would start at that of the process it was forked from.
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak)
"""


def peak_memory(code: str, *arguments: str) -> int:
    """Bytes of resident memory that a fresh Python process had at its peak while it ran ``code``."""
    done = subprocess.run([sys.executable, "-c", code + MEASURE, *arguments], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])
