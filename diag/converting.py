"""``diag convert``: the same training in another framework's words.

What the config says, and what its framework does where it says nothing, is written with the target's own table; then the result is read
back. Whatever does not come back as it was is listed: nothing is lost in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from diag.configs import same_value
from diag.dialects import load, recognition
from diag.dialects.base import FACTS, NO_KEY, TableDialect, misfit
from diag.dialects.draft import Draft, argument, nest, whole, yaml_lines
from diag.dialects.interpret import defaults, framework
from diag.dialects.litgpt import CHECKPOINTS, SWITCHES
from diag.dialects.table import Row, equivalents, habits
from diag.dialects.values import as_bool, as_float
from diag.documents import JSON as JSON_FORM
from diag.documents import PYTHON, SHELL, YAML, parse
from diag.errors import NothingToJudgeError, UsageError
from diag.plan import Options, Plan
from diag.text import nearest
from diag.vocabulary import HYPERPARAMETERS

FORMATS: Final = ("yaml", "json", "args", "python")

USUAL_FORMAT: Final = {"deepspeed": "json", "peft": "json", "megatron": "args", "training_hub": "python", "nanogpt": "python"}
"""Format that a framework's configs come in, where it is not YAML."""

FORMS: Final = {"yaml": YAML, "json": JSON_FORM, "args": SHELL, "python": PYTHON}

AVAILABLE: Final[dict[str, tuple[str, ...]]] = {
    "hf": ("yaml", "json", "args", "python"),
    "peft": ("json",),
    "deepspeed": ("json",),
    "megatron": ("args",),
    "nanogpt": ("python", "args"),
    "training_hub": ("python", "yaml", "args"),
}
"""Formats that a framework reads, where they are not YAML, JSON and arguments."""

COMMANDS: Final = {
    "hf": "trl sft",
    "automodel": "automodel CONFIG",
    "axolotl": "axolotl train CONFIG",
    "llamafactory": "llamafactory-cli train",
    "torchtune": "tune run RECIPE --config CONFIG",
    "lightning": "python train.py fit",
    "megatron": "pretrain_gpt.py",
    "nanogpt": "python train.py",
    "ultralytics": "yolo train",
}
"""What the arguments of a framework are appended to."""

RUNS: Final = {
    "hf": "trl sft --config CONFIG",
    "automodel": "automodel CONFIG",
    "axolotl": "axolotl train CONFIG",
    "llamafactory": "llamafactory-cli train CONFIG",
    "torchtune": "tune run RECIPE --config CONFIG",
    "lightning": "python train.py fit --config CONFIG",
    "litgpt": "litgpt {scope} --config CONFIG",
    "ultralytics": "yolo cfg=CONFIG",
}
"""What runs a config file."""

MISSING: Final = "missing"
CONVERTED: Final = "converted"
DEFAULT: Final = "default"

TITLES: Final = {
    MISSING: "Without an equivalent in {target}",
    CONVERTED: "Said in another way",
    DEFAULT: "Written out, as the defaults differ",
}

BATCH: Final = ("global_batch_size", "micro_batch_size", "gradient_accumulation_steps")
LENGTH: Final = ("num_epochs", "max_steps")
WARMUP: Final = ("warmup_steps", "warmup_ratio")
CADENCES: Final = ("eval_steps", "save_steps", "logging_steps")

LARGEST: Final = 1e18
"""Above this a number of anything is a slip of the finger."""

DECAYS: Final = {"cosine_with_min_lr": "cosine", "cosine_warmup_with_min_lr": "cosine", "constant_with_warmup": "constant"}
"""Schedules that are another one with a floor or a warmup, which are hyperparameters of their own."""

TRAINER: Final = frozenset({"hf", "llamafactory"})
"""Dialects that share the arguments of the Trainer."""

UNTOLD: Final = frozenset({"seed", "logging_steps"})
"""Defaults that are not written out: they change nothing about what is learnt."""


UNRECOGNIZABLE: Final = "dialect"
"""Name of the remark that the result is too short for its dialect to be told."""


