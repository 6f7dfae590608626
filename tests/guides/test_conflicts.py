"""Where the guides disagree, the message says so and what decides."""

from __future__ import annotations

import pytest

from diag.guides import conflicts, disagreement, starts_by_guide
from diag.guides.conflicts import CONFLICTS, conflict_of


def test_all_conflicts_are_there_and_valid() -> None:
    conflicts.validate()
    assert [entry.number for entry in CONFLICTS] == list(range(1, 22))


@pytest.mark.parametrize(
    ("parameter", "method", "number"),
    [
        ("learning_rate", "lora", 1),
        ("learning_rate", "sft", 4),
        ("global_batch_size", "sft", 5),
        ("learning_rate", "qlora", 6),
        ("num_epochs", "lora", 8),
        ("alpha_to_rank", "lora", 9),
        ("weight_decay", "lora", 10),
        ("lora_dropout", "qlora", 11),
        ("warmup_steps", "sft", 12),
        ("warmup_ratio", "sft", 12),
    ],
)
def test_a_parameter_leads_to_its_conflict(parameter: str, method: str, number: int) -> None:
    found = conflict_of(parameter, method)
    assert found is not None
    assert found.number == number


def test_no_conflict_where_the_guides_agree() -> None:
    assert conflict_of("max_grad_norm", "lora") is None
    assert conflict_of("learning_rate", "pretraining") is None
    assert disagreement("lora_rank", "qlora", 3000) == ""


def test_a_disagreement_names_both_ends_and_what_decides() -> None:
    said = disagreement("learning_rate", "lora", 20_000, 7e9)
    assert said.startswith(" The guides disagree: automodel at 1e-5, training-hub at 1e-5, ")
    assert "lesson at 2e-4; the profile decides" in said
    assert said.endswith("(conflict 1).")


def test_zero_against_something_is_a_disagreement() -> None:
    assert "training-hub at 0, automodel at 0.05" in disagreement("lora_dropout", "lora", 3000)
    assert "automodel at 0, automodel-quick at 0, lesson at 0.01" in disagreement("weight_decay", "lora", 3000)


def test_the_lesson_goes_by_the_size_of_the_model() -> None:
    starts = [starts_by_guide("learning_rate", "lora", 20_000, size)["lesson"][0] for size in (7e9, 13e9, 70e9)]
    assert starts == [2e-4, 7e-5, 5e-5]


def test_warmup_depends_on_the_length_of_the_run() -> None:
    assert disagreement("warmup_steps", "lora") == ""
    said = disagreement("warmup_steps", "lora", total_steps=3000)
    assert "automodel-quick at 10, lesson at 150, automodel at 300; it goes by the length of the run (conflict 12)" in said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"number": 3}, "stands where 1 should"),
        ({"rules": ("S0-999",)}, "there is no row S0-999"),
        ({"guides": ("004",)}, "missing or unknown"),
        ({"parameters": ("loss",)}, "unknown parameters"),
        ({"decision": ""}, "needs a decision"),
        ({"methods": ("lora", "qlora")}, "another conflict"),
    ],
)
def test_a_wrong_entry_is_refused(monkeypatch: pytest.MonkeyPatch, change: dict[str, object], problem: str) -> None:
    wrong = CONFLICTS[0]._replace(**change)  # type: ignore[arg-type]
    monkeypatch.setattr(conflicts, "CONFLICTS", (wrong, *CONFLICTS[1:]))
    with pytest.raises(ValueError, match=problem):
        conflicts.validate.__wrapped__()
