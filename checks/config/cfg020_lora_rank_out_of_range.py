"""CFG020: the adapters' rank does not fit the amount of data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from diag.checks.config._adapter_size import NEUTRAL_SCALE, judge_rank, target_alpha, whole
from diag.dialects.recognition import MODEL_KEYS
from diag.guides import cite, disagreement
from diag.guides.formulas import ALL_LINEAR, SHAPES, model_lora_parameters
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

HIGH_RANKS_IN_USE = 256
"""Ranks above the guides' up to which published recipes for much data go, with alpha no larger than the rank."""


class LoraRankOutOfRange(Lint):
    """The rank of the low-rank adapters does not fit the amount of data.

    ## What it does
    Compares the rank with the guides' range for the method and the number of samples. A warning above 64 or below 4, and for
    ranks of 32 and more on fewer than 10,000 samples that are neither code nor math; information where the rank is only off
    the range that the guides start from.

    ## Why is this bad?
    The rank is the capacity of the adapter: its parameters and memory grow in proportion. Too high a rank learns a small data
    set by heart; too low a rank leaves the loss on a high plateau. Ranks of 4 and 8 were enough for classification in the
    first papers, which does not carry over to instruction tuning at scale.

    ## When it stays silent
    When the config does not set a rank, for models below half a billion parameters, for rank-stabilized LoRA, which is made
    for high ranks, and, where the number of samples is not known, for every rank that some guide uses.

    ## What to do
    Set the rank it names, and alpha with it, so that alpha / rank stays what it was.

    ## References
    Guide rows S0-031, S0-032, S0-049, S1-034..036, S1-052, S2-043, S3-018, S3-060, S3-063, S3-067, S3-082.
    """

    code = "CFG020"
    name = "lora-rank-out-of-range"
    severity = WARNING
    rules = cite("S0-031 S0-032 S0-049 S1-034..036 S1-052 S2-043 S3-018 S3-060 S3-063 S3-067 S3-082")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        verdict, rank = judge_rank(plan), plan.number("lora_rank")
        if verdict is None or rank is None or not verdict.kind:
            return
        fixes = [self.fix(plan, "lora_rank", verdict.rank, f"Set rank {verdict.rank}, the start of the {plan.profile} profile.")]
        alpha = target_alpha(plan)
        if alpha is not None and alpha != plan.number("lora_alpha"):
            reason = "Alpha goes with the rank, so that alpha / rank stays within what the guides agree on."
            fixes.append(self.fix(plan, "lora_alpha", whole(alpha), reason, arithmetic=f"{show(alpha / verdict.rank)} x {verdict.rank}"))
        yield self.violation(
            plan,
            f"The rank {show(rank)} is {verdict.why}; the {plan.profile} profile starts at {verdict.rank}."
            + _size(plan, rank, verdict.rank)
            + disagreement("lora_rank", str(plan.method), plan.samples),
            at="lora_rank",
            severity=WARNING if verdict.kind == "limit" and not _is_deliberate(plan, rank) else INFO,
            evidence={"lora_rank": rank, "start": verdict.rank, "samples": plan.samples},
            fixes=fixes,
        )


def _is_deliberate(plan: Plan, rank: float) -> bool:
    """Whether a high rank may well be right: it is scaled down, and data that could be too little for it is not known."""
    scale, band = plan.alpha_to_rank, plan.band("lora_rank")
    high = band is not None and band.clip_high < rank <= HIGH_RANKS_IN_USE
    return high and plan.samples is None and scale is not None and scale <= NEUTRAL_SCALE


def _size(plan: Plan, rank: float, wanted: int) -> str:
    """What the adapters amount to, a sentence with a blank before it; "" where the model's shape or the targets are not known."""
    model, targets = _model(plan), _targets(plan)
    if model is None or not targets:
        return ""
    now, then = (model_lora_parameters(int(size), model, targets) for size in (rank, wanted))
    return f" The adapters have about {now / 1e6:.3g}M parameters; with rank {wanted} they have {then / 1e6:.3g}M."


def _model(plan: Plan) -> str | None:
    """The model's name in SHAPES; the point releases of Llama 3 keep its shape."""
    for key, value in plan.flat.items():
        if isinstance(value, str) and MODEL_KEYS.search(key):
            name = value.strip().lower().replace("_", "-").replace("llama3", "llama-3")
            exact = next((shape for shape in SHAPES if shape in name), None)
            alike = re.sub(r"llama-3\.[13]-(8|70)b", r"llama-3-\1b", name)
            return exact or next((shape for shape in SHAPES if shape in alike), None)
    return None


def _targets(plan: Plan) -> tuple[str, ...]:
    """The linear layers that get adapters, by their usual names; () where one of them is not known."""
    value = plan.value("lora_target_modules")
    if value in ("all-linear", "all", ["all"]):
        return ALL_LINEAR
    names = tuple(str(item).rsplit(".", 1)[-1] for item in value) if isinstance(value, list) else ()
    return names if set(names) <= set(ALL_LINEAR) else ()