class Remark(NamedTuple):
    """Something that did not carry over as it was: its kind, a canonical name or native key, a line."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """A config in another framework's words.

    Attributes:
        name: the config it was made of.
        source, dialect: the frameworks it is converted from and to.
        scope: the command or function it is for, "" where the framework has one only.
        keys: dotted native key to value; a part that is a number is an item of a list.
        processes: data-parallel processes, None if unknown.
        remarks: what has no equivalent, what was converted, which defaults were written out.
    """

    name: str
    source: str
    dialect: str
    scope: str
    keys: Mapping[str, Any]
    processes: int | None = None
    remarks: tuple[Remark, ...] = field(default=())

    @property
    def config(self) -> dict[str, Any]:
        """The keys, nested as in a file."""
        return nest(self.keys)

    def of_kind(self, kind: str) -> list[Remark]:
        """The remarks of one kind."""
        return [remark for remark in self.remarks if remark.kind == kind]

    def comments(self) -> list[str]:
        """The remarks as lines for a comment."""
        lines = [f"{framework(self.source)} to {framework(self.dialect)}, by diag convert"]
        for kind, title in TITLES.items():
            if found := self.of_kind(kind):
                lines += [f"{title.format(target=framework(self.dialect))}:", *(f"  {_one_line(remark.text)}" for remark in found)]
        return lines

    def text(self, format_: str = "") -> str:
        """The config as a file; JSON, which has no comments, without the remarks.

        Args:
            format_: one of FORMATS, "" for the framework's usual one.

        Raises:
            UsageError: the framework reads no such format.
        """
        format_ = format_ or USUAL_FORMAT.get(self.dialect, "yaml")
        available = AVAILABLE.get(self.dialect, ("yaml", "json", "args"))
        if format_ not in available:
            name = framework(self.dialect)
            raise UsageError(f"{name} takes no {format_}; choose {' or '.join(available)}" + nearest(format_, available))
        if format_ == "json":
            return json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"
        comments = "".join(f"# {line}\n" for line in self.comments())
        body = {"yaml": self._yaml, "args": self._command, "python": self._python}[format_]()
        return comments + body

    def _yaml(self) -> str:
        launch = RUNS.get(self.dialect, "").format(scope=self.scope) if self.source != self.dialect else ""
        return (f"# Run with: {launch}\n" if launch else "") + "".join(f"{line}\n" for line in yaml_lines(self.config))

    def _command(self) -> str:
        import shlex

        tokens, notes = _arguments(self)
        program = COMMANDS.get(self.dialect, "")
        if self.dialect == "training_hub":
            program = f"thub {self.scope.replace('_', '-')}"
        elif self.dialect == "litgpt":
            program = f"litgpt {self.scope}"
        elif self.dialect == "megatron":
            program = f"torchrun --nproc_per_node {self.processes or 1} {program}"
        lines = [program, *(" ".join(shlex.quote(token) for token in group) for group in _groups(tokens))]
        return "".join(f"# {_one_line(note)}\n" for note in notes) + " \\\n  ".join(lines) + "\n"

    def _python(self) -> str:
        if self.dialect == "nanogpt":
            return "".join(f"{key} = {value!r}\n" for key, value in self.config.items())
        if self.dialect == "hf":
            return _calls(self.config)
        return f"from training_hub import {self.scope}\n\n" + _call(self.scope, self.config)


def convert(plan: Plan, to: str) -> Conversion:
    """A training config in another framework's words.

    Args:
        plan: the config.
        to: name of the dialect to write.

    Raises:
        UsageError: there is no such dialect, or it cannot write whole configs.
        NothingToJudgeError: the config says nothing that the framework has a key for.
    """
    if to not in recognition.DIALECTS:
        raise UsageError(f"no dialect {to!r}{nearest(to, recognition.DIALECTS)}; there are {', '.join(recognition.DIALECTS)}")
    dialect = load(to)
    if not isinstance(dialect, TableDialect):
        raise UsageError(f"{to} can write changes only, no whole configs")
    statement = Statement(plan)
    scope = _scope(to, statement)
    shaped = _Shape(statement, dialect, Draft(to, _no_run(to), (), scope))
    draft = dialect.compose(shaped.values, scope=scope, length=plan.total_steps)
    carried = _carry(plan, dialect, draft, statement)
    if not draft.keys:
        raise NothingToJudgeError(f"{plan.document.path}: says nothing that {framework(to)} has a key for")
    draft.keys = _ordered(draft.keys, to)
    processes = round(plan.world_size) if plan.world_size else None
    written = Conversion(plan.document.path, plan.dialect, to, scope, draft.keys, processes)
    remarks = [*_losses(statement, shaped, written, draft, plan), *_unsaid(plan, (carried | shaped.used) - statement.dropped)]
    order = list(TITLES)
    unique = dict.fromkeys(sorted(remarks, key=lambda remark: order.index(remark.kind)))
    return Conversion(plan.document.path, plan.dialect, to, scope, draft.keys, processes, tuple(unique))


KINDS: Final = frozenset({"_target_", "_component_", "class_path", "type", "peft_type", "adapter", "finetuning_type", "use_peft", "path"})
"""Last parts of keys that say what a section is."""


def _ordered(keys: Mapping[str, Any], dialect: str) -> dict[str, Any]:
    """The model first, and in every section what it is."""
    places: dict[str, int] = {}
    for place, key in enumerate(keys):
        places.setdefault(_section(key), place)

    def rank(item: tuple[int, str]) -> tuple[bool, int, bool, int]:
        place, key = item
        section, _, leaf = key.rpartition(".")
        row = recognition.row(dialect, key)
        is_model = (row is not None and row.canonical == "_model_name") or section == "model"
        return not is_model, places[_section(key)], leaf not in KINDS, place

    return {key: keys[key] for _, key in sorted(enumerate(keys), key=rank)}


def _section(key: str) -> str:
    section, dot, _ = key.partition(".")
    return section if dot else ""


class Statement:
    """What a config says: canonical values, and which of them are the framework's doing.

    Attributes:
        values: canonical name to value.
        defaults: names whose value the config does not say.
        dropped: native keys whose number no training can have.
        remarks: name to how its value was worked out.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: dict[str, Any] = {}
        self.defaults: set[str] = set()
        self.dropped: set[str] = set()
        self.remarks: dict[str, str] = {}
        for name, entry in plan.hyperparameters.items():
            if name == "dataset_size" and entry.kind != "file":
                continue
            if isinstance(entry.value, (int, float)) and abs(entry.value) > LARGEST:
                self.dropped.add(entry.key)
                continue
            self.values[name] = entry.value
            if plan.is_default(name):
                self.defaults.add(name)
        self._deduce()
        if plan.is_set("learning_rate"):
            for name, value in habits(plan.dialect, _scope(plan.dialect, self)).items():
                if value is not None and name not in self.values and not self._is_settled(name):
                    self.values[name] = value
                    self.defaults.add(name)
        if str(self.values.get("lr_scheduler", "")).startswith("constant") and "min_lr" in self.defaults:
            del self.values["min_lr"]
        if plan.method is not None:
            self.values["method"] = plan.method

    def _is_settled(self, name: str) -> bool:
        """Whether another value leaves no room for a default."""
        for group in (LENGTH, WARMUP):
            if name in group and any(other in self.values for other in group):
                return True
        if name in BATCH:
            known = [other for other in BATCH if other in self.values]
            ignored = self.plan.dialect == "training_hub" and name == "micro_batch_size" and "global_batch_size" in known
            return len(known) > 1 or ignored
        return False

    def _deduce(self) -> None:
        """What takes more than one key to say."""
        plan, values = self.plan, self.values
        if plan.dialect == "litgpt" and any(plan.has(switch) for switch in SWITCHES):
            on = [modules for switch, modules in SWITCHES.items() if as_bool(plan.native(switch)) is True]
            values["lora_target_modules"] = [name for modules in on for name in modules if name != "output_proj"]
        if plan.dialect == "torchtune":
            names = values.get("lora_target_modules")
            if isinstance(names, list):
                names = ["o_proj" if name == "output_proj" else name for name in names]
                names += ["gate_proj", "up_proj", "down_proj"] if as_bool(plan.native("model.apply_lora_to_mlp")) else []
                values["lora_target_modules"] = [*names, "lm_head"] if as_bool(plan.native("model.apply_lora_to_output")) else names
            limit, epochs = plan.native("max_steps_per_epoch"), values.get("num_epochs", 1)
            if isinstance(limit, int) and not isinstance(limit, bool) and isinstance(epochs, (int, float)) and limit > 0:
                values["max_steps"] = round(limit * epochs)
        if plan.dialect == "lightning" and (steps := plan.number("eval_steps")) and (passes := plan.number("gradient_accumulation_steps")):
            values["eval_steps"] = steps / passes
            if passes > 1:
                self.remarks["eval_steps"] = f"eval_steps: {_show(steps)} batches, {_show(passes)} to a step, are {_show(steps / passes)}"
        if plan.dialect == "ultralytics" and (size := plan.number("global_batch_size")) and size > 0:
            values["gradient_accumulation_steps"] = 1
        if plan.dialect == "nanogpt" and as_bool(plan.native("decay_lr")) is False:
            values["lr_scheduler"] = "constant"

    def number(self, name: str) -> float | None:
        """A canonical value that is a number."""
        value = self.values.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def batch(values: Mapping[str, Any], world: float | None) -> dict[str, float]:
    """What is known of the three sizes of a batch: ``global = micro x accumulation x processes``."""
    known = {name: float(values[name]) for name in BATCH if isinstance(values.get(name), (int, float))}
    total, micro, passes = (known.get(name) for name in BATCH)
    processes = world or 1.0
    if total is None and micro is not None:
        total = micro * (passes or 1.0) * processes
    if passes is None and total is not None and micro:
        passes = total / (micro * processes)
    if micro is None and total is not None and passes:
        micro = total / (passes * processes)
    return {name: size for name, size in zip(BATCH, (total, micro, passes), strict=True) if size is not None}


