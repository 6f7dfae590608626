"""Score `diag` on a built fault benchmark: detection, false alarms, ranking of causes, calibration.

    python benchmarks/faults/score.py DIR [--verbose]

Everything is printed for the settings that may be looked at while detectors are developed (train) and for those that are set
aside (held-out). What counts as right:

- healthy: no finding at warning or above, and the verdict HEALTHY or INCONCLUSIVE;
- sick: the verdict is one of the accepted ones; the cause is right if it is the injected one, or one whose single change was measured to
  close at least half of the gap;
- a leaking evaluation: a finding at warning or above that names the leak, whatever the verdict;
- no or few evaluations: the remark is made and nothing worse is said.
"""

from __future__ import annotations

import argparse
import collections
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diag
from diag.vocabulary import HEALTHY, INCONCLUSIVE

SICK = ("sick", "overfit")
Label = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What `diag` said of one run.

    Attributes:
        alarms: codes and severities of the findings at warning or above.
        causes: ranked causes with their scores.
        named: causes that any finding speaks for, to the worst severity of those findings.
    """

    verdict: str
    confidence: float
    alarms: tuple[tuple[str, str], ...]
    causes: tuple[tuple[str, float], ...]
    named: dict[str, str]

    @property
    def flagged(self) -> bool:
        return bool(self.alarms) or self.verdict not in (HEALTHY, INCONCLUSIVE)

    def first(self, count: int) -> set[str]:
        return {cause for cause, _ in self.causes[:count]}


def ask(folder: Path) -> Answer:
    """Analyze one run."""
    report = diag.analyze(folder).runs[0]
    named: dict[str, str] = {}
    for finding in reversed(report.findings):  # the most severe come first
        named |= {cause: finding.severity for cause, weight in finding.causes.items() if weight > 0}
    return Answer(
        report.diagnosis.verdict,
        report.diagnosis.confidence,
        tuple((finding.code, finding.severity) for finding in report.findings if finding.severity != "info"),
        tuple((cause.cause, cause.score) for cause in report.diagnosis.causes),
        named,
    )


def accepted_causes(label: Label) -> set[str]:
    return {*label["causes"], *label["also"]}


def is_right(label: Label, answer: Answer) -> bool:
    """Whether a run was judged rightly, by the rules at the top."""
    if label["class"] == "healthy":
        return not answer.flagged
    if label["class"] == "leak":
        return answer.named.get("eval_leak", "info") != "info"
    if label["class"] == "remark":
        said = {*answer.named, *answer.first(len(answer.causes))}
        return label["causes"][0] in said and not answer.flagged
    return answer.verdict in label["accepted"]


def share(k: int, n: int) -> str:
    """``k/n`` with the exact (Clopper-Pearson) 95% interval."""
    from scipy.stats import beta

    if not n:
        return "0/0"
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return f"{k}/{n} = {100 * k / n:.1f}% ({100 * low:.1f} to {100 * high:.1f}%)"


def macro_f1(true: Sequence[str], said: Sequence[str]) -> float:
    """Mean over the true classes of the harmonic mean of recall and precision."""
    scores = []
    for name in sorted(set(true)):
        hit = sum(t == s == name for t, s in zip(true, said, strict=True))
        scores.append(2 * hit / (true.count(name) + said.count(name)))
    return sum(scores) / len(scores) if scores else float("nan")


def said_cause(label: Label, answer: Answer) -> str:
    """The first cause as one class for the F1: the injected one where the answer is accepted."""
    if label["class"] == "healthy":
        return "healthy" if not answer.flagged else next(iter(answer.first(1)), "none")
    if answer.verdict == HEALTHY:
        return "healthy"
    first = next(iter(answer.first(1)), "none")
    return label["causes"][0] if first in accepted_causes(label) else first


Pairs = list[tuple[Label, Answer]]


def summary(pairs: Pairs) -> Iterable[str]:
    """The headline figures of a split."""
    healthy = [(label, answer) for label, answer in pairs if label["class"] == "healthy"]
    sick = [(label, answer) for label, answer in pairs if label["class"] in SICK]
    severities = [{severity for _, severity in answer.alarms} for _, answer in healthy]
    yield f"runs {len(pairs)} in {len({label['setting'] for label, _ in pairs})} settings"
    yield f"healthy with an error            {share(sum('error' in s for s in severities), len(healthy))}"
    yield f"healthy with a warning or error  {share(sum(bool(s) for s in severities), len(healthy))}"
    yield f"healthy flagged (also by verdict) {share(sum(answer.flagged for _, answer in healthy), len(healthy))}"
    yield f"sick: any sick verdict           {share(sum(a.verdict not in (HEALTHY, INCONCLUSIVE) for _, a in sick), len(sick))}"
    yield f"sick: accepted verdict           {share(sum(is_right(x, a) for x, a in sick), len(sick))}"
    for count in (1, 2):
        hits = sum(bool(answer.first(count) & accepted_causes(label)) for label, answer in sick)
        yield f"sick: cause among the first {count}    {share(hits, len(sick))}"
    for kind in ("leak", "remark"):
        some = [(label, answer) for label, answer in pairs if label["class"] == kind]
        yield f"{kind}: right{' ' * (26 - len(kind))}{share(sum(is_right(x, a) for x, a in some), len(some))}"
    both = healthy + sick
    true = [label["accepted"][0] if answer.verdict not in label["accepted"] else answer.verdict for label, answer in both]
    yield f"macro-F1 of the verdict          {macro_f1(true, [answer.verdict for _, answer in both]):.3f}"
    true = ["healthy" if label["class"] == "healthy" else label["causes"][0] for label, _ in both]
    yield f"macro-F1 of the first cause      {macro_f1(true, [said_cause(x, a) for x, a in both]):.3f}"


SIZES = (0.04, 0.10, 0.30, 1.01)
"""Limits of the relative gain by which sick runs are told apart: small ones are hard to see in a log."""


def by_size(pairs: Pairs) -> Iterable[str]:
    """Sick runs by what the removal of the cause gains."""
    yield f"{'gain of the cure':18} {'runs':>5} {'sick verdict':>13} {'accepted':>9} {'cause first':>12}"
    low = 0.0
    for high in SIZES:
        some = [(x, a) for x, a in pairs if x["class"] in SICK and low <= sum(x["outcome"]["gains"]) / len(x["outcome"]["gains"]) < high]
        seen = sum(a.verdict not in (HEALTHY, INCONCLUSIVE) for _, a in some)
        first = sum(bool(a.first(1) & accepted_causes(x)) for x, a in some)
        if some:
            name = f"{100 * low:.0f} to {100 * min(high, 1.0):.0f}%"
            yield f"{name:18} {len(some):5} {seen:13} {sum(is_right(x, a) for x, a in some):9} {first:12}"
        low = high


def by_cause(pairs: Pairs) -> Iterable[str]:
    """Recall and precision of every injected cause."""
    yield f"{'cause':30} {'runs':>4} {'verdict':>8} {'first':>6} {'in two':>6} {'named first':>12} {'of these right':>14}"
    judged = [(label, answer) for label, answer in pairs if label["class"] in ("healthy", *SICK)]
    for cause in sorted({label["causes"][0] for label, _ in judged if label["causes"]}):
        own = [(label, answer) for label, answer in judged if cause in label["causes"]]
        first, two = (sum(bool(a.first(n) & accepted_causes(x)) for x, a in own) for n in (1, 2))
        named = [(x, a) for x, a in judged if a.first(1) == {cause} and a.verdict not in (HEALTHY, INCONCLUSIVE)]
        good = sum(cause in accepted_causes(x) for x, _ in named)
        right = sum(is_right(x, a) for x, a in own)
        yield f"{cause:30} {len(own):4} {right:8} {first:6} {two:6} {len(named):12} {good:14}"


def by_fault(pairs: Pairs) -> Iterable[str]:
    """Every fault: how often it was judged rightly, and the wrong answers."""
    faults: dict[str, Pairs] = collections.defaultdict(list)
    for label, answer in pairs:
        faults[label["fault"] or "(healthy)"].append((label, answer))
    yield f"{'fault':18} {'right':>7}  wrong answers (verdict and first cause)"
    for fault in sorted(faults):
        wrong = [(x, a) for x, a in faults[fault] if not is_right(x, a)]
        said = collections.Counter(f"{a.verdict} {next(iter(a.first(1)), '-')}" for _, a in wrong)
        text = ", ".join(f"{count} {words}" for words, count in said.most_common())
        yield f"{fault:18} {len(faults[fault]) - len(wrong):3}/{len(faults[fault]):3}  {text}"


def reliability(scores: Sequence[tuple[float, bool]]) -> Iterable[str]:
    """How often a confidence came true, in ten bins."""
    yield f"{'confidence':12} {'runs':>5} {'mean':>6} {'right':>6}"
    for low in range(10):
        inside = [(c, right) for c, right in scores if low / 10 <= c < (low + 1) / 10 or (low == 9 and c == 1.0)]
        if inside:
            mean, hits = sum(c for c, _ in inside) / len(inside), sum(right for _, right in inside) / len(inside)
            yield f"{low / 10:.1f} to {(low + 1) / 10:.1f}   {len(inside):5} {mean:6.2f} {hits:6.2f}"


def verdict_scores(pairs: Pairs) -> list[tuple[float, bool]]:
    """Confidence of the verdict, and whether it is accepted, of healthy and sick runs."""
    return [(a.confidence, a.verdict in x["accepted"]) for x, a in pairs if x["class"] in ("healthy", *SICK)]


def cause_scores(pairs: Pairs) -> list[tuple[float, bool]]:
    """Score of the first cause of sick runs, and whether it is accepted."""
    return [(a.causes[0][1], a.causes[0][0] in accepted_causes(x)) for x, a in pairs if x["class"] in SICK and a.causes]


def read(folder: Path) -> list[Label]:
    """The labels of a built benchmark."""
    return [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what build.py wrote")
    parser.add_argument("--verbose", action="store_true", help="print every run of the train split that is wrong")
    arguments = parser.parse_args()
    pairs = [(label, ask(arguments.folder / "runs" / label["run"])) for label in read(arguments.folder)]
    for split in ("train", "held-out"):
        some = [(label, answer) for label, answer in pairs if label["split"] == split]
        print(f"== {split}", *summary(some), "", *by_size(some), "", *by_cause(some), "", *by_fault(some), "", sep="\n")
        print("verdict", *reliability(verdict_scores(some)), "", "first cause", *reliability(cause_scores(some)), "", sep="\n")
    if arguments.verbose:
        for label, answer in pairs:
            missed = label["class"] in SICK and not answer.first(1) & accepted_causes(label)
            if label["split"] == "train" and (missed or not is_right(label, answer)):
                want = f"{label['accepted']} {sorted(accepted_causes(label))}"
                print(label["run"], label["setting"], answer.verdict, answer.causes[:3], answer.alarms, "| want", want)


if __name__ == "__main__":
    main()
