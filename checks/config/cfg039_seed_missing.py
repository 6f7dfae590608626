"""CFG039: the run cannot be repeated, as no seed is set."""

from __future__ import annotations

from collections.abc import Iterator

from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO

SEED = 42
"""The guides' own (S1-160)."""

KEYS = {"torchtune": "seed", "lightning": "seed_everything"}
"""Dialects whose default is a random seed, and the key that sets it."""


class SeedMissing(Lint):
    """No seed is set, and the framework draws one.

    ## What it does
    Looks for a seed in the frameworks that draw a random one by default, and for NeMo AutoModel configs that set only
    ``rng.seed``, which its language-model recipe does not read.

    ## Why is this bad?
    Two runs that differ in one hyperparameter can only be compared if they differ in nothing else.

    ## When it stays silent
    For frameworks whose default seed is fixed.

    ## What to do
    Set a seed, and keep it over the runs that you compare.

    ## References
    Guide rows S1-160, S1-161.
    """

    code = "CFG039"
    name = "seed-missing"
    severity = INFO
    whole = True
    rules = cite("S1-160 S1-161")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        key = KEYS.get(plan.dialect)
        value = plan.native(key) if key is not None else None
        if key is not None and (value is None or value is True) and (key not in plan.document.settings or key in plan.flat):
            reason = "Runs with the same seed can be compared."
            fix = self.set_key(plan, key, SEED, reason, applicability=SAFE)
            yield self.violation(plan, f"No seed is set: every run differs; set {key} to {SEED}.", at=key, fixes=[fix])
        if plan.dialect == "automodel" and plan.has("rng.seed") and not plan.has("seed"):
            value = plan.native("rng.seed")
            reason = "The recipe reads the seed at the top level."
            fixes = [self.set_key(plan, "seed", value, reason, applicability=SAFE)] if value not in (None, SEED) else []
            if fixes:
                yield self.violation(
                    plan,
                    f"The recipe reads seed (by default {SEED}) and not rng.seed, which is {value}: set seed to {value}, too.",
                    at="rng.seed",
                    fixes=fixes,
                )
