"""The line formats of particular frameworks; ``console_pairs`` reads what none of these knows.

A format is tried only on texts that hold one of its markers and lines that hold one of its hints. Every expression
runs on a line of bounded length and has no nested repetition.
"""

from __future__ import annotations

import re
from typing import Final

from diag.adapters.console_pairs import find_pairs, parse_pairs
from diag.adapters.console_rows import NUMBER, Format, Row, State, make_row
from diag.adapters.console_text import Line

_PAIR: Final = re.compile(rf"['\"]([^'\"]{{1,100}})['\"]\s*:\s*['\"]?({NUMBER})['\"]?\s*(?=[,}}])")
_STEP_KEYS: Final = (
    *("num_updates", "train_num_updates", "valid_num_updates"),  # fairseq
    *("step", "global_step", "global_steps", "current_steps", "iter", "iteration", "training_step"),
)
_SUMMARY: Final = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")


def parse_dict(line: Line, state: State) -> Row | None:
    """``{'loss': 1.2, 'epoch': 0.5}`` of the Hugging Face Trainer (newer ones quote the numbers), also as JSON."""
    start = line.text.find("{")
    end = line.text.rfind("}")
    if start < 0 or end < start:
        return None
    values = {key: float(value) for key, value in _PAIR.findall(line.text, start, end + 1)}
    if "train_runtime" in values:
        state.finished = True
        return make_row(line, {})
    for key in [key for key in values if "best_loss" in key]:
        del values[key]
    if not any(key == "loss" or key.endswith(("_loss", "/loss")) or key.startswith(("eval_", "rewards/")) for key in values):
        return None
    step = next((int(values[key]) for key in _STEP_KEYS if key in values and abs(values[key]) < 1e15), None)
    epoch = values.pop("epoch", None)
    for key in (*_STEP_KEYS, *_SUMMARY):
        values.pop(key, None)
    if step is None and epoch is None and "final_loss" in values:
        return make_row(line, {})  # a summary of the run
    parsed = make_row(line, values, step=step, epoch=epoch, before=dict(state.bars))
    state.waiting.append(parsed)
    return parsed


_MEGATRON: Final = re.compile(r"iteration\s+(\d+)/\s*(\d+) \|")
_MEGATRON_FIELD: Final = re.compile(rf"([A-Za-z][^|:]{{0,60}}):\s*({NUMBER})\s*$")
_MEGATRON_AT: Final = re.compile(r"loss at iteration (\d+)")
MEGATRON_NAMES: Final = {"elapsed time per iteration (ms)": ("step_time", 1e-3)}
"""Fields whose unit is in their name: canonical name and factor to its unit."""


def parse_megatron(line: Line, state: State) -> Row | None:
    """Megatron-LM training and validation lines.

    The ``lm loss`` field is left out of a line whose average is not a number, so its absence next to NaN iterations is
    a logged NaN.
    """
    if match := _MEGATRON.search(line.text):
        values = megatron_fields(line.text[match.end() :])
        if values.get("number of nan iterations", 0) > 0 and not any("loss" in name and name != "loss scale" for name in values):
            values["lm loss"] = float("nan")
        return make_row(line, values, step=int(match[1]), total=int(match[2]))
    values = {}
    for name, value in megatron_fields(line.text).items():
        kind = "test" if "test set" in line.text or "test data" in line.text else "val"
        if name.endswith(" value"):
            values[f"{kind}_loss" if name == "lm loss value" else f"{kind}_{name.removesuffix(' value')}"] = value
        elif name.endswith(" PPL"):
            values[f"{kind}_ppl"] = value
    if not values:
        return None
    at = _MEGATRON_AT.search(line.text)
    return make_row(line, values, step=int(at[1]) if at else None)


def megatron_fields(text: str) -> dict[str, float]:
    """``name: value`` fields between bars."""
    values: dict[str, float] = {}
    for part in text.split("|"):
        if match := _MEGATRON_FIELD.search(part):
            name, factor = MEGATRON_NAMES.get(match[1].strip(), (match[1].strip(), 1.0))
            values[name] = float(match[2]) * factor
    return values


