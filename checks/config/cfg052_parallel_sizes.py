"""CFG052: the sizes of the kinds of parallelism do not multiply to the number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from diag.dialects.values import as_int
from diag.guides import cite
from diag.lint import SAFE, Lint, Violation
from diag.plan import Plan
from diag.vocabulary import ERROR

MODEL: Final[Mapping[str, tuple[str, ...]]] = {
    "automodel": ("distributed.tp_size", "distributed.cp_size", "distributed.pp_size"),
    "megatron": ("tensor_model_parallel_size", "context_parallel_size", "pipeline_model_parallel_size"),
    "axolotl": ("tensor_parallel_size", "context_parallel_size"),
    "hf": ("parallelism_config.tp_size", "parallelism_config.cp_size", "parallelism_config.sp_size"),
}
"""Keys of the sizes that share one copy of the model."""

DATA: Final[Mapping[str, str]] = {"automodel": "distributed.dp_size"}
"""Key of the number of copies, where it is one number."""

WORLD: Final = ("distributed.world_size",)
"""Keys that say the number of processes in the config itself."""


class ParallelSizes(Lint):
    """The sizes of tensor, context, pipeline and data parallelism do not multiply to the number of processes.

    ## What it does
    An error where the processes that the launcher starts are no multiple of tensor x context x pipeline parallelism, where
    the number of copies (``dp_size``) is set and the product is another, where ``dp_size`` is no multiple of
    ``dp_replicate_size``, and for sizes below one.

    ## Why is this bad?
    The mesh of devices cannot be built: every process fails at start, after the nodes were allocated.

    ## When it stays silent
    Where the number of processes is not known, and where the sizes are left to the framework.

    ## What to do
    Leave the data-parallel size to the framework (``none``) and choose the others so that they divide the processes.

    ## References
    Guide rows S1-243..245; source of NeMo AutoModel 0.7.
    """

    code = "CFG052"
    name = "parallel-sizes"
    severity = ERROR
    rules = cite("S1-243..245")
    dialects = ("automodel", "megatron", "axolotl", "hf")

    def inspect(self, plan: Plan) -> Iterator[Violation]:
        """Sizes below one, then what does not divide."""
        sizes = {key: size for key in MODEL.get(plan.dialect, ()) if (size := as_int(plan.native(key))) is not None}
        if plan.dialect == "automodel" and (wrong := [key for key, size in sizes.items() if size < 1]):
            for key in wrong:
                fix = self.set_key(plan, key, 1, "No parallelism of this kind.", applicability=SAFE)
                yield self.violation(plan, f"{key} is {sizes[key]}; a size is at least 1.", at=key, fixes=[fix])
            return
        shared = 1
        for size in sizes.values():
            shared *= max(size, 1)
        processes = plan.document.processes or next((size for key in WORLD if (size := as_int(plan.native(key)))), None)
        copies = as_int(plan.native(DATA.get(plan.dialect, ""))) or 0
        if plan.dialect == "automodel" and copies > 0:
            replicas = as_int(plan.native("distributed.dp_replicate_size")) or 1
            if replicas > 1 and copies % replicas:
                text = f"dp_size {copies} is no multiple of dp_replicate_size {replicas}; the mesh of devices cannot be built."
                fix = self.set_key(plan, "distributed.dp_size", "none", "Let NeMo AutoModel work it out.", applicability=SAFE)
                yield self.violation(plan, text, at="distributed.dp_size", fixes=[fix])
                return
        if processes is None or (shared == 1 and copies <= 0):
            return
        evidence = {"processes": processes, "shared": shared, "copies": copies}
        at = next((key for key, size in sizes.items() if size > 1), DATA.get(plan.dialect, ""))
        if processes % shared:
            named = " x ".join(f"{key.rsplit('.', 1)[-1]} {size}" for key, size in sizes.items() if size > 1)
            text = f"{processes} processes are no multiple of {shared} ({named}): the mesh of devices cannot be built."
            advice = self.advise("processes", f"Start a multiple of {shared} processes, or choose sizes whose product divides {processes}.")
            yield self.violation(plan, text, at=at, evidence=evidence, fixes=[advice])
        elif copies > 0 and copies * shared != processes:
            key = DATA[plan.dialect]
            text = f"{copies} copies of {shared} processes each are {copies * shared}, but {processes} start: the mesh cannot be built."
            reason = f"{processes} / {shared} = {processes // shared} copies, as it works out itself."
            fix = self.set_key(plan, key, "none", reason, applicability=SAFE)
            yield self.violation(plan, text, at=key, evidence=evidence, fixes=[fix])
