from __future__ import annotations

from builders import healthy

from diag.analysis import judge
from diag.replay.candidates import named, usual


def test_every_named_cause_has_the_change_that_answers_it_alone() -> None:
    run = healthy(n=200, evals=20).overfit(at=0.4, rise=0.3).hyperparameters(num_epochs=10.0, learning_rate=1e-3, dropout=0.0).run()
    report, _ = judge(run)
    found = named(report)
    assert [candidate.cause for candidate in found] == [cause.cause for cause in report.diagnosis.causes[: len(found)]]
    changes = {candidate.cause: candidate.fixes[0].parameter for candidate in found}
    assert changes["too_many_epochs"] == "num_epochs"


def test_the_usual_changes_are_of_what_the_run_has() -> None:
    changes = {
        candidate.cause: candidate.fixes[0] for candidate in usual({"learning_rate": 1e-3, "num_epochs": 4.0, "global_batch_size": 32})
    }
    assert (changes["lr_too_low"].new, changes["lr_too_high"].new) == (4e-3, 2.5e-4)
    assert (changes["too_few_epochs"].new, changes["batch_too_large"].new) == (12.0, 8)
    assert changes["gradient_clipping_missing"].new == 1.0
    assert "gradient_clipping_too_tight" not in changes and "weight_decay_too_high" not in changes and "capacity_too_low" not in changes


def test_what_is_set_already_is_not_set() -> None:
    changes = {
        candidate.cause for candidate in usual({"max_grad_norm": 1.0, "warmup_steps": 20, "lora_dropout": 0.05, "global_batch_size": 1})
    }
    assert not changes & {"gradient_clipping_missing", "warmup_too_short", "regularization_too_weak", "batch_too_large"}
    assert "gradient_clipping_too_tight" in changes
