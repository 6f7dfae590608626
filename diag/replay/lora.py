"""Low-rank adapters on a model, as a run's hyperparameters name them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from diag.replay.pretrained import quiet

if TYPE_CHECKING:
    from torch import nn

LORA_RANK: Final = 8
LORA_ALPHA: Final = 8
"""Where the run does not say, as in peft."""
ALL_LINEAR: Final = "all-linear"
"""peft's word for every linear layer but the head."""


def adapt(
    model: nn.Module, hyperparameters: Mapping[str, Any], seed: int, *, is_rank_stabilized: bool, classifies: bool
) -> tuple[nn.Module, list[str]]:
    """The model with low-rank adapters, and what about them is not as the run had it.

    Raises:
        ProbeError: peft cannot do it.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

    wanted = hyperparameters.get("lora_target_modules")
    targets, notes = target_modules(model, wanted), []
    if targets is None:
        is_usual = wanted is None and str(getattr(model.config, "model_type", "")) in USUAL
        targets = None if is_usual else ALL_LINEAR
        if wanted is not None:
            notes.append(f"{_listed(wanted)} are not in this model, so all its linear layers were adapted")
    rank = positive(hyperparameters.get("lora_rank")) or LORA_RANK
    alpha = hyperparameters.get("lora_alpha")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha if isinstance(alpha, (int, float)) and alpha > 0 else LORA_ALPHA,  # type: ignore[arg-type]  # a scale
        lora_dropout=float(hyperparameters.get("lora_dropout") or 0.0),
        target_modules=targets,
        use_dora=bool(hyperparameters.get("use_dora")),
        use_rslora=is_rank_stabilized,
        task_type="SEQ_CLS" if classifies else "CAUSAL_LM",
    )
    torch.default_generator.manual_seed(seed)  # the adapters come out the same whatever was drawn before
    with quiet():
        adapted: nn.Module = get_peft_model(model, config)
    return adapted, notes


def target_modules(model: nn.Module, wanted: Any) -> list[str] | str | None:
    """The modules to adapt in the words of peft, None where none is named or none of the names is in the model.

    Args:
        model: to be adapted.
        wanted: names, patterns with ``*``, ``all-linear``, or a regular expression, as the frameworks write them.
    """
    if wanted == ALL_LINEAR or wanted == [ALL_LINEAR]:
        return ALL_LINEAR
    modules = [name for name, _ in model.named_modules() if name]
    if isinstance(wanted, str) and re.search(r"[\\()|^$\[+]", wanted):
        try:
            return wanted if any(re.fullmatch(wanted, name) for name in modules) else None
        except re.error:
            return None
    names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else wanted
    if not isinstance(names, Sequence):
        return None
    found: list[str] = []
    for name in names:
        if isinstance(name, str) and "*" in name:
            found += [module for module in fnmatch.filter(modules, name) if _is_linear(model.get_submodule(module))]
        elif isinstance(name, str) and name and any(module == name or module.endswith(f".{name}") for module in modules):
            found.append(name)
    return list(dict.fromkeys(found)) or None


def _is_linear(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's own


def positive(value: Any) -> int | None:
    """A whole number from 1, None if it is none."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1 else None


def _listed(names: Any) -> str:
    shown = [str(name) for name in (names if isinstance(names, (list, tuple)) else [names])]
    return ", ".join(shown[:4]) + (" and others" if len(shown) > 4 else "")
