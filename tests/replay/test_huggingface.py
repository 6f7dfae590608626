from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import ANIMALS, MASKED_TEMPLATE, sentences, write_lines
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from diag.errors import DiagError
from diag.hyperparameter import Hyperparameter
from diag.replay import huggingface
from diag.replay.encoding import IGNORED
from diag.replay.huggingface import HELD_OUT_MOST, Facts, load, parameter_groups, set_dropout
from diag.replay.probe import Probe
from diag.replay.trainer import Trained
from diag.replay.training import train
from diag.run import Run

Model = Callable[..., Path]
HOT: dict[str, Any] = {"learning_rate": 3e-3, "micro_batch_size": 8, "optimizer": "adamw", "lr_scheduler": "constant"}
LORA: dict[str, Any] = {"method": "lora", "lora_rank": 4, "lora_alpha": 16, "learning_rate": 3e-2}


def trained(function: Any, steps: int = 24, seed: int = 0, **changes: Any) -> Trained:
    return train(function, {**HOT, **changes}, seed=seed, steps=steps, total_steps=steps, evaluations=3)


def run_of(config: Mapping[str, Any] = {}, **hyperparameters: Any) -> Run:
    known = {name: Hyperparameter(value, "user") for name, value in hyperparameters.items()}
    return Run("run", "run", "trainer_state", {}, known, config={name: Hyperparameter(value, "user") for name, value in config.items()})


def rows_of(probe: Probe, count: int) -> list[list[int]]:
    """The first samples that are trained on, in order, without padding."""
    found: list[list[int]] = []
    for batch in probe.batches():
        found += [[token for token in row if token != 0] for row in batch["input_ids"].tolist()]
        if len(found) >= count:
            break
    return found[:count]


