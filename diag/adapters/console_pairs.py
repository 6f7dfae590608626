"""Console lines of no particular framework: ``Epoch 3 | step 120/600 | train loss: 2.31, lr=1e-4, acc 81%``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from diag.adapters.console_rows import NUMBER, Row, State, make_row
from diag.adapters.console_text import Line

MAX_PAIRS_LINE: Final = 2_000
"""Characters of a line in which pairs are looked for; a printed tensor or model is longer."""

MAX_TEMPLATES: Final = 4_096
"""Line shapes remembered for one file; ordinary logs have below a hundred."""

_NUMBERS: Final = re.compile(r"(?<![\w.@-])([-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|(?:[nN][aA][nN]|[iI]nf(?:inity)?|INF)\b))")
_ONE_NUMBER: Final = re.compile(NUMBER)
_VALUE: Final = re.compile(
    rf"(\s{{0,3}}[:=]\s{{0,12}}['\"\[]?|(?<=[\w@%)])\s{{1,12}})({NUMBER})(\s?(?:ms|s|%|GiB|GB|MB|MiB|M|K|k|x)\b|%)?(?=[\s,;|)(\]}}'\"]|$)"
)
_CUT: Final = re.compile(r"[|,;\t\[\]{}]|\s{2,}|\s-+\s|\d(?=\s+[A-Za-z])|[:=](?=\s)")
_BARE_KEY: Final = re.compile(
    r"(?:(?:train|val|valid|validation|eval|test|lm|total|avg|mean)[ _])?(?:\w{0,20}loss\w{0,20}|lr|learning[ _]rate"
    r"|grad[ _]?norm|gnorm|norm|acc(?:uracy)?(?:@\d+)?|ppl|perplexity|mem|tps|mfu|reward|kl|f1|bleu|num_label_tokens|top-?\d)",
    re.IGNORECASE,
)
"""Names that may stand before a number without ``:`` or ``=``."""
_AVERAGE: Final = re.compile(rf"\s{{0,3}}\(({NUMBER})\)")
_PHASE: Final = re.compile(
    r"(?<![a-z])(?:(train(?:ing)?)|(val(?:idation|id)?|eval(?:uation|uating)?|dev|heldout|held-out)|(test(?:ing)?))(?![a-z])", re.IGNORECASE
)
_METRIC: Final = re.compile(
    r"loss|acc(?:uracy)?(?:@\d+)?$|^(?:ppl|perplexity|f1|precision|recall|auc|iou|miou|map|mae|mse|rmse|bleu|rouge|score|nll|bpb|bpc|cer|wer|dice)$"
)
_NOT_A_LOSS: Final = re.compile(
    r"coef|weight|scal|factor|alpha|beta|gamma|lambda|margin|delta|eps|num_|classes|_fn|type|best|target|threshold|patience|window|ratio|improv|reduction"
)
_STOP_WORDS: Final = frozenset(
    {
        "the",
        "of",
        "is",
        "was",
        "current",
        "and",
        "with",
        "at",
        "mean",
        "average",
        "avg",
        "running",
        "set",
        "final",
        "epoch",
        "step",
        "on",
        "after",
        "in",
        "for",
    }
)

_EPOCH_BATCH: Final = re.compile(
    r"epoch(?:\(\w+\))?:?\s{0,3}\[(?P<epoch>\d+)\]\s{0,3}\[\s{0,8}(?P<step>\d+)/(?P<total>\d+)\]", re.IGNORECASE
)
_EPOCH_SAMPLES: Final = re.compile(r"epoch:?\s{0,4}(?P<epoch>\d+)\s{0,4}\[\s{0,8}(?P<step>\d+)/(?P<total>\d+)", re.IGNORECASE)
_COMMA: Final = re.compile(r"\s*\[(?P<epoch>\d+),\s{0,8}(?P<step>\d+)\]")
_LEADING: Final = re.compile(r"\s*\[\s{0,8}(\d+)(?:/(\d+))?\][\s:]")
_STEP: Final = re.compile(
    r"(?<![a-z_])(?:global[_ ]?steps?|steps?|iter(?:ation)?s?|num_updates|updates?|batch(?:es)?|episodes?|it)['\"]?"
    r"\s{0,3}[:=#]?\s{0,8}[\[(]?\s{0,8}(\d+)(?![\d.]*[eE.]\d)(?:\s{0,3}(?:/|of)\s{0,3}(\d+))?",
    re.IGNORECASE,
)
_UPDATES: Final = re.compile(r"(?<![a-z_])(?:num_updates|global[_ ]?step)['\"]?\s{0,3}[:=]?\s{0,8}(\d+)", re.IGNORECASE)
_EPOCH: Final = re.compile(
    r"(?<![a-z_])epochs?['\"]?\s{0,3}[:=#]?\s{0,8}[\[(]?\s{0,8}(\d+(?:\.\d+)?)(?:\s{0,3}(?:/|of)\s{0,3}(\d+))?", re.IGNORECASE
)
_FRACTION: Final = re.compile(r"(?:^|[\s|\[(])(\d+)/(\d+)(?=[\s|\]):,]|$)")
_BAR: Final = re.compile(r"(\d+)/(\d+) \[")
_NAMED_SET: Final = re.compile(r"\[val\] name \"([^\"]{0,80})\"")

STEP_TIMES: Final = frozenset(
    {"dt", "time", "iter_time", "step_time", "batch_time", "time_per_step", "time_per_iteration", "train_step_timing_in_s"}
)
"""Names of a step's duration, which is stored in seconds."""
RENAMED: Final = {"norm": "grad_norm", "gnorm": "grad_norm", "tok/sec": "tokens_per_second", "tok/s": "tokens_per_second"}
POSITION: Final = frozenset(
    {
        "step",
        "steps",
        "global_step",
        "iter",
        "iters",
        "iteration",
        "iterations",
        "epoch",
        "epochs",
        "batch",
        "episode",
        "eta",
        "num_updates",
        "update",
        "it",
        "v_num",
        "epoch_time",
    }
)
"""Names that say where a line is, not what it measured."""
JUDGED: Final = frozenset({"ppl", "perplexity", "accuracy", "acc", "reward", "kl", "f1", "bpb", "bpc", "grad_norm"})
"""Metrics that make a line a row even without a loss, where it names its step or epoch."""


