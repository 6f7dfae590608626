"""Every sample config: read, recognized, linted and fixed without a slip.

The samples are realistic configs of every dialect, some of them full of mistakes. None holds a key that its framework does not document.
"""

from __future__ import annotations

import io
import json
import shutil
import tokenize
from pathlib import Path

import jsonschema
import pytest

import diag
from diag.documents import JSON, PYTHON, parse
from diag.fixing import same_document, settled
from diag.linting import LintReport, inspect, lint, lints, plans
from diag.plan import Plan

FOLDER = Path(__file__).parent / "data" / "configs"
SAMPLES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
EVERYDAY = {
    "bert.sh": "python run_glue.py --model_name_or_path google-bert/bert-base-cased --do_train --do_eval --max_seq_length 128 "
    "--per_device_train_batch_size 32 --learning_rate 2e-5 --num_train_epochs 3 --output_dir out\n",
    "gpt2.sh": "torchrun --nproc_per_node 8 run_clm.py --model_name_or_path openai-community/gpt2 --per_device_train_batch_size 8 "
    "--do_train --do_eval --output_dir out\n",
    "sft.sh": "trl sft --model_name_or_path Qwen/Qwen2-0.5B --dataset_name trl-lib/Capybara --learning_rate 2.0e-5 --num_train_epochs 1 "
    "--packing --per_device_train_batch_size 2 --gradient_accumulation_steps 8 --eval_strategy steps --eval_steps 100 --output_dir out\n",
    "dpo.sh": "trl dpo --model_name_or_path Qwen/Qwen2-0.5B-Instruct --learning_rate 5.0e-7 --num_train_epochs 1 "
    "--per_device_train_batch_size 2 --gradient_accumulation_steps 8 --eval_strategy steps --eval_steps 50 --output_dir out\n",
    "grpo.sh": "trl grpo --model_name_or_path Qwen/Qwen2.5-7B --learning_rate 1e-6 --num_generations 8 --use_vllm --output_dir out\n",
    "trainer.py": "TrainingArguments(output_dir='out', learning_rate=2e-5, per_device_train_batch_size=16, num_train_epochs=2, "
    "weight_decay=0.01, eval_strategy='epoch', save_strategy='epoch', load_best_model_at_end=True)\n",
    "handbook.yaml": "model_name_or_path: mistralai/Mistral-7B-v0.1\nbf16: true\neval_strategy: epoch\nlearning_rate: 2.0e-05\n"
    "lr_scheduler_type: cosine\nmax_length: 2048\nnum_train_epochs: 1\noutput_dir: out\nper_device_train_batch_size: 16\n"
    "save_strategy: steps\nsave_steps: 100\nsave_total_limit: 1\nseed: 42\nwarmup_steps: 0.1\n",
    "axolotl.yml": "base_model: NousResearch/Llama-3.2-1B\ndatasets:\n  - path: teknium/GPT4-LLM-Cleaned\n    type: alpaca\n"
    "val_set_size: 0.1\noutput_dir: out\nadapter: lora\nsequence_len: 2048\nsample_packing: true\nlora_r: 16\nlora_alpha: 32\n"
    "lora_dropout: 0.05\nlora_target_linear: true\ngradient_accumulation_steps: 2\nmicro_batch_size: 2\nnum_epochs: 1\n"
    "optimizer: adamw_8bit\nlr_scheduler: cosine\nlearning_rate: 0.0002\nbf16: auto\nlogging_steps: 1\nwarmup_ratio: 0.1\n"
    "evals_per_epoch: 4\nsaves_per_epoch: 1\nweight_decay: 0.0\n",
    "llamafactory.yaml": "model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct\nstage: sft\ndo_train: true\nfinetuning_type: lora\n"
    "lora_rank: 8\nlora_target: all\ndataset: identity\ntemplate: llama3\ncutoff_len: 2048\noutput_dir: out\nlogging_steps: 10\n"
    "save_steps: 500\nper_device_train_batch_size: 1\ngradient_accumulation_steps: 8\nlearning_rate: 1.0e-4\nnum_train_epochs: 3.0\n"
    "lr_scheduler_type: cosine\nwarmup_ratio: 0.1\nbf16: true\n",
    "torchtune.yaml": "model:\n  _component_: torchtune.models.llama3_1.lora_llama3_1_8b\n"
    "  lora_attn_modules: [q_proj, v_proj, output_proj]\n"
    "  apply_lora_to_mlp: true\n  lora_rank: 8\n  lora_alpha: 16\n  lora_dropout: 0.0\nbatch_size: 2\nepochs: 1\nseed: null\n"
    "optimizer:\n  _component_: torch.optim.AdamW\n  lr: 3e-4\n  weight_decay: 0.01\nlr_scheduler:\n  num_warmup_steps: 100\n"
    "gradient_accumulation_steps: 8\nclip_grad_norm: null\ndtype: bf16\n",
    "litgpt.yaml": "checkpoint_dir: checkpoints/meta-llama/Llama-2-7b-hf\nprecision: bf16-true\nquantize: bnb.nf4\nlora_r: 32\n"
    "lora_alpha: 16\nlora_dropout: 0.05\ntrain:\n  save_interval: 200\n  log_interval: 1\n  global_batch_size: 8\n"
    "  micro_batch_size: 2\n  lr_warmup_steps: 10\n  epochs: 2\n  max_seq_length: 512\n  min_lr: 6.0e-05\neval:\n  interval: 100\n"
    "optimizer:\n  class_path: torch.optim.AdamW\n  init_args:\n    lr: 0.0002\n    weight_decay: 0.0\n",
    "lightning.yaml": "seed_everything: 42\ntrainer:\n  accelerator: gpu\n  precision: bf16-mixed\n  max_epochs: 100\n"
    "  gradient_clip_val: 1.0\n  log_every_n_steps: 50\nmodel:\n  class_path: my.Model\n  init_args:\n    learning_rate: 0.001\n"
    "data:\n  class_path: my.Data\n  init_args:\n    batch_size: 64\n",
    "nemo.yaml": "recipe: TrainFinetuneRecipeForNextTokenPrediction\nstep_scheduler:\n  global_batch_size: 64\n  local_batch_size: 8\n"
    "  ckpt_every_steps: 1000\n  val_every_steps: 10\n  num_epochs: 1\nmodel:\n"
    "  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained\n  pretrained_model_name_or_path: meta-llama/Llama-3.2-1B\n"
    "dataset:\n  dataset_name: rajpurkar/squad\n  split: train\nvalidation_dataset:\n  dataset_name: rajpurkar/squad\n"
    "  split: validation\noptimizer:\n  _target_: torch.optim.Adam\n  lr: 1.0e-5\n  weight_decay: 0\n",
    "deepspeed.json": '{"train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto", '
    '"gradient_clipping": "auto", "bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3, "overlap_comm": true}}',
}
"""What everybody writes, close to the libraries' own first examples, by file name."""

