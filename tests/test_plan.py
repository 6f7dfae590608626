"""A plan: what one config amounts to."""

from __future__ import annotations

import math

import pytest
from linting import plan

from diag.documents import JSON, PYTHON, SHELL
from diag.plan import Plan

HF = "model_name_or_path: meta-llama/Llama-2-7b-hf\noutput_dir: out\nlearning_rate: 1.0e-5\n"
AUTOMODEL = """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
step_scheduler:
  global_batch_size: 64
  local_batch_size: 8
  num_epochs: 2
  val_every_steps: 100
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
"""


class TestSteps:
    def test_of_samples_batch_and_epochs(self) -> None:
        made = plan(
            f"{HF}per_device_train_batch_size: 4\ngradient_accumulation_steps: 2\nnum_train_epochs: 3\n", dataset_size=1001, world_size=2
        )
        assert (made.global_batch, made.accumulation, made.is_batch_certain) == (16, 2, True)
        assert (made.steps_per_epoch, made.total_steps, made.epochs) == (63, 189, 3)

    def test_of_a_number_of_steps(self) -> None:
        made = plan(f"{HF}per_device_train_batch_size: 4\nmax_steps: 500\nnum_train_epochs: 3\n", dataset_size=1000, world_size=1)
        assert (made.total_steps, made.steps_per_epoch, made.epochs) == (500, 250, 2)

    def test_an_unknown_number_of_processes_is_taken_for_one_and_said_to_be_unknown(self) -> None:
        made = plan(f"{HF}per_device_train_batch_size: 4\n")
        assert (made.global_batch, made.is_batch_certain) == (4, False)

    def test_the_defaults_of_the_framework_count(self) -> None:
        made = plan(HF)
        assert (made.value("num_epochs"), made.source("num_epochs"), made.is_default("num_epochs"), made.is_set("num_epochs")) == (
            3, "the default", True, False,
        )  # fmt: skip
        assert (made.is_set("learning_rate"), made.source("learning_rate")) == (True, "")
        assert plan(f"{HF}max_steps: 10\n").value("num_epochs") is None

    @pytest.mark.parametrize("size", [None, 10, 10_000])
    def test_what_cannot_be_worked_out_is_none(self, size: int | None) -> None:
        made = plan(
            "learning_rate: 1.0e-5\nmodel_name_or_path: a/b\noutput_dir: x\nper_device_train_batch_size: ${BATCH}\n", dataset_size=size
        )
        assert (made.steps_per_epoch, made.total_steps, made.warmup_steps) == (None, None, None)

    def test_nonsense_gives_no_numbers(self) -> None:
        made = plan(
            f"{HF}per_device_train_batch_size: 0\nnum_train_epochs: .nan\nwarmup_steps: .inf\nlora_r: 0\nlora_alpha: 16\n", dataset_size=100
        )
        assert (made.steps_per_epoch, made.alpha_to_rank) == (None, None)
        assert made.total_steps is None or math.isfinite(made.total_steps)

    def test_in_other_frameworks(self) -> None:
        made = plan(AUTOMODEL, dataset_size=6400, world_size=4)
        assert (made.global_batch, made.accumulation, made.total_steps) == (64, 2, 200)
        sizes = '"train_batch_size": 64, "train_micro_batch_size_per_gpu": 8, "zero_optimization": {"stage": 2}'
        made = plan(f'{{{sizes}, "optimizer": {{"type": "AdamW", "params": {{"lr": 1e-5}}}}}}', JSON, world_size=4)
        assert (made.dialect, made.global_batch, made.accumulation) == ("deepspeed", 64, 2)
        made = plan(
            "torchrun --nproc-per-node 4 --nnodes 2 train.py --output_dir x --learning_rate 1e-5 --per_device_train_batch_size 2", SHELL
        )
        assert (made.world_size, made.global_batch, made.is_batch_certain) == (8, 16, True)


class TestWarmup:
    @pytest.mark.parametrize(
        ("line", "steps", "share"),
        [
            ("warmup_steps: 50", 50, 0.1),
            ("warmup_ratio: 0.1", 50, 0.1),
            ("warmup_steps: 0.1", 50, 0.1),
            ("warmup_steps: 0", 0, 0),
            ("warmup_ratio: 0.0", 0, 0),
        ],
    )
    def test_steps_and_share(self, line: str, steps: float, share: float) -> None:
        made = plan(f"{HF}max_steps: 500\n{line}\n")
        assert (made.warmup_steps, made.warmup_share) == (steps, share)

    def test_of_a_run_of_unknown_length(self) -> None:
        assert (plan(f"{HF}warmup_ratio: 0.1\n").warmup_steps, plan(f"{HF}warmup_ratio: 0.1\n").warmup_share) == (None, 0.1)
        assert (plan(f"{HF}warmup_steps: 9\n").warmup_steps, plan(f"{HF}warmup_steps: 9\n").warmup_share) == (9, None)