class _Shape:
    """A statement cut to what the target can say: sizes, lengths and units it has keys for.

    Attributes:
        values: what to write.
        written_out: defaults of the source that the target does not share, each with a sentence.
        remarks: name to what was done about its unit.
        used: native keys of the source that went into these.
    """

    def __init__(self, statement: Statement, dialect: TableDialect, blank: Draft) -> None:
        self.statement = statement
        self.dialect = dialect
        self.blank = blank
        self.plan = statement.plan
        self.written_out: dict[str, str] = {}
        self.used: set[str] = set()
        self.remarks = dict(statement.remarks) if dialect.name != statement.plan.dialect else {}
        self.values = self._told()
        self._batch()
        self._length()
        self._warmup()
        self._cadences()
        self._stabilized_rank()

    def _row(self, name: str) -> Row | None:
        rows = self.dialect.usable(self.blank, name)
        return rows[0] if rows else None

    def _takes_fractions(self, name: str) -> bool:
        row = self._row(name)
        return row is not None and (not row.type or bool({"float", "number"} & set(row.type.split("|"))))

    def _told(self) -> dict[str, Any]:
        """What the config says, and defaults that the target does not share."""
        target = _silent(self.dialect.name, self.blank.scope or "")
        own = self.dialect.name == self.plan.dialect
        told: dict[str, Any] = {}
        for name, value in self.statement.values.items():
            if name in self.statement.defaults:
                if name in BATCH or name in LENGTH:
                    if own:
                        continue
                elif name in UNTOLD or own or (name in target and _same(name, value, target[name])):
                    continue
                theirs = f"has {_show(target[name])}" if name in target else "has none"
                self.written_out[name] = (
                    f"{name} {_show(value)} is the default of {framework(self.plan.dialect)}, {framework(self.dialect.name)} {theirs}"
                )
            told[name] = value
        if "lr_scheduler" in told and not any(name in told for name in WARMUP):
            # a schedule that is written needs its warmup written
            told.update({name: self.statement.values[name] for name in WARMUP if name in self.statement.values})
        return told

    def _batch(self) -> None:
        known = batch(self.values, self.plan.world_size)
        if not known:
            return
        wanted = [name for name in BATCH if self._row(name) is not None]
        if "global_batch_size" in wanted and "gradient_accumulation_steps" in wanted:  # two of three
            if self.dialect.name != "deepspeed" or self.plan.world_size is None:  # which takes all three, if they agree
                wanted = [name for name in BATCH if name in self.values] or wanted
            if self.dialect.name == "training_hub" and set(BATCH) & self.values.keys() == {"micro_batch_size"}:
                wanted = ["micro_batch_size", "gradient_accumulation_steps"]
        sizes = {name: known[name] for name in wanted if name in known and float(known[name]).is_integer()}
        if (
            {"gradient_accumulation_steps", "micro_batch_size"} <= {*wanted}
            and "micro_batch_size" not in known
            and "global_batch_size" in known
        ):
            processes = self.plan.world_size or 1.0
            sizes = {"micro_batch_size": 1, "gradient_accumulation_steps": max(round(known["global_batch_size"] / processes), 1)}
            self.remarks["micro_batch_size"] = (
                f"global_batch_size {_show(known['global_batch_size'])} is one sample at a time: raise the micro batch and lower the "
                "accumulation as memory allows"
            )
        derived = [name for name in sizes if name not in self.values]
        if derived and self.plan.world_size is None and "micro_batch_size" not in self.remarks:
            how = "multiply" if "global_batch_size" in derived else "divide"
            self.remarks[derived[0]] = f"{derived[0]} {_show(known[derived[0]])} is for one process: {how} it by their number"
        elif derived and "micro_batch_size" not in self.remarks:
            count = _show(self.plan.world_size or 1)
            total = "global_batch_size = micro_batch_size x gradient_accumulation_steps x processes"
            said = " = ".join((_show(known["global_batch_size"]), " x ".join([*(_show(known[n]) for n in BATCH[1:] if n in known), count])))
            self.remarks[derived[0]] = f"{total}: {said}"
        for name in BATCH:
            self.values.pop(name, None)
        self.values.update({name: int(size) for name, size in sizes.items()})

    def _length(self) -> None:
        epochs, steps, total = self.statement.number("num_epochs"), self.statement.number("max_steps"), self.plan.total_steps
        pace = self.plan.steps_per_epoch
        has_epochs, has_steps = self._row("num_epochs") is not None, self._row("max_steps") is not None
        limits_epochs = self.dialect.name == "torchtune"
        if "num_epochs" in self.values and not has_epochs and has_steps and total is not None and steps is None:
            self.values["max_steps"] = round(total)
            self.remarks["num_epochs"] = f"num_epochs {_show(epochs)} is max_steps {round(total)}"
        if "max_steps" in self.values and not has_steps and has_epochs and not limits_epochs and steps and pace:
            if "num_epochs" not in self.values or "num_epochs" in self.statement.defaults:
                self.values["num_epochs"] = math.ceil(steps / pace)
                self.written_out.pop("num_epochs", None)
            self.remarks["max_steps"] = f"max_steps {_show(steps)} is num_epochs {math.ceil(steps / pace)}"
        epochs = float(self.values["num_epochs"]) if "num_epochs" in self.values else None
        if epochs is not None and has_epochs and not epochs.is_integer() and not self._takes_fractions("num_epochs"):
            self.values["num_epochs"] = math.ceil(epochs)
            self.remarks["num_epochs"] = f"num_epochs {_show(epochs)} is rounded up, {framework(self.dialect.name)} takes whole epochs"
            if has_steps and total is not None and "max_steps" not in self.values:
                self.values["max_steps"] = round(total)
                self.remarks["num_epochs"] += f"; max_steps {round(total)} ends it in time"
        if self.dialect.name in TRAINER and {"num_epochs", "max_steps"} <= self.values.keys():
            del self.values["num_epochs"]
            self.written_out.pop("num_epochs", None)
            if epochs is not None and "num_epochs" not in self.statement.defaults:
                self.remarks["num_epochs"] = f"num_epochs {_show(epochs)} would be ignored beside max_steps"

    def _warmup(self) -> None:
        total = self.plan.total_steps
        takes_share = self._row("warmup_ratio") is not None or self.dialect.name == "hf" or self._row("_warmup_epochs") is not None
        share, steps = self.values.get("warmup_ratio"), self.values.get("warmup_steps")
        if share is not None and not takes_share and (total is not None or share == 0):
            del self.values["warmup_ratio"]
            self.values["warmup_steps"] = math.ceil(share * (total or 0))
            self.remarks["warmup_ratio"] = (
                f"warmup_ratio {_show(share)} of {_show(total or 0)} steps is warmup_steps {self.values['warmup_steps']}"
            )
        elif steps is not None and share is None and self._row("warmup_steps") is None and self.dialect.name == "ultralytics" and total:
            self.remarks["warmup_steps"] = f"warmup_steps {_show(steps)} is a share of the epochs"

    def _cadences(self) -> None:
        total = self.plan.total_steps
        for name in CADENCES:
            value = self.values.get(name)
            if isinstance(value, float) and not value.is_integer() and not self._takes_fractions(name):
                steps = value * total if value < 1 and total is not None else value
                if steps >= 1:
                    self.values[name] = round(steps)
                    self.remarks[name] = f"{name} {_show(value)} is {round(steps)} steps"
        pace = self.plan.steps_per_epoch
        for strategy, name in (("eval_strategy", "eval_steps"), ("save_strategy", "save_steps")):
            by_epoch = any(str(self.plan.native(key)).lower() == "epoch" for key in (strategy, strategy.replace("eval_", "evaluation_")))
            known = strategy in equivalents(self.dialect.name)
            if by_epoch and not known and pace and name not in self.values and self._row(name) is not None:
                self.values[name] = round(pace)
                self.used |= {strategy, strategy.replace("eval_", "evaluation_")}
                self.remarks[name] = f"{strategy} epoch is {name} {round(pace)}"
        if (self.dialect.name == "ultralytics") is not (self.plan.dialect == "ultralytics") and "early_stopping_patience" in self.values:
            here, there = ("epochs", "evaluations") if self.plan.dialect == "ultralytics" else ("evaluations", "epochs")
            self.remarks["early_stopping_patience"] = f"early_stopping_patience counts {here} in one framework and {there} in the other"

    def _stabilized_rank(self) -> None:
        """Where the target cannot divide alpha by the square root of the rank, alpha takes up the difference."""
        rank, alpha = self.statement.number("lora_rank"), self.statement.number("lora_alpha")
        if not self.plan.is_rank_stabilized or "rslora" in equivalents(self.dialect.name) or not rank or alpha is None:
            return
        scaled = alpha * math.sqrt(rank)
        row = self._row("lora_alpha")
        if row is not None:
            self.values["lora_alpha"] = scaled if self._takes_fractions("lora_alpha") else max(round(scaled), 1)
            self.remarks["lora_alpha"] = (
                f"lora_alpha {_show(alpha)} is {_show(self.values['lora_alpha'])}: without rank-stabilized scaling alpha is divided by the "
                "rank, not by its square root"
            )


