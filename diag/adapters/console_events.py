"""Lines of a console log that say something went wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from diag.adapters.console_text import clean
from diag.run import LogEvent

MAX_EVENTS: Final = 2000
"""Events kept of one file; a loss scaler that overflows at every step writes one each."""
EXCERPT: Final = 240
"""Characters of a line quoted in an event."""
LOOK_BACK: Final = 20_000
"""Characters before an event in which its step is looked for."""
TRACEBACK_SPAN: Final = 20_000
"""Characters after a traceback's first line in which its exception is looked for."""

MARKERS: Final = (
    ("out_of_memory", "out of memory. Tried to allocate"),
    ("out_of_memory", "OutOfMemoryError:"),
    ("out_of_memory", "CUDA_ERROR_OUT_OF_MEMORY"),
    ("out_of_memory", "CUDA error: out of memory"),
    ("out_of_memory", "RESOURCE_EXHAUSTED: Out of memory"),
    ("out_of_memory", "OOM when allocating tensor"),
    ("host_out_of_memory", "DefaultCPUAllocator: can't allocate memory"),
    ("host_out_of_memory", "DefaultCPUAllocator: not enough memory"),
    ("host_out_of_memory", "oom-kill"),
    ("host_out_of_memory", "oom_kill"),
    ("host_out_of_memory", "Out Of Memory"),
    ("nccl_timeout", "Watchdog caught collective operation timeout"),
    ("nccl_timeout", "NCCL's watchdog got stuck for"),
    ("nonfinite_loss", "Loss is nan"),
    ("nonfinite_loss", "Loss is inf"),
    ("nonfinite_loss", "Loss is NaN"),
    ("nonfinite_loss", "loss is nan"),
    ("nonfinite_loss", "non-finite loss"),
    ("nonfinite_loss", "The loss returned in `training_step` is"),
    ("nonfinite_loss", "Invalid loss, terminating training"),
    ("loss_scale_overflow", "Gradient overflow.  Skipping step"),
    ("loss_scale_overflow", "Gradient overflow. Skipping step"),
    ("loss_scale_overflow", "gradient overflow detected"),
    ("loss_scale_overflow", "OVERFLOW! "),
    ("loss_scale_exhausted", "Current loss scale already at minimum"),
    ("loss_scale_exhausted", "Minimum loss scale reached"),
    ("traceback", "Traceback (most recent call last)"),
    ("killed", "Signal 9 (SIGKILL)"),
    ("killed", "exitcode: -9"),
    ("killed", "exitcode  : -9"),
    ("killed", "DUE TO TIME LIMIT"),
    ("killed", "DUE TO PREEMPTION"),
    ("killed", "Segmentation fault"),
    ("killed", "\nKilled"),
    ("killed", ": Killed"),
    ("killed", "\nKeyboardInterrupt"),
)
"""Kind of event and a text that only such a line holds, in the wording of PyTorch, TensorFlow, JAX, DeepSpeed, Apex,
fairseq, Keras, torchrun, Slurm and the kernel. Plain substrings: finding them in a large text costs next to nothing."""

_STEP: Final = re.compile(
    r"(?:\b(?:global[_ ]?step|step|iter|iteration|num_updates)s?\b['\"]?\s{0,4}[:=#]?\s{0,4}[\[(]?\s{0,4}(\d{1,12})\b(?!\.\d))"
    r"|(\d{1,12})/\d{1,12} \[",
    re.IGNORECASE,
)
_EXCEPTION: Final = re.compile(
    r"^(?:\[?\w{0,12}\d{0,5}\]?: ?)?([A-Za-z_][\w.]{0,80}(?:Error|Exception|Interrupt|Exit|Warning|Stop\w*))\b(?::[^\n]{0,400})?$",
    re.MULTILINE,
)


def find_events(text: str) -> list[LogEvent]:
    """Events in the order of the text; the same kind at the same step is one event with a count.

    ``step`` is the last step named in the 20,000 characters before, -1 if there is none. A traceback that ends in an
    out-of-memory error is only the latter; a keyboard interrupt is ``killed``.
    """
    text = clean(text)
    hits: list[tuple[int, str]] = []
    for kind, marker in MARKERS:
        position = text.find(marker)
        while position >= 0 and len(hits) < 20 * MAX_EVENTS:
            hits.append((position + (marker[0] == "\n"), kind))
            position = text.find(marker, position + len(marker))
    events: dict[tuple[str, int], LogEvent] = {}
    line, last = 1, 0
    seen: set[tuple[str, int]] = set()
    for position, kind in sorted(hits):
        line += text.count("\n", last, position)
        last = position
        excerpt = line_at(text, position)
        if kind == "traceback":
            kind, excerpt = exception_of(text, position, excerpt)
            if kind == "out_of_memory":
                continue  # its last line is an event of its own
        if (kind, line) in seen or is_quoted_code(kind, excerpt):
            continue
        seen.add((kind, line))
        step = step_before(text, position)
        if known := events.get((kind, step)):
            events[kind, step] = replace(known, count=known.count + 1)
        elif len(events) < MAX_EVENTS:
            events[kind, step] = LogEvent(kind, step, excerpt, "", line)
    return list(events.values())


def line_at(text: str, position: int) -> str:
    """The piece of text around a position, between line ends or carriage returns, shortened."""
    start = max(text.rfind("\n", 0, position), text.rfind("\r", 0, position), position - EXCERPT)
    ends = [end for end in (text.find("\n", position), text.find("\r", position), position + EXCERPT) if end >= 0]
    return text[start + 1 : min(ends)].strip()[:EXCERPT]


def exception_of(text: str, position: int, excerpt: str) -> tuple[str, str]:
    """Kind and last line of a traceback: out_of_memory, killed (keyboard interrupt) or traceback."""
    match = _EXCEPTION.search(text, position, position + TRACEBACK_SPAN)
    if match is None:
        return "traceback", excerpt
    words = match[0].strip()[:EXCERPT]
    if "OutOfMemory" in words or "out of memory" in words:
        return "out_of_memory", words
    return ("killed" if "KeyboardInterrupt" in words else "traceback"), words


def is_quoted_code(kind: str, excerpt: str) -> bool:
    """Whether the line is source code shown by a traceback rather than a message."""
    return kind != "traceback" and excerpt.startswith(("raise ", "print(", "logger.", "except ", "File "))


def step_before(text: str, position: int) -> int:
    """The last step named before a position, -1 if there is none near."""
    step = -1
    span = 1000
    while step < 0 and span <= LOOK_BACK:
        for match in _STEP.finditer(text, max(0, position - span), position):
            step = int(match[1] or match[2])
        span *= 5
    return step
