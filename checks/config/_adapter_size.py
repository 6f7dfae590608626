"""What rank and alpha an adapter should have: one answer for the rules about either, so that their changes agree."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from diag.checks.config._keys import names_data
from diag.fixes import Fix
from diag.lint import Lint
from diag.plan import Plan

SAMPLES_FOR_HIGH_RANK: Final = 10_000
"""Training samples from which ranks of 32 to 64 are worth their parameters (S3-066)."""

HIGH_RANK: Final = 32
"""The lower end of the high ranks (S3-063)."""

LOW_RANK: Final = 4
"""The lowest rank any guide names (S1-034, S3-067)."""

HIGHEST_QUIET_SCALE: Final = 2.0
"""``alpha / rank`` up to which all guides agree (S3-073, S3-215)."""

LOWEST_SCALE: Final = 0.5
"""``alpha / rank`` of the most cautious guide (S3-074)."""

NEUTRAL_SCALE: Final = 1.0
"""``alpha / rank`` that leaves the update as it is (S1-156, S3-072)."""

CODE_OR_MATH: Final = re.compile(r"code|math|gsm8k|sql|humaneval|mbpp|program")
"""Data sets that lie far from general text, by words in their names (S3-065)."""


class Verdict(NamedTuple):
    """What is wrong with a rank: "" for nothing, ``prefer`` (off the start) or ``limit`` (outside the limits); the rank to set and why."""

    kind: str
    rank: int
    why: str


def is_code_or_math(plan: Plan) -> bool:
    """Whether the data's name says code or math."""
    return bool(CODE_OR_MATH.search(names_data(plan)))


def judge_rank(plan: Plan) -> Verdict | None:
    """What the guides say about the adapter's rank; None where they say nothing, as of rank-stabilized adapters."""
    rank, band = plan.number("lora_rank"), plan.band("lora_rank")
    if rank is None or band is None or not plan.is_adapter or not plan.is_set("lora_rank") or plan.is_rank_stabilized:
        return None
    samples = plan.samples
    wanted = int(band.start)
    if rank > band.clip_high:
        return Verdict("limit", wanted, f"above {band.clip_high:.0f}, the highest that any guide uses")
    if rank < LOW_RANK:
        return Verdict("limit", wanted, f"below {LOW_RANK}, the lowest that any guide uses")
    if rank >= HIGH_RANK and samples is not None and samples < SAMPLES_FOR_HIGH_RANK and rank > band.high and not is_code_or_math(plan):
        return Verdict("limit", wanted, f"too much for {samples:,.0f} samples: ranks of 32 to 64 want 10,000 or more, or code or math")
    if rank < band.clip_low:
        return Verdict("prefer", wanted, f"below the {band.clip_low:.0f} to {band.clip_high:.0f} that the guides use for {plan.method}")
    if samples is None:
        return Verdict("", int(rank), "")
    high = band.clip_high if samples >= SAMPLES_FOR_HIGH_RANK or is_code_or_math(plan) else band.high
    if not band.low <= rank <= high:
        return Verdict("prefer", wanted, f"off the {band.low:.0f} to {high:.0f} that the guides use for {samples:,.0f} samples")
    return Verdict("", int(rank), "")


def target_rank(plan: Plan) -> float | None:
    """The rank to work with: what the guides would set where the config's own is wrong, else its own."""
    verdict = judge_rank(plan)
    return float(verdict.rank) if verdict is not None and verdict.kind else plan.number("lora_rank")


def target_alpha(plan: Plan) -> float | None:
    """The alpha that keeps the config's ``alpha / rank`` at ``target_rank`` where that scale is one that no rule speaks against, else the
    profile's; None where the config sets no alpha, or scales by the square root of the rank."""
    rank, scale = target_rank(plan), plan.alpha_to_rank
    if rank is None or scale is None or plan.is_rank_stabilized or not plan.is_set("lora_alpha"):
        return None
    if LOWEST_SCALE <= scale <= HIGHEST_QUIET_SCALE:
        return float(round(rank * scale))  # libraries take a whole number
    if scale < LOWEST_SCALE:
        return rank * NEUTRAL_SCALE
    band = plan.band("alpha_to_rank")
    return rank * (HIGHEST_QUIET_SCALE if band is None else min(max(band.start, LOWEST_SCALE), HIGHEST_QUIET_SCALE))


def rank_to_match(lint: Lint, plan: Plan) -> list[Fix]:
    """The change of the rank that ``target_alpha`` counts on; [] where the rank stays."""
    rank = target_rank(plan)
    if rank is None or rank == plan.number("lora_rank") or not plan.is_set("lora_rank"):
        return []
    return [lint.fix(plan, "lora_rank", whole(rank), "The rank that the guides use for this much data.")]


def whole(value: float) -> int | float:
    """A whole number as an int, as configs write it."""
    return int(value) if float(value).is_integer() else value