_KERAS: Final = re.compile(r"\s*(\d+)/(\d+)\s+(?:\[[=>. ]*\]|[\u2500-\u257f\u2580-\u259f]+|-)[\s-]")


def parse_keras(line: Line, state: State) -> Row | None:
    """``938/938 - 2s - 2ms/step - loss: 0.48 - val_loss: 0.40``: only the last line of an epoch is the epoch's value."""
    match = _KERAS.match(line.text)
    if match is None or "loss: " not in line.text:
        return None
    values = find_pairs(line.text[match.end() :])
    if match[1] != match[2] or state.epoch is None:
        return make_row(line, {})
    return make_row(line, values, epoch=state.epoch, by_epoch=True)


_CELLS: Final = re.compile(rf"\|\s*([A-Za-z][^|]{{0,80}}?)\s*\|\s*({NUMBER})?%?\s*\|\s*$")
_TABLE_STEP: Final = (
    "time/total_timesteps",
    "total_timesteps",
    "total timesteps",
    "time/total timesteps",
    "step",
    "timesteps",
    "iteration",
    "epoch",
)


def parse_table(line: Line, state: State) -> Row | None:
    """Boxes of ``| name | value |`` lines (OpenAI baselines, Stable-Baselines3): one row a box."""
    text = line.text.strip()
    if text.startswith("|"):
        match = _CELLS.match(text)
        if match is None:
            return None
        name, value = match[1], match[2]
        if value is None:
            state.section = name if name.endswith("/") else ""
            return make_row(line, {})
        if state.block is None:
            state.block = make_row(line, {})
        indented = text[1:5] == "    "
        state.block.values[f"{state.section}{name}" if indented else name] = float(value)
        return make_row(line, {})
    if not text.startswith(("---", "===", "+--")) or state.block is None:
        return None
    block, state.block, state.section = state.block, None, ""
    step = next((name for name in _TABLE_STEP if name in block.values), None)
    if len(block.values) < 2 or step is None:
        return None
    block.step = int(block.values.pop(step)) if abs(block.values[step]) < 1e15 else None
    return block


_COLUMNS: Final = re.compile(r"\s*\|\s*|\t+|\s{2,}")
_AXIS_COLUMNS: Final = {
    "epoch": "epoch",
    "e": "epoch",
    "step": "step",
    "steps": "step",
    "#": "step",
    "iter": "step",
    "iteration": "step",
    "it": "step",
}
_DURATION: Final = re.compile(r"(?:\d+:)?\d+:\d\d(?:\.\d+)?$")
MAX_COLUMNS: Final = 40


def parse_columns(line: Line, state: State) -> Row | None:
    """Tables of one row an epoch or step under a header that names a loss (fastai, skorch, spaCy, notebooks, YOLO)."""
    text = line.text.strip().strip("|").strip()
    lower = text.lower()
    if "loss" in lower and ("epoch" in lower or "step" in lower or "#" in lower or "iter" in lower):
        return learn_columns(line, text, state)
    columns = state.columns
    if not columns or not text[:1].isdigit():
        return None
    cells = text.split("%|")[0].rsplit(":", 1)[0].split() if columns[0] == "yolo" else _COLUMNS.split(text)
    if columns[0] == "yolo":
        return yolo_row(line, columns, cells)
    if len(cells) != len(columns):
        return None
    values: dict[str, float] = {}
    axes: dict[str, float] = {}
    for name, cell in zip(columns, cells, strict=True):
        axis = _AXIS_COLUMNS.get(name.lower())
        if _NUMBER_CELL.fullmatch(cell):
            (axes if axis else values)[axis or name.lower().replace(" ", "_")] = float(cell)
        elif not (_DURATION.match(cell) or cell in ("", "-", "+", "No log", "n/a")):
            return None
    if not values or not axes:
        return None
    step = axes.get("step")
    return make_row(
        line, values, step=int(step) if step is not None and abs(step) < 1e15 else None, epoch=axes.get("epoch"), by_epoch=step is None
    )


