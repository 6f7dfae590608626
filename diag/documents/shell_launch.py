"""Which commands of a script start a training, through which launcher, with how many processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from diag.documents.shell_words import Field


class Style(NamedTuple):
    """How a program takes its settings.

    Attributes:
        assign: as ``key=value``, not as ``--key value``.
        lower: booleans as ``true`` and ``false``.
        none: the word for null.
        lists: ``words`` (separate arguments), ``json``, ``python`` or ``bare`` (``[a,b]``).
        negate: ``--no-flag`` for false.
    """

    assign: bool = False
    lower: bool = False
    none: str = "None"
    lists: str = "words"
    negate: bool = False


PLAIN: Final = Style()
JSONARGPARSE: Final = Style(lower=True, none="null", lists="json")
OMEGACONF: Final = Style(assign=True, none="null", lists="bare")

PROGRAMS: Final = {
    "trl": PLAIN,
    "automodel": Style(lower=True, none="none", lists="python"),
    "llamafactory-cli": OMEGACONF._replace(lower=True),
    "axolotl": Style(lower=True, negate=True),
    "tune": OMEGACONF,
    "litgpt": JSONARGPARSE,
    "thub": Style(lower=True),
    "yolo": OMEGACONF,
}
"""Programs that train, with how they take settings (their command line parsers: argparse, OmegaConf, jsonargparse, click)."""

ALIASES: Final = {"am": "automodel", "lmf": "llamafactory-cli"}

MODULES: Final = {
    "trl": "trl",
    "nemo_automodel.cli.app": "automodel",
    "llamafactory.cli": "llamafactory-cli",
    "torchtune._cli.tune": "tune",
    "litgpt": "litgpt",
    "training_hub.cli": "thub",
}
"""Modules that are the program of the value (``python -m litgpt``)."""

LAUNCHERS: Final = {
    "torch.distributed.run": "torchrun",
    "torch.distributed.launch": "torchrun",
    "accelerate.commands.launch": "accelerate",
    "deepspeed": "deepspeed",
    "deepspeed.launcher.runner": "deepspeed",
}
"""Modules that start processes, with the program they are."""

WRAPPERS: Final = frozenset(
    [
        "sudo",
        "env",
        "nohup",
        "time",
        "exec",
        "command",
        "nice",
        "ionice",
        "setsid",
        "stdbuf",
        "timeout",
        "numactl",
        "taskset",
        "srun",
        "mpirun",
        "mpiexec",
        "orterun",
        "horovodrun",
        "uv",
        "uvx",
        "poetry",
        "pdm",
        "pipenv",
        "pixi",
        "rye",
        "hatch",
        "conda",
        "mamba",
        "micromamba",
        "singularity",
        "apptainer",
        "docker",
        "podman",
        "nsys",
        "unbuffer",
        "xvfb-run",
    ]
)
"""Commands that run the command they are given."""

MANAGERS: Final = frozenset(
    [
        "uv",
        "poetry",
        "pdm",
        "pipenv",
        "pixi",
        "rye",
        "hatch",
        "conda",
        "mamba",
        "micromamba",
        "docker",
        "podman",
        "singularity",
        "apptainer",
    ]
)
"""Those that do so only after the word ``run`` or ``exec``."""

VALUELESS: Final = frozenset(
    [
        "standalone",
        "no_python",
        "module",
        "use_env",
        "run_path",
        "multi_gpu",
        "cpu",
        "mps",
        "tpu",
        "xpu",
        "use_deepspeed",
        "use_fsdp",
        "use_megatron_lm",
        "use_xpu",
        "debug",
        "quiet",
        "same_network",
        "no_local_rank",
        "force_multi",
        "enable_cpu_affinity",
    ]
)
"""Options of the launchers that take no value."""

OTHER_COMMANDS: Final = frozenset(
    [
        "eval",
        "evaluate",
        "evaluation",
        "evaluator",
        "infer",
        "inference",
        "predict",
        "prediction",
        "test",
        "tests",
        "validate",
        "preprocess",
        "prepare",
        "process",
        "convert",
        "export",
        "merge",
        "download",
        "upload",
        "serve",
        "server",
        "chat",
        "generate",
        "generation",
        "tokenize",
        "benchmark",
        "bench",
        "setup",
        "pip",
        "plot",
        "quantize",
        "cache",
        "env",
        "vllm",
        "kit",
        "http",
        "json",
        "venv",
        "pytest",
        "ls",
        "cp",
        "rm",
        "validate",
        "list",
        "help",
        "build",
        "install",
    ]
)
"""Words in the name of a script, module or sub-command that does something else than training."""

TRAINING: Final = re.compile(r"train|finetun|fine_tun")
"""Names that are trainings whatever else they say."""

PYTHON: Final = re.compile(r"i?python(?:\d(?:\.\d+)?)?w?")
CONFIG_SUFFIXES: Final = (".yaml", ".yml", ".json", ".toml")
SUBCOMMAND: Final = re.compile(r"[a-z][a-z_-]*")


@dataclass(slots=True)
class Launch:
    """A command that starts a training.

    Attributes:
        entry: the program and its sub-command as typed.
        launcher: what starts the processes.
        processes: how many, None if it does not say.
        style: how its program takes settings.
        rest: its arguments after the entry.
    """

    entry: str
    launcher: str
    processes: int | None
    style: Style
    rest: list[Field]


def launch(fields: Sequence[Field], source: Callable[[Field], str], allocation: Sequence[str] = ()) -> Launch | None:
    """The training that a command starts, None if it starts none.

    Args:
        fields: its arguments, the program first.
        source: the text of an argument as it stands in the script.
        allocation: what the script asks of Slurm (``#SBATCH``), for ``srun``.
    """
    return _Launch(list(fields), source, allocation).read()


class _Launch:
    """One command being read."""

    def __init__(self, fields: list[Field], source: Callable[[Field], str], allocation: Sequence[str]) -> None:
        self.fields = fields
        self.source = source
        self.allocation = allocation
        self.launcher = ""
        self.processes: int | None = None
        self.variables: dict[str, str] = {}

    def read(self) -> Launch | None:
        self._leave_variables()
        if not self._unwrap() or not self.fields:
            return None
        name = _program(self.fields[0])
        if PYTHON.fullmatch(name):
            self.fields.pop(0)
            self.launcher = self.launcher or "python"
            return self._python()
        if name == "torchrun":
            return self._torchrun(self.fields[1:])
        if name == "accelerate" and len(self.fields) > 1 and self.fields[1].text == "launch":
            return self._accelerate(self.fields[2:])
        if name == "deepspeed":
            return self._deepspeed(self.fields[1:])
        if (program := ALIASES.get(name, name)) in PROGRAMS:
            return self._known(program, self.fields[1:])
        if name.endswith(".py"):
            return self._script(self.fields[0].text or "", self.fields[1:])
        if self.fields[0].text is None and len(self.fields) > 1 and (self.fields[1].text or "").endswith(".py"):
            self.fields.pop(0)  # $PYTHON train.py
            return self._python()
        return None

    def _leave_variables(self) -> None:
        while self.fields and (match := re.match(r"([A-Za-z_]\w*)=", self.fields[0].lead)):
            self.variables[match[1]] = (self.fields[0].text or "").partition("=")[2]
            self.fields.pop(0)

    def _unwrap(self) -> bool:
        """Leave out the commands that run the command; whether there is one."""
        name = _program(self.fields[0]) if self.fields else ""
        if name not in WRAPPERS:
            return True
        place = next((i for i, item in enumerate(self.fields[1:], 1) if _is_program(_program(item))), None)
        if place is None:
            return False
        before = [item.text or "" for item in self.fields[1:place]]
        if name in MANAGERS and not {"run", "exec"} & set(before):
            return False
        if name in ("pip", "uv") and "pip" in before:
            return False
        for starter in [name, *before]:
            if (starter := _base(starter)) in ("srun", "mpirun", "mpiexec", "orterun", "horovodrun"):
                self.launcher = starter
                self.processes = _ranks(before) or (_ranks([*self.allocation, *before]) if starter == "srun" else None)
        for item in before:
            if match := re.match(r"([A-Za-z_]\w*)=(.*)", item):
                self.variables[match[1]] = match[2]
        del self.fields[:place]
        return True

    def _python(self) -> Launch | None:
        """``python`` and its options are read up to the script or module."""
        fields = self.fields
        while fields and fields[0].lead.startswith("-"):
            option = fields.pop(0).text or ""
            if option == "-m":
                if not fields:
                    return None
                module = fields.pop(0)
                return self._module(module.text, self.source(module), fields)
            if option.startswith("-m") and len(option) > 2:
                return self._module(option[2:], option[2:], fields)
            if option.startswith("-c") or option in ("-", "--version", "-V"):
                return None
            if option in ("-W", "-X") and fields:
                fields.pop(0)
        if not fields or fields[0].many:
            return None
        script = fields[0].text
        return self._script(script if script is not None else self.source(fields[0]), fields[1:])

    def _module(self, name: str | None, source: str, rest: list[Field]) -> Launch | None:
        if name is None:
            return self._script(source, rest)
        if (launcher := LAUNCHERS.get(name)) is not None:
            read = {"torchrun": self._torchrun, "accelerate": self._accelerate, "deepspeed": self._deepspeed}[launcher]
            return read(rest)
        if (program := MODULES.get(name)) is not None:
            return self._known(program, rest)
        return self._script(name, rest)

    def _torchrun(self, fields: list[Field]) -> Launch | None:
        options, found = self._launched(fields)
        self.launcher = "torchrun"
        local, nodes = options.get("nproc_per_node", "1"), options.get("nnodes", "1")
        self.processes = None if "?" in options else _product(local, nodes)
        return found()

    def _accelerate(self, fields: list[Field]) -> Launch | None:
        options, found = self._launched(fields)
        self.launcher = "accelerate"
        count = options.get("num_processes", options.get("n", ""))
        self.processes = _product(count, "1")
        return found()

    def _deepspeed(self, fields: list[Field]) -> Launch | None:
        options, found = self._launched(fields)
        self.launcher = "deepspeed"
        include = options.get("include", options.get("i", ""))
        if include:
            slots = [part.partition(":")[2] for part in include.split("@")]
            self.processes = sum(len(slot.split(",")) for slot in slots) if all(slots) else None
        else:
            self.processes = _product(options.get("num_gpus", ""), options.get("num_nodes", "1"))
        return found()

    def _launched(self, fields: list[Field]) -> tuple[dict[str, str], Callable[[], Launch | None]]:
        """A launcher's own options (``?`` among them if some are unknown) and how to read what it launches."""
        options: dict[str, str] = {}
        module = direct = False
        place = 0
        while place < len(fields):
            item = fields[place]
            text = item.text
            if item.many:
                options["?"] = ""
            elif item.lead.startswith("-") and item.lead != "-":
                key, equals, value = item.lead.lstrip("-").partition("=")
                key = key.replace("-", "_")
                module = module or key in ("m", "module")
                direct = direct or key == "no_python"
                if equals:
                    options[key] = value if text is not None else ""
                elif key not in VALUELESS and key != "m" and place + 1 < len(fields) and not fields[place + 1].lead.startswith("-"):
                    place += 1
                    options[key] = fields[place].text or ""
            else:
                break
            place += 1
        rest = fields[place + 1 :]
        if place >= len(fields):
            return options, lambda: None
        target, source = fields[place].text, self.source(fields[place])
        if module:
            return options, lambda: self._module(target, source, rest)
        if direct and target is not None and ALIASES.get(_base(target), _base(target)) in PROGRAMS:
            return options, lambda: self._known(ALIASES.get(_base(target), _base(target)), rest)
        return options, lambda: self._script(target if target is not None else source, rest)

    def _script(self, name: str, rest: list[Field]) -> Launch | None:
        """A script or module of the user's with what it is given."""
        entry = name.removeprefix("./")
        if not _is_training(name.removesuffix(".py")):
            return None
        style = PLAIN
        if rest and SUBCOMMAND.fullmatch(word := rest[0].text or ""):
            if word in OTHER_COMMANDS:
                return None
            entry, rest = f"{entry} {word}", rest[1:]
            style = JSONARGPARSE if word == "fit" else style
        if name.startswith("axolotl.cli"):
            style = PROGRAMS["axolotl"]
        if rest and not any(item.lead.startswith("-") for item in rest) and any(re.match(r"[+~]*[\w.@/]+=", item.lead) for item in rest):
            style = OMEGACONF
        return Launch(entry, self.launcher, self.processes, style, rest)

    def _known(self, program: str, fields: list[Field]) -> Launch | None:
        """A program that trains, with its sub-command."""
        style = PROGRAMS[program]
        words: list[str] = []
        rest = list(fields)
        if program == "tune":
            return self._tune(rest, style)
        most = {"automodel": 2, "yolo": 2}.get(program, 1)
        while rest and len(words) < most and SUBCOMMAND.fullmatch(word := rest[0].text or ""):
            words.append(word)
            rest.pop(0)
        wanted = {"llamafactory-cli": "train", "axolotl": "train", "yolo": "train"}.get(program, "")
        if program == "yolo" and "train" not in words and any(item.text == "mode=train" for item in rest):
            words.append("train")
            rest = [item for item in rest if item.text != "mode=train"]
        if (wanted and wanted not in words) or (not words and program != "automodel"):
            return None
        if any(not _is_training(word) for word in words):
            return None
        options = {item.lead.lstrip("-").partition("=")[0].replace("-", "_"): item for item in rest if item.lead.startswith("--")}
        if (
            program in ("automodel", "thub", "trl")
            and (item := options.get("num_processes" if program == "trl" else "nproc_per_node")) is not None
        ):
            value = item.lead.partition("=")[2] or (rest[rest.index(item) + 1].text or "" if item is not rest[-1] else "")
            self.processes = _product(value, "1")
        elif program == "llamafactory-cli" and "NPROC_PER_NODE" in self.variables:
            self.processes = _product(self.variables["NPROC_PER_NODE"], self.variables.get("NNODES", "1"))
        for own in {"automodel": ("nproc_per_node",), "trl": ("num_processes", "num_machines", "accelerate_config")}.get(program, ()):
            rest = _without(rest, own)
        if program == "axolotl" and (place := next((i for i, item in enumerate(rest) if item.text == "--"), 0)):
            given, _ = self._launched(rest[place + 1 :])
            count = given.get("nproc_per_node", given.get("num_processes", ""))
            self.processes = _product(count, given.get("nnodes", "1"))
            rest = _without(rest[:place], "launcher")
        return Launch(" ".join([program, *words]), self.launcher, self.processes, style, rest)

    def _tune(self, fields: list[Field], style: Style) -> Launch | None:
        if not fields or fields[0].text != "run":
            return None
        options, _ = self._launched(fields[1:])
        rest = fields[1:]
        while rest and rest[0].lead.startswith("-"):
            rest = rest[1:] if "=" in rest[0].lead or rest[0].lead[2:].replace("-", "_") in VALUELESS else rest[2:]
        recipe = (rest[0].text or "") if rest else ""
        if not recipe or not _is_training(recipe):
            return None
        if "nproc_per_node" in options or "nnodes" in options:
            self.launcher = "torchrun"
            self.processes = _product(options.get("nproc_per_node", "1"), options.get("nnodes", "1"))
        return Launch(f"tune run {recipe}", self.launcher, self.processes, style, rest[1:])


def _without(fields: list[Field], option: str) -> list[Field]:
    """The arguments without one option and its value."""
    kept: list[Field] = []
    skip = False
    for item in fields:
        name, equals, _ = item.lead.lstrip("-").partition("=")
        if skip and not item.lead.startswith("-"):
            skip = False
            continue
        skip = item.lead.startswith("--") and name.replace("-", "_") == option and not equals
        if skip or (item.lead.startswith("--") and name.replace("-", "_") == option):
            continue
        kept.append(item)
    return kept


def _base(text: str) -> str:
    return PurePosixPath(text).name if text else ""


def _program(item: Field) -> str:
    return _base(item.text or "")


def _is_program(name: str) -> bool:
    """Whether a word is a program that starts trainings, or a script."""
    known = name in ("torchrun", "accelerate", "deepspeed") or ALIASES.get(name, name) in PROGRAMS
    return known or name.endswith(".py") or PYTHON.fullmatch(name) is not None


def _is_training(name: str) -> bool:
    """Whether a name says that it trains, or says nothing of the kind; see OTHER_COMMANDS."""
    name = name.lower()
    parts = name.replace("\\", "/").split("/")[-1]
    if TRAINING.search(parts):
        return True
    words = set(re.split(r"[^a-z0-9]+", parts))
    return not (words & OTHER_COMMANDS or parts.startswith("lm_eval"))


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9]\d{0,5}", text) else None


def _product(first: str, second: str) -> int | None:
    """Of two counts, None if one is not a number (``auto``, ``gpu``, ``1:4``, unknown)."""
    one, two = _number(first), _number(second)
    return None if one is None or two is None else one * two


def _ranks(arguments: Sequence[str]) -> int | None:
    """How many processes ``srun`` or ``mpirun`` starts, None if its own arguments do not say."""
    options: dict[str, str] = {}
    for place, item in enumerate(arguments):
        key, equals, value = item.lstrip("-").partition("=")
        if not item.startswith("-"):
            continue
        if match := re.fullmatch(r"-([nN])(\d+)", item):
            options[match[1]] = match[2]
        elif equals or place + 1 < len(arguments):
            options[key] = value if equals else arguments[place + 1]
    total = next((options[key] for key in ("n", "ntasks", "np") if key in options), "")
    if total:
        return _number(total)
    if "ntasks-per-node" in options:
        return _product(options["ntasks-per-node"], options.get("N", options.get("nodes", "")))
    return None
