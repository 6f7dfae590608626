"""CFG041: packing of short samples into long sequences: how long, and whether at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import LORA_HUB, hub_algorithm, is_computed, is_on, key_of, named, switched
from diag.checks.config._lengths import lengths, percentile, rounded
from diag.dialects.values import as_bool, as_int
from diag.fixes import Fix
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO, WARNING

START: Final = 2048
"""The pack size of the guides' example, in tokens (S1-147)."""

VARIABLE: Final = 0.5
"""Share of padding, with every sample padded to the 95th percentile, from which lengths count as highly variable (S1-148)."""

PACK_SIZE: Final = "packed_sequence.packed_sequence_size"

ISOLATING: Final = frozenset(
    {
        *("flash_attention_2", "flash_attention_3", "flash_attention_4", "flash_attention", "flex_attention", "sdpa", "eager"),
        *("xformers", "sage", "fp8"),
    }
)
"""Axolotl's attention implementations that keep packed samples from seeing each other."""

OLD_SWITCHES: Final = ("flash_attention", "flex_attention", "sdp_attention", "xformers_attention", "sage_attention", "eager_attention")


class PackingSize(Lint):
    """Samples are packed into sequences of the wrong length, in a way that the framework refuses, or are not packed though it would pay.

    ## What it does
    An error where packing lacks a length (torchtune, TRL) or is refused together with another setting (Axolotl); a warning
    where packs are shorter than the longest sequence or the 95th percentile of the samples, and where Axolotl packs without
    an attention that keeps the samples apart; information where samples are split across packs, and where lengths vary so
    much that half of every batch would be padding.

    ## Why is this bad?
    A pack shorter than a sample drops or cuts it. Samples that see each other learn from each other's text. Without packing
    the shorter samples of a batch are padded to the longest one: packing many short samples is 1.5 to 3 times as fast.

    ## When it stays silent
    About the length of packs, and whether to pack at all, without the lengths of the samples (``--sample-lengths``); where
    samples are grouped by length instead.

    ## What to do
    Set the pack size to about the 95th percentile of the lengths, and not below the longest sequence.

    ## References
    Guide rows S1-147..149; sources of NeMo AutoModel 0.7, TRL 1.16, torchtune 0.6 and Axolotl 0.19.
    """

    code = "CFG041"
    name = "packing-size"
    severity = WARNING
    rules = cite("S1-147..149")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """What is refused, then the size, then whether packing is missing."""
        if plan.value("packing") is True:
            if (found := self._refused(plan)) is not None:
                yield found
                return
            yield from self._size(plan)
            yield from self._split(plan)
            yield from self._isolation(plan)
        else:
            yield from self._missing(plan)

    def _refused(self, plan: Plan) -> Violation | None:
        """What stops the framework before the first step."""
        known = lengths(plan)
        size = rounded(percentile(known, 0.95)) if known else START
        endless = plan.number("max_seq_len") is None and not is_computed(plan, "tokenizer.max_seq_len")
        if plan.dialect == "torchtune" and plan.is_whole and endless:
            text = "dataset.packed is true, but tokenizer.max_seq_len is not set; torchtune cannot tell how long a pack is and stops."
            fix = self.set_key(plan, plan.key_of("max_seq_len"), size, f"Packs of {size:,} tokens.", applicability=SAFE)
            return self.violation(plan, text, at="packing", severity=ERROR, fixes=[fix])
        if plan.dialect == "hf" and "max_length" in plan.flat and plan.native("max_length") is None:
            text = "packing is true and max_length is null; TRL cannot tell how long a pack is and stops."
            fix = self.set_key(plan, "max_length", size, f"Packs of {size:,} tokens.", applicability=SAFE)
            return self.violation(plan, text, at="max_length", severity=ERROR, fixes=[fix])
        if plan.dialect == "axolotl":
            preference = plan.native("rl")
            if preference:
                text = f"sample_packing is true, but Axolotl does not pack the samples of {preference}."
                fix = self.fix(plan, "packing", False, "Preference data is not packed.", applicability=SAFE)
                return self.violation(plan, text, at="packing", severity=ERROR, fixes=[fix])
            if as_bool(plan.native("batch_flattening")) is True:
                text = "sample_packing and batch_flattening are both true; Axolotl takes one of them."
                fix = self.set_key(plan, "batch_flattening", False, "Packing does its work.", applicability=SAFE)
                return self.violation(plan, text, at="batch_flattening", severity=ERROR, fixes=[fix])
        return None

    def _size(self, plan: Plan) -> Iterator[Violation]:
        """Packs that are too short."""
        size = as_int(plan.native(PACK_SIZE)) if plan.dialect == "automodel" else as_int(plan.value("max_seq_len"))
        if size is None:
            return
        known, longest = lengths(plan), plan.number("max_seq_len")
        if plan.dialect == "automodel" and longest is not None and longest > size:
            text = f"A pack holds {size:,} tokens, but sequences have up to {longest:,.0f}: longer samples do not fit and are dropped."
            fix = self.set_key(plan, PACK_SIZE, int(longest), "A pack has to hold the longest sequence.")
            yield self.violation(plan, text, at=PACK_SIZE, evidence={"pack": size, "max_seq_len": longest}, fixes=[fix])
        elif plan.dialect == "automodel" and known and size < percentile(known, 0.95):
            p95 = percentile(known, 0.95)
            text = f"A pack holds {size:,} tokens, but the 95th percentile of the samples is {p95:,}: longer samples are dropped."
            wanted = rounded(max(p95, longest or 0))
            fix = self.set_key(plan, PACK_SIZE, wanted, "The 95th percentile of the lengths, rounded up.")
            yield self.violation(plan, text, at=PACK_SIZE, evidence={"pack": size, "p95": p95}, fixes=[fix])

    def _split(self, plan: Plan) -> Iterator[Violation]:
        """Samples that are cut at the end of a pack; running text is not made of samples."""
        if any("text_completion" in str(value) for value in plan.flat.values()):
            return
        if (key := switched(plan, "split_across_pack", True)) is not None:
            text = f"{key} is true: samples are cut where a pack ends, and their second half is trained without its beginning."
            yield self.violation(plan, text, at=key, severity=INFO, fixes=[self.set_key(plan, key, False, "Keep samples whole.")])
        for key, value in named(plan, "packing_strategy"):
            if value == "wrapped" and plan.dialect == "hf":
                text = "The packing strategy wrapped cuts samples where a pack ends; bfd keeps them whole."
                yield self.violation(plan, text, at=key, severity=INFO, fixes=[self.set_key(plan, key, "bfd", "Keep samples whole.")])

    def _isolation(self, plan: Plan) -> Iterator[Violation]:
        """Packed samples that see each other."""
        if plan.dialect != "axolotl" or not plan.is_whole or any(is_computed(plan, key) for key in ("attn_implementation", *OLD_SWITCHES)):
            return
        chosen = str(plan.native("attn_implementation") or "")
        if chosen in ISOLATING or chosen.startswith(("kernels", "flash")) or is_on(plan, *OLD_SWITCHES):
            return
        what = f"attn_implementation {chosen}" if chosen else "no attention implementation set"
        text = f"sample_packing with {what} lets packed samples see each other; flash_attention_2 keeps them apart."
        fix = self.set_key(plan, "attn_implementation", "flash_attention_2", "Keeps packed samples apart.")
        yield self.violation(plan, text, at="attn_implementation" if chosen else "packing", fixes=[fix])

    def _missing(self, plan: Plan) -> Iterator[Violation]:
        """Lengths so different that packing would pay."""
        known = lengths(plan)
        if not known or not plan.is_whole or not plan.is_fine_tuning:
            return
        if is_on(plan, "group_by_length", "padding_free") or plan.native("rl"):
            return
        p95 = percentile(known, 0.95)
        padding = 1.0 - sum(min(length, p95) for length in known) / (len(known) * p95)
        fixes = self._pack(plan, p95)
        if padding < VARIABLE or not fixes:
            return
        text = (
            f"The samples are {sum(known) / len(known):,.0f} tokens long on average and {p95:,} at the 95th percentile: "
            f"about {padding:.0%} of a padded batch is padding. Packing such samples is 1.5 to 3 times as fast."
        )
        yield self.violation(plan, text, at="packing", severity=INFO, evidence={"p95": p95, "padding": padding}, fixes=fixes)

    def _pack(self, plan: Plan, p95: int) -> list[Fix]:
        """The changes that switch packing on; [] where the framework packs anyway, or cannot."""
        limit = plan.number("max_seq_len")
        reason = "Pack short samples."
        if plan.dialect == "automodel":
            return [self.set_key(plan, PACK_SIZE, rounded(max(p95, limit or 0)), reason)]
        switch = self.set_key(plan, plan.key_of("packing"), True, reason)
        if plan.dialect == "training_hub":
            return [switch] if hub_algorithm(plan) == LORA_HUB and plan.is_set("packing") else []
        if plan.dialect == "hf" and key_of(plan, "packing") is None and plan.document.entry not in ("trl sft", "SFTConfig"):
            return []
        if plan.dialect == "torchtune" and limit is None:
            return [switch, self.set_key(plan, plan.key_of("max_seq_len"), rounded(p95), "Packs need a length.")]
        if plan.dialect == "axolotl" and not plan.native("attn_implementation") and not is_on(plan, *OLD_SWITCHES):
            return [switch, self.set_key(plan, "attn_implementation", "flash_attention_2", "Keeps packed samples apart.")]
        return [switch] if plan.dialect in ("hf", "axolotl", "torchtune", "llamafactory") else []