class TestTraining:
    @pytest.mark.parametrize("changes", [{}, LORA, {"packing": True, "max_seq_len": 32}])
    def test_a_language_is_learned(self, changes: dict[str, Any], tiny_model: Model, texts: Path) -> None:
        done = trained(load(str(tiny_model()), texts), 48, **changes)
        losses = done.values("eval/loss")
        assert done.rows[0]["train/loss"] == pytest.approx(math.log(40), rel=0.1)
        assert losses[-1] < losses[0] - 0.02 and not done.notes

    @pytest.mark.parametrize("head", ["none", "classifier"])
    @pytest.mark.parametrize("kind", ["bert", "llama"])
    @pytest.mark.parametrize("changes", [{}, LORA])
    def test_classes_are_learned(self, kind: str, head: str, changes: dict[str, Any], tiny_model: Model, tmp_path: Path) -> None:
        rows = [{"text": f"the {animal} sees", "label": animal in ANIMALS[:2]} for animal in ANIMALS * 40]
        function = load(str(tiny_model(kind, head)), write_lines(tmp_path / "data.jsonl", rows))
        done = trained(function, 48, **changes)
        assert done.rows[0]["train/loss"] == pytest.approx(math.log(2), rel=0.2)
        assert done.loss < 0.3

    def test_labels_may_be_words(self, tiny_model: Model, tmp_path: Path) -> None:
        rows = [{"text": f"the {animal} sees", "label": animal} for animal in ANIMALS * 40]
        done = trained(load(str(tiny_model("bert", "none")), write_lines(tmp_path / "data.jsonl", rows)), 60)
        assert done.rows[0]["train/loss"] == pytest.approx(math.log(4), rel=0.2)
        assert done.loss < 0.5

    def test_chats_are_learned(self, tiny_model: Model, tmp_path: Path) -> None:
        turns = [({"from": "human", "value": f"the {animal}"}, {"from": "gpt", "value": f"sees a {animal}"}) for animal in ANIMALS * 30]
        path = write_lines(tmp_path / "data.jsonl", ({"conversations": turn} for turn in turns))
        assert trained(load(str(tiny_model(template=MASKED_TEMPLATE)), path), 48).loss < 1

    @pytest.mark.parametrize("changes", [{}, LORA, LORA | {"precision": "bf16"}, {"dropout": 0.3}, LORA | {"lora_dropout": 0.3}])
    def test_the_same_again_whatever_was_trained_between(self, changes: dict[str, Any], tiny_model: Model, texts: Path) -> None:
        function = load(str(tiny_model()), texts)
        first = trained(function, 6, **changes)
        trained(function, 6, learning_rate=1.0)
        trained(function, 6, **LORA | {"lora_rank": 8}, seed=3)
        assert trained(function, 6, **changes) == first
        assert trained(load(str(tiny_model()), texts), 6, **changes) == first
        assert trained(function, 6, seed=1, **changes).rows != first.rows

    @pytest.mark.parametrize(
        "changes",
        [
            {"dropout": 0.5},
            {"max_seq_len": 6},
            {"micro_batch_size": 4},
            {"weight_decay": 5.0},
            LORA,
            LORA | {"lora_rank": 2},
            LORA | {"lora_alpha": 1},
            LORA | {"lora_dropout": 0.5},
            LORA | {"use_dora": True},
            LORA | {"lora_target_modules": "all-linear"},
        ],
    )
    def test_every_hyperparameter_makes_a_difference(self, changes: dict[str, Any], tiny_model: Model, texts: Path) -> None:
        function = load(str(tiny_model()), texts)
        base = LORA if "method" in changes and changes != LORA else {}
        assert trained(function, 4, **changes).rows != trained(function, 4, **base).rows

    def test_recomputed_activations_change_nothing(self, tiny_model: Model, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for changes in ({}, LORA):
            plain = trained(load(str(tiny_model()), texts), 4, **changes)
            with monkeypatch.context() as patched:
                patched.setattr(huggingface, "SMALL_WEIGHTS", 0)
                again = trained(load(str(tiny_model()), texts), 4, gradient_checkpointing=True, **changes)
            assert again.values("train/loss") == pytest.approx(plain.values("train/loss"), rel=1e-5)

    def test_smoothed_labels_are_trained_on_and_not_evaluated_on(self, tiny_model: Model, texts: Path) -> None:
        smooth = load(str(tiny_model()), texts, run=run_of({"args.label_smoothing_factor": 0.3}, micro_batch_size=8))
        plain = load(str(tiny_model()), texts, run=run_of(micro_batch_size=8))
        a, b = trained(smooth, 1, learning_rate=0.0), trained(plain, 1, learning_rate=0.0)
        assert a.loss == b.loss and a.rows[0]["grad_norm"] < 0.8 * b.rows[0]["grad_norm"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "lora"])
def test_it_trains_as_the_trainer_does(method: str, tiny_model: Model, texts: Path, tmp_path: Path) -> None:
    """The losses of transformers.Trainer on the same samples in the same order, step by step."""
    import warnings

    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

    class InOrder(Trainer):
        def _get_train_sampler(self, *arguments: Any, **options: Any) -> Any:
            return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    hyperparameters = HOT | {"method": method, "weight_decay": 0.1, "max_grad_norm": 1.0, "shuffle": False, "lr_scheduler": "linear"}
    if method == "lora":
        hyperparameters |= LORA
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(tiny_model())
        rows = [tokenizer(text + " </s>") for text in sentences(80)]
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(), dtype=torch.float32)
        if method == "lora":
            torch.manual_seed(0)
            model = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, task_type="CAUSAL_LM"))
        args = TrainingArguments(
            str(tmp_path), learning_rate=hyperparameters["learning_rate"], per_device_train_batch_size=8, max_steps=10, weight_decay=0.1,
            logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        trainer = InOrder(model, args, train_dataset=rows, data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False))
        trainer.train()
    expected = [row for row in trainer.state.log_history if "loss" in row]
    done = trained(load(str(tiny_model()), texts), 10, **hyperparameters)
    assert done.values("train/loss") == pytest.approx([row["loss"] for row in expected], rel=1e-4)
    assert done.values("grad_norm") == pytest.approx([row["grad_norm"] for row in expected], rel=1e-3)