class TestMethodAndModel:
    @pytest.mark.parametrize(
        ("lines", "method"),
        [
            ("", "sft"),
            ("use_peft: true\nlora_r: 8\n", "lora"),
            ("use_peft: true\nlora_r: 8\nload_in_4bit: true\n", "qlora"),
        ],
    )
    def test_of_a_trainer(self, lines: str, method: str) -> None:
        assert plan(HF + lines).method == method

    @pytest.mark.parametrize(
        ("text", "method"),
        [
            ("stage: sft\nfinetuning_type: lora\nlora_rank: 8\n", "lora"),
            ("stage: sft\nfinetuning_type: full\n", "sft"),
            ("stage: sft\nfinetuning_type: oft\n", None),
            ("stage: pt\nfinetuning_type: full\n", None),
            ("stage: pt\nfinetuning_type: lora\nlora_rank: 8\n", "lora"),
        ],
    )
    def test_of_llamafactory(self, text: str, method: str | None) -> None:
        base = "model_name_or_path: Qwen/Qwen2.5-7B\ntemplate: qwen\ncutoff_len: 2048\nlearning_rate: 1.0e-5\n"
        made = plan(base + text)
        assert (made.dialect, made.method) == ("llamafactory", method)

    def test_continued_pretraining_is_no_fine_tuning(self) -> None:
        base = "base_model: meta-llama/Llama-3.1-8B\nsequence_len: 2048\nmicro_batch_size: 1\nlearning_rate: 4.0e-4\n"
        assert plan(f"{base}pretraining_dataset:\n  - path: allenai/c4\n    name: en\n").method is None
        assert plan(f"{base}datasets:\n  - path: tatsu-lab/alpaca\n    type: alpaca\n").method == "sft"

    def test_what_the_user_says_wins(self) -> None:
        made = plan(HF, method="qlora", model_parameters=13e9, dataset_size=5, profile="lesson")
        assert (made.method, made.parameters, made.samples, made.profile) == ("qlora", 13e9, 5, "lesson")
        assert made.source("method") == "given by the user"

    @pytest.mark.parametrize(
        ("name", "size", "guided"),
        [
            ("meta-llama/Llama-2-7b-hf", 7e9, True),
            ("gpt2", 1.24e8, False),
            ("my/model", None, True),
            ("EleutherAI/pythia-160m", 1.6e8, False),
        ],
    )
    def test_the_size_of_the_model(self, name: str, size: float | None, guided: bool) -> None:
        made = plan(HF.replace("meta-llama/Llama-2-7b-hf", name))
        assert (made.parameters, made.is_guided) == (size, guided)
        assert (made.band("learning_rate") is not None) is guided

    @pytest.mark.parametrize("line", ["beta: 0.1\nprecompute_ref_log_probs: true", "num_generations: 8", "reward_model: true"])
    def test_preferences_and_rewards_have_no_band(self, line: str) -> None:
        made = plan(f"{HF}{line}\n")
        assert (made.is_supervised, made.band("learning_rate")) == (False, None)

    def test_the_profile_follows_the_framework(self) -> None:
        assert (plan(HF).profile, plan(AUTOMODEL).profile) == ("balanced", "automodel")
        assert plan("osft(model_path='m', data_path='d', learning_rate=1e-6, unfreeze_rank_ratio=0.3)\n", PYTHON).profile == "training-hub"


class TestAdapters:
    @pytest.mark.parametrize(
        ("lines", "scale"),
        [
            ("lora_r: 8\nlora_alpha: 16\n", 2),
            ("lora_r: 16\nlora_alpha: 16\nuse_rslora: true\n", 4),
            ("lora_r: 16\nlora_alpha: 8\nuse_rslora: false\n", 0.5),
        ],
    )
    def test_the_scale(self, lines: str, scale: float) -> None:
        assert plan(f"{HF}use_peft: true\n{lines}").alpha_to_rank == pytest.approx(scale)


class TestPlaces:
    def test_of_what_is_there_and_of_what_is_missing(self) -> None:
        made = plan(AUTOMODEL)
        assert made.place("learning_rate") == ("optimizer.lr", 12, 3)
        assert made.place("num_epochs") == ("step_scheduler.num_epochs", 5, 3)
        key, line, _ = made.place("warmup_steps")
        assert (key, line) == ("lr_scheduler.lr_warmup_steps", 1)
        assert made.place("step_scheduler.max_steps") == ("step_scheduler.max_steps", 2, 1)
        assert made.place("") == ("", 1, 1)

    def test_keys(self) -> None:
        made = plan(AUTOMODEL)
        assert (made.key_of("learning_rate"), made.key_of("max_steps")) == ("optimizer.lr", "step_scheduler.max_steps")
        assert (made.has("optimizer"), made.has("optimizer.lr"), made.has("lr")) == (True, True, False)
        assert made.section("optimizer") == {"_target_": "torch.optim.AdamW", "lr": 1e-5}
        assert (made.native("optimizer.lr"), made.native("none")) == (1e-5, None)

    def test_what_a_script_computes_is_set_and_unknown(self) -> None:
        made = plan("SFTConfig(output_dir='x', learning_rate=rate(), num_train_epochs=2)\n", PYTHON)
        assert (made.has("learning_rate"), made.native("learning_rate"), made.value("num_epochs")) == (True, None, 2)


class TestWholeness:
    @pytest.mark.parametrize(
        ("text", "whole"),
        [
            (HF, False),
            (f"{HF}num_train_epochs: 1\n", True),
            (f"{HF}per_device_train_batch_size: 1\n", True),
            ("num_train_epochs: 1\noutput_dir: x\nper_device_train_batch_size: 1\n", False),
        ],
    )
    def test_it_says_how_fast_and_how_long(self, text: str, whole: bool) -> None:
        assert plan(text, dialect="hf").is_whole is whole

    def test_a_command_that_names_a_config_is_a_part(self) -> None:
        made: Plan = plan("trl sft --config gone.yaml --learning_rate 1e-5 --num_train_epochs 1", SHELL)
        assert not made.is_whole
