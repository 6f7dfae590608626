"""What the keys of the configuration take, from files, variables and options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.configuration.options import OPTIONS, Acceptance, Ignores
from diag.errors import UsageError


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("select", ["OVF", "grd001"], ("OVF", "GRD001")),
        ("select", "OVF, GRD001", ("OVF", "GRD001")),
        ("ignore", "OVF GRD", ("OVF", "GRD")),
        ("ignore", [], ()),
        ("require", ["eval/loss <= 1.2", "lr<1"], ("eval/loss <= 1.2", "lr<1")),
        ("require", "eval/loss<=1.2; lr<1", ("eval/loss<=1.2", "lr<1")),
        ("require", "\neval/loss<=1.2\nlr<1\n", ("eval/loss<=1.2", "lr<1")),
        ("severity", {"ovf001": "warning"}, (("OVF001", "warning"),)),
        ("severity", ["OVF001=warning", "GRD=info"], (("OVF001", "warning"), ("GRD", "info"))),
        ("thresholds", {"OVF001.problem": 0.1}, (("OVF001.problem", 0.1),)),
        ("thresholds", {"OVF001": {"problem": "0.1"}}, (("OVF001.problem", 0.1),)),
        ("thresholds", ["OVF001.problem=1e-1"], (("OVF001.problem", 0.1),)),
        ("per-path-ignores", {"smoke/**": ["OVF"]}, (Ignores("smoke/**", ("OVF",)),)),
        ("accept", [{"code": "spk", "reason": " known "}], (Acceptance("SPK", "known"),)),
        ("accept", {"SPK001": "known"}, (Acceptance("SPK001", "known"),)),
        ("dataset-size", "52k", 52_000),
        ("dataset-size", 1200, 1200),
        ("model-size", "8x7B", 56e9),
        ("tolerance", "5%", 0.05),
        ("tolerance", 0.02, 0.02),
        ("run-noise", "0.2 %", 0.002),
        ("run-noise", 0, 0.0),
        ("world-size", "8", 8),
        ("jobs", 2, 2),
        ("verbose", "true", True),
        ("verbose", False, False),
        ("fail-on", "never", "never"),
        ("method", "lora", "lora"),
    ],
)
def test_what_is_read(name: str, raw: Any, value: Any) -> None:
    assert OPTIONS[name].read(raw) == value


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("select", "OVF0001", "no code"),
        ("select", 3, "no list"),
        ("select", [3], "no list"),
        ("severity", {"OVF001": "warn"}, "did you mean 'warning'"),
        ("severity", {"over-fit": "error"}, "no code"),
        ("severity", 3, "no list"),
        ("thresholds", {"OVF001.problem": "much"}, "no number"),
        ("thresholds", {"OVF001.problem": True}, "no number"),
        ("thresholds", {"OVF001.problem": "inf"}, "no number"),
        ("per-path-ignores", ["OVF"], "no table"),
        ("accept", [{"code": "OVF001"}], "needs a code and a reason"),
        ("accept", [{"code": "OVF001", "reason": " "}], "needs a code and a reason"),
        ("accept", [{"code": "OVF001", "reasons": "x"}], "did you mean 'reason'"),
        ("accept", "OVF001", "no array of tables"),
        ("dataset-size", "many", "not a count"),
        ("dataset-size", True, "no number"),
        ("world-size", 0, "from 1 on"),
        ("world-size", 1.5, "from 1 on"),
        ("verbose", "perhaps", "true or false"),
        ("tolerance", "5", "not a share"),
        ("tolerance", "0%", "above 0"),
        ("tolerance", True, "not a share"),
        ("run-noise", -0.1, "not a share"),
        ("fail-on", "fatal", "must be one of"),
        ("method", "lore", "did you mean 'lora'"),
        ("profile", 3, "no text"),
    ],
)
def test_what_is_refused(name: str, raw: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        OPTIONS[name].read(raw)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(OPTIONS)), VALUES)
def test_anything_is_read_or_refused_in_one_line(name: str, raw: Any) -> None:
    try:
        OPTIONS[name].read(raw)
    except UsageError as error:
        assert str(error)


def test_variables_are_named_after_the_keys() -> None:
    assert OPTIONS["fail-on"].variable == "DIAG_FAIL_ON"
    assert len({option.variable for option in OPTIONS.values()}) == len(OPTIONS)
