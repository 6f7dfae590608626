"""CFG038: the loss is logged too seldom for anybody to read the curve."""

from __future__ import annotations

from collections.abc import Iterator

from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.text import counted, show
from diag.vocabulary import INFO

FEWEST = 20.0
"""Points of a curve below which trend and noise cannot be told apart; the guides' own test of stability takes the last 20 (S3-120)."""

EVERY = 10
"""Steps between log lines in the guides' baseline (S3-099)."""

DEFAULT_EVERY = 500.0
"""The Trainer's own interval."""


class LoggingTooSparse(Lint):
    """The loss is logged so seldom that its curve says nothing.

    ## What it does
    Divides the length of the run by the logging interval, the Trainer's default of 500 steps included. Below 20 points it
    speaks up.

    ## Why is this bad?
    A spike, a plateau or the end of warmup cannot be seen between two points, and an analysis of the run stays inconclusive.

    ## When it stays silent
    When the length of the run is not known, and for runs that log every step or every ten.

    ## What to do
    Log every 10 steps.

    ## References
    Guide rows S3-099, S3-120.
    """

    code = "CFG038"
    name = "logging-too-sparse"
    severity = INFO
    whole = True
    dialects = ("hf", "llamafactory", "lightning", "megatron", "torchtune", "litgpt", "axolotl", "training_hub")
    rules = cite("S3-099")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        every, total = plan.number("logging_steps"), plan.total_steps
        if every is None and plan.dialect in ("hf", "llamafactory") and plan.scope not in TRL and not plan.has("dataset_text_field"):
            every = DEFAULT_EVERY
        if every is None or total is None or every <= EVERY:
            return
        points = 1 / every if every < 1 else total / every
        if points >= FEWEST:
            return
        new = max(min(EVERY, int(total // FEWEST)), 1)
        yield self.violation(
            plan,
            f"A run of {counted(total, 'step')} that logs every {show(every)} leaves {counted(int(points), 'point')} of its curve: log "
            f"every {new}.",
            at="logging_steps",
            evidence={"points": int(points)},
            fixes=[self.fix(plan, "logging_steps", new, "Enough points to see a spike and a trend.", applicability=SAFE)],
        )


TRL = frozenset(
    {"SFTConfig", "DPOConfig", "GRPOConfig", "RewardConfig", "KTOConfig", "ORPOConfig", "sft", "dpo", "grpo", "reward", "kto", "orpo"}
)
"""Classes and commands of TRL, which log every 10 steps by default."""
