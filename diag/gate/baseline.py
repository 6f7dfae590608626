"""Findings that were there before: a file that ``diag baseline write`` makes, so that a gate speaks only of what is new."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from diag import __version__
from diag.check import Finding
from diag.errors import InputError
from diag.gate.acceptance import F
from diag.lint import Violation
from diag.vocabulary import SEVERITIES

SCHEMA_VERSION: Final = 1
NAME: Final = "diag-baseline.json"
"""The file that is written where no other is named."""
REASON: Final = "was there when the baseline was written"
MAX_BYTES: Final = 64 << 20
"""About 200,000 findings; a larger file is no baseline."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """What one kind of finding of one run was accepted for.

    Attributes:
        run: where the run lies, relative to the folder of the baseline.
        code: of the check.
        metric: that it is about, or the key of a config.
        severity: the worst that was accepted: what is worse is new.
        count: how many there were.
        reason: why they are fine.
    """

    run: str
    code: str
    metric: str
    severity: str
    count: int = 1
    reason: str = REASON


@dataclass(frozen=True)
class Baseline:
    """All that was accepted.

    Attributes:
        path: the file; runs are named relative to its folder.
        entries: by run, code and metric.
    """

    path: Path
    entries: Mapping[tuple[str, str, str], Entry] = field(default_factory=dict)

    def counts(self) -> Counter[tuple[str, str, str]]:
        """How many findings of each run, code and metric there were."""
        return Counter({key: entry.count for key, entry in self.entries.items()})

    def divide(self, run: str, findings: Iterable[F], left: Counter[tuple[str, str, str]]) -> tuple[list[F], list[tuple[F, str, str]]]:
        """The findings of a run or config that are new; those that are not, with the reason and what accepted them.

        Of one kind as many are known as there were, and none that is worse.

        Args:
            run: its key, from ``run_key``.
            findings: all it has.
            left: ``counts``, less what was known already: several configs of one file share what was accepted of it.
        """
        kept: list[F] = []
        known: list[tuple[F, str, str]] = []
        for finding in findings:
            key = (run, finding.code, finding.about)
            entry = self.entries.get(key)
            if entry is None or not left[key] or SEVERITIES.index(finding.severity) > SEVERITIES.index(entry.severity):
                kept.append(finding)
                continue
            left[key] -= 1
            known.append((finding, entry.reason, self.path.name))
        return kept, known


def entries(run: str, findings: Iterable[Finding | Violation], before: Baseline | None = None, reason: str = REASON) -> list[Entry]:
    """What a baseline holds of one run; reasons that a former baseline gives are kept.

    Args:
        run: its key, from ``run_key``.
        findings: all it has.
        before: the former baseline.
        reason: for what is new.
    """
    found: dict[tuple[str, str, str], Entry] = {}
    for finding in findings:
        key = (run, finding.code, finding.about)
        former = before.entries.get(key) if before is not None else None
        entry = found.get(
            key, Entry(run, finding.code, finding.about, finding.severity, 0, former.reason if former is not None else reason)
        )
        worst = max(entry.severity, finding.severity, key=SEVERITIES.index)
        found[key] = replace(entry, count=entry.count + 1, severity=worst)
    return list(found.values())


def common(before: Baseline, now: Iterable[Entry], runs: Iterable[str]) -> list[Entry]:
    """What of a baseline is still there; entries of runs other than ``runs`` are kept as they are."""
    looked_at = set(runs)
    left = {(entry.run, entry.code, entry.metric): entry for entry in now}
    kept = []
    for key, entry in before.entries.items():
        if entry.run not in looked_at:
            kept.append(entry)
        elif key in left:
            mildest = min(entry.severity, left[key].severity, key=SEVERITIES.index)
            kept.append(replace(entry, count=min(entry.count, left[key].count), severity=mildest))
    return kept


def to_json(found: Iterable[Entry]) -> str:
    """The file: strict JSON in ASCII, sorted, a key a line, so that two branches merge well."""
    rows = [asdict(entry) for entry in sorted(found)]
    content = {"schema_version": SCHEMA_VERSION, "tool": {"name": "diag", "version": __version__}, "findings": rows}
    return json.dumps(content, indent=2) + "\n"


def read(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        InputError: there is none, or it is not one.
    """
    advice = "write one with: diag baseline write RUN"
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(path, f"cannot be read ({(error.strerror or type(error).__name__).lower()})", advice) from None
    if len(data) > MAX_BYTES:
        raise InputError(path, f"is larger than {MAX_BYTES >> 20} MiB", advice)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"is no valid JSON ({str(error)[:100]})", advice) from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION or not isinstance(content.get("findings"), list):
        what = f"a baseline of version {version}" if isinstance(version, int) else "no baseline"
        raise InputError(path, f"is {what}, where one of version {SCHEMA_VERSION} is read", advice)
    found: dict[tuple[str, str, str], Entry] = {}
    for number, row in enumerate(content["findings"], start=1):
        entry = _entry(row)
        if entry is None:
            raise InputError(path, f"finding {number} is not as diag baseline write makes it", "write the baseline again")
        found[entry.run, entry.code, entry.metric] = entry
    return Baseline(path, found)


def run_key(root: str, name: str, base: Path) -> str:
    """What a baseline calls a run: its folder relative to that of the baseline, and nothing that another machine has elsewhere.

    Args:
        root: absolute folder of the run, or a config's path; "" for a remote run.
        name: the run's own name, which a remote one is known by.
        base: absolute folder of the baseline.
    """
    if not root:
        return name
    import os

    try:
        return Path(os.path.relpath(root, base)).as_posix()
    except ValueError:  # another drive
        return Path(root).name


def _entry(row: Any) -> Entry | None:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("run", "code", "metric", "severity", "reason")):
        return None
    count = row.get("count")
    if row["severity"] not in SEVERITIES or not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return None
    return Entry(row["run"], row["code"], row["metric"], row["severity"], count, row["reason"])
