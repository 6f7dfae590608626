"""Run the log-reading peers of `diag`, the guides' own analyzer and `diag` itself over a built fault benchmark: one table.

    python benchmarks/peers/compare.py DIR [--envs ENVDIR] [--split train|held-out|all] [--only NAME ...] [--verbose]

DIR is what `benchmarks/faults/build.py` wrote. Each peer is installed from the package registry into a virtual environment of its
own in ENVDIR (DIR/peers unless told otherwise), which is kept; nothing is fetched for a peer that is there. A peer that cannot be
installed keeps its row, with the reason.

Every peer is given the same data: what `diag.load` reads of a run, written as a `trainer_state.json` (see `neutral`), from which
`ask.py` makes the form that the peer reads. No peer reads the configs beside the logs, so `diag` has two rows: one for the run as
it was logged, with its config, and one for the same converted log alone.

How they are judged, all by the same rule, on findings and nothing else:

- flagged: any finding at warning or worse, in the tool's own words for it (`symptoms.SEVERITIES`);
- right, on a sick run: a finding at warning or worse that speaks of a symptom which counts as right on that run. What findings
  speak of, and what counts, is the table in `symptoms.py`. It is generous: tools are compared on seven coarse symptoms, every
  accepted verdict and every cause that was measured to matter counts, and one right finding among wrong ones is enough;
- right, on a leaking evaluation: a finding at warning or worse that speaks of the evaluation;
- failed: a traceback, a refused log, no readable answer, or more than a minute on one run (`ask.TIME_LIMIT`). A failed run is not flagged.

Runs without or with few evaluations cost nothing and are not counted here. Seconds are the time taken by the answers to all
the runs in one process, without the start of the interpreter. Intervals are exact (Clopper-Pearson, 95%).
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "faults")]

import naive  # noqa: E402
from score import SICK, Label, read, share  # noqa: E402
from symptoms import CODES, EVAL, SEVERITIES, right, spoken_of  # noqa: E402

import diag  # noqa: E402

PEERS: Mapping[str, str] = {
    "trainproof": "0.22.0",
    "finetune-doctor": "0.2.2",
    "runmedic": "0.1.1",
    "trainspotter": "0.2.6",
    "losslint": "0.4.1",
    "gradsnitch": "0.1.0",
    "runwise": "0.4.0",
    "trainpulse": "0.4.0",
    "training-doctor": "0.1.0",
    "epochix": "0.7.36",
}
"""Packages and the versions that are compared."""

FAILURES_SHOWN = 3


@dataclass(frozen=True)
class Answer:
    """What a tool said of one run.

    Attributes:
        findings: code and severity (error, warning, info) of every finding.
        problem: why there is no answer, "" if there is one.
        seconds: time taken.
    """

    findings: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    seconds: float = 0.0

    @property
    def alarms(self) -> set[str]:
        """Codes of the findings at warning or worse."""
        return {code for code, severity in self.findings if severity != "info"}

    @property
    def errors(self) -> set[str]:
        return {code for code, severity in self.findings if severity == "error"}


def answer_of(findings: Iterable[Sequence[str]], problem: str = "", seconds: float = 0.0) -> Answer:
    """An Answer from findings in a tool's own words. Words that are not known count as an error, not as a remark."""
    known = ((code, SEVERITIES.get(severity.lower(), "error")) for code, severity in findings)
    return Answer(tuple(known), problem, seconds)


# The same data for all


NAMES = {"train/loss": "loss", "lr": "learning_rate", "grad_norm": "grad_norm"}
"""Canonical metrics to the names of a trainer_state.json; others keep their name, with underscores for slashes."""


def neutral(run: diag.Run) -> dict[str, Any]:
    """What `diag` read of a run as the content of a trainer_state.json: training and evaluation rows, in the order of the steps."""
    logged: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, curve in run.curves.items():
        native = NAMES.get(name, name.replace("/", "_"))
        evaluated = name.startswith(("eval/", "eval_", "val/"))
        for step, value, epoch in zip(curve.step.tolist(), curve.value.tolist(), curve.epoch.tolist(), strict=True):
            row = logged.setdefault((step, evaluated), {})
            row[native] = value
            if math.isfinite(epoch):
                row["epoch"] = epoch
    history = [{**logged[place], "step": place[0]} for place in sorted(logged)]
    return {
        "best_metric": None,
        "epoch": history[-1].get("epoch") if history else None,
        "global_step": run.steps,
        "is_world_process_zero": True,
        "log_history": history,
        "max_steps": run.planned_steps or run.steps,
    }