class Template(NamedTuple):
    """What the numbers of a line mean, by their order in it; lines that differ in numbers only share it.

    Attributes:
        values: metric name, index of the number, factor to the stored unit.
        step, total, epoch, epochs: indices, -1 where the line names none.
        bar: indices of a progress bar's position and total, None without a bar.
        phase: ``train``, ``val`` or ``test``.
    """

    values: tuple[tuple[str, int, float], ...]
    step: int
    total: int
    epoch: int
    epochs: int
    bar: tuple[int, int] | None
    phase: str


def parse_pairs(line: Line, state: State) -> Row | None:
    """Any line that names a loss (or a metric at a step) with a number behind it; epoch headers go to the state."""
    text = line.text[:MAX_PAIRS_LINE]
    parts = _NUMBERS.split(text)
    numbers = parts[1::2]
    key = "\0".join(parts[::2])
    template = state.templates.get(key)
    if template is None or (template.step >= 0 and not numbers[template.step].isdigit()):
        template, numbers, keep = learn(text, numbers)
        if keep and len(state.templates) < MAX_TEMPLATES:
            state.templates[key] = template
    if template.bar is not None:
        draw_bar(int(numbers[template.bar[0]]), int(numbers[template.bar[1]]), state)
    if template.epoch >= 0:
        state.epoch = float(numbers[template.epoch])
        if template.epochs >= 0:
            state.epochs = int(numbers[template.epochs])
    if not template.values:
        return None
    values = {name: float(numbers[index]) * factor for name, index, factor in template.values}
    step = int(numbers[template.step]) if template.step >= 0 else None
    total = int(numbers[template.total]) if template.total >= 0 else None
    if template.bar is not None:
        if step == 0:  # a bar that was just reset still shows what the last epoch left
            return make_row(line, {})
        values = fresh(values, state)
        if template.phase != "train":
            step = total = None
    return make_row(line, values, step=step, total=total, epoch=state.epoch)


