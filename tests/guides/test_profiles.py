"""Profiles: one row for each run, ordered, inside their limits; the rules that scale them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.guides import PROFILES, SOURCES, band, choice, dataset_samples, guarded_batch, method_factor, square_root_factor, warmup
from diag.guides.profiles import ROWS
from diag.vocabulary import METHODS

PARAMETERS = sorted({row.parameter for row in ROWS})
SIZES = (1, 200, 999, 1000, 4999, 5001, 10_000, 30_000, 49_999, 50_000, 1e7)
MODELS = (1e9, 7e9, 13e9, 34e9, 70e9)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_rows_are_disjoint_and_leave_no_gap(parameter: str) -> None:
    for method, size, model in itertools.product(METHODS, SIZES, MODELS):
        rows = [row for row in ROWS if row.parameter == parameter and method in row.methods]
        hits = [row for row in rows if row.samples[0] <= size < row.samples[1] and row.parameters[0] <= model < row.parameters[1]]
        assert len(hits) == (1 if rows else 0)


@given(
    parameter=st.sampled_from(PARAMETERS),
    method=st.sampled_from(METHODS),
    size=st.none() | st.integers(1, 10**7),
    model=st.none() | st.floats(1e6, 1e12),
    batch=st.none() | st.integers(1, 4096),
)
def test_profiles_are_ordered_and_inside_their_limits(
    parameter: str, method: str, size: int | None, model: float | None, batch: int | None
) -> None:
    starts = []
    for profile in (*PROFILES, *SOURCES):
        found = band(parameter, method, size, model, profile, global_batch_size=batch)
        if found is None:
            continue
        assert found.clip_low <= found.low <= found.start <= found.high <= found.clip_high
        assert found.rules
        starts.append(found.start)
    if parameter in ("learning_rate", "lora_rank", "num_epochs", "alpha_to_rank") and starts:
        assert starts[0] <= starts[1] <= starts[2]


def test_rows_of_the_guides() -> None:
    lora = band("learning_rate", "lora", 20_000, 7e9)
    assert lora is not None
    assert (lora.low, lora.start, lora.high, lora.clip_high) == (1e-5, 1e-4, 2e-4, 3e-4)
    assert "S1-127" in lora.rules
    full = band("learning_rate", "sft", 2000, 70e9)
    assert full is not None
    assert (full.start, full.clip_low, full.clip_high) == (1e-6, 1e-6, 5e-6)
    hub = band("learning_rate", "lora", 20_000, 7e9, "training-hub")
    assert hub is not None
    assert hub.start == 1e-5


def test_unknown_method_has_no_band() -> None:
    assert band("learning_rate", None, 1000, 7e9) is None
    assert band("learning_rate", "mlp", 1000, 7e9) is None
    assert band("lora_rank", "sft", 1000, 7e9) is None


def test_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown profile"):
        band("learning_rate", "lora", profile="bold")


def test_no_jump_at_an_edge() -> None:
    below, above = band("learning_rate", "lora", 4999, 7e9), band("learning_rate", "lora", 5001, 7e9)
    assert below is not None
    assert above is not None
    assert below.start == above.start == pytest.approx(math.sqrt(5e-5 * 1e-4))


def test_learning_rate_follows_the_batch() -> None:
    plain, large = band("learning_rate", "lora", 20_000, 7e9), band("learning_rate", "lora", 20_000, 7e9, global_batch_size=64)
    assert plain is not None
    assert large is not None
    assert large.start == pytest.approx(plain.start * math.sqrt(2))


def test_four_gpus_double_the_learning_rate() -> None:
    assert 1e-4 * square_root_factor(16, 64) == pytest.approx(2e-4)


def test_square_root_rule_ends_at_its_limits() -> None:
    assert square_root_factor(1, 16) == 1
    assert square_root_factor(256, 4096) == 1
    assert square_root_factor(32, 16) == pytest.approx(1 / math.sqrt(2))


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_square_root_rule_is_undone_by_its_inverse(old: float, new: float) -> None:
    assert square_root_factor(old, new) * square_root_factor(new, old) == pytest.approx(1)


@given(st.integers(1, 10**6), st.sampled_from([None, *METHODS]), st.sampled_from(PROFILES))
def test_warmup_is_a_small_part_of_the_run(total: int, method: str | None, profile: str) -> None:
    found = warmup(total, method, profile)
    assert found.clip_low <= found.low <= found.start <= found.high <= found.clip_high
    assert found.start <= max(0.1 * total, 200, 5)
    assert found.start <= 1500


def test_warmup_of_the_guides() -> None:
    assert warmup(200).start == 10
    assert warmup(2000).start == 100
    assert warmup(100_000).start == 1000
    assert warmup(2000, "qlora").start == 150


def test_method_switch() -> None:
    assert method_factor("sft", "lora") == 10
    assert method_factor("lora", "sft") == pytest.approx(0.1)
    assert method_factor("sft", "qlora", "conservative") == 5
    assert method_factor("lora", "qlora") == 1
    assert method_factor("sft", "lora", "aggressive", 50) == 15


def test_small_runs_get_small_batches() -> None:
    assert guarded_batch(1000, 3, 128) == 30
    assert guarded_batch(100, 1, 128) == 8
    assert guarded_batch(100_000, 1, 128) == 128


def test_choices() -> None:
    schedule = choice("lr_scheduler", "lora")
    assert schedule is not None
    assert schedule.preferred == "cosine"
    assert choice("bnb_4bit_quant_type", "sft") is None
    assert dataset_samples("Tatsu-Lab/Alpaca") == 52_000
    assert dataset_samples("someone/else") is None
