"""Configs in another framework's words: recognized there, valid there, and the same training but for what is listed."""

from __future__ import annotations

import ast
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.configs import same_value
from diag.converting import CONVERTED, DECAYS, DEFAULT, FORMS, MISSING, UNRECOGNIZABLE, USUAL_FORMAT, Conversion, convert
from diag.dialects import recognition
from diag.dialects.draft import nest, yaml_lines
from diag.dialects.table import documented, habits
from diag.documents import SHELL, Document, parse, read
from diag.errors import NothingToJudgeError, UsageError
from diag.linting import inspect, lints, plan_of
from diag.plan import Options, Plan

CONFIGS = Path(__file__).parent / "data" / "configs"

KEY_RULES = ("CFG060", "CFG061", "CFG062")
"""A number read as text, an unknown key, a value that the key does not take."""

SIZES = ("global_batch_size", "micro_batch_size", "gradient_accumulation_steps")

HF = """\
model_name_or_path: meta-llama/Llama-3.1-8B
output_dir: runs/a
learning_rate: 2.0e-4
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
num_train_epochs: 2
warmup_ratio: 0.03
lr_scheduler_type: cosine
use_peft: true
lora_r: 16
lora_alpha: 32
lora_target_modules: [q_proj, v_proj]
load_in_4bit: true
bf16: true
gradient_checkpointing: true
eval_strategy: steps
eval_steps: 50
"""


@cache
def samples(dialect: str) -> tuple[Plan, ...]:
    """The sample configs of a dialect."""
    files = sorted(path for path in (CONFIGS / dialect).rglob("*") if path.is_file())
    found = (plan_of(document, Options(), path.parent) for path in files for document in read(path))
    return tuple(plan for plan in found if plan is not None)


def document_of(conversion: Conversion) -> Document:
    form = FORMS[USUAL_FORMAT.get(conversion.dialect, "yaml")]
    return parse(conversion.text(), name="converted", form=form)[0]


@cache
def conversions(dialect: str) -> tuple[tuple[Plan, Conversion, Document], ...]:
    """Every sample of a dialect in the words of every other, and as it is read again."""
    made = []
    for plan in samples(dialect):
        for to in recognition.DIALECTS:
            try:
                conversion = convert(plan, to)
            except NothingToJudgeError:
                assert not plan.is_whole or to == "peft", f"{plan.document.path} says something that {to} has keys for"
            else:
                made.append((plan, conversion, document_of(conversion)))
    return tuple(made)


def converted(text: str, to: str, **options: Any) -> Conversion:
    plan = plan_of(parse(text, name="train.yaml", form="yaml")[0], Options(**options))
    assert plan is not None
    return convert(plan, to)


def value(conversion: Conversion, key: str) -> Any:
    found: Any = conversion.config
    for part in key.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("dialect", recognition.DIALECTS)
def test_converted_configs_are_valid_where_they_are_to_be_used(dialect: str) -> None:
    rules = [rule for rule in lints() if rule.code in KEY_RULES]
    for plan, conversion, document in conversions(dialect):
        short = any(remark.name == UNRECOGNIZABLE for remark in conversion.remarks)
        found = recognition.detect(document.flat(), document.entry, document.containers)
        assert short or found == conversion.dialect, (plan.document.path, conversion.dialect, found)
        assert not (short and plan.is_whole), (plan.document.path, conversion.dialect)
        made = plan_of(document, Options(dialect=conversion.dialect))
        assert made is not None
        wrong = [(violation.code, violation.message) for violation in inspect(made, rules).violations]
        assert not wrong, (plan.document.path, conversion.dialect, wrong)


@pytest.mark.parametrize("dialect", recognition.DIALECTS)
def test_converted_configs_say_the_same_but_for_what_is_listed(dialect: str) -> None:
    for plan, conversion, document in conversions(dialect):
        world = None if plan.world_size is None else round(plan.world_size)
        again = Plan(document, conversion.dialect, Options(world_size=world))
        listed = {remark.name for remark in conversion.remarks if remark.kind != DEFAULT}
        for name, entry in plan.hyperparameters.items():
            if entry.kind != "file" or name in listed or name in ("method", "model_parameters", "dataset_size", "world_size"):
                continue
            if name in SIZES:
                assert listed & {*SIZES} or plan.global_batch == again.global_batch, (plan.document.path, conversion.dialect, name)
                continue
            if name == "lora_target_modules" and "torchtune" in (dialect, conversion.dialect):
                continue  # said by three keys there, which have a test of their own
            found = again.value(name) if again.value(name) is not None else habits(conversion.dialect, conversion.scope).get(name)
            assert same(name, entry.value, found), (plan.document.path, conversion.dialect, name, again.value(name))


