"""How long linting takes, against reading the same files with a YAML library alone.

    python benchmarks/lint_speed.py [configs] [repeats]

Writes 1,000 training configs (the sample configs of the tests, their numbers varied by a fixed seed), lints them in one process,
and parses the same files with ruamel.yaml (``YAML(typ="safe", pure=True)``, what diag itself builds on) and with PyYAML's
``safe_load``. Each on one core; wanted: at most 10 times the library alone. Exits with 1 if one is not met.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from functools import partial
from pathlib import Path

from _timing import one_core, report, timed

SAMPLES = Path(__file__).resolve().parent.parent / "tests" / "data" / "configs"
CONFIGS = 1000
REPEATS = 3
WANTED = 10.0
SEED = 20240607

NUMBER = re.compile(r"(?<=: )(\d+(?:\.\d+)?(?:e-?\d+)?)(?=\s*(?:#.*)?$)", re.MULTILINE)
"""A number that is the whole value of a key."""


def write_configs(folder: Path, count: int) -> list[Path]:
    """``count`` configs: the sample configs over and over, a third of their numbers varied, so that no two files are alike."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLES.rglob("*")) if path.suffix in (".yaml", ".yml")]
    source = random.Random(SEED)
    paths = []
    for number in range(count):
        text = NUMBER.sub(partial(varied, source), texts[number % len(texts)])
        path = folder / f"{number:04d}.yaml"
        path.write_text(f"# config {number}\n{text}", encoding="utf-8")
        paths.append(path)
    return paths


def varied(source: random.Random, match: re.Match[str]) -> str:
    """A number, or one to four times it, in the way it was written."""
    text, factor = match[1], source.choice((1, 1, 1, 1, 2, 4))
    if text.isdecimal():
        return str(int(text) * factor)
    mantissa, _, exponent = text.partition("e")
    return f"{float(mantissa) * factor:g}" + (f"e{exponent}" if exponent else "")


def main(count: int = CONFIGS, repeats: int = REPEATS) -> int:
    """Measure, print, and say by the exit code whether the bound holds."""
    one_core()
    import yaml
    from ruamel.yaml import YAML

    from diag.linting import lint

    with tempfile.TemporaryDirectory() as folder:
        paths = write_configs(Path(folder), count)

        def ours() -> None:
            found = lint(paths)
            assert len(found.configs) >= count, found.unrecognized
            assert not found.problems, found.problems

        def ruamel() -> None:
            for path in paths:
                for _ in YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")):
                    pass

        def pyyaml() -> None:
            for path in paths:
                for _ in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                    pass

        lint(paths[:100])  # reads the tables of rules and keys, once a process
        mine = timed(ours, repeats)
        name = f"diag lint of {count:,} configs"
        met = [
            report(name, mine, "ruamel.yaml alone", timed(ruamel, repeats), WANTED, faster=False),
            report(name, mine, "PyYAML alone", timed(pyyaml, repeats), WANTED, faster=False),
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
