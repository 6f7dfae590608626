"""A fine-tune of a Hugging Face model, rebuilt from the hyperparameters of a run: a model, a JSONL file, and nothing else of the user's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diag.errors import InputError
from diag.replay.encoding import IGNORED, Encoder, Feed
from diag.replay.guard import ProbeError
from diag.replay.lora import adapt, positive
from diag.replay.pretrained import SMALL_WEIGHTS, Pretrained, checkpoint_activations, require, resolve
from diag.replay.probe import Probe, ProbeFunction, require_torch, settle
from diag.replay.samples import Samples

if TYPE_CHECKING:
    import torch
    from torch import nn

    from diag.run import Run

VERSION: Final = 1
"""Goes up when the same hyperparameters would give another training."""
MAX_LENGTH: Final = 1024
"""Tokens of a sample where the run does not say, as in TRL's SFTConfig."""
MICRO_BATCH: Final = 8
"""Samples of a batch where the run does not say, as in Transformers' TrainingArguments."""
HELD_OUT_SHARE: Final = 0.1
HELD_OUT_MOST: Final = 128
"""Share of the samples that are held out where no file is named for that, and how many suffice: arms see the same ones, so that their
difference is far more certain than either loss."""
EVALUATED_AT_ONCE: Final = 16
"""Most held-out samples in a batch."""
SAME_SIZE: Final = 0.95
"""Share of the run's samples from which a file counts as all of them: a split may have taken some."""
NO_DECAY: Final = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.|_)norm(?:$|\.)", re.IGNORECASE)
"""Names of weights that Transformers' Trainer does not decay."""
DROPOUTS: Final = ("dropout", "attention_dropout", "activation_dropout", "hidden_dropout")
"""Attributes that hold a probability where a model calls dropout as a function."""
MOST_CLASSES: Final = 100_000
"""Above this a label is no class but a value."""
ADAPTERS: Final = ("lora", "qlora")
RANK_STABILIZED: Final = ("use_rslora", "peft_use_rslora")
LEARNS_PROMPTS: Final = {"train_on_inputs": True, "train_on_input": True, "train_on_prompt": True, "completion_only_loss": False}
LEARNS_CHATS: Final = {"train_on_inputs": True, "train_on_input": True, "train_on_prompt": True, "assistant_only_loss": False}
"""Keys of configurations with the value by which what is given is learned, too."""
SMOOTHING: Final = ("label_smoothing_factor",)
NOT_REBUILT: Final = {
    "neftune_noise_alpha": "NEFTune noise",
    "noisy_embedding_alpha": "NEFTune noise",
    "use_galore": "GaLore",
    "use_badam": "BAdam",
    "freeze_layers": "frozen layers",
    "loss_type": "the loss",
}
"""Keys of configurations that change a training and that are left out, where they are set."""


