"""CFG023: what the adapters are attached to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from diag.checks.config._keys import named
from diag.dialects.values import as_bool
from diag.fixes import Fix
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR, INFO

ATTENTION: Final = frozenset(
    {
        *("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "out_proj", "output_proj"),
        *("query", "key", "value", "query_key_value", "wq", "wk", "wv", "wo", "wqkv", "qkv"),
    }
)
"""Last parts, lower case, of the names of attention projections in common language models."""

NAME: Final = re.compile(r"[\w.*]+")
"""A plain module name, with or without wildcards: no regular expression."""

LITGPT: Final = ("lora_query", "lora_key", "lora_value", "lora_projection", "lora_mlp", "lora_head")
"""litgpt's switches, one for each kind of matrix."""

LITGPT_ON: Final = frozenset({"lora_query", "lora_value"})
"""Those that are on where the config is silent."""

TORCHTUNE_ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "output_proj")


class LoraTargetsTooFew(Lint):
    """The adapters are attached to fewer layers than the guides would choose, or to none, or the settings contradict each other.

    ## What it does
    Information where only attention projections, or a single module, get adapters, and where biases are trained along with
    them. An error where nothing is targeted at all, and where NeMo AutoModel is given two ways to choose at once
    (``match_all_linear`` with ``target_modules`` or ``exclude_modules``, or both lists), which it refuses.

    ## Why is this bad?
    Adapters on all linear layers train less than 1% of the parameters and reach the quality of full fine-tuning more
    reliably; attention alone leaves most of the model's capacity to learn, the MLP, as it was.

    ## When it stays silent
    With the conservative profile, which prefers attention alone; when the modules are not named (the library detects them,
    as Training Hub does); for names and patterns it does not know; for models below half a billion parameters.

    ## What to do
    Adapt all linear layers, unless you want to preserve what the model can do or save memory: then naming few modules is
    right. To keep the output head out, exclude it.

    ## References
    Guide rows S1-180, S1-183..185, S2-049, S2-050, S3-085, S3-086.
    """

    code = "CFG023"
    name = "lora-targets-too-few"
    severity = INFO
    rules = cite("S1-180 S1-183..185 S2-049 S2-050 S3-085 S3-086")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """Contradictions, nothing targeted, few targets, trained biases."""
        if plan.dialect == "automodel" and (found := self._contradiction(plan)) is not None:
            yield found
            return
        if (empty := self._empty(plan)) is not None:
            yield empty
            return
        if not plan.is_adapter or not plan.is_guided:
            return
        if plan.profile != "conservative":
            yield from self._few(plan)
        yield from self._bias(plan)

    def _contradiction(self, plan: Plan) -> Violation | None:
        everything = as_bool(plan.native("peft.match_all_linear")) is True
        lists = [key for key in ("peft.target_modules", "peft.exclude_modules") if plan.native(key)]
        own = [key for key in ("peft.match_all_linear", *lists) if key in plan.document.settings]
        if not lists or (not everything and len(lists) < 2) or not own:
            return None  # where all of them stand in a file that a command names, that file is told
        if everything:
            message = f"match_all_linear is true and {' and '.join(lists)} names modules; NeMo AutoModel refuses both together."
            fixes = [self.set_key(plan, "peft.match_all_linear", False, "Let the list decide.", applicability=SAFE)]
            at = "peft.match_all_linear"
        else:
            message = "target_modules and exclude_modules are both set; NeMo AutoModel takes one of them."
            fixes, at = [], "peft.exclude_modules"
        if len(lists) == 2 and "peft.exclude_modules" in own:
            fixes.append(self.remove_key(plan, "peft.exclude_modules", "The modules to adapt are listed already.", applicability=SAFE))
        return self.violation(plan, message, at=at, severity=ERROR, fixes=fixes)

    def _empty(self, plan: Plan) -> Violation | None:
        key = plan.key_of("lora_target_modules")
        if plan.dialect == "litgpt" and any(plan.has(name) for name in LITGPT) and not _litgpt_on(plan):
            fixes = [self.set_key(plan, name, True, "Adapt this kind of matrix.", applicability=SAFE) for name in LITGPT[:5]]
            return self._nothing(plan, "lora_query", "Every lora_ switch is false", fixes)
        if plan.native(key) != [] or not plan.has(key):
            return None
        if plan.dialect == "torchtune" and not _on(plan, "model.apply_lora_to_mlp") and not _on(plan, "model.apply_lora_to_output"):
            return self._nothing(plan, key, f"{key} is empty", self._everything(plan))
        others = list(named(plan, "target_parameters", "lora_target_parameters"))
        if plan.dialect in ("hf", "peft") and not others:
            return self._nothing(plan, key, f"{key} is empty", self._everything(plan))
        return None

    def _nothing(self, plan: Plan, key: str, what: str, fixes: list[Fix]) -> Violation:
        safe = [replace(fix, applicability=SAFE) for fix in fixes]
        return self.violation(plan, f"{what}: no layer gets an adapter and nothing is trained.", at=key, severity=ERROR, fixes=safe)

    def _few(self, plan: Plan) -> Iterator[Violation]:
        targets, at = _targets(plan)
        if not targets or not all(NAME.fullmatch(name) for name in targets):
            return
        leaves = {name.rsplit(".", 1)[-1].strip("*").lower() for name in targets}
        if leaves <= ATTENTION:
            what = f"Only attention projections ({', '.join(sorted(leaves))}) get adapters"
        elif len(targets) == 1 and "*" not in targets[0] and "all" not in targets[0].lower():
            what = f"Only {targets[0]} gets an adapter"
        else:
            return
        text = f"{what}; the guides adapt all linear layers, under 1% of the parameters, unless memory or old abilities are at stake."
        yield self.violation(plan, text, at=at, evidence={"targets": sorted(leaves)}, fixes=self._everything(plan))

    def _everything(self, plan: Plan) -> list[Fix]:
        """The changes after which all linear layers are adapted, in the framework's own words."""
        reason = "Adapt all linear layers."
        key = plan.key_of("lora_target_modules")
        if plan.dialect == "automodel":
            return [
                self.set_key(plan, "peft.match_all_linear", True, reason),
                self.remove_key(plan, key, "match_all_linear takes its place."),
            ]
        if plan.dialect == "axolotl":
            return [self.set_key(plan, "lora_target_linear", True, reason)]
        if plan.dialect == "torchtune":
            fixes = [] if _on(plan, "model.apply_lora_to_mlp") else [self.set_key(plan, "model.apply_lora_to_mlp", True, reason)]
            return [self.set_key(plan, "model.lora_attn_modules", list(TORCHTUNE_ATTENTION), reason), *fixes]
        if plan.dialect == "litgpt":
            return [self.set_key(plan, name, True, reason) for name in LITGPT[:5] if not _on(plan, name)]
        if plan.dialect == "training_hub":
            return [self.remove_key(plan, key, "Training Hub finds the linear layers of the model itself.")]
        return [self.set_key(plan, key, "all" if plan.dialect == "llamafactory" else "all-linear", reason)]

    def _bias(self, plan: Plan) -> Iterator[Violation]:
        for key, value in named(plan, "bias", "lora_bias"):
            if plan.dialect in ("hf", "peft") and value in ("all", "lora_only"):
                text = f"Biases are trained along with the adapters ({value}); the guides leave them alone, so that merging stays exact."
                yield self.violation(
                    plan, text, at=key, fixes=[self.set_key(plan, key, "none", "Train the adapters only.")], rules=("S3-086",)
                )


