"""CFG018: settings that contradict their companions."""

from __future__ import annotations

import pytest
from linting import violations
from recipes import AXOLOTL, DEEPSPEED, HF, HUB, LITGPT, LLAMAFACTORY, NANOGPT, NEMO, edit, line_of
from settling import settled

CASES = {
    "max_lr": (edit(NEMO, ("min_lr: 1.0e-5", "max_lr: 2.0e-4")), "yaml", "optimizer.lr", "error"),
    "init_lr": (edit(NEMO, ("min_lr: 1.0e-5", "init_lr: 1.0e-3")), "yaml", "lr_scheduler.init_lr", "error"),
    "warmup": (edit(NEMO, ("min_lr: 1.0e-5", "lr_decay_steps: 50")), "yaml", "lr_scheduler.lr_warmup_steps", "error"),
    "end_wd": (edit(NEMO, ("min_lr: 1.0e-5", "start_wd: 0.1\n  end_wd: 0.01")), "yaml", "lr_scheduler.end_wd", "error"),
    "epochs": (HF + "max_steps: 500\n", "yaml", "num_train_epochs", "info"),
    "epochs_axolotl": (AXOLOTL + "max_steps: 500\n", "yaml", "num_epochs", "info"),
    "epochs_llamafactory": (LLAMAFACTORY + "max_steps: 500\n", "yaml", "num_train_epochs", "info"),
    "warmups": (HF + "warmup_steps: 20\n", "yaml", "warmup_ratio", "warning"),
    "warmups_axolotl": (AXOLOTL + "warmup_steps: 20\n", "yaml", "warmup_ratio", "error"),
    "warmups_litgpt": (edit(LITGPT, ("max_norm:", "lr_warmup_fraction: 0.1")), "yaml", "train.lr_warmup_fraction", "error"),
    "deepspeed": (edit(DEEPSPEED, ('"warmup_max_lr": 1e-4', '"warmup_max_lr": 1e-3')), "json", "optimizer.params.lr", "error"),
    "deepspeed_min": (
        edit(DEEPSPEED, ('"warmup_min_lr": 0', '"warmup_min_lr": 1e-2')),
        "json",
        "scheduler.params.warmup_min_lr",
        "error",
    ),
    "nanogpt": (edit(NANOGPT, ("lr_decay_iters = 20000", "lr_decay_iters = 600000")), "python", "lr_decay_iters", "warning"),
    "betas": (edit(HUB, ("weight_decay=0.01", "beta1=0.95")), "python", "beta1", "error"),
}


@pytest.mark.parametrize("name", CASES)
def test_contradictions(name: str) -> None:
    text, form, key, severity = CASES[name]
    (found,) = violations(text, "CFG018", form)
    assert (found.key, found.severity) == (key, severity)
    assert found.line == line_of(text, key.rsplit(".", 1)[-1] if not key.endswith(".lr") else '"lr"' if form == "json" else "lr: ")
    settled(text, "CFG018", form)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (edit(NEMO, ("min_lr: 1.0e-5", "max_lr: 1.0e-4\n  init_lr: 1.0e-5\n  lr_decay_steps: 500")), "yaml"),
        (HF + "max_steps: -1\n", "yaml"),
        (HF + "warmup_steps: 0\n", "yaml"),
        (edit(HF, ("num_train_epochs: 2", "max_steps: 500")), "yaml"),
        (NEMO + "  limit_dataset_samples: 4000\n", "yaml"),
        (
            edit(NANOGPT, ("lr_decay_iters = 20000", "lr_decay_iters = 600000"), ("lr_decay_iters", "decay_lr = False\nlr_decay_iters")),
            "python",
        ),
        (edit(HUB, ("weight_decay=0.01", "beta1=0.9,\n    beta2=0.95")), "python"),
    ],
)
def test_companions_that_agree(text: str, form: str) -> None:
    assert violations(text, "CFG018", form) == []


def test_the_safe_change_keeps_what_the_run_does() -> None:
    text, _, _, _ = CASES["max_lr"]
    (found,) = violations(text, "CFG018")
    assert (found.fixes[0].key, found.fixes[0].new, found.fixes[0].applicability) == ("optimizer.lr", 2e-4, "safe")


def test_nanogpts_default_decay_does_not_follow_the_run() -> None:
    text = edit(NANOGPT, ("lr_decay_iters = 20000\n", ""), ("max_iters = 20000", "max_iters = 5000"))
    (found,) = violations(text, "CFG018", "python")
    assert "its default" in found.message
    settled(text, "CFG018", "python")