class TestData:
    def test_samples_are_paired_whatever_the_batch(self, tiny_model: Model, texts: Path) -> None:
        function = load(str(tiny_model()), texts)
        small, large, lora = (function({"micro_batch_size": size, **more}, 3) for size, more in ((4, {}), (32, {}), (8, LORA)))
        assert rows_of(small, 64) == rows_of(large, 64) == rows_of(lora, 64)
        assert rows_of(function({"micro_batch_size": 4}, 4), 64) != rows_of(function({"micro_batch_size": 4}, 3), 64)

    def test_each_pass_has_its_own_order_of_the_same_samples(self, tiny_model: Model, texts: Path) -> None:
        probe = load(str(tiny_model()), texts)({"micro_batch_size": 8}, 0)
        first, second = rows_of(probe, 10_000), rows_of(probe, 10_000)
        assert first != second and sorted(first) == sorted(second) and len(first) == 270

    def test_the_last_tenth_is_held_out_the_same_for_all(self, tiny_model: Model, texts: Path) -> None:
        function = load(str(tiny_model()), texts, run=run_of(max_seq_len=64, micro_batch_size=8))
        made = [function(options, seed) for options, seed in (({}, 0), ({"max_seq_len": 8, "micro_batch_size": 2}, 1), (LORA, 2))]
        held_out = [[batch["input_ids"].tolist() for batch in probe.evaluation()] for probe in made if probe.evaluation is not None]
        assert held_out[0] == held_out[1] == held_out[2]
        rows = [tuple(token for token in row if token) for batch in held_out[0] for row in batch]
        assert len(rows) == 30 and not {tuple(row) for row in rows_of(made[0], 10_000)} & set(rows)

    def test_a_file_may_be_held_out(self, tiny_model: Model, texts: Path, tmp_path: Path) -> None:
        other = write_lines(tmp_path / "other.jsonl", ({"text": text} for text in sentences(200, seed=5)))
        probe = load(str(tiny_model()), texts, eval_data=other)({"micro_batch_size": 8}, 0)
        assert probe.evaluation is not None
        assert sum(len(batch["input_ids"]) for batch in probe.evaluation()) == HELD_OUT_MOST
        assert len(rows_of(probe, 10_000)) == 300

    def test_samples_are_as_long_as_the_run_has_them_and_the_model_can_read(self, tiny_model: Model, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "data.jsonl", [{"text": "the cat " * 200}] * 20)
        function = load(str(tiny_model("gpt2")), path, run=run_of(max_seq_len=4096))
        for options, length in (
            ({}, 128),
            ({"max_seq_len": 4096}, 128),
            ({"max_seq_len": 50}, 50),
            ({"max_seq_len": 50, "packing": True}, 50),
        ):
            batch = next(iter(function({"micro_batch_size": 2, **options}, 0).batches()))
            assert batch["input_ids"].shape == (2, length)

    def test_the_order_may_be_that_of_the_file(self, tiny_model: Model, texts: Path) -> None:
        function = load(str(tiny_model()), texts)
        assert rows_of(function({"shuffle": False}, 0), 9) == rows_of(function({"shuffle": False}, 1), 9)

    def test_the_digest_follows_what_is_trained_on(self, tiny_model: Model, texts: Path, tmp_path: Path) -> None:
        shutil.copy(texts, tmp_path / "data.jsonl")
        digest = load(str(tiny_model()), texts).digest
        assert load(str(tiny_model()), tmp_path / "data.jsonl").digest == digest
        with (tmp_path / "data.jsonl").open("a") as file:
            file.write('{"text": "the cat"}\n')
        others = {
            load(str(tiny_model()), tmp_path / "data.jsonl").digest,
            load(str(tiny_model("gpt2")), texts).digest,
            load(str(tiny_model()), texts, eval_data=texts).digest,
            load(str(tiny_model()), texts, run=run_of(max_seq_len=77)).digest,
        }
        assert len(others | {digest}) == 5


