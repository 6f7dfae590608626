"""CFG030 to CFG039: evaluation, early stopping, checkpoints, logging, seed."""

from __future__ import annotations

from typing import Any

import pytest
from linting import plan, violations

from diag.documents import JSON, PYTHON, SHELL, YAML, parse
from diag.fixing import same_document, settled
from diag.lint import Violation
from diag.plan import Plan

HF = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
output_dir: out
learning_rate: 1.0e-05
per_device_train_batch_size: 4
num_train_epochs: 2
"""
LLAMAFACTORY = """\
model_name_or_path: Qwen/Qwen2.5-7B
stage: sft
finetuning_type: lora
lora_rank: 8
template: qwen
cutoff_len: 2048
dataset: identity
learning_rate: 1.0e-4
per_device_train_batch_size: 1
num_train_epochs: 3.0
output_dir: out
"""
AXOLOTL = """\
base_model: meta-llama/Llama-3.1-8B
sequence_len: 2048
datasets:
  - path: tatsu-lab/alpaca
    type: alpaca
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
learning_rate: 1.0e-05
optimizer: adamw_torch
output_dir: ./out
"""
AUTOMODEL = """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
step_scheduler:
  global_batch_size: 64
  local_batch_size: 8
  num_epochs: 2
  max_steps: 1200
  val_every_steps: 100
  ckpt_every_steps: 100
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
dataset:
  _target_: nemo_automodel.components.datasets.llm.squad.make_squad_dataset
  dataset_name: rajpurkar/squad
  split: train
"""
VALIDATION = """\
validation_dataset:
  _target_: nemo_automodel.components.datasets.llm.squad.make_squad_dataset
  dataset_name: rajpurkar/squad
  split: validation
"""
TORCHTUNE = """\
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /tmp/tokenizer.model
  max_seq_len: 2048
model:
  _component_: torchtune.models.llama3_1.llama3_1_8b
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: /tmp/llama
optimizer:
  _component_: torch.optim.AdamW
  lr: 1.0e-5
batch_size: 2
epochs: 1
clip_grad_norm: 1.0
"""
LIGHTNING = """\
trainer:
  max_epochs: 10
  gradient_clip_val: 1.0
  accumulate_grad_batches: 1
model:
  class_path: app.Model
  init_args:
    learning_rate: 1.0e-5
data:
  class_path: app.Data
  init_args:
    batch_size: 8
