from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.diagnosis import Diagnosis, RankedCause
from diag.errors import InputError
from diag.replayed import BEHIND, HELPED, NO_HELP, Replayed, Trial, read, rerank, verdicts_of
from diag.vocabulary import CAUSES

CAUSES_OF_LOG = (RankedCause("lr_too_high", 0.8, ("LRS001",)), RankedCause("batch_too_small", 0.6, ("LRS001",)))


def trial(cause: str, gain: float, *, dropped: bool = False) -> Trial:
    return Trial(cause, "a change", gain, dropped)


def replayed(*trials: Trial, result: str = "CONFIRMED") -> Replayed:
    return Replayed("replay.json", "run", "runs/run", result, "Why.", trials)


def test_a_change_helps_that_gains_half_of_the_best() -> None:
    found = verdicts_of(
        [trial("lr_too_high", 0.2), trial("batch_too_small", 0.11), trial("data_corruption", 0.09), trial("lr_too_low", 0.0)]
    )
    assert [found[name] for name in ("lr_too_high", "batch_too_small", "data_corruption", "lr_too_low")] == [
        HELPED,
        HELPED,
        NO_HELP,
        NO_HELP,
    ]
    assert verdicts_of([trial("lr_too_high", 0.01), trial("lr_too_low", 0.0, dropped=True)]) == {
        "lr_too_high": NO_HELP,
        "lr_too_low": BEHIND,
    }


def test_an_experiment_outweighs_the_log() -> None:
    first, second = rerank(CAUSES_OF_LOG, [trial("lr_too_high", 0.0), trial("batch_too_small", 0.3)])
    assert (first.cause, second.cause) == ("batch_too_small", "lr_too_high")
    assert first.score > 0.8 and second.score < 0.7


def test_a_cause_that_the_log_does_not_name_is_named_where_its_change_helps() -> None:
    names = [cause.cause for cause in rerank(CAUSES_OF_LOG, [trial("lr_too_low", 0.3), trial("too_few_epochs", 0.0)])]
    assert "lr_too_low" in names and "too_few_epochs" not in names


def test_of_equally_likely_causes_the_one_whose_change_gained_more_comes_first() -> None:
    trials = [trial("lr_too_high", 0.05), trial("too_few_epochs", 0.08)]
    assert [cause.cause for cause in rerank((), trials)] == ["too_few_epochs", "lr_too_high"]


@given(
    st.lists(st.tuples(st.sampled_from(CAUSES), st.floats(0, 1)), unique_by=lambda pair: pair[0], max_size=6),
    st.lists(st.builds(trial, st.sampled_from(CAUSES), st.floats(0, 1), dropped=st.booleans()), unique_by=lambda t: t.cause, max_size=6),
)
def test_scores_stay_probabilities_in_order_and_untried_causes_keep_theirs(log: list[tuple[str, float]], trials: list[Trial]) -> None:
    causes = [RankedCause(name, score) for name, score in log]
    found = rerank(causes, trials)
    assert all(0 <= cause.score <= 1 for cause in found)
    assert [cause.score for cause in found] == sorted((cause.score for cause in found), reverse=True)
    tried = {one.cause for one in trials}
    kept = {cause.cause: cause.score for cause in found}
    assert all(kept.get(name, score) == score for name, score in log if name not in tried)


def test_a_run_whose_log_shows_nothing_gets_the_verdict_of_what_was_shown() -> None:
    healthy = Diagnosis("HEALTHY", 0.8)
    assert replayed(trial("lr_too_low", 0.2)).rediagnose(healthy).verdict == "UNDERFIT"
    assert replayed(trial("lr_too_low", 0.2), result="INCONCLUSIVE").rediagnose(healthy).verdict == "HEALTHY"
    assert replayed(trial("lr_too_low", 0.0)).rediagnose(healthy) == healthy
    assert replayed().rediagnose(healthy) is healthy


RESULT: dict[str, Any] = {
    "run": {"id": "a", "path": "runs/a"},
    "result": "CONFIRMED",
    "reason": "Why.",
    "trials": [{"cause": "lr_too_high", "change": "learning_rate 1 → 0.1", "gain": 0.25, "dropped": False}],
}


def test_a_result_is_read_from_its_file_or_folder(tmp_path: Path) -> None:
    (tmp_path / "replay.json").write_text(json.dumps(RESULT))
    assert read(str(tmp_path)) == read(str(tmp_path / "replay.json"))
    assert read(str(tmp_path)).trials == (Trial("lr_too_high", "learning_rate 1 → 0.1", 0.25, False),)
    assert read(str(tmp_path)).is_of("a", "moved/elsewhere") and read(str(tmp_path)).is_of("b", "runs/a")
    assert not read(str(tmp_path)).is_of("b", "runs/b")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"run": 1}',
        "\x00",
        json.dumps(RESULT | {"trials": [{"cause": "x", "change": "", "gain": 1, "dropped": 0}]}),
    ],
)
def test_anything_else_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "replay.json").write_text(content)
    with pytest.raises(InputError, match="is no result of diag replay"):
        read(str(tmp_path))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"replay\.json"):
        read(str(tmp_path / "replay.json"))