def load(
    model: str,
    data: str | Path,
    *,
    eval_data: str | Path | None = None,
    allow_download: bool = False,
    run: Run | None = None,
) -> ProbeFunction:
    """The fine-tune of a model on a file, as a probe.

    Args:
        model: folder, or id on the Hugging Face Hub.
        data: JSONL file of the samples.
        eval_data: JSONL file of those to evaluate on; by default the last tenth of ``data``.
        allow_download: whether the model may be fetched; otherwise it must be here.
        run: the run that is rebuilt, which settles what must not differ between arms.

    Raises:
        InputError: a file or the folder cannot be used.
        ProbeError: a library is missing, or the model cannot be loaded.
    """
    require_torch()
    require("transformers", "safetensors")
    samples = Samples(data)
    held_out = None if eval_data is None else Samples(eval_data)
    pretrained = Pretrained(model, resolve(model, allow_download=allow_download))
    tuning = FineTune(pretrained, samples, held_out, Facts.of(run))
    return ProbeFunction(
        f"{pretrained.folder.resolve().name if Path(model).exists() else model} on {samples.path.name}", tuning, tuning.digest
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run says that all arms share, and that has no canonical name.

    Attributes:
        length: most tokens of a sample in the run.
        batch: its micro batch.
        samples: in its training data.
        is_rank_stabilized: whether its adapters are scaled by the root of the rank.
        smoothing: of labels.
        learns_prompts: whether it learned prompts, beside completions.
        learns_chats: whether it learned all words of conversations.
        missing: what it did that is not rebuilt.
    """

    length: int | None = None
    batch: int = MICRO_BATCH
    samples: int | None = None
    is_rank_stabilized: bool = False
    smoothing: float = 0.0
    learns_prompts: bool = False
    learns_chats: bool = False
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run | None) -> Facts:
        """What a run says; the defaults if there is none."""
        if run is None:
            return cls()
        settled = settle({name: entry.value for name, entry in run.hyperparameters.items()})
        native = {key.rsplit(".", 1)[-1]: entry.value for key, entry in run.config.items()}
        smoothing = next((native[key] for key in SMOOTHING if key in native), 0.0)
        return cls(
            positive(settled.get("max_seq_len")),
            positive(settled.get("micro_batch_size")) or MICRO_BATCH,
            positive(settled.get("dataset_size")),
            any(native.get(key) is True for key in RANK_STABILIZED),
            float(smoothing) if isinstance(smoothing, (int, float)) and 0 <= smoothing < 1 else 0.0,
            any(native.get(key) is value for key, value in LEARNS_PROMPTS.items()),
            any(native.get(key) is value for key, value in LEARNS_CHATS.items()),
            tuple(sorted({what for key, what in NOT_REBUILT.items() if native.get(key) not in (None, False, 0, "", "nll")})),
        )


class FineTune:
    """Makes a probe of a model, a file and hyperparameters.

    Args:
        pretrained: the model.
        samples: what is trained on.
        held_out: what is evaluated on; None to hold out the last of ``samples``.
        facts: of the run.

    Raises:
        InputError: there are too few samples, or not those that the model needs.
        ProbeError: the tokenizer cannot be loaded.
    """

    def __init__(self, pretrained: Pretrained, samples: Samples, held_out: Samples | None, facts: Facts = Facts()) -> None:
        self.pretrained, self.samples, self.facts = pretrained, samples, facts
        self.classes = _classes(pretrained, samples)
        self.class_count = max(self.classes.values(), default=-1) + 1
        options = {"learns_prompts": facts.learns_prompts, "learns_chats": facts.learns_chats}
        self.encoder = Encoder(pretrained.tokenizer(), self.classes, **options)
        split = len(samples) if held_out is not None else len(samples) - _held_out(len(samples))
        if split < 1:
            raise InputError(samples.path, f"holds {len(samples)} sample", "training and evaluation need one each; a few hundred are good")
        self.train, self.held_out = range(split), held_out or samples
        self.evaluated = range(split, len(samples)) if held_out is None else range(min(len(held_out), HELD_OUT_MOST))
        if self.classes and (unknown := [label for label in self.held_out.labels if label not in self.classes]):
            raise InputError(self.held_out.path, f"has the label {unknown[0]!r}, which {samples.path.name} does not have")
        if bool(self.held_out.labels) != bool(samples.labels):
            raise InputError(self.held_out.path, f"is of another form than {samples.path.name}", "write both alike")

    @property
    def digest(self) -> str:
        """What the trainings depend on beside the hyperparameters."""
        libraries = " ".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers", *(("peft",) if _has("peft") else ())))
        files = f"{self.samples.digest} {self.held_out.digest} {len(self.train)}"
        return f"huggingface {VERSION} {self.pretrained.digest} {files} {libraries} {self.facts}"

    def __call__(self, hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        """The training that hyperparameters describe.

        Raises:
            ProbeError: the model cannot be made so.
        """
        import torch

        length = self.length(positive(hyperparameters.get("max_seq_len")) or self.facts.length)
        is_packed = bool(hyperparameters.get("packing")) and not self.classes
        model, notes = self.model(hyperparameters, seed)
        feed = Feed(self.encoder, self.samples, length, is_packed)
        held_out = Feed(self.encoder, self.held_out, self.length(self.facts.length), is_packed)
        size = positive(hyperparameters.get("micro_batch_size")) or MICRO_BATCH
        random = torch.Generator().manual_seed(seed)
        is_shuffled = hyperparameters.get("shuffle") is not False

        def batches() -> Iterator[dict[str, torch.Tensor]]:
            order = torch.randperm(len(self.train), generator=random).tolist() if is_shuffled else self.train
            return feed.batches(order, size)

        def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            smoothing = self.facts.smoothing if model.training else 0.0
            return (classification_loss if self.classes else language_loss)(model, batch, smoothing)

        return Probe(
            model,
            batches,
            loss,
            lambda: held_out.batches(self.evaluated, min(self.facts.batch, EVALUATED_AT_ONCE)),
            parameters=parameter_groups(model),
            notes=(*self.notes(hyperparameters), *notes),
        )

    def length(self, wanted: int | None) -> int:
        """Most tokens of a sample: what is wanted, as far as the model can read it."""
        return min(wanted or MAX_LENGTH, self.pretrained.positions or wanted or MAX_LENGTH)

    def notes(self, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
        """What is not as it was in the run, whatever the arm."""
        yield from self.encoder.notes(self.samples)
        known, here = self.facts.samples, len(self.train)
        if self.samples.is_cut:
            yield f"only the first {here} samples of {self.samples.path.name} were read"
        elif known and here < SAME_SIZE * known:
            yield f"the run had {known} samples and there are {here} in {self.samples.path.name}, so they come again sooner than in the run"
        method = hyperparameters.get("method")
        if method == "qlora" or hyperparameters.get("load_in_4bit") or hyperparameters.get("load_in_8bit"):
            yield "the quantized base of the run was probed unquantized"
        if method == "osft":
            yield "OSFT was probed as full fine-tuning"
        if method == "pretraining":
            yield "training began with the weights of the model, not with random ones"
        if self.facts.missing:
            yield f"not rebuilt: {', '.join(self.facts.missing)}"

    def model(self, hyperparameters: Mapping[str, Any], seed: int) -> tuple[nn.Module, list[str]]:
        """The model with its adapters and dropout, and what could not be done.

        Raises:
            ProbeError: peft is not installed, or the model cannot be loaded or adapted.
        """
        import torch

        method = hyperparameters.get("method")
        is_adapted = method in ADAPTERS or (method is None and positive(hyperparameters.get("lora_rank")) is not None)
        if is_adapted:
            require("peft")
        # Adapters stay in float32 above frozen weights, which may be as they came; what is trained needs float32 to take small steps.
        is_half = is_adapted and hyperparameters.get("precision") == "bf16" and self.pretrained.dtype == "bfloat16"
        model = self.pretrained.model(
            classes=self.class_count,
            dtype=torch.bfloat16 if is_half else torch.float32,
            pad=self.encoder.pad,
            seed=seed,
            shares=is_adapted,
        )
        notes = []
        dropout = hyperparameters.get("dropout")
        if isinstance(dropout, (int, float)) and not set_dropout(model, float(dropout)) and dropout:
            notes.append(f"dropout {dropout:g} was not used: the model has none")
        if is_adapted:
            model, note = adapt(
                model, hyperparameters, seed, is_rank_stabilized=self.facts.is_rank_stabilized, classifies=bool(self.classes)
            )
            notes += note
        if hyperparameters.get("gradient_checkpointing") and self.pretrained.weight_bytes > SMALL_WEIGHTS:
            checkpoint_activations(model)
        return model, notes


def language_loss(model: nn.Module, batch: Mapping[str, torch.Tensor], smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy of the next token, over the tokens that are learned."""
    from torch.nn import functional

    logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED, label_smoothing=smoothing
    )