def same(name: str, first: Any, second: Any) -> bool:
    if name == "lr_scheduler":
        return bool(DECAYS.get(first, first) == DECAYS.get(second, second)) or second is None
    if second is None:  # what is off needs no key
        return not first or name in ("optimizer", "lr_scheduler", "precision")
    if isinstance(first, float) and isinstance(second, (int, float)):
        return math.isclose(first, second, rel_tol=1e-9)
    if name == "lora_target_modules":
        first, second = ([item] if isinstance(item, str) else item for item in (first, second))
    return same_value(name, first, second)


@pytest.mark.parametrize("dialect", recognition.DIALECTS)
def test_there_and_back_and_there_again(dialect: str) -> None:
    """A second round through the dialect's own words changes nothing."""
    for plan in samples(dialect):
        try:
            once = convert(plan, dialect)
        except NothingToJudgeError:
            continue
        made = plan_of(document_of(once), Options(dialect=dialect))
        assert made is not None
        twice = convert(made, dialect)
        if plan.document.form != SHELL:
            assert document_of(twice).flat() == document_of(once).flat(), plan.document.path
        for name, entry in plan.hyperparameters.items():
            if entry.kind == "file" and name in made.hyperparameters and name not in {remark.name for remark in once.remarks}:
                assert same(name, entry.value, made.value(name)), (plan.document.path, name)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert converted(HF, "automodel").text() == converted(HF, "automodel").text()


def test_batch_and_warmup_are_worked_out_where_data_and_processes_are_known() -> None:
    found = converted(HF, "automodel", dataset_size=12_800, world_size=2)
    assert value(found, "step_scheduler.global_batch_size") == 64, "4 x 8 x 2"
    assert value(found, "step_scheduler.local_batch_size") == 4
    assert value(found, "lr_scheduler.lr_warmup_steps") == 12, "3% of 400 steps"
    assert {"warmup_ratio", "global_batch_size"} <= {remark.name for remark in found.of_kind(CONVERTED)}


def test_sizes_of_a_batch_that_the_framework_chooses_are_written_out() -> None:
    call = "lora_sft(model_path='m', learning_rate=1e-4, lora_r=8, effective_batch_size=32, nproc_per_node=2)\n"
    call = f"from training_hub import lora_sft\n{call}"
    plan = plan_of(parse(call, name="train.py", form="python")[0], Options())
    assert plan is not None
    found = convert(plan, "hf").config
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == (16, 1)
    litgpt = converted("train: {micro_batch_size: 4, lr_warmup_steps: 10}\nlora_r: 8\noptimizer: {init_args: {lr: 1.0e-4}}\n", "hf").config
    assert (litgpt["per_device_train_batch_size"], litgpt["gradient_accumulation_steps"]) == (4, 4), "litgpt takes 16 a step"
    assert litgpt["lr_scheduler_type"] == "cosine"


def test_without_the_number_of_processes_the_batch_is_that_of_one() -> None:
    found = converted(HF, "automodel")
    assert value(found, "step_scheduler.global_batch_size") == 32
    assert "for one process: multiply" in "".join(remark.text for remark in found.of_kind(CONVERTED))
    assert "warmup_ratio" in {remark.name for remark in found.of_kind(MISSING)}, "a share of an unknown number of steps"


def test_sections_carry_their_meaning() -> None:
    automodel = converted(HF, "automodel").config
    assert automodel["peft"]["_target_"].endswith("PeftConfig")
    assert automodel["quantization"]["load_in_4bit"] is True
    assert (automodel["quantization"]["bnb_4bit_quant_type"], automodel["quantization"]["bnb_4bit_compute_dtype"]) == ("nf4", "bfloat16")
    axolotl = converted(HF, "axolotl").config
    assert (axolotl["adapter"], axolotl["load_in_4bit"], axolotl["base_model"]) == ("qlora", True, "meta-llama/Llama-3.1-8B")
    factory = converted(HF, "llamafactory").config
    assert (factory["finetuning_type"], factory["quantization_bit"], factory["eval_strategy"]) == ("lora", 4, "steps")
    assert factory["disable_gradient_checkpointing"] is False
    assert factory["lora_target"] == "q_proj,v_proj"
    adapter = converted(HF, "peft").config
    assert (adapter["peft_type"], adapter["r"], adapter["base_model_name_or_path"]) == ("LORA", 16, "meta-llama/Llama-3.1-8B")


