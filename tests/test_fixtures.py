"""Real logs of real trainings, recorded by the real libraries: each gets the diagnosis that its README tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import diag

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
MEBIBYTE = 1 << 20


class Expected(NamedTuple):
    """What a case must show: the verdict, a cause among the first two ("" for a healthy run), rank-1 changes, the dialect."""

    verdict: str
    cause: str = ""
    changes: tuple[str, ...] = ()
    dialect: str = "generic"


CASES = {
    "automodel-jsonl": Expected("OVERFIT", "too_many_epochs", ("num_epochs",), "automodel"),
    "console-hf": Expected("HEALTHY", dialect="hf"),
    "grpo": Expected("HEALTHY"),
    "hf-healthy": Expected("HEALTHY", dialect="hf"),
    "hf-lora-underfit": Expected("UNDERFIT", "lr_too_low", ("learning_rate",), "hf"),
    "hf-lr-too-high": Expected("DIVERGED", "lr_too_high", ("learning_rate",), "hf"),
    "hf-nan": Expected("DIVERGED", dialect="hf"),
    "hf-overfit": Expected("OVERFIT", "too_many_epochs", ("num_epochs",), "hf"),
    "keras-csv": Expected("OVERFIT", "too_many_epochs", ("num_epochs",)),
    "lightning-csv": Expected("HEALTHY"),
    "mlflow-filestore": Expected("UNDERFIT", "lr_too_low", ("learning_rate",)),
    "tensorboard-divergence": Expected("DIVERGED", "lr_too_high", ("learning_rate",)),
    "tensorboard-healthy": Expected("HEALTHY"),
    "wandb-overfit": Expected("OVERFIT", "too_many_epochs", ("num_epochs",)),
}


def analyze(case: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = diag.analyze(FIXTURES / case).to_dict()["runs"]
    return runs


def alarms(run: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in run["findings"] if finding["severity"] != "info"]


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    (run,) = analyze(case)
    expected = CASES[case]
    assert run["verdict"] == expected.verdict
    assert run["dialect"] == expected.dialect
    if expected.verdict == "HEALTHY":
        assert alarms(run) == []
        assert run["causes"] == []
        assert run["fixes"] == []
    else:
        assert alarms(run)
        first = {fix["parameter"] for fix in run["fixes"] if fix["rank"] == 1}
        assert first.issuperset(expected.changes)
    if expected.cause:
        assert expected.cause in [cause["cause"] for cause in run["causes"][:2]]


def test_a_store_with_two_runs_tells_them_apart() -> None:
    base, hot = sorted(analyze("mlflow-sqlite"), key=lambda run: str(run["id"]))
    assert (base["verdict"], alarms(base)) == ("HEALTHY", [])
    assert hot["verdict"] in ("UNSTABLE", "DIVERGED", "PLATEAU")
    assert hot["causes"][0]["cause"] == "lr_too_high"


def test_the_overfitted_run_is_stopped_at_its_best_checkpoint() -> None:
    (run,) = analyze("hf-overfit")
    state = json.loads((FIXTURES / "hf-overfit" / "trainer_state.json").read_text())
    evals = {row["step"]: row["eval_loss"] for row in state["log_history"] if "eval_loss" in row}
    best = min(evals, key=lambda step: evals[step])
    assert run["best_checkpoint"] == {"step": best, "path": f"checkpoint-{best}", "exists": True}
    assert run["overrides"]["arguments"][:1] == ["--num_train_epochs"]
    steps_per_epoch = state["max_steps"] / state["num_train_epochs"]
    assert run["overrides"]["config"]["num_train_epochs"] == pytest.approx(best / steps_per_epoch, rel=0.3)


def test_a_rate_that_is_too_high_is_lowered_and_one_that_is_too_low_is_raised() -> None:
    for case, up in (("hf-lr-too-high", False), ("tensorboard-divergence", False), ("hf-lora-underfit", True), ("mlflow-filestore", True)):
        (run,) = analyze(case)
        (fix,) = [fix for fix in run["fixes"] if fix["rank"] == 1 and fix["parameter"] == "learning_rate"]
        assert (fix["to"] > fix["from"]) is up, case


def test_the_filter_that_hides_nan_is_seen_through() -> None:
    (run,) = analyze("hf-nan")
    (finding, *_) = [finding for finding in run["findings"] if finding["code"].startswith("DIV")]
    state = json.loads((FIXTURES / "hf-nan" / "trainer_state.json").read_text())
    hidden = [row["step"] for row in state["log_history"] if row.get("loss") == 0.0]
    assert hidden, "the log shows a loss of zero, not NaN"
    assert finding["severity"] == "error"
    assert finding["step_start"] <= hidden[0]


def test_validation_records_in_a_file_of_their_own_are_not_a_resume() -> None:
    (run,) = diag.load(FIXTURES / "automodel-jsonl")
    assert run.overlaps == []
    assert {metric: len(run.curves[metric]) for metric in ("train/loss", "gpu_memory", "eval/loss")} == {
        "train/loss": 480,
        "gpu_memory": 480,
        "eval/loss": 24,
    }
    assert run.curves["eval/loss"].step.tolist() == list(range(20, 481, 20))


def test_the_config_beside_the_log_is_read_with_file_and_line() -> None:
    (run,) = analyze("hf-overfit")
    rate = run["hyperparameters"]["learning_rate"]
    assert rate["value"] == 5e-5
    assert rate["source"].startswith("training_args.json:3")


@pytest.mark.parametrize("case", sorted({*CASES, "mlflow-sqlite", "all-sources"}))
def test_the_same_input_gives_the_same_bytes(case: str) -> None:
    assert diag.analyze(FIXTURES / case).to_json() == diag.analyze(FIXTURES / case).to_json()


def test_reading_leaves_no_trace() -> None:
    before = {path: path.stat().st_mtime_ns for path in FIXTURES.rglob("*")}
    diag.analyze(FIXTURES)
    assert {path: path.stat().st_mtime_ns for path in FIXTURES.rglob("*")} == before


# --- the folder itself ---------------------------------------------------------------------------------------------


def recorded() -> list[Path]:
    return [path for path in sorted(FIXTURES.rglob("*")) if path.is_file() and "record" not in path.relative_to(FIXTURES).parts]


def test_every_case_is_explained_and_tested() -> None:
    text = (FIXTURES / "README.md").read_text()
    folders = {path.name for path in FIXTURES.iterdir() if path.is_dir()} - {"record"}
    assert folders == {*CASES, "mlflow-sqlite", "all-sources", "references", "lm-eval"}
    for name in folders:
        assert f"`{name}`" in text


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in recorded()]
    assert sum(sizes) < 5 * MEBIBYTE
    assert max(sizes) < MEBIBYTE / 2


def test_they_hold_no_weights_and_no_pickles() -> None:
    assert [path for path in recorded() if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".safetensors", ".npz"}] == []


def test_they_do_not_tell_where_they_were_made() -> None:
    traces = re.compile(rb"/(?:home|root|tmp|Users|work|opt)/|site-packages")
    assert [str(path) for path in recorded() if traces.search(path.read_bytes())] == []
