"""Native keys by their last part: for settings that stand for no canonical hyperparameter and that many frameworks spell alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from diag.dialects.table import FOREIGN_SECTIONS
from diag.dialects.values import as_bool
from diag.documents import PYTHON
from diag.plan import Plan

SFT_HUB: Final = "sft"
OSFT_HUB: Final = "osft"
LORA_HUB: Final = "lora_sft"


def named(plan: Plan, *leaves: str) -> Iterator[tuple[str, Any]]:
    """Settings whose last part is one of ``leaves``, outside the sections of evaluation, logging and the like; key and value."""
    for key, value in plan.flat.items():
        *sections, leaf = key.split(".")
        if leaf in leaves and not any(FOREIGN_SECTIONS.match(part) for part in sections):
            yield key, value


def key_of(plan: Plan, *leaves: str) -> str | None:
    """The key of the first such setting, None if the config has none."""
    return next((key for key, _ in named(plan, *leaves)), None)


def is_on(plan: Plan, *leaves: str) -> bool:
    """Whether one of such settings is true."""
    return any(as_bool(value) is True for _, value in named(plan, *leaves))


def switched(plan: Plan, leaf: str, state: bool) -> str | None:
    """The key of the first such setting that is explicitly ``state``, None if none is."""
    return next((key for key, value in named(plan, leaf) if as_bool(value) is state), None)


def hub_algorithm(plan: Plan) -> str | None:
    """Which of Training Hub's algorithms a config is for: by what runs it, else by its keys; None in other dialects or if nothing tells."""
    if plan.dialect != "training_hub":
        return None
    if plan.scope in (SFT_HUB, OSFT_HUB, LORA_HUB):
        return plan.scope
    if plan.is_set("unfreeze_rank_ratio"):
        return OSFT_HUB
    if plan.is_set("lora_rank") or plan.has("lora_alpha") or plan.has("load_in_4bit"):
        return LORA_HUB
    return SFT_HUB if plan.has("save_samples") or plan.has("accelerate_full_state_at_epoch") else None


def names_data(plan: Plan) -> str:
    """All texts of keys that may name training data, in lower case: for words such as ``code`` or ``knowledge``."""
    leaves = ("path", "data_path", "dataset_name", "dataset", "path_or_dataset_id", "path_or_dataset", "source", "train_file", "data_files")
    return " ".join(str(value) for _, value in named(plan, *leaves) if isinstance(value, (str, list))).lower()


def is_computed(plan: Plan, key: str) -> bool:
    """Whether a script sets a key to something that is not in the file."""
    return key in plan.document.settings and key not in plan.flat


def is_open(plan: Plan) -> bool:
    """Whether what is missing may be set all the same: in a config file that is not there, or by what a Python file passes on."""
    return plan.is_partial or (plan.document.form == PYTHON and bool(plan.document.problems))
