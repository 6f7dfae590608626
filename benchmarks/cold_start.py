"""How long a whole process takes, against the bare import it cannot do without.

    python benchmarks/cold_start.py [rounds]

Prints two ratios of wall-clock minima over interleaved rounds, each process on one core, bytecode cached as an installed
package has it:

    diag analyze of a 200-row trainer_state.json   /   python -c "import numpy"    (budget 2.5)
    diag --help                                    /   python -c "import click"    (budget 3)
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import one_core

ROWS = 200
ROUNDS = 15
BUDGETS = {"diag analyze, 200 rows": 2.5, "diag --help": 3.0}


def write_state(path: Path, rows: int = ROWS) -> None:
    """A healthy fine-tuning as Hugging Face's Trainer logs it, an evaluation every tenth row."""
    history: list[dict[str, float]] = []
    for row in range(1, rows + 1):
        step = 10 * row
        loss = 0.8 + 1.6 * math.exp(-row / (rows / 6)) + 0.02 * math.sin(7.3 * row)
        lr = 2e-5 * min(1, row / (0.03 * rows)) * (1 + math.cos(math.pi * row / rows)) / 2
        history.append(
            {"epoch": 3 * row / rows, "grad_norm": 1 + 0.2 * math.sin(3.1 * row), "learning_rate": lr, "loss": loss, "step": step}
        )
        if row % 10 == 0:
            history.append({"epoch": 3 * row / rows, "eval_loss": loss + 0.05, "step": step})
    state = {"epoch": 3.0, "global_step": 10 * rows, "max_steps": 10 * rows, "num_train_epochs": 3, "log_history": history}
    path.write_text(json.dumps(state, indent=2), encoding="utf-8")


def best_of(commands: dict[str, list[str]], rounds: int, environment: dict[str, str]) -> dict[str, float]:
    """Least wall-clock seconds of each command; the rounds are interleaved, so that a busy moment hits all alike."""
    best = dict.fromkeys(commands, math.inf)
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=False)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main(rounds: int = ROUNDS) -> int:
    """Measure, print, and say by the exit code whether the budgets hold."""
    python = sys.executable
    one_core()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "trainer_state.json"
        write_state(state)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        commands = {
            "diag analyze, 200 rows": [python, "-m", "diag", "analyze", str(state)],
            "import numpy": [python, "-c", "import numpy"],
            "diag --help": [python, "-m", "diag", "--help"],
            "import click": [python, "-c", "import click"],
        }
        best_of(commands, 1, environment)  # fills the bytecode cache
        best = best_of(commands, rounds, environment)
    ratios = {
        "diag analyze, 200 rows": best["diag analyze, 200 rows"] / best["import numpy"],
        "diag --help": best["diag --help"] / best["import click"],
    }
    for name, seconds in best.items():
        print(f"{name:24} {1000 * seconds:6.0f} ms")
    for name, ratio in ratios.items():
        print(f"{name:24} {ratio:6.2f} times the bare import (budget {BUDGETS[name]})")
    return int(any(ratio > BUDGETS[name] for name, ratio in ratios.items()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