def _on(plan: Plan, key: str) -> bool:
    return as_bool(plan.native(key)) is True


def _litgpt_on(plan: Plan) -> set[str]:
    """The switches of litgpt that are on; what a script computes counts as on."""
    return {name for name in LITGPT if (as_bool(plan.native(name)) is not False if plan.has(name) else name in LITGPT_ON)}


def _targets(plan: Plan) -> tuple[list[str], str]:
    """The modules that get adapters, as the config names them, and the key to point at; [] if it does not name them, or names all."""
    if plan.dialect == "litgpt":
        if not any(plan.has(name) for name in LITGPT):
            return [], ""
        kinds = {"lora_query": "q_proj", "lora_key": "k_proj", "lora_value": "v_proj", "lora_projection": "o_proj"}
        on = _litgpt_on(plan)
        return ([], "") if on - kinds.keys() else (sorted(kinds[name] for name in on), next(name for name in LITGPT if plan.has(name)))
    everything = ("peft.match_all_linear", "lora_target_linear", "model.apply_lora_to_mlp", "model.apply_lora_to_output")
    if not plan.is_set("lora_target_modules") or any(_on(plan, key) for key in everything):
        return [], ""
    value: Any = plan.value("lora_target_modules")
    return ([value] if isinstance(value, str) else [str(item) for item in value or []]), "lora_target_modules"