@pytest.mark.parametrize(
    ("head", "rows", "held_out", "said"),
    [
        ("causal", [{"text": "a"}], None, "data.jsonl: holds 1 sample; training and evaluation need one each"),
        ("classifier", [{"text": "a"}] * 4, None, 'data.jsonl: has no "label", and {tiny} is a classifier; write {"text", "label"} lines'),
        ("none", [{"text": "a", "label": 10**9}] * 4, None, 'data.jsonl: has a "label" of 1000000000'),
        ("none", [{"text": "a", "label": "x"}] * 4, [{"text": "a", "label": "y"}], "other.jsonl: has the label 'y', which data.jsonl"),
        ("causal", [{"text": "a"}] * 4, [{"text": "a", "label": 1}], "other.jsonl: is of another form than data.jsonl"),
    ],
)
def test_data_that_do_not_go_with_the_model_are_one_line(
    head: str, rows: list[Any], held_out: list[Any] | None, said: str, tiny_model: Model, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "data.jsonl", rows)
    other = None if held_out is None else write_lines(tmp_path / "other.jsonl", held_out)
    with pytest.raises(DiagError) as error:
        load(str(tiny_model("llama", head)), data, eval_data=other)
    said = said.replace("{tiny}", str(tiny_model("llama", head)))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_error_while_it_is_made_stays_one_line(tiny_model: Model, texts: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model(), tmp_path / "tiny")
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"boom")
    with pytest.raises(DiagError, match=r"^the model of .*tiny cannot be loaded: "):
        trained(load(str(tmp_path / "tiny"), texts))


class TestNotes:
    @pytest.mark.parametrize(
        ("config", "hyperparameters", "said"),
        [
            ({}, {"method": "qlora"}, "the quantized base of the run was probed unquantized"),
            ({}, {"load_in_8bit": True}, "the quantized base of the run was probed unquantized"),
            ({}, {"method": "osft"}, "OSFT was probed as full fine-tuning"),
            ({}, {"method": "pretraining"}, "training began with the weights of the model, not with random ones"),
            ({}, {"dataset_size": 52_000}, "the run had 52000 samples and there are 270 in texts.jsonl"),
            ({"args.neftune_noise_alpha": 5}, {}, "not rebuilt: NEFTune noise"),
        ],
    )
    def test_what_is_not_as_in_the_run_is_said(
        self, config: dict[str, Any], hyperparameters: dict[str, Any], said: str, tiny_model: Model, texts: Path
    ) -> None:
        function = load(str(tiny_model()), texts, run=run_of(config, **hyperparameters))
        assert any(said in note for note in trained(function, 1, **hyperparameters).notes)

    def test_nothing_is_said_where_all_is_as_in_the_run(self, tiny_model: Model, texts: Path) -> None:
        run = run_of({"args.neftune_noise_alpha": None, "args.loss_type": "nll"}, dataset_size=270, method="sft", max_seq_len=32)
        assert trained(load(str(tiny_model()), texts, run=run), 1).notes == ()

    def test_a_model_without_dropout_is_named(self, tiny_model: Model, texts: Path) -> None:
        assert not set_dropout(nn.Linear(2, 2), 0.1)
        assert set_dropout(load(str(tiny_model("gpt2")), texts)({}, 0).model, 0.1)

    def test_what_a_run_says_of_all_arms(self) -> None:
        config = {"peft.use_rslora": True, "label_smoothing_factor": "much"}
        facts = Facts.of(run_of(config, global_batch_size=32, micro_batch_size=4, max_seq_len=512, dataset_size=100))
        assert facts == Facts(512, 4, 100, is_rank_stabilized=True)
        assert Facts.of(None) == Facts()
        assert Facts.of(run_of({"completion_only_loss": None, "assistant_only_loss": False})) == Facts(learns_chats=True)
        assert Facts.of(run_of({"completion_only_loss": False})) == Facts(learns_prompts=True)
        assert Facts.of(run_of({"data.train_on_inputs": True})) == Facts(learns_prompts=True, learns_chats=True)


