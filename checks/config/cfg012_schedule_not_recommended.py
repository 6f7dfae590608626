"""CFG012: the learning rate follows another schedule than the guides recommend, or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config import _aims as aims
from diag.fixes import Fix
from diag.guides import choice
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

SAME: Final = {
    "constant_with_warmup": "constant",
    "cosine_with_min_lr": "cosine",
    "cosine_warmup_with_min_lr": "cosine",
    "warmup_stable_decay": "wsd",
    "polynomial": "linear",
}
"""Schedules that are, for the guides, one of theirs."""

IGNORES_WARMUP: Final = frozenset({"hf", "axolotl", "llamafactory"})
"""Dialects whose ``constant`` schedule takes no warmup, whatever is set."""

TORCHTUNE_COSINE: Final = "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup"


class ScheduleNotRecommended(Lint):
    """The learning rate is constant, or follows a schedule that the guides do not know.

    ## What it does
    Looks at the schedule, as set or as the framework chooses one by itself: NeMo AutoModel without an ``lr_scheduler`` section
    and torchtune without a scheduler keep the learning rate constant. A ``constant`` schedule with a warmup that Transformers
    ignores is a warning.

    ## Why is this bad?
    At the end of a run a high learning rate keeps the weights moving around the minimum; a decay to a tenth or to zero is worth
    as much as a good part of the data. Schedules with restarts or steps jump in the middle of a short run.

    ## When it stays silent
    For cosine, linear, inverse square root and warmup-stable-decay, and for a constant rate after a warmup; when the method is not
    known; for models below half a billion parameters. A warmup that is lost is told of whatever is trained.

    ## What to do
    Decay along a cosine, after a short warmup.

    ## References
    Guide rows S0-007..010, S1-025..027, S1-240, S3-014..016, S3-057, S3-093, S3-149.
    """

    code = "CFG012"
    name = "schedule-not-recommended"
    severity = INFO
    rules = ("S3-014", "S3-015", "S3-057")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        if plan.value("lr_scheduler") == "constant" and _is_warmup_lost(plan):
            yield self._lost_warmup(plan)
            return
        if plan.method is None or not aims.is_language_model(plan) or (plan.dialect == "training_hub" and plan.method == "sft"):
            return
        schedule, recommended = plan.value("lr_scheduler"), choice("lr_scheduler", plan.method)
        if recommended is None:
            return
        if schedule is None:
            if plan.dialect == "torchtune" and plan.is_whole and not any(key.startswith("lr_scheduler") for key in plan.document.settings):
                yield self._constant(plan, "torchtune without an lr_scheduler keeps the learning rate constant")
            return
        if schedule == "constant":
            yield from self._of_constant(plan)
        elif SAME.get(schedule, schedule) not in recommended.allowed:
            yield self.violation(
                plan,
                f"The schedule {schedule} is none that the guides use ({show(recommended.allowed)}); decay along a cosine.",
                at="lr_scheduler",
                evidence={"lr_scheduler": schedule},
                fixes=[self.fix(plan, "lr_scheduler", recommended.preferred, "Decay along a cosine.", rules=recommended.rules)],
                rules=(*self.rules, *recommended.rules),
            )

    def _of_constant(self, plan: Plan) -> Iterator[Violation]:
        if plan.number("warmup_steps") or plan.number("warmup_ratio"):
            return
        if plan.is_default("lr_scheduler"):
            if plan.is_whole and not any(key.startswith("lr_scheduler") for key in plan.document.settings):
                yield self._constant(plan, "NeMo AutoModel without an lr_scheduler section keeps the learning rate constant")
        else:
            yield self._constant(plan, "The learning rate is constant from the first step to the last")

    def _lost_warmup(self, plan: Plan) -> Violation:
        key = plan.key_of("warmup_steps" if plan.is_set("warmup_steps") else "warmup_ratio")
        fix = self.fix(plan, "lr_scheduler", "constant_with_warmup", f"The warmup that {key} asks for.", rules=("S3-016", "S3-057"))
        return self.violation(
            plan,
            f"The schedule constant ignores {key}: the learning rate starts at its peak; constant_with_warmup does what {key} says.",
            at="lr_scheduler",
            severity=WARNING,
            evidence={"lr_scheduler": "constant"},
            fixes=[fix],
        )

    def _constant(self, plan: Plan, text: str) -> Violation:
        return self.violation(
            plan,
            f"{text}; the guides decay it along a cosine after a warmup.",
            at="lr_scheduler",
            evidence={"lr_scheduler": "constant"},
            fixes=self._cosine(plan),
            rules=(*self.rules, "S1-025", "S1-026", "S1-027", "S3-093"),
        )

    def _cosine(self, plan: Plan) -> list[Fix]:
        reason = "Decay along a cosine."
        if plan.dialect == "torchtune":
            warmup = aims.warmup_steps(plan) or 10
            return [
                self.set_key(plan, "lr_scheduler._component_", TORCHTUNE_COSINE, reason),
                self.set_key(plan, "lr_scheduler.num_warmup_steps", warmup, f"After {warmup} steps of warmup.", rules=("S0-011", "S1-141")),
            ]
        return [self.fix(plan, "lr_scheduler", "cosine", reason, rules=("S1-025", "S3-093"))]


def _is_warmup_lost(plan: Plan) -> bool:
    """Whether a warmup is set that the framework's ``constant`` does not do, whatever is trained."""
    warms = bool(plan.number("warmup_steps") or plan.number("warmup_ratio"))
    return plan.dialect in IGNORES_WARMUP and warms and plan.is_set("lr_scheduler")