def _scope(dialect: str, statement: Statement) -> str:
    """The command or function that a training is one of."""
    method, entry = statement.values.get("method"), recognition.scope_of(statement.plan.document.entry)
    adapts = method in ("lora", "qlora") or "lora_rank" in statement.values
    if dialect == "training_hub":
        if statement.plan.dialect == dialect and entry in ("sft", "osft", "lora_sft"):
            return entry
        return "osft" if method == "osft" or "unfreeze_rank_ratio" in statement.values else "lora_sft" if adapts else "sft"
    if dialect == "litgpt":
        if statement.plan.dialect == dialect and entry.startswith(("finetune", "pretrain")):
            return entry
        pretrains = method == "pretraining" or (statement.plan.dialect == dialect and statement.plan.has("train.max_norm"))
        return "pretrain" if pretrains else "finetune_lora" if adapts else "finetune_full"
    return ""


def _silent(dialect: str, scope: str) -> dict[str, Any]:
    """What a framework does where its config is silent: the defaults of its keys, and its habits."""
    known = {name: reading.value for name, reading in defaults(dialect, (), "").items()}
    return {**habits(dialect, scope), **known}


def _no_run(dialect: str) -> Any:
    from diag.run import Run

    return Run("", "", "config", {}, {}, dialect)


def _same(name: str, first: Any, second: Any) -> bool:
    if name == "lr_scheduler":
        return bool(DECAYS.get(first, first) == DECAYS.get(second, second))
    if name == "lora_target_modules":
        first, second = ([item] if isinstance(item, str) else item for item in (first, second))
    return same_value(name, first, second)