_NUMBER_CELL: Final = re.compile(NUMBER)


def learn_columns(line: Line, text: str, state: State) -> Row | None:
    """The header of such a table goes to the state; None for anything that is no header."""
    if any(mark in text for mark in ":=,"):
        return None
    words = text.split()
    if any(_NUMBER_CELL.fullmatch(word) for word in words):
        return None
    if words[0] == "Epoch" and sum(word.endswith("_loss") or word in ("box", "obj", "cls", "dfl") for word in words) >= 2:
        state.columns = ["yolo", *words[1:]]
        return make_row(line, {})
    names = [name for name in _COLUMNS.split(text) if name]
    if not 2 <= len(names) <= MAX_COLUMNS or not any("loss" in name.lower() for name in names):
        return None
    if not any(name.lower() in _AXIS_COLUMNS for name in names):
        return None
    state.columns = names
    return make_row(line, {})


def yolo_row(line: Line, columns: list[str], cells: list[str]) -> Row | None:
    """``0/299  3.2G  0.107  0.061  0.031  30  640`` of YOLOv5 and Ultralytics: losses by their place."""
    epoch, _, epochs = cells[0].partition("/")
    if not (epoch.isdigit() and epochs.isdigit()) or len(cells) < 4:
        return None
    values = {}
    for name, cell in zip(columns[1:], cells[1:], strict=False):
        if (name.endswith("_loss") or name in ("box", "obj", "cls", "dfl")) and _NUMBER_CELL.fullmatch(cell):
            values[f"train/{name}" if name.endswith("_loss") else f"train/{name}_loss"] = float(cell)
    return make_row(line, values, epoch=float(epoch), by_epoch=True) if values else None


_LLMC: Final = re.compile(r"s:(\d+) (?:tel|eval|trl):")
_LLMC_NAMES: Final = {"tel": "val_loss", "trl": "loss", "eval": "hellaswag", "norm": "grad_norm"}


def parse_llmc(line: Line, state: State) -> Row | None:
    """``s:250 trl:4.2 lr:1e-4 norm:0.5`` of llm.c's ``main.log``."""
    match = _LLMC.match(line.text)
    if match is None:
        return None
    values = {}
    for word in line.text.split()[1:]:
        name, _, value = word.partition(":")
        if re.fullmatch(NUMBER, value):
            values[_LLMC_NAMES.get(name, name)] = float(value)
    return make_row(line, values, step=int(match[1]))


_WORDS: Final = re.compile(rf"(\d+) (train|val|eval|test|hella) ({NUMBER})\s*$")
_WORD_NAMES: Final = {"train": "train_loss", "val": "val_loss", "eval": "eval_loss", "test": "test_loss", "hella": "hellaswag"}


def parse_words(line: Line, state: State) -> Row | None:
    """``250 val 6.43`` and ``251 train 6.39``: step, split, loss."""
    match = _WORDS.match(line.text)
    return make_row(line, {_WORD_NAMES[match[2]]: float(match[3])}, step=int(match[1])) if match else None


_NANOGPT: Final = re.compile(rf"iter (\d+): loss ({NUMBER}), time ({NUMBER})ms(?:, mfu ({NUMBER})%)?")
_NANOGPT_EVAL: Final = re.compile(rf"step (\d+): train loss ({NUMBER}), val loss ({NUMBER})")


def parse_nanogpt(line: Line, state: State) -> Row | None:
    """nanoGPT: one micro-batch loss on ``iter`` lines, estimates over many batches of both splits on ``step`` lines."""
    if match := _NANOGPT.match(line.text):
        values = {"loss": float(match[2]), "step_time": float(match[3]) / 1000}
        if match[4] is not None:
            values["mfu"] = float(match[4]) / 100
        return make_row(line, values, step=int(match[1]))
    match = _NANOGPT_EVAL.match(line.text)
    return make_row(line, {"train_loss_estimate": float(match[2]), "val_loss": float(match[3])}, step=int(match[1])) if match else None


