"""Reports for the tests of what is made from them: a hostile one, a long one, many runs, one of each kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from builders import healthy

import diag
from diag.analysis import judge
from diag.check import Finding
from diag.dialects import Overrides
from diag.gate.requirements import Outcome
from diag.prescription import Fix
from diag.result import Accepted, Problem, Report, RunReport
from diag.run import Checkpoint, Column, Hyperparameter, Run, make_curve

FIXTURES: Final = Path(__file__).resolve().parent.parent / "fixtures"

HOSTILE: Final = (
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    '"\' onmouseover="window.hacked = 1" x=\'',
    "<!-- --><!--<script>",
    "\x1b[31mred\x1b]8;;http://example.org\x07link",
    "two\nlines\r\u2028three",
    "abc\u202etxt.exe\u2066",
    "$\\frac{1}{0}$ & &lt;b&gt; {{7*7}}",
    "=cmd|'/c calc'!A0",
    "::error::boom",
    "]]></style><style>body{display:none}",
    "javascript:window.hacked=1",
)
"""What a log may hold in the name of a run, a metric or a value."""


def recorded(name: str) -> RunReport:
    """The only run of a recorded log."""
    (entry,) = diag.analyze(FIXTURES / name).runs
    return entry


def overfit() -> RunReport:
    """A run that trained for too long, with everything that is usually logged."""
    builder = healthy(epochs=10).overfit().lr().hyperparameters(num_epochs=10.0, learning_rate=2e-5)
    return judge(builder.run(dialect="hf", id="a-run"))[0]


def long_run(points: int = 100_000) -> RunReport:
    """A run of so many steps, each logged: losses, learning rate and gradient norm, a lone spike, some NaN."""
    random = np.random.default_rng(3)
    step = np.arange(1, points + 1)
    share = step / points
    loss = (1 + 2 * np.exp(-8 * share)) * np.exp(0.05 * random.standard_normal(points))
    loss[points // 3] = 40.0
    norm = np.exp(0.3 * random.standard_normal(points))
    norm[points // 2 : points // 2 + 50] = np.nan
    rate = 2e-5 * (1 + np.cos(np.pi * share)) / 2
    columns = {
        "train/loss": Column(step, loss),
        "lr": Column(step, rate),
        "grad_norm": Column(step, norm),
        "eval/loss": Column(step[::100], loss[::100] * 1.02),
    }
    curves = {name: make_curve(column)[0] for name, column in columns.items()}
    return judge(Run("long", "long/metrics.csv", "csv", curves, native_names={name: name for name in curves}))[0]


def hostile() -> Report:
    """Runs, metrics, values, messages, paths and overrides that try to be more than text."""
    runs = []
    for number, words in enumerate(HOSTILE):
        run = healthy(n=60, evals=6, seed=number).lr().grad_norm().run(id=words, path=words, adapter=words, dialect="hf")
        run.curves[f"eval/{words}/loss"] = run.curves["eval/loss"]
        run.curves[words] = run.curves["train/loss"]
        run.native_names[words] = words
        run.notes.append(words)
        run.hyperparameters["optimizer"] = Hyperparameter(words, "file", words, 3, words)
        run.hyperparameters[words] = Hyperparameter([words, {words: words}], "inferred", note=words)
        entry = judge(run)[0]
        finding = Finding(
            "XYZ001", words, "error", words, words, 20, 200, evidence={words: words, "list": [words]}, causes={words: 1.0}, rules=(words,)
        )
        fix = Fix(words, words, words, None, 1, "XYZ001", words, (words,), arithmetic=words)
        runs.append(
            replace(
                entry,
                findings=(finding, *entry.findings),
                skipped=((words, words),),
                best_checkpoint=Checkpoint(100, words, True),
                fixes=(fix, replace(fix, rank=2)),
                overrides=Overrides(words, [words, "--name", words], {words: words}, words, [words]),
                requirements=(Outcome(words, words, None, None, False), Outcome(words, words, 1.0, 3, True)),
                accepted=(Accepted(finding, words, words),),
                diagnosis=replace(entry.diagnosis, questions=(words,)),
            )
        )
    return Report(tuple(runs), (Problem("input", HOSTILE[0], HOSTILE[1]),))