def learn(text: str, numbers: list[str]) -> tuple[Template, list[str], bool]:
    """The Template of a line, its numbers, and whether the template holds for other lines.

    It does not where a value is no free-standing number (``5/gpu``); that number is then appended to the list.
    """
    starts = {match.start(1): index for index, match in enumerate(_NUMBERS.finditer(text))}
    keep = True

    def index_of(start: int) -> int:
        nonlocal keep
        if start < 0:
            return -1
        if start not in starts and (match := _ONE_NUMBER.match(text, start)):
            keep = False
            starts[start] = len(numbers)
            numbers.append(match[0])
        return starts.get(start, -1)

    lower = text.lower()
    bar = _BAR.search(text) if " [" in text else None
    step, total, epoch, epochs = position(text, bar)
    found: list[tuple[str, int, float]] = []
    phase = "train"
    speaks = "loss" in lower or any(word in lower for word in ("ppl", "perplexity", "acc", "reward", "bpb", "bpc", "f1"))
    if speaks and "improve" not in lower and not ("{" in text and ("':" in text or '":' in text)):
        found, phase = measured(text)
    names = [name for name, _, _ in found]
    if not any("loss" in name and not _NOT_A_LOSS.search(name) for name in names) and not (
        (step >= 0 or "epoch" in lower)
        and any(name.removeprefix("val_").removeprefix("test_").removeprefix("train_") in JUDGED for name in names)
    ):
        found = []
    values = tuple((name, index_of(start), factor) for name, start, factor in found)
    template = Template(
        tuple(value for value in values if value[1] >= 0),
        index_of(step),
        index_of(total),
        index_of(epoch),
        index_of(epochs),
        None if bar is None else (index_of(bar.start(1)), index_of(bar.start(2))),
        phase,
    )
    return template, numbers, keep


def draw_bar(done: int, total: int, state: State) -> None:
    """Note a progress bar's position, also on the rows that wait for the next redraw."""
    state.bars[total] = done
    if state.waiting:
        for row in state.waiting:
            row.after.setdefault(total, done)
        state.waiting = [row for row in state.waiting[-8:] if len(row.after) < 4]
    if len(state.bars) > 64:
        state.bars.pop(next(iter(state.bars)))


def fresh(values: dict[str, float], state: State) -> dict[str, float]:
    """Values of a progress bar without those that it merely repeats: only the plain loss changes at every step."""
    kept = {
        name: value
        for name, value in values.items()
        if state.carried.get(name) != value or not (name.startswith(("val", "eval", "test")) or name.endswith("_epoch"))
    }
    state.carried.update(values)
    return kept


def position(text: str, bar: re.Match[str] | None) -> tuple[int, int, int, int]:
    """Where in a line its step, number of steps, epoch, and number of epochs stand; -1 for what it does not name."""
    for pattern in (_EPOCH_BATCH, _EPOCH_SAMPLES):
        if match := pattern.search(text):
            return match.start("step"), match.start("total"), match.start("epoch"), -1
    if match := _COMMA.match(text):
        return match.start("step"), -1, match.start("epoch"), -1
    found = _EPOCH.search(text)
    epoch, epochs = (found.start(1), found.start(2)) if found else (-1, -1)
    if bar is not None:
        return bar.start(1), bar.start(2), epoch, epochs
    if match := _UPDATES.search(text):
        return match.start(1), -1, epoch, epochs
    if match := _STEP.search(text):
        return match.start(1), match.start(2), epoch, epochs
    if match := _LEADING.match(text):
        return match.start(1), match.start(2), epoch, epochs
    if found and (match := _FRACTION.search(text, found.end())):
        return match.start(1), match.start(2), epoch, epochs
    return -1, -1, epoch, epochs


