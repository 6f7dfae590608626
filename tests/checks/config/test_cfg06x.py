"""CFG060 to CFG066 and CFG099: what parsers and frameworks make of the characters."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from linting import plan, violations

from diag.documents import JSON, PYTHON, SHELL, YAML, parse
from diag.fixing import same_document, settled
from diag.lint import Violation
from diag.linting import inspect, lints
from diag.plan import Plan

HF = "model_name_or_path: meta-llama/Llama-2-7b-hf\noutput_dir: out\nnum_train_epochs: 2\nlearning_rate: 1.0e-05\n"
AXOLOTL = (
    "base_model: a/b-7b\nsequence_len: 2048\ndatasets:\n  - path: c/d\n    type: alpaca\nmicro_batch_size: 1\nlearning_rate: 1.0e-05\n"
)
AUTOMODEL = """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
step_scheduler:
  global_batch_size: 64
  local_batch_size: 8
  num_epochs: 2
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: meta-llama/Llama-3.1-8B
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-5
"""
TORCHTUNE = """\
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /tmp/tokenizer.model
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: /tmp/llama
optimizer:
  _component_: torch.optim.AdamW
  lr: 1.0e-5
batch_size: 2
epochs: 1
"""
LITGPT = "checkpoint_dir: models/a\nprecision: bf16-true\nlora_r: 8\ntrain:\n  global_batch_size: 16\n  micro_batch_size: 1\n  epochs: 2\n"
HUB = "osft(model_path='a/b-7b', data_path='d', ckpt_output_dir='o', unfreeze_rank_ratio=0.3, effective_batch_size=128,\n"


def one(text: str, code: str, form: str = YAML, **options: Any) -> Violation:
    found = violations(text, code, form, **options)
    assert len(found) == 1, [violation.message for violation in found]
    return found[0]


def fixed(text: str, code: str, form: str = YAML, **options: Any) -> str:
    """The text after everything is settled: the rule is silent, and a second call changes nothing."""
    before = plan(text, form, **options)
    assert violations(before, code)
    result, _ = settled(before, level="info")
    document = before.document
    after = Plan(same_document(parse(result, name=document.path, form=form), document), before.dialect, before.options, before.data)
    assert settled(after, level="info")[0] == result
    assert violations(after, code) == []
    return result


class TestNumberReadAsText:
    @pytest.mark.parametrize("text", ["5e-6", "5E-6", "1e5", "+5e-6", "5.e6", ".5e-6", "1_0e-6"])
    def test_agrees_with_the_parser(self, text: str) -> None:
        """The rule speaks exactly where PyYAML reads text."""
        is_text = isinstance(yaml.safe_load(f"x: {text}")["x"], str)
        assert bool(violations(HF.replace("1.0e-05", text), "CFG060")) is is_text

    @pytest.mark.parametrize("text", ["0.000005", "5.0e-6", "5.0e-06", "5.0E+3", "1.", "1", ".5", ".5e-6", "1_000", "0x10", "1.5"])
    def test_silent_where_it_reads_a_number(self, text: str) -> None:
        assert not isinstance(yaml.safe_load(f"x: {text}")["x"], str)
        assert violations(HF.replace("1.0e-05", text), "CFG060") == []

    def test_it_is_written_so_that_every_parser_reads_a_number(self) -> None:
        text = HF.replace("1.0e-05", "5e-6  # small")
        found = one(text, "CFG060")
        assert (found.severity, found.key, found.line) == ("error", "learning_rate", 4)
        assert "read 5e-6 as text: write 5.0e-06." in found.message
        assert [(fix.action, fix.new, fix.applicability) for fix in found.fixes] == [("rewrite", 5e-6, "safe")]
        result = fixed(text, "CFG060")
        assert "learning_rate: 5.0e-06  # small\n" in result
        assert yaml.safe_load(result)["learning_rate"] == 5e-6

    def test_numbers_in_quotes(self) -> None:
        text = f'{HF}weight_decay: "0.01"\nrun_name: "5e-6"\n'
        assert one(text, "CFG060").line == 5
        assert yaml.safe_load(fixed(text, "CFG060"))["weight_decay"] == 0.01
        assert yaml.safe_load(fixed(text, "CFG060"))["run_name"] == "5e-6"

    @pytest.mark.parametrize(
        "text", [text.replace("1.0e-05", "5e-6").replace("1.0e-5", "5e-6") for text in (AXOLOTL, AUTOMODEL, TORCHTUNE)]
    )
    def test_loaders_that_translate_are_not_bothered(self, text: str) -> None:
        assert violations(text, "CFG060") == []

    def test_nor_are_other_forms(self) -> None:
        assert violations('{"model_name_or_path": "a/b", "output_dir": "o", "learning_rate": 5e-6}', "CFG060", JSON) == []
        assert violations(f"{HUB} learning_rate='5e-6')\n", "CFG060", PYTHON) == []  # its settings turn text into numbers
        assert violations("trl sft --model_name_or_path a/b --learning_rate 5e-6 --output_dir o\n", "CFG060", SHELL) == []
        assert violations(f"{HUB} learning_rate=5e-6)\n", "CFG060", PYTHON) == []

    @pytest.mark.parametrize(
        ("text", "form"),
        [
            ('{"model_name_or_path": "a/b", "output_dir": "o",\n "num_train_epochs": 2,\n "learning_rate": "5e-6"}', JSON),
            ("TrainingArguments(output_dir='o',\n  num_train_epochs=2,\n  learning_rate='5e-6')\n", PYTHON),
        ],
    )
    def test_numbers_in_quotes_in_other_forms(self, text: str, form: str) -> None:
        found = one(text, "CFG060", form)
        assert (found.severity, found.line, found.fixes[0].new, found.fixes[0].applicability) == ("error", 3, 5e-6, "safe")
        fixed(text, "CFG060", form)


class TestUnknownKey:
    @pytest.mark.parametrize(
        ("text", "key", "line", "to"),
        [
            (HF.replace("learning_rate", "leraning_rate"), "leraning_rate", 4, "learning_rate"),
            (f"{HF}per_device_train_batchsize: 4\n", "per_device_train_batchsize", 5, "per_device_train_batch_size"),
            (AXOLOTL.replace("micro_batch_size", "micro_batchsize"), "micro_batchsize", 6, "micro_batch_size"),
            (AUTOMODEL.replace("num_epochs", "num_epoch"), "step_scheduler.num_epoch", 5, "num_epochs"),
            (LITGPT.replace("global_batch_size", "global_batchsize"), "train.global_batchsize", 5, "global_batch_size"),
        ],
    )
    def test_a_misspelling_is_renamed(self, text: str, key: str, line: int, to: str) -> None:
        found = one(text, "CFG061", dialect=plan(text).dialect)
        assert (found.severity, found.key, found.line) == ("error", key, line)
        assert "; did you mean" in found.message
        assert [(fix.action, fix.new) for fix in found.fixes] == [("rename", to)]
        result = fixed(text, "CFG061", dialect=plan(text).dialect)
        assert len(result.splitlines()) >= len(text.splitlines())
        assert to in result

    def test_not_where_the_right_key_stands_too(self) -> None:
        found = one(f"{HF}leraning_rate: 1.0e-04\n", "CFG061")
        assert found.fixes == ()
        assert "did you mean learning_rate?" in found.message

    @pytest.mark.parametrize("key", ["model_id", "max_seq_len", "dataset_path", "dataset"])
    def test_arguments_of_the_scripts_own_are_no_misspellings(self, key: str) -> None:
        """Files that a script of one's own reads hold its arguments beside the trainer's."""
        assert [(v.severity, v.fixes) for v in violations(f"{HF}{key}: x\n", "CFG061")] in ([], [("info", ())])
        command = f"python finetune.py --model_name_or_path a/b --learning_rate 1e-5 --output_dir o --{key} x\n"
        assert violations(command, "CFG061", SHELL) == []

    def test_a_misspelling_in_a_command(self) -> None:
        for script, severity, applicability in (("run_glue.py", "error", "safe"), ("finetune.py", "warning", "unsafe")):
            text = f"python {script} --model_name_or_path a/b --lerning_rate 1e-5 --num_train_epochs 2 --output_dir o\n"
            found = one(text, "CFG061", SHELL, dialect="hf")
            assert (found.severity, found.fixes[0].new, found.fixes[0].applicability) == (severity, "learning_rate", applicability)

    def test_a_misspelling_in_an_open_section(self) -> None:
        model = "model:\n  _component_: torchtune.models.llama3_1.lora_llama3_1_8b\n  lora_rnk: 8\n  lora_alpha: 16\n  my_option: 1\n"
        found = one(model + TORCHTUNE, "CFG061")
        assert (found.severity, found.key, found.line, found.fixes[0].new) == ("warning", "model.lora_rnk", 3, "lora_rank")
        assert violations(model.replace("rnk", "rank") + TORCHTUNE, "CFG061") == []

    def test_an_empty_key_that_is_ignored_anyway(self) -> None:
        assert violations(f"{AXOLOTL}frobnicate:\n", "CFG061") == []

    def test_keys_of_unsloth(self) -> None:
        text = (
            "FastLanguageModel.get_peft_model(model, r=16, lora_alpha=16, use_gradient_checkpointing='unsloth', random_state=3407)\n"
            "args = SFTConfig(output_dir='o', learning_rate=2e-4, max_steps=60)\n"
        )
        assert violations(text, "CFG061", PYTHON) == []

    def test_a_key_like_no_other(self) -> None:
        found = one("trl sft --model_name_or_path a/b --learning_rate 1e-5 --output_dir o --frobnicate 1\n", "CFG061", SHELL)
        assert (found.severity, found.fixes) == ("error", ())
        assert found.message.endswith("does not document frobnicate and fails on it.")
        assert one(f"{HF}frobnicate: 1\n", "CFG061").severity == "info"  # a script may share the file
        assert one(f"{AXOLOTL}frobnicate: 1\n", "CFG061").severity == "warning"  # it is ignored there

    @pytest.mark.parametrize(
        ("text", "form"),
        [
            (HF, YAML),
            (f"{HF}seed: 1\nneftune_noise_alpha: 5\ntorch_compile: true\nreport_to: none\n", YAML),
            (AXOLOTL, YAML),
            (f"{AUTOMODEL}dataset:\n  _target_: my.dataset\n  frobnicate: 1\n", YAML),
            (AUTOMODEL, YAML),
            (TORCHTUNE, YAML),
            (LITGPT, YAML),
            ("python my_train.py --output_dir o --learning_rate 1e-5 --num_train_epochs 2 --frobnicate 1\n", SHELL),
            (f"{HUB} learning_rate=5e-6)\n", PYTHON),
        ],
    )
    def test_silent(self, text: str, form: str) -> None:
        assert violations(text, "CFG061", form) == []

    def test_a_key_with_another_number_is_another_key(self) -> None:
        for key in ("adam_beta3", "dataset_7"):
            assert all("did you mean" not in v.message for v in violations(f"{HF}{key}: 1\n", "CFG061"))


class TestInvalidValue:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("bf16: perhaps", "it takes true or false"),
            ("num_train_epochs: three", "it takes a number"),
            ("seed: 1.5", "it takes a whole number"),
            ("lr_scheduler_type: cosin", "did you mean 'cosine'?"),
            ("eval_strategy: epochs", "did you mean 'epoch'?"),
            ("learning_rate: -1.0e-05", "a learning rate cannot be negative"),
            ("weight_decay: -0.1", "a weight decay cannot be negative"),
            ("weight_decay: .inf", "it takes a finite number"),
            ("max_grad_norm: .nan", "it takes a finite number"),
            ("warmup_ratio: 10", "it is a share and lies between 0 and 1"),
            ("lora_dropout: 1.5", "it is a share and lies between 0 and 1"),
            ("output_dir: [a, b]", "it takes text"),
        ],
    )
    def test_of_the_trainer(self, line: str, words: str) -> None:
        key = line.partition(":")[0]
        text = "".join(f"{kept}\n" for kept in HF.splitlines() if not kept.startswith(f"{key}:")) + f"{line}\n"
        found = one(text, "CFG062", dialect="hf")
        assert (found.severity, found.key) == ("error", key)
        assert words in found.message

    @pytest.mark.parametrize(
        "line",
        [
            "bf16: true", "bf16: yes", "seed: 1", "weight_decay: 0", "eval_steps: 0.1", "lr_scheduler_type: cosine", "optim: null",
            "deepspeed: none", "save_total_limit: null", "warmup_steps: 0", "eval_strategy: EPOCH", "report_to: [wandb, tensorboard]",
            "report_to: wandb", "max_grad_norm: .inf",
        ],
    )  # fmt: skip
    def test_silent(self, line: str) -> None:
        assert violations(f"{HF}{line}\n", "CFG062") == []

    @pytest.mark.parametrize(
        ("text", "form", "key"),
        [
            (f"{AXOLOTL}sample_packing: maybe\n", YAML, "sample_packing"),
            (f"{AXOLOTL}lora_r: 16.5\n", YAML, "lora_r"),
            (AUTOMODEL.replace("local_batch_size: 8", "local_batch_size: eight"), YAML, "step_scheduler.local_batch_size"),
            (TORCHTUNE.replace("batch_size: 2", "batch_size: two"), YAML, "batch_size"),
            ('{"train_batch_size": 64, "zero_optimization": {"stage": "two"}}', JSON, "zero_optimization.stage"),
            ("trl sft --model_name_or_path a/b --learning_rate fast --output_dir o\n", SHELL, "learning_rate"),
            (f"{HUB} learning_rate=1e-5, num_epochs='two')\n", PYTHON, "num_epochs"),
        ],
    )
    def test_in_other_dialects(self, text: str, form: str, key: str) -> None:
        assert one(text, "CFG062", form).key == key

    @pytest.mark.parametrize(
        ("text", "form"),
        [
            ('{"train_batch_size": "auto", "zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}}', JSON),
            (
                "trl sft --model_name_or_path a/b --learning_rate 1e-5 --bf16 true --lora_target_modules q_proj v_proj\n",
                SHELL,
            ),
            (f"{HUB} learning_rate=rate, num_epochs=epochs())\n", PYTHON),
        ],
    )
    def test_what_is_open_or_computed(self, text: str, form: str) -> None:
        assert violations(text, "CFG062", form) == []


class TestRenamedKey:
    @pytest.mark.parametrize(
        ("line", "new", "severity"),
        [
            ("evaluation_strategy: epoch", "eval_strategy: epoch", "warning"),
            ("warmup_ratio: 0.03", "warmup_steps: 0.03", "info"),  # version 4 takes no share there
        ],
    )
    def test_of_the_trainer(self, line: str, new: str, severity: str) -> None:
        found = one(f"{HF}{line}  # kept\n", "CFG063")
        assert (found.severity, found.line) == (severity, 5)
        assert f"does not know {line.partition(':')[0]}: it is {new.partition(':')[0]}" in found.message
        assert f"{new}  # kept\n" in fixed(f"{HF}{line}  # kept\n", "CFG063")

    def test_one_without_a_successor_is_removed(self) -> None:
        text = f"{HF}half_precision_backend: auto\nseed: 1\n"
        found = one(text, "CFG063")
        assert [fix.action for fix in found.fixes] == ["remove"]
        assert "half_precision_backend" not in fixed(text, "CFG063")

    def test_in_other_dialects(self) -> None:
        found = violations(f"{LITGPT}  learning_rate: 1.0e-5\n", "CFG063")
        assert [(v.key, v.severity) for v in found] == [("train.learning_rate", "warning")]
        assert violations(
            "trl sft --model_name_or_path a/b --evaluation_strategy epoch --output_dir o --learning_rate 1e-5\n", "CFG063", SHELL
        )
        text = "TrainingArguments(output_dir='x', learning_rate=1e-5,\n  evaluation_strategy='epoch')\n"
        assert one(text, "CFG063", PYTHON).line == 2
        assert "  eval_strategy='epoch')" in fixed(text, "CFG063", PYTHON)

    @pytest.mark.parametrize("text", [HF, AXOLOTL, AUTOMODEL, TORCHTUNE, LITGPT, f"{HF}eval_strategy: epoch\n"])
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG063") == []


class TestIgnoredKey:
    def test_an_interval_of_another_strategy(self) -> None:
        text = f"{HF}eval_strategy: epoch\neval_steps: 50\nsave_strategy: epoch\n"
        found = one(text, "CFG064")
        assert (found.severity, found.line, found.message) == ("info", 6, "eval_steps (50) has no effect with eval_strategy epoch.")
        assert "eval_steps" not in fixed(text, "CFG064")
        assert violations(text.replace("eval_strategy: epoch", "eval_strategy: steps"), "CFG064") == []

    def test_an_argument_of_another_function(self) -> None:
        found = violations(f"{HUB} learning_rate=5e-6,\n lora_r=8)\n", "CFG064", PYTHON)
        assert [(v.key, v.line, v.severity) for v in found] == [("lora_r", 3, "error")]
        assert "osft of Training Hub drops lora_r, which belongs to" in found[0].message
        assert violations(f"{HUB} learning_rate=5e-6)\n", "CFG064", PYTHON) == []

    def test_a_rate_that_the_optimizer_chooses_itself(self) -> None:
        base = "task: detect\nmode: train\nmodel: yolo11n.pt\ndata: coco8.yaml\nepochs: 100\nimgsz: 640\nlr0: 0.005\n"
        assert one(f"{base}optimizer: auto\n", "CFG064").key == "lr0"
        assert violations(f"{base}optimizer: AdamW\n", "CFG064") == []
        assert violations(f"{base}optimizer: auto\n".replace("0.005", "0.01"), "CFG064") == []  # a dump of the defaults

    def test_a_class_of_trl(self) -> None:
        text = "SFTConfig(output_dir='x', learning_rate=1e-5, num_train_epochs=2,\n  num_generations=8)\n"
        assert one(text, "CFG064", PYTHON).severity == "error"
        assert "num_generations" not in fixed(text, "CFG064", PYTHON)
        assert violations(text.replace("SFTConfig", "GRPOConfig"), "CFG064", PYTHON) == []

    @pytest.mark.parametrize("text", [HF, AXOLOTL, AUTOMODEL, TORCHTUNE, LITGPT])
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG064") == []


class TestRepeatedKey:
    @pytest.mark.parametrize(
        ("text", "form", "line"),
        [
            (f"{HF}learning_rate: 2.0e-05\n", YAML, 5),
            ('{"model_name_or_path": "a/b", "output_dir": "o", "learning_rate": 1e-5,\n "learning_rate": 2e-5}', JSON, 2),
            ("trl sft --model_name_or_path a/b --output_dir o --learning_rate 1e-5 \\\n  --learning_rate 2e-5\n", SHELL, 2),
        ],
    )
    def test_the_last_one_counts(self, text: str, form: str, line: int) -> None:
        found = one(text, "CFG065", form)
        assert (found.severity, found.key, found.line) == ("error", "learning_rate", line)
        assert f"2e-5, counts (line {line})" in found.message

    def test_in_a_section(self) -> None:
        assert one(f"{AUTOMODEL}  lr: 2.0e-5\n", "CFG065").key == "optimizer.lr"

    @pytest.mark.parametrize("text", [HF, AXOLOTL, AUTOMODEL, TORCHTUNE])
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG065") == []


class TestWordReadAsBoolean:
    def test_no(self) -> None:
        text = f"{HF}eval_strategy: no  # never\n"
        found = one(text, "CFG066")
        assert (found.severity, found.key, found.line) == ("error", "eval_strategy", 5)
        assert found.fixes[0].applicability == "safe"
        assert yaml.safe_load(settled(plan(text), level="error")[0])["eval_strategy"] in ("no", "steps")
        fixed(text, "CFG066")

    @pytest.mark.parametrize("line", ['eval_strategy: "no"', "eval_strategy: epoch", "bf16: yes", "bf16: off", "report_to: none"])
    def test_silent(self, line: str) -> None:
        assert violations(f"{HF}{line}\n", "CFG066") == []

    def test_other_loaders_are_not_bothered(self) -> None:
        assert violations(f"{AXOLOTL}eval_strategy: no\n", "CFG066") == []
        assert violations("TrainingArguments(output_dir='x', learning_rate=1e-5, eval_strategy='no')\n", "CFG066", PYTHON) == []


class TestUnusedIgnore:
    def test_it_names_the_comment(self) -> None:
        made = plan(f"{HF}seed: 1  # diag: ignore[CFG060] once\n")
        (found,) = (v for v in inspect(made, lints()).violations if v.code == "CFG099")
        assert (found.severity, found.line, found.message) == ("info", 5, "The comment ignore[CFG060] silences nothing.")
        assert (found.name, found.rules) == ("unused-ignore", ())

    @pytest.mark.parametrize("text", [HF, HF.replace("1.0e-05", "5e-6  # diag: ignore[CFG060]"), f"# ignore this\n{HF}"])
    def test_silent(self, text: str) -> None:
        assert violations(text, "CFG099") == []


def test_values_that_the_libraries_take() -> None:
    """Quoted booleans of FSDP are turned into booleans, and adapter files hold alpha as a float."""
    fsdp = f'{HF}fsdp: full_shard\nfsdp_config:\n  forward_prefetch: "false"\n  use_orig_params: "false"\n'
    assert violations(fsdp, "CFG062") == []
    adapter = '{"peft_type": "LORA", "r": 64, "lora_alpha": 16.0, "target_modules": "q", "enable_lora": null, "merge_weights": false}'
    assert violations(adapter, "CFG062", JSON) == []
    assert violations(adapter, "CFG061", JSON) == []
    assert [(v.key, v.severity) for v in violations(adapter, "CFG063", JSON)] == [("merge_weights", "info")]