def test_defaults_that_differ_are_written_out() -> None:
    text = HF.replace("lr_scheduler_type: cosine\n", "")
    found = converted(text, "automodel", dataset_size=12_800)
    assert value(found, "lr_scheduler.lr_decay_style") == "linear"
    assert {"lr_scheduler", "weight_decay"} <= {remark.name for remark in found.of_kind(DEFAULT)}
    assert value(converted(text, "torchtune"), "clip_grad_norm") == 1.0, "torchtune clips only when told"
    assert "clip_grad_norm" not in converted(text, "automodel").config, "both clip at 1"


def test_a_floor_is_a_ratio_in_axolotl() -> None:
    text = HF.replace("cosine\n", "cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 2.0e-5}\n")
    found = converted(text, "axolotl")
    assert found.config["cosine_min_lr_ratio"] == 0.1
    assert "min_lr" in {remark.name for remark in found.of_kind(CONVERTED)}
    back = converted(found.text("yaml"), "hf")
    assert value(back, "lr_scheduler_kwargs.min_lr") == 2e-5


def test_what_has_no_equivalent_is_listed() -> None:
    found = converted(HF + "neftune_noise_alpha: 5.0\n", "megatron", dataset_size=12_800)
    missing = {remark.name for remark in found.of_kind(MISSING)}
    assert {"lora_rank", "load_in_4bit", "neftune_noise_alpha"} <= missing
    assert "#   lora_rank 16\n" in found.text()


def test_deepspeed_schedules_take_the_peak_along() -> None:
    text = HF.replace("cosine", "linear")
    found = converted(text, "deepspeed", dataset_size=12_800, world_size=2)
    parameters = value(found, "scheduler.params")
    assert value(found, "scheduler.type") == "WarmupDecayLR"
    assert (parameters["warmup_max_lr"], value(found, "optimizer.params.lr")) == (2e-4, 2e-4)
    assert (parameters["total_num_steps"], parameters["warmup_num_steps"]) == (400, 12)
    assert value(found, "train_batch_size") == 4 * 8 * 2


def test_torchtune_adapts_by_three_keys() -> None:
    text = HF.replace("[q_proj, v_proj]", "[q_proj, o_proj, up_proj]")
    model = converted(text, "torchtune").config["model"]
    assert (model["lora_attn_modules"], model["apply_lora_to_mlp"]) == (["q_proj", "output_proj"], True)
    recipe = "optimizer: {_component_: torch.optim.AdamW, lr: 1.0e-4}\nmax_steps_per_epoch: null\nmodel: "
    back = converted(recipe + "{lora_attn_modules: [q_proj, output_proj], apply_lora_to_mlp: true, lora_rank: 8, lora_alpha: 16}\n", "hf")
    assert back.config["lora_target_modules"] == ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def test_rank_stabilized_scaling_becomes_a_larger_alpha() -> None:
    found = converted(HF + "use_rslora: true\n", "automodel")
    assert value(found, "peft.alpha") == 128, "32 x sqrt(16)"
    assert "lora_alpha" in {remark.name for remark in found.of_kind(CONVERTED)}


@pytest.mark.parametrize(
    ("method", "function"),
    [("use_peft: true\nlora_r: 16\n", "lora_sft"), ("", "sft")],
)
def test_training_hub_gets_a_call(method: str, function: str) -> None:
    text = "model_name_or_path: Qwen/Qwen2.5-7B\nlearning_rate: 1.0e-5\nper_device_train_batch_size: 2\nnum_train_epochs: 3\n" + method
    tree = ast.parse(converted(text, "training_hub").text())
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
    assert isinstance(call.func, ast.Name) and call.func.id == function
    arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert arguments["model_path"] == "Qwen/Qwen2.5-7B"
    assert (arguments["learning_rate"], arguments["num_epochs"]) == (1e-5, 3)


def test_pyyaml_reads_every_number_as_one() -> None:
    text = HF.replace("2.0e-4", "0.000005")
    for to in ("hf", "automodel", "axolotl", "litgpt"):
        found = yaml.safe_load(converted(text, to).text())
        leaf = {"hf": found, "automodel": found.get("optimizer"), "axolotl": found, "litgpt": found.get("optimizer", {}).get("init_args")}[
            to
        ]
        rate = leaf["lr" if to in ("automodel", "litgpt") else "learning_rate"]
        assert rate == 5e-6, to


