"""Who uses which row of the guides: what ``diag rules`` shows, and what the coverage test goes by.

A row is used where code cites its id: the checks and lint rules, the profile tables, the choices and formulas, the changes. Where code
cannot cite it, ``guides/coverage.tsv`` gives it a place: a key of a dialect's table, a check whose condition it is, an adapter that reads
it, a section of the documentation; or it says that the row waits for a part that is not there yet.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from diag.check import Documented
from diag.guides import cite, rules
from diag.guides.choices import CHOICES
from diag.guides.conflicts import CONFLICTS
from diag.guides.policy import BESIDES, LATER, PLANNING, POLICIES
from diag.guides.profiles import ROWS, SOURCE_ROWS
from diag.guides.register import Rule

CITATION: Final = re.compile(r"\bS\d-\d{3}(?:\.\.\d{3})?\b")
"""A rule id or a range of them, as ``diag.guides.cite`` reads it."""

MODULES: Final = {
    "profile": ("guides/profiles.py",),
    "choice": ("guides/choices.py",),
    "formula": ("guides/formulas.py",),
    "fix": ("prescription.py", "remedies.py", "fixing.py"),
    "reading": ("examination.py", "case.py"),
}
"""What a use is called, and the modules, below this package, whose citations are such uses."""

KINDS: Final = ("dialect", "adapter", "check", "docs", "waiting")
"""What a place in ``coverage.tsv`` can be."""

_HELPER: Final = re.compile(r"^from (diag\.checks(?:\.\w+)*)(?:\.| import )(_\w+)", re.MULTILINE)


class Place(NamedTuple):
    """Where a row that code does not cite has its place: ``kind`` is one of KINDS, ``target`` says which."""

    kind: str
    target: str
    reason: str = ""


def cited_in(text: str) -> set[str]:
    """Every rule id that a text cites."""
    return {identity for match in CITATION.findall(text) for identity in cite(match)}


@cache
def places() -> dict[str, tuple[Place, ...]]:
    """``guides/coverage.tsv`` by row id."""
    return read(Path(__file__).parent / "guides" / "coverage.tsv")


def read(path: Path) -> dict[str, tuple[Place, ...]]:
    """Places by row id, from a file of lines ``rows, kind:target, reason`` below one headline.

    Raises:
        ValueError: a line is malformed; the message names file and line.
    """
    found: dict[str, tuple[Place, ...]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        rows, _, rest = line.partition("\t")
        where, _, reason = rest.partition("\t")
        kind, _, target = where.partition(":")
        if kind not in KINDS or not target or (kind == "waiting" and (target not in LATER or not reason)):
            raise ValueError(f"{path.name}:{number}: {where!r} is no place, or lacks its reason")
        for identity in cite(rows):
            if identity not in rules():
                raise ValueError(f"{path.name}:{number}: there is no row {identity}")
            found[identity] = (*found.get(identity, ()), Place(kind, target, reason))
    return found


@cache
def uses() -> Mapping[str, tuple[str, ...]]:
    """Row id to what uses it: codes of checks, lint rules and the gate, then ``profile lora_rank``, ``fix`` and so on, then the places."""
    from diag.battery import checks
    from diag.gate import pages
    from diag.linting import lints

    found: dict[str, list[str]] = {identity: [] for identity in rules()}
    for check in sorted([*checks(), *lints()], key=lambda entry: entry.code):
        _note(found, check.code, {*check.rules, *cited_in(_source(check))})
    for page in pages():
        _note(found, page.code, {*page.rules, *cited_in(page.page())})
    for parameter, citation in [(row.parameter, row.rules) for row in ROWS] + [(row.parameter, row.rules) for row in SOURCE_ROWS]:
        _note(found, f"profile {parameter}", cite(citation))
    for choice in CHOICES:
        _note(found, f"choice {choice.parameter}", choice.rules)
    package = Path(__file__).parent
    for label, modules in MODULES.items():
        texts = [(package / module).read_text(encoding="utf-8") for module in modules if (package / module).is_file()]
        cited = cited_in("\n".join(texts))
        _note(found, label, (identity for identity in cited if not any(said.startswith(label) for said in found[identity])))
    for identity, entries in places().items():
        found[identity] += [label for entry in entries if (label := _label(entry))]
    return {identity: tuple(dict.fromkeys(labels)) for identity, labels in found.items()}


def waiting() -> dict[str, Place]:
    """Row id to the part it waits for, and why."""
    return {identity: entry for identity, entries in places().items() for entry in entries if entry.kind == "waiting"}


@cache
def advice() -> Mapping[str, tuple[str, ...]]:
    """Row id to the ids of the policies (``F06``), planning rules (``P01``) and facts (``H01``) that condense it, and ``conflict 1``."""
    found: dict[str, list[str]] = {identity: [] for identity in rules()}
    for entry in (*POLICIES, *PLANNING, *BESIDES):
        _note(found, entry.id, entry.rules)
    for conflict in CONFLICTS:
        _note(found, f"conflict {conflict.number}", conflict.rules)
    return {identity: tuple(labels) for identity, labels in found.items()}


def problems() -> list[str]:
    """What is wrong with the coverage, a sentence each: rows without a use, rows that wait although used, places that do not exist."""
    from diag.adapters.registry import registry
    from diag.battery import checks
    from diag.dialects.table import documented
    from diag.linting import lints

    codes = {check.code for check in (*checks(), *lints())}
    said: list[str] = []
    used, later = uses(), waiting()
    for identity, rule in rules().items():
        if not used[identity] and identity not in later:
            said.append(f"{identity} ({'; '.join(rule.owner)}) is used by nothing: {rule.content}")
        if used[identity] and identity in later:
            said.append(f"{identity} waits for {later[identity].target}, but {', '.join(used[identity])} uses it")
    for identity, entries in places().items():
        for entry in entries:
            dialect, _, key = entry.target.partition(" ")
            if entry.kind == "dialect" and key not in {row.native for row in documented(dialect)}:
                said.append(f"{identity}: the table of {dialect} has no key {key}")
            if entry.kind == "check" and entry.target not in codes:
                said.append(f"{identity}: there is no check {entry.target}")
            if entry.kind == "adapter" and entry.target not in registry().adapters:
                said.append(f"{identity}: there is no adapter {entry.target}")
    return said


def _label(entry: Place) -> str:
    if entry.kind == "waiting":
        return ""
    return entry.target if entry.kind in ("check", "dialect") else f"{entry.kind} {entry.target}"


def _note(found: dict[str, list[str]], label: str, identities: Iterable[str]) -> None:
    for identity in identities:
        if identity in found:
            found[identity].append(label)


def _source(check: Documented) -> str:
    """The text of a check's module, and of the helpers of its family that it imports."""
    text = _text(type(check).__module__)
    return "\n".join([text, *(_text(f"{package}.{name}") for package, name in _HELPER.findall(text))])


