"""Every metric name that frameworks write, to its canonical name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.adapters.aliases import TABLE, canonical_names, component_losses
from diag.vocabulary import METRICS


def canonical(*natives: str) -> dict[str, str]:
    return dict(canonical_names(natives))


FRAMEWORKS = {
    "hf": {
        "loss": "train/loss",
        "eval_loss": "eval/loss",
        "learning_rate": "lr",
        "grad_norm": "grad_norm",
        "eval_accuracy": "eval/accuracy",
    },
    "hf in tensorboard and wandb": {
        "train/loss": "train/loss",
        "eval/loss": "eval/loss",
        "train/learning_rate": "lr",
        "train/grad_norm": "grad_norm",
        "train/mean_token_accuracy": "train/accuracy",
        "eval/mean_token_accuracy": "eval/accuracy",
    },
    "trl grpo": {"loss": "train/loss", "reward": "reward", "kl": "kl", "step_time": "step_time", "reward_std": "reward_std"},
    "llama-factory": {"loss": "train/loss", "eval_loss": "eval/loss", "lr": "lr", "accuracy": "train/accuracy", "reward": "reward"},
    "axolotl": {
        "loss": "train/loss",
        "memory/max_active (GiB)": "gpu_memory",
        "tokens/train_per_sec_per_gpu": "tokens_per_second",
        "ppl": "ppl",
    },
    "automodel": {
        "loss": "train/loss",
        "val_loss": "eval/loss",
        "lr": "lr",
        "grad_norm": "grad_norm",
        "mem": "gpu_memory",
        "tps": "tokens_per_second",
        "tps_per_gpu": "tps_per_gpu",
    },
    "instructlab 0.16": {
        "avg_loss": "train/loss",
        "val_loss": "eval/loss",
        "lr": "lr",
        "gradnorm": "grad_norm",
        "overall_throughput": "samples_per_second",
        "cuda_mem_allocated": "gpu_memory",
    },
    "instructlab 0.4": {"total_loss": "train/loss", "loss": "loss", "lr": "lr"},
    "mini-trainer": {
        "loss": "train/loss",
        "val_loss": "eval/loss",
        "avg_loss_backward": "avg_loss_backward",
        "tokens_per_second": "tokens_per_second",
        "samples_per_second": "samples_per_second",
        "peak_memory_usage_GB": "gpu_memory",
        "time_per_batch": "step_time",
    },
    "lightning": {"train_loss_step": "train/loss", "train_loss_epoch": "train_loss_epoch", "val_loss": "eval/loss", "lr-AdamW": "lr"},
    "lightning, two groups": {"lr-AdamW/pg1": "lr", "lr-AdamW/pg2": "lr-AdamW/pg2", "train_loss": "train/loss"},
    "lightning, dataloaders": {
        "val_loss/dataloader_idx_0": "eval/dataloader_idx_0/loss",
        "val_loss/dataloader_idx_1": "eval/dataloader_idx_1/loss",
    },
    "torchtune": {
        "loss": "train/loss",
        "lr": "lr",
        "tokens_per_second_per_gpu": "tokens_per_second",
        "grad_norm": "grad_norm",
        "peak_memory_active": "gpu_memory",
    },
    "megatron console": {"lm loss": "train/loss", "learning rate": "lr", "grad norm": "grad_norm", "loss scale": "loss_scale"},
    "megatron tensorboard": {
        "lm loss": "train/loss",
        "lm loss validation": "eval/loss",
        "learning-rate": "lr",
        "grad-norm": "grad_norm",
        "loss-scale": "loss_scale",
        "iteration-time": "step_time",
        "lm loss validation ppl": "lm loss validation ppl",
    },
    "nemo 2": {"reduced_train_loss": "train/loss", "val_loss": "eval/loss", "lr": "lr", "train_step_timing in s": "step_time"},
    "deepspeed": {"Train/Samples/train_loss": "train/loss", "Train/Samples/lr": "lr", "Train/Samples/loss_scale": "loss_scale"},
    "litgpt": {"loss": "train/loss", "val_loss": "eval/loss", "learning_rate": "lr", "iter_time": "step_time"},
    "composer": {
        "loss/train/total": "train/loss",
        "lr-DecoupledAdamW/group0": "lr",
        "l2_norm/grad/global": "grad_norm",
        "metrics/eval/LanguageCrossEntropy": "eval/loss",
        "throughput/tokens_per_sec": "tokens_per_second",
    },
    "keras": {
        "loss": "train/loss",
        "val_loss": "eval/loss",
        "accuracy": "train/accuracy",
        "val_accuracy": "eval/accuracy",
        "learning_rate": "lr",
    },
    "keras tensorboard": {"train/epoch_loss": "train/loss", "validation/epoch_loss": "eval/loss", "train/epoch_learning_rate": "lr"},
    "keras tensorboard, one folder": {"epoch_loss": "train/loss", "epoch_accuracy": "train/accuracy", "epoch_learning_rate": "lr"},
    "ultralytics": {
        "train/box_loss": "train/box_loss",
        "val/box_loss": "val/box_loss",
        "train/cls_loss": "train/cls_loss",
        "lr/pg0": "lr",
        "lr/pg1": "lr/pg1",
    },
    "yolov5": {
        "x/lr0": "lr",
        "x/lr1": "x/lr1",
        "train/obj_loss": "train/obj_loss",
        "val/obj_loss": "val/obj_loss",
        "train/box_loss": "train/box_loss",
    },
    "nanogpt": {"train/loss": "train/loss", "val/loss": "eval/loss", "lr": "lr"},
    "llm.c": {"trl": "train/loss", "tel": "eval/loss", "lr": "lr", "norm": "grad_norm"},
    "mlperf": {"train_loss": "train/loss", "eval_loss": "eval/loss", "lr": "lr"},
    "detectron2": {"total_loss": "train/loss", "loss_cls": "loss_cls", "loss_box_reg": "loss_box_reg", "lr": "lr", "time": "step_time"},
    "stable-baselines3": {
        "rollout/ep_rew_mean": "reward",
        "train/approx_kl": "kl",
        "train/loss": "train/loss",
        "train/value_loss": "train/value_loss",
    },
    "cleanrl": {
        "charts/episodic_return": "reward",
        "losses/approx_kl": "kl",
        "losses/value_loss": "losses/value_loss",
        "losses/policy_loss": "losses/policy_loss",
    },
    "scripts": {"Loss/train": "train/loss", "Loss/valid": "eval/loss", "GradNorm": "grad_norm", "LR": "lr", "Accuracy": "train/accuracy"},
    "capitals": {"Loss/Train": "train/loss", "Loss/Validation": "eval/loss"},
    "camel case": {"TrainLoss": "train/loss", "AvgValLoss": "eval/loss", "LearningRate": "lr"},
    "free word order": {"avg epoch loss (train)": "avg epoch loss (train)", "epoch_train_loss": "train/loss", "mean_dev_loss": "eval/loss"},
    "a test set as evaluation": {"loss": "train/loss", "test_loss": "eval/loss", "test_acc": "eval/accuracy"},
    "segmentation": {"train/decode.loss_seg": "train/loss", "train/decode.acc_seg": "train/decode.acc_seg"},
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_names_of_frameworks(framework: str) -> None:
    names = FRAMEWORKS[framework]
    assert canonical(*names) == names


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_order_of_the_log_does_not_matter(framework: str) -> None:
    names = FRAMEWORKS[framework]
    assert canonical(*reversed(names)) == names


@pytest.mark.parametrize(
    "name", ["train_loss", "train-loss", "train loss", "train/loss", "Train_Loss", "train.loss", "TRAIN/LOSS", " train_loss "]
)
def test_case_and_separators_do_not_matter(name: str) -> None:
    assert canonical(name) == {name: "train/loss"}


def test_several_evaluation_sets() -> None:
    names = ("loss", "eval_squad_v2_loss", "eval_GSM8K_loss", "eval_GSM8K_runtime")
    assert canonical(*names) == {
        "loss": "train/loss",
        "eval_squad_v2_loss": "eval/squad_v2/loss",
        "eval_GSM8K_loss": "eval/GSM8K/loss",
        "eval_GSM8K_runtime": "eval_GSM8K_runtime",
    }
    assert canonical("val_math/val_loss", "val_loss") == {"val_math/val_loss": "eval/math/loss", "val_loss": "eval/loss"}
    assert canonical("eval/code_loss")["eval/code_loss"] == "eval/code/loss"


def test_the_run_summary_of_the_trainer_is_no_curve() -> None:
    assert canonical("loss", "train_loss", "train_runtime")["train_loss"] == "train_loss"
    assert canonical("train/loss", "train/train_loss", "train/train_runtime")["train/train_loss"] == "train/train_loss"
    assert canonical("train_loss", "val_loss")["train_loss"] == "train/loss"


def test_twins_over_samples_are_left_out() -> None:
    assert canonical("lm loss", "lm loss vs samples", "hp_metric") == {"lm loss": "train/loss"}


@given(st.lists(st.text(max_size=20), unique=True))
def test_no_two_names_become_one(names: list[str]) -> None:
    found = canonical_names(names)
    assert len({name for _, name in found}) == len(found)
    assert {native for native, _ in found} <= set(names)


@given(
    st.permutations(
        ["loss", "train_loss", "eval_loss", "val_loss", "test_loss", "lr", "learning_rate", "eval/loss", "train/loss", "eval_a_loss"]
    )
)
def test_names_that_collide_stay_unique_and_independent_of_order(names: list[str]) -> None:
    found = dict(canonical_names(names))
    assert len(set(found.values())) == len(names)
    assert found == dict(canonical_names(sorted(names)))


def test_the_table_speaks_the_vocabulary() -> None:
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert {row[1] for row in rows} <= {*METRICS, "eval/*/loss"}
    assert all(len(row) == 4 and row[3] for row in rows)
    natives = [row[0].lower() for row in rows]
    assert len(natives) == len(set(natives))


def test_parts_of_a_loss() -> None:
    parts = ["train/box_loss", "train/cls_loss", "val/box_loss", "val/cls_loss", "lr"]
    assert component_losses(parts) == {
        "train/loss": ("train/box_loss", "train/cls_loss"),
        "eval/loss": ("val/box_loss", "val/cls_loss"),
    }
    assert component_losses([*parts, "train/loss", "eval/loss"]) == {}
    assert component_losses(parts[:3]) == {"train/loss": ("train/box_loss", "train/cls_loss")}
    assert component_losses(["train_reconstruction_loss", "train_kl_loss"]) == {
        "train/loss": ("train_kl_loss", "train_reconstruction_loss")
    }


@pytest.mark.parametrize("parts", [("train/g_loss", "train/d_loss"), ("train/policy_loss", "train/value_loss"), ("train/box_loss",), ()])
def test_parts_that_work_against_each_other_are_not_summed(parts: tuple[str, ...]) -> None:
    assert component_losses(parts) == {}
