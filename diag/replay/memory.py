"""The memory of a device: how much there is, how much this process took, and a limit to it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SAFETY: Final = 0.9
"""Share of the free memory that a training may take, the share that vLLM's ``gpu_memory_utilization`` leaves it by default: longer samples,
evaluation, checkpoints and fragmentation need the rest."""
SYSTEM: Final = Path("/")


def available(device: str, system: Path = SYSTEM) -> int | None:
    """Bytes that a new process could take, None where the system does not tell.

    On the CPU of a Linux machine what the kernel calls available, or what is left to the control groups of this process if that is less; on
    other Unix systems all there is. On mps what Metal recommends to take at most.
    """
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    found = [*_of_system(system), *_of_groups(system)]
    return max(min(found), 0) if found else None


def _of_system(system: Path) -> Iterator[int]:
    if (number := _field(system / "proc/meminfo", "MemAvailable")) is not None:
        yield 1024 * number
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(system: Path) -> Iterator[int]:
    """What is left to each control group that this process is in, of version 2 or 1; what the page cache holds can be had back."""
    for line in _text(system / "proc/self/cgroup").splitlines():
        _, kinds, name = line.split(":", 2)
        root, limit, used, cache = (
            ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
            if not kinds
            else ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        if kinds and "memory" not in kinds.split(","):
            continue
        inner = Path(name.lstrip("/"))
        for part in (inner, *inner.parents):  # a container sees its own group at the root, whatever its name outside
            folder = system / root / part
            most, taken = _text(folder / limit).strip(), _text(folder / used).strip()
            if most.isdecimal() and taken.isdecimal():
                yield int(most) - int(taken) + (_field(folder / "memory.stat", cache) or 0)


def peak(device: str) -> int | None:
    """The most bytes that this process ever held on a device, None where the system does not tell."""
    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    if device == "mps":
        return int(torch.mps.driver_allocated_memory())  # its allocator keeps what it once had
    if (number := _field(SYSTEM / "proc/self/status", "VmHWM")) is not None:
        return 1024 * number
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak(device: str) -> None:
    """Measure the peak anew from here on, where the device can."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def cap(device: str, size: int) -> None:
    """Let allocations fail that would take this process beyond a number of bytes, where the system can.

    On a CPU it is a net and no more: without it the kernel would end some process, not always this one. Memory that was asked for and never
    touched counts here, and in the peak it does not, so that it is spread below what is free and not below what is allowed.
    """
    import torch

    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(size / torch.cuda.mem_get_info()[1], 1.0))
    elif device == "mps":
        torch.mps.set_per_process_memory_fraction(min(size / torch.mps.recommended_max_memory(), 1.0))
    else:
        _cap_data(round(size / SAFETY))


def _cap_data(size: int) -> None:
    now, held = (_field(SYSTEM / "proc/self/status", name) for name in ("VmData", "VmRSS"))
    if now is None or held is None:
        return
    from resource import RLIMIT_DATA, getrlimit, setrlimit

    _, hard = getrlimit(RLIMIT_DATA)
    limit = 1024 * now + max(size - 1024 * held, 0)
    setrlimit(RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def _field(path: Path, name: str) -> int | None:
    """The number after a name at the beginning of a line, as the kernel writes its tables."""
    found = re.search(rf"^{name}:?\s+(\d+)", _text(path), re.MULTILINE)
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