@pytest.mark.parametrize(("kind", "head"), [("llama", "causal"), ("gpt2", "causal"), ("bert", "classifier")])
def test_biases_and_norms_do_not_decay_as_in_the_trainer(kind: str, head: str, tiny_model: Model, texts: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Trainer, TrainingArguments

    loader = AutoModelForCausalLM if head == "causal" else AutoModelForSequenceClassification
    model = loader.from_pretrained(tiny_model(kind, head))
    trainer = Trainer(model, TrainingArguments(str(tmp_path), report_to=[], use_cpu=True))
    decayed = set(trainer.get_decay_parameter_names(model))
    groups = parameter_groups(model)
    assert groups is not None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)] for parameter in groups[0]["params"]} == decayed & set(names.values())
    assert {names[id(parameter)] for parameter in groups[1]["params"]} == set(names.values()) - decayed
    assert groups[1]["weight_decay"] == 0.0 and "weight_decay" not in groups[0]


class Whole(nn.Module):
    """A model that gives its loss, as ``functional_call`` wants it."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.model, self.loss = probe.model, probe.loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.model, batch)


@pytest.mark.parametrize("own_batches", [False, True])
@pytest.mark.parametrize("method", ["sft", "lora"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_arms_can_be_trained_together(kind: str, method: str, own_batches: bool, tiny_model: Model, texts: Path) -> None:
    """The gradients of two copies under vmap are those of each by itself: no model code asks for the value of a tensor."""
    function = load(str(tiny_model(kind)), texts)
    probes = [function({**HOT, **LORA, "method": method, "dropout": 0.0}, seed) for seed in (0, 1)]
    first, second = (next(iter(probe.batches())) for probe in probes)
    batches = [first, second if own_batches else first]
    wholes = [Whole(probe) for probe in probes]
    for whole in wholes:
        torch.manual_seed(id(whole) % 1000)
        for parameter in whole.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
    weights = [{name: value.detach() for name, value in whole.named_parameters() if value.requires_grad} for whole in wholes]
    frozen = {name: value.detach() for name, value in wholes[0].named_parameters() if not value.requires_grad}
    stacked = {name: torch.stack([weight[name] for weight in weights]) for name in weights[0]}
    batch = {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]} if own_batches else batches[0]

    def loss(weights: dict[str, Tensor], batch: dict[str, Tensor]) -> Any:
        return functional_call(wholes[0], {**weights, **frozen}, (batch,))

    gradients = vmap(grad(loss), in_dims=(0, 0 if own_batches else None))(stacked, batch)
    for index, whole in enumerate(wholes):
        whole(batches[index]).backward()
        for name, parameter in whole.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and bool(parameter.grad.any())
                assert torch.allclose(gradients[name][index], parameter.grad, atol=1e-4), name


def test_frozen_weights_stay_in_half_precision_where_they_came_so(tiny_model: Model, texts: Path) -> None:
    function = load(str(tiny_model(dtype="bfloat16")), texts)
    dtypes = {
        name: {parameter.requires_grad: parameter.dtype for parameter in function(options, 0).model.parameters()}
        for name, options in {"full": {"precision": "bf16"}, "lora": LORA | {"precision": "bf16"}, "fp32": LORA}.items()
    }
    assert dtypes == {
        "full": {True: torch.float32},
        "lora": {True: torch.float32, False: torch.bfloat16},
        "fp32": {True: torch.float32, False: torch.float32},
    }
    assert math.isfinite(trained(function, 3, precision="bf16", **LORA).loss)


def test_padding_is_never_learned(tiny_model: Model, texts: Path) -> None:
    probe = load(str(tiny_model()), texts)({"micro_batch_size": 8}, 0)
    for batch in probe.batches():
        assert (batch["labels"][batch["input_ids"] == 0] == IGNORED).all()
