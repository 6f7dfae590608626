"""Thresholds that users set: what they change, what is refused, and what a report says of it."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import healthy
from checking import found
from conftest import ROOT, Command
from specimens import SPECIMENS
from specimens.records import RISING, N, policy
from specimens.specimen import ROWS, noise, timed

import diag
from diag import battery
from diag.analysis import Settings
from diag.errors import UsageError
from diag.run import Run

MILD = healthy(noise=0.002).overfit(at=0.4, rise=0.09)
"""Overfits by 8% as the check measures it."""

OTHERS: dict[str, list[Run]] = {
    "DIV002": [healthy().no_eval().losses(2.0 * noise(0.02) * np.exp(0.3 * np.clip(np.arange(ROWS) / 40 - 3, 0, 1))).run()],
    "EVL002": [healthy(n=400, evals=6).run()],
    "GRD001": [
        healthy().metric("grad_norm", [60.0 if row == 120 else 1.0 for row in range(ROWS)]).run(),
        healthy().metric("grad_norm", [20.0 if row == 0 else 1.0 for row in range(ROWS)]).hyperparameters(max_grad_norm=0.0).run(),
    ],
    "LOG003": [healthy(evals=10).losses(2.3 * noise(0.1), np.full(10, 2.29871)).run()],
    "LRS004": [healthy().hyperparameters(warmup_steps=800, learning_rate=1e-4).run()],
    "NSE001": [healthy(noise=1.5).hyperparameters(global_batch_size=batch).run() for batch in (4, 6)],
    "OVF003": [healthy(start=2.0, floor=0.1).hyperparameters(method="sft").run()],
    "PRC002": [healthy().metric("skipped_steps", [min(row, 120) for row in range(ROWS)]).run()],
    "RLH005": [policy(RISING, grad_norm=np.where(np.arange(N) < N // 2, 1.0, 0.0))],
    "SPK003": [healthy().no_eval().losses(2.0 * noise(0.02) * np.where(np.arange(ROWS) < 2, 1.0, np.linspace(1.5, 0.6, ROWS))).run()],
    "SPK005": [healthy(start=1.3).losses(healthy(start=1.3).train * np.where(np.arange(ROWS) // 10 == 6, 2.0, 1.0)).run()],
    "THR001": [timed(SPECIMENS["THR001"].fires.curves["train/loss"].wall_time * 0 + 2000.0)],
    "UND001": [healthy(epochs=0, offset=0.0, noise=0.01).still_falling(0.5).lr("cosine").run()],
    "UND006": [healthy(seed=seed).plateau(at=0.08).run() for seed in range(4)],
    "UND005": [healthy().hyperparameters(weight_decay=0.3).run()],
}
"""Runs besides the specimens on which a threshold can be seen to act."""


def looked(run: Run, code: str, **thresholds: float) -> list[Any]:
    """All that one check says of a run; it must not crash."""
    examined = battery.examine(run, select=[code], thresholds=tuple((f"{code}.{name}", value) for name, value in thresholds.items()))
    assert examined.crashes == []
    return [(finding.severity, finding.message, finding.evidence, finding.causes, finding.step_start) for finding in examined.findings]


@pytest.mark.parametrize("key", battery.thresholds())
def test_a_threshold_can_be_set_to_its_ends_and_changes_what_is_found(key: str) -> None:
    code, name = key.split(".")
    threshold = battery.thresholds()[key]
    runs = [SPECIMENS[code].fires, SPECIMENS[code].silent, *OTHERS.get(code, [])]
    changed = [
        looked(run, code, **{name: value}) != looked(run, code)
        for run, value in itertools.product(runs, (threshold.minimum, threshold.maximum))
    ]
    assert any(changed)


def test_what_is_set_to_its_default_changes_nothing() -> None:
    defaults = tuple((key, threshold.value) for key, threshold in battery.thresholds().items())
    for specimen in SPECIMENS.values():
        assert battery.examine(specimen.fires, thresholds=defaults) == battery.examine(specimen.fires)


def test_a_check_judges_by_the_number_that_was_set() -> None:
    severity = [finding.severity for finding in found(MILD, "OVF001")]
    assert severity == ["warning"]
    assert looked(MILD.run(), "OVF001", problem=0.1) == []
    assert [entry[0] for entry in looked(MILD.run(), "OVF001", significant=0.06)] == ["error"]


def test_the_onset_begins_where_the_problem_ends() -> None:
    set_ = (("OVF001.problem", 0.1),)
    assert [finding.code for finding in battery.examine(MILD.run(), select=["OVF001", "OVF002"]).findings] == ["OVF001"]
    assert [finding.code for finding in battery.examine(MILD.run(), select=["OVF001", "OVF002"], thresholds=set_).findings] == ["OVF002"]


@pytest.mark.parametrize(
    "values",
    [{"OVF001.problem": 0.08}, {" ovf001.PROBLEM ": 0.08}, {"OVF001": {"problem": 0.08}}],
    ids=["key", "case", "table"],
)
def test_keys_may_be_written_as_configurations_write_them(values: dict[str, Any]) -> None:
    assert battery.checked_thresholds(values) == {"OVF001.problem": 0.08}


def test_whole_numbers_stay_whole_and_keys_are_sorted() -> None:
    checked = battery.checked_thresholds({"SPK001.repeated": 5.0, "EVL002.few": 6, "GRD003.limit": 7})
    assert list(checked.items()) == [("EVL002.few", 6), ("GRD003.limit", 7.0), ("SPK001.repeated", 5)]
    assert [type(value) for value in checked.values()] == [int, float, int]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"OVF001.problm": 0.1}, ["OVF001.problm", "did you mean 'OVF001.problem'?"]),
        ({"OVF01.problem": 0.1}, ["did you mean 'OVF001.problem'?"]),
        ({"nonsense": 0.1}, ["no threshold 'nonsense'", "diag explain CODE"]),
        ({"OVF001": {"worse": 1}}, ["no threshold 'OVF001.worse'"]),
        ({"OVF001.problem": "big"}, ["'big'", "must be a number", "relative rise", "0.05"]),
        ({"OVF001.problem": True}, ["must be a number"]),
        ({"OVF001.problem": float("nan")}, ["must be a number"]),
        ({"OVF001.problem": -0.1}, ["can be 0 to 100"]),
        ({"EVL002.few": 3.5}, ["whole number"]),
        ({"DIV001.anything": 1}, ["no threshold 'DIV001.anything'"]),
    ],
    ids=str,
)
def test_what_cannot_be_set_is_refused_with_the_nearest(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        battery.checked_thresholds(values)
    assert [word for word in words if word not in str(refused.value)] == []


def test_settings_with_thresholds_travel_to_worker_processes() -> None:
    settings = Settings(thresholds=(("OVF001.problem", 0.3),))
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_report_says_by_what_was_judged() -> None:
    usual, changed = (diag.analyze("fixtures/hf-overfit", thresholds=thresholds).runs[0] for thresholds in (None, {"OVF001.problem": 0.3}))
    assert (usual.diagnosis.verdict, "OVF001" in [finding.code for finding in usual.findings]) == ("OVERFIT", True)
    assert "OVF001" not in [finding.code for finding in changed.findings]
    assert [note for note in changed.run.notes if note not in usual.run.notes] == ["judged with OVF001.problem 0.3 (default 0.05)"]


def test_the_command_sets_lists_and_explains_them(diag_command: Command) -> None:
    done = diag_command("analyze", "fixtures/hf-overfit", "--threshold", "OVF001.problem=0.3", "--threshold", "OVF003.factor=9")
    assert done.returncode == 0, done.stderr
    assert "judged with OVF001.problem 0.3 (default 0.05), OVF003.factor 9 (default 3)" in " ".join(done.stdout.split())
    for wrong, words in (("OVF001.problem", "no number"), ("OVF001.problem=x", "no number"), ("OVF001.prolbem=1", "did you mean")):
        done = diag_command("analyze", "fixtures/hf-overfit", "--threshold", wrong)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert "`OVF001.problem` 0.05 (relative rise):" in diag_command("explain", "overfit-gap").stdout
    listed = json.loads(diag_command("checks", "--format", "json").stdout)["checks"]
    keys = [threshold["key"] for check in listed for threshold in check["thresholds"]]
    assert keys == list(battery.thresholds())
    assert all(threshold["about"] and threshold["unit"] for check in listed for threshold in check["thresholds"])


def test_a_configuration_sets_them_and_is_named_where_it_is_wrong(tmp_path: Path, diag_command: Command) -> None:
    log = tmp_path / "run" / "trainer_state.json"
    log.parent.mkdir()
    log.write_bytes((ROOT / "fixtures" / "hf-overfit" / "trainer_state.json").read_bytes())
    (tmp_path / "diag.toml").write_text('[thresholds]\n"OVF001.problem" = 0.3\nSPK001.repeated = 5\n')
    done = diag_command("analyze", log.parent)
    assert done.returncode == 0, done.stderr
    assert "judged with OVF001.problem 0.3 (default 0.05), SPK001.repeated 5 (default 3)" in " ".join(done.stdout.split())
    (tmp_path / "diag.toml").write_text('[thresholds]\n"OVF001.problm" = 0.3\n')
    done = diag_command("analyze", log.parent)
    assert done.returncode == 2
    assert "diag.toml:1: there is no threshold 'OVF001.problm'; did you mean 'OVF001.problem'?" in done.stderr