def test_peft_loads_the_adapter_config(tmp_path: Path) -> None:
    from peft import LoraConfig

    (tmp_path / "adapter_config.json").write_text(converted(HF, "peft").text())
    config = LoraConfig.from_pretrained(str(tmp_path))
    assert (config.r, config.lora_alpha, config.target_modules) == (16, 32, {"q_proj", "v_proj"})


def test_the_trainers_own_parser_takes_the_keys(tmp_path: Path) -> None:
    from transformers import HfArgumentParser, TrainingArguments

    plan = samples("automodel")[-1]
    config = {**convert(next(p for p in samples("automodel") if p.is_whole), "hf").config, "output_dir": str(tmp_path), "use_cpu": True}
    config |= {"bf16": False, "fp16": False, "report_to": "none"}
    arguments = HfArgumentParser(TrainingArguments).parse_dict(config, allow_extra_keys=True)[0]  # type: ignore[arg-type]
    assert arguments.learning_rate == config["learning_rate"]
    assert arguments.max_grad_norm == config.get("max_grad_norm", 1.0)
    assert plan.dialect == "automodel"


def test_lightning_takes_the_trainer_section() -> None:
    from lightning.pytorch import Trainer

    section = dict(value(converted(HF, "lightning", dataset_size=12_800), "trainer"))
    section |= {"precision": "32-true", "logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = Trainer(**section)
    assert (trainer.max_epochs, trainer.accumulate_grad_batches, trainer.gradient_clip_val) == (2, 8, 1.0)


@pytest.mark.parametrize(
    ("to", "format_"), [("automodel", "python"), ("peft", "args"), ("deepspeed", "yaml"), ("megatron", "json"), ("hf", "toml")]
)
def test_formats_that_a_framework_does_not_read_are_refused(to: str, format_: str) -> None:
    with pytest.raises(UsageError, match="takes no"):
        converted(HF, to, dataset_size=12_800).text(format_)


@pytest.mark.parametrize(
    "to", ["hf", "axolotl", "llamafactory", "automodel", "torchtune", "litgpt", "lightning", "megatron", "training_hub"]
)
def test_arguments_say_the_same_as_the_file(to: str) -> None:
    found = converted(HF, to, dataset_size=12_800, world_size=2)
    document = parse(found.text("args"), name="run.sh", form="shell")[0]
    assert recognition.detect(document.flat(), document.entry, document.containers) == to
    rates = recognition.read(to, document.flat(), document.entry)
    assert rates["learning_rate"].value == 2e-4


def test_unknown_dialects_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="axolotl"):
        converted(HF, "axolot")


def test_an_adapter_says_nothing_of_a_training() -> None:
    adapter = json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]})
    plan = plan_of(parse(adapter, name="adapter_config.json", form="json")[0], Options())
    assert plan is not None
    with pytest.raises(NothingToJudgeError, match="Megatron-LM"):
        convert(plan, "megatron")


ODD = st.sampled_from(
    [
        0,
        1,
        -1,
        2.5,
        1e-9,
        1e300,
        10**30,
        math.inf,
        math.nan,
        True,
        False,
        None,
        "",
        "auto",
        "all",
        "5e-6",
        "a\nb # c",
        "no",
        [],
        [1],
        ["q_proj"],
    ]
)
"""What stands under a key by mistake."""


@st.composite
def mistaken(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A dialect, and some of its keys with values that they may not take."""
    dialect = draw(st.sampled_from(recognition.DIALECTS))
    keys = [row.native for row in documented(dialect) if "*" not in row.native and row.canonical]
    return dialect, draw(st.dictionaries(st.sampled_from(keys), ODD, min_size=1, max_size=15))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(config=mistaken(), to=st.sampled_from(recognition.DIALECTS), size=st.sampled_from([None, 1, 1000]))
def test_mistakes_are_left_out_and_listed_never_fatal(config: tuple[str, dict[str, Any]], to: str, size: int | None) -> None:
    dialect, keys = config
    text = "".join(f"{line}\n" for line in yaml_lines(nest(keys)))
    plan = plan_of(parse(text, name="config.yaml", form="yaml")[0], Options(dialect=dialect, dataset_size=size))
    assert plan is not None
    try:
        conversion = convert(plan, to)
    except NothingToJudgeError:
        return
    rules = [rule for rule in lints() if rule.code in KEY_RULES]
    made = plan_of(document_of(conversion), Options(dialect=to))
    assert made is not None
    assert not inspect(made, rules).violations
