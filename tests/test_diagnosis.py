"""The diagnosis: how evidence adds up."""

from __future__ import annotations

import pytest
from builders import healthy
from checking import diagnosed

from diag import diagnosis
from diag.check import Finding
from diag.vocabulary import CAUSES


def finding(code: str = "AAA001", causes: dict[str, float] | None = None, verdicts: dict[str, float] | None = None) -> Finding:
    return Finding(code, "a", "warning", "A message.", causes=causes or {}, verdicts=verdicts or {})


def test_a_quiet_run_is_healthy_without_causes() -> None:
    verdict = diagnosis.diagnose(healthy().run(), [])
    assert (verdict.verdict, verdict.causes) == ("HEALTHY", ())


def test_evidence_adds_up_across_findings() -> None:
    weak = [finding("AAA001", verdicts={"UNSTABLE": 1.0}), finding("AAA002", verdicts={"UNSTABLE": 1.0})]
    assert diagnosis.diagnose(healthy().run(), weak[:1]).verdict == "HEALTHY"
    assert diagnosis.diagnose(healthy().run(), weak).verdict == "UNSTABLE"


def test_confidence_grows_with_the_evidence() -> None:
    confidences = [diagnosis.diagnose(healthy().run(), [finding(verdicts={"OVERFIT": weight})]).confidence for weight in (2.0, 3.0, 5.0)]
    assert confidences == sorted(confidences)
    assert all(0 < confidence < 1 for confidence in confidences)


def test_evidence_against_a_cause_lowers_it() -> None:
    findings = [finding("AAA001", causes={"lr_too_high": 2.0, "data_corruption": 1.9}), finding("AAA002", causes={"lr_too_high": -1.0})]
    ranked = diagnosis.rank_causes(findings)
    assert ranked[0].cause == "data_corruption"


def test_causes_name_the_findings_behind_them_strongest_first() -> None:
    findings = [finding("AAA001", causes={"lr_too_high": 1.0}), finding("AAA002", causes={"lr_too_high": 2.0})]
    assert diagnosis.rank_causes(findings)[0].because == ("AAA002", "AAA001")


def test_two_causes_that_one_log_cannot_separate_come_with_the_question() -> None:
    verdict = diagnosis.diagnose(healthy().run(), [finding(causes={"too_few_epochs": 2.0, "lr_too_low": 1.9}, verdicts={"UNDERFIT": 3.0})])
    assert "three times the rate" in verdict.questions[0]


def test_too_few_points_are_inconclusive_and_say_what_to_log() -> None:
    verdict = diagnosed(healthy(n=3, evals=1))
    assert verdict.verdict == "INCONCLUSIVE"
    assert any("Log the training loss" in question for question in verdict.questions)


def test_a_run_without_metrics_is_inconclusive() -> None:
    run = healthy().run()
    run.curves.clear()
    assert diagnosed(run).verdict == "INCONCLUSIVE"


def test_a_reward_driven_run_needs_rewards() -> None:
    assert diagnosed(healthy().metric("policy_loss", 0.1).no_eval()).verdict == "INCONCLUSIVE"


def test_every_pair_to_tell_apart_is_made_of_known_causes() -> None:
    for pair in diagnosis.TELL_APART:
        assert pair[0] < pair[1]
        assert set(pair) <= set(CAUSES)


@pytest.mark.parametrize("x", [-1e6, -3.0, 0.0, 3.0, 1e6])
def test_the_logistic_function_is_safe(x: float) -> None:
    assert 0.0 <= diagnosis.logistic(x) <= 1.0
    assert diagnosis.logistic(x) + diagnosis.logistic(-x) == pytest.approx(1.0)


@pytest.mark.parametrize(("evals", "least", "most"), [(3, 0.7, 0.85), (8, 0.85, 0.91), (14, 0.91, 0.95)])
def test_health_is_the_surer_the_more_was_evaluated(evals: int, least: float, most: float) -> None:
    said = diagnosis.diagnose(healthy(n=400, evals=evals).run(), [])
    assert said.verdict == "HEALTHY"
    assert least < said.confidence < most


def test_a_short_run_is_judged_with_less_confidence() -> None:
    short, long = (diagnosis.diagnose(healthy(n=60, evals=8, logging_steps=interval).run(), []).confidence for interval in (1, 10))
    assert short < long


def test_evidence_for_a_sickness_speaks_against_health_in_the_confidence_alone() -> None:
    run = healthy(evals=12).run()
    weak = diagnosis.diagnose(run, [finding(verdicts={"OVERFIT": 1.0})])
    strong = diagnosis.diagnose(run, [finding(verdicts={"OVERFIT": 3.0})])
    assert (weak.verdict, strong.verdict) == ("HEALTHY", "OVERFIT")
    assert strong.confidence > 0.9
