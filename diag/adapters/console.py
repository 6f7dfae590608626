"""Console text: what a training printed, with its crash lines and the settings it announced.

Fidelity is the lowest of all sources: numbers are rounded and steps are sometimes only implied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from diag.adapters import WRITING, Folder, Source
from diag.adapters.tolerant_json import decode, read_bytes, whole_lines
from diag.errors import InputError, NothingThereError
from diag.run import Run

SUFFIXES: Final = (".log", ".out", ".txt", ".err", ".stdout", ".stderr")
OTHERS: Final = frozenset(
    [
        ".json",
        ".jsonl",
        ".csv",
        ".tsv",
        ".yaml",
        ".yml",
        ".toml",
        ".py",
        ".md",
        ".rst",
        ".html",
        ".xml",
        ".ipynb",
        ".sh",
        ".wandb",
        ".db",
        ".c",
        ".h",
        ".cpp",
        ".js",
    ]
)
"""Suffixes of text files that are no console logs even if they speak of losses."""
NAMES: Final = frozenset({"stdout", "stderr", "log", "output", "console"})
"""Names without a suffix that console logs go by."""
NO_LOGS: Final = re.compile(
    r"(?:requirements|license|readme|vocab|merges|debug-internal|debug-cli|tokenizer|classes|labels).*", re.IGNORECASE
)

MANY: Final = 200
"""Text files in one folder above which they are data (captions, labels), not logs."""

_JOB: Final = re.compile(r"\.[oe]\d+$")
"""PBS and SGE name their logs ``job.o12345`` and ``job.e12345``."""


class ConsoleAdapter:
    """Reads console text: ``.log``, ``.out``, ``.txt``, and whatever text file the user names."""

    name = "console"
    fidelity = 10
    schemes: tuple[str, ...] = ()

    def find(self, folder: Folder) -> Iterator[Source]:
        """One source a log; the ``.err`` of a batch job goes with its ``.out``."""
        names = [name for name in folder.files if is_log_name(name)]
        if sum(name.lower().endswith(".txt") for name in names) > MANY:
            names = [name for name in names if not name.lower().endswith(".txt")]
        if not names:
            return
        from diag.adapters.console_log import holds_crash, holds_training, sample  # dozens of patterns: compiled where they are needed

        partners = {name: partner for name in names if (partner := error_partner(name, folder.files)) is not None}
        for name in names:
            if name in partners.values():
                continue
            files = tuple(folder.path / part for part in (name, partners.get(name)) if part is not None)
            texts = [sample(path) for path in files]
            if any(map(holds_training, texts)) or (not name.endswith(".txt") and any(map(holds_crash, texts))):
                yield Source(self.name, run_folder(files[0]), files)

    def find_file(self, path: Path) -> Source | None:
        """The source for a text file the user named, if it holds a training or crash line."""
        if path.suffix.lower() in OTHERS:
            return None
        from diag.adapters.console_events import find_events
        from diag.adapters.console_log import holds_training
        from diag.adapters.console_text import clean

        try:
            data = path.read_bytes()
        except OSError:
            return None
        if b"\x00" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return None
        text = clean(decode(data)[0])
        if not holds_training(text) and not find_events(text):
            return None
        return Source(self.name, run_folder(path), (path,))

    def find_uri(self, uri: str, tracking_uri: str | None) -> Source:
        """Never called: a console log has no URI."""
        raise InputError(uri, "a console log is read from a path")

    def read(self, source: Source) -> list[Run]:
        """The run that the log tells; one without curves where it holds only crash lines.

        Raises:
            InputError: no file can be read, or none holds a training or crash line.
        """
        from diag.adapters.console_log import add_checkpoints, add_events, judge_end, make_run, parse
        from diag.adapters.console_text import clean

        texts: list[tuple[Path, str]] = []
        notes: list[str] = []
        failure: InputError | None = None
        for path in source.files:
            try:
                data = read_bytes(path)
                text, remarks = decode(whole_lines(data) if WRITING in source.options else data)
            except InputError as error:
                failure = failure or error
                continue
            texts.append((path, clean(text)))
            notes += [f"{path.name}: {remark}" for remark in remarks]
        if not texts:
            raise failure or InputError(source.root, "holds no console log")
        parsed = [parse(text) for _, text in texts]
        main = max(range(len(texts)), key=lambda index: (len(parsed[index].rows), -index))
        path = texts[main][0]
        run = make_run(parsed[main], path, source.root)
        run.notes[:0] = notes
        for index, (file, text) in enumerate(texts):
            add_events(run, text, file, parsed[index].rows if index == main else [])
        if not run.curves and not run.events:
            raise NothingThereError(path, "holds no line that names a loss with a number", "name the file the trainer logged its loss to")
        add_checkpoints(run, texts[main][1], source.root)
        judge_end(run, parsed[main])
        return [run]


ADAPTER: Final = ConsoleAdapter()


def is_log_name(name: str) -> bool:
    """Whether a file of this name may be a console log."""
    lower = name.lower()
    stem = Path(lower).stem
    return (lower.endswith(SUFFIXES) or lower in NAMES or _JOB.search(lower) is not None) and NO_LOGS.fullmatch(stem) is None


def error_partner(name: str, files: Sequence[str]) -> str | None:
    """The file with the same job's standard error, None if there is none."""
    stem, dot, suffix = name.rpartition(".")
    other = {"out": "err", "stdout": "stderr"}.get(suffix) or (f"e{suffix[1:]}" if _JOB.search(name) and suffix.startswith("o") else None)
    partner = f"{stem}{dot}{other}"
    return partner if other and partner in files else None


def run_folder(path: Path) -> Path:
    """The folder that stands for the run: for ``run-…/files/output.log`` of W&B it is ``run-…``."""
    folder = path.parent
    return folder.parent if folder.name == "files" and folder.parent.name.startswith(("run-", "offline-run-")) else folder
