from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from diag.replay.lora import adapt, positive, target_modules
from diag.replay.pretrained import Pretrained

Model = Callable[..., Path]
INPUT = torch.tensor([[3, 4, 5, 6]])


def base(folder: Path) -> nn.Module:
    return Pretrained("tiny", folder).model(classes=0, dtype=torch.float32, pad=0, seed=0, shares=True).eval()


def adapted(folder: Path, seed: int = 0, is_rank_stabilized: bool = False, **hyperparameters: Any) -> tuple[nn.Module, list[str]]:
    return adapt(base(folder), hyperparameters, seed, is_rank_stabilized=is_rank_stabilized, classifies=False)


def trained_names(model: nn.Module) -> set[str]:
    """The modules that have adapters."""
    return {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"is_rank_stabilized": True}])
def test_it_is_what_peft_makes(options: dict[str, Any], tiny_model: Model) -> None:
    made, notes = adapted(tiny_model(), 7, lora_rank=4, lora_alpha=24, lora_target_modules=["q_proj", "v_proj"], **options)
    named = {"use_rslora" if name == "is_rank_stabilized" else name: value for name, value in options.items()}
    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=24, target_modules=["q_proj", "v_proj"], **named)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries about each other
        expected = get_peft_model(base(tiny_model()), config)
    assert notes == []
    for model in (made, expected):
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
    for (name, a), (other, b) in zip(made.named_parameters(), expected.named_parameters(), strict=True):
        assert name == other and torch.equal(a, b) and a.requires_grad == b.requires_grad == ("lora" in name)
    assert torch.equal(made(input_ids=INPUT).logits, expected(input_ids=INPUT).logits)


def test_adapters_begin_without_effect_and_come_from_the_seed(tiny_model: Model) -> None:
    torch.rand(5)
    first, same, other = (dict(adapted(tiny_model(), seed)[0].named_parameters()) for seed in (1, 1, 2))
    (name,) = [name for name in first if "layers.0.self_attn.q_proj.lora_A" in name]
    assert torch.equal(first[name], same[name]) and not torch.equal(first[name], other[name])
    logits = adapted(tiny_model())[0].eval()(input_ids=INPUT).logits
    assert torch.equal(logits, base(tiny_model())(input_ids=INPUT).logits)


LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("wanted", "modules"),
    [
        (None, {"q_proj", "v_proj"}),
        ("all-linear", LINEAR),
        (["all-linear"], LINEAR),
        ("q_proj, o_proj", {"q_proj", "o_proj"}),
        (["q_proj", "c_attn"], {"q_proj"}),
        ("*_proj", LINEAR),
        ("model.layers.1.*", LINEAR),
        (["*.mlp.up_proj"], {"up_proj"}),
        (r".*\.(k|v)_proj", {"k_proj", "v_proj"}),
    ],
)
def test_every_way_to_name_modules(wanted: Any, modules: set[str], tiny_model: Model) -> None:
    made, notes = adapted(tiny_model(), lora_target_modules=wanted)
    assert trained_names(made) == modules and notes == []


@pytest.mark.parametrize("wanted", ["c_attn", ["c_attn", "c_proj"], r"(transformer\.h)\..*", "[", 7])
def test_names_that_are_not_there_are_said_and_all_layers_adapted(wanted: Any, tiny_model: Model) -> None:
    made, notes = adapted(tiny_model(), lora_target_modules=wanted)
    assert trained_names(made) == LINEAR
    assert len(notes) == 1 and notes[0].endswith("not in this model, so all its linear layers were adapted")


def test_a_model_of_another_kind_is_adapted_too(tiny_model: Model) -> None:
    made, notes = adapted(tiny_model("gpt2"), lora_rank=2)
    assert trained_names(made) == {"c_attn"} and notes == []


def test_the_whole_model_is_never_taken_for_a_module(tiny_model: Model) -> None:
    assert target_modules(base(tiny_model()), "") is None
    assert target_modules(base(tiny_model()), [""]) is None


@pytest.mark.parametrize(("value", "number"), [(3, 3), (3.0, 3), (0, None), (True, None), ("3", None), (None, None), (-1, None)])
def test_counts(value: Any, number: int | None) -> None:
    assert positive(value) == number
