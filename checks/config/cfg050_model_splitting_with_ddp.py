"""CFG050: one model split over several devices, and several processes with a whole copy each, at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from diag.checks.config._keys import named, switched
from diag.dialects.values import as_int
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR

DISTRIBUTED: Final = frozenset({"torchrun", "accelerate", "deepspeed"})
"""Launchers that start one process a device."""

SPLITTING: Final = frozenset({"auto", "balanced", "balanced_low_0", "sequential"})
"""Values of ``device_map`` that split one model over all devices."""


class ModelSplittingWithDdp(Lint):
    """A model is to be split over the devices while several processes each hold a whole copy.

    ## What it does
    An error where ``enable_model_splitting`` (Training Hub) or a ``device_map`` that splits (``auto``, ``balanced``) meets
    several processes, by the launcher or by ``nproc_per_node``; and for LLaMA-Factory's ``quantization_device_map: auto``,
    which it refuses in training.

    ## Why is this bad?
    Data parallelism gives every process a full copy on a device of its own; a split model takes all devices for one process.
    Together each process spreads its copy over everybody's memory, and the run fails or trains nonsense.

    ## When it stays silent
    For one process, and where a script decides.

    ## What to do
    For data parallelism launch with ``torchrun --nproc-per-node=N`` and leave splitting off; for models too large for one
    device keep splitting on and launch with plain ``python``.

    ## References
    Guide rows S2-055..057; source of LLaMA-Factory 0.9.5.
    """

    code = "CFG050"
    name = "model-splitting-with-ddp"
    severity = ERROR
    rules = cite("S2-055..057")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """One a setting that splits."""
        many = _processes(plan)
        if many and (key := switched(plan, "enable_model_splitting", True)) is not None:
            text = f"{key} is true, but {many}: data parallelism and a split model exclude each other. To split, launch with plain python."
            fix = self.set_key(plan, key, False, "Every process holds a whole copy.", applicability=SAFE)
            yield self.violation(plan, text, at=key, fixes=[fix])
        for key, value in named(plan, "device_map"):
            if many and str(value).lower() in SPLITTING:
                text = f"{key} {value} splits one model over all devices, but {many}, each with a whole copy."
                fix = self.remove_key(plan, key, "Every process holds a whole copy on its own device.", applicability=SAFE)
                yield self.violation(plan, text, at=key, fixes=[fix])
        if plan.dialect == "llamafactory" and plan.native("quantization_device_map") == "auto":
            text = "quantization_device_map is auto; LLaMA-Factory refuses a split model in training."
            fix = self.remove_key(plan, "quantization_device_map", "It is for inference.", applicability=SAFE)
            yield self.violation(plan, text, at="quantization_device_map", fixes=[fix])


def _processes(plan: Plan) -> str:
    """What says that there are several processes, for a sentence; "" if nothing does."""
    document = plan.document
    if document.processes is not None and document.processes > 1:
        return f"{document.launcher or 'the launcher'} starts {document.processes} processes"
    if document.launcher in DISTRIBUTED and document.processes is None:
        return f"{document.launcher} starts a process for each device"
    for leaf in ("nproc_per_node", "nnodes"):
        value = plan.native(leaf)
        if plan.dialect == "training_hub" and ((as_int(value) or 0) > 1 or value in ("auto", "gpu")):
            return f"{leaf} {value} asks for several processes"
    return ""