SCHEMA = json.loads((Path(diag.__file__).parent / "report" / "lint_schema.json").read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


@pytest.fixture(scope="module")
def report() -> LintReport:
    """All of them in one go."""
    return lint(SAMPLES)


def again(plan: Plan, text: str) -> Plan:
    """The plan after its file holds ``text``."""
    document = plan.document
    new = same_document(parse(text, name=document.path, form=document.form, encoding=document.encoding), document)
    return Plan(new, plan.dialect, plan.options, plan.data, plan.inherited)


def comments(text: str, form: str) -> list[str]:
    """The comments of a config."""
    if form == JSON:
        return []
    if form == PYTHON:
        return [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT]
    return [line.strip() for line in text.splitlines() if line.strip().startswith("#")]


def test_there_are_ten_or_more_of_every_framework_of_the_guides() -> None:
    counts = {folder.name: len(list(folder.iterdir())) for folder in FOLDER.iterdir()}
    wanted = {"hf", "peft", "automodel", "training_hub", "axolotl", "llamafactory", "torchtune", "deepspeed", "lightning", "litgpt"}
    assert {dialect: counts.get(dialect, 0) for dialect in wanted if counts.get(dialect, 0) < 10} == {}


@pytest.mark.parametrize("path", SAMPLES, ids=name)
def test_it_is_recognized_and_every_key_is_known(path: Path) -> None:
    found = plans(path, path.name)
    assert found, "no training config was recognized"
    for plan in found:
        problems: list[object] = []
        report = inspect(plan, lints(), problems)  # type: ignore[arg-type]
        assert plan.dialect == path.relative_to(FOLDER).parts[0]
        assert problems == []
        assert [v.message for v in report.violations if v.code == "CFG061"] == []
        assert all(v.line <= plan.document.text.count("\n") + 1 for v in report.violations)


@pytest.mark.parametrize("level", ["warning", "info"])
@pytest.mark.parametrize("path", SAMPLES, ids=name)
def test_its_findings_are_settled_once_and_for_all(path: Path, level: str) -> None:
    for plan in plans(path, path.name):
        text, _ = settled(plan, level=level)
        new = again(plan, text)
        assert settled(new, level=level)[0] == text
        left = {c for c in comments(plan.document.text, plan.document.form) if c not in comments(text, plan.document.form)}
        assert left == set(), "comments are lost"
        problems: list[object] = []
        after = inspect(new, lints(), problems)  # type: ignore[arg-type]
        before = {(v.code, v.key) for v in inspect(plan, lints()).violations}
        assert problems == []
        assert [v.message for v in after.violations if v.severity == "error" and (v.code, v.key) not in before] == []


def test_the_report_of_all_keeps_the_schema(report: LintReport) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["problems"] == []
    assert document["unrecognized"] == []
    assert document["summary"]["configs"] == len(report.configs) >= len(SAMPLES)


def test_every_finding_speaks_in_a_sentence(report: LintReport) -> None:
    messages = {v.message for entry in report.configs for v in entry.violations}
    reasons = {fix.reason for entry in report.configs for v in entry.violations for fix in v.fixes}
    assert [m for m in messages | reasons if not m.endswith((".", "?", "!")) or "\n" in m or "  " in m] == []


def test_a_folder_finds_what_the_names_find(report: LintReport, tmp_path: Path) -> None:
    """Files of a folder count only where the dialect is sure, which it is for nearly all; nothing is recognized differently."""
    folder = tmp_path / "configs"
    shutil.copytree(FOLDER, folder)
    found = {Path(e.plan.document.path).relative_to(folder).as_posix(): e.plan.dialect for e in lint([folder]).configs}
    named = {Path(e.plan.document.path).relative_to(FOLDER).as_posix(): e.plan.dialect for e in report.configs}
    assert found.items() <= named.items()
    assert len(found) >= 0.9 * len(named)


@pytest.mark.parametrize("file", EVERYDAY)
def test_what_everybody_writes_gives_no_error_and_hardly_a_warning(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(EVERYDAY[file], encoding="utf-8")
    (entry,) = lint([path]).configs
    found = [f"{v.severity} {v.code} {v.message}" for v in entry.violations if v.severity != "info"]
    assert [line for line in found if line.startswith("error")] == []
    assert len(found) <= 1, found