def _carry(plan: Plan, dialect: TableDialect, draft: Draft, statement: Statement) -> set[str]:
    """Write what stands for no hyperparameter but has a key on both sides; the native keys of the source that were used."""
    used = {reading.key for reading in plan.readings.values() if reading.key}
    used |= _boilerplate(plan)
    name = next((value for key, value in plan.flat.items() if (row := plan.row(key)) and row.canonical == "_model_name"), None)
    if isinstance(name, str) and (rows := dialect.usable(draft, "_model_name")):
        plain = name.removeprefix(CHECKPOINTS) if plan.dialect == "litgpt" else name
        draft.set(rows[0].native, CHECKPOINTS + plain if dialect.name == "litgpt" and rows[0].native == "checkpoint_dir" else plain)
        used |= {key for key in plan.flat if (row := plan.row(key)) and row.canonical == "_model_name"}
    dataset = plan.hyperparameters.get("dataset_size")
    if dataset is not None and dataset.kind == "file" and (rows := dialect.usable(draft, "dataset_size")):
        draft.set(rows[0].native, int(dataset.value))
    if plan.world_size and (rows := dialect.usable(draft, "world_size")) and rows[0].cli != "-":
        draft.set(rows[0].native, int(plan.world_size))
    used |= _equivalents(plan, dialect, draft)
    if dialect.name == plan.dialect:
        used |= _own(plan, draft)
    elif {dialect.name, plan.dialect} <= TRAINER:
        used |= _shared(plan, dialect, draft)
    if dialect.name != plan.dialect:
        dialect.frame(draft)
    return used


