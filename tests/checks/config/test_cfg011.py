"""CFG011 to CFG013: the end of the schedule, the schedule, the optimizer."""

from __future__ import annotations

import pytest
from linting import plan, violations
from recipes import AXOLOTL, DEEPSPEED, FULL, HF, HUB, LITGPT, LLAMAFACTORY, NANOGPT, NEMO, TORCHTUNE, edit, line_of
from settling import settled

FLOORS = {
    "automodel": (NEMO, "yaml", "min_lr: 1.0e-5", "min_lr: {}"),
    "nanogpt": (NANOGPT, "python", "min_lr = 6e-5", "min_lr = {}"),
    "litgpt": (LITGPT, "yaml", "max_norm:", "min_lr: {}"),
    "hf": (HF, "yaml", "lr_scheduler_type: cosine", "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs:\n  min_lr: {}"),
}


@pytest.mark.parametrize("name", FLOORS)
def test_an_end_above_the_beginning_is_an_error(name: str) -> None:
    text, form, old, new = FLOORS[name]
    spoiled = edit(text, (old, new.format("1.0e-3")))
    (found,) = violations(spoiled, "CFG011", form)
    assert found.severity == "error"
    assert found.fixes[0].new == pytest.approx(6e-5 if name == "nanogpt" else 1e-5)
    assert found.line == line_of(spoiled, "1.0e-3")
    settled(spoiled, "CFG011", form)


@pytest.mark.parametrize("name", FLOORS)
def test_an_end_that_is_more_than_a_tenth_is_a_remark(name: str) -> None:
    text, form, old, new = FLOORS[name]
    rate = "3.0e-4" if name == "nanogpt" else "5.0e-5"
    assert [v.severity for v in violations(edit(text, (old, new.format(rate))), "CFG011", form)] == ["info"]
    assert violations(edit(text, (old, new.format("1.0e-6"))), "CFG011", form) == []


def test_the_guides_own_values_for_full_fine_tuning() -> None:  # S1-028..030
    text = edit(FULL, ("lr_scheduler_type: cosine", "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs:\n  min_lr: 1.0e-6"))
    text = edit(text, ("1.0e-5", "5.0e-6"))
    assert violations(text, "CFG011", dataset_size=20_000) == []
    assert len(violations(text, "CFG011", dataset_size=2000)) == 1


def test_a_share_is_set_as_a_share() -> None:
    text = AXOLOTL + "cosine_min_lr_ratio: 0.5\n"
    (found,) = violations(text, "CFG011")
    assert (found.fixes[0].key, found.fixes[0].new) == ("cosine_min_lr_ratio", 0.1)
    settled(text, "CFG011")


CONSTANT = {
    "hf": edit(HF, ("lr_scheduler_type: cosine", "lr_scheduler_type: constant"), ("warmup_ratio: 0.05\n", "")),
    "axolotl": edit(AXOLOTL, ("lr_scheduler: cosine", "lr_scheduler: constant"), ("warmup_ratio: 0.05\n", "")),
    "llamafactory": edit(LLAMAFACTORY, ("lr_scheduler_type: cosine", "lr_scheduler_type: constant"), ("warmup_ratio: 0.05\n", "")),
    "automodel": NEMO[: NEMO.index("lr_scheduler:")] + NEMO[NEMO.index("dataset:") :],
    "torchtune": TORCHTUNE[: TORCHTUNE.index("lr_scheduler:")] + TORCHTUNE[TORCHTUNE.index("clip_grad_norm") :],
}


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_rate_is_a_remark(name: str) -> None:
    (found,) = violations(CONSTANT[name], "CFG012")
    assert found.severity == "info"
    assert any("cosine" in str(fix.new) for fix in found.fixes)
    after = settled(CONSTANT[name], "CFG012")
    assert plan(after).value("lr_scheduler") == "cosine"
    assert violations(CONSTANT[name], "CFG006") == [] or name not in ("automodel", "torchtune")


@pytest.mark.parametrize("text", [HF, LLAMAFACTORY])
def test_constant_ignores_its_warmup(text: str) -> None:
    spoiled = edit(text, ("lr_scheduler_type: cosine", "lr_scheduler_type: constant"))
    (found,) = violations(spoiled, "CFG012")
    assert found.severity == "warning"
    assert "ignores warmup_ratio" in found.message
    assert "constant_with_warmup" in settled(spoiled, "CFG012")


