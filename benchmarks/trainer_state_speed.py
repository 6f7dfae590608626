"""How long a verdict on a long trainer_state.json takes, against decoding its JSON alone.

    python benchmarks/trainer_state_speed.py [rows] [rounds]

Each contender is a whole process on one core, in interleaved rounds; the minima count. Start-up is taken off both sides: the
same command on a 200-row log from ours, an empty program from json.load. Budget: 2.5 times json.load.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from _timing import one_core
from cold_start import best_of, write_state

ROWS = 100_000
ROUNDS = 5
BUDGET = 2.5


def main(rows: int = ROWS, rounds: int = ROUNDS) -> int:
    """Measure, print, and say by the exit code whether the budget holds."""
    one_core()
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short" / "trainer_state.json", Path(folder) / "long" / "trainer_state.json"
        for path in (short, long):
            path.parent.mkdir()
        write_state(short)
        write_state(long, rows)
        size = long.stat().st_size
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        decode = "import json, sys; json.load(open(sys.argv[1], encoding='utf-8'))"
        commands = {
            "diag, long": [python, "-m", "diag", "analyze", str(long)],
            "diag, 200 rows": [python, "-m", "diag", "analyze", str(short)],
            "json.load, long": [python, "-c", decode, str(long)],
            "empty program": [python, "-c", "import json, sys"],
        }
        best_of(commands, 1, environment)  # fills the bytecode and file caches
        best = best_of(commands, rounds, environment)
    ours = best["diag, long"] - best["diag, 200 rows"]
    theirs = best["json.load, long"] - best["empty program"]
    for name, seconds in best.items():
        print(f"{name:16} {1000 * seconds:6.0f} ms")
    print(f"{rows:,} rows, {size / 1e6:.0f} MB")
    print(f"reading and verdict take {ours / theirs:.2f} times json.load, start-up apart (budget {BUDGET})")
    return int(ours > BUDGET * theirs)


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:3])))