def _equivalents(plan: Plan, dialect: TableDialect, draft: Draft) -> set[str]:
    used = set()
    theirs = equivalents(dialect.name)
    for meaning, key in equivalents(plan.dialect).items():
        target, (found, value) = theirs.get(meaning), _native(plan, key)
        if not found or value is None or target is None or dialect.name == plan.dialect:
            continue
        if target in draft.keys:
            used |= {found} if draft.keys[target] == value else set()
            continue
        if meaning == "data" and not _fits_data(str(value), dialect.name):
            continue
        row = recognition.row(dialect.name, target)
        if row is not None and (misfit(row, value) or (row.scope and not dialect.scopes(draft) & set(row.scope.split()))):
            continue
        draft.set(target, value)
        used.add(found)
    for section in {key[:-2] for key in draft.keys if key.endswith((".betas.0", ".betas.1"))}:
        first, second = (draft.keys.pop(f"{section}.{index}", standard) for index, standard in ((0, 0.9), (1, 0.999)))
        draft.set(section, [first, second])
    return used


LOCAL_FILE: Final = re.compile(r"^(?:/|\.{1,2}/|~)|\.(?:jsonl?|csv|parquet|txt|arrow)$")
LOADERS: Final = frozenset({"json", "csv", "parquet", "text", "arrow"})
"""Names of loaders that stand where a data set's name could."""


def _fits_data(name: str, dialect: str) -> bool:
    """Whether a framework finds data by such a name: Training Hub reads files, others look data sets up by name, Axolotl does both."""
    if name in LOADERS or dialect == "axolotl":
        return name not in LOADERS
    return (dialect == "training_hub") is bool(LOCAL_FILE.search(name))


def _native(plan: Plan, key: str) -> tuple[str, Any]:
    """A native key and its value; an item of a list is of the list. "" for a key that the config does not have."""
    if key in plan.flat:
        return key, plan.flat[key]
    parent, _, index = key.rpartition(".")
    items = plan.flat.get(parent)
    if index.isdecimal() and isinstance(items, (list, tuple)) and int(index) < len(items):
        return parent, items[int(index)]
    return "", None


def _own(plan: Plan, draft: Draft) -> set[str]:
    """The documented keys of a config in its own dialect, as they stand."""
    used = set()
    for key, value in plan.flat.items():
        row = plan.row(key)
        if row is None or row.until or (row.canonical and (key in draft.keys or not row.canonical.startswith("_"))):
            continue
        if value is not None and misfit(row, value):
            continue
        draft.set(key, value)
        used.add(key)
    return used


