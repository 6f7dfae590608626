from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import diag
from diag.replay.store import LOG, Store, key_of
from diag.replay.trainer import Job, Trained

ROWS = [{"step": float(i + 1), "train/loss": 2.0 / (i + 1), "lr": 0.01, "grad_norm": math.nan if i == 11 else 1.0} for i in range(12)]
DONE = Trained(ROWS, 12, 48, math.inf, "not finite", ("a note",))


def job(hyperparameters: dict[str, Any] = {}, seed: int = 0) -> Job:  # noqa: B006
    return Job("recorded", seed, hyperparameters, 12, 48, place="whole-48")


def same(one: Trained | None, other: Trained) -> bool:
    return repr(one) == repr(other)


def test_what_is_put_is_got_with_its_key_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(job({"learning_rate": 0.01}), "key", DONE)
    assert same(store.get(job(), "key"), DONE)
    assert store.get(job(), "other") is None
    assert store.get(job(seed=1), "key") is None


def test_a_damaged_log_counts_as_not_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(job({}), "key", DONE)
    log = tmp_path / "whole-48" / "recorded" / "seed-0" / LOG
    log.write_text(log.read_text()[:-40])
    assert store.get(job(), "key") is None


def test_nothing_is_kept_without_a_folder() -> None:
    store = Store(None)
    store.put(job({}), "key", DONE)
    assert store.get(job(), "key") is None


def test_diag_reads_the_log_with_its_hyperparameters(tmp_path: Path) -> None:
    Store(tmp_path).put(job({"learning_rate": 0.01, "optimizer": "adamw"}), "key", DONE)
    run = diag.analyze(tmp_path).runs[0].run
    assert run.steps == 12
    assert {"train/loss", "lr", "grad_norm"} <= run.curves.keys()
    assert (run.hyperparameter("learning_rate"), run.hyperparameter("optimizer")) == (0.01, "adamw")


def test_keys_depend_on_every_part() -> None:
    assert key_of(a=1, b=2) == key_of(b=2, a=1) != key_of(a=1, b=3)
