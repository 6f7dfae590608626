from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diag.replay.memory import available, peak

MIB = 2**20


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def free(mib: int) -> dict[str, str]:
    return {"proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable:   {1024 * mib} kB\n"}


def test_the_machine_says_what_is_free(tmp_path: Path) -> None:
    assert available("cpu", system(tmp_path, free(500))) == 500 * MIB


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (
            "0::/job/step\n",
            {
                "job/memory.max": f"{300 * MIB}\n",
                "job/memory.current": f"{120 * MIB}\n",
                "job/memory.stat": f"anon 5\ninactive_file {20 * MIB}\n",
                "job/step/memory.max": "max\n",
                "job/step/memory.current": f"{100 * MIB}\n",
            },
        ),
        (
            "5:cpu:/\n4:memory:/outer/name\n0::/\n",
            {
                "memory/memory.limit_in_bytes": f"{300 * MIB}\n",
                "memory/memory.usage_in_bytes": f"{120 * MIB}\n",
                "memory/memory.stat": f"total_inactive_file {20 * MIB}\n",
            },
        ),
    ],
    ids=["version 2, a limit above the own group", "version 1, seen from inside a container"],
)
def test_a_control_group_may_leave_less(groups: str, files: dict[str, str], tmp_path: Path) -> None:
    root = system(tmp_path, {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
    assert available("cpu", system(root, free(500))) == 200 * MIB
    assert available("cpu", system(root, free(100))) == 100 * MIB


def test_without_kernel_tables_all_memory_is_what_there_is(tmp_path: Path) -> None:
    assert available("cpu", tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_peak_counts_what_was_given_back() -> None:
    before = peak("cpu")
    assert before is not None
    block = bytearray(os.urandom(1)) * (before + 64 * MIB)
    del block
    after = peak("cpu")
    assert after is not None and after >= before + 64 * MIB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may take")
def test_a_capped_process_cannot_take_more() -> None:
    code = "from diag.replay.memory import cap, peak; import torch; cap('cpu', peak('cpu') + 100 * 2**20); torch.zeros({} * 2**18).sum()"
    fits, fails = (
        subprocess.run([sys.executable, "-c", code.format(mib)], capture_output=True, text=True, check=False) for mib in (50, 400)
    )
    assert fits.returncode == 0, fits.stderr
    assert "can't allocate memory" in fails.stderr