def classification_loss(model: nn.Module, batch: Mapping[str, torch.Tensor], smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy of the class."""
    from torch.nn import functional

    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return functional.cross_entropy(logits.float(), batch["labels"], label_smoothing=smoothing)


def parameter_groups(model: nn.Module) -> list[dict[str, Any]] | None:
    """What is decayed and what is not, as Transformers' Trainer has it: neither biases nor norms; None where all is decayed."""
    from torch import nn

    norms = {id(own) for module in model.modules() if isinstance(module, nn.LayerNorm) for own in module.parameters(recurse=False)}
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    kept = [parameter for name, parameter in trained if id(parameter) in norms or NO_DECAY.search(name)]
    decayed = [parameter for name, parameter in trained if not (id(parameter) in norms or NO_DECAY.search(name))]
    return [{"params": decayed}, {"params": kept, "weight_decay": 0.0}] if kept and decayed else None


def set_dropout(model: nn.Module, probability: float) -> bool:
    """Give every dropout of a model a probability; whether it has any."""
    from torch import nn

    found = False
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p, found = probability, True
        for name in DROPOUTS:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)
                found = True
    return found


def _classes(pretrained: Pretrained, samples: Samples) -> dict[int | str, int]:
    """Label to class; {} where nothing is classified.

    Raises:
        InputError: the model classifies and the samples have no labels, or the labels are no classes.
    """
    if not samples.labels:
        if pretrained.is_classifier:
            raise InputError(samples.path, f'has no "label", and {pretrained.name} is a classifier', 'write {"text", "label"} lines')
        return {}
    known = {str(name): int(number) for name, number in (pretrained.config.label2id or {}).items()} if pretrained.is_classifier else {}
    if known and all(str(label) in known for label in samples.labels):
        return {label: known[str(label)] for label in samples.labels} | dict(known.items())
    numbers = [label for label in samples.labels if isinstance(label, int)]
    if not numbers:
        return {label: number for number, label in enumerate(samples.labels)}
    most = max(*numbers, (pretrained.config.num_labels if pretrained.is_classifier else 2) - 1)
    if most >= MOST_CLASSES:
        raise InputError(samples.path, f'has a "label" of {max(numbers)}', f"classes are numbered from 0, at most {MOST_CLASSES}")
    return {number: number for number in range(most + 1)}


def _held_out(samples: int) -> int:
    return min(HELD_OUT_MOST, max(1, round(HELD_OUT_SHARE * samples)))


def _has(package: str) -> bool:
    try:
        require(package)
    except ProbeError:
        return False
    return True