def convert(folder: Path, labels: Sequence[Label], into: Path) -> list[Path]:
    """Write every labelled run neutrally; returns the files."""
    files = []
    for label in labels:
        (run,) = diag.load(folder / "runs" / label["run"])
        file = into / label["run"] / "trainer_state.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(neutral(run)))
        files.append(file)
    return files


# The tools


def install(name: str, version: str, envs: Path) -> Path:
    """The interpreter of the peer's environment, made if it is not there.

    Raises:
        RuntimeError: the package could not be installed; the message is what the installer said last.
    """
    home = envs / f"{name}-{version}"
    python, done = home / "bin" / "python", home / "installed"
    if not done.exists():
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{name}=={version}"]
        for order in ([sys.executable, "-m", "venv", "--clear", str(home)], pip):
            ended = subprocess.run(order, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise RuntimeError(((ended.stderr or ended.stdout).strip().splitlines() or ["no reason given"])[-1])
        done.touch()
    return python


def asked(name: str, python: Path, files: Sequence[Path]) -> list[Answer]:
    """What a peer says of every run. One that dies leaves the rest unanswered."""
    order = [str(python), "-I", str(HERE / "ask.py"), name]
    ended = subprocess.run(order, input="".join(f"{file}\n" for file in files), capture_output=True, text=True, check=False)
    answers = [answer_of(**json.loads(line)) for line in ended.stdout.splitlines()]
    reason = (ended.stderr.strip().splitlines() or ["ended"])[-1]
    return answers + [Answer(problem=reason)] * (len(files) - len(answers))


def timed(ask: Callable[[Path], Iterable[Sequence[str]]], places: Iterable[Path]) -> Iterator[Answer]:
    """The answers of something that runs here."""
    for place in places:
        start = time.perf_counter()
        try:
            found, problem = list(ask(place)), ""
        except Exception as error:
            found, problem = [], f"{type(error).__name__}: {error}"
        yield answer_of(found, problem, time.perf_counter() - start)


def ask_diag(place: Path) -> Iterable[Sequence[str]]:
    (report,) = diag.analyze(place).runs
    return [(finding.code, finding.severity) for finding in report.findings]


def ask_naive(file: Path) -> Iterable[Sequence[str]]:
    """The guides' analyzer, which has one degree of severity."""
    history = json.loads(file.read_text())["log_history"]
    losses = ([row[name] for row in history if name in row] for name in ("loss", "eval_loss"))
    return [(code, "warning") for code in naive.findings(*losses)]


# The table


@dataclass(frozen=True)
class Row:
    """One tool's answers, one for each label."""

    tool: str
    title: str
    answers: Sequence[Answer]
    missing: str = ""


COLUMNS = ("tool", "healthy flagged", "with an error", "sick flagged", "sick right", "leak right", "failed", "seconds")


def cells(row: Row, labels: Sequence[Label]) -> tuple[str, ...]:
    """The figures of one tool."""
    if row.missing:
        return (row.title, f"not installed: {row.missing}")
    pairs = list(zip(labels, row.answers, strict=True))
    healthy = [answer for label, answer in pairs if label["class"] == "healthy"]
    sick = [(label, answer) for label, answer in pairs if label["class"] in SICK]
    leak = [answer for label, answer in pairs if label["class"] == "leak"]
    return (
        row.title,
        share(sum(bool(answer.alarms) for answer in healthy), len(healthy)),
        f"{sum(bool(answer.errors) for answer in healthy)}/{len(healthy)}",
        f"{sum(bool(answer.alarms) for _, answer in sick)}/{len(sick)}",
        share(sum(is_right(row.tool, label, answer) for label, answer in sick), len(sick)),
        f"{sum(EVAL in spoken_of(row.tool, answer.alarms) for answer in leak)}/{len(leak)}",
        str(sum(bool(answer.problem) for answer in row.answers)),
        f"{sum(answer.seconds for answer in row.answers):.1f}",
    )


def is_right(tool: str, label: Label, answer: Answer) -> bool:
    """Whether a finding at warning or worse speaks of a symptom that is right on this sick run."""
    return bool(spoken_of(tool, answer.alarms) & right(label["accepted"], {*label["causes"], *label["also"]}))


def table(rows: Iterable[Row], labels: Sequence[Label]) -> list[str]:
    """The lines of the table, columns aligned; a tool without figures has its reason instead."""
    filled = [COLUMNS, *(cells(row, labels) for row in rows)]
    full = [line for line in filled if len(line) == len(COLUMNS)]
    titles = max(len(line[0]) for line in filled)
    widths = [titles, *(max(len(line[i]) for line in full) for i in range(1, len(COLUMNS)))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=False)).rstrip() for line in filled]


