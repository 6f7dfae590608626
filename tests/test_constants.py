"""Every number that a check decides by has a name, and says what it is and where it comes from, in one place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from diag.battery import checks
from diag.check import Check
from diag.constants import Constant, about, constants, constants_of

FAMILIES = sorted(Path(__file__).parent.parent.glob("checks/[a-z]*/*.py"))
MODULES = [f"diag.checks.{path.parent.name}.{path.stem}" for path in FAMILIES if path.parent.name != "config" and path.stem != "__init__"]


@pytest.mark.parametrize("module", MODULES)
def test_every_constant_of_a_check_says_what_it_is(module: str) -> None:
    assert [entry.name for entry in constants(module) if len(entry.about) < 20] == []


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.code)
def test_a_threshold_is_the_constant_of_its_name_and_is_explained_by_it_alone(check: Check) -> None:
    module = sys.modules[type(check).__module__]
    own = {entry.name: entry for entry in constants(module.__name__)}
    for threshold in check.thresholds:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", threshold.name)
        assert getattr(module, threshold.name.upper()) is threshold.value
        assert threshold.minimum <= threshold.value <= threshold.maximum
        assert threshold.minimum < threshold.maximum
        entry = own[threshold.name.upper()]
        assert [other.name for other in own.values() if other.about == entry.about] == [entry.name], "it shares its explanation"
        assert not entry.about.startswith(("The same", "That", "Those", "It "))
        assert about(check, threshold.name)


def test_constants_are_read_with_what_stands_below_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numbers_of_a_stranger.py").write_text(
        'import math\n\nA, B = 1, math.log(2)\n"""Two numbers."""\nWORDS: tuple[str, ...] = ("a",)\n"""Words."""\n'
        'lower = 1\nBARE = 3\n\n\ndef f() -> None:\n    """Not theirs."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = "numbers_of_a_stranger"
    assert constants(module) == (
        Constant("A", "1", "Two numbers.", module),
        Constant("B", "math.log(2)", "Two numbers.", module),
        Constant("WORDS", "('a',)", "Words.", module),
        Constant("BARE", "3", "", module),
    )


def test_a_check_also_decides_by_what_it_shares_with_others() -> None:
    by_code = {check.code: check for check in checks()}
    assert {"SMOOTH", "PROBLEM"} <= {entry.name for entry in constants_of(by_code["OVF001"])}
    assert "EARLY_SHARE" in {entry.name for entry in constants_of(by_code["SPK003"])}
    shared = {entry.name: entry.module for entry in constants_of(by_code["LRS001"])}
    assert shared["NOTABLE"] == "diag.checks.spikes.spk004_eval_swings"
    assert "WILD" not in {entry.name for entry in constants_of(by_code["LRS001"]) if entry.module.endswith("eval_swings")}