def measured(text: str) -> tuple[list[tuple[str, int, float]], str]:
    """``(name, start of the number, factor)`` of every metric of a line, split by phase, and the phase of the first one."""
    found: dict[str, tuple[int, float]] = {}
    phase = first = ""
    last = 0
    named = _NAMED_SET.search(text)
    if "Saving dict for" in text:  # TensorFlow estimators end an evaluation so
        phase = "val"
    for pair in pairs(text):
        for match in _PHASE.finditer(text, last, pair.start):
            phase = "train" if match[1] else "val" if match[2] else "test"
        last = pair.end
        place = pair.value
        if not _METRIC.search(pair.name):
            found.setdefault(pair.name, (place, pair.factor))
            continue
        spaced = pair.name.replace("_", " ")
        own = _PHASE.search(spaced)
        kind = phase if own is None else "train" if own[1] else "val" if own[2] else "test"
        if own is not None and " " in text[pair.start : pair.start + len(pair.name)]:
            phase = kind  # "Val Loss: 0.5  Acc: 0.9" speaks of one split, "val_loss=0.5 acc=0.9" need not
        if kind in ("val", "test") and (average := _AVERAGE.match(text, pair.end)):
            place = average.start(1)
        first = first or kind or "train"
        if kind == "val" and named is not None and named[1] not in ("", "default", "val", "validation"):
            kind = f"eval_{named[1]}"
        bare = _PHASE.sub("", spaced).strip(" -/.").replace(" ", "_")
        found.setdefault(f"{kind}_{bare}" if kind and bare else pair.name, (place, pair.factor))
    return [(name, place, factor) for name, (place, factor) in found.items()], first or "train"


def find_pairs(text: str) -> dict[str, float]:
    """Names and values of a line as they stand, without phases."""
    values: dict[str, float] = {}
    for pair in pairs(text):
        if match := _ONE_NUMBER.match(text, pair.value):
            values.setdefault(pair.name, float(match[0]) * pair.factor)
    return values


def trailing_words(text: str) -> list[str]:
    """The last three words that are words, without fillers; a number or clock time ends them."""
    words: list[str] = []
    for word in reversed(text.split()):
        if not word[0].isalpha() and word[0] not in "_(":
            break
        if word.lower() not in _STOP_WORDS:
            words.append(word)
    return words[:3][::-1]


class Pair(NamedTuple):
    """A name and where it, its number and its end stand in the line; the factor converts to the stored unit."""

    name: str
    start: int
    value: int
    end: int
    factor: float


def pairs(text: str) -> Iterator[Pair]:
    """Every name with a number behind it; names lower-case with underscores, positions left out."""
    last = 0
    for match in _VALUE.finditer(text):
        segment = text[last : match.start()]
        explicit = match[1].strip() != ""
        raw = _CUT.split(segment)[-1]
        key = raw.strip(" '\"*#>-.()/")
        if explicit:
            words = trailing_words(key)
        else:
            words = key.split()[-2:]
            while words and not _BARE_KEY.fullmatch(" ".join(words)):
                words = words[1:]
        name = "_".join(words).lower().strip("_:'\"")
        if not name or not name[0].isalpha():
            last = match.end() if explicit else last
            continue
        last = match.end()
        if name in POSITION:
            continue
        name = RENAMED.get(name, name)
        factor = 1.0
        if name in STEP_TIMES:
            factor = 1e-3 if (match[3] or "").strip() == "ms" else 1.0
            name = "step_time"
        yield Pair(name, match.start() - len(raw) + raw.find(words[0]), match.start(2), match.end(), factor)
