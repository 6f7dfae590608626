"""A plan: one training config as lint rules see it, with what it amounts to (steps, batch, warmup, evaluations).

Values come from the user (options), the config, and the defaults of its framework, in that order. Everything that cannot be
worked out is None: a rule that needs it stays silent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from diag.dialects import recognition
from diag.dialects.interpret import defaults
from diag.dialects.table import Row, documented
from diag.documents import Document
from diag.guides import Band, band, dataset_samples
from diag.guides.profiles import BALANCED, default_profile
from diag.hyperparameter import Hyperparameter
from diag.vocabulary import METHODS

FINE_TUNING: Final = ("sft", "lora", "qlora", "osft")
ADAPTERS: Final = ("lora", "qlora")
PRETRAINING: Final = "pretraining"

SMALLEST_GUIDED_MODEL: Final = 5e8
"""Parameters. The guides speak of language models from about a billion parameters up; their bands say nothing about smaller ones."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about a config.

    Attributes:
        method: one of METHODS.
        dataset_size: training samples.
        model_parameters: parameters of the model.
        world_size: data-parallel processes.
        profile: one of ``diag.guides.PROFILES`` or ``SOURCES``; None follows the config's framework.
        dialect: how to read the config; None detects it.
        form: ``yaml``, ``json``, ``shell`` or ``python``; None goes by the file's suffix.
        sample_lengths: tokens of every training sample (of a random part of them), () if unknown.
    """

    method: str | None = None
    dataset_size: int | None = None
    model_parameters: float | None = None
    world_size: int | None = None
    profile: str | None = None
    dialect: str | None = None
    form: str | None = None
    sample_lengths: tuple[int, ...] = ()


class Place(NamedTuple):
    """Where something stands: native key ("" for the whole config), line and column from 1."""

    key: str
    line: int
    column: int


class Plan:
    """One config and what it amounts to.

    Attributes:
        document: the config as it stands in its file.
        dialect: name of its dialect; ``peft`` for an adapter config.
        options: what the user says.
        profile: whose reading of the guides decides.
        hyperparameters: canonical name to value and source: user, file, or (kind ``inferred``) the framework's default.
        data: what local data the config names tells (``diag.local_data``): ``dataset_size`` and where from; may be empty.
        base: the plan this one was derived from, None if the user names none.
        inherited: settings of the config files that a launch command names; what the command itself sets comes first.
        flat: dotted native key to value, inherited ones included.
    """

    def __init__(
        self,
        document: Document,
        dialect: str,
        options: Options | None = None,
        data: Mapping[str, Any] | None = None,
        inherited: Mapping[str, Any] | None = None,
    ) -> None:
        self.document = document
        self.dialect = dialect
        self.options = options or Options()
        self.profile = self.options.profile or default_profile(dialect)
        self.data = dict(data or {})
        self.base: Plan | None = None
        self.inherited = dict(inherited or {})
        self.flat = {**self.inherited, **document.flat()}
        self.readings = recognition.read(dialect, self.flat, document.entry)
        self.hyperparameters = self._hyperparameters()

    def _hyperparameters(self) -> dict[str, Hyperparameter]:
        known: dict[str, Hyperparameter] = {}
        given = {
            "method": self.options.method,
            "dataset_size": self.options.dataset_size,
            "model_parameters": self.options.model_parameters,
            "world_size": self.options.world_size,
        }
        known.update({name: Hyperparameter(value, "user") for name, value in given.items() if value is not None})
        for name, reading in self.readings.items():
            setting = self.document.settings.get(reading.key)
            line = setting.line if setting is not None else 0
            known.setdefault(name, Hyperparameter(reading.value, "file", self.document.path, line, reading.key, reading.note))
        if self.document.processes is not None:
            note = f"the launcher, {self.document.launcher}"
            known.setdefault("world_size", Hyperparameter(self.document.processes, "inferred", note=note))
        if "dataset_size" in self.data:
            note = str(self.data.get("source", "data"))
            known.setdefault("dataset_size", Hyperparameter(self.data["dataset_size"], "inferred", note=note))
        elif (named := self._named_dataset()) is not None:
            known.setdefault("dataset_size", named)
        if self._is_training(known):
            for name, reading in defaults(self.dialect, self.flat.keys(), self.document.path).items():
                if not (name == "num_epochs" and "max_steps" in known):
                    known.setdefault(name, Hyperparameter(reading.value, "inferred", key=reading.key, note=reading.note))
        return known

    @staticmethod
    def _is_training(known: Mapping[str, Hyperparameter]) -> bool:
        return "learning_rate" in known and known["learning_rate"].kind == "file"

    def _named_dataset(self) -> Hyperparameter | None:
        """The size of the data set if the config trains on one that the guides name."""
        for key, value in self.flat.items():
            if isinstance(value, str) and DATASET_KEY.search(key) and not EVALUATION_KEY.search(key) and (size := dataset_samples(value)):
                return Hyperparameter(size, "inferred", note=f"{value}, {key}")
        return None

    # What the config says.

    def value(self, name: str) -> Any:
        """A canonical hyperparameter, None if unknown; defaults of the framework count."""
        entry = self.hyperparameters.get(name)
        return None if entry is None else entry.value

    def number(self, name: str) -> float | None:
        """As ``value``, finite numbers only."""
        value = self.value(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None

    def is_set(self, name: str) -> bool:
        """Whether the config itself sets a canonical hyperparameter."""
        entry = self.hyperparameters.get(name)
        return entry is not None and entry.kind == "file"

    def is_default(self, name: str) -> bool:
        """Whether a value is the framework's default."""
        entry = self.hyperparameters.get(name)
        return entry is not None and entry.kind == "inferred" and entry.note.startswith("the default of")

    def native(self, key: str) -> Any:
        """The value of a native key, None if the config does not set it (or a script computes it)."""
        return self.flat.get(key)

    def has(self, key: str) -> bool:
        """Whether the config has a native key, or a section of that name."""
        return key in self.document.settings or key in self.document.containers or key in self.inherited

    def section(self, name: str) -> dict[str, Any]:
        """The settings below a native section, keys relative to it."""
        prefix = f"{name}."
        return {key[len(prefix) :]: value for key, value in self.flat.items() if key.startswith(prefix)}

    def key_of(self, name: str) -> str:
        """The native key of a canonical hyperparameter: the config's own, else the dialect's usual one, else the name itself."""
        entry = self.hyperparameters.get(name)
        if entry is not None and entry.key and entry.key in self.document.settings:
            return entry.key
        return next((row.native for row in documented(self.dialect) if row.canonical == name), name)

    def place(self, name: str) -> Place:
        """Where a canonical name or native key stands; the nearest section, or the beginning, where it is missing."""
        entry = self.hyperparameters.get(name)
        key = entry.key if entry is not None and entry.key in self.document.settings else name
        setting = self.document.settings.get(key)
        if setting is not None:
            return Place(key, setting.line, setting.column)
        missing = self.key_of(name) if name else ""
        parent = missing if missing in self.document.containers else missing.rpartition(".")[0]
        while parent and parent not in self.document.containers:
            parent = parent.rpartition(".")[0]
        line = self.document.containers.get(parent, self.document.line) if parent else self.document.line
        return Place(missing, line, 1)

    def source(self, name: str) -> str:
        """Where a value comes from, for a sentence: ``the default``, ``given by the user``, or ""."""
        entry = self.hyperparameters.get(name)
        if entry is None or entry.kind == "file":
            return ""
        return "the default" if self.is_default(name) else entry.source

    def row(self, key: str) -> Row | None:
        """The table's row of a native key, that of its own command or class if there is one; None for one that is not documented."""
        rows = recognition.rows_of(self.dialect, key)
        return next((row for row in rows if self.scope and self.scope in row.scope.split()), rows[0] if rows else None)

    @cached_property
    def scope(self) -> str:
        """The command, function or class of its framework that runs this config, as the tables name it; "" if it does not tell."""
        return recognition.scope_of(self.document.entry)

    # What it amounts to.

    @property
    def is_partial(self) -> bool:
        """Whether a command names a config file that is not there: what it does not set may be set in the file."""
        return bool(self.document.configs) and not self.inherited

    @cached_property
    def is_whole(self) -> bool:
        """Whether this is a whole training config rather than a part of one: it says how fast to learn and how long.

        A command that names a config file only overrides some of it.
        """
        return (
            self._is_training(self.hyperparameters)
            and not self.document.configs
            and any(self.is_set(name) for name in ("num_epochs", "max_steps", "global_batch_size", "micro_batch_size"))
        )

    @cached_property
    def method(self) -> str | None:
        """How the model is trained, one of METHODS; None if the config does not tell."""
        value = self.value("method")
        return value if value in METHODS else None

    @cached_property
    def is_supervised(self) -> bool:
        """Whether tokens are learned from examples; preferences (DPO and its kin) and rewards take far lower learning rates."""
        return not recognition.learns_from_preferences(self.flat, self.document.entry)

    @property
    def is_adapter(self) -> bool:
        """Whether low-rank adapters are trained."""
        return self.method in ADAPTERS

    @property
    def is_fine_tuning(self) -> bool:
        """Whether a pretrained model is trained further."""
        return self.method in FINE_TUNING

    @cached_property
    def samples(self) -> float | None:
        """Training samples."""
        return self.number("dataset_size")

    @cached_property
    def parameters(self) -> float | None:
        """Parameters of the model."""
        return self.number("model_parameters") or recognition.parameters_of_known_model(self.flat)

    @property
    def is_guided(self) -> bool:
        """Whether the guides' bands are about this model: a language model of SMALLEST_GUIDED_MODEL parameters or more, or unknown."""
        return self.parameters is None or self.parameters >= SMALLEST_GUIDED_MODEL

    @cached_property
    def world_size(self) -> float | None:
        """Data-parallel processes, None if unknown."""
        return self.number("world_size")

    @cached_property
    def global_batch(self) -> float | None:
        """Samples an optimizer step. Where the number of processes is unknown it is taken for one (``is_batch_certain``)."""
        if (batch := self.number("global_batch_size")) is not None:
            return batch
        micro = self.number("micro_batch_size")
        if micro is None:
            return None
        return micro * (self.number("gradient_accumulation_steps") or 1.0) * (self.world_size or 1.0)

    @property
    def is_batch_certain(self) -> bool:
        """Whether the effective batch is known, and not only the part of one process."""
        return self.number("global_batch_size") is not None or self.world_size is not None

    @cached_property
    def accumulation(self) -> float | None:
        """Micro-batches an optimizer step."""
        if (steps := self.number("gradient_accumulation_steps")) is not None:
            return steps
        micro, batch = self.number("micro_batch_size"), self.number("global_batch_size")
        if micro is None or batch is None or self.world_size is None:
            return None
        return batch / (micro * self.world_size)

    @cached_property
    def steps_per_epoch(self) -> float | None:
        """Optimizer steps an epoch."""
        if self.samples is None or not self.global_batch:
            return None
        return max(math.ceil(self.samples / self.global_batch), 1)

    @cached_property
    def total_steps(self) -> float | None:
        """Optimizer steps of the run."""
        if (steps := self.number("max_steps")) is not None:
            return steps
        epochs = self.number("num_epochs")
        return None if epochs is None or self.steps_per_epoch is None else max(math.ceil(epochs * self.steps_per_epoch), 1)

    @cached_property
    def epochs(self) -> float | None:
        """Passes over the data: as configured, or from the number of steps."""
        if (steps := self.number("max_steps")) is not None:
            return None if self.steps_per_epoch is None else steps / self.steps_per_epoch
        return self.number("num_epochs")

    @cached_property
    def warmup_steps(self) -> float | None:
        """Steps of learning-rate warmup; None if the config does not say, or gives a share of an unknown length."""
        if (steps := self.number("warmup_steps")) is not None:
            return steps
        share = self.number("warmup_ratio")
        if share is None:
            return None
        return 0.0 if share == 0 else None if self.total_steps is None else share * self.total_steps

    @cached_property
    def warmup_share(self) -> float | None:
        """Share of the run spent warming up."""
        if (share := self.number("warmup_ratio")) is not None:
            return share
        steps = self.number("warmup_steps")
        if steps is None:
            return None
        return 0.0 if steps == 0 else None if not self.total_steps else steps / self.total_steps

    @cached_property
    def alpha_to_rank(self) -> float | None:
        """The scale of the adapters, ``alpha / rank`` (``alpha / sqrt(rank)`` with rank-stabilized LoRA)."""
        rank, alpha = self.number("lora_rank"), self.number("lora_alpha")
        if not rank or alpha is None:
            return None
        return alpha / (math.sqrt(rank) if self.is_rank_stabilized else rank)

    @property
    def is_rank_stabilized(self) -> bool:
        """Whether the adapters are scaled by the square root of the rank."""
        return any(value is True and key.rsplit(".", 1)[-1] in {"use_rslora", "peft_use_rslora"} for key, value in self.flat.items())

    # What the guides say.

    def band(self, parameter: str) -> Band | None:
        """Where to start and how far to go with a parameter, for this method, data and model; None where the guides do not say.

        They say nothing of the learning rate of preference optimization and reinforcement learning.
        """
        if not self.is_guided or (parameter == "learning_rate" and not self.is_supervised):
            return None
        batch = self.global_batch if parameter == "learning_rate" and self.is_batch_certain else None
        return band(parameter, self.method, self.samples, self.parameters, self.profile or BALANCED, global_batch_size=batch)


DATASET_KEY: Final = re.compile(
    r"(?:^|[._])(?:path_or_dataset(?:_id)?|dataset_name|dataset_id|dataset|source|path|data_path|datasets\.\d+\.path)$"
)
"""Keys that may name the training data."""

EVALUATION_KEY: Final = re.compile(r"(?:^|[._])(?:val|valid|validation|eval|evaluation|test)(?:[._]|$)|^(?:val|validation|eval|test)_?data")
"""Keys that name the evaluation data."""
