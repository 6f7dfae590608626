"""CFG027: how much of each matrix orthogonal subspace fine-tuning sets free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.text import show
from diag.vocabulary import INFO, WARNING

DEFAULT_RATIO: Final = 0.5
"""The recommended share, above which larger models seldom need to go (S2-032, S2-033)."""

SIZE_OF_8B: Final = 7.5e9
"""Parameters from which a model counts as "8B or more" (S2-033)."""

PATTERN: Final = re.compile(r"[*^$|\\()\[\]?+]")
"""Characters that only a regular expression has; the backend looks for each pattern as a part of a parameter's name."""


class UnfreezeRatioOutOfRange(Lint):
    """The share of each matrix that orthogonal subspace fine-tuning (OSFT) sets free is outside what the guide calls useful.

    ## What it does
    A warning below 0.1 and above 0.75, information above 0.5 for models of 8 billion parameters or more (or of unknown
    size), and a warning for ``target_patterns`` that are regular expressions: mini-trainer looks for each as a plain part of a
    parameter's name, so that they match nothing.

    ## Why is this bad?
    The share times the smaller side of a matrix is the number of directions that are free. Few preserve what the model can
    do and learn little; many approach plain fine-tuning, with its forgetting, and need more memory than it, because the full
    decomposition is kept. Larger models need a smaller share, smaller ones may need more.

    ## When it stays silent
    From 0.1 to 0.5, and to 0.75 for small models.

    ## What to do
    0.5 is the recommended default, 0.1 to 0.3 preserve strongly. Where memory is short restrict OSFT to some matrices with
    ``target_patterns``: those of the MLP, or of the attention (q_proj, k_proj, v_proj, o_proj).

    ## References
    Guide rows S2-031..034, S2-036, S2-038, S2-039; source of mini-trainer 0.9.
    """

    code = "CFG027"
    name = "unfreeze-ratio-out-of-range"
    severity = WARNING
    rules = cite("S2-031..034 S2-036 S2-038 S2-039")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One about the share, one about the patterns."""
        yield from self._ratio(plan)
        key = "target_patterns" if plan.has("target_patterns") else "osft_target_patterns"
        patterns = plan.native(key)
        if isinstance(patterns, list) and (odd := [text for text in patterns if isinstance(text, str) and PATTERN.search(text)]):
            plain = list(dict.fromkeys(part for text in patterns for part in _parts(str(text))))
            fixes = [self.set_key(plan, key, plain, "Parts of parameter names, as the backend compares them.")] if plain else []
            text = f"{key} holds the regular expression {odd[0]!r}, but the backend looks for it as a plain part of each parameter's name."
            yield self.violation(plan, text, at=key, fixes=fixes, rules=("S2-038", "S2-039"))

    def _ratio(self, plan: Plan) -> Iterator[Violation]:
        ratio, band = plan.number("unfreeze_rank_ratio"), plan.band("unfreeze_rank_ratio")
        if ratio is None or band is None or not plan.is_set("unfreeze_rank_ratio"):
            return
        severity = WARNING
        if ratio > band.clip_high:
            why = f"above {show(band.clip_high)}: close to plain fine-tuning, with its forgetting, at more memory"
        elif ratio < band.clip_low:
            why = f"below {show(band.clip_low)}, the least that the guide uses: hardly anything is free to learn"
        elif ratio > DEFAULT_RATIO and (plan.parameters is None or plan.parameters >= SIZE_OF_8B):
            severity, why = INFO, f"above {show(DEFAULT_RATIO)}, which models of 8B and more rarely need"
        else:
            return
        start = min(round(band.start, 2), DEFAULT_RATIO)
        fixes = [self.fix(plan, "unfreeze_rank_ratio", start, f"Start at {show(start)}, where the {plan.profile} profile does.")]
        if ratio > DEFAULT_RATIO and not plan.has("target_patterns"):
            fixes.append(self.advise("target_patterns", "To save memory, restrict OSFT to the matrices of the MLP or of the attention."))
        yield self.violation(
            plan,
            f"The unfreeze ratio {show(ratio)} is {why}; the {plan.profile} profile starts at {show(start)}.",
            at="unfreeze_rank_ratio",
            severity=severity,
            evidence={"unfreeze_rank_ratio": ratio, "low": band.clip_low, "high": band.clip_high, "start": start},
            fixes=fixes,
        )


def _parts(pattern: str) -> list[str]:
    """The plain names in a regular expression: ``.*(q|k)_proj`` holds none that is whole, ``.*mlp.*`` holds ``mlp``."""
    bare = re.sub(r"^[\^.*]+|[.*$]+$", "", pattern.replace(r"\.", "."))
    pieces = bare[1:-1].split("|") if bare.startswith("(") and bare.endswith(")") else bare.split("|")
    return [piece for piece in pieces if piece and not PATTERN.search(piece)]