def _text(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    return Path(path).read_text(encoding="utf-8") if path else ""


# What a row is about, by its owner and its words.

WORDS: Final[dict[str, str]] = {
    "learning_rate": r"\bLRs?\b|learning[_ ]rate|optimizer\.lr\b|^lrfind|lr_range|lr_(?:up|down|high|low)",
    "min_lr": r"min_lr",
    "lr_scheduler": r"cosine|schedul(?:e|er_type)\b|decay_style|1cycle|lint\.schedule",
    "warmup_steps": r"warm-?up",
    "num_epochs": r"epochs?\b",
    "max_steps": r"max_steps",
    "global_batch_size": r"global.batch|effective.batch|batch[_ ]size|lint\.batch|fix\.batch|fix\.lr_batch",
    "micro_batch_size": r"local.batch|per[-_]device|micro-batch|fix\.oom",
    "gradient_accumulation_steps": r"accumulat|grad_acc",
    "weight_decay": r"weight[_ ]decay|lint\.wd|fix\.wd",
    "max_grad_norm": r"grad_norm|clipp?(?:ing)?\b|lint\.clip|fix\.clip",
    "optimizer": r"\bAdamW?\b|lint\.optimizer|optimizer\._target_|betas",
    "lora_rank": r"\branks?\b|peft\.dim|\bdim\b|lora_r(?:ank)?\b",
    "lora_alpha": r"\balpha\b|lora_alpha",
    "lora_dropout": r"dropout",
    "lora_target_modules": r"target_modules|match_all_linear|_proj|lora_targets|exclude_modules",
    "use_dora": r"dora",
    "load_in_4bit": r"4bit|4-bit|QLoRA|nf4",
    "load_in_8bit": r"8bit",
    "precision": r"precision|\bbf16|bfloat16|\bfp16|FP32",
    "max_seq_len": r"max_seq_len|sequence length|seqlen|sequence too long",
    "packing": r"pack(?:ing|ed)",
    "gradient_checkpointing": r"activation_checkpointing",
    "eval_steps": r"eval(?:uation)?[_ ](?:steps|strategy|freq)|val_every|between evals|lint\.eval",
    "save_steps": r"ckpt|save_steps|save strategy|checkpoint",
    "logging_steps": r"logging_steps|log_freq",
    "early_stopping_patience": r"early[_ ]?stop|patience",
    "load_best_model_at_end": r"load_best|best_ckpt|best checkpoint|metric_for_best",
    "unfreeze_rank_ratio": r"unfreeze|OSFT",
    "seed": r"\bseed 42\b|same seed|lint\.seed",
    "shuffle": r"shuffle|group_by_length",
    "model_parameters": r"model.size|larger models?|70B|13B",
    "dataset_size": r"dataset size|samples\b|examples\b|more data",
    "world_size": r"\bGPUs?\b|dp_size|nproc",
}
"""Canonical parameter to a pattern of the owners and words of the rows that are about it."""

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "lr": ("learning_rate",),
    "schedule": ("lr_scheduler",),
    "scheduler": ("lr_scheduler",),
    "warmup": ("warmup_steps",),
    "warmup_ratio": ("warmup_steps",),
    "epochs": ("num_epochs",),
    "batch": ("global_batch_size", "micro_batch_size", "gradient_accumulation_steps"),
    "batch_size": ("global_batch_size", "micro_batch_size"),
    "accumulation": ("gradient_accumulation_steps",),
    "decay": ("weight_decay",),
    "clip": ("max_grad_norm",),
    "clipping": ("max_grad_norm",),
    "rank": ("lora_rank",),
    "alpha": ("lora_alpha",),
    "alpha_to_rank": ("lora_alpha",),
    "dropout": ("lora_dropout",),
    "targets": ("lora_target_modules",),
    "dora": ("use_dora",),
    "quantization": ("load_in_4bit", "load_in_8bit"),
    "sequence": ("max_seq_len", "packing"),
    "eval": ("eval_steps",),
    "evaluation": ("eval_steps",),
    "checkpoint": ("save_steps", "load_best_model_at_end"),
    "logging": ("logging_steps",),
    "early_stopping": ("early_stopping_patience", "load_best_model_at_end"),
    "early_stopping_threshold": ("early_stopping_patience",),
    "osft": ("unfreeze_rank_ratio",),
    "data": ("dataset_size",),
    "gpus": ("world_size",),
}
"""Everyday words for parameters."""

METHOD_WORDS: Final[dict[str, str]] = {
    "sft": r"\bSFT\b|full[- ](?:FT|fine-tun)",
    "lora": r"\bLoRA\b|\bPEFT\b|\blora_|peft\.",
    "qlora": r"QLoRA|\bPEFT\b|4-bit|load_in_4bit",
    "osft": r"OSFT",
    "pretraining": r"pretraining (?:mode|=)|method=Pretraining|is_pretraining",
}
"""Method to a pattern of the rows that name it."""


def parameters_of(rule: Rule) -> tuple[str, ...]:
    """The canonical parameters that a row is about, as far as its owners and words tell."""
    text = " ".join((*rule.owner, rule.content))
    return tuple(name for name, pattern in WORDS.items() if re.search(pattern, text, re.IGNORECASE))


def methods_of(rule: Rule) -> tuple[str, ...]:
    """The methods that a row names; none for one that is about all of them."""
    return tuple(name for name, pattern in METHOD_WORDS.items() if re.search(pattern, rule.content))
