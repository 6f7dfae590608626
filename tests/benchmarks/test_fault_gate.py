"""The measures of the gate's benchmark mean what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from builders import healthy

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "faults" / "gate.py"


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gate", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_prior_behind_sample_variances_is_found_again(gate: ModuleType) -> None:
    random = np.random.default_rng(0)
    variances = 0.012**2 * 6 / random.chisquare(6, 5000)
    spreads = np.sqrt(variances * random.chisquare(5, 5000) / 5)
    usual, freedom = gate.fitted(list(spreads), 5)
    assert usual == pytest.approx(0.012, rel=0.05)
    assert freedom == pytest.approx(6, rel=0.2)


def test_settings_that_are_all_alike_have_a_certain_prior(gate: ModuleType) -> None:
    spreads = 0.02 * np.sqrt(np.random.default_rng(1).chisquare(5, 8) / 5)
    assert gate.fitted([0.02] * 8, 5) == (pytest.approx(0.02, rel=0.2), float("inf"))
    assert gate.fitted(list(spreads), 5)[1] > 5


def test_alarms_are_counted(gate: ModuleType) -> None:
    good = [healthy(seed=seed).run() for seed in range(3)]
    bad = healthy(seed=5)
    worse = bad.losses(bad.train * 2, bad.eval * 2).run()
    assert gate.alarms(good[0], good[1:], 0.05) == set()
    assert gate.alarms(worse, good, 0.05) == {"error"}
    assert gate.alarms(bad.no_eval().run(), good, 0.05) == {"unmeasured"}
    assert gate.others(good, 2, 2) == good[:2]
    lines = list(gate.false_alarms({"a": good}, 0.05))
    assert lines[1].split()[:2] == ["1", "6"]
    assert "0/6 = 0.0%" in lines[1]