def details(row: Row, labels: Sequence[Label]) -> Iterator[str]:
    """Which findings were made how often, right and wrong, and what failed first."""
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in ("healthy", "sick right", "sick wrong")}
    for label, answer in zip(labels, row.answers, strict=True):
        for code in answer.alarms:
            if label["class"] == "healthy":
                counts["healthy"][code] += 1
            elif label["class"] in SICK:
                counts["sick right" if is_right(row.tool, label, Answer(((code, "error"),))) else "sick wrong"][code] += 1
    yield row.title
    for kind, found in counts.items():
        yield f"  {kind:11} " + (", ".join(f"{code} {count}" for code, count in found.most_common()) or "-")
    unknown = {code for answer in row.answers for code, _ in answer.findings} - set(CODES[row.tool])
    if unknown:
        yield f"  codes without symptoms: {', '.join(sorted(unknown))}"
    failed = [(label["run"], answer.problem) for label, answer in zip(labels, row.answers, strict=True) if answer.problem]
    yield from (f"  failed on {run}: {problem}" for run, problem in failed[:FAILURES_SHOWN])


def run_all(folder: Path, labels: Sequence[Label], envs: Path, names: Sequence[str]) -> Iterator[Row]:
    """A row for each tool, as soon as it has answered."""
    with tempfile.TemporaryDirectory() as place:
        files = convert(folder, labels, Path(place))
        if "diag" in names:
            originals = [folder / "runs" / label["run"] for label in labels]
            yield Row("diag", f"diag {diag.__version__}, log and config", list(timed(ask_diag, originals)))
            yield Row("diag", f"diag {diag.__version__}, converted log", list(timed(ask_diag, files)))
        for name, version in PEERS.items():
            if name in names:
                try:
                    python = install(name, version, envs)
                except RuntimeError as error:
                    yield Row(name, f"{name} {version}", (), str(error))
                else:
                    yield Row(name, f"{name} {version}", asked(name, python, files))
        if "naive" in names:
            yield Row("naive", "the guides' analyzer", list(timed(ask_naive, files)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what build.py wrote")
    parser.add_argument("--envs", type=Path, help="where the peers' environments are kept (default: DIR/peers)")
    parser.add_argument("--split", choices=["train", "held-out", "all"], default="train", help="which settings (default: train)")
    parser.add_argument("--only", nargs="+", choices=sorted(CODES), default=sorted(CODES), metavar="NAME", help="only these tools")
    parser.add_argument("--verbose", action="store_true", help="also print which findings were made how often")
    arguments = parser.parse_args()
    labels = [label for label in read(arguments.folder) if arguments.split in (label["split"], "all")]
    rows = []
    for row in run_all(arguments.folder, labels, arguments.envs or arguments.folder / "peers", arguments.only):
        print(f"{row.title}: {row.missing or f'asked about {len(labels)} runs'}", file=sys.stderr)
        rows.append(row)
    classes = collections.Counter(label["class"] for label in labels)
    print(f"split {arguments.split}: {len(labels)} runs, {classes['healthy']} healthy, {sum(classes[name] for name in SICK)} sick")
    print(*table(rows, labels), sep="\n")
    if arguments.verbose:
        print("", *(line for row in rows if not row.missing for line in details(row, labels)), sep="\n")


if __name__ == "__main__":
    main()