"""


def one(text: str | Plan, code: str, form: str = YAML, **options: Any) -> Violation:
    """The only violation of a rule."""
    found = violations(text, code, form, **options)
    assert len(found) == 1, [violation.message for violation in found]
    return found[0]


def set_by(violation: Violation) -> dict[str, Any]:
    """Key or parameter to the value that the fixes set."""
    return {fix.key or fix.parameter: fix.new for fix in violation.fixes if fix.applicability != "display"}


def converges(text: str, code: str, form: str = YAML, **options: Any) -> Plan:
    """Settle everything; the rule is silent then, and a second call changes nothing."""
    before = plan(text, form, **options)
    assert violations(before, code)
    fixed, _ = settled(before, level="info")
    document = before.document
    after = Plan(same_document(parse(fixed, name=document.path, form=form), document), before.dialect, before.options, before.data)
    assert settled(after, level="info")[0] == fixed
    assert violations(after, code) == []
    return after


class TestEvaluationMissing:
    def test_a_trainer_that_never_evaluates(self) -> None:
        found = one(f"{HF}max_steps: 1200\n", "CFG030")
        assert (found.severity, found.key, found.line) == ("warning", "eval_strategy", 1)
        assert "never evaluates" in found.message
        assert set_by(found) == {"eval_strategy": "steps", "eval_steps": 100}
        assert {fix.applicability for fix in found.fixes} == {"display", "unsafe"}  # it crashes without evaluation data
        after = converges(f"{HF}max_steps: 1200\n", "CFG030")
        assert (after.native("eval_strategy"), after.native("eval_steps")) == ("steps", 100)

    @pytest.mark.parametrize("word", ["'no'", "no", "false"])
    def test_the_word_no(self, word: str) -> None:
        found = one(f"{HF}eval_strategy: {word}\n", "CFG030")
        assert (found.key, found.line) == ("eval_strategy", 6)

    def test_an_old_trainer_keeps_its_word(self) -> None:
        assert set_by(one(f"{HF}evaluation_strategy: 'no'\n", "CFG030")) == {"evaluation_strategy": "steps"}

    @pytest.mark.parametrize(
        "text",
        [
            f"{HF}eval_strategy: epoch\n",
            f"{HF}evaluation_strategy: steps\n",
            f"{HF}do_eval: true\n",
            f"{LLAMAFACTORY}val_size: 0.1\neval_strategy: steps\neval_steps: 500\n",
            f"{AXOLOTL}val_set_size: 0.05\n",
            f"{AXOLOTL}test_datasets:\n  - path: a/b\n    split: test\n    type: alpaca\n",
            AUTOMODEL + VALIDATION,
            TORCHTUNE,
            LIGHTNING,
            "model_name_or_path: a/b\nuse_peft: true\nlora_r: 8\nlora_alpha: 16\noutput_dir: x\n",
        ],
    )
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG030") == []

    @pytest.mark.parametrize(
        ("text", "key", "form"),
        [
            (LLAMAFACTORY, "val_size", YAML),
            (f"{LLAMAFACTORY}val_size: 0.1\n", "val_size", YAML),
            (AXOLOTL, "val_set_size", YAML),
            (f"{AXOLOTL}val_set_size: 0\n", "val_set_size", YAML),
            (AUTOMODEL, "validation_dataset", YAML),
            (f"{LIGHTNING.replace('max_epochs', f'limit_val_batches: 0{chr(10)}  max_epochs')}", "trainer.limit_val_batches", YAML),
            ("sft(model_path='a/b', data_path='d', ckpt_output_dir='o', learning_rate=1e-5, num_epochs=2)\n", "validation_split", PYTHON),
            ("trl sft --model_name_or_path a/b --learning_rate 1e-5 --num_train_epochs 2 --output_dir x\n", "eval_strategy", SHELL),
        ],
    )
    def test_in_every_dialect(self, text: str, key: str, form: str) -> None:
        found = one(text, "CFG030", form)
        assert found.key == key
        assert found.fixes[0].applicability == "display"

    def test_what_a_script_computes_is_not_judged(self) -> None:
        text = "TrainingArguments(output_dir='x', learning_rate=1e-5, num_train_epochs=2, eval_strategy=strategy)\n"
        assert violations(text, "CFG030", PYTHON) == []

    @pytest.mark.parametrize("line", ["num_generations: 8", "trainer_type: grpo"])
    def test_a_policy_trained_on_rewards_is_not_judged(self, line: str) -> None:
        assert violations(f"{HF}{line}\n", "CFG030", dialect="hf") == []


class TestEvaluationOnTrainingData:
    def test_the_same_split(self) -> None:
        text = AUTOMODEL + VALIDATION.replace("split: validation", "split: train")
        found = one(text, "CFG031")
        assert (found.severity, found.key, found.line) == ("error", "validation_dataset.split", 22)
        assert set_by(found) == {"dataset.split": "train[:95%]", "validation_dataset.split": "train[95%:]"}
        after = converges(text, "CFG031")
        assert after.native("validation_dataset.split") == "train[95%:]"

    def test_a_limit_is_no_separation_but_a_slice_is(self) -> None:
        text = AUTOMODEL + VALIDATION.replace("split: validation", "split: train[:100]")
        assert set_by(one(text, "CFG031")) == {"dataset.split": "train[100:]"}
        assert converges(text, "CFG031").native("dataset.split") == "train[100:]"
        assert violations(text.replace("split: train\n", "split: train[100:]\n"), "CFG031") == []

    @pytest.mark.parametrize(
        ("mine", "theirs", "shared"),
        [
            ("validation", "train", False),
            ("train[95%:]", "train[:95%]", False),
            ("train[90%:]", "train[:95%]", True),
            ("train[:500]", "train[500:]", False),
            ("train[:500]", "train[:5%]", True),
            ("test", "train", False),
        ],
    )
    def test_slices(self, mine: str, theirs: str, shared: bool) -> None:
        text = AUTOMODEL.replace("split: train", f"split: {theirs}") + VALIDATION.replace("split: validation", f"split: {mine}")
        assert bool(violations(text, "CFG031")) is shared

    @pytest.mark.parametrize(
        "text",
        [
            f"{HF}train_file: data/all.jsonl\nvalidation_file: data/all.jsonl\n",
            f"{HF}dataset_name: my/set\ndataset_train_split: train\ndataset_test_split: train\n",
            f"{LLAMAFACTORY}eval_dataset: identity,alpaca\neval_strategy: steps\n",
            f"{AXOLOTL}test_datasets:\n  - path: tatsu-lab/alpaca\n    type: alpaca\n",
        ],
    )
    def test_in_other_dialects(self, text: str) -> None:
        assert one(text, "CFG031").severity == "error"

    @pytest.mark.parametrize(
        "text",
        [
            f"{HF}train_file: data/train.jsonl\nvalidation_file: data/dev.jsonl\n",
            f"{HF}dataset_name: my/set\ndataset_train_split: train\ndataset_test_split: test\n",
            f"{LLAMAFACTORY}eval_dataset: alpaca\neval_strategy: steps\n",
            f"{AXOLOTL}test_datasets:\n  - path: tatsu-lab/alpaca\n    split: test\n    type: alpaca\n",
            f"{AXOLOTL}val_set_size: 0.05\n",
        ],
    )
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG031") == []


class TestEvaluationSetSize:
    def test_too_few_samples(self) -> None:
        text = AUTOMODEL + VALIDATION + "  limit_dataset_samples: 50\n"
        found = one(text, "CFG032")
        assert (found.severity, found.line) == ("warning", 23)
        assert "50 evaluation samples" in found.message
        assert "0.28 of the samples' spread" in found.message  # 1.96 / sqrt(50)
        assert set_by(found) == {"validation_dataset.limit_dataset_samples": 100}
        converges(text, "CFG032")
        assert violations(text.replace("limit_dataset_samples: 50", "limit_dataset_samples: 100"), "CFG032") == []

    @pytest.mark.parametrize(
        ("text", "key", "new"),
        [
            (f"{AXOLOTL}val_set_size: 0.05\n", "val_set_size", 0.2),
            (f"{LLAMAFACTORY}val_size: 0.05\neval_strategy: steps\n", "val_size", 0.2),
            (f"{LLAMAFACTORY}val_size: 20\neval_strategy: steps\n", "val_size", 100),
            (f"{HF}eval_strategy: epoch\nmax_eval_samples: 10\n", "max_eval_samples", 100),
        ],
    )
    def test_of_a_small_data_set(self, text: str, key: str, new: float) -> None:
        assert set_by(one(text, "CFG032", dataset_size=500)) == {key: new}
        assert converges(text, "CFG032", dataset_size=500).native(key) == new

    def test_too_much(self) -> None:
        found = one(f"{AXOLOTL}val_set_size: 0.5\n", "CFG032")
        assert (found.severity, set_by(found)) == ("info", {"val_set_size": 0.1})
        converges(f"{AXOLOTL}val_set_size: 0.5\n", "CFG032")

    def test_a_third_of_a_tiny_data_set_is_all_that_is_asked_for(self) -> None:
        found = one(f"{AXOLOTL}val_set_size: 0.1\n", "CFG032", dataset_size=200)
        assert set_by(found) == {"val_set_size": 0.3}
        assert set_by(one(f"{AXOLOTL}val_set_size: 0.3\n", "CFG032", dataset_size=200)) == {}

    @pytest.mark.parametrize("line", ["val_set_size: 0.05", "val_set_size: 200", "val_set_size: 0", "val_set_size: 0.2"])
    def test_silent(self, line: str) -> None:
        assert violations(f"{AXOLOTL}{line}\n", "CFG032") == []
        assert violations(f"{AXOLOTL}{line}\n", "CFG032", dataset_size=10_000) == []


class TestEvaluationsARun:
    def test_too_few(self) -> None:
        text = f"{HF}max_steps: 1000\neval_strategy: steps\neval_steps: 400\n"
        found = one(text, "CFG033", world_size=2)
        assert (found.severity, found.key, found.line) == ("warning", "eval_steps", 8)
        assert "evaluates 2 times, every 3,200 samples" in found.message
        assert set_by(found) == {"eval_steps": 83}
        assert converges(text, "CFG033").native("eval_steps") == 83

    def test_the_worked_case_of_the_guides(self) -> None:
        """Every 50 steps at 4 x 4 is every 800 samples."""
        text = f"{HF}gradient_accumulation_steps: 4\nmax_steps: 300\neval_strategy: steps\neval_steps: 50\n"
        assert "every 800 samples" in one(text, "CFG033", world_size=1).message

    def test_saves_go_on_falling_on_evaluations(self) -> None:
        saves = "save_strategy: steps\nsave_steps: 500\nload_best_model_at_end: true\n"
        text = f"{HF}max_steps: 1200\neval_strategy: steps\neval_steps: 500\n{saves}"
        assert set_by(one(text, "CFG033")) == {"eval_steps": 100}
        odd = text.replace("1200", "4000").replace("_steps: 500", "_steps: 1000")
        assert set_by(one(odd, "CFG033")) == {"eval_steps": 250}  # 333 shares no divisor with 1000
        after = converges(text, "CFG033")
        assert after.native("save_steps") % after.native("eval_steps") == 0

    def test_far_too_many(self) -> None:
        found = one(f"{HF}max_steps: 10000\neval_strategy: steps\neval_steps: 10\n", "CFG033")
        assert (found.severity, set_by(found)) == ("info", {})
        scratch = "python run_clm.py --model_type gpt2 --max_steps 10000 --eval_strategy steps --eval_steps 10 --learning_rate 6e-4\n"
        assert violations(scratch, "CFG033", SHELL) == []  # weeks of pretraining, or a small model

    def test_evaluations_an_epoch(self) -> None:
        text = f"{AXOLOTL}val_set_size: 0.05\nevals_per_epoch: 1\n"
        found = one(text, "CFG033")
        assert (found.key, found.line) == ("evals_per_epoch", text.count("\n"))
        converges(text, "CFG033")

    @pytest.mark.parametrize(
        ("text", "severity"),
        [
            (f"{AXOLOTL}val_set_size: 0.05\nmax_steps: 1000\neval_steps: 500\n", "warning"),
            (f"{AXOLOTL}val_set_size: 0.05\nevals_per_epoch: 1\n", "info"),
            (AUTOMODEL.replace("val_every_steps: 100", "val_every_steps: 600") + VALIDATION, "warning"),
            (f"{LLAMAFACTORY}val_size: 0.1\nmax_steps: 1000\neval_strategy: steps\neval_steps: 250\n", "info"),
            (f"{HF}eval_strategy: epoch\n", "info"),
        ],
    )
    def test_in_every_dialect(self, text: str, severity: str) -> None:
        assert one(text, "CFG033").severity == severity

    @pytest.mark.parametrize(
        "text",
        [
            f"{HF}max_steps: 1200\neval_strategy: steps\neval_steps: 100\n",
            f"{HF}eval_strategy: steps\neval_steps: 100\n",
            f"{HF}max_steps: 5\neval_strategy: steps\neval_steps: 5\n",
            f"{HF}max_steps: 1200\neval_steps: 1000\n",
            AUTOMODEL + VALIDATION,
        ],
    )
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG033") == []


class TestEarlyStoppingMissing:
    def test_the_best_checkpoint_is_not_kept(self) -> None:
        text = f"{HF}eval_strategy: steps\neval_steps: 50\nsave_steps: 120\nmax_steps: 600\n"
        found = one(text, "CFG034", dataset_size=1000, world_size=1)
        assert (found.severity, found.key) == ("info", "load_best_model_at_end")
        wanted = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "save_strategy": "steps", "save_steps": 150}
        assert set_by(found) == {key: value for key, value in wanted.items() if key != "save_strategy"} or set_by(found) == wanted
        after = converges(text, "CFG034", dataset_size=1000, world_size=1)
        assert (after.native("load_best_model_at_end"), after.native("save_steps")) == (True, 150)
        assert violations(after, "CFG036") == []

    def test_an_evaluation_only_at_the_end_is_made_one_each_epoch(self) -> None:
        text = f"{HF}do_eval: true\nsave_steps: 500\n"
        after = converges(text, "CFG034")
        assert (after.native("eval_strategy"), after.native("save_strategy"), after.native("load_best_model_at_end")) == (
            "epoch",
            "epoch",
            True,
        )

    def test_in_other_dialects(self) -> None:
        text = f"{LLAMAFACTORY}val_size: 0.1\neval_strategy: steps\neval_steps: 100\nsave_steps: 100\n"
        assert set_by(one(text, "CFG034"))["early_stopping_steps"] == 3
        after = converges(text, "CFG034")
        assert (after.native("early_stopping_steps"), after.native("load_best_model_at_end")) == (3, True)
        text = f"{AXOLOTL}val_set_size: 0.05\nload_best_model_at_end: false\n"
        assert [fix.applicability for fix in one(text, "CFG034").fixes] == ["display"]

    @pytest.mark.parametrize(
        "text",
        [
            HF,
            f"{HF.replace('epochs: 2', 'epochs: 1')}eval_strategy: epoch\n",
            f"{HF}eval_strategy: epoch\nsave_strategy: epoch\nload_best_model_at_end: true\n",
            f"{LLAMAFACTORY}val_size: 0.1\neval_strategy: steps\nearly_stopping_steps: 3\nload_best_model_at_end: true\n",
            f"{AXOLOTL}val_set_size: 0.05\n",
            AUTOMODEL + VALIDATION,
            TORCHTUNE,
        ],
    )
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG034") == []


class TestEarlyStoppingValues:
    def test_it_never_acts_without_an_evaluation(self) -> None:
        found = one(f"{AXOLOTL}early_stopping_patience: 3\n", "CFG035")
        assert (found.severity, found.line) == ("error", 12)
        assert "never acts" in found.message

    def test_a_patience_out_of_range(self) -> None:
        text = f"{AXOLOTL}val_set_size: 0.05\neval_steps: 50\nsave_steps: 50\nmax_steps: 1000\nearly_stopping_patience: 20\n"
        found = one(text, "CFG035")
        assert (found.severity, set_by(found)) == ("info", {"early_stopping_patience": 3})
        assert "A patience of 20 evaluations is outside the 2 to 5" in found.message
        assert converges(text, "CFG035").native("early_stopping_patience") == 3
        assert violations(text.replace("patience: 20", "patience: 4"), "CFG035") == []

    def test_a_patience_of_most_of_the_run(self) -> None:
        text = f"{AXOLOTL}val_set_size: 0.05\neval_steps: 250\nsave_steps: 250\nmax_steps: 1000\nearly_stopping_patience: 3\n"
        assert "up to 75% of the 4 evaluations" in one(text, "CFG035").message

    def test_a_loss_that_should_rise(self) -> None:
        text = f"{HF}eval_strategy: epoch\nmetric_for_best_model: eval_loss\ngreater_is_better: true\n"
        found = one(text, "CFG035")
        assert (found.severity, found.key, found.line, set_by(found)) == ("error", "greater_is_better", 8, {"greater_is_better": False})
        assert found.fixes[0].applicability == "safe"
        assert converges(text, "CFG035").native("greater_is_better") is False
        assert violations(text.replace("eval_loss", "eval_accuracy"), "CFG035") == []
        assert violations(text.replace("better: true", "better: false"), "CFG035") == []

    def test_in_a_script_the_best_model_must_be_loaded(self) -> None:
        text = """\
