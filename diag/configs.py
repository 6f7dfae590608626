"""Configs that lie beside a log: which files they are, what they set, and where it is written.

Which value counts, most direct first:

1. what the user gave;
2. what the framework itself recorded while it ran (W&B config, MLflow parameters, TensorBoard HParams);
3. a config file beside the log, the more telling name first (``training_args`` before ``config`` before
   ``adapter_config.json``), the folder of the run before its sub-folders, the newest checkpoint first;
4. fields of ``trainer_state.json``: they are rounded (``num_train_epochs``) or set although unused (``eval_steps``);
5. the defaults of the framework, for a config written in its keys;
6. inference from the curves (``diag.inference``).

Files are read by ``diag.config_files``; nothing is unpickled. Where two sources disagree the more direct one holds and a note says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from diag.adapters import relative
from diag.config_files import flatten, load
from diag.inference import infer
from diag.run import Hyperparameter, Run

if TYPE_CHECKING:
    from diag.dialects.table import Reading

MAX_NATIVE_KEYS: Final = 2000
"""Native keys of one config that are kept on the run (a dump with the model's config has 150)."""

MAX_FILES: Final = 24
"""Config files looked at beside one log."""

MIN_HYPERPARAMETERS: Final = 2
"""Canonical hyperparameters a file of no telling name must hold to count as a config."""

SAME: Final = 1e-9
"""Relative difference below which two numbers are one value that was written with other digits."""

NAMED: Final = (
    "training_args",
    "train_args",
    "training_arguments",
    "train_config",
    "training_config",
    "training_params",
    "config",
    "args",
    "hparams",
    "hyperparameters",
    "hyperparams",
    "torchtune_config",
    "params",
    "opt",
    "hyp",
    "ds_config",
    "deepspeed",
    "adapter_config",
)
"""Stems that name a config, the most telling first."""

SUFFIXES: Final = (".json", ".yaml", ".yml")

NOT_CONFIGS: Final = re.compile(
    r"^(?:trainer_state.*|all_results|(?:train|eval|test|predict)_results|generation_config|tokenizer.*|special_tokens_map|added_tokens|vocab|merges|preprocessor_config"
    r"|processor_config|.*\.index|dataset_infos?|wandb-.*|meta|conda|environment|python_env|docker-compose|package(?:-lock)?|losses|model_index|history|metrics|MLmodel"
    r"|quantize_config|modules|README)$",
    re.IGNORECASE,
)
"""Stems of JSON and YAML files that lie beside logs and are not configs of a training."""

SUBFOLDERS: Final = re.compile(r"^(?:\.hydra|configs?|hparams|checkpoints?|hf_format|checkpoint[-_]\d+|epoch_\d+_step_\d+|step[-_]?\d+)$")
"""Sub-folders of a run in which its config is kept."""

LOG_FOLDERS: Final = re.compile(
    r"^(?:runs|logs?|tb|tb_logs|tensorboard|tensorboard_logs|tf_logs|csv|csv_logs|lightning_logs|wandb|mlruns|files|train|metrics|version_\d+|default"
    r"|checkpoint[-_]\d+|(?:offline-)?run-\d{8}_\d{6}-\w+|latest-run|[0-9a-f]{32}|\d{1,18}|[A-Z][a-z]{2}\d{2}_\d{2}-\d{2}-\d{2}_.+|events?)$"
)
"""Names of folders that loggers make inside a run's own folder; the config lies above them."""

CLIMB: Final = 3
"""Folders climbed from a logger's folder to the run's own (``mlruns/<experiment>/<run>``)."""


class Config(NamedTuple):
    """One config file read: its dialect, its hyperparameters, the signature score of the dialect, and all its keys."""

    file: str
    dialect: str
    hyperparameters: dict[str, Hyperparameter]
    score: int
    native: dict[str, Hyperparameter]


def from_mapping(native: Mapping[str, Any], *, file: str, lines: Mapping[str, int] | None = None) -> tuple[str, dict[str, Hyperparameter]]:
    """The dialect of a native config and its canonical hyperparameters.

    Args:
        native: keys to values as the framework wrote them: nested or dotted, W&B's ``{"value": …}`` wrapping allowed,
            numbers and mappings possibly as text, a whole dump with the model's config in it allowed.
        file: name that the hyperparameters are reported with.
        lines: dotted native key to line number, from 1.

    Returns:
        Name of the dialect (``generic`` for none that is known) and the hyperparameters, of kind ``file``, in the order
        of the dialect's table. What cannot be read as its type is left out.
    """
    from diag.dialects.interpret import interpret

    found = interpret(flatten(native))
    return found.dialect, _hyperparameters(found.readings, file, lines or {})


def record(run: Run, native: Mapping[str, Any], *, file: str, lines: Mapping[str, int] | None = None) -> None:
    """Put a config that the log itself recorded on a run: its hyperparameters, its native keys (``run.config``), its dialect.

    For adapters; takes what ``from_mapping`` takes. What the run has already stays.
    """
    from diag.dialects.interpret import interpret

    flat = flatten(native)
    found = interpret(flat)
    for name, entry in _hyperparameters(found.readings, file, lines or {}).items():
        run.hyperparameters.setdefault(name, entry)
    for key, entry in _native(flat, file, lines or {}).items():
        run.config.setdefault(key, entry)
    if run.dialect == "generic":
        run.dialect = found.dialect


def _hyperparameters(readings: Mapping[str, Reading], file: str, lines: Mapping[str, int]) -> dict[str, Hyperparameter]:
    found = {}
    for name, reading in readings.items():
        if reading.note:
            found[name] = Hyperparameter(reading.value, "inferred", note=reading.note)
        else:
            found[name] = Hyperparameter(reading.value, "file", file, lines.get(reading.key, 0), reading.key)
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError:
        return []


def _number(name: str) -> tuple[int, ...]:
    return tuple(int(digits[:18]) for digits in re.findall(r"\d+", name))


def candidates(root: Path) -> tuple[list[Path], list[Path]]:
    """Config files for a log in ``root``: those of telling names, in order of precedence, and other JSON or YAML files there."""
    named: list[Path] = []
    other: list[Path] = []
    folder = root
    for climb in range(CLIMB + 1):
        entries = _entries(folder)
        here, rest = _ranked(path for path in entries if path.suffix.lower() in SUFFIXES)
        named.extend(here)
        if not climb:
            other = rest
        inner = [path for path in entries if SUBFOLDERS.match(path.name) and not (climb and LOG_FOLDERS.match(path.name)) and path.is_dir()]
        for sub in sorted(inner, key=lambda path: (path.name != ".hydra", tuple(-n for n in _number(path.name)), path.name)):
            named.extend(_ranked(path for path in _entries(sub) if path.suffix.lower() in SUFFIXES)[0])
        if named or not LOG_FOLDERS.match(folder.name):
            break
        folder = folder.parent
    return named[:MAX_FILES], other[:MAX_FILES]


def _ranked(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    named: list[tuple[int, str, Path]] = []
    other: list[Path] = []
    for path in paths:
        stem = path.stem.lower()
        if stem in NAMED:
            named.append((NAMED.index(stem), path.name, path))
        elif not NOT_CONFIGS.match(path.stem) and not path.name.startswith("."):
            other.append(path)
    return [path for _, _, path in sorted(named, key=lambda item: item[:2])], other


def _native(flat: Mapping[str, Any], file: str, lines: Mapping[str, int]) -> dict[str, Hyperparameter]:
    return {key: Hyperparameter(value, "file", file, lines.get(key, 0), key) for key, value in islice(flat.items(), MAX_NATIVE_KEYS)}


def _read_file(path: Path, root: Path, notes: list[str], *, least: int) -> Config | None:
    file = relative(path, root) if path.is_relative_to(root) else path.name
    flat, lines, problem = load(path)
    if problem and (least < MIN_HYPERPARAMETERS or flat):
        notes.append(f"{file} {problem}")
    if not flat or "log_history" in flat:  # a Trainer's state under another name
        return None
    from diag.dialects.interpret import interpret, is_model_config

    found = interpret(flat)
    known = _hyperparameters(found.readings, file, lines)
    if len(known) < least and not (least == 1 and is_model_config(flat)):
        return None
    return Config(file, found.dialect, known, found.score, _native(flat, file, lines))


def attach(run: Run, root: Path) -> None:
    """Fill the run's hyperparameters from the configs beside its log, then from inference; set its dialect.

    What the user gave or the framework recorded stays (see the module's page for the order). ``run.dialect`` becomes
    the dialect of the most telling config; where no config tells, it stays what the adapter said, and a
    ``trainer_state`` run is ``hf``.

    Args:
        run: the run; its ``hyperparameters``, ``dialect`` and ``notes`` are changed.
        root: folder that stands for the run.
    """
    notes: list[str] = []
    found: list[Config] = []
    remote = root == Path() and not run.root
    root = root.absolute()
    named, other = candidates(root) if not remote and root.is_dir() else ([], [])
    for path in named:
        # A file above the log's own folder needs to say more to count.
        if (config := _read_file(path, root, notes, least=1 if path.is_relative_to(root) else MIN_HYPERPARAMETERS)) is not None:
            found.append(config)
    if not any("learning_rate" in config.hyperparameters or len(config.hyperparameters) > MIN_HYPERPARAMETERS for config in found):
        found.extend(_others(other, run, root, notes))
    for config in found:
        for name, entry in config.hyperparameters.items():
            _set(run, name, entry, notes)
        for key, entry in config.native.items():
            run.config.setdefault(key, entry)
    best = max(found, key=lambda config: config.score, default=None)
    if best is not None and best.dialect != "generic":
        run.dialect = best.dialect
        _defaults(run, best, SIZES)
    elif run.dialect == "generic" and run.adapter == "trainer_state":
        run.dialect = "hf"
    run.notes.extend(note for note in notes if note not in run.notes)
    infer(run)
    if best is not None and best.dialect != "generic":
        _defaults(run, best)


def _others(paths: list[Path], run: Run, root: Path, notes: list[str]) -> list[Config]:
    """Configs of no telling name: the only one there, or the one named as the log is."""
    configs = [(path, config) for path in paths if (config := _read_file(path, root, [], least=MIN_HYPERPARAMETERS)) is not None]
    if len(configs) > 1:
        words = {Path(run.path).stem, Path(run.path).parent.name, run.id}
        same = [(path, config) for path, config in configs if path.stem in words]
        if not same:
            names = ", ".join([path.name for path, _ in configs[:3]] + ["…"] * (len(configs) > 3))
            notes.append(f"{len(configs)} configs lie beside the log ({names}) and none is named for it, so none was read")
        configs = same
    return [config for _, config in configs[:1]]


def _set(run: Run, name: str, entry: Hyperparameter, notes: list[str]) -> None:
    old = run.hyperparameters.get(name)
    if old is None or (old.kind == "inferred" and entry.kind != "inferred"):
        run.hyperparameters[name] = entry
        return
    if entry.kind == "inferred" or same_value(name, old.value, entry.value) or "all-linear" in (old.value, entry.value):
        return  # "all-linear" is written out when an adapter is saved
    if old.kind == "file" and Path(old.file).name == "trainer_state.json":
        run.hyperparameters[name] = entry
    elif old.kind == "file":
        notes.append(f"{name} is {show(old.value)} in {old.source} and {show(entry.value)} in {entry.source}; the first is used")


SIZES: Final = frozenset({"micro_batch_size", "global_batch_size", "gradient_accumulation_steps"})
"""Defaults that inference builds on; others give way to what the curves show."""


def _defaults(run: Run, config: Config, names: frozenset[str] | None = None) -> None:
    """What the framework uses where its config of training arguments has no such key."""
    from diag.dialects.interpret import defaults

    if "learning_rate" not in config.hyperparameters:
        return
    for name, reading in defaults(config.dialect, config.native, config.file).items():
        if (names is None or name in names) and not (name == "num_epochs" and "max_steps" in config.hyperparameters):
            run.hyperparameters.setdefault(name, Hyperparameter(reading.value, "inferred", key=reading.key, note=reading.note))


def same_value(name: str, first: Any, second: Any) -> bool:
    """Whether two values are one: numbers up to rounding, lists in any order, implementations of one optimizer."""
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return math.isclose(first, second, rel_tol=SAME)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return sorted(map(str, first)) == sorted(map(str, second))
    if name == "optimizer":
        return str(first).split("_", 1)[0] == str(second).split("_", 1)[0]  # adamw_torch and adamw_torch_fused
    return bool(first == second)


def show(value: Any) -> str:
    """A value in a note: short, numbers without trailing noise."""
    return f"{value:g}" if isinstance(value, float) else str(value)[:80]
