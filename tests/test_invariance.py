"""What must not change a verdict: the unit of the loss, the unit of the step, the order of rows, the density and the kind of the log."""

from __future__ import annotations

import csv
import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import RunBuilder, healthy, trainer_state
from hypothesis import given, settings
from hypothesis import strategies as st

import diag
from diag.analysis import judge
from diag.run import Run

ILLS: dict[str, Callable[[RunBuilder], RunBuilder]] = {
    "nothing": lambda run: run,
    "overfitting": lambda run: run.overfit(at=0.4, rise=0.3),
    "divergence": lambda run: run.blow_up(at=0.5, to=6.0),
    "nan": lambda run: run.nan(at=0.6),
    "undertraining": lambda run: run.still_falling(rate=2.0).lr("constant"),
    "no progress": lambda run: run.plateau(at=0.0, level=3.0),
}
VERDICTS = {
    "nothing": {"HEALTHY"},
    "overfitting": {"OVERFIT"},
    "divergence": {"DIVERGED"},
    "nan": {"DIVERGED"},
    "undertraining": {"UNDERFIT"},
    "no progress": {"PLATEAU", "UNDERFIT"},
}
builders = st.builds(
    lambda ill, seed, noise: (ill, ILLS[ill](healthy(n=200, evals=20, noise=noise, seed=seed).lr().grad_norm())),
    st.sampled_from(sorted(ILLS)),
    st.integers(0, 1000),
    st.sampled_from([0.01, 0.02, 0.05]),
)
few = settings(max_examples=25)


def verdict(run: Run) -> str:
    report, problems = judge(run)
    assert problems == []
    return report.diagnosis.verdict


def verdict_of_file(path: Path) -> str:
    (run,) = diag.analyze(path).to_dict()["runs"]
    return str(run["verdict"])


@contextmanager
def written(name: str, text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text)
        yield path


def as_state(rows: list[dict[str, Any]]) -> tuple[str, str]:
    return "trainer_state.json", json.dumps({"global_step": 1000, "max_steps": 1000, "log_history": rows})


def as_jsonl(rows: list[dict[str, Any]]) -> tuple[str, str]:
    return "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> tuple[str, str]:
    import io

    out = io.StringIO()
    table = csv.DictWriter(out, ["step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm"])
    table.writeheader()
    table.writerows(rows)
    return "metrics.csv", out.getvalue()


def as_console(rows: list[dict[str, Any]]) -> tuple[str, str]:
    return "train.log", "".join(
        f"step: {row['step']} " + " ".join(f"{k}: {v:.6g}" for k, v in row.items() if k != "step") + "\n" for row in rows
    )


@given(builders)
@few
def test_the_verdict_is_the_one_that_was_built_in(built: tuple[str, RunBuilder]) -> None:
    ill, builder = built
    assert verdict(builder.run()) in VERDICTS[ill]


@given(builders, st.sampled_from([10, 100]))
@few
def test_steps_relabelled(built: tuple[str, RunBuilder], factor: int) -> None:
    builder = built[1]
    slower = replace(builder, step=builder.step * factor, eval_step=builder.eval_step * factor)
    assert verdict(slower.run()) == verdict(builder.run())


@given(builders)
@few
def test_bits_for_nats(built: tuple[str, RunBuilder]) -> None:
    builder = built[1]
    bits = replace(builder, train=builder.train / math.log(2), eval=builder.eval / math.log(2))
    assert verdict(bits.run()) == verdict(builder.run())


@given(builders)
@few
def test_logged_half_as_often(built: tuple[str, RunBuilder]) -> None:
    builder = built[1]
    sparse = replace(
        builder, step=builder.step[1::2], train=builder.train[1::2], other={name: values[1::2] for name, values in builder.other.items()}
    )
    assert verdict(sparse.run()) == verdict(builder.run())


@given(builders, st.randoms(use_true_random=False))
@few
@pytest.mark.parametrize("write", [as_state, as_jsonl, as_csv])
def test_rows_shuffled(
    write: Callable[[list[dict[str, Any]]], tuple[str, str]], built: tuple[str, RunBuilder], order: random.Random
) -> None:
    rows = trainer_state(built[1].run())["log_history"]
    with written(*write(rows)) as path:
        sorted_verdict = verdict_of_file(path)
    order.shuffle(rows)
    with written(*write(rows)) as path:
        assert verdict_of_file(path) == sorted_verdict


@given(builders)
@few
@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_console])
def test_another_logger_wrote_it(write: Callable[[list[dict[str, Any]]], tuple[str, str]], built: tuple[str, RunBuilder]) -> None:
    rows = trainer_state(built[1].run())["log_history"]
    with written(*as_state(rows)) as path:
        expected = verdict_of_file(path)
    with written(*write(rows)) as path:
        assert verdict_of_file(path) == expected