@pytest.mark.parametrize(
    "name", ["linear", "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay", "cosine_with_min_lr", "polynomial"]
)
def test_schedules_of_the_guides_are_left_alone(name: str) -> None:
    assert violations(edit(HF, ("lr_scheduler_type: cosine", f"lr_scheduler_type: {name}")), "CFG012") == []


def test_other_schedules_are_a_remark() -> None:
    text = edit(HF, ("lr_scheduler_type: cosine", "lr_scheduler_type: cosine_with_restarts"))
    assert [v.severity for v in violations(text, "CFG012")] == ["info"]
    settled(text, "CFG012")
    assert violations(HUB, "CFG012", "python") == []


SGD = {
    "hf": edit(FULL, ("optim: adamw_torch", "optim: sgd")),
    "automodel": edit(NEMO, ("torch.optim.AdamW", "torch.optim.SGD")),
    "torchtune": edit(TORCHTUNE, ("torch.optim.AdamW", "torch.optim.SGD")),
    "axolotl": edit(AXOLOTL, ("optimizer: adamw_torch", "optimizer: sgd")),
    "litgpt": edit(LITGPT, ("torch.optim.AdamW", "torch.optim.SGD")),
}


@pytest.mark.parametrize("name", SGD)
def test_sgd_is_a_warning(name: str) -> None:
    (found,) = violations(SGD[name], "CFG013")
    assert found.severity == "warning"
    after = settled(SGD[name], "CFG013")
    assert plan(after).value("optimizer") in ("adamw", "adamw_torch")


@pytest.mark.parametrize("name", ["adamw_bnb_8bit", "paged_adamw_8bit", "adafactor", "lion_32bit", "adamw_torch_fused"])
def test_forms_of_adamw_and_its_successors_are_left_alone(name: str) -> None:
    text = edit(FULL, ("optim: adamw_torch", f"optim: {name}"))
    assert violations(text, "CFG013") == []


def test_qlora_is_trained_with_adamw() -> None:  # S1-050
    text = HF + "load_in_4bit: true\noptim: adafactor\n"
    assert [v.severity for v in violations(text, "CFG013")] == ["info"]
    assert violations(edit(text, ("adafactor", "paged_adamw_32bit")), "CFG013") == []
    settled(text, "CFG013")


def test_adam_with_weight_decay_is_a_remark() -> None:
    text = edit(NEMO, ("torch.optim.AdamW", "torch.optim.Adam"))
    assert violations(text, "CFG013") == []
    spoiled = edit(text, ("weight_decay: 0", "weight_decay: 0.05"))
    assert [v.severity for v in violations(spoiled, "CFG013")] == ["info"]
    settled(spoiled, "CFG013")


@pytest.mark.parametrize(
    ("text", "form", "severity", "new"),
    [
        (HF + "adam_beta2: 1.0\n", "yaml", "error", 0.999),
        (HF + "adam_beta1: 0.5\n", "yaml", "info", 0.9),
        (edit(NEMO, ("weight_decay: 0", "weight_decay: 0\n  betas: [0.9, 1.5]")), "yaml", "error", [0.9, 0.999]),
        (edit(DEEPSPEED, ("[0.9, 0.999]", "[0.9, 1.0]")), "json", "error", [0.9, 0.999]),
    ],
)
def test_decay_rates_of_adam(text: str, form: str, severity: str, new: object) -> None:
    (found,) = violations(text, "CFG013", form)
    assert found.severity == severity
    assert found.fixes[0].new == new
    settled(text, "CFG013", form)


def test_usual_decay_rates_are_left_alone() -> None:
    assert violations(HF + "adam_beta1: 0.9\nadam_beta2: 0.95\n", "CFG013") == []
    assert violations(edit(NEMO, ("weight_decay: 0", "weight_decay: 0\n  betas: [0.9, 0.95]")), "CFG013") == []


def test_a_warmup_is_lost_whatever_is_trained() -> None:
    """Adapters that a script makes leave the method open."""
    text = "output_dir: out\nlr_scheduler_type: constant\nlearning_rate: 2.0e-4\nnum_train_epochs: 3\nwarmup_ratio: 0.03\n"
    (found,) = violations(text, "CFG012")
    assert (found.severity, found.line, found.fixes[0].new) == ("warning", 2, "constant_with_warmup")
    assert violations(text.replace("warmup_ratio: 0.03\n", ""), "CFG012") == []