args = TrainingArguments(output_dir="x", learning_rate=1e-5, num_train_epochs=2, eval_strategy="epoch", save_strategy="epoch")
Trainer(args=args, callbacks=[EarlyStoppingCallback(early_stopping_patience=3)])
"""
        found = violations(text, "CFG035", PYTHON)
        assert [(v.severity, set_by(v)) for v in found if v.severity == "error"] == [("error", {"load_best_model_at_end": True})]

    def test_in_lightning(self) -> None:
        callback = "  callbacks:\n    - class_path: lightning.pytorch.callbacks.EarlyStopping\n      init_args:\n        patience: {}\n"
        text = LIGHTNING.replace("model:\n", callback.format(15) + "model:\n")
        assert set_by(one(text, "CFG035", method="sft")) == {"early_stopping_patience": 3}
        assert converges(text, "CFG035", method="sft").native("trainer.callbacks.0.init_args.patience") == 3
        assert violations(text, "CFG035") == []  # vision, or anything else that trains for hundreds of epochs
        assert violations(LIGHTNING.replace("model:\n", callback.format(3) + "model:\n"), "CFG035") == []


class TestBestModelNeedsMatchingSaves:
    BEST = f"{HF}load_best_model_at_end: true\n"

    @pytest.mark.parametrize(
        ("lines", "new"),
        [
            ("eval_strategy: epoch\nsave_strategy: steps\n", {"save_strategy": "epoch"}),
            ("eval_strategy: epoch\n", {"save_strategy": "epoch"}),
            ("save_strategy: epoch\n", {"eval_strategy": "epoch"}),
            ("save_strategy: 'no'\n", {"eval_strategy": "epoch", "save_strategy": "epoch"}),
            (
                "eval_strategy: steps\neval_steps: 300\nsave_strategy: epoch\nsave_steps: 700\n",
                {"save_strategy": "steps", "save_steps": 600},
            ),
            ("eval_strategy: steps\neval_steps: 100\nsave_steps: 250\n", {"save_steps": 200}),
            ("eval_strategy: steps\neval_steps: 100\nsave_steps: 30\n", {"save_steps": 100}),
            ("eval_strategy: steps\neval_steps: 300\n", {"save_steps": 300}),
            ("eval_strategy: steps\neval_steps: 0.1\nsave_steps: 0.25\n", {"save_steps": 0.2}),
            ("eval_strategy: steps\nlogging_steps: 30\n", {"save_steps": 480}),
        ],
    )
    def test_mismatches(self, lines: str, new: dict[str, Any]) -> None:
        found = one(self.BEST + lines, "CFG036")
        assert (found.severity, set_by(found)) == ("error", new)
        assert {fix.applicability for fix in found.fixes} == {"safe"}
        converges(self.BEST + lines, "CFG036")

    @pytest.mark.parametrize(
        "lines",
        [
            "eval_strategy: epoch\nsave_strategy: epoch\n",
            "eval_strategy: steps\neval_steps: 100\nsave_steps: 500\n",
            "eval_strategy: steps\neval_steps: 0.1\nsave_steps: 0.3\n",
            "eval_strategy: steps\nsave_strategy: best\n",
            "eval_strategy: steps\n",
        ],
    )
    def test_matches(self, lines: str) -> None:
        assert violations(self.BEST + lines, "CFG036") == []
        assert violations(f"{HF}{lines}", "CFG036") == []

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        "lines",
        [
            "eval_strategy: epoch\n",
            "eval_strategy: steps\neval_steps: 100\nsave_steps: 250\n",
            "eval_strategy: steps\neval_steps: 100\nsave_steps: 500\n",
            "eval_strategy: steps\neval_steps: 0.1\nsave_steps: 0.25\n",
            "eval_strategy: steps\neval_steps: 0.1\nsave_steps: 0.3\n",
            "eval_strategy: steps\nlogging_steps: 30\n",
            "eval_strategy: steps\n",
        ],
    )
    @pytest.mark.slow
    def test_the_trainer_agrees(self, lines: str) -> None:
        from transformers import TrainingArguments

        made = plan(self.BEST + lines)
        arguments = {key: value for key, value in made.flat.items() if key not in ("model_name_or_path",)}
        if violations(made, "CFG036"):
            with pytest.raises(ValueError, match="load_best_model_at_end"):
                TrainingArguments(**arguments, use_cpu=True)
        else:
            TrainingArguments(**arguments, use_cpu=True)

    def test_in_other_dialects(self) -> None:
        text = f"{LLAMAFACTORY}val_size: 0.1\neval_strategy: steps\neval_steps: 200\nsave_steps: 500\nload_best_model_at_end: true\n"
        assert set_by(one(text, "CFG036")) == {"save_steps": 400}
        converges(text, "CFG036")
        text = f"{AXOLOTL}val_set_size: 0.05\neval_steps: 20\nsave_steps: 50\nearly_stopping_patience: 3\n"
        assert set_by(one(text, "CFG036")) == {"save_steps": 40}
        converges(text, "CFG036")
        command = "trl sft --model_name_or_path a/b --learning_rate 1e-5 --num_train_epochs 2 --output_dir x --load_best_model_at_end"
        assert set_by(one(f"{command} --eval_strategy epoch\n", "CFG036", SHELL)) == {"save_strategy": "epoch"}
        assert violations(f"{command} --eval_strategy epoch --save_strategy epoch\n", "CFG036", SHELL) == []

    def test_what_a_script_computes_is_not_judged(self) -> None:
        text = (
            "TrainingArguments(output_dir='x', learning_rate=1e-5, load_best_model_at_end=True, eval_strategy='steps', save_steps=every)\n"
        )
        assert violations(text, "CFG036", PYTHON) == []


class TestCheckpointsMissing:
    def test_switched_off(self) -> None:
        found = one(f"{HF}eval_strategy: steps\nsave_strategy: 'no'\n", "CFG037")
        assert (found.severity, found.line, set_by(found)) == ("info", 7, {"save_strategy": "steps"})
        converges(f"{HF}eval_strategy: steps\nsave_strategy: 'no'\n", "CFG037")
        found = one(f"{AUTOMODEL}checkpoint:\n  enabled: false\n", "CFG037")
        assert set_by(found) == {"checkpoint.enabled": True}

    def test_only_the_last(self) -> None:
        text = f"{HF}max_steps: 400\neval_strategy: steps\neval_steps: 40\nsave_steps: 1000\n"
        found = one(text, "CFG037")
        assert (found.line, set_by(found)) == (9, {"save_steps": 40})
        converges(text, "CFG037")
        assert set_by(one(f"{HF}max_steps: 400\nsave_steps: 1000\n", "CFG037")) == {"save_steps": 100}
        text = AUTOMODEL.replace("ckpt_every_steps: 100", "ckpt_every_steps: 5000") + VALIDATION
        assert set_by(one(text, "CFG037")) == {"save_steps": 100}
        assert converges(text, "CFG037").native("step_scheduler.ckpt_every_steps") == 100
        text = f"{LLAMAFACTORY}max_steps: 300\nsave_steps: 500\n"
        assert set_by(one(text, "CFG037")) == {"save_steps": 75}

    @pytest.mark.parametrize(
        "text",
        [
            HF,
            f"{HF}max_steps: 50\nsave_steps: 500\n",
            f"{HF}max_steps: 5000\nsave_steps: 500\n",
            f"{HF}save_strategy: epoch\n",
            AUTOMODEL,
            TORCHTUNE,
        ],
    )
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG037") == []


class TestLoggingTooSparse:
    def test_a_default_of_500_steps(self) -> None:
        found = one(f"{HF}max_steps: 1000\n", "CFG038")
        assert (found.severity, set_by(found)) == ("info", {"logging_steps": 10})
        assert "leaves 2 points" in found.message
        assert converges(f"{HF}max_steps: 1000\n", "CFG038").native("logging_steps") == 10

    def test_in_other_dialects(self) -> None:
        assert set_by(one(f"{LLAMAFACTORY}max_steps: 100\nlogging_steps: 50\n", "CFG038")) == {"logging_steps": 5}
        text = LIGHTNING.replace("max_epochs: 10", "max_steps: 1000\n  log_every_n_steps: 100")
        assert converges(text, "CFG038").native("trainer.log_every_n_steps") == 10
        text = f"{AXOLOTL}max_steps: 1000\nlogging_steps: 200\n"
        assert converges(text, "CFG038").native("logging_steps") == 10

    @pytest.mark.parametrize(
        "text",
        [
            HF,
            f"{HF}max_steps: 1000\nlogging_steps: 10\n",
            f"{HF}max_steps: 100000\n",
            f"{HF}max_steps: 1000\nlogging_steps: 0.01\n",
            f"{HF}max_steps: 1000\ndataset_text_field: text\n",
            AXOLOTL + "max_steps: 1000\n",
        ],
    )
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG038") == []

    def test_a_share_of_the_run(self) -> None:
        assert "10 points" not in [v.message for v in violations(f"{HF}max_steps: 1000\nlogging_steps: 0.1\n", "CFG038")]

    def test_trl_logs_every_ten(self) -> None:
        command = "trl sft --model_name_or_path a/b --learning_rate 1e-5 --max_steps 1000 --output_dir x\n"
        assert violations(command, "CFG038", SHELL) == []


class TestSeedMissing:
    @pytest.mark.parametrize(
        ("text", "key", "line"),
        [
            (TORCHTUNE, "seed", 1),
            (f"{TORCHTUNE}seed: null\n", "seed", 16),
            (LIGHTNING, "seed_everything", 1),
            (f"{LIGHTNING}seed_everything: true\n", "seed_everything", 13),
        ],
    )
    def test_none(self, text: str, key: str, line: int) -> None:
        found = one(text, "CFG039")
        assert (found.severity, found.key, found.line, set_by(found)) == ("info", key, line, {key: 42})
        assert converges(text, "CFG039").native(key) == 42

    def test_one_that_the_recipe_does_not_read(self) -> None:
        text = f"{AUTOMODEL}rng:\n  _target_: nemo_automodel.components.training.rng.StatefulRNG\n  seed: 1111\n  ranked: true\n"
        found = one(text, "CFG039")
        assert (found.key, found.line, set_by(found)) == ("rng.seed", 21, {"seed": 1111})
        assert converges(text, "CFG039").native("seed") == 1111
        assert violations(text.replace("1111", "42"), "CFG039") == []
        assert violations(f"{text}seed: 7\n", "CFG039") == []

    @pytest.mark.parametrize("text", [f"{TORCHTUNE}seed: 1\n", f"{LIGHTNING}seed_everything: 1\n", HF, AXOLOTL, LLAMAFACTORY, AUTOMODEL])
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG039") == []


def test_healthy_configs_are_left_in_peace() -> None:
    """Everyday configs give no error and few warnings."""
    calm = {
        "hf": (f"{HF}eval_strategy: steps\neval_steps: 100\nsave_steps: 100\nload_best_model_at_end: true\n", YAML),
        "llamafactory": (f"{LLAMAFACTORY}val_size: 0.1\neval_strategy: steps\neval_steps: 500\nsave_steps: 500\n", YAML),
        "axolotl": (f"{AXOLOTL}val_set_size: 0.05\nevals_per_epoch: 4\nsaves_per_epoch: 1\n", YAML),
        "automodel": (AUTOMODEL + VALIDATION, YAML),
        "torchtune": (f"{TORCHTUNE}seed: 1\n", YAML),
        "lightning": (f"{LIGHTNING}seed_everything: 1\n", YAML),
        "deepspeed": ('{"train_batch_size": "auto", "zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}}', JSON),
    }
    for dialect, (text, form) in calm.items():
        assert plan(text, form).dialect == dialect
        assert [v.message for v in violations(text, "CFG03", form) if v.severity != "info"] == []


def test_llamafactory_evaluates_only_with_data_for_it() -> None:
    found = one(f"{LLAMAFACTORY}load_best_model_at_end: true\n", "CFG036")
    assert set_by(found) == {"eval_strategy": "steps", "val_size": 0.05}


def test_pretraining_keeps_no_best_checkpoint() -> None:
    scratch = "python run_clm.py --model_type gpt2 --max_steps 10000 --eval_strategy steps --eval_steps 1000 --learning_rate 6e-4\n"
    assert violations(scratch, "CFG034", SHELL) == []
