from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from diag.replay.conclusion import Conclusion, Evidence, conclude
from diag.replay.decision import compare
from diag.replay.horizon import BEGINNING, WHOLE, Horizon
from diag.replay.outcome import CONFIRMED, INCONCLUSIVE, REFUTED, ArmResult, Seed
from diag.replay.symptom import Symptom

NORMAL = (1.0, 1.02, 0.98)
QUARTER = Horizon(BEGINNING, 100, 400)


def arm(losses: Sequence[float], symptom: int, against: Sequence[float] | None = None, *, last: bool = True) -> ArmResult:
    seeds = tuple(Seed(i, loss, loss, 0, 1.0, "UNSTABLE", i < symptom, 100, "") for i, loss in enumerate(losses))
    comparison = compare(against, losses, last=last) if against is not None else None
    changes = () if against is None else (("learning_rate", 0.1, 0.01),)
    return ArmResult("arm", "", changes, 100, 400, seeds, comparison)


def result(losses: Sequence[float], recorded_shows: int, shows: int, recorded: Sequence[float] = NORMAL, **more: object) -> tuple[str, str]:
    found = concluded(losses, recorded_shows, shows, recorded, **more)
    return found.result, found.reason


def concluded(losses: Sequence[float], recorded_shows: int, shows: int, recorded: Sequence[float] = NORMAL, **more: object) -> Conclusion:
    options = {"deviation": None, "identical": False, "horizon": QUARTER, "seeds": 3, "is_last": True, **more}
    symptom = Symptom("UNSTABLE", ("LRS001",), "lr_too_high", 150)
    return conclude(Evidence(arm(recorded, recorded_shows), arm(losses, shows, recorded), symptom, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("losses", "recorded_shows", "shows", "expected"),
    [
        ((0.8, 0.81, 0.79), 3, 0, CONFIRMED),
        ((0.8, 0.81, 0.79), 3, 3, CONFIRMED),
        ((0.8, 0.81, 0.79), 1, 0, INCONCLUSIVE),
        ((1.3, 1.32, 1.28), 3, 3, REFUTED),
        ((1.3, 1.32, 1.28), 3, 0, INCONCLUSIVE),
        ((1.3, 1.32, 1.28), 0, 0, INCONCLUSIVE),
        ((math.inf, math.inf, math.inf), 0, 3, REFUTED),
        ((1.0, 1.02, 0.98), 3, 3, INCONCLUSIVE),
        ((0.5, 1.5, 1.0), 3, 3, INCONCLUSIVE),
    ],
)
def test_the_table_of_results(losses: Sequence[float], recorded_shows: int, shows: int, expected: str) -> None:
    assert result(losses, recorded_shows, shows)[0] == expected


def test_a_symptom_that_goes_in_five_seeds_confirms_unless_the_loss_is_worse() -> None:
    five, mixed, worse = (1.0, 1.02, 0.98, 1.01, 0.99), (0.9, 1.1, 0.95, 1.05, 1.0), (1.2, 1.22, 1.18, 1.21, 1.19)
    assert result(mixed, 5, 0, five)[0] == CONFIRMED
    assert result(mixed, 4, 0, five)[0] == INCONCLUSIVE
    assert result(worse, 5, 0, five)[0] == INCONCLUSIVE


def test_reasons_name_numbers_and_what_to_try() -> None:
    assert "20.0% lower" in result((0.8, 0.816, 0.784), 3, 0)[1]
    assert "at least ten times lower" in result(NORMAL, 3, 0, recorded=(math.inf, math.inf, math.inf))[1]
    assert "LRS001) shows in 3 of 3 seeds as recorded and in 1 with the change" in result((0.8, 0.81, 0.79), 3, 1)[1]
    assert "the log shows it from step 150 on" in result((0.8, 0.81, 0.79), 0, 0)[1]
    assert "the probe differs from the run" in result((0.8, 0.81, 0.79), 0, 0, horizon=Horizon(WHOLE, 400, 400))[1]
    assert "does not use learning_rate" in result(NORMAL, 3, 3, identical=True)[1]


def test_a_budget_that_ended_early_is_said() -> None:
    none = ArmResult("prescription", "", (), 100, 400, ())
    symptom = Symptom("UNSTABLE", (), "", None)
    found = conclude(Evidence(arm(NORMAL, 3), none, symptom, None, False, QUARTER, 5, is_last=True))
    assert (found.result, "budget" in found.reason) == (INCONCLUSIVE, True)
    verdict, reason = result((0.9, 1.0), 2, 2, recorded=(1.0, 1.0), seeds=5)
    assert (verdict, "after 2 seeds" in reason) == (INCONCLUSIVE, True)


def test_a_probe_that_follows_the_log_needs_no_symptom() -> None:
    assert result((0.8, 0.81, 0.79), 0, 0, deviation=0.05)[0] == CONFIRMED
    assert "stays within 5% of the log" in result((0.8, 0.81, 0.79), 0, 0, deviation=0.05)[1]
    assert result((0.8, 0.81, 0.79), 0, 0, deviation=0.5)[0] == INCONCLUSIVE
    assert result((1.3, 1.32, 1.28), 0, 0, deviation=0.05)[0] == REFUTED


def test_a_small_gain_confirms_only_where_the_symptom_goes() -> None:
    slightly = (0.988, 1.008, 0.968, 0.998, 0.978)
    before = (1.0, 1.02, 0.98, 1.01, 0.99)
    assert result(slightly, 5, 5, before)[0] == INCONCLUSIVE
    assert "only 1.2% lower" in result(slightly, 5, 5, before)[1]
    assert result(slightly, 5, 0, before)[0] == CONFIRMED


def test_only_divergence_refutes_before_the_longest_horizon() -> None:
    assert concluded((0.8, 0.81, 0.79), 3, 0, is_last=False).is_final
    assert not concluded((1.3, 1.32, 1.28), 3, 3, is_last=False).is_final
    assert concluded((math.inf, math.inf, math.inf), 0, 3, is_last=False).is_final
    assert not concluded((1.0, 1.02, 0.98), 3, 3, is_last=False).is_final