_LITGPT: Final = re.compile(
    rf"Epoch (\d+) \| iter (\d+) step (\d+) \| loss train: ({NUMBER}), val: (n/a|{NUMBER}) \| iter time: ({NUMBER}) ms"
)
_LITGPT_VAL: Final = re.compile(rf"(?:iter (\d+)|Final evaluation)(?::| \|) val loss:? ({NUMBER})")


def parse_litgpt(line: Line, state: State) -> Row | None:
    """litgpt: micro-batch lines carry the optimizer step; the validation value beside it only repeats the last one."""
    if match := _LITGPT.search(line.text):
        return make_row(line, {"loss": float(match[4]), "iter_time": float(match[6]) / 1000}, step=int(match[3]), epoch=float(match[1]))
    match = _LITGPT_VAL.search(line.text)
    return make_row(line, {"val_loss": float(match[2])}) if match else None


_COMPOSER: Final = re.compile(r"\[batch=(\d+)/(\d+)\]:")
_COMPOSER_VALUE: Final = re.compile(rf"\s+(?:Train|Eval) (\S{{1,120}}): ({NUMBER})\s*$")


def parse_composer(line: Line, state: State) -> Row | None:
    """Composer: ``[batch=5/100]:`` and indented ``Train loss/train/total: 2.3`` lines."""
    if match := _COMPOSER.search(line.text):
        state.block = make_row(line, {}, step=int(match[1]), total=int(match[2]))
        return make_row(line, {})
    match = _COMPOSER_VALUE.match(line.text)
    if match is None or state.block is None:
        return None
    return make_row(line, {match[1]: float(match[2])}, step=state.block.step, total=state.block.total)


_DEEPSPEED: Final = re.compile(rf"step=(\d+), skipped=(\d+), lr=\[({NUMBER})")
_DEEPSPEED_TIMER: Final = re.compile(rf"global_step=(\d+), RunningAvgSamplesPerSec=({NUMBER}), CurrSamplesPerSec=({NUMBER})")


def parse_deepspeed(line: Line, state: State) -> Row | None:
    """DeepSpeed engine lines: learning rate, skipped steps, samples a second."""
    if match := _DEEPSPEED.search(line.text):
        return make_row(line, {"lr": float(match[3]), "skipped_steps": float(match[2])}, step=int(match[1]))
    match = _DEEPSPEED_TIMER.search(line.text)
    return make_row(line, {"samples_per_second": float(match[3])}, step=int(match[1])) if match else None


FORMATS: Final = (
    Format("dict", ("{'", '{"'), ("{'", '{"'), parse_dict),
    Format("megatron", ("| consumed samples:", "lm loss value:"), ("iteration", "lm loss value:"), parse_megatron),
    Format("keras", ("step - loss: ", "s - loss: ", "step - accuracy: ", " - loss: "), ("loss: ",), parse_keras),
    Format("composer", ("[batch=",), ("[batch=", "Train ", "Eval "), parse_composer),
    Format("llmc", (" trl:", " tel:"), ("s:",), parse_llmc),
    Format("words", (" train ", " val "), (" train ", " val ", " hella ", " test ", " eval "), parse_words),
    Format("nanogpt", (": train loss ", ": loss "), ("iter ", "step "), parse_nanogpt),
    Format("litgpt", ("| loss train: ",), ("iter ", "Final evaluation"), parse_litgpt),
    Format("deepspeed", ("skipped=", "RunningAvgSamplesPerSec="), ("skipped=", "RunningAvgSamplesPerSec="), parse_deepspeed),
    Format("table", ("\n---", "\n==="), ("|", "---", "==="), parse_table),
    Format("columns", ("epoch", "Epoch", "EPOCH", "Step", "step", "LOSS"), ("oss", "OSS"), parse_columns),
    Format("pairs", ("",), (), parse_pairs),
)
"""In the order they are tried on a line."""