def _shared(plan: Plan, dialect: TableDialect, draft: Draft) -> set[str]:
    """The arguments of the Trainer, which both frameworks take."""
    used = set()
    for key, value in plan.flat.items():
        mine, theirs = plan.row(key), recognition.row(dialect.name, key)
        if mine is None or theirs is None or mine.canonical or theirs.canonical or mine.scope or theirs.scope or theirs.until:
            continue
        if key not in draft.keys and value is not None and not misfit(theirs, value) and mine.type == theirs.type:
            draft.set(key, value)
            used.add(key)
    return used


BOILERPLATE: Final[dict[str, dict[str, frozenset[Any] | None]]] = {
    "hf": {
        "eval_strategy": frozenset({"steps"}),
        "save_strategy": frozenset({"steps"}),
        "evaluation_strategy": frozenset({"steps"}),
        "use_peft": None,
        "lora_task_type": frozenset({"CAUSAL_LM"}),
        "do_train": None,
    },
    "peft": {"peft_type": frozenset({"LORA"}), "task_type": frozenset({"CAUSAL_LM"})},
    "automodel": {"recipe": None, "peft._target_": None, "model._target_": None, "lr_scheduler.init_lr": frozenset({0})},
    "axolotl": {"adapter": frozenset({"lora", "qlora"})},
    "llamafactory": {
        "eval_strategy": frozenset({"steps"}),
        "save_strategy": frozenset({"steps"}),
        "stage": frozenset({"sft", "pt"}),
        "do_train": None,
        "finetuning_type": frozenset({"lora", "full"}),
    },
    "torchtune": {"max_steps_per_epoch": None, "model.apply_lora_to_mlp": None, "model.apply_lora_to_output": None},
    "litgpt": dict.fromkeys(SWITCHES),
    "nanogpt": {"decay_lr": None},
    "ultralytics": {"mode": frozenset({"train"})},
}
"""Keys whose meaning is that of the method, the adapter or the schedule and is written with those, and the values of which this is so
(None for all)."""


def _boilerplate(plan: Plan) -> set[str]:
    """Keys that say nothing by themselves: their meaning went into the hyperparameters."""
    known = BOILERPLATE.get(plan.dialect, {})
    keys = {key for key, values in known.items() if key in plan.flat and (values is None or plan.flat[key] in tuple(values))}
    for key in plan.flat:
        row = plan.row(key)
        if (
            row is not None
            and row.canonical
            in (
                "_bf16",
                "_fp16",
                "_amp",
                "_quantization_bit",
                "_quantize",
                "_method",
                "_pack_size",
                "_cosine",
            )
        ) or (row is not None and row.canonical in plan.readings):
            keys.add(key)
    return keys


def _losses(statement: Statement, shaped: _Shape, written: Conversion, draft: Draft, plan: Plan) -> Iterator[Remark]:
    """What does not come back from the written config as the source says it."""
    text = written.text()
    form = FORMS[USUAL_FORMAT.get(written.dialect, "yaml")]
    document = next(iter(parse(text, name=plan.document.path, form=form)), None)
    if document is None:
        raise NothingToJudgeError(f"{plan.document.path}: says too little for a config of {framework(written.dialect)}")
    if recognition.detect(document.flat(), document.entry, document.containers) != written.dialect:
        name = framework(written.dialect)
        yield Remark(CONVERTED, UNRECOGNIZABLE, f"so few keys are no sign of {name}: read the result with --dialect {written.dialect}")
    options = Options(dataset_size=plan.options.dataset_size, model_parameters=plan.parameters, world_size=written.processes)
    again = Plan(document, written.dialect, options)
    target = {name: entry.value for name, entry in again.hyperparameters.items()}
    if again.is_set("learning_rate") or written.dialect in ("nanogpt", "megatron"):
        for name, value in habits(written.dialect, written.scope).items():
            if value is not None:
                target.setdefault(name, value)
    for name in HYPERPARAMETERS:
        if name in shaped.remarks and name not in statement.values:
            yield Remark(CONVERTED, name, shaped.remarks[name])
        if name not in statement.values or name in FACTS - {"method"} or (name in statement.defaults and name in UNTOLD):
            continue
        value = statement.values[name]
        kept = _kept(name, value, target, plan, again)
        remark = shaped.remarks.get(name)
        if kept and remark is None:
            reading = again.readings.get(name)
            row = recognition.row(written.dialect, reading.key) if reading is not None and reading.key else None
            if row is not None and (row.conversion == "negate" or row.canonical == "_min_lr_ratio") and plan.key_of(name) != row.native:
                yield Remark(CONVERTED, name, f"{name} {_show(value)} is {row.native} {_show(again.native(row.native))}")
            continue
        if name in statement.defaults and target.get(name) is None and remark is None:
            continue  # nobody says it, and nobody says otherwise
        if remark is not None or name in draft.rephrased:
            how = remark or _lower(draft.rephrased[name])
            yield Remark(CONVERTED, name, how if how.startswith(name) else f"{name} {_show(value)}: {how}")
        elif target.get(name) is not None and name not in draft.reasons:
            yield Remark(CONVERTED, name, f"{name} {_show(value)} becomes {_show(target[name])}")
        else:
            reason = draft.reasons.get(name, NO_KEY)
            yield Remark(MISSING, name, f"{name} {_show(value)}" + ("" if reason == NO_KEY else f": {_lower(reason)}"))
    for name in shaped.written_out:
        if again.is_set(name):
            yield Remark(DEFAULT, name, shaped.written_out[name])


