"""CFG040: the longest sequence that is trained on, against the lengths of the samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import LORA_HUB, hub_algorithm, is_on
from diag.checks.config._lengths import lengths, percentile, rounded
from diag.fixes import Fix
from diag.guides import cite
from diag.lint import Lint, Violation
from diag.plan import Plan
from diag.vocabulary import INFO, WARNING

LOST_SHARE: Final = 0.05
"""Share of the samples that may be longer than the limit: it belongs at the 95th or the 99th percentile (S2-020)."""

FAR_ABOVE: Final = 4
"""A limit this many times the 99th percentile reserves memory that no sample needs."""


SPLITTING: Final = ("wrapped", "bfd_split")
"""TRL's packing strategies that go on with a long sample in the next pack instead of cutting it off."""


class SequenceTooShort(Lint):
    """The maximal sequence length cuts off, or drops, too many samples; or it is far longer than any sample.

    ## What it does
    Compares the limit with the lengths of the samples: a warning where more than 5% are longer, information where the limit
    is four times the 99th percentile and more and every sequence is padded to it.

    ## Why is this bad?
    Training Hub and Axolotl drop samples that are longer, the others cut them off: either way the model never sees how long
    answers end, and the loss does not show it. A limit far above the data costs memory.

    ## When it stays silent
    Without the lengths of the samples (``--sample-lengths``), where the config sets no limit, and where TRL continues long
    samples in the next pack.

    ## What to do
    Set the limit to the 95th or, better, the 99th percentile of the lengths, rounded up.

    ## References
    Guide rows S2-016, S2-019, S2-020.
    """

    code = "CFG040"
    name = "sequence-too-short"
    severity = WARNING
    rules = cite("S2-016 S2-019 S2-020")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """At most one violation."""
        known, limit = lengths(plan), plan.number("max_seq_len")
        if not known or limit is None or plan.native("packing_strategy") in SPLITTING:
            return
        p95, p99 = percentile(known, 0.95), percentile(known, 0.99)
        lost = sum(1 for length in known if length > limit) / len(known)
        wanted = rounded(p99)
        evidence = {"max_seq_len": limit, "p95": p95, "p99": p99, "lost_share": lost, "samples": len(known)}
        about = f"the 95th percentile of the samples is {p95:,} tokens, the 99th {p99:,}"
        if lost > LOST_SHARE:
            text = f"{lost:.0%} of the samples are longer than {plan.key_of('max_seq_len')} {limit:,.0f} and are {_fate(plan)}; {about}."
            yield self.violation(plan, text, at="max_seq_len", evidence=evidence, fixes=self._longer(plan, wanted))
        elif limit >= FAR_ABOVE * p99 and _pads(plan) and limit > wanted:
            text = f"Every sequence is padded to {limit:,.0f} tokens, but {about}; {wanted:,} would do with a fraction of the memory."
            fix = self.fix(plan, "max_seq_len", wanted, "The 99th percentile of the lengths, rounded up.")
            yield self.violation(plan, text, at="max_seq_len", severity=INFO, evidence=evidence, fixes=[fix])

    def _longer(self, plan: Plan, wanted: int) -> list[Fix]:
        reason = f"The 99th percentile of the lengths, rounded up to {wanted:,}; memory grows with it."
        fixes = [self.fix(plan, "max_seq_len", wanted, reason)]
        for key in ("max_tokens_per_gpu", "packed_sequence.packed_sequence_size"):
            room = plan.native(key)
            if isinstance(room, int) and 0 < room < wanted:
                fixes.append(self.set_key(plan, key, wanted, "Has to hold the longest sequence."))
        return fixes


def _fate(plan: Plan) -> str:
    """What happens to a sample that is too long."""
    if plan.dialect == "training_hub" and hub_algorithm(plan) != LORA_HUB:
        return "dropped"
    if plan.dialect == "axolotl":
        return {"truncate": "cut off", "raise": "refused"}.get(str(plan.native("excess_length_strategy")), "dropped")
    return "cut off"


def _pads(plan: Plan) -> bool:
    """Whether every sequence is padded to the limit."""
    fixed = str(plan.native("dataset.padding")).lower() == "max_length"
    return fixed or (is_on(plan, "pad_to_sequence_len", "pad_to_max_length") and plan.value("packing") is not True)