def _lower(sentence: str) -> str:
    """A sentence that continues a line."""
    first, _, rest = sentence.partition(" ")
    return f"{first.lower() if first in CAPITALIZED else first} {rest}".rstrip(".")


CAPITALIZED: Final = frozenset({"A", "An", "It", "No", "Only", "The", "There", "Without"})


def _kept(name: str, value: Any, target: Mapping[str, Any], plan: Plan, again: Plan) -> bool:
    """Whether the written config says the same."""
    if name in target and _same(name, value, target[name]):
        return True
    if name in BATCH:
        mine, theirs = batch(plan_values(plan), plan.world_size), batch(target, plan.world_size)
        return name in mine and name in theirs and math.isclose(mine[name], theirs[name])
    if name in WARMUP and (mine_steps := plan.warmup_steps) is not None and (their_steps := again.warmup_steps) is not None:
        return abs(mine_steps - their_steps) <= 1
    if name == "method":
        return target.get(name) is None
    if name == "max_grad_norm":
        return not value and not target.get(name)
    if name == "early_stopping_threshold":
        return not value and "early_stopping_patience" in target
    if isinstance(value, bool) and not value:
        return target.get(name) in (None, False)
    if name == "lora_dropout" or name == "dropout" or name == "min_lr":
        return not value and not target.get(name)
    return False


def plan_values(plan: Plan) -> dict[str, Any]:
    """The canonical values of a plan."""
    return {name: entry.value for name, entry in plan.hyperparameters.items()}


def _unsaid(plan: Plan, used: set[str]) -> Iterator[Remark]:
    """Native keys that nothing in the target stands for."""
    for key, value in plan.flat.items():
        if key in used or value is None or value == "" or value == [] or _is_default(plan.row(key), value):
            continue
        yield Remark(MISSING, key, f"{key}: {_show(value)}")


def _is_default(row: Row | None, value: Any) -> bool:
    """Whether a native value is what the framework would take anyway."""
    if row is None:
        return False
    standard = row.default or ("false" if row.type == "bool" else "")
    if isinstance(value, bool):
        return standard.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        return bool(standard) and as_float(standard) == float(value)
    return bool(standard) and str(value) == standard


def _show(value: Any) -> str:
    if isinstance(value, float):
        return argument(whole(value))
    if isinstance(value, bool):
        return str(value).lower()
    text = argument(value) if isinstance(value, (list, tuple, dict)) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(text: str) -> str:
    from diag.terminal import safe

    return " ".join(safe(text).split())


def _arguments(conversion: Conversion) -> tuple[list[str], list[str]]:
    """The command-line tokens, and remarks on what they cannot say."""
    dialect = load(conversion.dialect)
    assert isinstance(dialect, TableDialect)  # it wrote the conversion
    draft = Draft(conversion.dialect, _no_run(conversion.dialect), (), conversion.scope)
    draft.keys = dict(conversion.keys)
    return dialect.arguments(draft), draft.notes


def _groups(tokens: list[str]) -> list[list[str]]:
    """Flags with their values."""
    groups: list[list[str]] = []
    for token in tokens:
        if not groups or token.startswith("--") or not groups[-1][0].startswith("--"):
            groups.append([token])
        else:
            groups[-1].append(token)
    return groups


def _call(name: str, arguments: Mapping[str, Any], variable: str = "") -> str:
    lines = [f"    {key}={value!r},\n" for key, value in arguments.items() if key.isidentifier()]
    return f"{variable}{name}(\n{''.join(lines)})\n"


def _calls(config: Mapping[str, Any]) -> str:
    """TRL's classes, each with the arguments that are its own."""
    parts: dict[str, dict[str, Any]] = {"SFTConfig": {}, "ModelConfig": {}, "ScriptArguments": {}}
    for key, value in config.items():
        row = recognition.row("hf", key)
        owner = next((name for name in parts if row is not None and name in row.scope.split()), "SFTConfig")
        parts[owner][key] = value
    used = {name: arguments for name, arguments in parts.items() if arguments}
    variables = {"SFTConfig": "training_args = ", "ModelConfig": "model_args = ", "ScriptArguments": "script_args = "}
    return f"from trl import {', '.join(used)}\n\n" + "".join(_call(name, arguments, variables[name]) for name, arguments in used.items())
